//! All that must hold of a model file before it may run, CRC or not: after these checks no step of a run can leave a slice.

use super::read::taps;
use super::records::{
    ALIGN, MAX_OPS, MAX_SCHEDULE, MAX_WORK, NO_INPUT, NONE, OpRecord, Tensor, flag, kind, layout, padded,
};
use super::{Constants, LoadError, Model};
use crate::image::{ColorOrder, Resize};
use crate::ir::{Activation, Op, Padding, Shape, ShapeError, Unary, Window};
use crate::kernels::tiled::{MAX_CELLS, Tile};
use crate::quant::{Multiplier, SHIFT_RANGE};
use crate::to_usize;

pub(super) fn check(model: &Model<'_>) -> Result<(), LoadError> {
    check_header(model)?;
    for (index, tensor) in model.graph().tensors.iter().enumerate() {
        check_tensor(model, index, tensor)?;
    }
    let graph = model.graph();
    let (mut steps, mut work) = (0_u64, 0_u64);
    for (index, op) in graph.ops.iter().enumerate() {
        let name = u16::try_from(index).map_err(|_| LoadError::Field { what: "op_count" })?;
        check_op(model, index, op).map_err(|why| match why {
            Refusal::What(what) => LoadError::Op { op: name, what },
            Refusal::Shape(error) => LoadError::Shape { op: name, error },
            Refusal::Overflow => LoadError::Overflow { op: name },
        })?;
        steps = steps.saturating_add(u64::from(graph.steps(index)));
        work = work.saturating_add(work_of(model, index).unwrap_or(u64::MAX));
    }
    if steps.saturating_mul(graph.ops.len() as u64) > MAX_SCHEDULE {
        return Err(LoadError::Field { what: "more rows and operators than a schedule may have" });
    }
    if work > MAX_WORK {
        return Err(LoadError::Field { what: "more work a frame than any device should do" });
    }
    Ok(())
}

