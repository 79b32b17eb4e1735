//! Layers as operators of the file.

use super::super::flatbuffer_write::Table;
use super::super::opcodes::code;
use super::functions::Function;
use super::graph::{Code, Graph, Scales, dims};
use super::options::{self, SAME, VALID};
use crate::network::{INPUT, Node};
use crate::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork, QuantizedWeights};
use anyhow::{Context, ensure};
use ocelli::ir::{Activation, Op, Padding, Shape, Window};

/// The only quantization that TensorFlow Lite's softmax has.
const SOFTMAX: QuantParams = QuantParams { scale: 1.0 / 256.0, zero_point: -128 };

/// A file that grows layer by layer.
pub(super) struct Export {
    graph: Graph,
    /// The network's tensors: 0 is the input, `i + 1` the output of layer `i`.
    places: Vec<Place>,
    output: String,
}

/// Where a tensor of the network is in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    tensor: i32,
    /// Two dimensions, not four.
    flat: bool,
    shape: Shape,
    params: QuantParams,
}

/// How a window lies over its input in the file.
struct Laid {
    input: i32,
    padding: u8,
}

impl Export {
    pub fn new(network: &QuantizedNetwork) -> Self {
        let (shape, params) = (network.input_shape, network.input);
        let readers = network.layers.iter().filter(|layer| layer.node.inputs.contains(&0));
        let flat = (shape.h, shape.w) == (1, 1)
            && readers.into_iter().all(|layer| matches!(layer.node.op, Op::Dense { .. } | Op::Softmax));
        let mut graph = Graph::default();
        let tensor = graph.activation(INPUT, dims(shape, flat), params);
        Self { graph, places: vec![Place { tensor, flat, shape, params }], output: INPUT.to_owned() }
    }

    /// The file, from the network's input to the last layer's output.
    pub fn finish(self, metadata: &[(&str, String)]) -> Table {
        let end = |place: Option<&Place>| place.map_or(0, |place| place.tensor);
        let (input, output) = (end(self.places.first()), end(self.places.last()));
        self.graph.finish("main", input, (&self.output, output), metadata)
    }

    /// Adds a layer.
    pub fn layer(&mut self, network: &QuantizedNetwork, index: usize) -> anyhow::Result<()> {
        let layer = network.layers.get(index).context("there is no such layer")?;
        let node = &layer.node;
        ensure!(
            !layer.unsigned,
            "it came from a network in uint8 and rounds as TensorFlow Lite's uint8 kernels do, which int8 ones do not: keep the .tflite \
             file that it came from"
        );
        let flat = self.is_flat(node);
        let sources = node.inputs.iter().enumerate().map(|(at, &tensor)| self.source(node, at, tensor, flat));
        let sources = sources.collect::<anyhow::Result<Vec<Place>>>()?;
        let first = *sources.first().context("it reads nothing")?;
        if node.op.keeps_quantization() {
            ensure!(first.params == layer.output, "its output has another scale or zero point than its input");
        }
        let output = self.operator(layer, &sources, flat)?;
        self.places.push(Place { tensor: output, flat, shape: node.output, params: layer.output });
        self.output.clone_from(&node.name);
        Ok(())
    }

    /// Whether an operator's output has two dimensions; some operators take both ranks.
    fn is_flat(&self, node: &Node) -> bool {
        match node.op {
            Op::Dense { .. } | Op::Flatten => true,
            Op::Softmax | Op::Unary(_) | Op::Add { .. } | Op::Mul { .. } | Op::Concat => {
                node.inputs.iter().all(|&tensor| self.places.get(tensor).is_some_and(|place| place.flat))
            }
            _ => false,
        }
    }

