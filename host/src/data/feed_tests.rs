//! What a batch holds does not depend on how it is made.

use super::*;
use crate::augment::AugmentationConfig;
use crate::data::{Dataset, Skipped};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::Shape;
use std::path::PathBuf;

const SPEC: InputSpec = InputSpec {
    shape: Shape::new(6, 6, 1),
    color: ColorOrder::Gray,
    resize: Resize::Stretch,
    mean: [0.0; 3],
    std: [1.0; 3],
};

/// `count` images of classes 0, 1, 2, 0...; image `i` begins with `i`.
fn dataset(count: usize) -> Arc<dyn ImageSource> {
    let pixels = (0..count).flat_map(|i| (0..36).map(move |p| ((i + 13 * p) % 256) as u8)).collect();
    Arc::new(Dataset {
        labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
        shape: SPEC.shape,
        pixels,
        targets: (0..count).map(|i| i % 3).collect(),
        names: (0..count).map(|i| i.to_string()).collect(),
        skipped: Vec::new(),
    })
}

fn augmenter(mixup: f64) -> Option<Augmenter> {
    let config = AugmentationConfig { rotation: 30.0, horizontal_flip: true, cutout: 2, mixup, ..Default::default() };
    Some(Augmenter::new(&config, &SPEC).unwrap())
}

fn all(feed: &Feed, epoch: usize) -> Vec<Batch> {
    feed.epoch(epoch).map(Result::unwrap).collect()
}

#[test]
fn every_image_occurs_once_with_its_target_in_an_order_of_the_epoch() {
    let feed = Feed::new(dataset(50), FeedOptions { batch_size: 8, ..FeedOptions::default() });
    assert_eq!((feed.images(), feed.batches()), (50, 7));
    let orders: Vec<Vec<usize>> = (1..=2)
        .map(|epoch| {
            let batches = all(&feed, epoch);
            assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [8, 8, 8, 8, 8, 8, 2]);
            for batch in &batches {
                for (i, &index) in batch.indices.iter().enumerate() {
                    assert_eq!((batch.targets[i], usize::from(batch.images[36 * i])), (index % 3, index));
                }
            }
            batches.into_iter().flat_map(|batch| batch.indices).collect()
        })
        .collect();
    assert_ne!(orders[0], orders[1]);
    for mut order in orders {
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
    let in_order = Feed::new(dataset(9), FeedOptions { shuffle: false, ..FeedOptions::default() });
    assert_eq!(all(&in_order, 5)[0].indices, (0..9).collect::<Vec<_>>());
}

#[test]
fn threads_and_prefetch_do_not_change_the_batches() {
    let batches = |threads, prefetch, seed| {
        let options =
            FeedOptions { batch_size: 7, seed, threads, prefetch, augmenter: augmenter(0.3), ..FeedOptions::default() };
        all(&Feed::new(dataset(60), options), 2)
    };
    let expected = batches(0, 0, 1);
    for (threads, prefetch) in [(1, 1), (2, 4), (3, 0), (20, 100)] {
        assert_eq!(batches(threads, prefetch, 1), expected, "{threads} {prefetch}");
    }
    assert_ne!(batches(1, 1, 9), expected);
}

#[test]
fn an_epoch_can_be_begun_anew_in_its_middle() {
    let options = FeedOptions { batch_size: 7, augmenter: augmenter(0.3), threads: 2, ..FeedOptions::default() };
    let feed = Feed::new(dataset(60), options);
    let whole = all(&feed, 3);
    for first in [0, 4, 8, 9, 100] {
        let rest: Vec<Batch> = feed.epoch_from(3, first).map(Result::unwrap).collect();
        assert_eq!(rest, whole[first.min(whole.len())..]);
    }
}

