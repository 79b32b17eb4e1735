//! All that must hold of a model file before it may run, CRC or not: after these checks no step of a run can leave a slice.
//!
//! Small on purpose: every firmware holds this code. Numbers are 32 bits wide where a check made before bounds them.

use super::read::taps;
use super::records::{
    ALIGN, MAX_OPS, MAX_SCHEDULE, MAX_WORK, NO_INPUT, NONE, OpRecord, Tensor, flag, kind, layout, packed_nibbles,
    padded,
};
use super::rule::{Refusal, Rule, ensure};
use super::{Constants, Model, text};
use crate::image::{ColorOrder, Resize};
use crate::ir::{Shape, window_outputs};
use crate::kernels::reference::nibble;
use crate::kernels::tiled::{MAX_CELLS, Tile};
use crate::quant::{Multiplier, SHIFT_RANGE};
use crate::runtime::{INT4, REFERENCE_KERNELS, kinds_of_op};
use crate::to_usize;

/// Kinds of operators that have something in common, a bit for each.
mod kinds {
    use super::kind;

    pub(super) const POOLS: u32 = (1 << kind::MAX_POOL2D) | (1 << kind::MIN_POOL2D) | AVERAGE_POOL;
    pub(super) const AVERAGE_POOL: u32 = 1 << kind::AVERAGE_POOL2D;
    pub(super) const CONVOLUTIONS: u32 = CONV2D | DEPTHWISE;
    pub(super) const CONV2D: u32 = 1 << kind::CONV2D;
    pub(super) const DEPTHWISE: u32 = 1 << kind::DEPTHWISE_CONV2D;
    pub(super) const DENSE: u32 = 1 << kind::DENSE;
    pub(super) const WEIGHTED: u32 = CONVOLUTIONS | DENSE;
    pub(super) const MEANS: u32 = (1 << kind::MEAN) | GLOBAL_AVERAGE;
    pub(super) const GLOBAL_AVERAGE: u32 = 1 << kind::GLOBAL_AVERAGE_POOL;
    pub(super) const GLOBALS: u32 = MEANS | (1 << kind::GLOBAL_MAX_POOL);
    pub(super) const SUMS_OR_PRODUCTS: u32 = (1 << kind::ADD) | (1 << kind::MUL);
    pub(super) const LOOKUP: u32 = 1 << kind::LOOKUP;
    pub(super) const CONCAT: u32 = 1 << kind::CONCAT;
    pub(super) const RESHAPE: u32 = 1 << kind::RESHAPE;
    pub(super) const PAD: u32 = 1 << kind::PAD;
    pub(super) const SOFTMAX: u32 = 1 << kind::SOFTMAX;
    /// The output has the scale and zero point of the inputs.
    pub(super) const KEEP_SCALE: u32 = POOLS | (GLOBALS & !(1 << kind::MEAN)) | RESHAPE | PAD | CONCAT;
}

/// Checks all of a file but its checksum. Only operators with kernels of the set `KINDS` are let in, so that a firmware without the
/// others does not hold their checks either.
pub(super) fn check<const KINDS: u32>(model: &Model<'_>) -> Result<(), Refusal> {
    let graph = model.graph();
    check_tensors(model).and_then(|()| check_header(model)).map_err(Rule::of_file)?;
    let (mut steps, mut work) = (0, 0);
    for (index, record) in graph.ops.iter().enumerate() {
        let op = Operator::<KINDS>::of(model, index, record).ok_or(Rule::InputOrder);
        let products = op.and_then(|op| op.check(model)).map_err(|rule| rule.of_op(index as u16))?; // at most MAX_OPS
        steps += graph.steps(index); // at most 2^16 for each of at most 2^9 operators
        // Small factors: no sum of these leaves 64 bits.
        if products > MAX_WORK {
            return Err(Rule::Work.of_file());
        }
        work += products;
    }
    let most = (MAX_SCHEDULE as u32).checked_div(graph.ops.len() as u32).unwrap_or(0);
    ensure(steps <= most, Rule::Schedule).and_then(|()| ensure(work <= MAX_WORK, Rule::Work)).map_err(Rule::of_file)
}

