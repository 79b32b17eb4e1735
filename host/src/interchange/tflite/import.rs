//! A .tflite file as a network of ours: quantized as it is, or float to be quantized here.

use super::{
    FusedActivation, Options, Padding, TensorType, TfliteModel, TfliteOperator, TfliteTensor, report, short_name,
    unsupported,
};
use crate::network::{Layer, LayerKind, LayerOptions, LayerWeights, Network, Node, Weights};
use crate::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork, QuantizedWeights};
use anyhow::{Context, bail, ensure};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::{Activation, Op, Shape, Unary, Window};
use std::collections::{BTreeMap, HashSet};

/// What a .tflite file holds.
#[derive(Clone, Debug)]
pub enum Imported {
    /// A network in int8 or uint8.
    Quantized(Box<QuantizedNetwork>),
    /// A network in float32, to be quantized here.
    Float(Box<(Network, Weights)>),
}

/// What is not in the file.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Name of the network.
    pub name: String,
    /// Class labels; may be empty.
    pub labels: Vec<String>,
    /// Order of the colours, where it is not that of the number of channels (gray or RGB).
    pub color: Option<ColorOrder>,
    /// What becomes of a picture of another shape.
    pub resize: Option<Resize>,
    /// Real values of black and white, where they are not the ends of the input's range (int8) or 0 and 1 (float).
    pub range: Option<[f32; 2]>,
}

/// A layer before it has numbers.
struct Draft {
    name: String,
    op: Op,
    /// Tensors of the file.
    inputs: Vec<usize>,
    output: usize,
    weights: Option<usize>,
    bias: Option<usize>,
}

/// What an operator becomes.
enum Converted {
    /// Its output is its input.
    Same(usize),
    /// Layers, one after the other.
    Layers(Vec<Draft>),
}

/// Reads a file and makes a network of it.
///
/// # Errors
/// When the file is broken, or holds operators or types that are not supported: all of them are listed, with the layers' names.
pub fn import(file: &[u8], options: &ImportOptions) -> anyhow::Result<Imported> {
    let mut model = super::read(file)?;
    model.simplify()?;
    let problems =
        unsupported(&model, |model, operator| convert(model, operator).map(|_| ()).map_err(|e| format!("{e:#}")));
    ensure!(problems.is_empty(), "this network cannot be imported:\n{}", report(&problems).trim_end());
    let [input] = model.inputs[..] else {
        bail!("the network has {} inputs: a classifier of pictures has one", model.inputs.len());
    };
    let [output] = model.outputs[..] else {
        bail!("the network has {} outputs: a classifier has one", model.outputs.len());
    };
    let mut builder = Builder { model: &model, places: BTreeMap::from([(input, (0, input))]), drafts: Vec::new() };
    for operator in &model.operators {
        builder.add(operator)?;
    }
    let last = builder.places.get(&output).map(|place| place.0).context("the output is not computed")?;
    ensure!(
        last == builder.drafts.len(),
        "the network goes on after its output: leave one output and convert it again"
    );
    unique_names(&mut builder.drafts);
    if builder.quantized_input(input)?.is_some() {
        builder.quantized(input, options).map(|network| Imported::Quantized(Box::new(network)))
    } else {
        builder.float(input, options).map(|parts| Imported::Float(Box::new(parts)))
    }
}

/// Gives layers of one name numbers, and names the characters that a `net.toml` allows.
fn unique_names(drafts: &mut [Draft]) {
    let mut known = HashSet::from([crate::network::INPUT.to_owned()]);
    for draft in drafts {
        let allowed = |c: char| if c.is_ascii_alphanumeric() || "_-./".contains(c) { c } else { '_' };
        let base: String = draft.name.chars().map(allowed).collect();
        draft.name.clone_from(&base);
        let mut number = 2;
        while !known.insert(draft.name.clone()) {
            draft.name = format!("{base}_{number}");
            number += 1;
        }
    }
}

