//! Operators as ONNX nodes. A tensor is a picture `[N, C, H, W]`, or flat `[N, C]` behind a flatten or dense layer; before a flatten a
//! picture is turned to H, W, C order, ours.

use super::proto::{dims, float, int, int64s, ints, node, ohwi_to_oihw, tensor, value, window_attributes};
use crate::network::Node;
use ocelli::ir::{Activation, Op, Shape, ShapeError, Unary};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto};

/// A graph that grows by one operator after the other.
pub(super) struct Builder {
    /// What has been written.
    pub graph: GraphProto,
    /// The network's tensors: 0 is the input, `i + 1` the output of node `i`.
    tensors: Vec<Value>,
}

/// The value that holds a tensor.
struct Value {
    name: String,
    flat: bool,
    shape: Shape,
}

impl Builder {
    /// A graph with its float input, which is flat where only operators on flat tensors read it.
    pub fn new<'n>(name: &str, input: &str, shape: Shape, nodes: impl Iterator<Item = &'n Node>) -> Self {
        let mut graph = GraphProto { name: name.to_owned(), ..GraphProto::default() };
        let mut flat = (shape.h, shape.w) == (1, 1);
        for node in nodes.filter(|node| node.inputs.contains(&0)) {
            flat &= matches!(node.op, Op::Dense { .. } | Op::Softmax);
        }
        graph.input.push(value(input, DataType::Float, &dims(shape, flat)));
        Self { graph, tensors: vec![Value { name: input.to_owned(), flat, shape }] }
    }

    /// Says which value holds the input from now on.
    pub fn rename_input(&mut self, name: String) {
        self.tensors[0].name = name;
    }

    /// Dimensions of a tensor without the batch.
    pub fn dims(&self, tensor: usize) -> Vec<u32> {
        dims(self.tensors[tensor].shape, self.tensors[tensor].flat)
    }

    /// Adds the operator and its activation; `kernel` and `bias` name its constants. The result is the value `linear`, or `activated`
    /// where there is an activation.
    pub fn operator(
        &mut self,
        node: &Node,
        [kernel, bias]: [&str; 2],
        [linear, activated]: [&str; 2],
    ) -> Result<(), ShapeError> {
        let sources = self.sources(node);
        let mut inputs: Vec<&str> = sources.iter().map(String::as_str).collect();
        if node.op.weight_shape(node.input()).is_some() {
            inputs.extend([kernel, bias]);
        }
        self.push_operator(node, &inputs, linear)?;
        push_activation(&mut self.graph, node.op.activation(), linear, activated);
        Ok(())
    }

    /// Says which value holds the next tensor, the output of `node`.
    pub fn push_tensor(&mut self, node: &Node, name: String) {
        self.tensors.push(Value { name, flat: self.is_flat(node), shape: node.output });
    }

    /// Whether an operator works on flat tensors; some take both ranks.
    fn is_flat(&self, node: &Node) -> bool {
        match node.op {
            Op::Dense { .. } | Op::Flatten => true,
            Op::Softmax => (node.output.h, node.output.w) == (1, 1),
            Op::Unary(_) | Op::Add { .. } | Op::Mul { .. } | Op::Concat => {
                node.inputs.iter().all(|&tensor| self.tensors[tensor].flat)
            }
            _ => false,
        }
    }

    /// The values that an operator reads, at the rank that it needs.
    fn sources(&mut self, node: &Node) -> Vec<String> {
        let flat = self.is_flat(node);
        let sources = node.inputs.iter().enumerate().map(|(at, &tensor)| {
            let suffix = if at == 0 { String::new() } else { at.to_string() };
            if flat { self.flat(node, tensor, &suffix) } else { self.picture(node, tensor, &suffix) }
        });
        sources.collect()
    }

    /// The flat form of a tensor; a flatten makes the last step itself.
    fn flat(&mut self, node: &Node, tensor: usize, suffix: &str) -> String {
        let Value { name, flat, shape } = &self.tensors[tensor];
        let mut name = name.clone();
        if *flat {
            return name;
        }
        if (shape.h, shape.w) != (1, 1) {
            name = push(&mut self.graph, "Transpose", &format!("{}.nhwc{suffix}", node.name), &[&name], [to_nhwc()]);
        }
        if node.op == Op::Flatten {
            return name;
        }
        push(&mut self.graph, "Flatten", &format!("{}.flat{suffix}", node.name), &[&name], [int("axis", 1)])
    }

    /// The tensor as a picture.
    fn picture(&mut self, node: &Node, tensor: usize, suffix: &str) -> String {
        let Value { name, flat, .. } = &self.tensors[tensor];
        let name = name.clone();
        if !*flat {
            return name;
        }
        let axes = format!("{}.axes{suffix}", node.name);
        self.graph.initializer.push(int64s(&axes, &[2, 3]));
        push(&mut self.graph, "Unsqueeze", &format!("{}.picture{suffix}", node.name), &[&name, &axes], [])
    }

    fn push_operator(&mut self, node: &Node, inputs: &[&str], output: &str) -> Result<(), ShapeError> {
        let window = match node.op.window() {
            Some(window) => window_attributes(&node.op, node.input(), window, &window.resolve(node.input())?),
            None => Vec::new(),
        };
        let graph = &mut self.graph;
        match node.op {
            Op::Conv2d { .. } | Op::DepthwiseConv2d { .. } => push(graph, "Conv", output, inputs, window),
            Op::MaxPool2d { .. } => push(graph, "MaxPool", output, inputs, window),
            Op::MinPool2d { .. } => {
                let negative = push(graph, "Neg", &format!("{output}.negative"), inputs, []);
                let largest = push(graph, "MaxPool", &format!("{output}.largest"), &[&negative], window);
                push(graph, "Neg", output, &[&largest], [])
            }
            Op::AveragePool2d { .. } => push(graph, "AveragePool", output, inputs, window),
            Op::GlobalAveragePool => push(graph, "GlobalAveragePool", output, inputs, []),
            Op::GlobalMaxPool => push(graph, "GlobalMaxPool", output, inputs, []),
            Op::Dense { .. } => push(graph, "Gemm", output, inputs, [int("transB", 1)]),
            Op::Add { .. } => push(graph, "Add", output, inputs, []),
            Op::Mul { .. } => push(graph, "Mul", output, inputs, []),
            Op::Concat => push(graph, "Concat", output, inputs, [int("axis", 1)]),
            Op::Pad { cells: [top, left, bottom, right] } => {
                let pads = format!("{output}.pads");
                graph.initializer.push(int64s(&pads, &[0, 0, top, left, 0, 0, bottom, right].map(i64::from)));
                let inputs: Vec<&str> = inputs.iter().copied().chain([pads.as_str()]).collect();
                push(graph, "Pad", output, &inputs, [])
            }
            Op::Flatten => push(graph, "Flatten", output, inputs, [int("axis", 1)]),
            Op::Reshape { to } => {
                let shape = format!("{output}.shape");
                graph.initializer.push(int64s(&shape, &[0, to.h, to.w, to.c].map(i64::from)));
                let turned = push(graph, "Transpose", &format!("{output}.nhwc"), inputs, [to_nhwc()]);
                let reshaped = push(graph, "Reshape", &format!("{output}.reshaped"), &[&turned, &shape], []);
                push(graph, "Transpose", output, &[&reshaped], [ints("perm", [0_i64, 3, 1, 2])])
            }
            Op::Unary(function) => return push_function(graph, function, inputs, output),
            Op::Softmax => {
                let flat = (node.output.h, node.output.w) == (1, 1);
                push(graph, "Softmax", output, inputs, [int("axis", if flat { -1 } else { 1 })])
            }
        };
        Ok(())
    }
}

