//! A set that is decoded as it is used gives what the same set in memory gives.

use super::super::{DataSource, Feed, FeedOptions, Split};
use super::*;
use image::{Rgb, RgbImage};
use ocelli::image::{ColorOrder, Resize};
use std::fs;
use tempfile::TempDir;

const SPEC: InputSpec = InputSpec {
    shape: Shape::new(4, 4, 3),
    color: ColorOrder::Rgb,
    resize: Resize::Stretch,
    mean: [0.0; 3],
    std: [1.0; 3],
};

/// Two classes of 30 and 20 pictures, one more that is none, and a validation set of two.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (set, class, count) in [("train", "a", 30), ("train", "b", 20), ("val", "a", 1), ("val", "b", 1)] {
        let path = folder.path().join(set).join(class);
        fs::create_dir_all(&path).unwrap();
        for i in 0..count {
            let value = i * 3 + if class == "a" { 0 } else { 100 };
            RgbImage::from_pixel(5, 6, Rgb([value, 2, 3])).save(path.join(format!("{i:02}.png"))).unwrap();
        }
    }
    fs::write(folder.path().join("train/a/05-broken.png"), "no picture").unwrap();
    folder
}

fn sets(folder: &TempDir) -> [ImageSet; 2] {
    let source = DataSource::open(folder.path(), None).unwrap();
    // 51 files of 48 bytes
    [u64::MAX, 2400].map(|memory| source.images(Split::Train, &SPEC, memory, &mut |_, _| ()).unwrap())
}

fn pixels(set: &ImageSet, i: usize) -> Vec<u8> {
    let mut out = vec![0; set.image_len()];
    set.pixels(i, &mut out).unwrap();
    out
}

#[test]
fn a_streamed_set_is_the_same_set() {
    let folder = folder();
    let [memory, streamed] = sets(&folder);
    assert_eq!((memory.is_streamed(), streamed.is_streamed()), (false, true));
    assert_eq!(streamed.len(), 50);
    assert!(streamed.in_memory(0).is_none() && memory.in_memory(0).is_some());
    assert_eq!(
        (memory.targets(), memory.names(), memory.labels()),
        (streamed.targets(), streamed.names(), streamed.labels())
    );
    assert_eq!((memory.skipped(), memory.skipped().len()), (streamed.skipped(), 1));
    assert!((0..50).all(|i| pixels(&memory, i) == pixels(&streamed, i)));
    assert_eq!(memory.take(11, 4).unwrap(), streamed.take(11, 4).unwrap());
    assert_eq!(memory.head(7).unwrap(), streamed.head(7).unwrap());
    let held_out = Holdout::Drawn { fraction: 0.2, seed: 3 };
    let (memory, streamed) = (memory.split_off(held_out), streamed.split_off(held_out));
    for (memory, streamed) in [(memory.0, streamed.0), (memory.1, streamed.1)] {
        assert_eq!(memory.names(), streamed.names());
        assert_eq!(memory.skipped(), streamed.skipped());
        assert!((0..memory.len()).all(|i| pixels(&memory, i) == pixels(&streamed, i)));
    }
}

#[test]
fn the_feed_takes_the_same_batches_from_both() {
    let folder = folder();
    let batches = sets(&folder).map(|set| {
        let feed = Feed::new(Arc::new(set), FeedOptions { threads: 2, ..FeedOptions::default() });
        feed.epoch(1).map(Result::unwrap).collect::<Vec<_>>()
    });
    assert_eq!(batches[0], batches[1]);
}

#[test]
fn a_file_that_goes_away_is_an_error_that_names_it() {
    let folder = folder();
    let [_, streamed] = sets(&folder);
    fs::remove_file(folder.path().join("train/b/19.png")).unwrap();
    let feed = Feed::new(Arc::new(streamed), FeedOptions::default());
    let error = feed.epoch(1).find_map(Result::err).unwrap();
    assert!(error.to_string().contains("19.png"), "{error}");
}

#[test]
fn a_validation_set_comes_before_a_share_and_a_share_before_nothing() {
    let folder = folder();
    let divided = |folder: &TempDir, held_out| {
        let source = DataSource::open(folder.path(), None).unwrap();
        source.training_images(&SPEC, u64::MAX, held_out, &mut |_, _| ()).unwrap()
    };
    let sets = |folder: &TempDir| divided(folder, Holdout::Drawn { fraction: 0.1, seed: 1 });
    let (training, validation) = sets(&folder);
    assert_eq!((training.len(), validation.len()), (50, 2));
    let (training, validation) = divided(&folder, Holdout::Last(0.1)); // asked for: in any case
    assert_eq!((training.len(), validation.names()[4].as_str()), (45, "train/b/19.png"));
    fs::create_dir_all(folder.path().join("test")).unwrap();
    fs::rename(folder.path().join("val/a"), folder.path().join("test/a")).unwrap();
    fs::write(folder.path().join("val/note.txt"), "").unwrap();
    assert_eq!(sets(&folder).1.names(), ["val/b/00.png"]);
    fs::remove_dir_all(folder.path().join("val")).unwrap();
    assert_eq!(sets(&folder).1.names(), ["test/a/00.png"]);
    fs::remove_dir_all(folder.path().join("test")).unwrap();
    let (training, validation) = sets(&folder);
    assert_eq!((training.len(), validation.len()), (45, 5));
}

#[test]
fn raw_pictures_stream_from_their_own_size() {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/mnist-10k");
    let source = DataSource::open(&digits, None).unwrap();
    let spec = InputSpec { shape: Shape::new(40, 40, 1), color: ColorOrder::Gray, ..SPEC };
    // 1000 digits of 784 bytes fit, of 1600 bytes they do not
    let streamed = source.images(Split::Test, &spec, 1_000_000, &mut |_, _| ()).unwrap();
    assert!(streamed.is_streamed());
    let memory = source.load(Split::Test, &spec, &mut |_, _| ()).unwrap();
    assert_eq!(streamed.names(), memory.names);
    assert!([0, 1, 999].iter().all(|&i| pixels(&streamed, i) == memory.input(i)));
    let error = source.images(Split::Test, &spec, 500_000, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, DataError::TooLarge { limit: 500_000, .. }), "{error}");
}