/// Why an operator is refused.
enum Refusal {
    What(&'static str),
    Shape(ShapeError),
    Overflow,
}

/// Products (or values looked at) of an operator for one frame.
pub(super) fn work_of(model: &Model<'_>, op: usize) -> Option<u64> {
    let graph = model.graph();
    let record = graph.ops.get(op)?;
    let input = graph.tensors.get(usize::from(record.inputs[0]))?;
    let outputs = u64::from(graph.tensors.get(op + 1)?.shape().elements()?);
    match record.kind {
        kind::CONV2D | kind::DENSE | kind::DEPTHWISE_CONV2D => outputs.checked_mul(taps(record, input)?),
        kind::MAX_POOL2D | kind::MIN_POOL2D | kind::AVERAGE_POOL2D => {
            outputs.checked_mul(u64::from(record.kernel[0]) * u64::from(record.kernel[1]))
        }
        _ => Some(outputs.max(u64::from(input.shape().elements()?))),
    }
}

fn check_header(model: &Model<'_>) -> Result<(), LoadError> {
    let field = |what| Err(LoadError::Field { what });
    let header = model.header();
    let count = usize::from(header.op_count);
    if count == 0 || count > MAX_OPS {
        return field("op_count");
    }
    match header.layout {
        layout::ROWS => {}
        layout::BLOCKS if cfg!(feature = "blocked") => {}
        layout::BLOCKS => return Err(LoadError::Layout),
        _ => return field("layout"),
    }
    if !matches!(header.lane_bytes, 1 | 2 | 4) {
        return field("lane_bytes");
    }
    if header.color != NO_PICTURE && ColorOrder::from_code(header.color).is_none() {
        return field("color");
    }
    if Resize::from_code(header.resize).is_none() {
        return field("resize");
    }
    let finite = header.mean.iter().chain(&header.std).all(|v| v.is_finite());
    if !finite || header.std.iter().any(|&v| v <= 0.0) {
        return field("mean or std");
    }
    if ColorOrder::from_code(header.color).is_some_and(|color| color.channels() != model.input_shape().c) {
        return field("color: does not match the input's channels");
    }
    if model.try_pixel_lut().is_none() {
        return field("pixel_lut");
    }
    for (what, span) in [("labels", header.labels), ("names", header.names)] {
        let Some(text) = model.span(span) else { return field(what) };
        if text.last().is_some_and(|&b| b != 0) || core::str::from_utf8(text).is_err() {
            return field(what);
        }
    }
    if model.names().count() != count {
        return field("names: one for each operator is needed");
    }
    let output = model.output().ok_or(LoadError::Field { what: "tensors" })?;
    let labels = model.labels().count();
    if labels != 0 && (output.h != 1 || output.w != 1 || to_usize(output.c) != labels) {
        return field("labels: one for each score is needed");
    }
    if output.rows != output.h {
        return field("tensors: the output must be held whole");
    }
    Ok(())
}

/// The `color` code of a network whose input is no picture.
pub(super) const NO_PICTURE: u8 = 255;
/// Most pixels of a picture: sums of as many int8 values stay inside 32 bits.
const MAX_PIXELS: u64 = 1 << 22;

fn check_tensor(model: &Model<'_>, index: usize, tensor: &Tensor) -> Result<(), LoadError> {
    let field = |what| Err(LoadError::Field { what });
    let Some(elements) = tensor.shape().elements() else { return field("tensor shape") };
    let pixels = u64::from(tensor.h) * u64::from(tensor.w);
    if elements == 0 || tensor.h > u32::from(u16::MAX) || tensor.w > u32::from(u16::MAX) || pixels > MAX_PIXELS {
        return field("tensor shape");
    }
    if tensor.rows == 0 || tensor.rows > tensor.h {
        return field("tensor rows");
    }
    if !(tensor.scale.is_finite() && tensor.scale > 0.0) || i8::try_from(tensor.zero_point).is_err() {
        return field("tensor scale or zero_point");
    }
    let ops = model.graph().ops;
    let last = ops.iter().rposition(|op| op.reads().any(|input| input == index));
    let expected = if index == ops.len() { index.checked_sub(1) } else { last };
    if expected.is_none() || expected != Some(to_usize(tensor.last_reader)) {
        return field("tensor last_reader");
    }
    Ok(())
}

/// The output shape of a record; `None` for an unknown kind.
fn infer_shape(record: &OpRecord, inputs: &[Shape], output: Shape) -> Option<Result<Shape, ShapeError>> {
    let window = Window {
        kernel: record.kernel,
        stride: record.stride,
        dilation: record.dilation,
        padding: Padding::Explicit(record.pads),
    };
    let (activation, groups) = (Activation::None, u32::from(record.groups));
    let op = match record.kind {
        kind::CONV2D => Op::Conv2d { c_out: output.c, window, groups, activation },
        kind::DEPTHWISE_CONV2D => Op::DepthwiseConv2d { multiplier: groups, window, activation },
        kind::MAX_POOL2D => Op::MaxPool2d { window },
        kind::MIN_POOL2D => Op::MinPool2d { window },
        kind::AVERAGE_POOL2D => Op::AveragePool2d { window },
        kind::MEAN | kind::GLOBAL_AVERAGE_POOL => Op::GlobalAveragePool,
        kind::GLOBAL_MAX_POOL => Op::GlobalMaxPool,
        kind::ADD => Op::Add { activation },
        kind::MUL => Op::Mul { activation },
        kind::CONCAT => Op::Concat,
        kind::PAD => Op::Pad { cells: record.pads },
        kind::RESHAPE => Op::Reshape { to: output },
        kind::LOOKUP => Op::Unary(Unary::Requantize),
        kind::SOFTMAX => Op::Softmax,
        // A compiled dense layer takes the flatten before it upon itself.
        kind::DENSE => return Some(Ok(Shape::new(1, 1, output.c))),
        _ => return None,
    };
    Some(op.infer_shape(inputs))
}

fn check_op(model: &Model<'_>, index: usize, record: &OpRecord) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::What(what));
    let graph = model.graph();
    let [first, second] = record.inputs.map(usize::from);
    let has_two = record.inputs[1] != NO_INPUT;
    if first > index || (has_two && second > index) {
        return refuse("inputs: must be made before they are read");
    }
    if first == second {
        return refuse("inputs: must be two tensors");
    }
    let (Some(input), Some(output)) = (graph.tensors.get(first), graph.tensors.get(index + 1)) else {
        return refuse("inputs");
    };
    let other = if has_two { graph.tensors.get(second) } else { None };
    if has_two != matches!(record.kind, kind::ADD | kind::MUL | kind::CONCAT) {
        return refuse("inputs: another number than the operator takes");
    }
    let of_other_kind = (record.has(flag::TIES_UP) && !is_average(record.kind))
        || (record.has(flag::ROUND_ONCE) && record.kind != kind::DENSE);
    let blocked = record.flags & (flag::BLOCKED | flag::SYMMETRIC) != 0;
    let misplaced = blocked && (model.header().layout != layout::BLOCKS || !record.has(flag::BLOCKED));
    if record.flags & !flag::ALL != 0 || of_other_kind || misplaced {
        return refuse("flags");
    }
    #[cfg(feature = "blocked")]
    if blocked && (record.tile_values != 0 || !super::blocks::takes(record, input)) {
        return refuse("flags: no kernel takes these weights in blocks");
    }
    if record.act_min > record.act_max {
        return refuse("act_min above act_max");
    }
    check_parameters(record)?;
    let shapes = [input.shape(), other.map_or(input.shape(), Tensor::shape)];
    let shapes = if has_two { &shapes[..] } else { &shapes[..1] };
    let Some(inferred) = infer_shape(record, shapes, output.shape()) else { return refuse("kind") };
    if inferred.map_err(Refusal::Shape)? != output.shape() {
        return refuse("output shape");
    }
    let same = |a: &Tensor| a.scale == output.scale && a.zero_point == output.zero_point;
    match record.kind {
        kind::MAX_POOL2D
        | kind::MIN_POOL2D
        | kind::AVERAGE_POOL2D
        | kind::GLOBAL_AVERAGE_POOL
        | kind::GLOBAL_MAX_POOL
        | kind::RESHAPE
        | kind::PAD
        | kind::CONCAT
            if !same(input) || !other.is_none_or(same) =>
        {
            return refuse("scale and zero_point must be those of the input");
        }
        kind::SOFTMAX if output.scale != 1.0 / 256.0 || output.zero_point != -128 => {
            return refuse("softmax needs an output scale of 1/256 and a zero_point of -128");
        }
        kind::RESHAPE if output.rows != output.h => return refuse("a reshape's output must be held whole"),
        _ => {}
    }
    if record.has(flag::IN_PLACE) {
        let elementwise = matches!(record.kind, kind::ADD | kind::MUL | kind::LOOKUP);
        let alone = graph.ops.iter().filter(|op| op.reads().any(|read| read == first)).count() == 1;
        if !elementwise || !alone || (input.offset, input.rows) != (output.offset, output.rows) {
            return refuse("flags: cannot work in place");
        }
    }
    check_constants(model, index, record, input)
}

const fn is_average(kind: u8) -> bool {
    matches!(kind, kind::AVERAGE_POOL2D | kind::GLOBAL_AVERAGE_POOL)
}

/// Fields that only some operators may use.
fn check_parameters(record: &OpRecord) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::What(what));
    let convolution = matches!(record.kind, kind::CONV2D | kind::DEPTHWISE_CONV2D);
    let pool = matches!(record.kind, kind::MAX_POOL2D | kind::MIN_POOL2D | kind::AVERAGE_POOL2D);
    let one = record.kernel == [1; 2] && record.stride == [1; 2] && record.dilation == [1; 2];
    if !(convolution || pool) && !(one && (record.kind == kind::PAD || record.pads == [0; 4])) {
        return refuse("window of an operator that has none");
    }
    if pool && record.dilation != [1; 2] {
        return refuse("dilation of a pool");
    }
    if record.groups == 0 || (record.groups != 1 && !convolution) {
        return refuse("groups");
    }
    if record.weight_zero_point != 0 && !(convolution || record.kind == kind::DENSE) {
        return refuse("weight_zero_point");
    }
    if !(-255..=255).contains(&record.weight_zero_point) {
        return refuse("weight_zero_point");
    }
    if record.tile_values == 0 {
        return if record.tile_channels == 0 { Ok(()) } else { refuse("tile_channels") };
    }
    let cells = u32::from(record.kernel[0]) * u32::from(record.kernel[1]);
    let symmetric = record.weight_zero_point == 0 && record.groups == 1;
    let tiled = match record.kind {
        kind::CONV2D => symmetric && record.dilation[1] == 1 && record.tile_channels != 0,
        kind::DEPTHWISE_CONV2D => symmetric && record.tile_channels == 0 && cells <= MAX_CELLS as u32,
        _ => false,
    };
    if tiled && record.tile_values.is_multiple_of(4) { Ok(()) } else { refuse("tile_values") }
}