struct Builder<'a> {
    model: &'a TfliteModel<'a>,
    /// For a tensor of the file: our tensor (0 the input, `i + 1` the output of layer `i`), and the file's tensor that has its numbers.
    places: BTreeMap<usize, (usize, usize)>,
    drafts: Vec<Draft>,
}

impl Builder<'_> {
    fn add(&mut self, operator: &TfliteOperator) -> anyhow::Result<()> {
        let output = *operator.outputs.first().context("an operator without output")?;
        match convert(self.model, operator)? {
            Converted::Same(input) => {
                let (place, mut source) = self.place(input)?;
                if place == 0 && self.model.tensors[output].quantization.is_some() {
                    source = output; // a float input that is quantized first
                }
                self.places.insert(output, (place, source));
                if place == 0 {
                    self.places.insert(input, (place, source));
                }
            }
            Converted::Layers(drafts) => {
                self.drafts.extend(drafts);
                self.places.insert(output, (self.drafts.len(), output));
            }
        }
        Ok(())
    }

    fn place(&self, tensor: usize) -> anyhow::Result<(usize, usize)> {
        self.places.get(&tensor).copied().context("a tensor is read before it is made")
    }

    /// Quantization of the network's input, if it has one.
    fn quantized_input(&self, input: usize) -> anyhow::Result<Option<QuantParams>> {
        let source = &self.model.tensors[self.place(input)?.1];
        if source.kind == TensorType::Float32 { Ok(None) } else { params(source).map(Some) }
    }

    /// The layers with their shapes. Layers that one operator became read each other.
    fn nodes(&self, input: usize) -> anyhow::Result<Vec<Node>> {
        let mut shapes = vec![shape(&self.model.tensors[input])?];
        let mut nodes: Vec<Node> = Vec::new();
        for (index, draft) in self.drafts.iter().enumerate() {
            let chained = index > 0 && draft.inputs.is_empty();
            let inputs = if chained {
                vec![index]
            } else {
                draft.inputs.iter().map(|&input| Ok(self.place(input)?.0)).collect::<anyhow::Result<Vec<_>>>()?
            };
            let input_shapes: Vec<Shape> = inputs.iter().map(|&input| shapes[input]).collect();
            let output = draft.op.infer_shape(&input_shapes).with_context(|| format!("layer '{}'", draft.name))?;
            shapes.push(output);
            nodes.push(Node { name: draft.name.clone(), op: draft.op, inputs, input_shapes, output });
        }
        Ok(nodes)
    }

    fn quantized(&self, input: usize, options: &ImportOptions) -> anyhow::Result<QuantizedNetwork> {
        let nodes = self.nodes(input)?;
        let input_params = self.quantized_input(input)?.context("the input is not quantized")?;
        let input_shape = shape(&self.model.tensors[input])?;
        let range = options.range.unwrap_or_else(|| {
            [-128, 127].map(|q| (f64::from(input_params.scale) * f64::from(q - input_params.zero_point)) as f32)
        });
        let unsigned = self.drafts.iter().any(|draft| self.model.tensors[draft.output].kind == TensorType::Uint8);
        let mut layers = Vec::new();
        for (draft, node) in self.drafts.iter().zip(nodes) {
            let tensor = &self.model.tensors[draft.output];
            let output = params(tensor).with_context(|| format!("layer '{}'", draft.name))?;
            let weights = draft.weights.map(|weights| self.weights(draft, &node, weights)).transpose()?;
            layers.push(QuantizedLayer { node, output, weights });
        }
        Ok(QuantizedNetwork {
            picture: picture(input_shape, range, options)?,
            input_shape,
            input: input_params,
            layers,
            labels: options.labels.clone(),
            unsigned,
        })
    }

    fn weights(&self, draft: &Draft, node: &Node, weights: usize) -> anyhow::Result<QuantizedWeights> {
        let tensor = &self.model.tensors[weights];
        let shape = node.op.weight_shape(node.input()).context("an operator without weights")?.map(|n| n as usize);
        let channels = shape[node.op.channel_axis()];
        let offset = offset(tensor.kind);
        let quantization = tensor.quantization.as_ref().context("the weights have no scale")?;
        let kernel = tensor.integers().context("the weights are not in the file")?;
        let zero_point = i32::try_from(quantization.zero_points.first().copied().unwrap_or(0) - offset)?;
        let bias = match draft.bias {
            None => vec![0; channels],
            Some(bias) => {
                let values = self.model.tensors[bias].integers().context("the bias is not in the file")?;
                values.into_iter().map(i32::try_from).collect::<Result<_, _>>()?
            }
        };
        ensure!(bias.len() == channels, "layer '{}' has {} biases for {channels} channels", draft.name, bias.len());
        let kernel = kernel.into_iter().map(|w| i8::try_from(w - offset)).collect::<Result<_, _>>()?;
        Ok(QuantizedWeights { shape, kernel, zero_point, scales: quantization.scales.clone(), bias })
    }

    fn float(&self, input: usize, options: &ImportOptions) -> anyhow::Result<(Network, Weights)> {
        let nodes = self.nodes(input)?;
        let input_shape = shape(&self.model.tensors[input])?;
        let range = options.range.unwrap_or([0.0, 1.0]);
        let picture = picture(input_shape, range, options)?.with_context(|| {
            format!("the network takes {input_shape}: a float network that is to be quantized here takes pictures (1 or 3 channels)")
        })?;
        let mut weights = Weights::default();
        let mut layers = Vec::new();
        for (draft, node) in self.drafts.iter().zip(&nodes) {
            let names = node.inputs.iter().map(|&input| match input.checked_sub(1) {
                None => crate::network::INPUT.to_owned(),
                Some(layer) => nodes[layer].name.clone(),
            });
            layers.push(Layer {
                name: node.name.clone(),
                kind: LayerKind::Op(node.op),
                inputs: names.collect(),
                options: LayerOptions::default(),
            });
            if let Some(tensor) = draft.weights {
                let shape =
                    node.op.weight_shape(node.input()).context("an operator without weights")?.map(|n| n as usize);
                let kernel = self.model.tensors[tensor].real_values().context("the weights are not in the file")?;
                let bias = match draft.bias {
                    None => vec![0.0; shape[node.op.channel_axis()]],
                    Some(bias) => self.model.tensors[bias].real_values().context("the bias is not in the file")?,
                };
                weights.insert(&node.name, LayerWeights { shape, kernel, bias });
            }
        }
        let network = Network { name: options.name.clone(), input: picture, layers };
        network.validate()?;
        Ok((network, weights))
    }
}