fn check_header(model: &Model<'_>) -> Result<(), Rule> {
    let header = model.header();
    if !cfg!(feature = "blocked") {
        ensure(header.layout != layout::BLOCKS, Rule::LayoutOfPcs)?;
    }
    ensure(matches!(header.layout, layout::ROWS | layout::BLOCKS), Rule::Layout)?;
    ensure(matches!(header.lane_bytes, 1 | 2 | 4), Rule::LaneBytes)?;
    let color = ColorOrder::from_code(header.color);
    ensure(color.is_some() || header.color == NO_PICTURE, Rule::Color)?;
    ensure(Resize::from_code(header.resize).is_some(), Rule::Resize)?;
    ensure(header.mean.iter().all(|&v| is_finite(v)) && header.std.iter().all(|&v| is_positive(v)), Rule::MeanOrStd)?;
    ensure(color.is_none_or(|color| color.channels() == model.input_shape().c), Rule::ColorChannels)?;
    ensure(model.try_pixel_lut().is_some(), Rule::PixelLut)?;
    let labels = model.span(header.labels).and_then(text::count).ok_or(Rule::Labels)?;
    let names = model.span(header.names).and_then(text::count).ok_or(Rule::Names)?;
    let ops = model.graph().ops.len();
    ensure(names == ops, Rule::NameCount)?;
    let output = model.output().ok_or(Rule::OpCount)?;
    let scores = output.h == 1 && output.w == 1 && to_usize(output.c) == labels;
    ensure(labels == 0 || scores, Rule::LabelCount)?;
    ensure(output.rows == output.h, Rule::OutputRows)
}

/// The `color` code of a network whose input is no picture.
pub(super) const NO_PICTURE: u8 = 255;
/// Most pixels of a picture: sums of as many int8 values stay inside 32 bits.
const MAX_PIXELS: u32 = 1 << 22;

/// Whether a number is positive and finite. By its bits: that needs no library for floats on cores without.
const fn is_positive(v: f32) -> bool {
    matches!(v.to_bits(), 1..=0x7F7F_FFFF)
}

/// Whether a number is finite, by its bits.
const fn is_finite(v: f32) -> bool {
    v.to_bits() & 0x7FFF_FFFF <= 0x7F7F_FFFF
}

fn check_tensors(model: &Model<'_>) -> Result<(), Rule> {
    let graph = model.graph();
    ensure(matches!(graph.ops.len(), 1..=MAX_OPS), Rule::OpCount)?;
    for (index, tensor) in graph.tensors.iter().enumerate() {
        let longest = u32::from(u16::MAX);
        ensure(tensor.h <= longest && tensor.w <= longest && tensor.h * tensor.w <= MAX_PIXELS, Rule::TensorShape)?;
        // (the pixels are few: with the channels known to fit 32 bits, so does a row)
        ensure(!matches!((tensor.h * tensor.w).checked_mul(tensor.c), None | Some(0)), Rule::TensorShape)?;
        ensure(tensor.rows != 0 && tensor.rows <= tensor.h, Rule::TensorRows)?;
        let zero_point = matches!(tensor.zero_point, -128..=127);
        ensure(zero_point && is_positive(tensor.scale), Rule::TensorScale)?;
        let last = graph.ops.iter().rposition(|op| op.inputs.contains(&(index as u16))); // at most MAX_OPS: no NO_INPUT
        let last = if index == graph.ops.len() { Some(index - 1) } else { last };
        ensure(last == Some(to_usize(tensor.last_reader)), Rule::LastReader)?;
    }
    Ok(())
}

/// An operator and its tensors.
#[derive(Clone, Copy)]
struct Operator<'m, const KINDS: u32> {
    index: usize,
    record: &'m OpRecord,
    /// The bit of its kind.
    bit: u32,
    input: &'m Tensor,
    /// The second input; the first where there is one only.
    other: &'m Tensor,
    output: &'m Tensor,
}

