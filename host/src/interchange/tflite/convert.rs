//! Operators of a .tflite file as layers of ours.

use super::{FusedActivation, Options, Padding, TensorType, TfliteModel, TfliteOperator, TfliteTensor, short_name};
use crate::quantize::QuantParams;
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Activation, Op, Shape, Unary, Window};

/// A layer before it has numbers.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) op: Op,
    /// Tensors of the file.
    pub(super) inputs: Vec<usize>,
    pub(super) output: usize,
    pub(super) weights: Option<usize>,
    pub(super) bias: Option<usize>,
    /// Whether the operator computes with uint8.
    pub(super) unsigned: bool,
}

/// What an operator becomes.
pub(super) enum Converted {
    /// Its output is its input.
    Same(usize),
    /// Layers, one after the other.
    Layers(Vec<Draft>),
}

/// Makes layers of an operator.
///
/// # Errors
/// When it is not supported. The error says what the layer does that is not: it is shown behind the layer's name.
pub(super) fn convert(model: &TfliteModel<'_>, operator: &TfliteOperator) -> anyhow::Result<Converted> {
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
        unsigned: [first, output].iter().all(|&tensor| model.tensors[tensor].kind == TensorType::Uint8),
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
            let &[c_out, kh, kw, depth] = &kernel[..] else { bail!("has weights of the shape {kernel:?}") };
            let groups = in_shape.c.checked_div(u32::try_from(depth)?).context("has weights of no depth")?;
            let op = Op::Conv2d {
                c_out: u32::try_from(c_out)?,
                window: to_window(window, [kh, kw])?,
                groups,
                activation: activation(*fused)?,
            };
            Ok(Converted::Layers(vec![with_weights(op, first)?]))
        }
        Options::DepthwiseConv2d { window, activation: fused, .. } => {
            let kernel = &model.input(operator, 1).context("has no weights")?.shape;
            let &[1, kh, kw, c_out] = &kernel[..] else { bail!("has weights of the shape {kernel:?}") };
            let multiplier = u32::try_from(c_out)?.checked_div(in_shape.c).context("reads a tensor of no channels")?;
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
            if (in_shape.h, in_shape.w) == (1, 1) && (other.h, other.w) != (1, 1) {
                inputs.reverse(); // one value a channel comes second: sums and products do not mind
            }
            let op = if add { Op::Add { activation } } else { Op::Mul { activation } };
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

/// What a value is above the signed one with the same meaning.
pub(super) fn offset(kind: TensorType) -> i64 {
    if kind == TensorType::Uint8 { 128 } else { 0 }
}

/// Scale and zero point of an activation, as of int8.
pub(super) fn params(tensor: &TfliteTensor<'_>) -> anyhow::Result<QuantParams> {
    let quantization = tensor.quantization.as_ref().context("a tensor has no scale")?;
    let ([scale], [zero_point]) = (&quantization.scales[..], &quantization.zero_points[..]) else {
        bail!("an activation has several scales");
    };
    Ok(QuantParams { scale: *scale, zero_point: i32::try_from(zero_point - offset(tensor.kind))? })
}

/// Rows, columns and channels of a tensor of batch 1.
pub(super) fn shape(tensor: &TfliteTensor<'_>) -> anyhow::Result<Shape> {
    let dims = tensor.shape.iter().map(|&n| u32::try_from(n)).collect::<Result<Vec<_>, _>>()?;
    match dims[..] {
        [c] | [1, c] => Ok(Shape::new(1, 1, c)),
        [1, w, c] => Ok(Shape::new(1, w, c)),
        [1, h, w, c] => Ok(Shape::new(h, w, c)),
        _ => bail!("has a tensor of the shape {dims:?}: a batch of one and up to three dimensions more are supported"),
    }
}