/// How a picture becomes the input, black and white being the ends of `range`; `None` for an input that is no picture.
fn picture(shape: Shape, [black, white]: [f32; 2], options: &ImportOptions) -> anyhow::Result<Option<InputSpec>> {
    let color = match (options.color, shape.c) {
        (Some(color), c) => {
            ensure!(color.channels() == c, "the input has {c} channels: not those of the colours asked for");
            color
        }
        (None, 1) => ColorOrder::Gray,
        (None, 3) => ColorOrder::Rgb,
        _ => return Ok(None),
    };
    ensure!(white > black, "white ({white}) must be above black ({black})");
    let (mean, std) = (-black / (white - black), 1.0 / (white - black));
    let resize = options.resize.unwrap_or(Resize::Stretch);
    Ok(Some(InputSpec { shape, color, resize, mean: [mean; 3], std: [std; 3] }))
}

/// What a value is above the signed one with the same meaning.
fn offset(kind: TensorType) -> i64 {
    if kind == TensorType::Uint8 { 128 } else { 0 }
}

fn params(tensor: &TfliteTensor<'_>) -> anyhow::Result<QuantParams> {
    let quantization = tensor.quantization.as_ref().context("a tensor has no scale")?;
    let ([scale], [zero_point]) = (&quantization.scales[..], &quantization.zero_points[..]) else {
        bail!("an activation has several scales");
    };
    Ok(QuantParams { scale: *scale, zero_point: i32::try_from(zero_point - offset(tensor.kind))? })
}

