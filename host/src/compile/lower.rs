//! A quantized network as the records of a model file: activations folded into clamps, zero points into biases, rows of weights padded.

use super::plan::REGION_ALIGN;
use super::tile::{self, Target};
use super::unary::{lookup_table, unsigned_table};
use crate::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork, QuantizedWeights, pixel_lut};
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Op, Shape, Window};
use ocelli::kernels::reference::SoftmaxScale;
use ocelli::model::records::{OpRecord, Tensor, flag, kind, padded};
use ocelli::model::write::{ModelFile, OpEntry};
use ocelli::quant::{Multiplier, activation_range};

/// Makes the records; rings are as tall as their tensors and have no place yet (see `plan`).
///
/// # Errors
/// When an operator's numbers are outside what the format can hold; the error names it.
pub fn lower(network: &QuantizedNetwork, target: &Target, tiles: bool) -> anyhow::Result<ModelFile> {
    let mut lowering = Lowering::new(network.input_shape, network.input, tiles.then_some(target));
    for layer in &network.layers {
        lowering.layer(layer).with_context(|| format!("layer '{}'", layer.node.name))?;
    }
    let file = lowering.finish(target)?;
    let input = network.picture.map(|spec| (spec, pixel_lut(&spec, network.input)));
    Ok(ModelFile { labels: network.labels.clone(), input, ..file })
}

/// A file that grows layer by layer.
pub(super) struct Lowering<'a> {
    tile_target: Option<&'a Target>,
    tensors: Vec<Tensor>,
    ops: Vec<OpEntry>,
    /// The file's tensor for each tensor of the network, and its quantization.
    places: Vec<(usize, QuantParams)>,
}

impl<'a> Lowering<'a> {
    /// A file of an input only; convolutions get tiles for `tile_target`.
    pub(super) fn new(input: Shape, params: QuantParams, tile_target: Option<&'a Target>) -> Self {
        Self { tile_target, tensors: vec![tensor(input, params)], ops: Vec::new(), places: vec![(0, params)] }
    }

    /// Puts an operator behind what there is; returns the number that its output has in the network.
    pub(super) fn add(&mut self, entry: OpEntry, shape: Shape, params: QuantParams) -> usize {
        self.push(entry, shape, params);
        self.places.push((self.tensors.len() - 1, params));
        self.places.len() - 1
    }

    /// Puts a layer behind what there is.
    pub(super) fn layer(&mut self, layer: &QuantizedLayer) -> anyhow::Result<()> {
        self.lowered(layer)?;
        self.places.push((self.tensors.len() - 1, layer.output));
        Ok(())
    }

    /// The file, without labels and rule for pictures.
    pub(super) fn finish(self, target: &Target) -> anyhow::Result<ModelFile> {
        let Self { mut tensors, ops, .. } = self;
        let last = tensors.len() - 1;
        for (index, tensor) in tensors.iter_mut().enumerate() {
            let reader = ops.iter().rposition(|entry: &OpEntry| entry.record.reads().any(|read| read == index));
            let reader = if index == last { Some(last.saturating_sub(1)) } else { reader };
            tensor.last_reader = u32::try_from(reader.context("a layer's output is read by no other")?)?;
        }
        let each = tile::most_scratch_bytes(ops.iter().map(|entry| &entry.record), &tensors, target.lane_bytes);
        let scratch =
            each.checked_next_multiple_of(REGION_ALIGN).and_then(|each| each.checked_mul(target.cores.into()));
        Ok(ModelFile {
            tensors,
            ops,
            labels: Vec::new(),
            input: None,
            arena_bytes: 0,
            state: 0,
            scratch: [0, scratch.context("the scratch memory of all cores")?],
            lane_bytes: target.lane_bytes,
        })
    }

    fn place(&self, input: usize) -> anyhow::Result<(u16, QuantParams)> {
        let (place, params) = *self.places.get(input).context("it reads a tensor that is not made before")?;
        Ok((u16::try_from(place)?, params))
    }

