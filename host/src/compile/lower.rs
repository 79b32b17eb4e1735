//! A quantized network as the records of a model file, activations folded into clamps and flatten into the dense layer after it.

use crate::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork, pixel_lut};
use anyhow::{Context, bail};
use ocelli::ir::{Op, Shape, Window};
use ocelli::kernels::reference::SoftmaxScale;
use ocelli::model::records::{OpRecord, Tensor, kind};
use ocelli::model::write::{ModelFile, OpEntry};
use ocelli::quant::{Multiplier, activation_range};

/// Makes the records; rings are as tall as their tensors and have no place yet (see `plan`).
///
/// # Errors
/// When an operator's numbers are outside what the format can hold; the error names it.
pub fn lower(network: &QuantizedNetwork) -> anyhow::Result<ModelFile> {
    let mut tensors = vec![tensor(network.input_shape, network.input)];
    let mut ops = Vec::new();
    for (index, layer) in network.layers.iter().enumerate() {
        if layer.node.inputs != [index] {
            bail!("layer '{}': only chains can be compiled", layer.node.name);
        }
        if folds_into_next(network, index) {
            continue;
        }
        let (input, before) = (tensors.len() as u32 - 1, network.params_of(layer.node.inputs[0]));
        let entry = lower_layer(layer, input, before).with_context(|| format!("layer '{}'", layer.node.name))?;
        ops.push(entry);
        tensors.push(tensor(layer.node.output, layer.output));
    }
    let last = tensors.len() as u32 - 1;
    for (index, tensor) in (0_u32..).zip(&mut tensors) {
        // a chain: tensor i is read by operator i; the output by nobody
        tensor.last_reader = if index == last { last.saturating_sub(1) } else { index };
    }
    Ok(ModelFile {
        tensors,
        ops,
        labels: network.labels.clone(),
        input: network.picture.map(|spec| (spec, pixel_lut(&spec, network.input))),
        arena_bytes: 0,
        state: 0,
    })
}

/// Dense takes its input in memory order, row by row: a flatten before it does nothing.
fn folds_into_next(network: &QuantizedNetwork, index: usize) -> bool {
    let next = network.layers.get(index + 1).map(|layer| layer.node.op);
    network.layers[index].node.op == Op::Flatten && matches!(next, Some(Op::Dense { .. }))
}

fn tensor(shape: Shape, params: QuantParams) -> Tensor {
    let Shape { h, w, c } = shape;
    Tensor { h, w, c, rows: h, offset: 0, last_reader: 0, scale: params.scale, zero_point: params.zero_point }
}

fn lower_layer(layer: &QuantizedLayer, input: u32, before: QuantParams) -> anyhow::Result<OpEntry> {
    let code = match layer.node.op {
        Op::Conv2d { .. } => kind::CONV2D,
        Op::MaxPool2d { .. } => kind::MAX_POOL2D,
        Op::AveragePool2d { .. } => kind::AVERAGE_POOL2D,
        Op::Dense { .. } => kind::DENSE,
        Op::Flatten => kind::FLATTEN,
        Op::Softmax => kind::SOFTMAX,
        _ => bail!("this operator cannot be compiled yet"),
    };
    let mut record = OpRecord::new(code, input);
    let activation = layer.node.op.activation();
    (record.act_min, record.act_max) = activation_range(activation, layer.output.scale, layer.output.zero_point);
    if let Some(window) = layer.node.op.window() {
        set_window(&mut record, window, layer.node.input())?;
    }
    let mut entry = OpEntry {
        name: layer.node.name.clone(),
        record,
        weights: Vec::new(),
        bias: Vec::new(),
        multipliers: Vec::new(),
    };
    if let Some(weights) = &layer.weights {
        entry.weights.clone_from(&weights.kernel);
        entry.bias.clone_from(&weights.bias);
        entry.multipliers = (0..weights.shape[0])
            .map(|channel| {
                multiplier(before.scale, weights.scale(channel), layer.output.scale)
                    .with_context(|| format!("output channel {channel}: its scale is out of range"))
            })
            .collect::<anyhow::Result<_>>()?;
    }
    if layer.node.op == Op::Softmax {
        let factor = SoftmaxScale::factor_for(before.scale).filter(|factor| factor.shift >= 0);
        let Some(factor) = factor else { bail!("softmax cannot take an input scale of {}", before.scale) };
        entry.multipliers.push(factor);
    }
    Ok(entry)
}

fn set_window(record: &mut OpRecord, window: &Window, input: Shape) -> anyhow::Result<()> {
    record.kernel = window.kernel;
    record.stride = window.stride;
    record.dilation = window.dilation;
    record.pads = window.resolve(input)?.pads;
    Ok(())
}

/// The factor from accumulator to output: `input * weight / output` in double precision.
///
/// # Source
/// TensorFlow Lite `PopulateConvolutionQuantizationParams` (`kernels/kernel_util.cc`).
#[must_use]
pub fn multiplier(input: f32, weight: f32, output: f32) -> Option<Multiplier> {
    Multiplier::from_real(f64::from(input) * f64::from(weight) / f64::from(output))
}
