//! Datasets on the user's disk: MNIST's idx files, CIFAR's binary files, a folder of images for each class, archives of these, a table
//! of paths and labels.
//!
//! [`DataSource::open`] finds out what there is and checks it without decoding images; [`DataSource::images`] brings one of its sets to
//! a network's input size, in memory or, where it is too large, decoded as it is used; a [`Feed`] makes batches of it for the training.
//! Files are hostile until checked: what a header promises is never allocated, and nothing is unpacked to the disk.

mod archive;
mod blob;
mod cifar;
mod dataset;
mod divide;
mod duplicates;
mod error;
mod feed;
mod folders;
mod idx;
mod image;
mod items;
mod labels;
mod packed;
mod passed;
mod place;
mod set;
mod sheet;
mod source;
mod survey;
mod table;

pub use self::dataset::{Dataset, Holdout, Skipped};
pub use self::divide::Division;
pub use self::error::DataError;
pub use self::feed::{Batch, Epoch, Feed, FeedOptions};
pub use self::folders::pictures;
pub(crate) use self::image::MAX_FILE_BYTES;
pub use self::image::{RawImage, to_input};
pub use self::passed::PassedOver;
pub(crate) use self::passed::is_picture;
pub use self::set::{ImageSet, Streamed};
pub use self::sheet::{COLUMNS, contact_sheet};
pub use self::source::ImageSource;
pub use self::survey::{Corrupt, Duplicate, Place as DuplicatePlace, SetCounts, Survey, survey};

use self::items::{Item, Picture, RawPictures};
use self::place::Place;
use ocelli::image::InputSpec;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of pixels that a loaded set may take, and the default of what is held in memory.
pub const MAX_PIXEL_BYTES: u64 = 4 << 30;
/// Images between two reports of progress.
const REPORT: usize = 256;

/// What looking for one kind of dataset gives: class names and sets, `None` when there is none of that kind.
type Found<S> = Result<Option<(Vec<String>, Vec<S>)>, DataError>;

/// A part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// Images to train on.
    Train,
    /// Images to watch the training by.
    Validation,
    /// Images to judge the result by.
    Test,
}

impl Split {
    /// All parts, in the order of use.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// How a dataset is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MNIST's idx files (also Fashion-MNIST, and others of that format).
    Mnist,
    /// CIFAR-10's binary files.
    Cifar10,
    /// CIFAR-100's binary files.
    Cifar100,
    /// A folder of image files for each class.
    ClassFolders,
    /// A CSV file of paths and labels.
    Table,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mnist => "MNIST idx files",
            Self::Cifar10 => "CIFAR-10 binary files",
            Self::Cifar100 => "CIFAR-100 binary files",
            Self::ClassFolders => "class folders",
            Self::Table => "a table of paths and labels",
        })
    }
}

/// How a dataset is meant.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// A text file with one class name a line, in place of the dataset's own names.
    pub labels: Option<PathBuf>,
    /// CIFAR-100's 20 coarse labels in place of its 100 fine ones.
    pub coarse_labels: bool,
}

/// A dataset's folder, archive or table: what it holds and how it is divided.
#[derive(Clone, Debug)]
pub struct DataSource {
    root: PathBuf,
    kind: Kind,
    labels: Vec<String>,
    sets: Sets,
    passed: PassedOver,
}

/// The sets of a dataset, in the order of [`Split::ALL`], at least one.
#[derive(Clone, Debug)]
enum Sets {
    Mnist(Vec<idx::Set>),
    Cifar(Vec<cifar::Set>),
    Pictures(Vec<folders::Set>),
}

impl DataSource {
    /// Finds out what `path` holds, a folder, an archive or a table; `labels_file` (one class name a line) replaces the dataset's own
    /// names.
    ///
    /// # Errors
    /// When there is no dataset, its files do not fit together, it has a single class, or `labels_file` names another number of
    /// classes.
    pub fn open(path: &Path, labels_file: Option<&Path>) -> Result<Self, DataError> {
        Self::open_with(path, &OpenOptions { labels: labels_file.map(Path::to_owned), ..OpenOptions::default() })
    }

