//! Datasets on the user's disk: MNIST's idx files, CIFAR-10's binary files, a folder of images for each class.
//!
//! [`DataSource::open`] finds out what a folder holds and checks it without decoding images; [`DataSource::load`] brings one of its
//! sets to a network's input size. Files are hostile until checked: what a header promises is never allocated.

mod cifar;
mod dataset;
mod error;
mod feed;
mod folders;
mod idx;
mod image;
mod labels;
mod source;

pub use self::dataset::{Dataset, Skipped};
pub use self::error::DataError;
pub use self::feed::{Batch, Epoch, Feed, FeedOptions};
pub use self::image::{RawImage, to_input};
pub use self::source::ImageSource;

use ocelli::image::InputSpec;
use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes of pixels that a loaded set may take.
const MAX_PIXEL_BYTES: u64 = 4 << 30;

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
    /// A folder of image files for each class.
    ClassFolders,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mnist => "MNIST idx files",
            Self::Cifar10 => "CIFAR-10 binary files",
            Self::ClassFolders => "class folders",
        })
    }
}

/// A dataset's folder: what it holds and how it is divided.
#[derive(Clone, Debug)]
pub struct DataSource {
    root: PathBuf,
    labels: Vec<String>,
    sets: Sets,
}

/// The sets of a dataset, in the order of [`Split::ALL`], at least one.
#[derive(Clone, Debug)]
enum Sets {
    Mnist(Vec<idx::Set>),
    Cifar10(Vec<cifar::Set>),
    ClassFolders(Vec<folders::Set>),
}

impl DataSource {
    /// Finds out what the folder `path` holds; `labels_file` (one class name a line) replaces the dataset's own names.
    ///
    /// # Errors
    /// When there is no dataset, its files do not fit together, it has a single class, or `labels_file` names another number of
    /// classes.
    pub fn open(path: &Path, labels_file: Option<&Path>) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Unreadable { path: path.to_owned(), source };
        if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Err(DataError::NotADataset { path: path.to_owned() });
        }
        let (mut names, sets) = if let Some((labels, sets)) = idx::find(path)? {
            (labels, Sets::Mnist(sets))
        } else if let Some((labels, sets)) = cifar::find(path)? {
            (labels, Sets::Cifar10(sets))
        } else if let Some((labels, sets)) = folders::find(path)? {
            (labels, Sets::ClassFolders(sets))
        } else {
            return Err(DataError::NotADataset { path: path.to_owned() });
        };
        if let [class] = names.as_slice() {
            return Err(DataError::OneClass { path: path.to_owned(), class: class.clone() });
        }
        if let Some(file) = labels_file {
            let replaced = labels::read(file)?;
            if replaced.len() != names.len() {
                return Err(DataError::LabelCount {
                    path: file.to_owned(),
                    found: replaced.len(),
                    dataset: path.to_owned(),
                    expected: names.len(),
                });
            }
            names = replaced;
        }
        Ok(Self { root: path.to_owned(), labels: names, sets })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// How the dataset is stored.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.sets {
            Sets::Mnist(_) => Kind::Mnist,
            Sets::Cifar10(_) => Kind::Cifar10,
            Sets::ClassFolders(_) => Kind::ClassFolders,
        }
    }

    /// Class names. MNIST files have none: digits stand in their place.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
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
            Sets::Cifar10(sets) => sets.iter().find(|set| set.split == split).map(|set| set.count),
            Sets::ClassFolders(sets) => sets.iter().find(|set| set.split == split).map(|set| set.files.len()),
        }
    }

    /// The set to judge a network by: the test set, else the validation set, else all there is (a dataset that is not divided).
    #[must_use]
    pub fn evaluation_split(&self) -> Split {
        let there = |&split: &Split| self.count(split).is_some();
        [Split::Test, Split::Validation].into_iter().find(there).unwrap_or(Split::Train)
    }

    /// Loads a set at a network's input size; `progress` gets the images done and their number.
    ///
    /// Image files that cannot be decoded are left out and listed in [`Dataset::skipped`]: tell the user.
    ///
    /// # Errors
    /// When there is no such set, a file is damaged, no image is left, or a train set has a single class.
    pub fn load(
        &self,
        split: Split,
        spec: &InputSpec,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Dataset, DataError> {
        let count = self.count(split).ok_or_else(|| DataError::NoSplit {
            path: self.root.clone(),
            split,
            found: self.splits().iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        })?;
        let empty = Dataset {
            labels: self.labels.clone(),
            shape: spec.shape,
            pixels: Vec::new(),
            targets: Vec::new(),
            names: Vec::new(),
            skipped: Vec::new(),
        };
        let bytes = u64::from(spec.shape.elements().unwrap_or(u32::MAX)).saturating_mul(count as u64);
        if bytes > MAX_PIXEL_BYTES {
            return Err(DataError::TooLarge { path: self.root.clone(), bytes, limit: MAX_PIXEL_BYTES });
        }
        let set = match &self.sets {
            Sets::Mnist(sets) => idx::load(sets, split, spec, empty, progress),
            Sets::Cifar10(sets) => cifar::load(sets, split, spec, empty, progress),
            Sets::ClassFolders(sets) => folders::load(&self.root, sets, split, spec, empty, progress),
        }?;
        match set.targets.first() {
            None => Err(DataError::Empty { path: self.root.clone() }),
            Some(&class) if split == Split::Train && set.targets.iter().all(|&target| target == class) => {
                Err(DataError::OneClass { path: self.root.clone(), class: set.labels[class].clone() })
            }
            Some(_) => Ok(set),
        }
    }
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
