//! Layers of the file with their shapes and numbers, each held to what the file says of them before anything is made of them.

use super::convert::{Converted, Draft, convert, offset, params, shape};
use super::{Options, TensorType, TfliteModel, TfliteOperator, TfliteTensor};
use crate::compile::check_layer;
use crate::network::Node;
use crate::quantize::{QuantParams, QuantizedLayer, QuantizedWeights};
use anyhow::{Context, anyhow, ensure};
use ocelli::ir::Shape;

/// Whether a network computes with integers: its input is one, or is quantized first.
pub(super) fn is_quantized(model: &TfliteModel<'_>) -> bool {
    let quantizes = |operator: &TfliteOperator| {
        operator.options == Options::Quantize && operator.inputs.iter().flatten().any(|i| model.inputs.contains(i))
    };
    model.inputs.iter().any(|&input| model.tensors[input].kind != TensorType::Float32)
        || model.operators.iter().any(quantizes)
}

/// Checks all that an operator asks for and that can be known without the rest of the network: whether it is supported, the types, shapes
/// and lengths of its tensors, and whether a model file can hold its layers.
///
/// # Errors
/// When the operator cannot be imported. The error is shown behind the layer's name.
pub(super) fn check(model: &TfliteModel<'_>, operator: &TfliteOperator, quantized: bool) -> anyhow::Result<()> {
    let converted = convert(model, operator)?;
    ensure!(operator.outputs.len() == 1, "makes {} tensors: one is supported", operator.outputs.len());
    let output = &model.tensors[operator.outputs[0]];
    let drafts = match converted {
        Converted::Same(input) => return check_same(model, operator, &model.tensors[input], output),
        Converted::Layers(drafts) => drafts,
    };
    let requantizes = operator.options == Options::Quantize;
    let read: Vec<usize> = drafts.iter().flat_map(|draft| draft.inputs.iter().copied()).collect();
    for (index, &input) in read.iter().enumerate() {
        let tensor = &model.tensors[input];
        ensure!(tensor.constant().is_none(), "computes with a constant: fold it into another layer");
        let integers = tensor.kind != TensorType::Float32 && output.kind != TensorType::Float32;
        let agrees = tensor.kind == output.kind || (requantizes && integers);
        ensure!(agrees, "takes {} and makes {}: one type is supported", tensor.kind, output.kind);
        ensure!(!read[..index].contains(&input), "reads one tensor twice");
    }
    let is_integer = output.kind != TensorType::Float32;
    ensure!(
        is_integer == quantized,
        "computes with {}, unlike the network's input: one type is supported",
        output.kind
    );
    let mut made: Option<(Shape, Option<QuantParams>)> = None;
    for draft in &drafts {
        let (input_shapes, input_params) = if draft.inputs.is_empty() {
            let (shape, params) = made.context("reads nothing")?;
            (vec![shape], params.into_iter().collect())
        } else {
            let tensors = || draft.inputs.iter().map(|&input| &model.tensors[input]);
            let numbers = tensors().filter(|_| quantized).map(params).collect::<anyhow::Result<Vec<_>>>()?;
            (tensors().map(shape).collect::<anyhow::Result<Vec<_>>>()?, numbers)
        };
        let inferred = draft.op.infer_shape(&input_shapes).map_err(|error| anyhow!("cannot be computed: {error}"))?;
        let inputs = (0..input_shapes.len()).collect();
        let node = Node { name: draft.name.clone(), op: draft.op, inputs, input_shapes, output: inferred };
        check_constants(model, draft, &node)?;
        let mut numbers = None;
        if quantized {
            let layer = quantized_layer(model, draft, node)?;
            numbers = Some(layer.output);
            check_layer(&layer, &input_params).map_err(|error| anyhow!("cannot be compiled: {error:#}"))?;
        }
        made = Some((inferred, numbers));
    }
    let (inferred, stated) = (made.context("makes nothing")?.0, shape(output)?);
    ensure!(inferred == stated, "makes a tensor of {inferred}, but the file says {stated}");
    Ok(())
}

