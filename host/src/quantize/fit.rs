//! Fitted rounding: each weight is rounded up or down so that its layer's output moves least on calibration images, and biases bring the mean of
//! every channel in the int8 network to the float one's.
//!
//! To the nearest step, the errors of a channel's weights add up as its inputs have it: neighbouring pixels are alike, so are channels.
//! With the covariance `C` of a layer's inputs, what the errors `e` of the weights do to an output has the variance `e^T C e`. Coordinate
//! descent over the two neighbours of each weight lowers it. The mean is left to the bias, which is matched layer by layer, behind those that
//! are before it: what rounded activations move a mean by, such as those of a plain background, goes with it.
//!
//! # Source
//! Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", arXiv:2004.10568, section 3 (the quadratic form, each
//! layer on its own); Frantar et al., "GPTQ", arXiv:2210.17323 (the same, weight by weight); Nagel et al., arXiv:1906.04721, appendix D
//! (empirical bias correction).

use super::bias::{Corrections, Sums, corrected, corrections, float_means, mean_error, readers};
use super::{Calibration, Int4, QuantizedNetwork, quantize_int4};
use crate::compile::{Options, Passes, Target, assemble, planned};
use crate::data::Dataset;
use crate::model::{ModelBytes, quantize_pixels, run_observing};
use crate::network::{LayerWeights, Network, Node, Weights};
use crate::train::{Batches, Classifier, input_tensor};
use anyhow::Context;
use burn::tensor::Device;
use ocelli::ir::{Op, Shape};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Images whose activations weights are fitted to.
const IMAGES: usize = 256;
/// Places that are taken of each image.
const PLACES: usize = 48;
/// Seed of their choice.
const SEED: u64 = 1;
/// Inputs of an output channel above which weights are rounded to the nearest step: with so many, errors hardly add up.
const INPUTS: usize = 512;
/// Images that are run at a time: every layer's output of the float network is held.
const BATCH: usize = 8;
/// Most passes over a channel's weights.
const SWEEPS: usize = 8;
/// Images on which means are matched, at most; with fewer than the other, they would be too rough.
const MEAN_IMAGES: usize = 64;
const FEWEST_IMAGES: usize = 8;
/// Multiplications that matching may take: fewer images are run where a network is large.
const WORK: u64 = 2_000_000_000_000;

/// Sums of what a layer's output channels read: one set for all of them, or one a channel of a depthwise convolution.
struct Moments {
    inputs: usize,
    count: f64,
    sums: Vec<f64>,
    products: Vec<f64>,
}

impl Moments {
    fn new(inputs: usize, sets: usize) -> Self {
        Self { inputs, count: 0.0, sums: vec![0.0; inputs * sets], products: vec![0.0; inputs * inputs * sets] }
    }