impl<'m, const KINDS: u32> Operator<'m, KINDS> {
    /// `None` when an input is not made before the operator.
    fn of(model: &Model<'m>, index: usize, record: &'m OpRecord) -> Option<Self> {
        let tensors = model.graph().tensors;
        let (made, output) = (tensors.get(..=index)?, tensors.get(index + 1)?);
        let input = made.get(usize::from(record.inputs[0]))?;
        let other = if has_two(record) { made.get(usize::from(record.inputs[1]))? } else { input };
        Some(Self { index, record, bit: 1 << (record.kind & 31), input, other, output })
    }

    /// Whether the operator is one of some kinds.
    #[inline]
    const fn is(&self, kinds: u32) -> bool {
        KINDS & kinds & self.bit != 0
    }

    /// Checks the operator; returns how many products it makes (or values it looks at) for a frame.
    fn check(&self, model: &Model<'_>) -> Result<u64, Rule> {
        let Self { record, input, other, output, .. } = *self;
        ensure(matches!(record.kind, 1..=kind::LAST) && kinds_of_op(record) & !KINDS == 0, Rule::Kind)?;
        ensure(record.inputs[0] != record.inputs[1], Rule::InputTwice)?;
        ensure(has_two(record) == self.is(kinds::SUMS_OR_PRODUCTS | kinds::CONCAT), Rule::InputCount)?;
        self.check_flags(model)?;
        ensure(record.act_min <= record.act_max, Rule::Clamp)?;
        self.check_parameters()?;
        let shape = self.output_shape().ok_or(Rule::InputShapes)?;
        ensure(shape == output.shape(), Rule::OutputShape)?;
        if self.is(kinds::KEEP_SCALE) {
            ensure(same_scale(input, output) && same_scale(other, output), Rule::OutputScale)?;
        }
        if self.is(kinds::SOFTMAX) {
            let steps = const { (1.0_f32 / 256.0).to_bits() };
            ensure(output.scale.to_bits() == steps && output.zero_point == -128, Rule::SoftmaxScale)?;
        }
        ensure(!self.is(kinds::RESHAPE) || output.rows == output.h, Rule::ReshapeRows)?;
        let products = if self.is(kinds::WEIGHTED) {
            // More could not be summed: see `check_sums`.
            taps(record, input).filter(|&taps| taps < 1 << 16).ok_or(Rule::Overflow)?
        } else if self.is(kinds::POOLS) {
            self.cells()
        } else {
            1
        };
        self.check_constants(model, products)?;
        let [inputs, outputs] = [input, output].map(|tensor| u64::from(tensor.h * tensor.row_len()));
        Ok(inputs.max(outputs * u64::from(products)))
    }

    /// Whether the weights have four bits.
    #[inline]
    const fn is_int4(&self) -> bool {
        KINDS & INT4 != 0 && self.record.has(flag::INT4)
    }

    /// Cells of the window.
    fn cells(&self) -> u32 {
        u32::from(self.record.kernel[0]) * u32::from(self.record.kernel[1])
    }

    fn check_flags(&self, model: &Model<'_>) -> Result<(), Rule> {
        let Self { record, input, output, .. } = *self;
        let averages = self.is(kinds::AVERAGE_POOL | kinds::GLOBAL_AVERAGE);
        let mut known = flag::WAITS | flag::IN_PLACE;
        known |= if averages { flag::TIES_UP } else { 0 };
        known |= if self.is(kinds::DENSE) { flag::ROUND_ONCE } else { 0 };
        // (a firmware without their kernel knows no such flag)
        known |= if KINDS & INT4 != 0 && self.is(kinds::DENSE) { flag::INT4 } else { 0 };
        #[cfg(feature = "blocked")]
        if record.has(flag::BLOCKED) {
            known |= flag::BLOCKED | flag::SYMMETRIC;
            let taken = self.is(kinds::WEIGHTED) && record.tile_values == 0 && super::blocks::takes(record, input);
            ensure(taken && model.header().layout == layout::BLOCKS, Rule::Blocked)?;
        }
        ensure(record.flags & !known == 0, Rule::Flags)?;
        if record.has(flag::IN_PLACE) {
            let elementwise = self.is(kinds::SUMS_OR_PRODUCTS | kinds::LOOKUP);
            let alone = model.graph().ops.iter().filter(|op| op.inputs.contains(&record.inputs[0])).count() == 1;
            let place = input.offset == output.offset && input.rows == output.rows;
            ensure(elementwise && alone && place, Rule::InPlace)?;
        }
        Ok(())
    }

