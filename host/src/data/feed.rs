//! Batches for the training loop, made ahead on threads of their own.
//!
//! What a batch holds depends on the seed, the epoch and the images alone: not on the number of threads, nor on what was taken
//! before. Any epoch can be begun anew, at any batch, which is what continuing an interrupted training needs.

use super::{DataError, ImageSource};
use crate::augment::{Augmenter, mix, share};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

/// How a [`Feed`] makes its batches.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// Images of a batch; the last one of an epoch holds what is left.
    pub batch_size: usize,
    /// Seed of the order and of the augmentation.
    pub seed: u64,
    /// Whether each epoch has an order of its own; else the order is the set's.
    pub shuffle: bool,
    /// Threads that make batches; 0: the caller's own, when it asks for one.
    pub threads: usize,
    /// Batches that may lie ready.
    pub prefetch: usize,
    /// What happens to the images; `None`: nothing.
    pub augmenter: Option<Augmenter>,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self { batch_size: 32, seed: 1, shuffle: true, threads: 1, prefetch: 4, augmenter: None }
    }
}

/// Images of one training step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Pixel values before normalization, in the network's input size and colour order, `[n, h, w, c]`.
    pub images: Vec<u8>,
    /// The right class of each image.
    pub targets: Vec<usize>,
    /// With mixup: the class of the image that was mixed in, and its share, at most a half. The loss of an image is
    /// `(1 - share) loss(target) + share loss(partner's class)`.
    pub partners: Option<Vec<(usize, f32)>>,
    /// The place of each image in the set.
    pub indices: Vec<usize>,
}

impl Batch {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

/// Makes the batches of any epoch of a training.
pub struct Feed {
    maker: Arc<Maker>,
    threads: usize,
    prefetch: usize,
}

impl Feed {
    /// A feed from `source`, whose images are of the size that the augmenter was made for.
    #[must_use]
    pub fn new(source: Arc<dyn ImageSource>, options: FeedOptions) -> Self {
        let FeedOptions { batch_size, seed, shuffle, threads, prefetch, augmenter } = options;
        let augmenter = augmenter.filter(|augmenter| !augmenter.config().is_none());
        let maker = Maker { source, batch_size: batch_size.max(1), seed, shuffle, augmenter };
        Self { maker: Arc::new(maker), threads, prefetch }
    }

    /// Images of an epoch.
    #[must_use]
    pub fn images(&self) -> usize {
        self.maker.source.len()
    }

    /// Batches of an epoch.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.images().div_ceil(self.maker.batch_size)
    }

    /// The set that the images come from.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn ImageSource> {
        &self.maker.source
    }

    /// The batches of an epoch; every image occurs once.
    #[must_use]
    pub fn epoch(&self, epoch: usize) -> Epoch {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from batch `first` on; none before it is made.
    #[must_use]
    pub fn epoch_from(&self, epoch: usize, first: usize) -> Epoch {
        let order: Arc<[usize]> = self.maker.order(epoch).into();
        let mut batches = Epoch {
            maker: Arc::clone(&self.maker),
            order: Arc::clone(&order),
            epoch,
            next: first,
            end: self.batches(),
            workers: Vec::new(),
            turn: 0,
        };
        let threads = self.threads.min(batches.end.saturating_sub(first));
        for thread in 0..threads {
            let (sender, receiver) = sync_channel(self.prefetch.div_ceil(threads).max(1));
            let (maker, order) = (Arc::clone(&self.maker), Arc::clone(&order));
            let turns = (first + thread..batches.end).step_by(threads);
            let work = move || work(&maker, &order, epoch, turns, &sender);
            match Builder::new().name(format!("feed-{thread}")).spawn(work) {
                Ok(handle) => batches.workers.push(Worker { receiver: Some(receiver), handle: Some(handle) }),
                Err(_) => {
                    // no more threads to be had: the caller makes the batches itself
                    batches.workers.clear();
                    break;
                }
            }
        }
        batches
    }
}

/// The batches of an epoch, in order. Dropped early, it ends its threads.
pub struct Epoch {
    maker: Arc<Maker>,
    order: Arc<[usize]>,
    epoch: usize,
    next: usize,
    end: usize,
    /// Each makes every `workers.len()`-th batch.
    workers: Vec<Worker>,
    turn: usize,
}