    /// Input `at` of a layer, at the rank that its operator needs.
    fn source(&mut self, node: &Node, at: usize, tensor: usize, flat: bool) -> anyhow::Result<Place> {
        let place = *self.places.get(tensor).context("it reads a tensor that is not made before")?;
        // dense layers take any rank, and a flatten or reshape makes the step itself
        let takes_any = matches!(node.op, Op::Dense { .. } | Op::Flatten | Op::Reshape { .. });
        if place.flat == flat || takes_any {
            return Ok(place);
        }
        let suffix = if at == 0 { String::new() } else { at.to_string() };
        let name = format!("{}.{}{suffix}", node.name, if flat { "flat" } else { "picture" });
        let tensor = self.reshape(&name, place, dims(place.shape, flat));
        Ok(Place { tensor, flat, ..place })
    }

    fn reshape(&mut self, name: &str, from: Place, to: Vec<i32>) -> i32 {
        let rank = i32::try_from(to.len()).unwrap_or_default();
        let shape = self.graph.int32s(&format!("{name}.shape"), vec![rank], &to, None);
        let output = self.graph.activation(name, to.clone(), from.params);
        self.graph.operator(Code(code::RESHAPE, 1), &[from.tensor, shape], output, options::reshape(to));
        output
    }

    /// Adds the operator, and what it takes around it; returns its output.
    fn operator(&mut self, layer: &QuantizedLayer, sources: &[Place], flat: bool) -> anyhow::Result<i32> {
        let (node, name) = (&layer.node, layer.node.name.as_str());
        let first = *sources.first().context("it reads nothing")?;
        let to = dims(node.output, flat);
        let output = |export: &mut Self| export.graph.activation(name, to.clone(), layer.output);
        let tensors: Vec<i32> = sources.iter().map(|place| place.tensor).collect();
        match node.op {
            Op::Conv2d { window, activation, .. } => {
                let laid = self.lay(name, first, &window, None)?;
                let inputs = self.with_weights(layer, laid.input, first.params)?;
                let output = output(self);
                let options = options::conv_2d(laid.padding, &window, activation);
                self.graph.operator(Code(code::CONV_2D, 3), &inputs, output, options);
                Ok(output)
            }
            Op::DepthwiseConv2d { multiplier, window, activation } => {
                let laid = self.lay(name, first, &window, None)?;
                let inputs = self.with_weights(layer, laid.input, first.params)?;
                let output = output(self);
                let options = options::depthwise_conv_2d(laid.padding, &window, i32::try_from(multiplier)?, activation);
                self.graph.operator(Code(code::DEPTHWISE_CONV_2D, 3), &inputs, output, options);
                Ok(output)
            }
            Op::MaxPool2d { window } => {
                let laid = self.lay(name, first, &window, Some(i8::MIN))?;
                let output = output(self);
                self.pool(Code(code::MAX_POOL_2D, 2), &laid, &window, output);
                Ok(output)
            }
            Op::AveragePool2d { window } => {
                let padding = stated(&window, first.shape)?.with_context(|| {
                    let cells = window.resolve(first.shape).map(|resolved| resolved.pads).unwrap_or_default();
                    format!(
                        "it is an average pool with a padding of {cells:?} cells (top, left, bottom, right), which is neither SAME nor VALID"
                    )
                })?;
                let output = output(self);
                let laid = Laid { input: first.tensor, padding };
                self.pool(Code(code::AVERAGE_POOL_2D, 2), &laid, &window, output);
                Ok(output)
            }
            Op::MinPool2d { window } => self.min_pool(name, first, &window, node.output),
            Op::GlobalAveragePool => {
                let output = output(self);
                self.reduce(Code(code::MEAN, 2), name, first.tensor, output);
                Ok(output)
            }
            Op::GlobalMaxPool => {
                let output = output(self);
                self.reduce(Code(code::REDUCE_MAX, 2), name, first.tensor, output);
                Ok(output)
            }
            Op::Dense { activation, .. } => {
                let inputs = self.with_weights(layer, first.tensor, first.params)?;
                // older readers, which know no scale for each channel here, must refuse the file
                let per_channel = layer.weights.as_ref().is_some_and(|weights| weights.scales.len() > 1);
                let version = if per_channel { 12 } else { 4 };
                let (code, options) = (Code(code::FULLY_CONNECTED, version), options::fully_connected(activation));
                let output = output(self);
                self.graph.operator(code, &inputs, output, options);
                Ok(output)
            }
            Op::Add { activation } => {
                let output = output(self);
                self.graph.operator(Code(code::ADD, 2), &tensors, output, options::add(activation));
                Ok(output)
            }
            Op::Mul { activation } => {
                let output = output(self);
                self.graph.operator(Code(code::MUL, 2), &tensors, output, options::mul(activation));
                Ok(output)
            }
            Op::Concat => {
                let mut parts = Vec::new();
                for (index, &Place { tensor, shape, params, .. }) in sources.iter().enumerate() {
                    parts.push(if params == layer.output {
                        tensor
                    } else {
                        let name = format!("{name}.rescale{index}");
                        let rescaled = Function::rescale(params, layer.output)?;
                        rescaled.push(&mut self.graph, &name, tensor, dims(shape, flat), layer.output)
                    });
                }
                let axis = if flat { 1 } else { 3 };
                let output = output(self);
                self.graph.operator(Code(code::CONCATENATION, 2), &parts, output, options::concatenation(axis));
                Ok(output)
            }
            Op::Pad { cells } => self.pad(name, first, cells, None),
            Op::Flatten | Op::Reshape { .. } => Ok(self.reshape(name, first, to)),
            Op::Unary(unary) => {
                let function = Function::of(unary, first.params, layer.output)?;
                Ok(function.push(&mut self.graph, name, first.tensor, to, layer.output))
            }
            Op::Softmax => {
                ensure!(layer.output == SOFTMAX, "its softmax has another scale than 1/256 from -128");
                let output = output(self);
                self.graph.operator(Code(code::SOFTMAX, 2), &tensors, output, options::softmax());
                Ok(output)
            }
        }
    }

