//! Bias correction: what quantization moves the mean of an output channel by is taken off the channel's bias.
//!
//! The sum before the activation is linear in the inputs, so that what rounded weights do to its mean follows from the mean input of each
//! weight in the float network. Every layer is corrected for its own weights only, all at once: an error that a layer takes over from those
//! before it goes with theirs.
//!
//! # Source
//! Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721, section 4.2: the expected
//! input is measured on calibration images.

use super::equalize::input_channel;
use super::{Calibration, Int4, QuantParams, QuantizedLayer, quantize_int4};
use crate::data::Dataset;
use crate::network::{LayerWeights, Network, Node, Weights, channel_of};
use crate::train::{Batches, Classifier, input_tensor};
use anyhow::{Context, ensure};
use burn::tensor::Device;
use ocelli::ir::{Op, Shape, Window};
use std::collections::BTreeMap;

/// What was added to each bias, by the layer's name.
pub type Corrections = BTreeMap<String, Vec<f32>>;

/// Images whose means are taken; a mean needs fewer than an interval.
pub const MEAN_IMAGES: usize = 64;
/// Images that the float network runs at a time: every layer's output is held.
const BATCH: usize = 8;

/// The mean input of each weight position of the layers with weights, by the layer's name: `[kh, kw, c_in]`, zeros in the padding.
pub(super) type Means = BTreeMap<String, Vec<f64>>;

/// The corrections of the biases of `rounded`, the weights that are quantized; `network` has no batch norms of its own ([`super::plain`]), `weights`
/// are its.
///
/// # Errors
/// When the network cannot be quantized or run.
pub fn corrections(
    network: &Network,
    weights: &Weights,
    rounded: &Weights,
    calibration: &Calibration,
    int4: &Int4,
    images: &Dataset,
    device: &Device,
) -> anyhow::Result<Corrections> {
    ensure!(!images.is_empty(), "bias correction needs at least one image");
    let images = images.head(MEAN_IMAGES);
    let nodes = network.nodes()?;
    let means = float_means(network, &nodes, weights, &images, device)?;
    let mut corrections = Corrections::new();
    let quantized = quantize_int4(network, rounded, calibration, &images.labels, int4)?;
    for layer in &quantized.layers {
        let name = &layer.node.name;
        let (Some(means), Some(weights)) = (means.get(name), weights.layer(name)) else { continue };
        let error = mean_error(layer, quantized.params_of(layer.node.inputs[0]), weights, (means, means))?;
        corrections.insert(name.clone(), error.iter().map(|error| -*error as f32).collect());
    }
    Ok(corrections)
}

/// Weights with corrections added to their biases.
///
/// # Errors
/// When a correction is that of no layer, or has another number of channels.
pub fn corrected(weights: &Weights, corrections: &Corrections) -> anyhow::Result<Weights> {
    let mut corrected = weights.clone();
    for (name, corrections) in corrections {
        let layer = weights
            .layer(name)
            .with_context(|| format!("there is no layer '{name}' whose biases could be corrected"))?;
        let finite = corrections.iter().all(|value| value.is_finite());
        ensure!(
            finite && layer.bias.len() == corrections.len(),
            "the corrections of layer '{name}' are not a number for each of its {} channels",
            layer.bias.len()
        );
        let mut layer = layer.clone();
        layer.bias.iter_mut().zip(corrections).for_each(|(bias, correction)| *bias += correction);
        corrected.insert(name, layer);
    }
    Ok(corrected)
}

/// Mean of each output channel before the activation with the int8 weights and biases, less that with the float ones; of mean inputs in the
/// float network, and in the int8 one.
pub(super) fn mean_error(
    layer: &QuantizedLayer,
    input: QuantParams,
    float: &LayerWeights,
    (of_float, of_int8): (&[f64], &[f64]),
) -> anyhow::Result<Vec<f64>> {
    let int8 = layer.weights.as_ref().with_context(|| format!("layer '{}' has no weights", layer.node.name))?;
    let (op, axis, c_in) = (&layer.node.op, layer.node.op.channel_axis(), layer.node.input().c as usize);
    let scale = |channel: usize| f64::from(int8.scale(channel));
    let mut error: Vec<f64> = (0..float.bias.len())
        .map(|c| f64::from(int8.bias[c]) * f64::from(input.scale) * scale(c) - f64::from(float.bias[c]))
        .collect();
    for (at, (&q, &weight)) in int8.kernel.iter().zip(&float.kernel).enumerate() {
        let channel = channel_of(int8.shape, axis, at);
        let place = place(op, int8.shape, at, c_in);
        error[channel] += scale(channel) * f64::from(q) * of_int8[place] - f64::from(weight) * of_float[place];
    }
    Ok(error)
}

