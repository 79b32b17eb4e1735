//! QuantizeLinear and DequantizeLinear: between them a tensor is int8, and the operators compute what TensorFlow Lite's compute there.

use super::attributes::{Attributes, axis};
use super::build::{Builder, Draft, StoredWeights, Value, name_of};
use super::constant::{Constant, Data, Stored};
use super::graph::Lowered;
use super::view::View;
use crate::network::{LayerKind, LayerWeights, Network, channel_of};
use crate::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork, QuantizedWeights};
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Op, Unary};
use std::collections::HashMap;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

/// The quantization of TensorFlow Lite's softmax and sigmoid.
const UNIT: QuantParams = QuantParams { scale: 1.0 / 256.0, zero_point: -128 };
/// The quantization of TensorFlow Lite's tanh.
const TANH: QuantParams = QuantParams { scale: 1.0 / 128.0, zero_point: 0 };

impl Builder<'_> {
    /// Scale and zero point of a tensor, in int8: a uint8 value is 128 more.
    fn params(&mut self, node: &NodeProto) -> anyhow::Result<QuantParams> {
        let attributes = Attributes::of(node, &["axis", "block_size", "output_dtype", "precision", "saturate"])?;
        ensure!(attributes.int("block_size", 0)? == 0, "is quantized in blocks");
        let scale = self.constant(node, 1)?.scalar().context("has several scales for a tensor that is computed")?;
        ensure!(scale.is_finite() && scale > 0.0, "has the scale {scale}");
        let (zero_point, kind) = match self.optional_constant(node, 2)? {
            Some(zero_point) => match &zero_point.data {
                Data::Ints(values, kind) => (*values.first().context("has no zero point")?, *kind),
                Data::Floats(_) => bail!("has a zero point that is no integer"),
            },
            None if attributes.int("output_dtype", 0)? == DataType::Int8 as i64 => (0, DataType::Int8),
            None => (0, DataType::Uint8),
        };
        let offset = match kind {
            DataType::Int8 => 0,
            DataType::Uint8 => 128,
            kind => bail!("quantizes to {kind:?}: int8 and uint8 are supported"),
        };
        Ok(QuantParams { scale, zero_point: i32::try_from(zero_point - offset)?.clamp(-128, 127) })
    }

    pub fn quantize(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        ensure!(!self.fragment, "is supported in whole networks only");
        let params = self.params(node)?;
        let x = self.computed(node, 0)?;
        let inputs = self.inputs.len();
        let before = match x.tensor.checked_sub(inputs) {
            None => &mut self.input_params[x.tensor],
            Some(layer) => &mut self.layers[layer].params,
        };
        match *before {
            Some(before) if before == params => return Ok(Value::Computed(x)),
            None => {
                *before = Some(params);
                ensure!(x.sole, "quantizes a value that is also read in float");
                return Ok(Value::Computed(x));
            }
            Some(_) => {}
        }
        let (tensor, shape) = self.push_op(name_of(node), Op::Unary(Unary::Requantize), &[x.tensor])?;
        self.last()?.params = Some(params);
        Ok(Value::Computed(View { tensor, shape, sole: true, ..x }))
    }

    pub fn dequantize(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let params = self.params(node)?;
        let x = self.computed(node, 0)?;
        let before = match x.tensor.checked_sub(self.inputs.len()) {
            None => self.input_params[x.tensor],
            Some(layer) => self.layers[layer].params,
        };
        ensure!(before == Some(params), "dequantizes by other numbers than the value was quantized by");
        Ok(Value::Computed(x))
    }

    /// Constants that are stored as integers.
    pub fn dequantized_constant(&mut self, node: &NodeProto) -> anyhow::Result<Constant> {
        let attributes = Attributes::of(node, &["axis", "block_size", "output_dtype", "precision", "saturate"])?;
        ensure!(attributes.int("block_size", 0)? == 0, "is quantized in blocks");
        let x = self.constant(node, 0)?;
        let Data::Ints(ints, kind) = &x.data else { bail!("dequantizes a constant of floats") };
        let scales = self.constant(node, 1)?.real()?.to_vec();
        let zero_points = match self.optional_constant(node, 2)? {
            Some(zero_points) => zero_points.whole()?.to_vec(),
            None => vec![0; scales.len()],
        };
        ensure!(scales.len() == zero_points.len(), "has {} scales and {} zero points", scales.len(), zero_points.len());
        let along = if scales.len() == 1 { 0 } else { axis(attributes.int("axis", 1)?, x.dims.len())? };
        ensure!(
            scales.len() == 1 || x.dims.get(along) == Some(&scales.len()),
            "has {} scales for the shape {:?}",
            scales.len(),
            x.dims
        );
        let inner: usize = x.dims.iter().skip(along + 1).product();
        let channel = |at: usize| at / inner.max(1) % scales.len().max(1);
        let real = |(at, &q): (usize, &i64)| {
            let c = if scales.len() == 1 { 0 } else { channel(at) };
            (q - zero_points[c]) as f32 * scales[c]
        };
        ensure!(!scales.is_empty(), "has no scale");
        self.spend(3 * ints.len())?;
        let values = ints.iter().enumerate().map(real).collect();
        let stored = Stored { ints: ints.clone(), kind: *kind, scales, zero_points, axis: along };
        Ok(Constant { stored: Some(Box::new(stored)), ..Constant::floats(x.dims.clone(), values) })
    }
}

