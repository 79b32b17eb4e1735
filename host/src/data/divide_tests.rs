//! Divided datasets are opened again.

use super::*;
use image::{GrayImage, Luma};
use std::path::PathBuf;
use tempfile::TempDir;

/// 20 pictures of one class and 10 of another, two of them of the same name in different folders.
fn photos() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (class, count, base) in [("a", 20, 0), ("b", 10, 100)] {
        for i in 0..count {
            let inner =
                folder.path().join("photos").join(class).join(if class == "b" && i == 3 { "inner" } else { "" });
            fs::create_dir_all(&inner).unwrap();
            let name = if class == "b" && i == 3 { 4 } else { i };
            GrayImage::from_pixel(3, 3, Luma([base + i])).save(inner.join(format!("{class}{name}.png"))).unwrap();
        }
    }
    folder
}

fn draw(source: &DataSource, parts: [f64; 2], seed: u64, pool: bool) -> anyhow::Result<Division> {
    Division::draw(source, parts, seed, pool, &mut |_, _| ())
}

fn counts(path: &Path) -> Vec<(Split, usize)> {
    let source = DataSource::open(path, None).unwrap();
    source.splits().into_iter().map(|split| (split, source.count(split).unwrap())).collect()
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn folders_hold_each_picture_once_stratified_and_by_seed() {
    let folder = photos();
    let at = |name: &str| folder.path().join(name);
    let source = DataSource::open(&at("photos"), None).unwrap();
    let write = |seed, out: &str, link| {
        let division = draw(&source, [0.2, 0.1], seed, false).unwrap();
        division.write_folders(&at(out), link).unwrap();
        assert_eq!(division.count(Split::Validation), 6);
    };
    write(1, "one", false);
    write(1, "same", true);
    write(2, "other", false);
    assert_eq!(counts(&at("one")), [(Split::Train, 21), (Split::Validation, 6), (Split::Test, 3)]);
    let contents = |root: &Path| files(root).iter().map(|file| fs::read(file).unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(contents(&at("one")), contents(&at("photos")));
    assert_eq!(contents(&at("one")).len(), 30);
    let classes = |set: &str, class: &str| files(&at("one").join(set).join(class)).len();
    assert_eq!(
        [classes("validation", "a"), classes("validation", "b"), classes("test", "a"), classes("test", "b")],
        [4, 2, 2, 1]
    );
    let names = |out: &str| {
        files(&at(out)).iter().map(|file| file.strip_prefix(at(out)).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("one"), names("same"));
    assert_ne!(names("one"), names("other"));
    // no temporary folder is left
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn what_is_there_stays_and_a_failure_leaves_nothing() {
    let folder = photos();
    let at = |name: &str| folder.path().join(name);
    let source = DataSource::open(&at("photos"), None).unwrap();
    let division = draw(&source, [0.2, 0.0], 1, false).unwrap();
    let error = division.write_folders(&at("photos"), false).unwrap_err().to_string();
    assert!(error.contains("is there already"), "{error}");
    fs::remove_file(at("photos/b/b9.png")).unwrap();
    let error = division.write_folders(&at("out"), false).unwrap_err().to_string();
    assert!(error.contains("b9.png"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_table_names_the_files_and_is_opened_again() {
    let folder = photos();
    let table = folder.path().join("set.csv");
    let source = DataSource::open(&folder.path().join("photos"), None).unwrap();
    draw(&source, [0.2, 0.1], 1, false).unwrap().write_csv(&table).unwrap();
    assert_eq!(counts(&table), [(Split::Train, 21), (Split::Validation, 6), (Split::Test, 3)]);
    // divided already, unless its sets are put together
    let source = DataSource::open(&table, None).unwrap();
    let error = draw(&source, [0.5, 0.0], 1, false).unwrap_err().to_string();
    assert!(error.contains("(train, validation, test)") && error.contains("--pool"), "{error}");
    assert_eq!(draw(&source, [0.5, 0.0], 1, true).unwrap().count(Split::Validation), 15);
}

#[test]
fn digits_become_png_files_and_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let digits = DataSource::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/mnist-10k"), None).unwrap();
    let division = draw(&digits, [0.99, 0.0], 1, true).unwrap();
    let error = division.write_csv(&folder.path().join("set.csv")).unwrap_err().to_string();
    assert!(error.contains("without --csv"), "{error}");
    let item = division.items[0].1.clone();
    write_item(&item, &folder.path().join("digit.png"), false).unwrap();
    let written = image::open(folder.path().join("digit.png")).unwrap().into_luma8();
    assert_eq!((written.dimensions(), written.into_raw()), ((28, 28), item.picture.decode().unwrap().pixels));
}

#[test]
fn names_become_harmless() {
    assert_eq!(file_name("T-shirt/top"), "T-shirt-top");
    assert_eq!(file_name(".."), "_.");
    assert_eq!(file_name(" "), "_");
    assert_eq!(file_name("a:b\\c\n"), "a-b-c");
}

#[test]
fn fractions_that_cannot_be_are_refused() {
    let folder = photos();
    let source = DataSource::open(&folder.path().join("photos"), None).unwrap();
    for (validation, test) in [(0.0, 0.0), (0.6, 0.4), (-0.1, 0.2), (f64::NAN, 0.1), (1.0, 0.0)] {
        assert!(draw(&source, [validation, test], 1, false).is_err(), "{validation} {test}");
    }
}

#[test]
fn corrupt_files_are_in_no_set_and_equal_pictures_are_in_one() {
    let folder = photos();
    let at = |name: &str| folder.path().join("photos").join(name);
    for i in 0..20 {
        fs::write(at("a").join(format!("broken{i}.png")), "no picture").unwrap();
    }
    // two pictures three times, one of them in another class too
    for (from, to) in [("a0", "a/x.png"), ("a0", "a/y.png"), ("a1", "a/z.png"), ("a1", "b/a1.png")] {
        fs::copy(at("a").join(format!("{from}.png")), at(to)).unwrap();
    }
    let source = DataSource::open(&folder.path().join("photos"), None).unwrap();
    for seed in 0..20 {
        let mut calls = Vec::new();
        let division =
            Division::draw(&source, [0.25, 0.25], seed, false, &mut |done, of| calls.push((done, of))).unwrap();
        assert_eq!(calls.last(), Some(&(54, 54)));
        assert_eq!((division.skipped().len(), division.kept_together()), (20, 2));
        assert!(division.skipped()[0].path.ends_with("a/broken0.png"));
        // of 24 and 10 pictures; the one of class b that is among those of class a goes with them
        let test = division.items.iter().filter(|(split, item)| *split == Split::Test && item.class == 0).count();
        assert!((5..=6).contains(&test), "{test} of 24");
        let sets_of = |names: &[&str]| {
            let of = division.items.iter().filter(|(_, item)| names.iter().any(|name| item.path().ends_with(name)));
            of.map(|(split, _)| *split).collect::<Vec<_>>()
        };
        for names in [["a/a0.png", "a/x.png", "a/y.png"], ["a/a1.png", "a/z.png", "b/a1.png"]] {
            let sets = sets_of(&names);
            assert!(sets.len() == 3 && sets.iter().all(|set| *set == sets[0]), "seed {seed}: {sets:?}");
        }
    }
}
