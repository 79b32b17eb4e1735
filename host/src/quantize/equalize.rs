//! Cross-layer equalization: channels of very unlike ranges are brought nearer to each other before a network is quantized.
//!
//! Between two layers with weights a factor per channel changes nothing in float: what the first layer's channel is divided by, the
//! second layer's weights for that channel are multiplied with. In int8 it does: a tensor has one scale for all channels, and an output
//! channel's weights have one for all input channels.
//!
//! A channel that stays well above zero is shifted down as well: the bias of the layer that reads it takes what was taken off.
//!
//! # Source
//! Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721, sections 4.1 and 4.1.3 (high
//! biases absorbed). With [`Equalize::Activations`] the first range of a pair is that of the channel's values on calibration images in place
//! of its weights': weights have a scale an output channel here, so that their ranges cost nothing there; and what is absorbed is the least
//! of these values, where the paper has the mean less three deviations.

use crate::data::Dataset;
use crate::network::{Layer, LayerKind, LayerOptions, LayerWeights, Network, NetworkError, Node, Weights};
use crate::train::{Batches, Classifier, input_tensor};
use anyhow::{Context, ensure};
use burn::tensor::Device;
use ocelli::ir::{Activation, Op, Unary};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Rounds over all pairs; each pair's factors depend on its neighbours'.
const ROUNDS: usize = 20;
/// The largest factor, and the inverse of the smallest: a channel that was hardly ever active on calibration images is not blown up.
const LARGEST: f32 = 32.0;
/// Share of an activation's cap from which on a channel counts as one that reaches it.
const AT_CAP: f32 = 0.999;
/// Share of a channel's largest value that its least must come to for the channel to be shifted.
const HIGH: f32 = 0.05;

/// By what channels are made alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Equalize {
    /// They stay as they are.
    #[default]
    Off,
    /// By the ranges of the weights on both sides, as the paper has it.
    Weights,
    /// By the range of the channel's values, and of the weights that read them.
    Activations,
}

impl Equalize {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Weights, Self::Activations];
}

impl fmt::Display for Equalize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Weights => "weights",
            Self::Activations => "activations",
        })
    }
}

/// What each channel of a layer's output is divided by, by the layer's name; layers that are left alone are missing.
pub type Factors = BTreeMap<String, Vec<f32>>;

/// The largest magnitude of each channel of each layer's output, by the layer's name.
pub type Peaks = BTreeMap<String, Vec<f32>>;

/// What is taken off each channel of a layer's output before it is divided, by the layer's name; layers that are left alone are missing.
pub type Shifts = BTreeMap<String, Vec<f32>>;

/// The values of each channel of each layer's output on some images.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// Their largest magnitudes.
    pub peaks: Peaks,
    /// The least of them.
    pub lows: BTreeMap<String, Vec<f32>>,
}

/// A layer whose output only another layer with weights reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// The layer that makes the channels.
    pub first: usize,
    /// The layer that reads them, with nothing between but operators that take factors through.
    pub second: usize,
}

/// The network as it runs after training, as layers of their own: batch norms folded, dropout gone. Its weights are
/// [`Weights::folded`].
///
/// # Errors
/// When the network's shapes do not fit.
pub fn plain(network: &Network) -> Result<Network, NetworkError> {
    network.check_device()?;
    let nodes = network.nodes()?;
    let name = |&tensor: &usize| {
        let node = tensor.checked_sub(1).and_then(|node| nodes.get(node));
        node.map_or_else(|| crate::network::INPUT.to_owned(), |node| node.name.clone())
    };
    let layers = nodes.iter().map(|node| Layer {
        name: node.name.clone(),
        kind: LayerKind::Op(node.op),
        inputs: node.inputs.iter().map(name).collect(),
        options: LayerOptions::default(),
    });
    Ok(Network { layers: layers.collect(), ..network.clone() })
}