impl Epoch {
    /// The number of the next batch in its epoch, from 0.
    #[must_use]
    pub fn position(&self) -> usize {
        self.next
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        // all are told before any is waited for
        self.workers.iter_mut().for_each(|worker| worker.receiver = None);
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let batch = match self.workers.get(self.turn).map(Worker::receive) {
            None => self.maker.batch(&self.order, self.epoch, self.next),
            Some(batch) => batch.unwrap_or(Err(DataError::WorkerLost)),
        };
        self.next = if batch.is_ok() { self.next + 1 } else { self.end };
        self.turn = (self.turn + 1) % self.workers.len().max(1);
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.end - self.next.min(self.end)))
    }
}

/// A thread and the channel that it fills.
struct Worker {
    receiver: Option<Receiver<Result<Batch, DataError>>>,
    handle: Option<JoinHandle<()>>,
}

impl Worker {
    fn receive(&self) -> Option<Result<Batch, DataError>> {
        self.receiver.as_ref()?.recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.receiver = None; // the thread's next send fails, and it ends
        if let Some(handle) = self.handle.take() {
            let _ = handle.join(); // a panic there has shown itself as a lost worker
        }
    }
}

fn work(
    maker: &Maker,
    order: &[usize],
    epoch: usize,
    turns: impl Iterator<Item = usize>,
    sender: &SyncSender<Result<Batch, DataError>>,
) {
    for number in turns {
        let batch = maker.batch(order, epoch, number);
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return; // nobody waits for more
        }
    }
}

/// What a generator is for: each has one of its own.
#[derive(Clone, Copy)]
enum Purpose {
    Order = 1,
    Augmentation = 2,
    Partners = 3,
}

/// Makes any batch from its number.
struct Maker {
    source: Arc<dyn ImageSource>,
    batch_size: usize,
    seed: u64,
    shuffle: bool,
    augmenter: Option<Augmenter>,
}

impl Maker {
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.source.len()).collect();
        if self.shuffle {
            order.shuffle(&mut self.rng(Purpose::Order, epoch, 0));
        }
        order
    }

    fn batch(&self, order: &[usize], epoch: usize, number: usize) -> Result<Batch, DataError> {
        let start = number * self.batch_size;
        let indices = order[start..order.len().min(start + self.batch_size)].to_vec();
        let size = self.source.image_len();
        let mut images = vec![0; size * indices.len()];
        let mut decoded = Vec::new();
        for (&index, out) in indices.iter().zip(images.chunks_exact_mut(size.max(1))) {
            let Some(augmenter) = &self.augmenter else {
                self.source.pixels(index, out)?;
                continue;
            };
            let pixels = match self.source.in_memory(index) {
                Some(pixels) => pixels,
                None => {
                    decoded.resize(size, 0);
                    self.source.pixels(index, &mut decoded)?;
                    &decoded
                }
            };
            let drawn = augmenter.draw(&mut self.rng(Purpose::Augmentation, epoch, index));
            augmenter.apply(&drawn, pixels, out);
        }
        let targets: Vec<usize> = indices.iter().map(|&index| self.source.target(index)).collect();
        let partners = self.mixup(epoch, number, &targets, &mut images);
        Ok(Batch { images, targets, partners, indices })
    }

    /// Mixes each image with another of its batch: all are as far apart, by a number drawn for the batch.
    fn mixup(&self, epoch: usize, number: usize, targets: &[usize], images: &mut [u8]) -> Option<Vec<(usize, f32)>> {
        let alpha = self.augmenter.as_ref().map(|augmenter| augmenter.config().mixup).filter(|&alpha| alpha > 0.0)?;
        let mut rng = self.rng(Purpose::Partners, epoch, number);
        let count = targets.len();
        let distance = if count > 1 { rng.random_range(1..count) } else { 0 };
        let size = self.source.image_len().max(1);
        let before = images.to_vec();
        let partner = |i: usize| (i + distance) % count;
        let shares: Vec<f32> = targets.iter().map(|_| share(alpha, &mut rng)).collect();
        for (i, (image, &share)) in images.chunks_exact_mut(size).zip(&shares).enumerate() {
            mix(image, &before[partner(i) * size..][..size], share);
        }
        Some(shares.into_iter().enumerate().map(|(i, share)| (targets[partner(i)], share)).collect())
    }

    /// A generator that nothing else uses.
    fn rng(&self, purpose: Purpose, epoch: usize, index: usize) -> ChaCha8Rng {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([self.seed, purpose as u64, epoch as u64, index as u64]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