/// Rows, columns and channels of a tensor of batch 1.
fn shape(tensor: &TfliteTensor<'_>) -> anyhow::Result<Shape> {
    let dims = tensor.shape.iter().map(|&n| u32::try_from(n)).collect::<Result<Vec<_>, _>>()?;
    match dims[..] {
        [c] | [1, c] => Ok(Shape::new(1, 1, c)),
        [1, w, c] => Ok(Shape::new(1, w, c)),
        [1, h, w, c] => Ok(Shape::new(h, w, c)),
        _ => bail!("has a tensor of the shape {dims:?}: a batch of one and up to three dimensions more are supported"),
    }
}

/// What an operator becomes.
fn convert(model: &TfliteModel<'_>, operator: &TfliteOperator) -> anyhow::Result<Converted> {
    let data: Vec<usize> = operator.inputs.iter().flatten().copied().collect();
    let (first, output) =
        (*data.first().context("reads nothing")?, *operator.outputs.first().context("makes nothing")?);
    let constant = |index: usize| model.input(operator, index).is_some_and(|tensor| tensor.constant().is_some());
    let in_shape = shape(&model.tensors[first])?;
    let out_shape = shape(&model.tensors[output])?;
    let draft = |op: Op, inputs: Vec<usize>| Draft {
        name: short_name(&operator.name),
        op,
        inputs,
        output,
        weights: None,
        bias: None,
    };
    for &tensor in [first, output].iter() {
        let kind = model.tensors[tensor].kind;
        let known = matches!(kind, TensorType::Int8 | TensorType::Uint8 | TensorType::Float32);
        ensure!(known, "computes with {kind}: int8, uint8 and float32 are supported");
    }
    let with_weights = |op: Op, inputs: usize| -> anyhow::Result<Draft> {
        ensure!(constant(1), "has weights that are not constants of the file");
        let weights = operator.inputs.get(1).copied().flatten().context("has no weights")?;
        let bias = operator.inputs.get(2).copied().flatten();
        ensure!(bias.is_none() || constant(2), "has a bias that is not a constant of the file");
        check_weights(&model.tensors[weights], &op)?;
        Ok(Draft { weights: Some(weights), bias, ..draft(op, vec![inputs]) })
    };
    let unary = |unary: Unary| Ok(Converted::Layers(vec![draft(Op::Unary(unary), vec![first])]));
    let clamped = |op: Op, inputs: Vec<usize>, fused: FusedActivation| -> anyhow::Result<Converted> {
        let mut layers = vec![draft(op, inputs)];
        if let Some(clamp) = activation(fused)?.as_unary() {
            layers.push(Draft {
                name: format!("{}_clamp", short_name(&operator.name)),
                ..draft(Op::Unary(clamp), Vec::new())
            });
        }
        Ok(Converted::Layers(layers))
    };
    match &operator.options {
        Options::Conv2d { window, activation: fused } => {
            let kernel = &model.input(operator, 1).context("has no weights")?.shape;
            let &[_, kh, kw, depth] = &kernel[..] else { bail!("has weights of the shape {kernel:?}") };
            let groups = in_shape.c.checked_div(u32::try_from(depth)?).context("has weights of no depth")?;
            let op = Op::Conv2d {
                c_out: out_shape.c,
                window: to_window(window, [kh, kw])?,
                groups,
                activation: activation(*fused)?,
            };
            Ok(Converted::Layers(vec![with_weights(op, first)?]))
        }
        Options::DepthwiseConv2d { window, activation: fused, .. } => {
            let kernel = &model.input(operator, 1).context("has no weights")?.shape;
            let &[1, kh, kw, _] = &kernel[..] else { bail!("has weights of the shape {kernel:?}") };
            let multiplier = out_shape.c.checked_div(in_shape.c).context("reads a tensor of no channels")?;
            let window = to_window(window, [kh, kw])?;
            let op = Op::DepthwiseConv2d { multiplier, window, activation: activation(*fused)? };
            Ok(Converted::Layers(vec![with_weights(op, first)?]))
        }
        Options::FullyConnected { activation: fused, .. } => {
            let weights = &model.input(operator, 1).context("has no weights")?.shape;
            let &[units, depth] = &weights[..] else { bail!("has weights of the shape {weights:?}") };
            ensure!(
                in_shape.elements() == u32::try_from(depth).ok(),
                "is applied to {in_shape} along the last axis: flatten its input, or use a convolution of 1x1"
            );
            let op = Op::Dense { units: u32::try_from(units)?, activation: activation(*fused)? };
            let dense = with_weights(op, first)?;
            if (in_shape.h, in_shape.w) == (1, 1) {
                return Ok(Converted::Layers(vec![dense]));
            }
            // the flat values have the numbers of the input
            let flatten = Draft {
                name: format!("{}_flatten", short_name(&operator.name)),
                output: first,
                ..draft(Op::Flatten, vec![first])
            };
            Ok(Converted::Layers(vec![flatten, Draft { inputs: Vec::new(), ..dense }]))
        }
        Options::MaxPool2d { window, kernel, activation: fused } => {
            clamped(Op::MaxPool2d { window: to_window(window, kernel.map(|n| n as usize))? }, vec![first], *fused)
        }
        Options::AveragePool2d { window, kernel, activation: fused } => {
            clamped(Op::AveragePool2d { window: to_window(window, kernel.map(|n| n as usize))? }, vec![first], *fused)
        }
        Options::Mean { .. } | Options::ReduceMax { .. } => {
            let axes =
                model.input(operator, 1).and_then(TfliteTensor::integers).context("has axes that are not constants")?;
            let rank = i64::try_from(model.tensors[first].shape.len())?;
            let mut axes: Vec<i64> = axes.into_iter().map(|axis| axis.rem_euclid(rank.max(1))).collect();
            axes.sort_unstable();
            let all = if rank == 4 { axes == [1, 2] } else { rank == 3 && axes == [1] };
            ensure!(all, "reduces the axes {axes:?}: rows and columns together are supported");
            let mean = matches!(operator.options, Options::Mean { .. });
            let op = if mean { Op::GlobalAveragePool } else { Op::GlobalMaxPool };
            Ok(Converted::Layers(vec![draft(op, vec![first])]))
        }
        Options::Add { activation: fused, .. } | Options::Mul { activation: fused } => {
            ensure!(!constant(0) && !constant(1), "has a constant operand: fold it into the layer before");
            let activation = activation(*fused)?;
            let add = matches!(operator.options, Options::Add { .. });
            let mut inputs = vec![first, *data.get(1).context("has one input")?];
            let other = shape(&model.tensors[inputs[1]])?;
            if !add && (in_shape.h, in_shape.w) == (1, 1) && (other.h, other.w) != (1, 1) {
                inputs.reverse(); // the factors for each channel come second
            }
            ensure!(inputs[0] != inputs[1], "reads one tensor twice");
            let op = if add { Op::Add { activation } } else { Op::Mul { activation } };
            let shapes = [shape(&model.tensors[inputs[0]])?, shape(&model.tensors[inputs[1]])?];
            op.infer_shape(&shapes)?;
            Ok(Converted::Layers(vec![draft(op, inputs)]))
        }
        Options::Concatenation { axis, activation: fused } => {
            let rank = i32::try_from(model.tensors[output].shape.len())?;
            ensure!(
                axis.rem_euclid(rank.max(1)) == rank - 1,
                "joins tensors along axis {axis}: the channels are supported"
            );
            ensure!((0..data.len()).all(|index| !constant(index)), "has a constant operand");
            if data.len() == 1 {
                return Ok(Converted::Same(first));
            }
            clamped(Op::Concat, data, *fused)
        }
        Options::Pad | Options::PadV2 => {
            let cells =
                model.input(operator, 1).and_then(TfliteTensor::integers).context("has padding that is no constant")?;
            let cells = cells.into_iter().map(u16::try_from).collect::<Result<Vec<_>, _>>()?;
            let (&[0, 0, top, bottom, left, right, 0, 0], 4) = (&cells[..], model.tensors[first].shape.len()) else {
                bail!("pads by {cells:?}: rows and columns of a picture are supported");
            };
            if let Some(value) = operator.inputs.get(2).copied().flatten() {
                let zero = model.tensors[value].real_values().is_some_and(|values| values.iter().all(|&v| v == 0.0));
                ensure!(zero, "pads with another value than 0");
            }
            Ok(Converted::Layers(vec![draft(Op::Pad { cells: [top, left, bottom, right] }, vec![first])]))
        }
        Options::Reshape { .. } | Options::Squeeze { .. } | Options::ExpandDims => {
            if in_shape == out_shape {
                return Ok(Converted::Same(first));
            }
            let flat = out_shape == Shape::new(1, 1, in_shape.elements().unwrap_or(0));
            let op = if flat { Op::Flatten } else { Op::Reshape { to: out_shape } };
            Ok(Converted::Layers(vec![draft(op, vec![first])]))
        }
        Options::Softmax { beta } => {
            ensure!(*beta == 1.0, "has a beta of {beta}: 1 is supported");
            Ok(Converted::Layers(vec![draft(Op::Softmax, vec![first])]))
        }
        Options::Relu => unary(Unary::Relu),
        Options::Relu6 => unary(Unary::Relu6),
        Options::ReluN1To1 => unary(Unary::ReluN1To1),
        Options::LeakyRelu { alpha } => unary(Unary::LeakyRelu { alpha: *alpha }),
        Options::HardSwish => unary(Unary::HardSwish),
        Options::Logistic => unary(Unary::Sigmoid),
        Options::Tanh => unary(Unary::Tanh),
        Options::Quantize => {
            let (from, to) = (&model.tensors[first], &model.tensors[output]);
            if from.kind == TensorType::Float32 {
                ensure!(model.inputs.contains(&first), "quantizes in the midst of the network");
                return Ok(Converted::Same(first));
            }
            if params(from)? == params(to)? { Ok(Converted::Same(first)) } else { unary(Unary::Requantize) }
        }
        Options::Dequantize => {
            ensure!(model.outputs.contains(&output), "turns int8 into floats in the midst of the network");
            Ok(Converted::Same(first))
        }
        _ => bail!("is not supported"),
    }
}

