//! Folders of small pictures, good and bad.

use super::super::{DataSource, Dataset, Kind};
use super::*;
use image::{Rgb, RgbImage};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::Shape;
use tempfile::TempDir;

const SPEC: InputSpec = InputSpec {
    shape: Shape::new(4, 4, 3),
    color: ColorOrder::Rgb,
    resize: Resize::Stretch,
    mean: [0.0; 3],
    std: [1.0; 3],
};

/// A PNG at `path` in `folder`, all of one gray `value`.
fn put(folder: &TempDir, path: &str, value: u8) {
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(6, 5, Rgb([value; 3])).save_with_format(path, image::ImageFormat::Png).unwrap();
}

fn put_text(folder: &TempDir, path: &str) {
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "not an image").unwrap();
}

fn pictures(paths: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (value, path) in (0..).zip(paths) {
        put(&folder, path, value);
    }
    folder
}

fn load(folder: &TempDir, split: Split) -> Dataset {
    DataSource::open(folder.path(), None).unwrap().load(split, &SPEC, &mut |_, _| ()).unwrap()
}

#[test]
fn folders_are_classes_in_the_order_of_their_names() {
    let folder = pictures(&["dogs/a.png", "cats/b.png", "cats/a.png", "cats/.hidden.png", "cats/more/c.png"]);
    let source = DataSource::open(folder.path(), None).unwrap();
    assert_eq!((source.kind(), source.count(Split::Train)), (Kind::ClassFolders, Some(4)));
    assert_eq!(source.labels(), ["cats", "dogs"]);
    assert_eq!((source.splits(), source.evaluation_split()), (vec![Split::Train], Split::Train));
    let all = load(&folder, Split::Train);
    let names: Vec<_> = ["cats/a.png", "cats/b.png", "cats/more/c.png", "dogs/a.png"]
        .map(|name| Path::new(name).display().to_string())
        .to_vec();
    assert_eq!(all.names, names);
    assert_eq!(all.targets, [0, 0, 0, 1]);
    assert_eq!([0, 1, 2, 3].map(|i| all.input(i)[0]), [2, 1, 4, 0]);
}

#[test]
fn sets_are_found_by_their_folders() {
    let folder = pictures(&[
        "training/a/1.png",
        "training/b/1.png",
        "Val/b/1.png",
        "test/a/1.png",
        "test/b/1.png",
        "notes/x.png",
    ]);
    let source = DataSource::open(folder.path(), None).unwrap();
    assert_eq!(source.splits(), Split::ALL);
    assert_eq!(source.labels(), ["a", "b"]);
    assert_eq!(source.evaluation_split(), Split::Test);
    assert_eq!(load(&folder, Split::Validation).targets, [1]);
}

#[test]
fn a_damaged_file_is_skipped_and_reported() {
    let folder = pictures(&["a/1.png", "b/1.png", "b/3.png"]);
    put_text(&folder, "b/2.jpg");
    let set = load(&folder, Split::Train);
    assert_eq!(set.targets, [0, 1, 1]);
    assert_eq!(set.skipped.len(), 1);
    assert!(set.skipped[0].path.ends_with("b/2.jpg"));
    assert!(set.skipped[0].reason.contains("not a picture"), "{}", set.skipped[0].reason);
}

#[test]
fn a_truncated_jpeg_is_skipped() {
    let folder = pictures(&["a/1.png", "b/1.png"]);
    let path = folder.path().join("a/2.jpg");
    RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, x as u8, y as u8])).save(&path).unwrap();
    let jpeg = fs::read(&path).unwrap();
    assert_eq!(load(&folder, Split::Train).len(), 3);
    fs::write(&path, &jpeg[..jpeg.len() / 2]).unwrap();
    let set = load(&folder, Split::Train);
    assert_eq!((set.len(), set.skipped.len()), (2, 1));
    assert!(set.skipped[0].reason.contains("truncated"), "{}", set.skipped[0].reason);
}

#[test]
fn nothing_but_damaged_files_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    put_text(&folder, "a/1.jpg");
    put_text(&folder, "b/1.jpg");
    let source = DataSource::open(folder.path(), None).unwrap();
    let error = source.load(Split::Train, &SPEC, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, DataError::AllCorrupt { count: 2, .. }), "{error}");
}

