//! A network in float on a set: loss and accuracy, dropout off.

use super::batches::{Batches, read_tensor};
use super::module::Classifier;
use super::parts::to_vec;
use crate::data::ImageSource;
use crate::network::{Network, Weights};
use anyhow::{Context, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use ocelli::ir::Shape;
use serde::Serialize;

/// Most images that are evaluated at a time.
const EVALUATION_BATCH: usize = 64;
/// Bytes that the largest output of a layer may have for all of them.
const EVALUATION_BYTES: usize = 64 << 20;

/// Mean cross-entropy and accuracy over a set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of images whose largest logit is the right class.
    pub accuracy: f64,
}

/// What a network makes of a set.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Loss and accuracy.
    pub score: Score,
    /// Logits, `[n, classes]`.
    pub logits: Vec<f32>,
}

/// Runs a network in float, without dropout.
///
/// # Errors
/// When weights are missing, the set is empty, or an image cannot be read.
pub fn evaluate(
    network: &Network,
    weights: &Weights,
    set: &dyn ImageSource,
    device: &Device,
) -> anyhow::Result<Evaluation> {
    ensure!(!set.is_empty(), "there are no images to evaluate on");
    network.check_labels(set.labels())?;
    let module = Classifier::new(network, weights, device).context("cannot build the network")?;
    let mut logits = Vec::new();
    for batch in Batches::in_order(set.len(), evaluation_batch(network)?) {
        logits.extend(to_vec(module.forward(read_tensor(network, set, &batch, device)?)));
    }
    Ok(Evaluation { score: score(&logits, set.targets()), logits })
}

/// How many images are evaluated at a time: fewer where they are large, so that memory stays bounded.
pub(super) fn evaluation_batch(network: &Network) -> anyhow::Result<usize> {
    let layers = network.wired()?;
    let outputs = layers.iter().map(|layer| layer.output).chain([network.input.shape]);
    let largest = outputs.filter_map(Shape::elements).max().unwrap_or(1) as usize;
    Ok((EVALUATION_BYTES / size_of::<f32>() / largest.max(1)).clamp(1, EVALUATION_BATCH))
}

/// What layers that are not trained made of a set, image after image.
#[derive(Clone, Debug)]
pub(super) struct Features {
    /// `[n, c, h, w]`.
    pub values: Vec<f32>,
    /// `[c, h, w]`.
    pub shape: [usize; 3],
}

impl Features {
    /// Numbers of an image.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// The features of some images.
    pub fn of(&self, images: &[usize]) -> Vec<f32> {
        let size = self.size();
        images.iter().flat_map(|&i| &self.values[i * size..(i + 1) * size]).copied().collect()
    }

    /// Runs the layers before stage `end` over a set.
    ///
    /// # Errors
    /// When an image cannot be read any more.
    pub fn compute(
        module: &Classifier,
        network: &Network,
        set: &dyn ImageSource,
        end: usize,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let mut features = Self { values: Vec::new(), shape: [0; 3] };
        for batch in Batches::in_order(set.len(), evaluation_batch(network)?) {
            let y = module.features(read_tensor(network, set, &batch, device)?, end);
            let [_, c, h, w] = y.dims();
            if features.values.is_empty() {
                features.shape = [c, h, w];
                features.values.reserve_exact(features.size() * set.len());
            }
            features.values.extend(to_vec(y));
        }
        Ok(features)
    }
}

/// Features as a tensor `[n, c, h, w]`.
pub(super) fn feature_tensor(values: Vec<f32>, [c, h, w]: [usize; 3], device: &Device) -> Tensor<4> {
    let images = values.len() / (c * h * w).max(1);
    Tensor::from_data(TensorData::new(values, [images, c, h, w]), device)
}

/// Cross-entropy and accuracy of logits `[n, classes]`.
#[must_use]
pub fn score(logits: &[f32], targets: &[usize]) -> Score {
    let classes = logits.len() / targets.len().max(1);
    let (mut loss, mut correct) = (0.0, 0);
    for (row, &target) in logits.chunks_exact(classes.max(1)).zip(targets) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&v| f64::from(v - largest).exp()).sum();
        loss += sum.ln() - f64::from(row[target] - largest);
        correct += usize::from(argmax(row) == target);
    }
    let n = targets.len().max(1) as f64;
    Score { loss: loss / n, accuracy: correct as f64 / n }
}

/// The index of the first largest value.
#[must_use]
pub fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, v)| if *v > values[best] { i } else { best })
}