/// The shape of an operator's weights in ONNX, and the weights in that order.
pub(super) fn onnx_weights<T: Copy>(op: &Op, kernel: &[T], shape: [usize; 4]) -> (Vec<usize>, Vec<T>) {
    let [o, kh, kw, i] = shape;
    match op {
        Op::Conv2d { .. } => (vec![o, i, kh, kw], ohwi_to_oihw(kernel, shape)),
        Op::DepthwiseConv2d { .. } => (vec![i, o, kh, kw], ohwi_to_oihw(kernel, shape)),
        _ => (vec![o, i], kernel.to_vec()),
    }
}

fn to_nhwc() -> tract_onnx::pb::AttributeProto {
    ints("perm", [0_i64, 2, 3, 1])
}

/// Adds a node; returns its output's name, which is its own.
fn push(
    graph: &mut GraphProto,
    kind: &str,
    name: &str,
    inputs: &[&str],
    attributes: impl IntoIterator<Item = tract_onnx::pb::AttributeProto>,
) -> String {
    let node: NodeProto = node(kind, name, inputs, attributes.into_iter().collect());
    graph.node.push(node);
    name.to_owned()
}

/// Adds the node of a fused activation, from value `input` to value `output`.
fn push_activation(graph: &mut GraphProto, activation: Activation, input: &str, output: &str) {
    match activation {
        Activation::None => {}
        Activation::Relu => {
            push(graph, "Relu", output, &[input], []);
        }
        Activation::Relu6 | Activation::ReluN1To1 => {
            let (low, high) = activation.bounds();
            push_clip(graph, low, high, input, output);
        }
    }
}