#[test]
fn augmentation_differs_from_epoch_to_epoch_and_goes_with_the_image_not_the_batch() {
    let images = |batch_size, epoch| {
        let options = FeedOptions { batch_size, augmenter: augmenter(0.0), ..FeedOptions::default() };
        let mut images = vec![Vec::new(); 40];
        for batch in all(&Feed::new(dataset(40), options), epoch) {
            for (&index, image) in batch.indices.iter().zip(batch.images.chunks_exact(36)) {
                images[index] = image.to_vec();
            }
        }
        images
    };
    assert_eq!(images(8, 1), images(5, 1));
    let same = images(8, 1).iter().zip(images(8, 2)).filter(|(a, b)| *a == b).count();
    assert!(same < 4, "{same} of 40 are the same in the next epoch");
}

#[test]
fn mixup_states_the_partner_and_its_share() {
    let config = AugmentationConfig { mixup: 1.0, ..Default::default() };
    let augmenter = Some(Augmenter::new(&config, &SPEC).unwrap());
    let source = dataset(30);
    let feed = Feed::new(Arc::clone(&source), FeedOptions { batch_size: 10, augmenter, ..FeedOptions::default() });
    let mut mixed = 0;
    for batch in all(&feed, 1) {
        let partners = batch.partners.unwrap();
        for (i, &(class, share)) in partners.iter().enumerate() {
            assert!((0.0..=0.5).contains(&share));
            let own = source.in_memory(batch.indices[i]).unwrap();
            // one of the others of that class makes up the rest
            let found = batch.indices.iter().any(|&other| {
                let other_pixels = source.in_memory(other).unwrap();
                source.target(other) == class
                    && (0..36).all(|p| {
                        let (a, b) = (f32::from(own[p]), f32::from(other_pixels[p]));
                        (f32::from(batch.images[36 * i + p]) - (a + share * (b - a))).abs() <= 0.6
                    })
            });
            assert!(found, "image {i}: no partner of class {class} fits");
            mixed += usize::from(share > 0.05);
        }
    }
    assert!(mixed > 15, "{mixed}");
    assert!(all(&Feed::new(source, FeedOptions::default()), 1)[0].partners.is_none());
}

/// Fails at one image.
struct Damaged;

impl ImageSource for Damaged {
    fn labels(&self) -> &[String] {
        &[]
    }
    fn shape(&self) -> Shape {
        Shape::new(1, 1, 1)
    }
    fn targets(&self) -> &[usize] {
        &[0; 100]
    }
    fn names(&self) -> &[String] {
        &[]
    }
    fn skipped(&self) -> &[Skipped] {
        &[]
    }
    fn pixels(&self, i: usize, _out: &mut [u8]) -> Result<(), DataError> {
        if i == 50 {
            return Err(DataError::Image { path: PathBuf::from("50.png"), reason: "gone".to_owned() });
        }
        assert!(i < 90, "a bug");
        Ok(())
    }
}

#[test]
fn an_error_or_a_panic_ends_the_epoch_once() {
    for threads in [0, 1, 3] {
        let options = FeedOptions { batch_size: 10, shuffle: false, threads, ..FeedOptions::default() };
        let feed = Feed::new(Arc::new(Damaged), options);
        let results: Vec<_> = feed.epoch(1).collect();
        assert_eq!(results.len(), 6);
        assert!(results[..5].iter().all(Result::is_ok));
        assert!(results[5].as_ref().unwrap_err().to_string().contains("50.png"));
    }
    let options = FeedOptions { batch_size: 10, shuffle: false, threads: 2, ..FeedOptions::default() };
    let last: Vec<_> = Feed::new(Arc::new(Damaged), options).epoch_from(1, 8).collect();
    assert!(last[0].is_ok() && matches!(last[1], Err(DataError::WorkerLost)) && last.len() == 2);
}

#[test]
fn an_epoch_dropped_in_its_middle_ends_its_threads() {
    let source = dataset(5000);
    let feed = Feed::new(Arc::clone(&source), FeedOptions { threads: 4, prefetch: 3, ..FeedOptions::default() });
    let mut epoch = feed.epoch(1);
    assert_eq!(epoch.next().unwrap().unwrap().len(), 32);
    assert_eq!(epoch.position(), 1);
    drop(epoch);
    drop(feed);
    // the threads held the set
    assert_eq!(Arc::strong_count(&source), 1);
}
