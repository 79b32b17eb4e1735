//! All that must hold of a model file before it may run, CRC or not: after these checks no step of a run can leave a slice.

use super::read::taps;
use super::records::{ALIGN, MAX_OPS, MAX_SCHEDULE, MAX_WORK, OpRecord, Tensor, kind};
use super::{LoadError, Model, Region};
use crate::image::{ColorOrder, Resize};
use crate::ir::{Activation, Op, Padding, Shape, ShapeError, Window};
use crate::quant::Multiplier;
use crate::to_usize;

pub(super) fn check(model: &Model<'_>) -> Result<(), LoadError> {
    check_header(model)?;
    for (index, tensor) in model.graph().tensors.iter().enumerate() {
        check_tensor(model, index, tensor)?;
    }
    let graph = model.graph();
    let (mut steps, mut work) = (0_u64, 0_u64);
    for (index, op) in graph.ops.iter().enumerate() {
        check_op(model, index, op)?;
        steps = steps.saturating_add(u64::from(graph.steps(index)));
        work = work.saturating_add(work_of(model, index).unwrap_or(u64::MAX));
    }
    if steps.saturating_mul(graph.ops.len() as u64) > MAX_SCHEDULE {
        return Err(LoadError::Field { what: "more rows and operators than a schedule may have" });
    }
    if work > MAX_WORK {
        return Err(LoadError::Field { what: "more work a frame than any device should do" });
    }
    check_memory(model)
}

/// Products (or values looked at) of an operator for one frame.
fn work_of(model: &Model<'_>, op: usize) -> Option<u64> {
    let graph = model.graph();
    let record = graph.ops.get(op)?;
    let input = graph.tensors.get(to_usize(record.input))?;
    let outputs = u64::from(graph.tensors.get(op + 1)?.shape().elements()?);
    let each = match record.kind {
        kind::CONV2D | kind::DENSE => taps(record, input)?,
        kind::MAX_POOL2D | kind::AVERAGE_POOL2D => u64::from(record.kernel[0]) * u64::from(record.kernel[1]),
        _ => 1,
    };
    outputs.checked_mul(each)
}

