//! Quantized ONNX out: the int8 network as float operators between QuantizeLinear and DequantizeLinear, which every runtime reads.
//! The int8 tensor of layer `L` is the value `L.int8`.

use super::graph::{Builder, onnx_weights};
use super::onnx::{self, INPUT};
use super::proto::{floats, int, int8s, int32s, model, node, oihw_to_ohwi, value};
use crate::network::{Layer, LayerKind, Network};
use crate::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork, QuantizedWeights};
use anyhow::{Context, ensure};
use ocelli::ir::{Activation, Op, ShapeError};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto};

/// How many times as many channels a widened layer has at most: each is carried by itself and three copies.
const MOST_CARRIERS: u32 = 4;

/// The name of a layer's int8 value; the input's layer is [`INPUT`].
#[must_use]
pub fn int8_name(layer: &str) -> String {
    format!("{layer}.int8")
}

/// The quantized network as an ONNX model: float in, int8 between, float out.
///
/// # Errors
/// When the shapes do not fit.
pub fn export(network: &QuantizedNetwork) -> Result<ModelProto, ShapeError> {
    let nodes = network.layers.iter().map(|layer| &layer.node);
    let mut builder = Builder::new("quantized", INPUT, network.input_shape, nodes);
    let mut output = quantize(&mut builder.graph, INPUT, INPUT, network.input);
    builder.rename_input(output.clone());
    let dims = builder.dims(0);
    builder.graph.value_info.push(value(&int8_name(INPUT), DataType::Int8, &dims));
    for (index, layer) in network.layers.iter().enumerate() {
        let input = layer.node.inputs.first().map_or(network.input, |&tensor| network.params_of(tensor));
        output = push_layer(&mut builder, layer, input)?;
        builder.push_tensor(&layer.node, output.clone());
        let dims = builder.dims(index + 1);
        builder.graph.value_info.push(value(&int8_name(&layer.node.name), DataType::Int8, &dims));
    }
    let dims = builder.dims(network.layers.len());
    builder.graph.output.push(value(&output, DataType::Float, &dims));
    let labels = [("labels", network.labels.join("\n"))];
    Ok(match &network.picture {
        Some(picture) => model(builder.graph, &onnx::picture_metadata(picture, &network.labels)),
        None => model(builder.graph, &labels),
    })
}

/// Adds operator, activation, quantization and dequantization; returns the name of the dequantized value.
fn push_layer(builder: &mut Builder, layer: &QuantizedLayer, input: QuantParams) -> Result<String, ShapeError> {
    let name = layer.node.name.as_str();
    let (kernel, bias) = (format!("{name}.kernel"), format!("{name}.bias"));
    if let Some(weights) = &layer.weights {
        push_weights(&mut builder.graph, &layer.node.op, weights, input, [&kernel, &bias]);
    }
    let (linear, activated) = (format!("{name}.linear"), format!("{name}.activation"));
    builder.operator(&layer.node, [&kernel, &bias], [&linear, &activated])?;
    let output = if layer.node.op.activation() == Activation::None { linear } else { activated };
    Ok(quantize(&mut builder.graph, &output, name, layer.output))
}

/// Quantizes `float` to the int8 value of `layer` and back; returns the dequantized value's name.
fn quantize(graph: &mut GraphProto, float: &str, layer: &str, params: QuantParams) -> String {
    let (scale, zero_point) = (format!("{layer}.scale"), format!("{layer}.zero_point"));
    let (quantized, dequantized) = (int8_name(layer), format!("{layer}.float"));
    graph.initializer.push(floats(&scale, &[], [params.scale]));
    graph.initializer.push(int8s(&zero_point, &[], [params.zero_point.clamp(-128, 127) as i8]));
    graph.node.push(node("QuantizeLinear", &quantized, &[float, &scale, &zero_point], Vec::new()));
    graph.node.push(node("DequantizeLinear", &dequantized, &[&quantized, &scale, &zero_point], Vec::new()));
    dequantized
}

fn push_weights(graph: &mut GraphProto, op: &Op, weights: &QuantizedWeights, input: QuantParams, names: [&str; 2]) {
    let (shape, values) = onnx_weights(op, &weights.kernel, weights.shape);
    let o = shape[0];
    let scales: Vec<f32> = (0..o).map(|channel| weights.scale(channel)).collect();
    let zero_point = weights.zero_point.clamp(-128, 127) as i8;
    let [kernel, bias] = names;
    let int8 = format!("{kernel}.int8");
    graph.initializer.push(int8s(&int8, &shape, values));
    graph.initializer.push(int8s(&format!("{kernel}.zero_point"), &[o], vec![zero_point; o]));
    let int32 = format!("{bias}.int32");
    graph.initializer.push(int32s(&int32, &[o], weights.bias.iter().copied()));
    graph.initializer.push(int32s(&format!("{bias}.zero_point"), &[o], vec![0; o]));
    let bias_scales: Vec<f32> = scales.iter().map(|s| input.scale * s).collect();
    for (name, stored, scales) in [(kernel, &int8, scales), (bias, &int32, bias_scales)] {
        let (scale, zero_point) = (format!("{name}.scale"), format!("{name}.zero_point"));
        graph.initializer.push(floats(&scale, &[o], scales));
        graph.node.push(node("DequantizeLinear", name, &[stored, &scale, &zero_point], vec![int("axis", 0)]));
    }
}

