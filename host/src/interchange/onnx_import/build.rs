//! From nodes to layers: every value is a constant or a [`View`] of a tensor that a layer makes.

use super::attributes::Attributes;
use super::constant::{self, Constant};
use super::folding;
use super::patterns::MIN_POOL;
use super::problems::Problem;
use super::view::{Axis, View};
use crate::network::{LayerKind, LayerWeights, NormWeights};
use crate::quantize::QuantParams;
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Op, Shape};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use tract_onnx::pb::{NodeProto, TensorProto};

/// Most values of a tensor: as for every network.
const MAX_VALUES: u32 = 1 << 28;
/// Most channels: what is made for each of them may not outgrow the file.
const MAX_CHANNELS: usize = 1 << 20;

/// A layer before it has its place in a network.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its name; several may have the same.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// Tensors it reads: the network's inputs first, then the layers' outputs.
    pub inputs: Vec<usize>,
    /// Shape of its output.
    pub output: Shape,
    /// Its weights, if it has some.
    pub weights: Option<LayerWeights>,
    /// The integers that the weights come from, in the weights' order.
    pub stored: Option<StoredWeights>,
    /// The numbers of a batch norm.
    pub norm: Option<NormWeights>,
    /// Scale and zero point of its output in int8.
    pub params: Option<QuantParams>,
}

/// Weights in integers.
#[derive(Clone, Debug)]
pub struct StoredWeights {
    /// In our order.
    pub kernel: Vec<i8>,
    /// The quantized value of 0.
    pub zero_point: i32,
    /// One, or one a channel.
    pub scales: Vec<f32>,
    /// Integers of the bias and its scales, where it is quantized too.
    pub bias: Option<(Vec<i32>, Vec<f32>)>,
}

/// What a name of the graph stands for.
#[derive(Clone)]
pub enum Value {
    /// Known while importing.
    Constant(Rc<Constant>),
    /// Computed by the network.
    Computed(View),
    /// Comes from a node that is not supported.
    Lost,
}

/// Factor and summand of the network's input, channel by channel: what the graph does to it before anything else.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Above 0.
    pub factor: Vec<f32>,
    /// Added to the product.
    pub summand: Vec<f32>,
}

/// A network in the making.
pub struct Builder<'a> {
    /// The operator set.
    pub opset: i64,
    /// Where files beside the ONNX file lie.
    pub folder: Option<&'a Path>,
    pub(super) initializers: HashMap<&'a str, &'a TensorProto>,
    pub(super) values: HashMap<String, Value>,
    /// How often a value is read.
    pub(super) readers: HashMap<String, usize>,
    /// Shapes of the inputs.
    pub inputs: Vec<Shape>,
    /// The layers so far.
    pub layers: Vec<Draft>,
    /// The input's normalization.
    pub head: Option<Head>,
    /// Scales of inputs in int8.
    pub input_params: Vec<Option<QuantParams>>,
    /// Whether the nodes are no whole network: each must then compute what it says, to the last value.
    pub fragment: bool,
    /// What was left out or added, to tell the user.
    pub notes: Vec<String>,
    /// How many elements may still be made of constants.
    pub(super) budget: usize,
}

/// All operators that are read.
pub const SUPPORTED: [&str; 51] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "QuantizeLinear",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Size",
    "Slice",
    "Softmax",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Swish",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    MIN_POOL,
];

/// The operator with its domain, where it is not ONNX's own.
pub fn operator(node: &NodeProto) -> String {
    match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    }
}