/// The place of a weight's input in `[kh, kw, c_in]`.
fn place(op: &Op, shape: [usize; 4], at: usize, c_in: usize) -> usize {
    let cell = at / shape[3].max(1) % (shape[1] * shape[2]).max(1);
    cell * c_in + input_channel(op, shape, at, c_in)
}

/// The layers with weights that read each tensor.
pub(super) fn readers(nodes: &[Node]) -> Vec<Vec<&Node>> {
    let mut readers = vec![Vec::new(); nodes.len() + 1];
    for node in nodes.iter().filter(|node| node.op.weight_shape(node.input()).is_some()) {
        readers[node.inputs[0]].push(node);
    }
    readers
}

/// The mean inputs of all layers with weights in the float network.
pub(super) fn float_means(
    network: &Network,
    nodes: &[Node],
    weights: &Weights,
    images: &Dataset,
    device: &Device,
) -> anyhow::Result<Means> {
    let readers = readers(nodes);
    let places: BTreeMap<&str, usize> =
        nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at + 1)).collect();
    let module = Classifier::folded(network, weights, device)?;
    let mut sums = Sums::new(images.len());
    let channels = network.input.color.channels() as usize;
    for image in 0..images.len() {
        let pixels = images.input(image).iter().enumerate();
        let values: Vec<f32> = pixels.map(|(at, &v)| network.input.normalize(at % channels, v)).collect();
        readers[0].iter().for_each(|node| sums.add(node, &values));
    }
    for batch in Batches::in_order(images.len(), BATCH) {
        module.forward_observed(input_tensor(network, images, &batch, device), |layer| {
            for node in places.get(layer.name.as_str()).map_or(&[][..], |&tensor| &readers[tensor]) {
                sums.add(node, &layer.values);
            }
        });
    }
    Ok(sums.means)
}

/// Means that are being added up.
pub(super) struct Sums {
    images: usize,
    pub means: Means,
}

impl Sums {
    /// Of so many images.
    pub const fn new(images: usize) -> Self {
        Self { images, means: Means::new() }
    }

    /// Adds what a layer reads: the values of one image or more, `[n, h, w, c]`.
    pub fn add(&mut self, node: &Node, values: &[f32]) {
        let input = node.input();
        let size = (input.h * input.w * input.c) as usize;
        let [kh, kw] = node.op.window().map_or([1, 1], |window| window.kernel.map(usize::from));
        let means = self.means.entry(node.name.clone()).or_insert_with(|| vec![0.0; kh * kw * input.c as usize]);
        let pixels = f64::from(node.output.h) * f64::from(node.output.w) * self.images as f64;
        for image in values.chunks_exact(size.max(1)) {
            add_windows(node.op.window(), input, image, pixels.recip(), means);
        }
    }
}

/// Adds to each place of a window, `[kh, kw, c]`, all the values that it passes over, times `share`.
fn add_windows(window: Option<&Window>, input: Shape, image: &[f32], share: f64, means: &mut [f64]) {
    let (width, channels) = (input.w as usize, input.c as usize);
    let Some(window) = window else {
        return means.iter_mut().zip(image).for_each(|(mean, &value)| *mean += share * f64::from(value));
    };
    let Ok(resolved) = window.resolve(input) else { return };
    // the input rows or columns that a row or column of the kernel passes over
    let passed = |axis: usize, cell: u16, size: u32| {
        let from = i64::from(cell) * i64::from(window.dilation[axis]) - i64::from(resolved.pads[axis]);
        let places = (0..i64::from(resolved.out[axis])).map(move |step| from + step * i64::from(window.stride[axis]));
        places.filter_map(move |at| usize::try_from(at).ok().filter(|&at| at < size as usize))
    };
    let kernel = window.kernel;
    for (ky, kx) in (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx))) {
        let cell = (usize::from(ky) * usize::from(kernel[1]) + usize::from(kx)) * channels;
        let means = &mut means[cell..cell + channels];
        for y in passed(0, ky, input.h) {
            for x in passed(1, kx, input.w) {
                let pixel = &image[(y * width + x) * channels..][..channels];
                means.iter_mut().zip(pixel).for_each(|(mean, &value)| *mean += share * f64::from(value));
            }
        }
    }
}

#[cfg(test)]
#[path = "bias_tests.rs"]
mod tests;