/// Reads back a quantized network that [`export`] wrote, for the float network it came from; a layer may have more channels than there, as
/// those of a widened network have.
///
/// # Errors
/// When a tensor is missing or has another size or type than the network needs; the error names it.
pub fn import(network: &Network, proto: &ModelProto, labels: &[String]) -> anyhow::Result<QuantizedNetwork> {
    let graph = proto.graph.as_ref().context("the ONNX file has no graph")?;
    let params = |layer: &str| -> anyhow::Result<QuantParams> {
        let scale = constant(graph, &format!("{layer}.scale"), DataType::Float, 1)?;
        let zero_point = constant(graph, &format!("{layer}.zero_point"), DataType::Int8, 1)?;
        Ok(QuantParams { scale: f32s(scale)[0], zero_point: i32::from(zero_point[0] as i8) })
    };
    let mut layers = Vec::new();
    for node in as_wide(network.clone(), graph).nodes()? {
        let weights = match node.op.weight_shape(node.input()) {
            None => None,
            Some(shape) => {
                let shape @ [o, h, w, i] = shape.map(|n| n as usize);
                let channels = shape[node.op.channel_axis()];
                let name = |part: &str| format!("{}.{part}", node.name);
                let stored = constant(graph, &name("kernel.int8"), DataType::Int8, o * h * w * i)?;
                let stored: Vec<i8> = stored.iter().map(|&b| b as i8).collect();
                let kernel = if node.op.window().is_some() { oihw_to_ohwi(&stored, shape) } else { stored };
                let zero_points = constant(graph, &name("kernel.zero_point"), DataType::Int8, channels)?;
                ensure!(zero_points.iter().all(|&z| z == 0), "the weights of layer '{}' have zero points", node.name);
                let bias = constant(graph, &name("bias.int32"), DataType::Int32, channels)?;
                let bias = bias.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                let scales = f32s(constant(graph, &name("kernel.scale"), DataType::Float, channels)?);
                Some(QuantizedWeights { shape, kernel, zero_point: 0, scales, bias })
            }
        };
        layers.push(QuantizedLayer { output: params(&node.name)?, node, weights, unsigned: false });
    }
    Ok(QuantizedNetwork {
        picture: Some(network.input),
        input_shape: network.input.shape,
        input: params(INPUT)?,
        layers,
        labels: labels.to_vec(),
    })
}

/// The network with as many output channels as a graph has biases; the scores stay as many.
fn as_wide(mut network: Network, graph: &GraphProto) -> Network {
    let makes = |layer: &Layer| matches!(layer.kind, LayerKind::Op(Op::Conv2d { .. } | Op::Dense { .. }));
    let last = network.layers.iter().rposition(makes).unwrap_or_default();
    for layer in &mut network.layers[..last] {
        if let LayerKind::Op(Op::Conv2d { c_out: made, .. } | Op::Dense { units: made, .. }) = &mut layer.kind {
            let name = format!("{}.bias.int32", layer.name);
            let bias = graph.initializer.iter().find(|tensor| tensor.name == name);
            let channels = bias.and_then(|bias| u32::try_from(*bias.dims.first()?).ok());
            *made = channels.unwrap_or_default().clamp(*made, made.saturating_mul(MOST_CARRIERS));
        }
    }
    network
}

/// The raw little-endian bytes of a constant.
fn constant<'g>(graph: &'g GraphProto, name: &str, datum: DataType, elements: usize) -> anyhow::Result<&'g [u8]> {
    let tensor = graph.initializer.iter().find(|tensor| tensor.name == name);
    let tensor = tensor.with_context(|| format!("the quantized ONNX file has no constant '{name}'"))?;
    let size = if datum == DataType::Int8 { 1 } else { 4 };
    ensure!(
        tensor.data_type == datum as i32 && tensor.raw_data.len() == elements * size,
        "the constant '{name}' of the quantized ONNX file is not {elements} raw values of type {datum:?}"
    );
    Ok(&tensor.raw_data)
}

fn f32s(raw: &[u8]) -> Vec<f32> {
    raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
