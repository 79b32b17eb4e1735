//! Doubled channels: a channel that is dead on all calibration images, as many of small MobileNets are, carries a copy of a live one, and
//! so do channels that are added.
//!
//! A copy is 0.93 times as large, the next 0.93 times that, so that its rounding errors are others, and the next layer reads the mean of all: the
//! noise of a channel that has a copy halves. A dead channel costs nothing; added ones make the network wider, by as many multiplications as
//! are allowed. The channels whose noise moves the logits most are taken; that is measured. On the calibration images the network does
//! the same in float, but for values of the copied channel beyond the cap of a relu6.
//!
//! # Source
//! Zhao et al., "Improving Neural Network Quantization without Retraining using Outlier Channel Splitting", arXiv:1901.09504, split channels
//! to halve outliers; what is halved here is noise.

use super::equalize::{Peaks, input_channel, pairs, passed_on};
use crate::data::Dataset;
use crate::network::{LayerKind, LayerWeights, Network, Node, Weights};
use crate::train::{Classifier, input_tensor};
use anyhow::{Context, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use ocelli::ir::Op;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Size of a copy, of the one before.
const COPY: f32 = 0.93;
/// Most copies of a channel.
const COPIES: usize = 3;
/// Images on which noise is measured.
const IMAGES: usize = 16;
/// Multiplications that measuring may take; channels beyond that go by the weights that read them, and are not added.
const WORK: u64 = 100_000_000_000;

/// A channel, dead or added, and the live one that it carries a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Double {
    /// The dead one, or one behind the last.
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

/// The channels of a chain, and what a copy of each is worth.
struct Room<'n> {
    name: &'n str,
    /// Channels of its own.
    channels: usize,
    dead: Vec<usize>,
    /// Noise of each live channel in the logits, squared, or the weights that read it where that was not measured; and the channel.
    noise: Vec<(f64, usize)>,
    /// Whether that was measured, and channels may be added.
    is_open: bool,
    /// Multiplications that a channel takes, as long as its neighbours are as wide as they were.
    cost: u64,
    doubles: Vec<Double>,
}

impl Room<'_> {
    fn copies(&self, of: usize) -> usize {
        self.doubles.iter().filter(|double| double.of == of).count()
    }

    /// The live channel that one more copy takes most noise off, and how much.
    fn best(&self) -> Option<(f64, usize)> {
        let gain = |&(noise, of): &(f64, usize)| {
            let carriers = (self.copies(of) + 1) as f64;
            (carriers as usize <= COPIES).then(|| (noise / (carriers * (carriers + 1.0)), of))
        };
        // the first among equals
        self.noise.iter().filter_map(gain).reduce(|best, other| if other.0 > best.0 { other } else { best })
    }
}