#[test]
fn one_class_is_refused() {
    let error = DataSource::open(pictures(&["cats/1.png"]).path(), None).unwrap_err();
    assert!(matches!(&error, DataError::OneClass { class, .. } if class == "cats"), "{error}");
}

#[test]
fn empty_folders_are_refused() {
    let folder = pictures(&["a/1.png", "b/1.png"]);
    fs::create_dir(folder.path().join("c")).unwrap();
    let error = DataSource::open(folder.path(), None).unwrap_err();
    assert!(matches!(&error, DataError::Empty { path } if path.ends_with("c")), "{error}");
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(DataSource::open(nothing.path(), None), Err(DataError::NotADataset { .. })));
}

#[test]
fn what_is_looked_at_may_lack_pictures_and_classes() {
    let folder = pictures(&["train/a/1.png", "train/b/1.png"]);
    fs::create_dir_all(folder.path().join("train/c")).unwrap();
    fs::create_dir_all(folder.path().join("test/a")).unwrap();
    let look = |path: &Path| DataSource::open_to_look(path, &crate::data::OpenOptions::default());
    let source = look(folder.path()).unwrap();
    assert_eq!(source.labels(), ["a", "b", "c"]);
    assert_eq!((source.count(Split::Train), source.count(Split::Test)), (Some(2), Some(0)));
    let found = crate::data::survey(&source, &mut |_, _| ()).unwrap();
    assert_eq!((found.empty_classes(), found.sets[0].classes.clone()), (vec!["c"], vec![1, 1, 0]));
    let one = look(pictures(&["cats/1.png"]).path()).unwrap();
    assert_eq!((one.labels(), one.count(Split::Train)), (&["cats".to_owned()][..], Some(1)));
}

#[test]
fn files_beside_the_pictures_are_no_corrupt_pictures() {
    let folder = pictures(&["train/a/1.png", "train/b/1.PNG", "train/2.png", "3.png", "train/b/no-ending"]);
    put_text(&folder, "train/a/notes.txt");
    put_text(&folder, "train/b/inner/labels.csv");
    put_text(&folder, "README.md");
    put_text(&folder, "train/b/4.heic");
    let source = DataSource::open(folder.path(), None).unwrap();
    let at = |names: [&str; 2]| names.map(|name| folder.path().join(name)).to_vec();
    assert_eq!(source.passed_over().not_pictures, at(["train/a/notes.txt", "train/b/inner/labels.csv"]));
    assert_eq!(source.passed_over().without_class, at(["3.png", "train/2.png"]));
    let set = load(&folder, Split::Train);
    assert_eq!(set.len(), 3, "a picture without an ending is one");
    let skipped: Vec<String> = set.skipped.iter().map(|s| format!("{}: {}", s.path.display(), s.reason)).collect();
    assert_eq!(skipped.len(), 3, "{skipped:?}");
    assert!(skipped[0].contains("4.heic: not a picture in a known format"), "{skipped:?}");
    assert!(skipped[1].contains("notes.txt: no picture, by the ending of its name; 1 file more"), "{skipped:?}");
    assert!(skipped[2].contains("3.png: beside the class folders"), "{skipped:?}");
}

#[test]
fn a_class_that_training_does_not_know_is_refused() {
    let folder = pictures(&["train/a/1.png", "train/b/1.png", "test/c/1.png"]);
    let message = DataSource::open(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("\"c\"") && message.contains("(a, b)"), "{message}");
}

#[test]
fn progress_reaches_the_number_of_files() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..70 {
        put(&folder, &format!("{}/{i}.png", i % 2), 0);
    }
    let mut calls = Vec::new();
    let source = DataSource::open(folder.path(), None).unwrap();
    let set = source.load(Split::Train, &SPEC, &mut |done, of| calls.push((done, of))).unwrap();
    assert_eq!(calls, [(64, 70), (70, 70)]);
    assert_eq!(set.len(), 70);
}

#[cfg(unix)]
#[test]
fn a_link_in_a_circle_ends() {
    let folder = pictures(&["a/1.png", "b/1.png"]);
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/loop")).unwrap();
    assert_eq!(load(&folder, Split::Train).len(), 2);
}