    /// The same with all options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Self, DataError> {
        Self::open_as(path, options, false)
    }

    /// The same to look at: classes without pictures, and a single class, are no error.
    ///
    /// # Errors
    /// As [`open`](Self::open) but for these.
    pub fn open_to_look(path: &Path, options: &OpenOptions) -> Result<Self, DataError> {
        Self::open_as(path, options, true)
    }

    fn open_as(path: &Path, options: &OpenOptions, lenient: bool) -> Result<Self, DataError> {
        let mut passed = PassedOver::default();
        let Some((kind, mut names, sets)) = find(path, options, lenient, &mut passed)? else {
            return Err(DataError::NotADataset { path: path.to_owned() });
        };
        if let ([class], false) = (names.as_slice(), lenient) {
            return Err(DataError::OneClass { path: path.to_owned(), class: class.clone() });
        }
        if let Some(file) = &options.labels {
            let replaced = labels::read(file)?;
            if replaced.len() != names.len() {
                return Err(DataError::LabelCount {
                    path: file.clone(),
                    found: replaced.len(),
                    dataset: path.to_owned(),
                    expected: names.len(),
                });
            }
            names = replaced;
        }
        Ok(Self { root: path.to_owned(), kind, labels: names, sets, passed })
    }

    /// The folder, the archive or the table.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// How the dataset is stored.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Class names. MNIST files have none: digits stand in their place.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Files that lie beside the pictures and were passed over.
    #[must_use]
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed
    }

    /// What is passed over, for the list of skipped files of the first set that is there: it is said once.
    fn passed_with(&self, split: Split) -> Vec<Skipped> {
        if self.splits().first() == Some(&split) { self.passed.skipped() } else { Vec::new() }
    }

    /// The sets that are there, in the order of [`Split::ALL`], at least one.
    #[must_use]
    pub fn splits(&self) -> Vec<Split> {
        Split::ALL.into_iter().filter(|&split| self.count(split).is_some()).collect()
    }

    /// Images of a set (of class folders: files, before any is decoded), `None` when the dataset has no such set.
    #[must_use]
    pub fn count(&self, split: Split) -> Option<usize> {
        match &self.sets {
            Sets::Mnist(sets) => sets.iter().find(|set| set.split == split).map(|set| set.targets.len()),
            Sets::Cifar(sets) => sets.iter().find(|set| set.split == split).map(|set| set.count),
            Sets::Pictures(sets) => sets.iter().find(|set| set.split == split).map(|set| set.items.len()),
        }
    }

    /// Whether images stand in the order of their classes, or in whatever order a table has.
    #[must_use]
    pub const fn is_of_files(&self) -> bool {
        matches!(self.sets, Sets::Pictures(_))
    }

    /// The set to judge a network by: the test set, else the validation set, else all there is (a dataset that is not divided).
    #[must_use]
    pub fn evaluation_split(&self) -> Split {
        let there = |&split: &Split| self.count(split).is_some();
        [Split::Test, Split::Validation].into_iter().find(there).unwrap_or(Split::Train)
    }

    /// The set to watch a training by: the validation set, else the test set; `None`: a share of the training images is needed.
    #[must_use]
    pub fn validation_split(&self) -> Option<Split> {
        [Split::Validation, Split::Test].into_iter().find(|&split| self.count(split).is_some())
    }

    /// Loads a set at a network's input size; `progress` gets the images done and their number.
    ///
    /// Image files that cannot be decoded are left out and listed in [`Dataset::skipped`], with a line for what was
    /// [passed over](Self::passed_over): tell the user.
    ///
    /// # Errors
    /// When there is no such set, it is larger than [`MAX_PIXEL_BYTES`], a file is damaged, no image is left, or a train set has a
    /// single class.
    pub fn load(
        &self,
        split: Split,
        spec: &InputSpec,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Dataset, DataError> {
        let bytes = self.pixel_bytes(split, spec)?;
        if bytes > MAX_PIXEL_BYTES {
            return Err(DataError::TooLarge { path: self.root.clone(), bytes, limit: MAX_PIXEL_BYTES });
        }
        let mut set = Dataset {
            labels: self.labels.clone(),
            shape: spec.shape,
            pixels: Vec::new(),
            targets: Vec::new(),
            names: Vec::new(),
            skipped: Vec::new(),
        };
        if let Some(items) = self.files(split) {
            let mut skipped = Vec::new();
            set::decode_all(&self.root, items, spec, &mut skipped, progress, &mut |i, input| {
                set.push(&input, items[i].class, items[i].name.clone());
            })?;
            set.skipped = skipped;
        } else {
            self.read_raw(split, progress, &mut |name, picture, class| {
                let input = to_input(&picture, spec)
                    .map_err(|e| DataError::Image { path: self.root.clone(), reason: e.to_string() })?;
                set.push(&input, class, name);
                Ok(())
            })?;
        }
        self.check_classes(split, &set.targets)?;
        set.skipped.extend(self.passed_with(split));
        Ok(set)
    }

    /// A set at a network's input size: in memory when its pixels take at most `memory` bytes, else decoded as it is used.
    ///
    /// Either way each image is decoded once here, so that files that cannot be are known: see [`ImageSource::skipped`].
    ///
    /// # Errors
    /// As [`load`](Self::load); the pictures of idx and CIFAR files must fit in `memory` bytes at their own size.
    pub fn images(
        &self,
        split: Split,
        spec: &InputSpec,
        memory: u64,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<ImageSet, DataError> {
        if self.pixel_bytes(split, spec)? <= memory.min(MAX_PIXEL_BYTES) {
            return self.load(split, spec, progress).map(ImageSet::Memory);
        }
        let items = self.items(split, memory)?;
        let mut set = Streamed::new(&self.root, self.labels.clone(), spec, items, progress)?;
        self.check_classes(split, set.targets())?;
        set.also_skipped(self.passed_with(split));
        Ok(ImageSet::Streamed(set))
    }

    /// The images to train on and those to watch the training by: the last training images where that is asked for, else the dataset's
    /// own validation set, else its test set, else the training images that are drawn. Each takes at most `memory` bytes.
    ///
    /// # Errors
    /// As [`images`](Self::images).
    pub fn training_images(
        &self,
        spec: &InputSpec,
        memory: u64,
        held_out: Holdout,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(ImageSet, ImageSet), DataError> {
        let training = self.images(Split::Train, spec, memory, progress)?;
        match (held_out, self.validation_split()) {
            (Holdout::Last(_) | Holdout::LastOfEach(_), _) | (_, None) => Ok(training.split_off(held_out)),
            (_, Some(split)) => Ok((training, self.images(split, spec, memory, progress)?)),
        }
    }

    /// `n` images (or all) of a set, each class by its share, drawn by `seed`, decoded as they are used; no others are decoded.
    ///
    /// # Errors
    /// As [`images`](Self::images).
    pub fn sample(
        &self,
        split: Split,
        spec: &InputSpec,
        n: usize,
        seed: u64,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<ImageSet, DataError> {
        self.pixel_bytes(split, spec)?; // says which sets there are
        let items = self.items(split, MAX_PIXEL_BYTES)?;
        let targets: Vec<usize> = items.iter().map(|item| item.class).collect();
        let mut counts = vec![0; self.labels.len()];
        targets.iter().for_each(|&target| counts[target] += 1);
        let chosen = dataset::draw(&targets, &dataset::allot(&counts, n), seed);
        let items = items.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(item, _)| item).collect();
        let mut set = Streamed::new(&self.root, self.labels.clone(), spec, items, progress)?;
        set.also_skipped(self.passed_with(split));
        Ok(ImageSet::Streamed(set))
    }

    /// The pictures of a set; those of idx and CIFAR files are held in memory and must fit in `memory` bytes.
    fn items(&self, split: Split, memory: u64) -> Result<Vec<Item>, DataError> {
        if let Some(items) = self.files(split) {
            return Ok(items.to_vec());
        }
        let (mut raw, mut described) = (RawPictures::default(), Vec::new());
        self.read_raw(split, &mut |_, _| {}, &mut |name, picture, class| {
            raw.push(&picture);
            described.push((name, class));
            if raw.bytes() > memory.min(MAX_PIXEL_BYTES) {
                return Err(DataError::TooLarge { path: self.root.clone(), bytes: raw.bytes(), limit: memory });
            }
            Ok(())
        })?;
        let raw = Arc::new(raw);
        let item = |(i, (name, class))| Item { name, class, picture: Picture::Raw(Arc::clone(&raw), i) };
        Ok(described.into_iter().enumerate().map(item).collect())
    }

    /// The picture files of a set, where its pictures are files.
    fn files(&self, split: Split) -> Option<&[Item]> {
        let Sets::Pictures(sets) = &self.sets else { return None };
        Some(sets.iter().find(|set| set.split == split).map_or(&[], |set| &set.items))
    }

    /// Reads the pictures of a set of idx or CIFAR files: name, picture, class.
    fn read_raw(
        &self,
        split: Split,
        progress: &mut dyn FnMut(usize, usize),
        each: &mut dyn FnMut(String, RawImage, usize) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let (mut done, count) = (0, self.count(split).unwrap_or(0));
        let mut numbered = |picture: RawImage, class: usize| {
            each(format!("{split} image {done}"), picture, class)?;
            done += 1;
            if done % REPORT == 0 && done < count {
                progress(done, count);
            }
            Ok(())
        };
        match &self.sets {
            Sets::Mnist(sets) => {
                sets.iter().filter(|set| set.split == split).try_for_each(|set| idx::read(set, &mut numbered))
            }
            Sets::Cifar(sets) => {
                sets.iter().filter(|set| set.split == split).try_for_each(|set| cifar::read(set, &mut numbered))
            }
            Sets::Pictures(_) => Ok(()),
        }?;
        progress(count, count);
        Ok(())
    }

    /// Bytes of a set's pixels at a network's input size.
    fn pixel_bytes(&self, split: Split, spec: &InputSpec) -> Result<u64, DataError> {
        let count = self.count(split).ok_or_else(|| DataError::NoSplit {
            path: self.root.clone(),
            split,
            found: self.splits().iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        })?;
        Ok(u64::from(spec.shape.elements().unwrap_or(u32::MAX)).saturating_mul(count as u64))
    }

    fn check_classes(&self, split: Split, targets: &[usize]) -> Result<(), DataError> {
        match targets.first() {
            None => Err(DataError::Empty { path: self.root.clone() }),
            Some(&class) if split == Split::Train && targets.iter().all(|&target| target == class) => {
                Err(DataError::OneClass { path: self.root.clone(), class: self.labels[class].clone() })
            }
            Some(_) => Ok(()),
        }
    }
}

/// Tries one kind of dataset after the other.
fn find(
    path: &Path,
    options: &OpenOptions,
    lenient: bool,
    passed: &mut PassedOver,
) -> Result<Option<(Kind, Vec<String>, Sets)>, DataError> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
        let found = table::find(path)?;
        return Ok(found.map(|(labels, sets)| (Kind::Table, labels, Sets::Pictures(sets))));
    }
    let Some(place) = Place::open(path)? else { return Ok(None) };
    if let Place::Archive(_, _, outside) = &place {
        passed.outside = outside.iter().map(PathBuf::from).collect();
    }
    if let Some((labels, sets)) = idx::find(&place)? {
        return Ok(Some((Kind::Mnist, labels, Sets::Mnist(sets))));
    }
    let hundred = cifar::Variant::Hundred { coarse: options.coarse_labels };
    for (kind, variant) in [(Kind::Cifar10, cifar::Variant::Ten), (Kind::Cifar100, hundred)] {
        if let Some((labels, sets)) = cifar::find(&place, variant)? {
            return Ok(Some((kind, labels, Sets::Cifar(sets))));
        }
    }
    if let Some((labels, sets)) = folders::find(&place, lenient, passed)? {
        return Ok(Some((Kind::ClassFolders, labels, Sets::Pictures(sets))));
    }
    let table = path.join("labels.csv");
    let found = if table.is_file() { table::find(&table)? } else { None };
    Ok(found.map(|(labels, sets)| (Kind::Table, labels, Sets::Pictures(sets))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_dataset_says_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), "nothing").unwrap();
        let message = DataSource::open(folder.path(), None).unwrap_err().to_string();
        assert!(message.contains("train-images-idx3-ubyte"), "{message}");
        assert!(message.contains("data_batch_1.bin"), "{message}");
        assert!(message.contains(&folder.path().display().to_string()), "{message}");
    }

    #[test]
    fn a_file_is_no_dataset_and_a_missing_folder_is_unreadable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(DataSource::open(file.path(), None), Err(DataError::NotADataset { .. })));
        let missing = file.path().with_extension("missing");
        assert!(matches!(DataSource::open(&missing, None), Err(DataError::Unreadable { .. })));
    }
}