    /// Adds places: of each, what every set reads.
    fn add(&mut self, places: &[f32]) {
        let (n, row) = (self.inputs, self.sums.len());
        self.count += (places.len() / row.max(1)) as f64;
        for place in places.chunks_exact(row.max(1)) {
            self.sums.iter_mut().zip(place).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        self.products.par_chunks_mut(n).enumerate().for_each(|(at, products)| {
            let (set, i) = (at / n * n, at % n);
            for place in places.chunks_exact(row) {
                let of_set = &place[set..set + n];
                let factor = f64::from(of_set[i]);
                if factor != 0.0 {
                    products.iter_mut().zip(of_set).for_each(|(product, &value)| *product += factor * f64::from(value));
                }
            }
        });
    }

    /// The covariance of a set, drawn towards independent inputs as far as it was measured on few places.
    fn covariance(&self, set: usize) -> Vec<f64> {
        let (n, count) = (self.inputs, self.count.max(1.0));
        let sums = &self.sums[set * n..(set + 1) * n];
        let mut covariance: Vec<f64> = self.products[set * n * n..(set + 1) * n * n]
            .iter()
            .enumerate()
            .map(|(at, product)| product / count - sums[at / n] / count * (sums[at % n] / count))
            .collect();
        let mean = (0..n).map(|i| covariance[i * (n + 1)].max(0.0)).sum::<f64>() / n as f64;
        let ridge = mean * (0.5 * n as f64 / count).clamp(1e-4, 1.0);
        (0..n).for_each(|i| covariance[i * (n + 1)] += ridge);
        covariance
    }
}

/// Whether the weights of a layer are fitted: inputs of an output channel, and sets of them.
fn sets(node: &Node) -> Option<(usize, usize)> {
    let cells = node.op.window().map_or(1, |window| window.kernel.map(usize::from).iter().product());
    let c_in = node.input().c as usize;
    let (inputs, sets) = match node.op {
        Op::DepthwiseConv2d { multiplier: 1, .. } => (cells, c_in),
        Op::Conv2d { groups: 1, .. } => (cells * c_in, 1),
        Op::Dense { .. } => (node.input().elements()? as usize, 1),
        _ => return None,
    };
    (inputs > 1 && inputs <= INPUTS).then_some((inputs, sets))
}

/// Whether a layer's weights are rounded to fit: not those of groups or of many inputs.
#[must_use]
pub fn takes_fitting(node: &Node) -> bool {
    sets(node).is_some()
}

/// Weights that round to the steps that move the layers' outputs least, each less than a step from where it was. `network` has no batch norms of
/// its own ([`plain`](super::plain)), `weights` are its. Layers of many inputs or of groups are left as they are.
///
/// # Errors
/// When the network cannot be run.
pub fn fitted(network: &Network, weights: &Weights, images: &Dataset, device: &Device) -> anyhow::Result<Weights> {
    let images = images.head(IMAGES);
    let nodes = network.nodes()?;
    if nodes.iter().all(|node| sets(node).is_none()) {
        return Ok(weights.clone());
    }
    let moments = moments(network, &nodes, weights, &images, device)?;
    let mut fitted = weights.clone();
    for node in &nodes {
        let (Some(moments), Some(layer)) = (moments.get(&node.name), weights.layer(&node.name)) else { continue };
        fitted.insert(&node.name, fit(node, layer, moments));
    }
    Ok(fitted)
}

fn moments(
    network: &Network,
    nodes: &[Node],
    weights: &Weights,
    images: &Dataset,
    device: &Device,
) -> anyhow::Result<BTreeMap<String, Moments>> {
    let readers = readers(nodes);
    let tensors: BTreeMap<&str, usize> =
        nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at + 1)).collect();
    let module = Classifier::folded(network, weights, device)?;
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut moments = BTreeMap::new();
    let mut add = |tensor: usize, values: &[f32]| {
        for node in &readers[tensor] {
            let Some((inputs, sets)) = sets(node) else { continue };
            let moments = moments.entry(node.name.clone()).or_insert_with(|| Moments::new(inputs, sets));
            let size = node.input().elements().unwrap_or(1) as usize;
            let places: Vec<f32> = values.chunks_exact(size).flat_map(|image| places(node, image, &mut rng)).collect();
            moments.add(&places);
        }
    };
    let channels = network.input.color.channels() as usize;
    for batch in Batches::in_order(images.len(), BATCH) {
        let pixels = batch.iter().flat_map(|&image| images.input(image).iter().enumerate());
        let picture: Vec<f32> = pixels.map(|(at, &v)| network.input.normalize(at % channels, v)).collect();
        add(0, &picture);
        module.forward_observed(input_tensor(network, images, &batch, device), |layer| {
            if let Some(&tensor) = tensors.get(layer.name.as_str()) {
                add(tensor, &layer.values);
            }
        });
    }
    Ok(moments)
}

