//! What an .onnx file says, or lets guess, about the pictures that it takes.

use super::Style;
use super::usual::{Kind, Pixels, usual_resize};
use crate::network::resize_of_name;
use ocelli::image::{ColorOrder, InputSpec};
use ocelli::ir::Shape;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

/// How a picture becomes the input.
pub(super) struct Stated {
    /// The input; its normalization is that of `style`, or the file's own where there is none.
    pub spec: InputSpec,
    /// Where that is known from.
    pub pixels: Pixels,
}

/// An entry of the file's metadata.
pub(super) fn metadata<'m>(model: &'m ModelProto, key: &str) -> Option<&'m str> {
    model.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

/// Reads the metadata that our own files have; for others guesses by what the graph begins with, and by who wrote it.
pub(super) fn stated(
    model: &ModelProto,
    graph: &GraphProto,
    shape: Shape,
    channels_first: bool,
    classes: usize,
) -> Stated {
    let color = match (metadata(model, "color"), shape.c) {
        (_, 1) => ColorOrder::Gray,
        (Some("bgr"), _) => ColorOrder::Bgr,
        _ => ColorOrder::Rgb,
    };
    let rule = metadata(model, "resize").and_then(resize_of_name);
    let resize = rule.unwrap_or_else(|| usual_resize(color, classes));
    let plain = InputSpec { shape, color, resize, mean: [0.0; 3], std: [1.0; 3] };
    let list = |key: &str| -> Option<[f32; 3]> {
        let values: Vec<f32> = metadata(model, key)?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
        let usable = values.len() == shape.c as usize && values.iter().all(|v| v.is_finite());
        let at = |channel: usize| values.get(channel).or(values.first()).copied();
        usable.then_some([at(0)?, at(1)?, at(2)?])
    };
    let own = list("mean").zip(list("std")).filter(|(_, std)| std.iter().all(|&v| v > 0.0));
    if let Some((mean, std)) = own {
        let spec = InputSpec { mean, std, ..plain };
        return Stated { spec, pixels: Pixels::STATED };
    }
    let from_tensorflow = ["tf2onnx", "keras"].iter().any(|name| model.producer_name.to_lowercase().contains(name));
    let kind = if from_tensorflow || !channels_first { Kind::OnnxOfTensorflow } else { Kind::Onnx };
    let pixels = match head(graph) {
        style @ Some(_) => Pixels { style, reason: "the file normalizes them itself" },
        None => Pixels::guessed(kind, color, classes),
    };
    // the styles fit: only colours get torch
    let spec = pixels.style.and_then(|style| style.apply(plain).ok()).unwrap_or(plain);
    Stated { spec, pixels }
}

/// The scale of pixels that a graph's own normalization is for, where it begins with one: a subtraction or division by constants.
fn head(graph: &GraphProto) -> Option<Style> {
    let constants = |name: &String| graph.initializer.iter().find(|tensor| tensor.name == *name);
    let inputs = graph.input.iter().filter(|input| constants(&input.name).is_none());
    let mut value = inputs.map(|input| &input.name).next()?;
    for _ in 0..graph.node.len() {
        let mut readers = graph.node.iter().filter(|node| node.input.contains(value));
        let (node, None) = (readers.next()?, readers.next()) else { return None };
        let other =
            node.input.iter().find(|name| *name != value).and_then(|name| constant(graph, constants(name), name));
        let extreme = |values: Vec<f32>| values.into_iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        match (node.op_type.as_str(), other) {
            ("Transpose" | "Cast" | "Identity" | "Reshape", _) => value = node.output.first()?,
            ("Mul", Some(factor)) => return Some(if extreme(factor) < 0.1 { Style::None } else { Style::Unit }),
            ("Div" | "Sub" | "Add", Some(amount)) => {
                return Some(if extreme(amount) > 10.0 { Style::None } else { Style::Unit });
            }
            _ => return None,
        }
    }
    None
}

/// The floats of a constant: an initializer, or the output of a Constant node.
fn constant(graph: &GraphProto, initializer: Option<&TensorProto>, name: &str) -> Option<Vec<f32>> {
    let made = |node: &&NodeProto| node.op_type == "Constant" && node.output.iter().any(|output| output == name);
    let node = || graph.node.iter().find(made)?.attribute.iter().find_map(|attribute| attribute.t.as_ref());
    let tensor = initializer.or_else(node)?;
    let is_float = tensor.data_type == DataType::Float as i32;
    let raw = tensor.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    is_float.then(|| if tensor.float_data.is_empty() { raw.collect() } else { tensor.float_data.clone() })
}
