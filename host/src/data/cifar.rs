//! CIFAR's binary files: records of one label byte (CIFAR-100: coarse and fine) and 32x32 red, green and blue bytes, plane after plane.
//!
//! # Source
//! A. Krizhevsky, <https://www.cs.toronto.edu/~kriz/cifar.html>, "Binary version".

use super::blob::Blob;
use super::image::RawImage;
use super::place::Place;
use super::{DataError, Found, Split, labels};
use ocelli::image::PixelFormat;
use std::io::{BufReader, Read};

const SIDE: u32 = 32;
const PLANE: usize = 32 * 32;

/// What distinguishes the two datasets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Ten,
    /// With fine labels, or with coarse ones.
    Hundred {
        coarse: bool,
    },
}

/// The files of a set.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) split: Split,
    variant: Variant,
    files: Vec<Blob>,
    pub(super) count: usize,
    classes: usize,
}

impl Variant {
    fn label_bytes(self) -> usize {
        if self == Self::Ten { 1 } else { 2 }
    }

    fn record(self) -> usize {
        self.label_bytes() + 3 * PLANE
    }

    /// Which of the label bytes is meant.
    fn label_at(self) -> usize {
        usize::from(self == Self::Hundred { coarse: false })
    }

    fn files(self) -> [(Split, Vec<String>); 2] {
        let (train, test) = match self {
            Self::Ten => ((1..=5).map(|i| format!("data_batch_{i}.bin")).collect(), "test_batch.bin"),
            Self::Hundred { .. } => (vec!["train.bin".to_owned()], "test.bin"),
        };
        [(Split::Train, train), (Split::Test, vec![test.to_owned()])]
    }

    /// The file that names the classes, and the names that they have without it.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Ten => ("batches.meta.txt", TEN),
            Self::Hundred { coarse: false } => ("fine_label_names.txt", FINE),
            Self::Hundred { coarse: true } => ("coarse_label_names.txt", COARSE),
        }
    }
}

/// Looks for the binary files of CIFAR-10 or CIFAR-100; `None` when there are none.
pub(super) fn find(place: &Place, variant: Variant) -> Found<Set> {
    let (meta, names) = variant.names();
    let mut sets = Vec::new();
    for (split, names) in variant.files() {
        let files: Vec<Blob> = names.iter().filter_map(|name| place.file(name)).collect();
        if !files.is_empty() {
            let count = files.iter().map(|file| records(file, variant)).sum::<Result<usize, _>>()?;
            sets.push(Set { split, variant, files, count, classes: 0 });
        }
    }
    if sets.is_empty() {
        return Ok(None);
    }
    let default: Vec<String> = names.split(' ').map(str::to_owned).collect();
    let mut names = default.clone();
    if let Some(meta) = place.file(meta) {
        names = labels::read_blob(&meta)?;
        if names.len() != default.len() {
            let (path, dataset) = (meta.path().to_owned(), place.root().to_owned());
            return Err(DataError::LabelCount { path, found: names.len(), dataset, expected: default.len() });
        }
    }
    sets.iter_mut().for_each(|set| set.classes = names.len());
    Ok(Some((names, sets)))
}

/// Reads the images of a set, one after the other.
pub(super) fn read(set: &Set, each: &mut dyn FnMut(RawImage, usize) -> Result<(), DataError>) -> Result<(), DataError> {
    for file in &set.files {
        let unreadable = |source| DataError::Unreadable { path: file.path().to_owned(), source };
        let mut input = BufReader::new(file.open().map_err(unreadable)?);
        let mut record = vec![0; set.variant.record()];
        for index in 0..records(file, set.variant)? {
            input.read_exact(&mut record).map_err(unreadable)?;
            let label = record[set.variant.label_at()];
            if usize::from(label) >= set.classes {
                let path = file.path().to_owned();
                return Err(DataError::LabelOutside { path, index, label, classes: set.classes });
            }
            let pixels = interleave(&record[set.variant.label_bytes()..]);
            each(RawImage { width: SIDE, height: SIDE, format: PixelFormat::Rgb888, pixels }, usize::from(label))?;
        }
    }
    Ok(())
}

/// Records of a file, which must be whole.
fn records(file: &Blob, variant: Variant) -> Result<usize, DataError> {
    let path = || file.path().to_owned();
    let bytes = file.len().map_err(|source| DataError::Unreadable { path: path(), source })?;
    let record = variant.record() as u64;
    if bytes == 0 {
        return Err(DataError::Empty { path: path() });
    }
    if bytes % record != 0 {
        let expected = bytes.div_ceil(record) * record;
        return Err(DataError::Truncated { path: path(), expected, found: bytes });
    }
    let too_large = |_| DataError::TooLarge { path: path(), bytes, limit: super::MAX_PIXEL_BYTES };
    usize::try_from(bytes / record).map_err(too_large)
}

fn interleave(planes: &[u8]) -> Vec<u8> {
    let (red, rest) = planes.split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]).collect()
}

const TEN: &str = "airplane automobile bird cat deer dog frog horse ship truck";
const COARSE: &str = "aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices \
     household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes \
     large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 \
     vehicles_2";
const FINE: &str = "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle \
     caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest \
     fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse \
     mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon \
     ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table \
     tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm";

#[cfg(test)]
mod tests {
    use super::super::{DataSource, Kind, OpenOptions};
    use super::*;
    use ocelli::image::{ColorOrder, InputSpec, Resize};
    use ocelli::ir::Shape;
    use std::path::Path;