/// What a layer's channels read at some places of an image, one place after the other: `[kh, kw, c]`, or `[c, kh, kw]` for a depthwise one.
fn places(node: &Node, image: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32> {
    let Some(window) = node.op.window() else { return image.to_vec() };
    let (input, is_depthwise) = (node.input(), matches!(node.op, Op::DepthwiseConv2d { .. }));
    let Ok(resolved) = window.resolve(input) else { return Vec::new() };
    let Shape { h, w, c } = input;
    let ([kh, kw], c) = (window.kernel.map(usize::from), c as usize);
    let mut places = Vec::new();
    for _ in 0..PLACES.min((resolved.out[0] * resolved.out[1]) as usize) {
        let from = [0, 1].map(|axis| {
            let step = i64::from(rng.random_range(0..resolved.out[axis])) * i64::from(window.stride[axis]);
            step - i64::from(resolved.pads[axis])
        });
        let start = places.len();
        places.resize(start + kh * kw * c, 0.0);
        let place = &mut places[start..];
        for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
            let at = |axis: usize, cell: usize| from[axis] + cell as i64 * i64::from(window.dilation[axis]);
            let (y, x) = (at(0, ky), at(1, kx));
            if (0..i64::from(h)).contains(&y) && (0..i64::from(w)).contains(&x) {
                let pixel = (y * i64::from(w) + x) as usize * c;
                for (channel, &value) in image[pixel..pixel + c].iter().enumerate() {
                    let cell = ky * kw + kx;
                    place[if is_depthwise { channel * kh * kw + cell } else { cell * c + channel }] = value;
                }
            }
        }
    }
    places
}

/// A layer's weights, rounded to fit.
fn fit(node: &Node, layer: &LayerWeights, moments: &Moments) -> LayerWeights {
    let (axis, n) = (node.op.channel_axis(), moments.inputs);
    let is_depthwise = matches!(node.op, Op::DepthwiseConv2d { .. });
    let channels = layer.bias.len();
    let mut of_channel: Vec<Vec<usize>> = vec![Vec::with_capacity(n); channels];
    for at in 0..layer.kernel.len() {
        of_channel[layer.channel_of(axis, at)].push(at);
    }
    let shared = (!is_depthwise).then(|| moments.covariance(0));
    let rows = of_channel.par_iter().enumerate().map(|(channel, places)| {
        let weights: Vec<f64> = places.iter().map(|&at| f64::from(layer.kernel[at])).collect();
        let largest = weights.iter().fold(0.0_f64, |largest, w| largest.max(w.abs()));
        if largest <= f64::from(f32::MIN_POSITIVE) * 1e6 {
            return places.iter().map(|&at| layer.kernel[at]).collect();
        }
        let own = shared.is_none().then(|| moments.covariance(channel));
        let covariance = own.as_ref().or(shared.as_ref()).map_or(&[][..], Vec::as_slice);
        // the scale is that of the largest weight, which stays
        let scale = largest / 127.0;
        if (0..n).all(|i| covariance[i * (n + 1)] <= 0.0) {
            return places.iter().map(|&at| layer.kernel[at]).collect();
        }
        let steps: Vec<f64> = weights.iter().map(|w| (w / scale).clamp(-127.0, 127.0)).collect();
        descend(&steps, covariance).into_iter().map(|q| (q * scale) as f32).collect::<Vec<f32>>()
    });
    let rows: Vec<Vec<f32>> = rows.collect();
    let mut fitted = layer.clone();
    for (places, row) in of_channel.iter().zip(rows) {
        places.iter().zip(row).for_each(|(&at, weight)| fitted.kernel[at] = weight);
    }
    fitted
}