/// Gives every layer its quantization: where TensorFlow Lite's operator has one of its own, or keeps that of its input, the file's comes
/// by a change of scale behind it.
pub fn settle(lowered: &mut Lowered) -> anyhow::Result<()> {
    let inputs = lowered.inputs.len();
    let mut tensors: Vec<usize> = (0..inputs).collect(); // where each tensor is after layers were put in
    let mut params: Vec<Option<QuantParams>> = lowered.input_params.clone();
    let mut settled: Vec<Draft> = Vec::with_capacity(lowered.layers.len());
    let count = lowered.layers.len();
    for (index, mut draft) in std::mem::take(&mut lowered.layers).into_iter().enumerate() {
        draft.inputs.iter_mut().for_each(|tensor| *tensor = tensors[*tensor]);
        let before = params[draft.inputs[0]];
        let fixed = match draft.kind {
            LayerKind::Op(Op::Softmax | Op::Unary(Unary::Sigmoid)) => Some(UNIT),
            LayerKind::Op(Op::Unary(Unary::Tanh)) => Some(TANH),
            LayerKind::Op(op) if op.keeps_quantization() => before,
            _ => None,
        };
        let wanted = draft.params;
        draft.params = fixed.or(wanted);
        let (name, output) = (draft.name.clone(), draft.output);
        params.push(draft.params);
        settled.push(draft);
        if let (Some(fixed), Some(wanted)) = (fixed, wanted)
            && fixed != wanted
            && index + 1 < count
        {
            settled.push(Draft {
                name: format!("{name}_requantize"),
                kind: LayerKind::Op(Op::Unary(Unary::Requantize)),
                inputs: vec![inputs + settled.len() - 1],
                output,
                weights: None,
                stored: None,
                norm: None,
                params: Some(wanted),
            });
            params.push(Some(wanted));
        }
        tensors.push(inputs + settled.len() - 1);
    }
    if let Value::Computed(view) = &mut lowered.output {
        view.tensor = tensors[view.tensor];
    }
    lowered.layers = settled;
    Ok(())
}