/// The channels of a network to double: all dead ones are used, and channels are added as long as they take no more than the share `widen` of the
/// network's multiplications. `network` has no batch norms of its own ([`plain`](super::plain)), `weights` are its; `peaks` tell which channels
/// are dead.
///
/// # Errors
/// When the network cannot be run, or peaks are missing.
pub fn doubles(
    network: &Network,
    weights: &Weights,
    peaks: &Peaks,
    images: &Dataset,
    widen: f64,
    device: &Device,
) -> anyhow::Result<Doubles> {
    let nodes = network.nodes()?;
    let images = images.head(IMAGES);
    let macs = nodes.iter().map(Node::macs).sum::<u64>();
    let mut passes = WORK / (macs.max(1) * IMAGES as u64);
    let mut chains = chains(&nodes);
    chains.retain(|chain| chain.makers.iter().all(|&maker| is_alone(&nodes, maker)));
    let mut module = None;
    let mut rooms = Vec::new();
    for chain in &chains {
        let last = chain.makers.last().copied().unwrap_or_default();
        let peaks = peaks.get(&nodes[last].name).context("a layer was not observed")?;
        let (dead, live): (Vec<usize>, Vec<usize>) = (0..peaks.len()).partition(|&channel| peaks[channel] == 0.0);
        if live.is_empty() || (dead.is_empty() && widen == 0.0) {
            continue;
        }
        let module = match &mut module {
            Some(module) => module,
            none => none.insert(Classifier::folded(network, weights, device)?),
        };
        let mut noise = by_weights(&nodes[chain.reader], weights, peaks.len(), &live)?;
        let needed = (chain.makers.len() * noise.len()) as u64;
        let is_measured = needed <= passes;
        if is_measured {
            passes -= needed;
            noise.iter_mut().for_each(|(sum, _)| *sum = 0.0);
            let batch: Vec<usize> = (0..images.len()).collect();
            let x = input_tensor(network, &images, &batch, device);
            for &maker in &chain.makers {
                add_noise(module, x.clone(), maker, device, &mut noise);
            }
            noise.sort_by(|a, b| b.0.total_cmp(&a.0));
        }
        let all = chain.makers.iter().chain([&chain.reader]).map(|&at| nodes[at].macs()).sum::<u64>();
        rooms.push(Room {
            name: &nodes[chain.makers[0]].name,
            channels: peaks.len(),
            dead,
            noise,
            is_open: is_measured,
            cost: (all / peaks.len() as u64).max(1),
            doubles: Vec::new(),
        });
    }
    for room in &mut rooms {
        for channel in std::mem::take(&mut room.dead) {
            let Some((_, of)) = room.best() else { break };
            room.doubles.push(Double { channel, of });
        }
    }
    let most = macs + (widen * macs as f64) as u64;
    loop {
        let worth = |room: &Room<'_>| room.best().map_or(0.0, |(gain, _)| gain / room.cost as f64);
        let open = (0..rooms.len()).filter(|&at| rooms[at].is_open && worth(&rooms[at]) > 0.0);
        let Some(at) = open.max_by(|&a, &b| worth(&rooms[a]).total_cmp(&worth(&rooms[b]))) else { break };
        let room = &mut rooms[at];
        let Some((_, of)) = room.best() else { break };
        let channel = room.channels + room.doubles.iter().filter(|double| double.channel >= room.channels).count();
        room.doubles.push(Double { channel, of });
        // a channel costs more where its neighbours are wider too
        let wide = widened(network, rooms.iter().map(|room| (room.name, room.doubles.as_slice())))?;
        if wide.nodes()?.iter().map(Node::macs).sum::<u64>() > most {
            rooms[at].doubles.pop();
            rooms[at].is_open = false;
        }
    }
    rooms.retain(|room| !room.doubles.is_empty());
    Ok(rooms.into_iter().map(|room| (room.name.to_owned(), room.doubles)).collect())
}