/// Runs the float network over images and keeps the least value and the largest magnitude of each channel.
///
/// # Errors
/// When weights are missing.
pub fn span(network: &Network, weights: &Weights, images: &Dataset, device: &Device) -> anyhow::Result<Span> {
    let channels: BTreeMap<String, usize> =
        network.nodes()?.into_iter().map(|node| (node.name, node.output.c as usize)).collect();
    let module = Classifier::folded(network, weights, device)?;
    let mut span = Span::default();
    for batch in Batches::in_order(images.len(), 64) {
        module.forward_observed(input_tensor(network, images, &batch, device), |layer| {
            let Some(&c) = channels.get(&layer.name) else { return };
            let lows = span.lows.entry(layer.name.clone()).or_insert_with(|| vec![f32::INFINITY; c]);
            let peaks = span.peaks.entry(layer.name).or_insert_with(|| vec![0.0; c]);
            for pixel in layer.values.chunks_exact(c) {
                pixel.iter().zip(peaks.iter_mut()).for_each(|(value, peak)| *peak = peak.max(value.abs()));
                pixel.iter().zip(lows.iter_mut()).for_each(|(value, low)| *low = low.min(*value));
            }
        });
    }
    Ok(span)
}

/// What is taken off channels: the least value that each has on the images of `span`, where that is well above zero, so that no value of
/// these images is cut. Only between layers with a relu or relu6 and layers that read no cells beyond the border, where a shifted channel would
/// have to be its shift below zero.
///
/// # Errors
/// When the network's shapes do not fit.
pub fn shifts(network: &Network, span: &Span) -> Result<Shifts, NetworkError> {
    let nodes = network.nodes()?;
    let mut shifts = Shifts::new();
    for pair in pairs(&nodes).iter().filter(|pair| takes_shifts(&nodes, **pair)) {
        let name = &nodes[pair.first].name;
        let (Some(lows), Some(peaks)) = (span.lows.get(name), span.peaks.get(name)) else { continue };
        // what is left must not need more than the largest factor
        let most = 1.0 - LARGEST.recip();
        let shift = |(&low, &peak): (&f32, &f32)| match low.is_finite() && low > HIGH * peak {
            true => low.min(most * peak),
            false => 0.0,
        };
        let of_layer: Vec<f32> = lows.iter().zip(peaks).map(shift).collect();
        if of_layer.iter().any(|&shift| shift > 0.0) {
            shifts.insert(name.clone(), of_layer);
        }
    }
    Ok(shifts)
}