/// The network in int8. `network` has the layers of `drafts` under unique names, in order.
pub fn network(
    network: &Network,
    drafts: &[Draft],
    input: QuantParams,
    labels: &[String],
    notes: &mut Vec<String>,
) -> anyhow::Result<QuantizedNetwork> {
    let by_name: HashMap<&str, &Draft> = network.layers.iter().map(|layer| layer.name.as_str()).zip(drafts).collect();
    let mut layers: Vec<QuantizedLayer> = Vec::new();
    let mut missing = Vec::new();
    for (node, joined) in network.folded_nodes()? {
        let params_of = |tensor: usize| tensor.checked_sub(1).map_or(input, |layer| layers[layer].output);
        let before = params_of(node.inputs[0]);
        let last = joined.last().and_then(|layer| by_name.get(layer.name.as_str())).and_then(|draft| draft.params);
        let output = match last {
            Some(output) => output,
            None if node.op.keeps_quantization() => before,
            None => {
                missing.push(node.name.clone());
                before
            }
        };
        let draft = by_name.get(node.name.as_str()).copied().context("a layer without numbers")?;
        let weights = match (&draft.weights, node.op.weight_shape(node.input())) {
            (Some(weights), Some(_)) => {
                if joined.iter().any(|layer| matches!(layer.kind, LayerKind::BatchNorm { .. })) {
                    bail!("layer '{}' has a batch norm in float: quantize the network with it folded", node.name);
                }
                let axis = node.op.channel_axis();
                Some(quantized_weights(&node.name, weights, draft.stored.as_ref(), axis, before, notes)?)
            }
            _ => None,
        };
        if let Some(weights) = &weights {
            weights.check(&node.op, node.input()).with_context(|| format!("layer '{}'", node.name))?;
        }
        let mut node = node;
        if node.op == Op::Unary(Unary::Relu6) && before != output {
            // that of TensorFlow Lite Micro would not rescale
            node.op = Op::Unary(Unary::Clip { low: 0.0, high: 6.0 });
        }
        layers.push(QuantizedLayer { node, output, weights, unsigned: false });
    }
    ensure!(
        missing.is_empty(),
        "the network is quantized in part: there is no QuantizeLinear behind {}; quantize all of it",
        missing.join(", ")
    );
    Ok(QuantizedNetwork {
        picture: Some(network.input),
        input_shape: network.input.shape,
        input,
        layers,
        labels: labels.to_vec(),
    })
}

/// Weights and bias in integers: the file's, or rounded here where it has floats.
fn quantized_weights(
    name: &str,
    weights: &LayerWeights,
    stored: Option<&StoredWeights>,
    axis: usize,
    input: QuantParams,
    notes: &mut Vec<String>,
) -> anyhow::Result<QuantizedWeights> {
    let shape = weights.shape;
    let channels = shape[axis];
    let rounded;
    let stored = match stored {
        Some(stored) => stored,
        None => {
            notes.push(format!("layer '{name}': its float weights were quantized here, one scale a channel"));
            let mut largest = vec![0.0_f32; channels];
            for (at, weight) in weights.kernel.iter().enumerate() {
                let channel = &mut largest[channel_of(shape, axis, at)];
                *channel = channel.max(weight.abs());
            }
            let scales: Vec<f32> = largest.iter().map(|v| if *v > 0.0 { v / 127.0 } else { 1.0 / 127.0 }).collect();
            let steps = |(at, weight): (usize, &f32)| (weight / scales[channel_of(shape, axis, at)]).round() as i8;
            let kernel = weights.kernel.iter().enumerate().map(steps).collect();
            rounded = StoredWeights { kernel, zero_point: 0, scales, bias: None };
            &rounded
        }
    };
    let scale = |channel: usize| stored.scales[if stored.scales.len() == 1 { 0 } else { channel }];
    let steps = |channel: usize| f64::from(input.scale) * f64::from(scale(channel));
    // integers at the scale that the sum of products has are taken as they are
    let fitting = stored.bias.as_ref().filter(|(_, scales)| {
        let own = |channel: usize| f64::from(scales[if scales.len() == 1 { 0 } else { channel }]);
        (0..channels).all(|channel| (own(channel) / steps(channel) - 1.0).abs() < 1e-5)
    });
    let bias = match fitting {
        Some((bias, _)) => bias.clone(),
        None => {
            let limit = f64::from(1 << 30);
            let rounded =
                |(channel, &bias): (usize, &f32)| (f64::from(bias) / steps(channel)).round().clamp(-limit, limit);
            weights.bias.iter().enumerate().map(rounded).map(|v| v as i32).collect()
        }
    };
    Ok(QuantizedWeights {
        shape,
        kernel: stored.kernel.clone(),
        zero_point: stored.zero_point,
        scales: stored.scales.clone(),
        bias,
    })
}