    /// Fields that only some operators may use.
    #[cfg_attr(ocelli_isa = "armv6m", inline(never))]
    fn check_parameters(&self) -> Result<(), Rule> {
        let record = self.record;
        let convolution = self.is(kinds::CONVOLUTIONS);
        if !self.is(kinds::CONVOLUTIONS | kinds::POOLS) {
            let one = record.kernel == [1; 2] && record.stride == [1; 2];
            ensure(one && (self.is(kinds::PAD) || record.pads == [0; 4]), Rule::Window)?;
        }
        ensure(convolution || record.dilation == [1; 2], Rule::Dilation)?;
        if self.is(kinds::CONVOLUTIONS | kinds::POOLS | kinds::PAD) {
            ensure(self.is_narrow(), Rule::Wide)?;
        }
        ensure(record.groups == 1 || (record.groups != 0 && convolution), Rule::Groups)?;
        let widest = if self.is(kinds::WEIGHTED) && !self.is_int4() { 255 } else { 0 };
        ensure(record.weight_zero_point.unsigned_abs() <= widest, Rule::WeightZeroPoint)?;
        if record.tile_values == 0 {
            return ensure(record.tile_channels == 0, Rule::TileChannels);
        }
        let symmetric = record.weight_zero_point == 0 && record.groups == 1;
        let tiled = if self.is(kinds::CONV2D) {
            record.dilation[1] == 1 && record.tile_channels != 0
        } else {
            self.is(kinds::DEPTHWISE) && record.tile_channels == 0 && self.cells() <= MAX_CELLS as u32
        };
        ensure(symmetric && tiled && record.tile_values.is_multiple_of(4), Rule::TileValues)
    }

    /// Whether what kernels count along a padded row, in values, stays inside 31 bits: places of columns, steps of a stride.
    fn is_narrow(&self) -> bool {
        let Self { record, input, .. } = *self;
        let padded = input.w + u32::from(record.pads[1]) + u32::from(record.pads[3]); // below 2^18
        let widest = padded.max(record.stride[1].into()).max(1);
        input.c <= i32::MAX as u32 / widest
    }

    /// The output's shape by the rules of [`Op::infer_shape`](crate::ir::Op::infer_shape), in short. A file that the
    /// compiler writes is read back through this, so that the two cannot come apart unseen.
    fn output_shape(&self) -> Option<Shape> {
        let Self { record, input, other, output, .. } = *self;
        let Shape { h, w, c } = input.shape();
        if self.is(kinds::CONVOLUTIONS | kinds::POOLS) {
            let [h, w] = [self.outputs(0, h)?, self.outputs(1, w)?];
            let groups = u32::from(record.groups);
            let c = if self.is(kinds::CONV2D) {
                // (what is tiled has one group: see `check_parameters`)
                let whole = |c: u32| KINDS & REFERENCE_KERNELS == 0 || c.is_multiple_of(groups);
                Some(output.c).filter(|_| whole(c) && whole(output.c))?
            } else {
                c.checked_mul(groups)? // 1 for a pool
            };
            return Some(Shape { h, w, c });
        }
        if self.is(kinds::GLOBALS) {
            return Some(Shape::new(1, 1, c));
        }
        if self.is(kinds::DENSE) {
            // A compiled dense layer takes the flatten before it upon itself.
            return Some(Shape::new(1, 1, output.c));
        }
        if self.is(kinds::RESHAPE) {
            return (h * input.row_len() == output.h * output.row_len()).then_some(output.shape());
        }
        if self.is(kinds::PAD) {
            let [top, left, bottom, right] = record.pads.map(u32::from);
            return Some(Shape { h: h + top + bottom, w: w + left + right, c });
        }
        if self.is(kinds::CONCAT) {
            return (other.h == h && other.w == w).then_some(Shape { h, w, c: c.checked_add(other.c)? });
        }
        if self.is(kinds::SUMS_OR_PRODUCTS) && other.shape() != input.shape() {
            return (other.shape() == Shape::new(1, 1, c)).then_some(input.shape());
        }
        Some(input.shape())
    }