    fn lowered(&mut self, layer: &QuantizedLayer) -> anyhow::Result<()> {
        let node = &layer.node;
        if node.op == Op::Concat {
            return self.concat(layer);
        }
        let read =
            node.inputs.iter().map(|&input| self.place(input)).collect::<anyhow::Result<Vec<(u16, QuantParams)>>>()?;
        let before: Vec<QuantParams> = read.iter().map(|&(_, params)| params).collect();
        let mut record = OpRecord::new(kind_of(layer), read.first().context("no inputs")?.0);
        if let Some(&(second, _)) = read.get(1) {
            ensure!(second != record.inputs[0], "it reads one tensor twice: not supported");
            record.inputs[1] = second;
        }
        (record.act_min, record.act_max) =
            activation_range(node.op.activation(), layer.output.scale, layer.output.zero_point);
        if layer.unsigned && matches!(record.kind, kind::AVERAGE_POOL2D | kind::GLOBAL_AVERAGE_POOL) {
            record.flags |= flag::TIES_UP;
        }
        if layer.unsigned && record.kind == kind::DENSE {
            record.flags |= flag::ROUND_ONCE;
        }
        let mut entry =
            OpEntry { name: node.name.clone(), record, weights: Vec::new(), bias: Vec::new(), multipliers: Vec::new() };
        match node.op {
            Op::Pad { cells } => entry.record.pads = cells,
            _ if record.kind == kind::GLOBAL_AVERAGE_POOL => {}
            _ => {
                if let Some(window) = node.op.window() {
                    set_window(&mut entry.record, window, node.input())?;
                }
            }
        }
        if let Some(weights) = &layer.weights {
            set_weights(&mut entry, layer, weights, before[0])?;
            if let Some(target) = self.tile_target {
                tile::choose(&mut entry.record, node.input(), node.output, target);
            }
        }
        let (output, one) =
            (layer.output, |real: f64| Multiplier::from_real(real).context("its scale is out of range"));
        let real = |params: QuantParams| f64::from(params.scale);
        match node.op {
            Op::Softmax => {
                let factor = SoftmaxScale::factor_for(before[0].scale).filter(|factor| factor.shift >= 0);
                let Some(factor) = factor else { bail!("softmax cannot take an input scale of {}", before[0].scale) };
                entry.multipliers.push(factor);
            }
            Op::Add { .. } => {
                // TensorFlow Lite, `kernels/add.cc`: both inputs at twice the larger scale, 20 more bits
                let twice = 2.0 * real(before[0]).max(real(before[1]));
                entry.multipliers.push(one(real(before[0]) / twice)?);
                entry.multipliers.push(one(real(before[1]) / twice)?);
                entry.multipliers.push(one(twice / (f64::from(1 << 20) * real(output)))?);
            }
            Op::Mul { .. } => {
                // TensorFlow Lite, `kernels/mul.cc`, in single precision; TensorFlow Lite Micro, `mul_common.cc`, in double
                let single = f64::from(before[0].scale * before[1].scale / output.scale);
                let double = real(before[0]) * real(before[1]) / real(output);
                entry.multipliers.push(one(if layer.unsigned { single } else { double })?);
            }
            Op::GlobalAveragePool => {
                let Shape { h, w, .. } = node.input();
                entry.multipliers.push(mean_factor(one(real(before[0]) / real(output))?, u64::from(h) * u64::from(w))?);
            }
            Op::Unary(unary) => {
                let table = if layer.unsigned { unsigned_table } else { lookup_table };
                entry.weights = table(unary, before[0], output)?;
            }
            _ => {}
        }
        self.push(entry, node.output, output);
        Ok(())
    }

    fn push(&mut self, entry: OpEntry, shape: Shape, params: QuantParams) {
        self.ops.push(entry);
        self.tensors.push(tensor(shape, params));
    }