    /// Input, weights and bias of a layer.
    fn with_weights(&mut self, layer: &QuantizedLayer, input: i32, before: QuantParams) -> anyhow::Result<Vec<i32>> {
        let name = &layer.node.name;
        let weights = layer.weights.as_ref().context("it has no weights")?;
        let QuantizedWeights { shape, kernel, zero_point, scales, bias } = weights;
        ensure!(*zero_point == 0, "its weights have the zero point {zero_point}: those of int8 operators have none");
        let sizes = shape.iter().map(|&n| i32::try_from(n)).collect::<Result<Vec<_>, _>>()?;
        let dims = if matches!(layer.node.op, Op::Dense { .. }) { vec![sizes[0], sizes[3]] } else { sizes };
        let axis = if scales.len() > 1 { i32::try_from(layer.node.op.channel_axis())? } else { 0 };
        let of = Scales { scales: scales.clone(), zero_point: 0, axis };
        let kernel = self.graph.int8s(&format!("{name}.kernel"), dims, kernel, Some(of));
        let of = Scales { scales: scales.iter().map(|scale| before.scale * scale).collect(), zero_point: 0, axis: 0 };
        let count = i32::try_from(bias.len())?;
        let bias = self.graph.int32s(&format!("{name}.bias"), vec![count], bias, Some(of));
        Ok(vec![input, kernel, bias])
    }

    fn pool(&mut self, code: Code, laid: &Laid, window: &Window, output: i32) {
        self.graph.operator(code, &[laid.input], output, options::pool_2d(laid.padding, window));
    }

    /// Over rows and columns together.
    fn reduce(&mut self, code: Code, name: &str, input: i32, output: i32) {
        let axes = self.graph.int32s(&format!("{name}.axes"), vec![2], &[1, 2], None);
        self.graph.operator(code, &[input, axes], output, options::reducer());
    }

