//! Augmentation: each training image is a little different in each epoch. Pixels in, pixels out, at the network's input size.
//!
//! All movements of an image (rotation, shifts, shear, zoom, flips, the random crop) are one matrix and one bilinear pass; all
//! changes of its colours are one more. What an image gets is drawn from a generator of its own, so that neither the number of
//! threads nor the order of the images matters.
//!
//! # Source
//! The movements are those of Keras' `ImageDataGenerator` (<https://keras.io/api/data_loading/image/>): same ranges, same matrices,
//! same order.

mod affine;
mod color;
mod config;
mod draw;
mod mixup;
mod warp;

pub use affine::Affine;
pub use color::ColorTransform;
pub use config::{AugmentationConfig, Fill};
pub use draw::Parameters;
pub use mixup::{mix, share};
pub use warp::warp;

use anyhow::ensure;
use ocelli::image::{ColorOrder, InputSpec};
use rand_chacha::ChaCha8Rng;

/// Augments images of one size and colour order.
#[derive(Clone, Debug)]
pub struct Augmenter {
    config: AugmentationConfig,
    height: usize,
    width: usize,
    color: ColorOrder,
    /// What the cutout's square holds: the pixel that normalization makes zero.
    mean: [u8; 3],
}

impl Augmenter {
    /// An augmenter for a network's input.
    ///
    /// # Errors
    /// When a value cannot work (see [`AugmentationConfig::validate`]), or asks for colours where there is only gray.
    pub fn new(config: &AugmentationConfig, spec: &InputSpec) -> anyhow::Result<Self> {
        config.validate()?;
        let (height, width) = (spec.shape.h as usize, spec.shape.w as usize);
        ensure!(
            spec.color != ColorOrder::Gray || !config.changes_hues(),
            "[augmentation] saturation and hue need colours, the network's input is gray: remove them"
        );
        ensure!(
            spec.shape.c == spec.color.channels(),
            "images of {} channels cannot be augmented, those of {} can",
            spec.shape.c,
            spec.color.channels()
        );
        let side = config.cutout.max(config.random_crop) as usize;
        ensure!(
            side <= height.max(width),
            "[augmentation] random_crop = {} and cutout = {} must not exceed the input of {height} x {width} pixels",
            config.random_crop,
            config.cutout
        );
        // saturates: a mean outside of 0..=1 is no pixel
        let mean = spec.mean.map(|mean| (255.0 * mean).round() as u8);
        Ok(Self { config: config.clone(), height, width, color: spec.color, mean })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &AugmentationConfig {
        &self.config
    }

    /// What an image gets, drawn from `rng`.
    #[must_use]
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Parameters {
        Parameters::draw(&self.config, [self.height, self.width], rng)
    }

    /// Makes the augmented image.
    ///
    /// # Shapes
    /// `source` and `out` are `[h, w, c]` of the input.
    ///
    /// # Panics
    /// When a slice has another length.
    pub fn apply(&self, parameters: &Parameters, source: &[u8], out: &mut [u8]) {
        let (height, width, channels) = (self.height, self.width, self.color.channels() as usize);
        let affine = parameters.affine(height, width);
        warp(source, [height, width, channels], &affine, self.config.fill, self.config.fill_value, out);
        if let Some(change) = parameters.color(out, self.color) {
            change.apply(out, self.color);
        }
        if let Some(center) = parameters.cutout {
            self.cut_out(center, out);
        }
    }

    /// Fills a square of the configured side around `center` (row, column); what lies outside of the image is cut off.
    ///
    /// # Source
    /// DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", arXiv:1708.04552, section 3.
    fn cut_out(&self, center: [usize; 2], out: &mut [u8]) {
        let side = self.config.cutout as usize;
        let span = |at: usize, length: usize| {
            let start = at.saturating_sub(side / 2);
            start..(at + side - side / 2).min(length)
        };
        let channels = self.color.channels() as usize;
        for row in span(center[0], self.height) {
            for column in span(center[1], self.width) {
                let at = channels * (row * self.width + column);
                out[at..at + channels].copy_from_slice(&self.mean[..channels]);
            }
        }
    }
}

#[cfg(test)]
#[path = "augment_tests.rs"]
mod tests;