    /// Two tensors at a time; one whose scale is not the output's passes through a table first.
    fn concat(&mut self, layer: &QuantizedLayer) -> anyhow::Result<()> {
        let node = &layer.node;
        let mut parts: Vec<(u16, Shape)> = Vec::new();
        for (index, (&input, &shape)) in node.inputs.iter().zip(&node.input_shapes).enumerate() {
            let (mut place, before) = self.place(input)?;
            if before != layer.output {
                let name = format!("{}.rescale{index}", node.name);
                let entry = OpEntry {
                    name,
                    record: OpRecord::new(kind::LOOKUP, place),
                    weights: super::unary::rescale_table(before, layer.output),
                    bias: Vec::new(),
                    multipliers: Vec::new(),
                };
                self.push(entry, shape, layer.output);
                place = u16::try_from(self.tensors.len() - 1)?;
            }
            ensure!(parts.iter().all(|part| part.0 != place), "it reads one tensor twice: not supported");
            parts.push((place, shape));
        }
        let ((mut left, mut shape), rest) =
            parts.split_first().map(|(&first, rest)| (first, rest)).context("no inputs")?;
        for (index, &(right, other)) in rest.iter().enumerate() {
            let last = index + 1 == rest.len();
            let name = if last { node.name.clone() } else { format!("{}.part{}", node.name, index + 2) };
            let mut record = OpRecord::new(kind::CONCAT, left);
            record.inputs[1] = right;
            shape.c += other.c;
            self.push(
                OpEntry { name, record, weights: Vec::new(), bias: Vec::new(), multipliers: Vec::new() },
                shape,
                layer.output,
            );
            left = u16::try_from(self.tensors.len() - 1)?;
        }
        Ok(())
    }
}

fn kind_of(layer: &QuantizedLayer) -> u8 {
    match layer.node.op {
        Op::Conv2d { .. } => kind::CONV2D,
        Op::DepthwiseConv2d { .. } => kind::DEPTHWISE_CONV2D,
        Op::MaxPool2d { window } if covers(&window, layer.node.input()) => kind::GLOBAL_MAX_POOL,
        Op::MaxPool2d { .. } => kind::MAX_POOL2D,
        Op::MinPool2d { .. } => kind::MIN_POOL2D,
        // rounds as the pool does; needs no window of rows to be held
        Op::AveragePool2d { window } if covers(&window, layer.node.input()) => kind::GLOBAL_AVERAGE_POOL,
        Op::AveragePool2d { .. } => kind::AVERAGE_POOL2D,
        Op::GlobalAveragePool => kind::MEAN,
        Op::GlobalMaxPool => kind::GLOBAL_MAX_POOL,
        Op::Dense { .. } => kind::DENSE,
        Op::Add { .. } => kind::ADD,
        Op::Mul { .. } => kind::MUL,
        Op::Concat => kind::CONCAT,
        Op::Pad { .. } => kind::PAD,
        Op::Flatten | Op::Reshape { .. } => kind::RESHAPE,
        Op::Unary(_) => kind::LOOKUP,
        Op::Softmax => kind::SOFTMAX,
    }
}

/// Whether a pool's only window is the whole picture.
fn covers(window: &Window, input: Shape) -> bool {
    let whole = window.resolve(input).is_ok_and(|resolved| resolved.out == [1, 1] && resolved.pads == [0; 4]);
    whole && window.kernel.map(u32::from) == [input.h, input.w]
}

fn tensor(shape: Shape, params: QuantParams) -> Tensor {
    let Shape { h, w, c } = shape;
    Tensor { h, w, c, rows: h, offset: 0, last_reader: 0, scale: params.scale, zero_point: params.zero_point }
}

