//! Float ONNX out: operator set 13, batch dimension `N`, input `[N, C, H, W]` already normalized.

use super::proto::{Rank, dims, floats, int, model, node, ohwi_to_oihw, tensor, value, window_attributes};
use crate::network::{Network, NetworkError, Weights, color_name, resize_name};
use ocelli::ir::{Activation, Op, Shape};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

/// Name of the input value.
pub const INPUT: &str = "input";

/// The network as an ONNX model. A layer's output has the layer's name; the last is the softmax's.
///
/// # Errors
/// When the shapes do not fit or weights are missing.
pub fn export(network: &Network, weights: &Weights, labels: &[String]) -> Result<ModelProto, NetworkError> {
    let mut graph = GraphProto { name: network.name.clone(), ..GraphProto::default() };
    let nodes = network.nodes()?;
    let mut rank = Rank::of_input(nodes.first().map(|node| &node.op));
    graph.input.push(value(INPUT, DataType::Float, &dims(network.input.shape, rank.flat)));
    let mut before = INPUT.to_owned();
    for item in nodes {
        let name = item.name.as_str();
        // an activation becomes a node of its own, which then bears the layer's name
        let linear = match item.op.activation() {
            Activation::None => name.to_owned(),
            Activation::Relu | Activation::Relu6 => format!("{name}.linear"),
        };
        let (kernel, bias) = (format!("{name}.kernel"), format!("{name}.bias"));
        if let Some(shape) = item.op.weight_shape(item.input) {
            let layer = weights.layer(name).ok_or_else(|| NetworkError::Invalid {
                name: network.name.clone(),
                message: format!("layer '{name}' has no weights"),
            })?;
            let [o, kh, kw, i] = shape.map(|n| n as usize);
            graph.initializer.push(match item.op {
                Op::Conv2d { .. } => floats(&kernel, &[o, i, kh, kw], ohwi_to_oihw(&layer.kernel, [o, kh, kw, i])),
                _ => floats(&kernel, &[o, i], layer.kernel.iter().copied()),
            });
            graph.initializer.push(floats(&bias, &[o], layer.bias.iter().copied()));
        }
        let source = rank.prepare(&mut graph, &item.op, item.input, name, &before);
        graph.node.push(
            operator(&item.op, item.input, &linear, [&source, &kernel, &bias]).map_err(|source| {
                NetworkError::Shape { index: 0, layer: name.to_owned(), input: item.input, source }
            })?,
        );
        push_activation(&mut graph, item.op.activation(), &linear, name);
        before = name.to_owned();
    }
    graph.output.push(value(&before, DataType::Float, &[network.classes()? as u32]));
    Ok(model(graph, &metadata(network, labels)))
}

/// The ONNX node of an operator; `inputs` are the value, the weights and the bias.
pub(super) fn operator(
    op: &Op,
    input: Shape,
    name: &str,
    [value, kernel, bias]: [&str; 3],
) -> Result<NodeProto, ocelli::ir::ShapeError> {
    let windowed = |kind: &str, inputs: &[&str]| {
        let Some(window) = op.window() else { return Ok(node(kind, name, inputs, Vec::new())) };
        Ok(node(kind, name, inputs, window_attributes(op, window, &window.resolve(input)?)))
    };
    match op {
        Op::Conv2d { .. } => windowed("Conv", &[value, kernel, bias]),
        Op::MaxPool2d { .. } => windowed("MaxPool", &[value]),
        Op::AveragePool2d { .. } => windowed("AveragePool", &[value]),
        Op::Dense { .. } => Ok(node("Gemm", name, &[value, kernel, bias], vec![int("transB", 1)])),
        Op::Flatten => Ok(node("Flatten", name, &[value], vec![int("axis", 1)])),
        Op::Softmax => Ok(node("Softmax", name, &[value], vec![int("axis", -1)])),
    }
}

/// Adds the node of an activation, from value `input` to value `output`.
pub(super) fn push_activation(graph: &mut GraphProto, activation: Activation, input: &str, output: &str) {
    match activation {
        Activation::None => {}
        Activation::Relu => graph.node.push(node("Relu", output, &[input], Vec::new())),
        Activation::Relu6 => {
            let (low, high) = (format!("{output}.min"), format!("{output}.max"));
            graph.initializer.push(tensor(&low, &[], DataType::Float, 0.0_f32.to_le_bytes().to_vec()));
            graph.initializer.push(tensor(&high, &[], DataType::Float, 6.0_f32.to_le_bytes().to_vec()));
            graph.node.push(node("Clip", output, &[input, &low, &high], Vec::new()));
        }
    }
}

/// What another program must know to prepare a picture and to name a class.
#[must_use]
pub fn metadata(network: &Network, labels: &[String]) -> [(&'static str, String); 5] {
    let channels = network.input.color.channels() as usize;
    let list = |values: [f32; 3]| values.iter().take(channels).map(f32::to_string).collect::<Vec<_>>().join(",");
    [
        ("labels", labels.join("\n")),
        ("color", color_name(network.input.color).to_owned()),
        ("resize", resize_name(network.input.resize).to_owned()),
        ("mean", list(network.input.mean)),
        ("std", list(network.input.std)),
    ]
}