/// The factors of every pair of layers.
///
/// A relu takes factors through as they are. One that is capped (relu6) has one cap for all channels: a channel that reaches it
/// on the images of `peaks` still does, and no other grows beyond it, so that on these images nothing is cut that was not cut before. `shifts`
/// are taken off before.
///
/// # Errors
/// When the network's shapes do not fit, or weights or peaks are missing.
pub fn factors(
    network: &Network,
    weights: &Weights,
    peaks: &Peaks,
    shifts: &Shifts,
    by: Equalize,
) -> anyhow::Result<Factors> {
    let nodes = network.nodes()?;
    let pairs = if by == Equalize::Off { Vec::new() } else { pairs(&nodes) };
    let mut peaks = peaks.clone();
    // a shifted channel starts with the range that it had
    let mut factors = Factors::new();
    let mut capped = BTreeMap::new();
    for pair in &pairs {
        let node = &nodes[pair.first];
        let Some(peaks) = peaks.get_mut(&node.name) else { continue };
        let reaches: Vec<bool> = peaks.iter().map(|&peak| peak >= AT_CAP * cap(&node.op)).collect();
        if let Some(shifts) = shifts.get(&node.name) {
            ensure!(shifts.len() == peaks.len(), "layer '{}': other channels", node.name);
            let first = |((peak, &shift), &reaches): ((&mut f32, &f32), &bool)| {
                let top = if reaches { cap(&node.op) } else { *peak };
                let factor = if shift > 0.0 { (top - shift) / top } else { 1.0 };
                *peak = (*peak - shift) / factor;
                factor
            };
            let of_layer = peaks.iter_mut().zip(shifts).zip(&reaches).map(first).collect();
            factors.insert(node.name.clone(), of_layer);
        }
        capped.insert(node.name.clone(), reaches);
    }
    let mut weights = equalized(network, weights, shifts, &factors)?;
    for _ in 0..ROUNDS {
        let mut largest = 1.0_f32;
        for pair in &pairs {
            let (first, second) = (&nodes[pair.first], &nodes[pair.second]);
            let (Some(of_first), Some(of_second)) = (weights.layer(&first.name), weights.layer(&second.name)) else {
                continue;
            };
            let (Some(peak), Some(capped)) = (peaks.get_mut(&first.name), capped.get(&first.name)) else { continue };
            let read = input_ranges(second, of_second, peak.len());
            let made = output_ranges(first, of_first);
            ensure!(read.len() == made.len() && made.len() == peak.len(), "layer '{}': other channels", first.name);
            let mut step = match by {
                Equalize::Weights => by_weights(&made, &read, peak),
                _ => by_values(peak, &read, matches!(second.op, Op::DepthwiseConv2d { .. }), (cap(&first.op), capped)),
            };
            let total = factors.entry(first.name.clone()).or_insert_with(|| vec![1.0; peak.len()]);
            for (channel, step) in step.iter_mut().enumerate() {
                let (total, peak) = (&mut total[channel], &mut peak[channel]);
                // one that is cut off at the cap would be cut off elsewhere
                *step = if capped[channel] { 1.0 } else { bounded(*step, *total, *peak, cap(&first.op)) };
                *total *= *step;
                *peak /= *step;
                largest = largest.max(*step).max(step.recip());
            }
            let scaled = scaled(first, of_first, second, of_second, &step);
            weights.insert(&first.name, scaled.0);
            weights.insert(&second.name, scaled.1);
        }
        if largest < 1.001 {
            break;
        }
    }
    factors.retain(|_, factors| factors.iter().any(|&factor| factor != 1.0));
    Ok(factors)
}

/// The weights of [`plain`], folded, with channels shifted, then divided and multiplied by factors.
///
/// # Errors
/// When shifts or factors are not those of a pair of layers of this network, or a factor is not above zero.
pub fn equalized(network: &Network, weights: &Weights, shifts: &Shifts, factors: &Factors) -> anyhow::Result<Weights> {
    let nodes = network.nodes()?;
    let mut weights = weights.folded(network)?;
    let pairs = pairs(&nodes);
    let of = |weights: &Weights, name: &str| -> anyhow::Result<(Pair, LayerWeights, LayerWeights)> {
        let pair = pairs.iter().find(|pair| nodes[pair.first].name == *name);
        let pair = pair.with_context(|| {
            format!("there are shifts or factors for the layer '{name}', which no other layer with weights reads alone")
        })?;
        let layer = |at: usize| weights.layer(&nodes[at].name).cloned().context("a layer has no weights");
        Ok((*pair, layer(pair.first)?, layer(pair.second)?))
    };
    for (name, shifts) in shifts {
        let (pair, mut first, mut second) = of(&weights, name)?;
        ensure!(takes_shifts(&nodes, pair), "the channels of layer '{name}' cannot be shifted");
        let good = shifts.iter().all(|shift| shift.is_finite() && *shift >= 0.0);
        ensure!(
            good && shifts.len() == first.bias.len(),
            "the shifts of layer '{name}' are not one a channel, 0 or above"
        );
        first.bias.iter_mut().zip(shifts).for_each(|(bias, shift)| *bias -= shift);
        let node = &nodes[pair.second];
        let mut taken = vec![0.0_f64; second.bias.len()];
        for (at, weight) in second.kernel.iter().enumerate() {
            let shift = shifts[input_channel(&node.op, second.shape, at, shifts.len())];
            taken[second.channel_of(node.op.channel_axis(), at)] += f64::from(*weight) * f64::from(shift);
        }
        second.bias.iter_mut().zip(taken).for_each(|(bias, taken)| *bias = (f64::from(*bias) + taken) as f32);
        weights.insert(name, first);
        weights.insert(&node.name, second);
    }
    for (name, factors) in factors {
        let (pair, of_first, of_second) = of(&weights, name)?;
        let good = factors.iter().all(|factor| factor.is_finite() && *factor > 0.0);
        ensure!(
            good && factors.len() == of_first.bias.len(),
            "the factors of layer '{name}' are not one a channel above 0"
        );
        let (first, second) = (&nodes[pair.first], &nodes[pair.second]);
        let scaled = scaled(first, &of_first, second, &of_second, factors);
        weights.insert(name, scaled.0);
        weights.insert(&second.name, scaled.1);
    }
    Ok(weights)
}

