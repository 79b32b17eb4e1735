//! Batches in order, and the tensors that pixels make.

use crate::data::{DataError, Dataset, ImageSource};
use crate::network::Network;
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

/// Batches of image indices in the set's order; every image occurs once.
#[derive(Debug)]
pub struct Batches {
    order: std::ops::Range<usize>,
    size: usize,
}

impl Batches {
    /// In the set's order.
    #[must_use]
    pub fn in_order(images: usize, size: usize) -> Self {
        Self { order: 0..images, size: size.max(1) }
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
    let pixels: Vec<u8> = batch.iter().flat_map(|&i| set.input(i)).copied().collect();
    pixel_tensor(network, &pixels, device)
}

/// As [`input_tensor`], of images that may be on disk.
///
/// # Errors
/// When an image cannot be read any more.
pub(super) fn read_tensor(
    network: &Network,
    set: &dyn ImageSource,
    batch: &[usize],
    device: &Device,
) -> Result<Tensor<4>, DataError> {
    let mut pixels = vec![0; set.image_len() * batch.len()];
    // an image that is not in memory is decoded
    let images = batch.par_iter().zip(pixels.par_chunks_exact_mut(set.image_len().max(1)));
    images.try_for_each(|(&index, out)| set.pixels(index, out))?;
    Ok(pixel_tensor(network, &pixels, device))
}

/// Normalized pixels, `[n, h, w, c]` before, as `[n, c, h, w]`.
#[must_use]
pub fn pixel_tensor(network: &Network, pixels: &[u8], device: &Device) -> Tensor<4> {
    let shape = network.input.shape;
    let [h, w, c] = [shape.h, shape.w, shape.c].map(|n| n as usize);
    let tables: Vec<[f32; 256]> =
        (0..c).map(|channel| std::array::from_fn(|v| network.input.normalize(channel, v as u8))).collect();
    let size = (h * w * c).max(1);
    let images = pixels.len() / size;
    let mut values = vec![0.0; images * size];
    let planes = values.par_chunks_exact_mut((h * w).max(1)).enumerate();
    planes.for_each(|(plane, values)| {
        let (image, channel) = (plane / c.max(1), plane % c.max(1));
        let pixels = &pixels[image * size..(image + 1) * size];
        for (value, &pixel) in values.iter_mut().zip(pixels.iter().skip(channel).step_by(c.max(1))) {
            *value = tables[channel][usize::from(pixel)];
        }
    });
    Tensor::from_data(TensorData::new(values, [images, c, h, w]), device)
}
