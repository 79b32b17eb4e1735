//! Where the batches of an epoch come from.

use crate::data::Dataset;
use anyhow::ensure;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What goes into the network, image after image.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Pixels before normalization, `[n, h, w, c]`.
    Pixels(Vec<u8>),
    /// What layers that are not trained made of the images, `[n, c, h, w]`, and `[c, h, w]`.
    Features(Vec<f32>, [usize; 3]),
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

/// A set in memory, shuffled anew for each epoch.
#[derive(Clone, Copy, Debug)]
pub struct Shuffled<'a> {
    set: &'a Dataset,
    batch_size: usize,
    seed: u64,
}

impl<'a> Shuffled<'a> {
    /// Batches of a set.
    ///
    /// # Errors
    /// When there are no images.
    pub fn new(set: &'a Dataset, batch_size: usize, seed: u64) -> anyhow::Result<Self> {
        ensure!(!set.is_empty(), "there are no images to train on");
        Ok(Self { set, batch_size: batch_size.max(1), seed })
    }
}

impl Source for Shuffled<'_> {
    fn images(&self) -> usize {
        self.set.len()
    }

    fn batches(&self) -> usize {
        self.set.len().div_ceil(self.batch_size)
    }

    fn epoch(&self, epoch: usize, skip: usize) -> Epoch<'_> {
        let batches = shuffled(self.set.len(), self.batch_size, self.seed, epoch).into_iter().skip(skip);
        Box::new(batches.map(|indices| {
            let pixels = indices.iter().flat_map(|&i| self.set.input(i)).copied().collect();
            let targets = indices.iter().map(|&i| self.set.targets[i]).collect();
            Ok(Batch { inputs: Inputs::Pixels(pixels), targets, mixed: Vec::new(), indices })
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
    use super::*;
    use ocelli::ir::Shape;

    #[test]
    fn an_epoch_can_be_taken_up_anywhere_and_holds_every_image_once() {
        let set = Dataset {
            labels: vec!["a".into(), "b".into()],
            shape: Shape::new(1, 1, 1),
            pixels: (0..10).collect(),
            targets: (0..10).map(|i| i % 2).collect(),
            names: vec![String::new(); 10],
            skipped: vec![],
        };
        let source = Shuffled::new(&set, 3, 7).unwrap();
        let epoch = |epoch, skip| source.epoch(epoch, skip).map(Result::unwrap).collect::<Vec<_>>();
        let whole = epoch(2, 0);
        assert_eq!(whole.len(), source.batches());
        assert_eq!(epoch(2, 2), whole[2..]);
        assert_ne!(epoch(1, 0), whole);
        let mut seen: Vec<usize> = whole.iter().flat_map(|batch| batch.indices.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        for batch in whole {
            let Inputs::Pixels(pixels) = batch.inputs else { unreachable!() };
            assert!(batch.indices.iter().zip(pixels).all(|(&i, pixel)| usize::from(pixel) == i));
        }
    }
}
