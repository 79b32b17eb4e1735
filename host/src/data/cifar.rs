//! CIFAR-10's binary files: records of one label byte and 32x32 red, green and blue bytes, plane after plane.
//!
//! # Source
//! A. Krizhevsky, <https://www.cs.toronto.edu/~kriz/cifar.html>, "Binary version".

use super::image::{RawImage, to_input};
use super::{DataError, Dataset, Found, Split, labels};
use ocelli::image::{InputSpec, PixelFormat};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

const SIDE: u32 = 32;
const PLANE: usize = 32 * 32;
const RECORD: usize = 1 + 3 * PLANE;
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The files of a set.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) split: Split,
    files: Vec<PathBuf>,
    pub(super) count: usize,
}

/// Looks for CIFAR-10's binary files; `None` when there are none.
pub(super) fn find(root: &Path) -> Found<Set> {
    let existing = |names: &[String]| -> Vec<PathBuf> {
        names.iter().map(|name| root.join(name)).filter(|path| path.is_file()).collect()
    };
    let train: Vec<String> = (1..=5).map(|i| format!("data_batch_{i}.bin")).collect();
    let mut sets = Vec::new();
    for (split, names) in [(Split::Train, train), (Split::Test, vec!["test_batch.bin".to_owned()])] {
        let files = existing(&names);
        if !files.is_empty() {
            let count = files.iter().map(|path| records(path)).sum::<Result<usize, _>>()?;
            sets.push(Set { split, files, count });
        }
    }
    if sets.is_empty() {
        return Ok(None);
    }
    let meta = root.join("batches.meta.txt");
    let names =
        if meta.is_file() { labels::read(&meta)? } else { CLASSES.iter().map(|&name| name.to_owned()).collect() };
    if names.len() != CLASSES.len() {
        let dataset = root.to_owned();
        return Err(DataError::LabelCount { path: meta, found: names.len(), dataset, expected: CLASSES.len() });
    }
    Ok(Some((names, sets)))
}

/// Reads the images of a set.
pub(super) fn load(
    sets: &[Set],
    split: Split,
    spec: &InputSpec,
    mut dataset: Dataset,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Dataset, DataError> {
    let Some(set) = sets.iter().find(|set| set.split == split) else { return Ok(dataset) };
    let classes = dataset.labels.len();
    for path in &set.files {
        let unreadable = |source| DataError::Unreadable { path: path.clone(), source };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut record = vec![0; RECORD];
        for index in 0..records(path)? {
            file.read_exact(&mut record).map_err(unreadable)?;
            let (label, planes) = (record[0], &record[1..]);
            if usize::from(label) >= classes {
                return Err(DataError::LabelOutside { path: path.clone(), index, label, classes });
            }
            let picture =
                RawImage { width: SIDE, height: SIDE, format: PixelFormat::Rgb888, pixels: interleave(planes) };
            let input =
                to_input(&picture, spec).map_err(|e| DataError::Image { path: path.clone(), reason: e.to_string() })?;
            dataset.push(&input, usize::from(label), format!("{split} image {}", dataset.len()));
            if dataset.len().is_multiple_of(256) {
                progress(dataset.len(), set.count);
            }
        }
    }
    progress(dataset.len(), set.count);
    Ok(dataset)
}

/// Records of a file, which must be whole.
fn records(path: &Path) -> Result<usize, DataError> {
    let bytes =
        std::fs::metadata(path).map_err(|source| DataError::Unreadable { path: path.to_owned(), source })?.len();
    let record = RECORD as u64;
    if bytes == 0 {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    if bytes % record != 0 {
        let expected = bytes.div_ceil(record) * record;
        return Err(DataError::Truncated { path: path.to_owned(), expected, found: bytes });
    }
    usize::try_from(bytes / record).map_err(|_| DataError::TooLarge {
        path: path.to_owned(),
        bytes,
        limit: super::MAX_PIXEL_BYTES,
    })
}

fn interleave(planes: &[u8]) -> Vec<u8> {
    let (red, rest) = planes.split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{DataSource, Kind};
    use super::*;
    use ocelli::image::{ColorOrder, Resize};
    use ocelli::ir::Shape;

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
}