    /// Outputs along an axis of `size` inputs.
    fn outputs(&self, axis: usize, size: u32) -> Option<u32> {
        let OpRecord { kernel, stride, dilation, pads, .. } = self.record;
        let (kernel, pads) = (kernel[axis], [pads[axis], pads[axis + 2]]);
        if self.is(kinds::POOLS) && (pads[0] >= kernel || pads[1] >= kernel) {
            return None; // a window of padding only has no largest value and no mean
        }
        window_outputs(size, kernel, stride[axis], dilation[axis], pads)
    }

    fn check_constants(&self, model: &Model<'_>, taps: u32) -> Result<(), Rule> {
        let Self { record, input, .. } = *self;
        let constants = model.try_constants::<KINDS>(self.index).ok_or(Rule::Constants)?;
        let (is_add, is_mean) = (record.kind == kind::ADD, record.kind == kind::MEAN);
        for (&multiplier, &shift) in constants.multipliers.iter().zip(constants.shifts) {
            let factor = Multiplier { multiplier, shift: i32::from(shift) };
            // the factors of an addition are of reals below one, so that 29 bits of a shifted input stay so
            // a mean's multiplier has been divided by a count, and may have lost its highest bit
            let of_mean = is_mean && multiplier >= 1 << 29 && SHIFT_RANGE.contains(&factor.shift);
            ensure((factor.is_valid() || of_mean) && !(is_add && shift > 0), Rule::Factors)?;
            ensure(!self.is(kinds::SOFTMAX) || shift >= 0, Rule::SoftmaxShift)?;
        }
        ensure(self.is(kinds::DENSE | kinds::MEANS) || record.accumulators == NONE, Rule::Accumulators)?;
        let scratch_bytes = match record.tile() {
            Tile { values: 0, .. } => 0,
            tile if self.is(kinds::CONV2D) => tile.scratch_bytes(usize::from(model.header().lane_bytes)),
            _ => to_usize(input.c),
        };
        ensure(scratch_bytes <= to_usize(model.header().scratch_bytes), Rule::TileScratch)?;
        if self.is(kinds::WEIGHTED) {
            self.check_sums(&constants, taps)?;
            #[cfg(feature = "blocked")]
            if record.has(flag::BLOCKED) {
                let needed = super::blocks::scratch_bytes(record, input, self.output, 1);
                ensure(needed <= u64::from(model.header().scratch_bytes), Rule::TileScratch)?;
                return ensure(super::blocks::check(record, input, &constants), Rule::Blocks);
            }
            self.check_padding(&constants, taps)?;
        }
        Ok(())
    }

    /// Refuses sums that could leave `-2^30..2^30`, in any order of the additions.
    ///
    /// With `n` products, inputs `|x| <= 128`, weights `|w - weight_zero_point| <= 128 + |weight_zero_point|` and the bias `b`, every
    /// partial sum is at most `n * 128 * (128 + |weight_zero_point|) + |b|`. Below 2^30 it can be doubled without leaving 32 bits, which
    /// the requantization of fast kernels does. `check_padding` sees to it that padded weights add nothing. Weights of four bits
    /// are `|w| <= 8`, in place of 128.
    fn check_sums(&self, constants: &Constants<'_>, taps: u32) -> Result<(), Rule> {
        let widest = 128 + u32::from(self.record.weight_zero_point.unsigned_abs());
        let largest_weight = if self.is_int4() { 8 } else { widest };
        let products = taps * 128 * largest_weight; // below 2^16 * 2^7 * 2^9
        let room = (1_u32 << 30).saturating_sub(products);
        // (of a blocked operator the sums of the weights follow the biases)
        let mut biases = constants.bias.iter().take(constants.multipliers.len());
        let fits = biases.all(|b| b.unsigned_abs() < room);
        ensure(fits, Rule::Overflow)
    }

