//! Which images make a batch, and the tensor they make.

use crate::data::Dataset;
use crate::network::Network;
use burn::tensor::{Device, Tensor, TensorData};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Batches of image indices; every image occurs once.
#[derive(Debug)]
pub struct Batches {
    order: std::vec::IntoIter<usize>,
    size: usize,
}

impl Batches {
    /// In the set's order.
    #[must_use]
    pub fn in_order(images: usize, size: usize) -> Self {
        Self { order: (0..images).collect::<Vec<_>>().into_iter(), size: size.max(1) }
    }

    /// In an order drawn from `rng`.
    #[must_use]
    pub fn shuffled(images: usize, size: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut order: Vec<usize> = (0..images).collect();
        order.shuffle(rng);
        Self { order: order.into_iter(), size: size.max(1) }
    }
}

impl Iterator for Batches {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let batch: Vec<usize> = self.order.by_ref().take(self.size).collect();
        (!batch.is_empty()).then_some(batch)
    }
}

/// The normalized images of a batch as `[n, c, h, w]`.
#[must_use]
pub fn input_tensor(network: &Network, set: &Dataset, batch: &[usize], device: &Device) -> Tensor<4> {
    let shape = network.input.shape;
    let [h, w, c] = [shape.h, shape.w, shape.c].map(|n| n as usize);
    let tables: Vec<[f32; 256]> =
        (0..c).map(|channel| std::array::from_fn(|v| network.input.normalize(channel, v as u8))).collect();
    let mut values = Vec::with_capacity(batch.len() * h * w * c);
    for &index in batch {
        let pixels = set.input(index);
        for (channel, table) in tables.iter().enumerate() {
            values.extend(pixels.iter().skip(channel).step_by(c).map(|&v| table[usize::from(v)]));
        }
    }
    Tensor::from_data(TensorData::new(values, [batch.len(), c, h, w]), device)
}
