//! The graph of an ONNX file: its inputs, its constants, and its nodes in order.

use super::build::{Builder, Draft, Head, Value};
use super::constant::{self, Constant};
use super::patterns;
use super::problems::{advice, report};
use super::view::{Axis, View};
use crate::quantize::QuantParams;
use anyhow::{Context, bail, ensure};
use ocelli::ir::Shape;
use prost::Message;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

/// Oldest operator set that is read.
const OLDEST: i64 = 7;
/// Far more nodes than a classifier has.
const MAX_NODES: usize = 1 << 14;
/// Largest side of an input.
const MAX_SIDE: i64 = 1 << 20;

/// An input of a network, as a file or a test gives it.
pub struct Given {
    /// Its name.
    pub name: String,
    /// Its dimensions in ONNX, the batch among them where there is one.
    pub dims: Vec<usize>,
    /// What our axes are to those dimensions.
    pub shape: Shape,
    /// The batch.
    pub batch: usize,
    /// Our axes in the order of its memory.
    pub order: Vec<Axis>,
}

/// What a graph became.
pub struct Lowered {
    /// The inputs' shapes.
    pub inputs: Vec<Shape>,
    /// The layers.
    pub layers: Vec<Draft>,
    /// The input's normalization.
    pub head: Option<Head>,
    /// The input's numbers in int8.
    pub input_params: Vec<Option<QuantParams>>,
    /// To tell the user.
    pub notes: Vec<String>,
    /// The output.
    pub output: Value,
}

/// The operator set of ONNX's own operators.
pub fn opset(model: &ModelProto) -> anyhow::Result<i64> {
    let own = model.opset_import.iter().find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
    let version = own.map(|set| set.version).context("the file does not say which operator set it is for")?;
    ensure!(
        version >= OLDEST,
        "the file is for operator set {version}: {OLDEST} and later are read; onnx.version_converter makes one of it"
    );
    Ok(version)
}

/// The graph of a model.
pub fn graph(model: &ModelProto) -> anyhow::Result<&GraphProto> {
    let graph = model.graph.as_ref().context("the file has no graph: is it an ONNX model?")?;
    ensure!(graph.node.len() <= MAX_NODES, "the graph has {} nodes, at most {MAX_NODES} are read", graph.node.len());
    ensure!(graph.sparse_initializer.is_empty(), "the graph has sparse constants: export it with dense ones");
    ensure!(
        model.functions.is_empty(),
        "the file defines operators of its own (functions): export it with them inlined"
    );
    Ok(graph)
}

/// The inputs that are no constants.
pub fn inputs(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    graph.input.iter().filter(|input| !constants.contains(input.name.as_str())).collect()
}

/// Element type and dimensions of an input; those that are left open are `None`.
pub fn dimensions(input: &ValueInfoProto) -> anyhow::Result<(i32, Vec<Option<usize>>)> {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        bail!("the input '{}' is no tensor", input.name);
    };
    let shape =
        tensor.shape.as_ref().with_context(|| format!("the file does not say the shape of '{}'", input.name))?;
    let side = |dim: &Dimension| match dim.value {
        Some(dimension::Value::DimValue(n)) if (1..=MAX_SIDE).contains(&n) => Some(n as usize),
        _ => None,
    };
    Ok((tensor.elem_type, shape.dim.iter().map(side).collect()))
}

/// Sets an open first dimension to 1.
pub fn set_batch_of_one(input: &mut ValueInfoProto) {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_mut().and_then(|t| t.value.as_mut()) else {
        return;
    };
    let Some(first) = tensor.shape.as_mut().and_then(|shape| shape.dim.first_mut()) else { return };
    if !matches!(first.value, Some(dimension::Value::DimValue(n)) if n > 0) {
        first.value = Some(dimension::Value::DimValue(1));
    }
}

