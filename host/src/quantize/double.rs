//! Doubled channels: a channel that is dead on all calibration images, as many of small MobileNets are, carries a copy of a live one.
//!
//! The copy is 0.93 times as large, so that its rounding errors are others, and the next layer reads the mean of both: the noise of
//! that channel halves, and the network is as large and as fast as before. The channels whose noise moves the logits most are taken; that
//! is measured. On the calibration images the network does the same in float, but for values of the copied channel beyond the cap of a relu6.
//!
//! # Source
//! Zhao et al., "Improving Neural Network Quantization without Retraining using Outlier Channel Splitting", arXiv:1901.09504, split channels
//! to halve outliers and made the network larger; here the room is there, and what is halved is noise.

use super::equalize::{Peaks, input_channel, pairs};
use crate::data::Dataset;
use crate::network::{LayerWeights, Network, NetworkError, Node, Weights};
use crate::train::{Classifier, input_tensor};
use anyhow::{Context, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use ocelli::ir::Op;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Size of a copy.
const COPY: f32 = 0.93;
/// Images on which noise is measured.
const IMAGES: usize = 16;
/// Multiplications that measuring may take; channels beyond that go by the weights that read them.
const WORK: u64 = 50_000_000_000;

/// A dead channel, and the live one that it carries a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Double {
    /// The dead one.
    pub channel: usize,
    /// The live one.
    pub of: usize,
}

/// Doubled channels by the name of the layer that makes them; depthwise layers behind it pass them on.
pub type Doubles = BTreeMap<String, Vec<Double>>;

/// Layers that have the same channels, and the first that mixes them.
struct Chain {
    /// One that mixes its inputs, then depthwise ones.
    makers: Vec<usize>,
    reader: usize,
}

fn chains(nodes: &[Node]) -> Vec<Chain> {
    let pairs = pairs(nodes);
    let next = |first: usize| pairs.iter().find(|pair| pair.first == first).map(|pair| pair.second);
    let mixes = |at: usize| matches!(nodes[at].op, Op::Conv2d { groups: 1, .. } | Op::Dense { .. });
    let chain = |first: usize| {
        let (mut makers, mut at) = (vec![first], next(first)?);
        while matches!(nodes[at].op, Op::DepthwiseConv2d { multiplier: 1, .. }) {
            makers.push(at);
            at = next(at)?;
        }
        mixes(at).then_some(Chain { makers, reader: at })
    };
    (0..nodes.len()).filter(|&first| mixes(first)).filter_map(chain).collect()
}

/// The channels of a network to double. `network` has no batch norms of its own ([`plain`](super::plain)), `weights` are its; `peaks` tell
/// which channels are dead.
///
/// # Errors
/// When the network cannot be run, or peaks are missing.
pub fn doubles(
    network: &Network,
    weights: &Weights,
    peaks: &Peaks,
    images: &Dataset,
    device: &Device,
) -> anyhow::Result<Doubles> {
    let nodes = network.nodes()?;
    let images = images.head(IMAGES);
    let mut doubles = Doubles::new();
    let mut module = None;
    let macs: u64 = nodes.iter().map(|node| node.op.macs(node.input(), node.output)).sum();
    let mut passes = WORK / (macs.max(1) * IMAGES as u64);
    for chain in chains(&nodes) {
        let last = chain.makers.last().copied().unwrap_or_default();
        let peaks = peaks.get(&nodes[last].name).context("a layer was not observed")?;
        let (dead, live): (Vec<usize>, Vec<usize>) = (0..peaks.len()).partition(|&channel| peaks[channel] == 0.0);
        if dead.is_empty() || live.is_empty() || !chain.makers.iter().all(|&maker| is_alone(&nodes, maker)) {
            continue;
        }
        let module = match &mut module {
            Some(module) => module,
            none => none.insert(Classifier::folded(network, weights, device)?),
        };
        let mut noise = by_weights(&nodes[chain.reader], weights, peaks.len(), &live)?;
        let per_channel = chain.makers.len() as u64;
        let measured = noise.len().min(usize::try_from(passes / per_channel).unwrap_or(usize::MAX));
        passes -= measured as u64 * per_channel;
        let measured = &mut noise[..measured];
        measured.iter_mut().for_each(|(sum, _)| *sum = 0.0);
        let batch: Vec<usize> = (0..images.len()).collect();
        let x = input_tensor(network, &images, &batch, device);
        for &maker in &chain.makers {
            add_noise(module, x.clone(), maker, device, measured);
        }
        measured.sort_by(|a, b| b.0.total_cmp(&a.0));
        let of_dead = dead.iter().zip(&noise).map(|(&channel, &(_, of))| Double { channel, of }).collect();
        doubles.insert(nodes[chain.makers[0]].name.clone(), of_dead);
    }
    Ok(doubles)
}