fn check_constants(model: &Model<'_>, index: usize, record: &OpRecord, input: &Tensor) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::What(what));
    let Some(constants) = model.try_constants(index) else { return refuse("weights, bias, multipliers or shifts") };
    for (at, (&multiplier, &shift)) in constants.multipliers.iter().zip(constants.shifts).enumerate() {
        let factor = Multiplier { multiplier, shift: i32::from(shift) };
        // the factors of an addition are of reals below one, so that 29 bits of a shifted input stay so
        // a mean's multiplier has been divided by a count, and may have lost its highest bit
        let of_mean = record.kind == kind::MEAN && multiplier >= 1 << 29 && SHIFT_RANGE.contains(&factor.shift);
        if !(factor.is_valid() || of_mean) || (record.kind == kind::ADD && at < 3 && shift > 0) {
            return refuse("multipliers or shifts");
        }
    }
    if record.kind == kind::SOFTMAX && constants.shifts.iter().any(|&shift| shift < 0) {
        return refuse("shifts: softmax needs a left shift");
    }
    if matches!(record.kind, kind::CONV2D | kind::DENSE | kind::DEPTHWISE_CONV2D) {
        check_sums(record, input, &constants)?;
    }
    let needs = matches!(record.kind, kind::DENSE | kind::MEAN | kind::GLOBAL_AVERAGE_POOL);
    if !needs && record.accumulators != NONE {
        return refuse("accumulators");
    }
    if scratch_bytes(model, index, record, input) > u64::from(model.header().scratch_bytes) {
        return refuse("tile: larger than the scratch memory");
    }
    check_padding(record, input, &constants)
}