fn check_header(model: &Model<'_>) -> Result<(), LoadError> {
    let field = |what| Err(LoadError::Field { what });
    let header = model.header();
    let count = usize::from(header.op_count);
    if count == 0 || count > MAX_OPS {
        return field("op_count");
    }
    if header.reserved != 0 {
        return field("reserved");
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

fn check_tensor(model: &Model<'_>, index: usize, tensor: &Tensor) -> Result<(), LoadError> {
    let field = |what| Err(LoadError::Field { what });
    let Some(elements) = tensor.shape().elements() else { return field("tensor shape") };
    if elements == 0 || tensor.h > u32::from(u16::MAX) {
        return field("tensor shape");
    }
    if tensor.rows == 0 || tensor.rows > tensor.h {
        return field("tensor rows");
    }
    if !(tensor.scale.is_finite() && tensor.scale > 0.0) || i8::try_from(tensor.zero_point).is_err() {
        return field("tensor scale or zero_point");
    }
    let ops = model.graph().ops;
    let last = ops.iter().rposition(|op| to_usize(op.input) == index);
    let expected = if index == ops.len() { index.checked_sub(1) } else { last };
    if expected.is_none() || expected != Some(to_usize(tensor.last_reader)) {
        return field("tensor last_reader");
    }
    Ok(())
}

/// The output shape of a record with `c_out` output channels; `None` for an unknown kind.
fn infer_shape(record: &OpRecord, input: Shape, c_out: u32) -> Option<Result<Shape, ShapeError>> {
    let window = Window {
        kernel: record.kernel,
        stride: record.stride,
        dilation: record.dilation,
        padding: Padding::Explicit(record.pads),
    };
    let op = match record.kind {
        kind::CONV2D => Op::Conv2d { c_out, window, groups: 1, activation: Activation::None },
        kind::MAX_POOL2D => Op::MaxPool2d { window },
        kind::AVERAGE_POOL2D => Op::AveragePool2d { window },
        // A compiled dense layer takes the flatten before it upon itself.
        kind::DENSE => return Some(Ok(Shape::new(1, 1, c_out))),
        kind::FLATTEN => Op::Flatten,
        kind::SOFTMAX => Op::Softmax,
        _ => return None,
    };
    Some(op.infer_shape(&[input]))
}

fn check_op(model: &Model<'_>, index: usize, record: &OpRecord) -> Result<(), LoadError> {
    let op = u16::try_from(index).map_err(|_| LoadError::Field { what: "op_count" })?;
    let refuse = |what| Err(LoadError::Op { op, what });
    let graph = model.graph();
    let (Some(input), Some(output)) = (graph.tensors.get(to_usize(record.input)), graph.tensors.get(index + 1)) else {
        return refuse("input");
    };
    if to_usize(record.input) > index {
        return refuse("input: must be made before it is read");
    }
    if record.reserved != 0 {
        return refuse("reserved");
    }
    if record.act_min > record.act_max {
        return refuse("act_min above act_max");
    }
    let windowed = matches!(record.kind, kind::CONV2D | kind::MAX_POOL2D | kind::AVERAGE_POOL2D);
    let plain =
        record.kernel == [1; 2] && record.stride == [1; 2] && record.dilation == [1; 2] && record.pads == [0; 4];
    if !windowed && !plain {
        return refuse("window of an operator that has none");
    }
    if matches!(record.kind, kind::MAX_POOL2D | kind::AVERAGE_POOL2D) && record.dilation != [1; 2] {
        return refuse("dilation of a pool");
    }
    let Some(inferred) = infer_shape(record, input.shape(), output.c) else { return refuse("kind") };
    let expected = inferred.map_err(|error| LoadError::Shape { op, error })?;
    if expected != output.shape() {
        return refuse("output shape");
    }
    let same_numbers = input.scale == output.scale && input.zero_point == output.zero_point;
    match record.kind {
        kind::MAX_POOL2D | kind::AVERAGE_POOL2D | kind::FLATTEN if !same_numbers => {
            return refuse("scale and zero_point must be those of the input");
        }
        kind::SOFTMAX if output.scale != 1.0 / 256.0 || output.zero_point != -128 => {
            return refuse("softmax needs an output scale of 1/256 and a zero_point of -128");
        }
        _ => {}
    }
    check_constants(model, index, record, input, op)
}

fn check_constants(
    model: &Model<'_>,
    index: usize,
    record: &OpRecord,
    input: &Tensor,
    op: u16,
) -> Result<(), LoadError> {
    let refuse = |what| Err(LoadError::Op { op, what });
    let Some(constants) = model.try_constants(index) else { return refuse("weights, bias, multipliers or shifts") };
    let pairs = constants.multipliers.iter().zip(constants.shifts);
    if !pairs.clone().all(|(&multiplier, &shift)| Multiplier { multiplier, shift }.is_valid()) {
        return refuse("multipliers or shifts");
    }
    if record.kind == kind::SOFTMAX && constants.shifts.iter().any(|&shift| shift < 0) {
        return refuse("shifts: softmax needs a left shift");
    }
    // |sum| <= taps * max|x - zero_point| * max|w| + |bias|: below 2^31 no order of additions can overflow.
    if matches!(record.kind, kind::CONV2D | kind::DENSE) {
        let taps = taps(record, input).unwrap_or(u64::MAX);
        let largest_input = u64::from((127 - input.zero_point).max(input.zero_point + 128).unsigned_abs());
        let largest_bias = constants.bias.iter().map(|b| b.unsigned_abs()).max().unwrap_or(0);
        let bound = taps.saturating_mul(largest_input).saturating_mul(128).saturating_add(u64::from(largest_bias));
        if bound > u64::from(i32::MAX.unsigned_abs()) {
            return Err(LoadError::Overflow { op });
        }
    }
    let scratch_used = record.kind == kind::DENSE;
    if !scratch_used && record.scratch != super::records::NONE {
        return refuse("scratch");
    }
    Ok(())
}

/// Every ring, accumulator and the state must have bytes of its own inside the arena, words at multiples of four.
fn check_memory(model: &Model<'_>) -> Result<(), LoadError> {
    let header = model.header();
    let (ops, tensors) = (model.graph().ops, model.graph().tensors);
    let count = tensors.len() + ops.len() + 1;
    // Region `i`: the rings, then the accumulators of each op, then the state.
    let region = |i: usize| -> Option<(u32, u32)> {
        let (start, bytes) = if let Some(tensor) = tensors.get(i) {
            (tensor.offset, tensor.shape().row_len()?.checked_mul(tensor.rows)?)
        } else if let Some(op) = ops.get(i - tensors.len()) {
            if op.kind != kind::DENSE {
                return Some((0, 0));
            }
            (op.scratch, tensors.get(i - tensors.len() + 1)?.c.checked_mul(4)?)
        } else {
            (header.state, 2 * (u32::from(header.op_count) + 1))
        };
        let end = start.checked_add(bytes)?;
        (to_usize(start).is_multiple_of(ALIGN) && end <= header.arena_bytes).then_some((start, end))
    };
    let name = |i: usize| {
        let (what, index) = if i < tensors.len() {
            (Region::Tensor, i)
        } else if i < count - 1 {
            (Region::Accumulators, i - tensors.len())
        } else {
            (Region::State, 0)
        };
        LoadError::Memory { what, index: u16::try_from(index).unwrap_or(u16::MAX) }
    };
    for i in 0..count {
        let (start, end) = region(i).ok_or(name(i))?;
        for other in 0..i {
            let (other_start, other_end) = region(other).ok_or(name(other))?;
            if start < other_end && other_start < end {
                return Err(name(i));
            }
        }
    }
    Ok(())
}