    /// Puts the padding that a window cannot state before it; `fill`: what stands in the cells, where it is not the zero point.
    fn lay(&mut self, name: &str, input: Place, window: &Window, fill: Option<i8>) -> anyhow::Result<Laid> {
        if let Some(padding) = stated(window, input.shape)? {
            return Ok(Laid { input: input.tensor, padding });
        }
        let pads = window.resolve(input.shape)?.pads;
        Ok(Laid { input: self.pad(&format!("{name}.pad"), input, pads, fill)?, padding: VALID })
    }

    /// Cells around a picture: of the zero point, or of `fill`.
    fn pad(&mut self, name: &str, input: Place, cells: [u16; 4], fill: Option<i8>) -> anyhow::Result<i32> {
        let [top, left, bottom, right] = cells.map(i32::from);
        let paddings = [0, 0, top, bottom, left, right, 0, 0];
        let paddings = self.graph.int32s(&format!("{name}.cells"), vec![4, 2], &paddings, None);
        let padded = Op::Pad { cells }.infer_shape(&[input.shape])?;
        let output = self.graph.activation(name, dims(padded, false), input.params);
        match fill {
            None => self.graph.operator(Code(code::PAD, 2), &[input.tensor, paddings], output, None),
            Some(fill) => {
                let fill = self.graph.int8s(&format!("{name}.fill"), vec![1], &[fill], Some(input.params.into()));
                self.graph.operator(Code(code::PADV2, 2), &[input.tensor, paddings, fill], output, None);
            }
        }
        Ok(output)
    }

    /// The smallest value of each window: `-1 - max(-1 - q)`.
    fn min_pool(&mut self, name: &str, input: Place, window: &Window, output: Shape) -> anyhow::Result<i32> {
        let mut negative = input;
        negative.params.zero_point = -1 - input.params.zero_point;
        negative.tensor = self.negate(&format!("{name}.negative"), input, negative.params)?;
        let laid = self.lay(name, negative, window, Some(i8::MIN))?;
        let largest = self.graph.activation(&format!("{name}.largest"), dims(output, false), negative.params);
        self.pool(Code(code::MAX_POOL_2D, 2), &laid, window, largest);
        self.negate(name, Place { tensor: largest, shape: output, ..negative }, input.params)
    }

    /// `-1 - q` of each value: a depthwise convolution of 1x1 by -1.
    fn negate(&mut self, name: &str, input: Place, params: QuantParams) -> anyhow::Result<i32> {
        let channels = input.shape.c as usize;
        let c = i32::try_from(channels)?;
        let one = Scales { scales: vec![1.0], zero_point: 0, axis: 0 };
        let kernel = self.graph.int8s(&format!("{name}.kernel"), vec![1, 1, 1, c], &vec![-1; channels], Some(one));
        let scale = Scales { scales: vec![input.params.scale], zero_point: 0, axis: 0 };
        let bias = self.graph.int32s(&format!("{name}.bias"), vec![c], &vec![0; channels], Some(scale));
        let output = self.graph.activation(name, dims(input.shape, false), params);
        let window = Window::new([1, 1], [1, 1], Padding::Valid);
        let options = options::depthwise_conv_2d(VALID, &window, 1, Activation::None);
        self.graph.operator(Code(code::DEPTHWISE_CONV_2D, 3), &[input.tensor, kernel, bias], output, options);
        Ok(output)
    }
}

/// The padding of a window in the schema's words, where it has some for it.
fn stated(window: &Window, input: Shape) -> anyhow::Result<Option<u8>> {
    let resolved = window.resolve(input)?;
    let same = Window { padding: Padding::Same, ..*window }.resolve(input)?;
    let is_none = resolved.pads == [0; 4];
    Ok(match window.padding {
        Padding::Same => Some(SAME),
        Padding::Valid => Some(VALID),
        Padding::Explicit(_) if is_none => Some(VALID),
        Padding::Explicit(_) if same == resolved => Some(SAME),
        Padding::Explicit(_) => None,
    })
}