/// Live channels with the sum of the squared weights that read each, the largest first: by how much its noise moves the next layer.
fn by_weights(reader: &Node, weights: &Weights, channels: usize, live: &[usize]) -> anyhow::Result<Vec<(f64, usize)>> {
    let layer = weights.layer(&reader.name).with_context(|| format!("'{}' has no weights", reader.name))?;
    let mut sums = vec![0.0; channels];
    for (at, weight) in layer.kernel.iter().enumerate() {
        sums[input_channel(&reader.op, layer.shape, at, channels)] += f64::from(*weight).powi(2);
    }
    let mut ranked: Vec<(f64, usize)> = live.iter().map(|&channel| (sums[channel], channel)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(ranked)
}

/// Whether all that comes behind a node reads its output or what is made of it, so that the network can be run from there.
fn is_alone(nodes: &[Node], at: usize) -> bool {
    nodes[at + 1..].iter().all(|node| node.inputs.iter().all(|&tensor| tensor > at))
}

/// Adds to each channel by how much the logits move, squared, when it alone is rounded to int8 behind a node.
fn add_noise(module: &Classifier, x: Tensor<4>, maker: usize, device: &Device, noise: &mut [(f64, usize)]) {
    let made = module.features(x, maker + 1);
    let logits = module.forward_from(made.clone(), maker + 1);
    let shape @ [_, c, h, w] = made.dims();
    let values: Vec<f32> = made.into_data().iter::<f32>().collect();
    let (low, high) = values.iter().fold((0.0_f32, 0.0_f32), |(low, high), &v| (low.min(v), high.max(v)));
    let step = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
    for (sum, channel) in noise {
        let mut rounded = values.clone();
        for plane in rounded.chunks_exact_mut((h * w).max(1)).skip(*channel).step_by(c.max(1)) {
            plane.iter_mut().for_each(|v| *v = (*v / step).round() * step);
        }
        let rounded = Tensor::<4>::from_data(TensorData::new(rounded, shape), device);
        let moved = module.forward_from(rounded, maker + 1) - logits.clone();
        *sum += f64::from(moved.square().sum().into_scalar::<f32>());
    }
}

/// Weights with channels doubled.
///
/// # Errors
/// When doubles are not those of a layer of this network.
pub fn doubled(network: &Network, weights: &Weights, doubles: &Doubles) -> anyhow::Result<Weights> {
    let nodes = network.nodes()?;
    let chains = chains(&nodes);
    let mut weights = weights.clone();
    for (name, doubles) in doubles {
        let chain = chains.iter().find(|chain| nodes[chain.makers[0]].name == *name);
        let chain = chain.with_context(|| format!("the channels of layer '{name}' cannot be doubled"))?;
        let channels = nodes[chain.makers[0]].output.c as usize;
        let dead = |channel: usize| doubles.iter().filter(|double| double.channel == channel).count();
        ensure!(
            doubles.iter().all(|d| d.channel.max(d.of) < channels && dead(d.channel) == 1 && dead(d.of) == 0),
            "the doubles of layer '{name}' are not pairs of a dead and a live one of its {channels} channels"
        );
        for &maker in &chain.makers {
            let node = &nodes[maker];
            let mut layer =
                weights.layer(&node.name).with_context(|| format!("'{}' has no weights", node.name))?.clone();
            doubles.iter().for_each(|&double| copy(node, &mut layer, double, maker == chain.makers[0]));
            weights.insert(&node.name, layer);
        }
        let node = &nodes[chain.reader];
        let mut layer = weights.layer(&node.name).with_context(|| format!("'{}' has no weights", node.name))?.clone();
        for &Double { channel, of } in doubles {
            for at in 0..layer.kernel.len() {
                if input_channel(&node.op, layer.shape, at, channels) == of {
                    // an input's channels lie side by side
                    layer.kernel[at + channel - of] = layer.kernel[at] / (2.0 * COPY);
                    layer.kernel[at] /= 2.0;
                }
            }
        }
        weights.insert(&node.name, layer);
    }
    Ok(weights)
}

/// The doubled channels of each layer's output, those of the layers that pass them on among them.
///
/// # Errors
/// When the network's shapes do not fit.
pub fn doubled_outputs(network: &Network, doubles: &Doubles) -> Result<Doubles, NetworkError> {
    let nodes = network.nodes()?;
    let mut outputs = Doubles::new();
    for chain in chains(&nodes) {
        let Some(doubles) = doubles.get(&nodes[chain.makers[0]].name) else { continue };
        let mut at = chain.reader;
        while at > chain.makers[0] {
            at = nodes[at].inputs[0] - 1;
            outputs.insert(nodes[at].name.clone(), doubles.clone());
        }
    }
    Ok(outputs)
}

/// Turns values of a layer's output, channels innermost, into those of the network with doubled channels.
pub fn double_values(values: &mut [f32], channels: usize, doubles: &[Double]) {
    for pixel in values.chunks_exact_mut(channels.max(1)) {
        doubles.iter().for_each(|&Double { channel, of }| pixel[channel] = pixel[of] * COPY);
    }
}

/// Makes an output channel a copy of another, smaller where the layer is the first of its chain; behind that, its input is.
fn copy(node: &Node, layer: &mut LayerWeights, Double { channel, of }: Double, is_first: bool) {
    let axis = node.op.channel_axis();
    let source: Vec<f32> =
        (0..layer.kernel.len()).filter(|&at| layer.channel_of(axis, at) == of).map(|at| layer.kernel[at]).collect();
    let places: Vec<usize> = (0..layer.kernel.len()).filter(|&at| layer.channel_of(axis, at) == channel).collect();
    for (at, weight) in places.into_iter().zip(source) {
        layer.kernel[at] = if is_first { weight * COPY } else { weight };
    }
    layer.bias[channel] = layer.bias[of] * COPY;
}

#[cfg(test)]
#[path = "double_tests.rs"]
mod tests;