    /// Weights that only pad a row must be zero.
    fn check_padding(&self, constants: &Constants<'_>, taps: u32) -> Result<(), Rule> {
        if self.is_int4() {
            let (row, mut rest) = (to_usize(taps), constants.weights);
            while let Some((weights, others)) = rest.split_at_checked(packed_nibbles(row)).filter(|_| !rest.is_empty())
            {
                ensure((row..2 * weights.len()).all(|i| nibble(weights, i) == 8), Rule::WeightPadding)?;
                rest = others;
            }
            return Ok(());
        }
        let row = if self.is(kinds::DEPTHWISE) {
            constants.bias.len()
        } else if self.is(kinds::DENSE) {
            to_usize(taps)
        } else {
            to_usize(taps).checked_div(usize::from(self.record.kernel[0])).unwrap_or(0)
        };
        if row.is_multiple_of(ALIGN) {
            return Ok(());
        }
        let mut rest = constants.weights;
        while let Some((weights, others)) = rest.split_at_checked(padded(row)).filter(|_| !rest.is_empty()) {
            ensure(weights.iter().skip(row).all(|&weight| weight == 0), Rule::WeightPadding)?;
            rest = others;
        }
        Ok(())
    }
}

const fn has_two(record: &OpRecord) -> bool {
    record.inputs[1] != NO_INPUT
}

fn same_scale(a: &Tensor, b: &Tensor) -> bool {
    a.scale.to_bits() == b.scale.to_bits() && a.zero_point == b.zero_point
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::model::LoadError;
    use crate::model::write::{ModelFile, OpEntry};
    use alloc::vec;
    use alloc::vec::Vec;

    /// A depthwise 1x1 of one pixel and `c` channels, its single output column `stride` columns wide.
    fn depthwise(c: u32, pad_left: u16, stride: u16) -> Result<Vec<u8>, LoadError> {
        let tensor =
            |offset, last_reader| Tensor { h: 1, w: 1, c, rows: 1, offset, zero_point: 0, scale: 1.0, last_reader };
        let mut record = OpRecord::new(kind::DEPTHWISE_CONV2D, 0);
        (record.pads, record.stride) = ([0, pad_left, 0, 0], [1, stride]);
        let count = to_usize(c);
        let half = Multiplier { multiplier: 1 << 30, shift: 0 };
        let (weights, bias, multipliers) = (vec![1; count], vec![0; count], vec![half; count]);
        ModelFile {
            tensors: vec![tensor(0, 0), tensor(c, 0)],
            ops: vec![OpEntry { name: "wide".into(), record, weights, bias, multipliers }],
            labels: vec![],
            input: None,
            arena_bytes: 2 * c + 64,
            state: 2 * c,
            scratch: [0, 0],
            lane_bytes: 4,
        }
        .to_bytes()
    }

    #[test]
    fn places_in_a_padded_row_that_do_not_fit_31_bits_are_refused() {
        let refused = |file: Result<Vec<u8>, LoadError>| matches!(file, Err(LoadError::Op { op: 0, what }) if what.starts_with("window: a padded row"));
        assert!(depthwise(1 << 17, 4, 8).is_ok());
        assert!(refused(depthwise(1 << 17, 32_768, 65_535)), "2^32 + 2^17 values with the padding");
        assert!(refused(depthwise(1 << 17, 0, 1 << 14)), "2^31 values to the next window");
        assert!(depthwise(1 << 17, 0, (1 << 14) - 1).is_ok());
    }
}