/// Refuses sums that could leave `-2^30..2^30`, in any order of the additions.
///
/// With `n` products, inputs `|x| <= 128`, weights `|w - weight_zero_point| <= 128 + |weight_zero_point|` and the bias `b`, every
/// partial sum is at most `n * 128 * (128 + |weight_zero_point|) + |b|`. Below 2^30 it can be doubled without leaving 32 bits, which the
/// requantization of fast kernels does. `check_padding` sees to it that padded weights add nothing.
fn check_sums(record: &OpRecord, input: &Tensor, constants: &Constants<'_>) -> Result<(), Refusal> {
    let products = taps(record, input).unwrap_or(u64::MAX);
    let largest_weight = 128 + u64::from(record.weight_zero_point.unsigned_abs());
    // (of a blocked operator the sums of the weights follow the biases)
    let biases = constants.bias.iter().take(constants.multipliers.len());
    let largest_bias = biases.map(|b| b.unsigned_abs()).max().unwrap_or(0);
    let bound = products.saturating_mul(128).saturating_mul(largest_weight).saturating_add(u64::from(largest_bias));
    if bound < 1 << 30 { Ok(()) } else { Err(Refusal::Overflow) }
}

/// Weights that only pad a row must be zero.
fn check_padding(record: &OpRecord, input: &Tensor, constants: &Constants<'_>) -> Result<(), Refusal> {
    #[cfg(feature = "blocked")]
    if record.has(flag::BLOCKED) {
        return super::blocks::check(record, input, constants).map_err(Refusal::What);
    }
    let row = match record.kind {
        kind::CONV2D => usize::from(record.kernel[1]) * to_usize(input.c / u32::from(record.groups)),
        kind::DENSE => to_usize(input.shape().elements().unwrap_or(0)),
        kind::DEPTHWISE_CONV2D => constants.bias.len(),
        _ => return Ok(()),
    };
    let mut rows = constants.weights.chunks_exact(padded(row).max(1));
    let clean = row.is_multiple_of(ALIGN) || rows.all(|weights| weights.iter().skip(row).all(|&weight| weight == 0));
    if clean { Ok(()) } else { Err(Refusal::What("weights: the padding of a row must be zero")) }
}

/// Scratch memory of an operator.
#[cfg_attr(not(feature = "blocked"), allow(unused_variables))]
fn scratch_bytes(model: &Model<'_>, index: usize, record: &OpRecord, input: &Tensor) -> u64 {
    #[cfg(feature = "blocked")]
    if let Some(output) = model.graph().tensors.get(index + 1).filter(|_| record.has(flag::BLOCKED)) {
        return super::blocks::scratch_bytes(record, input, output, 1);
    }
    let tile = Tile { values: usize::from(record.tile_values), channels: usize::from(record.tile_channels) };
    match record.kind {
        _ if tile.values == 0 => 0,
        kind::CONV2D => tile.scratch_bytes(usize::from(model.header().lane_bytes)) as u64,
        _ => u64::from(input.c),
    }
}
