//! Float ONNX out: operator set 13, batch dimension `N`, input `[N, C, H, W]` already normalized.

use super::graph::{Builder, onnx_weights};
use super::proto::{floats, model, value};
use crate::network::{self, Network, NetworkError, Weights, color_name, resize_name};
use ocelli::image::InputSpec;
use ocelli::ir::Activation;
use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_proto::DataType;

/// Name of the input value.
pub const INPUT: &str = network::INPUT;

/// The network as an ONNX model. A node's output has the name of [`Network::nodes`]; the last is the softmax's.
///
/// # Errors
/// When the shapes do not fit or weights are missing.
pub fn export(network: &Network, weights: &Weights, labels: &[String]) -> Result<ModelProto, NetworkError> {
    let weights = weights.folded(network)?;
    let nodes = network.nodes()?;
    let mut builder = Builder::new(&network.name, INPUT, network.input.shape, nodes.iter());
    for (index, node) in nodes.iter().enumerate() {
        let name = node.name.as_str();
        let (kernel, bias) = (format!("{name}.kernel"), format!("{name}.bias"));
        if let Some(layer) = weights.layer(name) {
            let (dims, values) = onnx_weights(&node.op, &layer.kernel, layer.shape);
            builder.graph.initializer.push(floats(&kernel, &dims, values));
            builder.graph.initializer.push(floats(&bias, &[layer.bias.len()], layer.bias.iter().copied()));
        }
        // an activation becomes a node of its own, which then bears the layer's name
        let linear = match node.op.activation() {
            Activation::None => name.to_owned(),
            Activation::Relu | Activation::Relu6 | Activation::ReluN1To1 => format!("{name}.linear"),
        };
        builder.operator(node, [&kernel, &bias], [&linear, name]).map_err(|source| NetworkError::Shape {
            index: index + 1,
            layer: name.to_owned(),
            inputs: node.input_shapes.clone(),
            source,
        })?;
        builder.push_tensor(node, name.to_owned());
    }
    let mut graph = builder.graph;
    let output = nodes.last().map_or(INPUT, |node| &node.name);
    graph.output.push(value(output, DataType::Float, &[network.classes()? as u32]));
    Ok(model(graph, &metadata(network, labels)))
}

/// What another program must know to prepare a picture and to name a class.
#[must_use]
pub fn metadata(network: &Network, labels: &[String]) -> [(&'static str, String); 5] {
    picture_metadata(&network.input, labels)
}

/// As [`metadata`], for an input.
#[must_use]
pub fn picture_metadata(input: &InputSpec, labels: &[String]) -> [(&'static str, String); 5] {
    let channels = input.color.channels() as usize;
    let list = |values: [f32; 3]| values.iter().take(channels).map(f32::to_string).collect::<Vec<_>>().join(",");
    [
        ("labels", labels.join("\n")),
        ("color", color_name(input.color).to_owned()),
        ("resize", resize_name(input.resize).to_owned()),
        ("mean", list(input.mean)),
        ("std", list(input.std)),
    ]
}