/// What is kept by the names of layers that make channels (factors, shifts), for each layer that they reach: those that pass the channels on
/// among them.
pub(super) fn passed_on<T: Clone>(nodes: &[Node], of_makers: &BTreeMap<String, T>) -> BTreeMap<String, T> {
    let mut reached = BTreeMap::new();
    for pair in pairs(nodes) {
        let Some(value) = of_makers.get(&nodes[pair.first].name) else { continue };
        let mut at = pair.second;
        while at > pair.first {
            at = nodes[at].inputs[0] - 1;
            reached.insert(nodes[at].name.clone(), value.clone());
        }
    }
    reached
}

/// The pairs of layers that factors can be moved between: only the second reads the first, through operators that a factor a channel
/// passes unchanged.
pub(super) fn pairs(nodes: &[Node]) -> Vec<Pair> {
    let reader = |tensor: usize| {
        let mut readers = nodes.iter().enumerate().filter(|(_, node)| node.inputs.contains(&tensor));
        readers.next().filter(|(_, node)| readers.next().is_none() && node.inputs.len() == 1).map(|(index, _)| index)
    };
    let second = |first: usize| {
        let mut at = reader(first + 1)?;
        while passes_factors(&nodes[at].op) {
            at = reader(at + 1)?;
        }
        has_weights(&nodes[at].op).then_some(at)
    };
    let makes = |node: &Node| has_weights(&node.op) && node.op.activation() != Activation::ReluN1To1;
    let firsts = nodes.iter().enumerate().filter(|(_, node)| makes(node));
    firsts.filter_map(|(first, _)| Some(Pair { first, second: second(first)? })).collect()
}

/// Whether channels between two layers can be shifted: what clamps them at zero is the first layer's own relu, and no cells of zeros
/// are added anywhere.
fn takes_shifts(nodes: &[Node], pair: Pair) -> bool {
    let is_relu = matches!(nodes[pair.first].op.activation(), Activation::Relu | Activation::Relu6);
    let second = &nodes[pair.second];
    let pads =
        second.op.window().is_some_and(|w| w.resolve(second.input()).map_or(true, |window| window.pads != [0; 4]));
    let mut at = second.inputs[0] - 1;
    while at > pair.first {
        if matches!(nodes[at].op, Op::Pad { .. } | Op::Unary(_)) {
            return false;
        }
        at = nodes[at].inputs[0] - 1;
    }
    is_relu && !pads
}

const fn has_weights(op: &Op) -> bool {
    matches!(op, Op::Conv2d { .. } | Op::DepthwiseConv2d { .. } | Op::Dense { .. })
}

/// Whether an operator applied to channels times factors above zero gives its output times these factors.
const fn passes_factors(op: &Op) -> bool {
    matches!(
        op,
        Op::MaxPool2d { .. }
            | Op::MinPool2d { .. }
            | Op::AveragePool2d { .. }
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::Pad { .. }
            | Op::Flatten
            | Op::Unary(Unary::Relu | Unary::LeakyRelu { .. })
    )
}

/// The largest value that an operator lets through.
const fn cap(op: &Op) -> f32 {
    op.activation().bounds().1
}

/// The input channel that a weight of a layer reads, of `channels`: a flat input holds them innermost.
pub(super) fn input_channel(op: &Op, shape: [usize; 4], at: usize, channels: usize) -> usize {
    let inner = shape[3].max(1);
    let last = at % inner;
    match *op {
        Op::DepthwiseConv2d { multiplier, .. } => last / (multiplier as usize).max(1),
        Op::Conv2d { groups, .. } => {
            let output = at / (shape[1] * shape[2] * inner).max(1);
            let in_group = shape[0] / (groups as usize).max(1);
            output / in_group.max(1) * inner + last
        }
        _ => last % channels.max(1),
    }
}