    const SPEC: InputSpec = InputSpec {
        shape: Shape::new(32, 32, 3),
        color: ColorOrder::Rgb,
        resize: Resize::Stretch,
        mean: [0.0; 3],
        std: [1.0; 3],
    };

    /// Plane `p` of every record begins with the value `10 p + label`.
    fn write_batch(path: &Path, labels: &[u8]) {
        let mut bytes = Vec::new();
        for &label in labels {
            bytes.push(label);
            for plane in 0..3_u8 {
                bytes.push(10 * plane + label);
                bytes.extend([200; PLANE - 1]);
            }
        }
        std::fs::write(path, bytes).unwrap();
    }

    fn folder(train: &[u8], test: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write_batch(&folder.path().join("data_batch_1.bin"), &train[..1]);
        write_batch(&folder.path().join("data_batch_2.bin"), &train[1..]);
        write_batch(&folder.path().join("test_batch.bin"), test);
        folder
    }

    #[test]
    fn batches_are_joined_and_planes_interleaved() {
        let folder = folder(&[3, 5, 9], &[1, 2]);
        let source = DataSource::open(folder.path(), None).unwrap();
        assert_eq!(source.kind(), Kind::Cifar10);
        assert_eq!(source.splits(), [Split::Train, Split::Test]);
        assert_eq!(source.evaluation_split(), Split::Test);
        assert_eq!(source.labels()[3], "cat");
        let mut calls = Vec::new();
        let train = source.load(Split::Train, &SPEC, &mut |done, of| calls.push((done, of))).unwrap();
        assert_eq!(train.targets, [3, 5, 9]);
        assert_eq!(train.input(1)[..6], [5, 15, 25, 200, 200, 200]);
        assert_eq!(train.names[2], "train image 2");
        assert_eq!(calls.last(), Some(&(3, 3)));
    }

    #[test]
    fn bgr_networks_get_blue_first() {
        let folder = folder(&[3, 5], &[1]);
        let spec = InputSpec { color: ColorOrder::Bgr, ..SPEC };
        let train = DataSource::open(folder.path(), None).unwrap().load(Split::Train, &spec, &mut |_, _| ()).unwrap();
        assert_eq!(train.input(0)[..3], [23, 13, 3]);
    }

    #[test]
    fn names_come_from_batches_meta() {
        let folder = folder(&[3, 5], &[1]);
        std::fs::write(folder.path().join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
        assert_eq!(DataSource::open(folder.path(), None).unwrap().labels()[9], "j");
        std::fs::write(folder.path().join("batches.meta.txt"), "a\nb\n").unwrap();
        let error = DataSource::open(folder.path(), None).unwrap_err();
        assert!(matches!(error, DataError::LabelCount { found: 2, expected: 10, .. }), "{error}");
    }

    #[test]
    fn a_cut_file_is_refused_when_opened() {
        let folder = folder(&[3, 5], &[1]);
        std::fs::write(folder.path().join("test_batch.bin"), [0; 3000]).unwrap();
        let error = DataSource::open(folder.path(), None).unwrap_err();
        assert!(matches!(error, DataError::Truncated { expected: 3073, found: 3000, .. }), "{error}");
    }

    #[test]
    fn a_label_above_nine_names_the_image() {
        let folder = folder(&[3, 5, 10], &[1]);
        let source = DataSource::open(folder.path(), None).unwrap();
        let error = source.load(Split::Train, &SPEC, &mut |_, _| ()).unwrap_err();
        assert!(matches!(error, DataError::LabelOutside { index: 1, label: 10, classes: 10, .. }), "{error}");
        assert!(error.to_string().contains("data_batch_2.bin"), "{error}");
    }

    #[test]
    fn training_on_one_class_is_refused() {
        let folder = folder(&[3, 3, 3], &[3]);
        let source = DataSource::open(folder.path(), None).unwrap();
        let error = source.load(Split::Train, &SPEC, &mut |_, _| ()).unwrap_err();
        assert!(matches!(&error, DataError::OneClass { class, .. } if class == "cat"), "{error}");
        assert!(source.load(Split::Test, &SPEC, &mut |_, _| ()).is_ok());
    }

    #[test]
    fn cifar_100_has_fine_labels_and_coarse_ones_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        for (name, labels) in [("train.bin", [[4, 30], [1, 99], [4, 95]]), ("test.bin", [[0, 1], [1, 2], [2, 3]])] {
            let bytes: Vec<u8> = labels.iter().flat_map(|pair| pair.iter().copied().chain([7; 3 * PLANE])).collect();
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let source = DataSource::open(folder.path(), None).unwrap();
        assert_eq!(
            (source.kind(), source.labels().len(), source.labels()[30].as_str()),
            (Kind::Cifar100, 100, "dolphin")
        );
        let train = source.load(Split::Train, &SPEC, &mut |_, _| ()).unwrap();
        assert_eq!((train.targets.as_slice(), train.input(2)[0]), (&[30, 99, 95][..], 7));
        let options = OpenOptions { coarse_labels: true, ..OpenOptions::default() };
        let source = DataSource::open_with(folder.path(), &options).unwrap();
        assert_eq!((source.labels().len(), source.labels()[1].as_str()), (20, "fish"));
        assert_eq!(source.load(Split::Train, &SPEC, &mut |_, _| ()).unwrap().targets, [4, 1, 4]);
        let names: std::collections::BTreeSet<&str> = FINE.split(' ').collect();
        assert_eq!(names.len(), 100);
        assert!(FINE.split(' ').is_sorted() && COARSE.split(' ').is_sorted());
    }
}
