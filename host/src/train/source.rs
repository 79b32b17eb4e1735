//! Where the batches of an epoch come from.

use crate::data::{self, Feed};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::ops::Range;

/// What goes into the network, image after image.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Pixels before normalization, `[n, h, w, c]`.
    Pixels(Vec<u8>),
    /// What layers that are not trained made of the images, `[n, c, h, w]`, and `[c, h, w]`.
    Features(Vec<f32>, [usize; 3]),
}

impl Inputs {
    /// Those of some of `images` images.
    pub(super) fn part(&self, part: &Range<usize>, images: usize) -> Self {
        let of = |len: usize| len / images.max(1);
        match self {
            Self::Pixels(pixels) => {
                let size = of(pixels.len());
                Self::Pixels(pixels[part.start * size..part.end * size].to_vec())
            }
            Self::Features(values, shape) => {
                let size = of(values.len());
                Self::Features(values[part.start * size..part.end * size].to_vec(), *shape)
            }
        }
    }
}

/// Images for one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The images.
    pub inputs: Inputs,
    /// Their classes.
    pub targets: Vec<usize>,
    /// For each image the class of the one that was mixed into it, and that one's share; empty where nothing is mixed.
    pub mixed: Vec<(usize, f32)>,
    /// Their places in the set.
    pub indices: Vec<usize>,
}

impl Batch {
    /// The class that most of image `i` is of.
    #[must_use]
    pub fn class(&self, i: usize) -> usize {
        match self.mixed.get(i) {
            Some(&(partner, share)) if share > 0.5 => partner,
            _ => self.targets[i],
        }
    }
}

/// The batches of an epoch.
pub type Epoch<'a> = Box<dyn Iterator<Item = anyhow::Result<Batch>> + 'a>;

/// Gives the batches of every epoch: the same ones whenever it is asked for the same epoch.
pub trait Source {
    /// Images of an epoch.
    fn images(&self) -> usize;

    /// Batches of an epoch.
    fn batches(&self) -> usize;

    /// The batches of an epoch (from 1) without the first `skip`.
    fn epoch(&self, epoch: usize, skip: usize) -> Epoch<'_>;
}

impl Source for Feed {
    fn images(&self) -> usize {
        self.images()
    }

    fn batches(&self) -> usize {
        self.batches()
    }

    fn epoch(&self, epoch: usize, skip: usize) -> Epoch<'_> {
        Box::new(self.epoch_from(epoch, skip).map(|batch| {
            let data::Batch { images, targets, partners, indices } = batch?;
            Ok(Batch { inputs: Inputs::Pixels(images), targets, mixed: partners.unwrap_or_default(), indices })
        }))
    }
}

/// The images of each batch of an epoch, in an order drawn by seed and epoch.
pub(super) fn shuffled(images: usize, batch_size: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(mixed(seed, epoch as u64)));
    order.chunks(batch_size.max(1)).map(<[usize]>::to_vec).collect()
}

/// A seed for the `n`th thing that a seed is for.
///
/// # Source
/// Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014: the finalizer of SplitMix64.
pub(super) fn mixed(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::tests::halves;
    use super::*;
    use crate::data::FeedOptions;
    use std::sync::Arc;

    #[test]
    fn an_epoch_of_a_feed_can_be_taken_up_anywhere() {
        let set = halves(10, 1);
        let feed = Feed::new(Arc::new(set.clone()), FeedOptions { batch_size: 3, seed: 7, ..FeedOptions::default() });
        let source: &dyn Source = &feed;
        let epoch = |epoch, skip| source.epoch(epoch, skip).map(Result::unwrap).collect::<Vec<_>>();
        let whole = epoch(2, 0);
        assert_eq!((whole.len(), source.batches(), source.images()), (4, 4, 10));
        assert_eq!(epoch(2, 2), whole[2..]);
        assert_ne!(epoch(1, 0), whole);
        for batch in whole {
            let pixels = batch.indices.iter().flat_map(|&i| set.input(i)).copied().collect();
            assert_eq!(batch.inputs, Inputs::Pixels(pixels));
            assert!(batch.indices.iter().zip(&batch.targets).all(|(&i, &target)| set.targets[i] == target));
        }
    }

    #[test]
    fn orders_hold_every_image_once_and_change_with_the_epoch() {
        let order = shuffled(10, 3, 7, 1);
        assert_eq!(order.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        assert_eq!(order, shuffled(10, 3, 7, 1));
        assert_ne!(order, shuffled(10, 3, 7, 2));
        let mut seen = order.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }
}
