//! The gradients of a batch.

use super::batches::pixel_tensor;
use super::evaluate::feature_tensor;
use super::loss::{Criterion, cross_entropy};
use super::module::Classifier;
use super::parts::to_vec;
use super::source::{Batch, Inputs};
use crate::network::Network;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

/// What a batch says about the weights.
pub(super) struct Found {
    /// The mean over the images.
    pub loss: f32,
    /// `[images, classes]`.
    pub logits: Vec<f32>,
    pub classes: usize,
    /// Of the loss.
    pub gradients: GradientsParams,
}

/// The layers before the first trained one, where there are any that have to be run.
pub(super) struct Base {
    /// Without gradients.
    pub module: Classifier,
    /// Layers.
    pub layers: usize,
}

impl Base {
    /// What they make of the pixels of a batch.
    pub fn features(&self, network: &Network, pixels: &[u8], device: &Device) -> Tensor<4> {
        self.module.features(pixel_tensor(network, pixels, device), self.layers)
    }

    /// As [`features`](Self::features), for other devices.
    pub fn batch(&self, network: &Network, batch: &Batch, device: &Device) -> Batch {
        let inputs = match &batch.inputs {
            Inputs::Pixels(pixels) => {
                let y = self.features(network, pixels, device);
                let [_, c, h, w] = y.dims();
                Inputs::Features(to_vec(y), [c, h, w])
            }
            inputs @ Inputs::Features(..) => inputs.clone(),
        };
        let Batch { targets, mixed, indices, .. } = batch;
        Batch { inputs, targets: targets.clone(), mixed: mixed.clone(), indices: indices.clone() }
    }
}

/// The gradients of a batch by what a module made of it, on the module's device.
pub(super) fn find(module: &Classifier, logits: Tensor<2>, criterion: &Criterion, batch: &Batch) -> Found {
    let device = logits.device();
    let [images, classes] = logits.dims();
    let targets = TensorData::new(criterion.targets(batch), [images, classes]);
    let loss = cross_entropy(logits.clone(), Tensor::from_data(targets, &device));
    Found {
        loss: loss.clone().into_scalar(),
        gradients: GradientsParams::from_grads(loss.backward(), module),
        logits: to_vec(logits),
        classes,
    }
}

/// The inputs of a batch on a training device, as the first trained layer reads them; `device` is the same without gradients.
pub(super) fn inputs(
    network: &Network,
    base: Option<&Base>,
    inputs: &Inputs,
    device: &Device,
    training_device: &Device,
) -> Tensor<4> {
    match (inputs, base) {
        (Inputs::Pixels(pixels), None) => pixel_tensor(network, pixels, training_device),
        (Inputs::Pixels(pixels), Some(base)) => Tensor::from_inner(base.features(network, pixels, device)),
        (Inputs::Features(values, shape), _) => feature_tensor(values.clone(), *shape, training_device),
    }
}