/// The network with the channels that doubles of its layers add.
pub(super) fn widened<'d>(
    network: &Network,
    doubles: impl IntoIterator<Item = (&'d str, &'d [Double])>,
) -> anyhow::Result<Network> {
    let mut network = network.clone();
    for (name, doubles) in doubles {
        for layer in network.layers.iter_mut().filter(|layer| layer.name == *name) {
            if let LayerKind::Op(Op::Conv2d { c_out: made, .. } | Op::Dense { units: made, .. }) = &mut layer.kind {
                let channels = *made as usize;
                let added = doubles.iter().filter(|double| double.channel >= channels).count();
                *made = u32::try_from(channels + added)?;
            }
        }
    }
    Ok(network)
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

/// What a channel carries: a live channel times a size, of which the next layer reads a share.
#[derive(Clone, Copy)]
struct Carrier {
    of: usize,
    size: f32,
    share: f32,
}

/// What each channel of a chain carries, the added ones last.
fn carriers(name: &str, channels: usize, doubles: &[Double]) -> anyhow::Result<Vec<Carrier>> {
    let count = |is: &dyn Fn(&Double) -> bool| doubles.iter().filter(|double| is(double)).count();
    let added = count(&|double| double.channel >= channels);
    let one_each =
        doubles.iter().all(|d| d.channel < channels + added && count(&|other| other.channel == d.channel) == 1);
    let of_live = doubles.iter().all(|d| d.of < channels && count(&|other| other.channel == d.of) == 0);
    let few = doubles.iter().all(|d| count(&|other| other.of == d.of) <= COPIES);
    ensure!(
        one_each && of_live && few,
        "the doubles of layer '{name}' are not pairs of a dead or an added channel and a live one of its {channels}, of {COPIES} copies at most"
    );
    let share = |of: usize| 1.0 / (1 + count(&|double| double.of == of)) as f32;
    let mut carriers: Vec<Carrier> =
        (0..channels + added).map(|of| Carrier { of, size: 1.0, share: share(of) }).collect();
    let mut sizes: BTreeMap<usize, f32> = BTreeMap::new();
    for &Double { channel, of } in doubles {
        let size = sizes.entry(of).or_insert(1.0);
        *size *= COPY;
        carriers[channel] = Carrier { of, size: *size, share: share(of) };
    }
    Ok(carriers)
}

/// The network with doubled channels, and its weights: those of `network`, which has no batch norms of its own, otherwise.
///
/// # Errors
/// When doubles are not those of a layer of this network.
pub fn doubled(network: &Network, weights: &Weights, doubles: &Doubles) -> anyhow::Result<(Network, Weights)> {
    let nodes = network.nodes()?;
    let chains = chains(&nodes);
    let mut weights = weights.clone();
    for (name, doubles) in doubles {
        let chain = chains.iter().find(|chain| nodes[chain.makers[0]].name == *name);
        let chain = chain.with_context(|| format!("the channels of layer '{name}' cannot be doubled"))?;
        let channels = nodes[chain.makers[0]].output.c as usize;
        let carriers = carriers(name, channels, doubles)?;
        for &maker in chain.makers.iter().chain([&chain.reader]) {
            let node = &nodes[maker];
            let layer = weights.layer(&node.name).with_context(|| format!("'{}' has no weights", node.name))?;
            let made = if maker == chain.reader {
                reading(layer, channels, &carriers)
            } else {
                making(layer, &carriers, maker == chain.makers[0])
            };
            weights.insert(&node.name, made);
        }
    }
    let network = widened(network, doubles.iter().map(|(name, doubles)| (name.as_str(), doubles.as_slice())))?;
    Ok((network, weights))
}

/// A layer with an output channel for each carrier: of the first of a chain, smaller for copies; behind that, the input is smaller.
fn making(layer: &LayerWeights, carriers: &[Carrier], is_first: bool) -> LayerWeights {
    let (channels, mut shape) = (layer.bias.len().max(1), layer.shape);
    let kernel = if is_first {
        shape[0] = carriers.len();
        let row = layer.kernel.len() / channels;
        let row =
            |&Carrier { of, size, .. }: &Carrier| layer.kernel[of * row..(of + 1) * row].iter().map(move |w| w * size);
        carriers.iter().flat_map(row).collect()
    } else {
        shape[3] = carriers.len();
        let pick = |cell: &[f32]| carriers.iter().map(|carrier| cell[carrier.of]).collect::<Vec<_>>();
        layer.kernel.chunks_exact(channels).flat_map(pick).collect()
    };
    let bias = carriers.iter().map(|carrier| layer.bias[carrier.of] * carrier.size).collect();
    LayerWeights { shape, kernel, bias }
}

/// A layer that reads carriers, which lie side by side, in place of channels.
fn reading(layer: &LayerWeights, channels: usize, carriers: &[Carrier]) -> LayerWeights {
    let mut shape = layer.shape;
    shape[3] = shape[3] / channels.max(1) * carriers.len();
    let pick = |cell: &[f32]| carriers.iter().map(|c| cell[c.of] * c.share / c.size).collect::<Vec<_>>();
    let kernel = layer.kernel.chunks_exact(channels.max(1)).flat_map(pick).collect();
    LayerWeights { shape, kernel, bias: layer.bias.clone() }
}

/// Channels of the network before, and what each of those after carries and its size.
pub(super) type Carried = (usize, Vec<(usize, f32)>);

/// Of the layers that hold doubled channels, what these carry, by the layer's name.
///
/// # Errors
/// When the network's shapes do not fit, or doubles are not those of a layer.
pub(super) fn carried(network: &Network, doubles: &Doubles) -> anyhow::Result<BTreeMap<String, Carried>> {
    let nodes = network.nodes()?;
    let mut of_makers = BTreeMap::new();
    for chain in chains(&nodes) {
        let first = &nodes[chain.makers[0]];
        let Some(doubles) = doubles.get(&first.name) else { continue };
        let channels = first.output.c as usize;
        let carriers = carriers(&first.name, channels, doubles)?;
        let carried: Vec<(usize, f32)> = carriers.iter().map(|carrier| (carrier.of, carrier.size)).collect();
        for &maker in &chain.makers {
            of_makers.insert(nodes[maker].name.clone(), (channels, carried.clone()));
        }
    }
    Ok(passed_on(&nodes, &of_makers))
}

#[cfg(test)]
#[path = "double_tests.rs"]
mod tests;