impl Builder<'_> {
    /// Adds a node. What stands in the way is a problem of it, and what it makes is lost.
    pub fn add(&mut self, node: &NodeProto, problems: &mut Vec<Problem>) {
        let kind = operator(node);
        let problem = |reason: String| Problem { node: name_of(node), operator: kind.clone(), reason };
        let known = SUPPORTED.contains(&kind.as_str());
        if !known {
            problems.push(problem("is not supported".to_owned()));
        }
        let lost = node.input.iter().any(|name| matches!(self.values.get(name), Some(Value::Lost)));
        let outcome = if !known || lost { None } else { Some(self.convert(node)) };
        match outcome {
            Some(Ok(value)) => {
                if let Some(name) = node.output.first() {
                    self.values.insert(name.clone(), value);
                }
                // further outputs are refused where somebody reads them
                let others = node.output.iter().skip(1).filter(|name| !name.is_empty());
                for name in others.collect::<Vec<_>>() {
                    if self.readers.get(name).is_some_and(|&count| count > 0) {
                        problems.push(problem(format!("has a second output '{name}' that is read")));
                    }
                    self.values.insert(name.clone(), Value::Lost);
                }
                return;
            }
            Some(Err(error)) => problems.push(problem(format!("{error:#}"))),
            None => {}
        }
        node.output.iter().for_each(|name| drop(self.values.insert(name.clone(), Value::Lost)));
    }

    /// The value that a node makes.
    fn convert(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let mut constants = Vec::new();
        let mut all = true;
        for index in 0..node.input.len() {
            let is_computed = matches!(self.values.get(&node.input[index]), Some(Value::Computed(_)));
            all &= !is_computed;
        }
        let kind = node.op_type.as_str();
        if kind == "DequantizeLinear" && all {
            return Ok(Value::Constant(Rc::new(self.dequantized_constant(node)?)));
        }
        if all {
            for index in 0..node.input.len() {
                constants.push(self.optional_constant(node, index)?);
            }
            let value = folding::fold(node, &constants, self.opset, self.folder)?;
            self.spend(value.len())?;
            return Ok(Value::Constant(Rc::new(value)));
        }
        match kind {
            "Conv" => self.convolution(node),
            "MaxPool" | "AveragePool" | MIN_POOL => self.pool(node),
            "GlobalAveragePool" | "GlobalMaxPool" => self.global_pool(node),
            "ReduceMean" | "ReduceMax" => self.reduce(node),
            "Gemm" => self.gemm(node),
            "MatMul" => self.matmul(node),
            "BatchNormalization" => self.batch_norm(node),
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(node),
            "Sum" | "Mean" => self.sum(node),
            "Max" | "Min" => self.bound(node),
            "Neg" => {
                Attributes::of(node, &[])?;
                self.affine(node, -1.0, 0.0)
            }
            "Concat" => self.concat(node),
            "Pad" => self.pad(node),
            "Relu" | "Clip" | "LeakyRelu" | "PRelu" | "Sigmoid" | "Tanh" | "HardSigmoid" | "HardSwish" | "Swish" => {
                self.function(node)
            }
            "Softmax" | "LogSoftmax" => self.softmax(node),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" => self.moved(node),
            "Dropout" | "Identity" | "Cast" => self.passed(node),
            "Shape" => {
                let x = self.computed(node, 0)?;
                let attributes = Attributes::of(node, &["start", "end"])?;
                Ok(Value::Constant(Rc::new(folding::shape_of(&x.dims, attributes)?)))
            }
            "QuantizeLinear" => self.quantize(node),
            "DequantizeLinear" => self.dequantize(node),
            _ => bail!("is supported on constants only"),
        }
    }

    /// Counts the elements of a constant that is made: nothing may be made of a file that is many times its size.
    pub fn spend(&mut self, elements: usize) -> anyhow::Result<()> {
        self.budget = self.budget.checked_sub(elements).context("makes far more constants than the file has")?;
        Ok(())
    }

    /// The name of input `index`, `None` where it is left out.
    pub fn input_name<'n>(&self, node: &'n NodeProto, index: usize) -> Option<&'n str> {
        node.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Input `index` as a constant; `None` where it is left out.
    pub fn optional_constant(&mut self, node: &NodeProto, index: usize) -> anyhow::Result<Option<Rc<Constant>>> {
        let Some(name) = self.input_name(node, index) else { return Ok(None) };
        match self.values.get(name) {
            Some(Value::Constant(constant)) => Ok(Some(Rc::clone(constant))),
            Some(_) => bail!("computes its input '{name}': a constant is supported"),
            None => {
                let tensor = self
                    .initializers
                    .get(name)
                    .with_context(|| format!("reads '{name}', which nothing before it makes"))?;
                let constant = Rc::new(constant::read(tensor, self.folder)?);
                if tensor.raw_data.is_empty() {
                    // of another file, whose size does not count otherwise
                    self.budget = self.budget.saturating_add(4 * constant.len());
                }
                if constant.len() <= MAX_CHANNELS {
                    // small ones are read many times, as scales and shapes
                    self.values.insert(name.to_owned(), Value::Constant(Rc::clone(&constant)));
                }
                Ok(Some(constant))
            }
        }
    }

    /// Input `index` as a constant.
    pub fn constant(&mut self, node: &NodeProto, index: usize) -> anyhow::Result<Rc<Constant>> {
        self.optional_constant(node, index)?.with_context(|| format!("has no input {index}"))
    }

    /// Whether input `index` is computed.
    pub fn is_computed(&self, node: &NodeProto, index: usize) -> bool {
        let name = self.input_name(node, index);
        name.is_some_and(|name| matches!(self.values.get(name), Some(Value::Computed(_))))
    }

    /// Input `index` as a computed value. Its `sole` says whether this node alone reads it.
    pub fn computed(&self, node: &NodeProto, index: usize) -> anyhow::Result<View> {
        let name = self.input_name(node, index).with_context(|| format!("has no input {index}"))?;
        match self.values.get(name) {
            Some(Value::Computed(view)) => {
                let sole = view.sole && self.readers.get(name) == Some(&1);
                Ok(View { sole, ..view.clone() })
            }
            _ => bail!("has a constant as its input {index}: fold it into the layer before"),
        }
    }

    /// Adds a layer; returns its tensor.
    pub fn push(&mut self, name: String, kind: LayerKind, inputs: &[usize]) -> anyhow::Result<(usize, Shape)> {
        let shapes: Vec<Shape> = inputs.iter().map(|&tensor| self.shape_of(tensor)).collect();
        let output = match kind {
            LayerKind::Op(op) => op.infer_shape(&shapes)?,
            _ => shapes.first().copied().context("reads nothing")?,
        };
        ensure!(
            output.elements().is_some_and(|values| values <= MAX_VALUES) && output.c as usize <= MAX_CHANNELS,
            "makes a tensor of {output}: too large"
        );
        self.layers.push(Draft {
            name,
            kind,
            inputs: inputs.to_vec(),
            output,
            weights: None,
            stored: None,
            norm: None,
            params: None,
        });
        Ok((self.inputs.len() + self.layers.len() - 1, output))
    }

    /// Adds an operator.
    pub fn push_op(&mut self, name: String, op: Op, inputs: &[usize]) -> anyhow::Result<(usize, Shape)> {
        self.push(name, LayerKind::Op(op), inputs)
    }

    /// The shape of a tensor.
    pub fn shape_of(&self, tensor: usize) -> Shape {
        match tensor.checked_sub(self.inputs.len()) {
            None => self.inputs[tensor],
            Some(layer) => self.layers[layer].output,
        }
    }

    /// The layer that makes a tensor.
    pub fn maker(&mut self, tensor: usize) -> Option<&mut Draft> {
        self.layers.get_mut(tensor.checked_sub(self.inputs.len())?)
    }

    /// The last layer.
    pub fn last(&mut self) -> anyhow::Result<&mut Draft> {
        self.layers.last_mut().context("there is no layer")
    }

    /// The value as a picture, `[n, c, h, w]` or `[n, c, length]`: its tensor, shape, and the axis of the length.
    ///
    /// Values that were flat are given the shape that ONNX reads them in, where the memory order allows it.
    pub fn picture(&mut self, node: &NodeProto, view: &View) -> anyhow::Result<View> {
        let rank = view.dims.len();
        ensure!(
            rank == 3 || rank == 4,
            "takes a tensor of {rank} dimensions: pictures of 4 and lines of 3 are supported"
        );
        let line = if view.shape.w == 1 && view.shape.h > 1 { Axis::H } else { Axis::W };
        let wanted: &[Axis] = if rank == 4 { &[Axis::N, Axis::C, Axis::H, Axis::W] } else { &[Axis::N, Axis::C, line] };
        if wanted.iter().enumerate().all(|(dim, &axis)| view.is_axis(dim, axis)) {
            return Ok(view.clone());
        }
        let side = |dim: usize| u32::try_from(view.dims[dim]).context("is too large");
        let to = if rank == 4 { Shape::new(side(2)?, side(3)?, side(1)?) } else { Shape::new(1, side(2)?, side(1)?) };
        let order = vec![Axis::N, Axis::C, Axis::H, Axis::W];
        let reshaped = View { shape: to, order, ..view.clone() };
        // all values in our order before and after, or rows and columns of the same channels in another division
        let same_order = view.in_our_order() && reshaped.in_our_order();
        let divided = view.shape.c == to.c && view.channels_first();
        ensure!(
            view.dims[0] == view.batch && (same_order || divided),
            "takes {:?} as a picture of channels, rows and columns, but its values lie in another order",
            view.dims
        );
        let (tensor, shape) = self.push_op(format!("{}_reshape", name_of(node)), Op::Reshape { to }, &[view.tensor])?;
        Ok(View { tensor, shape, sole: true, flattened_by: None, ..reshaped })
    }
}

/// The name of a node: its own, or that of its output.
pub fn name_of(node: &NodeProto) -> String {
    let own = if node.name.is_empty() { node.output.first().unwrap_or(&node.op_type) } else { &node.name };
    own.strip_suffix(".linear").unwrap_or(own).to_owned() // our own files tell an operator from its activation by this
}