/// Whole numbers, each a neighbour of its weight, of least `e^T C e` for the errors `e`: a local minimum, from the nearest ones on.
fn descend(weights: &[f64], covariance: &[f64]) -> Vec<f64> {
    let n = weights.len();
    let mut rounded: Vec<f64> = weights.iter().map(|w| w.round()).collect();
    let errors: Vec<f64> = rounded.iter().zip(weights).map(|(q, w)| q - w).collect();
    let mut slope: Vec<f64> =
        covariance.chunks_exact(n).map(|row| row.iter().zip(&errors).map(|(c, error)| c * error).sum()).collect();
    for _ in 0..SWEEPS {
        let mut moved = false;
        for j in 0..n {
            let (weight, curvature) = (weights[j], covariance[j * (n + 1)]);
            let best = rounded[j] - slope[j] / curvature;
            let other = if rounded[j] > weight { weight.floor() } else { weight.ceil() };
            // nearer to where the slope ends, and by more than rounding errors of these sums
            if (other - best).abs() + 1e-9 < (rounded[j] - best).abs() {
                let step = other - rounded[j];
                rounded[j] = other;
                slope.iter_mut().zip(&covariance[j * n..(j + 1) * n]).for_each(|(slope, c)| *slope += step * c);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    rounded
}

/// Corrections of the biases of `rounded`, the weights that are quantized, which bring the mean of each channel before its activation to that of the
/// float network with `weights`, layer by layer.
///
/// # Errors
/// When the network cannot be quantized or run.
pub fn matched(
    network: &Network,
    weights: &Weights,
    rounded: &Weights,
    calibration: &Calibration,
    int4: &Int4,
    images: &Dataset,
    device: &Device,
) -> anyhow::Result<Corrections> {
    let nodes = network.nodes()?;
    let macs: u64 = nodes.iter().map(Node::macs).sum();
    let affordable = usize::try_from(WORK / (macs.max(1) * nodes.len() as u64)).unwrap_or(MEAN_IMAGES);
    if affordable < FEWEST_IMAGES {
        // too large to be run for each layer: by the float network's means
        return corrections(network, weights, rounded, calibration, int4, images, device);
    }
    let images = images.head(affordable.min(MEAN_IMAGES));
    let means = float_means(network, &nodes, weights, &images, device)?;
    let mut found = Corrections::new();
    for (at, node) in nodes.iter().enumerate() {
        let (Some(of_float), Some(float)) = (means.get(&node.name), weights.layer(&node.name)) else { continue };
        let quantized = quantize_int4(network, &corrected(rounded, &found)?, calibration, &images.labels, int4)?;
        // the picture is the same in both
        let of_int8 = int8_means(&quantized, at, &images)?.unwrap_or_else(|| of_float.clone());
        let layer = &quantized.layers[at];
        let error = mean_error(layer, quantized.params_of(node.inputs[0]), float, (of_float, &of_int8))?;
        found.insert(node.name.clone(), error.iter().map(|error| -*error as f32).collect());
    }
    Ok(found)
}

/// The mean input of each weight position of a layer in the int8 network; nothing where its input is the picture.
fn int8_means(quantized: &QuantizedNetwork, at: usize, images: &Dataset) -> anyhow::Result<Option<Vec<f64>>> {
    let node = &quantized.layers[at].node;
    let Some(maker) = node.inputs[0].checked_sub(1).map(|maker| &quantized.layers[maker]) else { return Ok(None) };
    // every layer is an operator of its own
    let passes = Passes { fold_padding: false, fold_activations: false, fold_shapes: false, ..Passes::ALL };
    let plan = planned(quantized, Options { target: Target::HOST, passes })?;
    let model = ModelBytes::new(&assemble(&plan.file)?);
    let op = model.model()?.names().position(|name| name == maker.node.name);
    let op = op.with_context(|| format!("the compiler left the layer '{}' out", maker.node.name))?;
    let all: Vec<usize> = (0..images.len()).collect();
    // parts of one size, so that the sums are the same on every computer
    let parts = all.par_chunks(BATCH).map(|part| {
        let mut sums = Sums::new(images.len());
        model.with_session(|session| {
            for &image in part {
                let frame = quantize_pixels(session.model(), images.input(image))?;
                let mut values = Vec::new();
                run_observing(session, &frame, |made, row| {
                    if made == op {
                        let real = |&q: &i8| maker.output.scale * (i32::from(q) - maker.output.zero_point) as f32;
                        values.extend(row.iter().map(real));
                    }
                })?;
                sums.add(node, &values);
            }
            Ok(())
        })?;
        Ok(sums.means.remove(&node.name))
    });
    let parts = parts.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(parts.into_iter().flatten().reduce(|mut sum, other| {
        sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        sum
    }))
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