/// Makes layers of a graph; `constants` are inputs whose values are known.
pub fn lower(
    model: &ModelProto,
    given: &[Given],
    constants: HashMap<String, Constant>,
    folder: Option<&Path>,
    fragment: bool,
) -> anyhow::Result<Lowered> {
    let opset = opset(model)?;
    let graph = graph(model)?;
    let initializers: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let [output] = graph.output.as_slice() else {
        bail!("the network has {} outputs: a classifier has one", graph.output.len());
    };
    let mut needed = needed_nodes(graph.node.iter(), &output.name);
    // without weights in a Constant node, which would be copied
    let scalars = scalars(&initializers, graph.node.iter(), folder);
    let scalar = |name: &str| scalars.get(name).copied();
    needed = patterns::join(needed, &HashSet::from([output.name.as_str()]), &scalar);
    let nodes = needed_nodes(needed.iter(), &output.name);
    let mut readers = HashMap::from([(output.name.clone(), 1)]);
    nodes.iter().flat_map(|node| &node.input).for_each(|name| *readers.entry(name.clone()).or_insert(0) += 1);
    let mut builder = Builder {
        opset,
        folder,
        initializers,
        values: constants.into_iter().map(|(name, value)| (name, Value::Constant(Rc::new(value)))).collect(),
        readers,
        inputs: given.iter().map(|input| input.shape).collect(),
        layers: Vec::new(),
        head: None,
        input_params: vec![None; given.len()],
        fragment,
        notes: Vec::new(),
        budget: model.encoded_len().saturating_mul(4).saturating_add(1 << 22),
    };
    for (tensor, input) in given.iter().enumerate() {
        let view = View {
            tensor,
            shape: input.shape,
            batch: input.batch,
            dims: input.dims.clone(),
            order: input.order.clone(),
            sole: true,
            flattened_by: None,
        };
        builder.values.insert(input.name.clone(), Value::Computed(view));
    }
    let mut problems = Vec::new();
    for node in &nodes {
        builder.add(node, &mut problems);
    }
    if !problems.is_empty() {
        bail!("this network cannot be imported:\n{}{}", report(&problems), if fragment { "" } else { advice(model) });
    }
    let output = builder.values.remove(&output.name).context("nothing makes the network's output")?;
    let Builder { inputs, layers, head, input_params, notes, .. } = builder;
    Ok(Lowered { inputs, layers, head, input_params, notes, output })
}

/// The nodes that a value needs, in the order of the file.
fn needed_nodes<'n>(nodes: impl DoubleEndedIterator<Item = &'n NodeProto>, output: &str) -> Vec<NodeProto> {
    let mut wanted: HashSet<String> = HashSet::from([output.to_owned()]);
    let mut kept = Vec::new();
    for node in nodes.rev() {
        if node.output.iter().any(|name| !name.is_empty() && wanted.contains(name)) {
            wanted.extend(node.input.iter().filter(|name| !name.is_empty()).cloned());
            kept.push(node.clone());
        }
    }
    kept.reverse();
    kept
}

/// Constants of a single real number, by name.
fn scalars<'n>(
    initializers: &HashMap<&str, &TensorProto>,
    nodes: impl Iterator<Item = &'n NodeProto>,
    folder: Option<&Path>,
) -> HashMap<String, f32> {
    let is_single = |tensor: &TensorProto| tensor.dims.len() <= 4 && tensor.dims.iter().all(|&n| n == 1);
    let value = |tensor: &TensorProto| {
        let constant = is_single(tensor).then(|| constant::read(tensor, folder).ok()).flatten()?;
        constant.scalar()
    };
    let stored = initializers.iter().filter_map(|(name, tensor)| Some(((*name).to_owned(), value(tensor)?)));
    let made = nodes.filter(|node| node.op_type == "Constant").filter_map(|node| {
        let attribute = node.attribute.first()?;
        let number = match attribute.name.as_str() {
            "value" => value(attribute.t.as_ref()?)?,
            "value_float" => attribute.f,
            _ => return None,
        };
        Some((node.output.first()?.clone(), number))
    });
    stored.chain(made).collect()
}

/// Whether an element type is a float of single precision.
pub fn is_float(kind: i32) -> bool {
    kind == DataType::Float as i32
}

/// Whether an element type is a float of half precision.
pub fn is_half(kind: i32) -> bool {
    kind == DataType::Float16 as i32 || kind == DataType::Bfloat16 as i32
}

/// Says once that what a file computes in half precision is computed in single precision.
pub fn note_half(notes: &mut Vec<String>) {
    let note = "the file computes in half precision: single precision is taken";
    if !notes.iter().any(|other| other == note) {
        notes.push(note.to_owned());
    }
}