/// The largest magnitude among the weights of each output channel.
fn output_ranges(node: &Node, weights: &LayerWeights) -> Vec<f32> {
    let mut ranges = vec![0.0_f32; weights.bias.len()];
    for (at, weight) in weights.kernel.iter().enumerate() {
        let range = &mut ranges[weights.channel_of(node.op.channel_axis(), at)];
        *range = range.max(weight.abs());
    }
    ranges
}

/// The largest magnitude among the weights that read each input channel.
fn input_ranges(node: &Node, weights: &LayerWeights, channels: usize) -> Vec<f32> {
    let mut ranges = vec![0.0_f32; channels];
    for (at, weight) in weights.kernel.iter().enumerate() {
        if let Some(range) = ranges.get_mut(input_channel(&node.op, weights.shape, at, channels)) {
            *range = range.max(weight.abs());
        }
    }
    ranges
}

/// The paper's factors, `sqrt(r1 r2) / r2`; 1 for channels that are dead on one side.
fn by_weights(made: &[f32], read: &[f32], peak: &[f32]) -> Vec<f32> {
    let factor = |((&made, &read), &peak): ((&f32, &f32), &f32)| {
        if made > 0.0 && read > 0.0 && peak > 0.0 { (made / read).sqrt() } else { 1.0 }
    };
    made.iter().zip(read).zip(peak).map(factor).collect()
}

/// Factors that bring the channels' values nearer to each other: all the way where a depthwise convolution reads them, whose weights have
/// a scale for each channel; else half the way, as the weights that read them grow apart by as much. The largest value stays.
fn by_values(peak: &[f32], read: &[f32], depthwise: bool, (cap, capped): (f32, &[bool])) -> Vec<f32> {
    let top = peak.iter().copied().fold(0.0_f32, f32::max);
    let live = |c: usize| peak[c] > 0.0 && read[c] > 0.0 && peak[c] < AT_CAP * cap && !capped[c];
    let factor = |c: usize| match live(c) {
        true if depthwise => peak[c] / top,
        true => (peak[c] / read[c]).sqrt(),
        false => 1.0,
    };
    let raw: Vec<f32> = (0..peak.len()).map(factor).collect();
    let scaled_top = (0..peak.len()).filter(|&c| live(c)).map(|c| peak[c] / raw[c]).fold(0.0_f32, f32::max);
    if scaled_top == 0.0 {
        return raw;
    }
    let back = scaled_top / top;
    raw.into_iter().enumerate().map(|(c, factor)| if live(c) { factor * back } else { 1.0 }).collect()
}

/// A factor within bounds: the product of all rounds' between 1/32 and 32, and no channel beyond the cap that it did not reach before.
fn bounded(step: f32, total: f32, peak: f32, cap: f32) -> f32 {
    let step = if cap.is_finite() { step.max(peak / (cap * AT_CAP)) } else { step };
    (step * total).clamp(LARGEST.recip(), LARGEST) / total
}

/// Both layers of a pair with the first's output channels divided by factors.
fn scaled(
    first: &Node,
    of_first: &LayerWeights,
    second: &Node,
    of_second: &LayerWeights,
    factors: &[f32],
) -> (LayerWeights, LayerWeights) {
    let (mut made, mut reading) = (of_first.clone(), of_second.clone());
    for (at, weight) in made.kernel.iter_mut().enumerate() {
        *weight /= factors[of_first.channel_of(first.op.channel_axis(), at)];
    }
    made.bias.iter_mut().zip(factors).for_each(|(bias, factor)| *bias /= factor);
    for (at, weight) in reading.kernel.iter_mut().enumerate() {
        *weight *= factors[input_channel(&second.op, of_second.shape, at, factors.len())];
    }
    (made, reading)
}

#[cfg(test)]
#[path = "equalize_tests.rs"]
pub(super) mod tests;