fn set_window(record: &mut OpRecord, window: &Window, input: Shape) -> anyhow::Result<()> {
    if matches!(record.kind, kind::GLOBAL_MAX_POOL | kind::GLOBAL_AVERAGE_POOL) {
        return Ok(());
    }
    record.kernel = window.kernel;
    record.stride = window.stride;
    record.dilation = window.dilation;
    record.pads = window.resolve(input)?.pads;
    Ok(())
}

/// Weights in rows padded to multiples of four, biases with the zero points folded in, factors.
fn set_weights(
    entry: &mut OpEntry,
    layer: &QuantizedLayer,
    weights: &QuantizedWeights,
    before: QuantParams,
) -> anyhow::Result<()> {
    let op = &layer.node.op;
    // a dense layer may read what a flatten before it would have made flat
    let input = layer.node.input();
    let flat = Shape::new(1, 1, input.elements().context("its input is too large")?);
    weights.check(op, if matches!(op, Op::Dense { .. }) { flat } else { input })?;
    let [o, kh, kw, i] = weights.shape;
    let channels = if op.channel_axis() == 3 { i } else { o };
    entry.record.groups = match *op {
        Op::Conv2d { groups, .. } => u16::try_from(groups)?,
        Op::DepthwiseConv2d { multiplier, .. } => u16::try_from(multiplier)?,
        _ => 1,
    };
    entry.record.weight_zero_point = i16::try_from(weights.zero_point)?;
    let row = if matches!(op, Op::Conv2d { .. }) { kw * i } else { i };
    for values in weights.kernel.chunks_exact(row.max(1)) {
        entry.weights.extend_from_slice(values);
        entry.weights.resize(entry.weights.len() + padded(row) - row, 0);
    }
    let taps = i64::try_from(weights.kernel.len() / channels.max(1))?;
    for channel in 0..channels {
        let values = if op.channel_axis() == 3 {
            sum(weights.kernel.iter().skip(channel).step_by(channels))
        } else {
            sum(weights.kernel.iter().skip(channel * kh * kw * i).take(kh * kw * i))
        };
        // sum((x - zx) (w - zw)) = sum(x (w - zw)) - zx (sum(w) - taps zw)
        let folded = i64::from(before.zero_point) * (values - taps * i64::from(weights.zero_point));
        let bias = i64::from(weights.bias.get(channel).copied().unwrap_or(0)) - folded;
        entry
            .bias
            .push(i32::try_from(bias).with_context(|| format!("output channel {channel}: its bias is too large"))?);
        let scale = weights.scale(channel);
        let factor = if layer.unsigned && !matches!(op, Op::Dense { .. }) {
            multiplier(before.scale * scale, 1.0, layer.output.scale) // their product in single precision
        } else {
            multiplier(before.scale, scale, layer.output.scale)
        };
        entry.multipliers.push(factor.with_context(|| format!("output channel {channel}: its scale is out of range"))?);
    }
    Ok(())
}

fn sum<'w>(weights: impl Iterator<Item = &'w i8>) -> i64 {
    weights.map(|&w| i64::from(w)).sum()
}

/// The factor from accumulator to output: `input * weight / output` in double precision.
///
/// # Source
/// TensorFlow Lite `PopulateConvolutionQuantizationParams` (`kernels/kernel_util.cc`).
#[must_use]
pub fn multiplier(input: f32, weight: f32, output: f32) -> Option<Multiplier> {
    Multiplier::from_real(f64::from(input) * f64::from(weight) / f64::from(output))
}

/// The factor of a mean over `count` values, from that between the scales.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::Mean`: the division by the count goes into the multiplier, truncated.
fn mean_factor(scale: Multiplier, count: u64) -> anyhow::Result<Multiplier> {
    let bits = i32::try_from(count.ilog2())?.min(32).min(31 + scale.shift);
    ensure!(bits >= 0, "its scale is out of range");
    let multiplier = (i64::from(scale.multiplier) << bits) / i64::try_from(count)?;
    Ok(Multiplier { multiplier: i32::try_from(multiplier)?, shift: scale.shift - bits })
}