fn push_clip(graph: &mut GraphProto, low: f32, high: f32, input: &str, output: &str) {
    let bounds = [("min", low), ("max", high)].map(|(end, bound)| {
        let name = format!("{output}.{end}");
        graph.initializer.push(tensor(&name, &[], DataType::Float, bound.to_le_bytes().to_vec()));
        name
    });
    push(graph, "Clip", output, &[input, &bounds[0], &bounds[1]], []);
}

fn push_function(graph: &mut GraphProto, function: Unary, inputs: &[&str], output: &str) -> Result<(), ShapeError> {
    let input = inputs.first().copied().ok_or(ShapeError::Inputs { takes: "one input", found: 0 })?;
    match function {
        Unary::Relu => push_activation(graph, Activation::Relu, input, output),
        Unary::Relu6 => push_activation(graph, Activation::Relu6, input, output),
        Unary::ReluN1To1 => push_activation(graph, Activation::ReluN1To1, input, output),
        Unary::LeakyRelu { alpha } => {
            push(graph, "LeakyRelu", output, inputs, [float("alpha", alpha)]);
        }
        Unary::Sigmoid => {
            push(graph, "Sigmoid", output, inputs, []);
        }
        Unary::Tanh => {
            push(graph, "Tanh", output, inputs, []);
        }
        Unary::HardSwish => {
            // HardSwish itself came with operator set 14
            let gate = [float("alpha", 1.0 / 6.0), float("beta", 0.5)];
            let gate = push(graph, "HardSigmoid", &format!("{output}.gate"), inputs, gate);
            push(graph, "Mul", output, &[input, &gate], []);
        }
        Unary::HardSigmoid { alpha, beta } => {
            push(graph, "HardSigmoid", output, inputs, [float("alpha", alpha), float("beta", beta)]);
        }
        Unary::Swish => {
            // ONNX has it from operator set 24
            let gate = push(graph, "Sigmoid", &format!("{output}.gate"), inputs, []);
            push(graph, "Mul", output, &[input, &gate], []);
        }
        Unary::Clip { low, high } => push_clip(graph, low, high, input, output),
        Unary::Requantize => {
            push(graph, "Identity", output, inputs, []);
        }
    }
    Ok(())
}