/// Checks an operator that is left out: its output must be what its input is.
fn check_same(
    model: &TfliteModel<'_>,
    operator: &TfliteOperator,
    input: &TfliteTensor<'_>,
    output: &TfliteTensor<'_>,
) -> anyhow::Result<()> {
    ensure!(input.constant().is_none(), "computes with a constant: fold it into another layer");
    let (from, to) = (shape(input)?, shape(output)?);
    ensure!(from == to, "makes a tensor of {from}, but the file says {to}");
    match operator.options {
        Options::Dequantize => params(input).map(drop),
        Options::Quantize if input.kind == TensorType::Float32 => {
            let quantizes_it = |other: &&TfliteOperator| {
                other.options == Options::Quantize && other.inputs.first() == operator.inputs.first()
            };
            // the first of them is there: it is this one if no other is before it
            let first = model.operators.iter().find(quantizes_it).and_then(|first| model.output(first, 0));
            let first = params(first.unwrap_or(output))?;
            ensure!(first == params(output)?, "quantizes the input in another way than an operator before it");
            Ok(())
        }
        _ => {
            let agrees = input.kind == output.kind || operator.options == Options::Quantize;
            ensure!(agrees, "takes {} and makes {}: one type is supported", input.kind, output.kind);
            let equal = input.kind == TensorType::Float32 || params(input)? == params(output)?;
            ensure!(equal, "moves values to a tensor of another scale or zero point");
            Ok(())
        }
    }
}

/// Holds weights and bias to the shapes that the operator needs over its input.
fn check_constants(model: &TfliteModel<'_>, draft: &Draft, node: &Node) -> anyhow::Result<()> {
    let Some(weights) = draft.weights.map(|weights| &model.tensors[weights]) else { return Ok(()) };
    let shape = node.op.weight_shape(node.input()).context("has weights that it does not take")?.map(|n| n as usize);
    let needed = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
    ensure!(
        needed == Some(weights.elements()),
        "has weights of the shape {:?}, over {} it needs {shape:?}",
        weights.shape,
        node.input()
    );
    let is_float = model.tensors[draft.output].kind == TensorType::Float32;
    let agrees = is_float == (weights.kind == TensorType::Float32);
    ensure!(agrees, "multiplies {} by weights of {}", model.tensors[draft.output].kind, weights.kind);
    let Some(bias) = draft.bias.map(|bias| &model.tensors[bias]) else { return Ok(()) };
    let channels = shape[node.op.channel_axis()];
    ensure!(bias.elements() == channels, "has {} biases for {channels} output channels", bias.elements());
    let known = match bias.kind {
        TensorType::Float32 => is_float,
        TensorType::Int32 | TensorType::Int64 => !is_float,
        _ => false,
    };
    ensure!(known, "has a bias of {}: int32 is supported, and float32 in a float network", bias.kind);
    Ok(())
}

/// A layer of an integer network with its numbers.
pub(super) fn quantized_layer(model: &TfliteModel<'_>, draft: &Draft, node: Node) -> anyhow::Result<QuantizedLayer> {
    let output = params(&model.tensors[draft.output])?;
    let weights = draft.weights.map(|weights| quantized_weights(model, draft, &node, weights)).transpose()?;
    Ok(QuantizedLayer { node, output, weights, unsigned: draft.unsigned })
}

fn quantized_weights(
    model: &TfliteModel<'_>,
    draft: &Draft,
    node: &Node,
    weights: usize,
) -> anyhow::Result<QuantizedWeights> {
    let tensor = &model.tensors[weights];
    let shape = node.op.weight_shape(node.input()).context("an operator without weights")?.map(|n| n as usize);
    let offset = offset(tensor.kind);
    let quantization = tensor.quantization.as_ref().context("the weights have no scale")?;
    let kernel = tensor.integers().context("the weights are not in the file")?;
    let zero_point = i32::try_from(quantization.zero_points.first().copied().unwrap_or(0) - offset)?;
    let bias = match draft.bias {
        None => vec![0; shape[node.op.channel_axis()]],
        Some(bias) => {
            let values = model.tensors[bias].integers().context("the bias is not in the file")?;
            values.into_iter().map(i32::try_from).collect::<Result<_, _>>().context("has a bias outside 32 bits")?
        }
    };
    let kernel = kernel.into_iter().map(|w| i8::try_from(w - offset)).collect::<Result<_, _>>()?;
    Ok(QuantizedWeights { shape, kernel, zero_point, scales: quantization.scales.clone(), bias })
}
