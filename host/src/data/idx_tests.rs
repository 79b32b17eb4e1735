//! Idx files written byte by byte, whole and damaged.

use super::super::{DataSource, Kind};
use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::Shape;
use std::fs;
use std::io::Write;
use std::path::Path;
use tempfile::TempDir;

fn spec(side: u32) -> InputSpec {
    InputSpec {
        shape: Shape::new(side, side, 1),
        color: ColorOrder::Gray,
        resize: Resize::Stretch,
        mean: [0.0; 3],
        std: [1.0; 3],
    }
}

fn idx(magic: u32, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// 2x2 images; image `i` has the pixels `4 i ..`.
fn images(count: u32) -> Vec<u8> {
    idx(IMAGES_MAGIC, &[count, 2, 2], &(0..4 * count).map(|v| v as u8).collect::<Vec<_>>())
}

fn labels(targets: &[u8]) -> Vec<u8> {
    idx(LABELS_MAGIC, &[targets.len() as u32], targets)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn train_only(images: Vec<u8>, labels: Vec<u8>) -> TempDir {
    folder(&[("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)])
}

fn open_error(folder: &TempDir) -> DataError {
    DataSource::open(folder.path(), None).unwrap_err()
}

fn load_error(folder: &TempDir) -> DataError {
    DataSource::open(folder.path(), None).unwrap().load(Split::Train, &spec(2), &mut |_, _| ()).unwrap_err()
}

#[test]
fn plain_gzip_and_dotted_names_are_read() {
    let folder = folder(&[
        ("train-images-idx3-ubyte.gz", gzip(&images(3))),
        ("train-labels-idx1-ubyte.gz", labels(&[0, 2, 1])), // unpacked by a browser that kept the name
        ("t10k-images.idx3-ubyte", images(2)),
        ("t10k-labels.idx1-ubyte", labels(&[1, 1])),
    ]);
    let source = DataSource::open(folder.path(), None).unwrap();
    assert_eq!(source.kind(), Kind::Mnist);
    assert_eq!(source.labels(), ["0", "1", "2"]);
    assert_eq!((source.count(Split::Train), source.count(Split::Test)), (Some(3), Some(2)));
    assert_eq!(source.evaluation_split(), Split::Test);
    let mut calls = Vec::new();
    let train = source.load(Split::Train, &spec(2), &mut |done, of| calls.push((done, of))).unwrap();
    assert_eq!(train.targets, [0, 2, 1]);
    assert_eq!(train.input(2), [8, 9, 10, 11]);
    assert_eq!(calls, [(3, 3)]);
    let test = source.load(Split::Test, &spec(1), &mut |_, _| ()).unwrap();
    assert_eq!(test.input(1), [6]); // the mean of 4, 5, 6, 7 is 5.5
    assert_eq!(test.names[1], "test image 1");
}

#[test]
fn one_set_is_used_for_evaluation_too_and_others_are_named_as_missing() {
    let folder = train_only(images(2), labels(&[0, 1]));
    let source = DataSource::open(folder.path(), None).unwrap();
    assert_eq!(source.evaluation_split(), Split::Train);
    let message = source.load(Split::Test, &spec(2), &mut |_, _| ()).unwrap_err().to_string();
    assert!(message.contains("no test set") && message.contains("(train)"), "{message}");
}

#[test]
fn another_number_of_labels_names_both_counts() {
    let message = open_error(&train_only(images(3), labels(&[0, 1]))).to_string();
    assert!(message.contains("3 images") && message.contains("2 labels"), "{message}");
}

#[test]
fn missing_labels_are_named() {
    let folder = folder(&[("train-images-idx3-ubyte", images(3))]);
    let message = open_error(&folder).to_string();
    assert!(message.contains("train-labels-idx1-ubyte: missing"), "{message}");
}

#[test]
fn a_label_file_replaces_the_names_or_is_refused_with_both_counts() {
    let data = train_only(images(3), labels(&[0, 2, 1]));
    let names = data.path().join("names.txt");
    fs::write(&names, "shirt\ncoat\nboot\n").unwrap();
    assert_eq!(DataSource::open(data.path(), Some(&names)).unwrap().labels(), ["shirt", "coat", "boot"]);
    fs::write(&names, "shirt\ncoat\n").unwrap();
    let message = DataSource::open(data.path(), Some(&names)).unwrap_err().to_string();
    assert!(message.contains("names.txt") && message.contains("names 2") && message.contains("has 3"), "{message}");
}

#[test]
fn a_test_label_outside_the_training_classes_names_the_image() {
    let folder = folder(&[
        ("train-images-idx3-ubyte", images(2)),
        ("train-labels-idx1-ubyte", labels(&[0, 1])),
        ("t10k-images-idx3-ubyte", images(2)),
        ("t10k-labels-idx1-ubyte", labels(&[1, 7])),
    ]);
    let error = open_error(&folder);
    assert!(matches!(error, DataError::LabelOutside { index: 1, label: 7, classes: 2, .. }), "{error}");
}

#[test]
fn one_class_and_no_images_are_refused() {
    let error = open_error(&train_only(images(2), labels(&[0, 0])));
    assert!(matches!(error, DataError::OneClass { .. }), "{error}");
    let error = load_error(&train_only(images(2), labels(&[1, 1])));
    assert!(matches!(&error, DataError::OneClass { class, .. } if class == "1"), "{error}");
    let error = open_error(&train_only(images(0), labels(&[])));
    assert!(matches!(error, DataError::Empty { .. }), "{error}");
}

#[test]
fn swapped_files_are_told_by_their_magic_numbers() {
    let message = open_error(&train_only(labels(&[0, 1]), images(2))).to_string();
    assert!(message.contains("0x00000803, expected 0x00000801"), "{message}");
}

#[test]
fn cut_files_say_how_much_is_missing() {
    let mut cut = images(3);
    cut.truncate(20);
    let error = load_error(&train_only(cut.clone(), labels(&[0, 1, 2])));
    assert!(matches!(error, DataError::Truncated { expected: 28, found: 20, .. }), "{error}");
    let error = load_error(&train_only(gzip(&cut), labels(&[0, 1, 2])));
    assert!(matches!(error, DataError::Truncated { expected: 28, found: 20, .. }), "{error}");
    cut.truncate(6);
    assert!(matches!(open_error(&train_only(cut, labels(&[0]))), DataError::Truncated { .. }));
    assert!(matches!(open_error(&train_only(Vec::new(), labels(&[0]))), DataError::Truncated { found: 0, .. }));
}

#[test]
fn a_cut_or_flipped_gzip_stream_never_loads() {
    let whole = gzip(&images(3));
    for end in 0..whole.len() {
        let folder = train_only(whole[..end].to_vec(), labels(&[0, 1, 2]));
        let loaded = DataSource::open(folder.path(), None)
            .and_then(|source| source.load(Split::Train, &spec(2), &mut |_, _| ()));
        assert!(loaded.is_err(), "{end} of {} bytes", whole.len());
    }
    let mut flipped = whole;
    let checksum = flipped.len() - 6;
    flipped[checksum] ^= 1;
    let error = load_error(&train_only(flipped, labels(&[0, 1, 2])));
    assert!(matches!(error, DataError::Gzip { .. }), "{error}");
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut long = images(2);
    long.push(0);
    let error = load_error(&train_only(long, labels(&[0, 1])));
    assert!(matches!(error, DataError::TooLong { expected: 24, .. }), "{error}");
}

#[test]
fn promised_sizes_are_not_allocated() {
    for sizes in [[2, u32::MAX, u32::MAX], [2, 8192, 8192], [2, 65_536, 1]] {
        let error = load_error(&train_only(idx(IMAGES_MAGIC, &sizes, &[1; 8]), labels(&[0, 1])));
        let known = matches!(error, DataError::TooLarge { .. } | DataError::Truncated { .. });
        assert!(known, "{sizes:?}: {error}");
    }
    let many = idx(IMAGES_MAGIC, &[u32::MAX, 2, 2], &[]);
    let error = open_error(&train_only(many, idx(LABELS_MAGIC, &[u32::MAX], &[])));
    assert!(matches!(error, DataError::TooLarge { .. }), "{error}");
    let error = load_error(&train_only(idx(IMAGES_MAGIC, &[2, 0, 0], &[]), labels(&[0, 1])));
    assert!(matches!(error, DataError::Image { .. }), "{error}");
}

#[test]
fn a_gzip_bomb_is_read_one_byte_beyond_its_promise() {
    let mut bytes = images(2);
    bytes.resize(64 << 20, 0);
    let bomb = gzip(&bytes);
    assert!(bomb.len() < 1 << 20);
    let error = load_error(&train_only(bomb, labels(&[0, 1])));
    assert!(matches!(error, DataError::TooLong { .. }), "{error}");
}

#[test]
fn the_shipped_digits_have_the_counts_that_their_readme_states() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/mnist-10k");
    let source = DataSource::open(&path, None).unwrap();
    let train = source.load(Split::Train, &spec(28), &mut |_, _| ()).unwrap();
    let test = source.load(Split::Test, &spec(28), &mut |_, _| ()).unwrap();
    assert_eq!(train.class_counts(), [901, 1014, 892, 929, 882, 777, 912, 963, 850, 880]);
    assert_eq!(test.class_counts(), [100, 113, 99, 103, 98, 86, 102, 107, 94, 98]);
    let test_images: std::collections::HashSet<_> = (0..test.len()).map(|i| test.input(i)).collect();
    assert_eq!(test_images.len(), 1000);
    assert!((0..train.len()).all(|i| !test_images.contains(train.input(i))));
}