fn check_weights(tensor: &TfliteTensor<'_>, op: &Op) -> anyhow::Result<()> {
    match tensor.kind {
        TensorType::Float32 => return Ok(()),
        TensorType::Int8 | TensorType::Uint8 => {}
        kind => bail!("has weights of {kind}: int8, uint8 and float32 are supported"),
    }
    let quantization = tensor.quantization.as_ref().context("has weights without a scale")?;
    let (scales, zero_points) = (&quantization.scales, &quantization.zero_points);
    ensure!(
        scales.len() == 1 || quantization.axis == op.channel_axis(),
        "has weights with a scale for each index of axis {}, not for each output channel",
        quantization.axis
    );
    let same = zero_points.iter().all(|zero_point| Some(zero_point) == zero_points.first());
    ensure!(same, "has weights with a zero point of its own for each channel");
    Ok(())
}

fn to_window(window: &super::Window, kernel: [usize; 2]) -> anyhow::Result<Window> {
    let pair =
        |values: [u32; 2]| -> anyhow::Result<[u16; 2]> { Ok([u16::try_from(values[0])?, u16::try_from(values[1])?]) };
    Ok(Window {
        kernel: [u16::try_from(kernel[0])?, u16::try_from(kernel[1])?],
        stride: pair(window.stride)?,
        dilation: pair(window.dilation)?,
        padding: match window.padding {
            Padding::Same => ocelli::ir::Padding::Same,
            Padding::Valid => ocelli::ir::Padding::Valid,
        },
    })
}

fn activation(fused: FusedActivation) -> anyhow::Result<Activation> {
    Ok(match fused {
        FusedActivation::None => Activation::None,
        FusedActivation::Relu => Activation::Relu,
        FusedActivation::Relu6 => Activation::Relu6,
        FusedActivation::ReluN1To1 => Activation::ReluN1To1,
        other => bail!("has the fused activation {other:?}, which is not supported"),
    })
}
