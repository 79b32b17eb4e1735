//! Operators whose weights lie in blocks of sixteen output channels, for PCs and the Raspberry Pi.
//!
//! Such an operator has the flag [`BLOCKED`](super::records::flag::BLOCKED). Its weights lie as [`layout`](crate::kernels::blocked::layout)
//! says, and its bias table is twice as long: the biases, then the sum of each output channel's weights.

use super::read::taps;
use super::records::{OpRecord, Tensor, flag, kind};
use super::{Constants, Model};
use crate::kernels::WindowParams;
use crate::kernels::blocked::layout::BLOCK;
use crate::kernels::blocked::{self, Blocked, Layout};
use crate::kernels::isa::Requantization;
use crate::quant::OutputStage;
use crate::to_usize;

/// Most products of one output: more could leave `-2^30..2^30`.
const MAX_TAPS: u32 = 1 << 16;
/// Most input channels of a convolution, so that no size of scratch memory leaves 64 bits.
const MAX_CHANNELS: u32 = 1 << 24;

impl<'m> Model<'m> {
    /// Products (or values looked at) of an operator for one frame.
    #[cfg(feature = "threads")]
    pub(crate) fn work_of(&self, op: usize) -> Option<u64> {
        let graph = self.graph();
        let record = graph.ops.get(op)?;
        let input = graph.tensors.get(usize::from(record.inputs[0]))?;
        let outputs = u64::from(graph.tensors.get(op + 1)?.shape().elements()?);
        let each = match record.kind {
            kind::CONV2D | kind::DENSE | kind::DEPTHWISE_CONV2D => u64::from(taps(record, input)?),
            _ => u64::from(record.kernel[0]) * u64::from(record.kernel[1]),
        };
        Some(outputs * each)
    }

    /// The tables of an operator whose weights lie in blocks; `None` for others.
    #[must_use]
    pub fn blocks(&self, op: usize) -> Option<Blocked<'m>> {
        let record = self.graph().ops.get(op).filter(|record| record.has(flag::BLOCKED))?;
        let output = self.graph().tensors.get(op + 1)?;
        let Constants { weights, bias, multipliers, shifts } = self.constants(op);
        let (bias, sums) = bias.split_at_checked(to_usize(output.c))?;
        let stage = OutputStage { zero_point: output.zero_point, act_min: record.act_min, act_max: record.act_max };
        let factors = Requantization { multipliers, shifts, stage };
        Some(Blocked { weights, bias, sums, is_symmetric: record.has(flag::SYMMETRIC), factors })
    }
}

/// Whether the block kernels take an operator.
#[must_use]
pub fn takes(record: &OpRecord, input: &Tensor) -> bool {
    let few = taps(record, input).is_some_and(|taps| taps < MAX_TAPS);
    few && input.c < MAX_CHANNELS
        && record.weight_zero_point == 0
        && !record.has(flag::INT4)
        && match record.kind {
            kind::CONV2D | kind::DEPTHWISE_CONV2D => record.groups == 1,
            // all values at once: they must all be there
            kind::DENSE => !record.has(flag::ROUND_ONCE) && input.rows == input.h,
            _ => false,
        }
}

/// The window of an operator; that of a dense layer is one cell over all inputs.
#[must_use]
pub fn window(record: &OpRecord, input: &Tensor, output: &Tensor) -> WindowParams {
    let dense = record.kind == kind::DENSE;
    let (width, c_in) = if dense { (1, input.h * input.w * input.c) } else { (input.w, input.c) };
    WindowParams {
        kernel: record.kernel.map(usize::from),
        stride: record.stride.map(usize::from),
        dilation: record.dilation.map(usize::from),
        pad: [record.pads[0], record.pads[1]].map(usize::from),
        width: to_usize(width),
        c_in: to_usize(c_in),
        c_out: to_usize(output.c),
        groups: 1,
        input_zero_point: input.zero_point,
        weight_zero_point: 0,
        output: OutputStage { zero_point: output.zero_point, act_min: record.act_min, act_max: record.act_max },
    }
}

/// Where the weights of a convolution or dense layer lie.
#[must_use]
pub fn layout(record: &OpRecord, input: &Tensor, c_out: usize) -> Layout {
    let depth = if record.kind == kind::DENSE { input.h * input.w * input.c } else { input.c };
    Layout::new(c_out, record.kernel.map(usize::from), to_usize(depth), usize::from(record.dilation[1]))
}

/// Bytes of the weights of an operator with `c_out` output channels; `None` when no kernel takes it.
pub(super) fn weight_bytes(record: &OpRecord, input: &Tensor, c_out: usize) -> Option<usize> {
    if !takes(record, input) {
        return None;
    }
    if record.kind == kind::DEPTHWISE_CONV2D {
        let cells = usize::from(record.kernel[0]) * usize::from(record.kernel[1]);
        return c_out.checked_next_multiple_of(BLOCK)?.checked_mul(cells);
    }
    // a filter has fewer than 2^16 values, and its groups fit 32 bits; all filters of a channel count that is not checked yet may not
    layout(record, input, c_out).checked_len_bytes()
}

/// Whether the sizes and places that the kernels compute for `rows` output rows fit this core's words: no less than the scratch memory,
/// every part of it rounded up, and at most half of the address space.
fn fit_words(record: &OpRecord, input: &Tensor, output: &Tensor, rows: u32) -> bool {
    const ROUNDING: u128 = 64;
    let wide = |sizes: [u16; 2]| sizes.map(u128::from);
    let ([kernel_rows, kernel_columns], [_, stride], [_, dilation]) =
        (wide(record.kernel), wide(record.stride), wide(record.dilation));
    let depth = if record.kind == kind::DENSE {
        u128::from(input.h) * u128::from(input.w) * u128::from(input.c)
    } else {
        u128::from(input.c)
    };
    let columns = (u128::from(output.w) + ROUNDING) * stride + kernel_columns * dilation;
    let row = columns.saturating_mul(depth + ROUNDING).saturating_add(ROUNDING);
    let bytes = row.saturating_mul(2 * (u128::from(rows) + 1) * kernel_rows);
    let weights = kernel_rows * kernel_columns * ROUNDING;
    bytes.saturating_add(weights) <= isize::MAX.unsigned_abs() as u128
}

/// Bytes of scratch memory for `rows` output rows; `u64::MAX` when that is beyond what this core can address.
#[must_use]
pub fn scratch_bytes(record: &OpRecord, input: &Tensor, output: &Tensor, rows: u32) -> u64 {
    if !fit_words(record, input, output, rows) {
        return u64::MAX;
    }
    let (window, width) = (window(record, input, output), to_usize(output.w));
    let bytes = match record.kind {
        kind::DEPTHWISE_CONV2D => blocked::depthwise_scratch_bytes(&window, width),
        _ => blocked::conv2d_rows_scratch_bytes(&window, width, to_usize(rows)),
    };
    bytes as u64
}

/// Whether the weights of an operator are sound: what pads them is zero, the sums are right, and so is the symmetry that is claimed.
pub(super) fn check(record: &OpRecord, input: &Tensor, constants: &Constants<'_>) -> bool {
    let weights = constants.weights;
    if record.has(flag::SYMMETRIC) && weights.contains(&i8::MIN) {
        return false;
    }
    let channels = constants.multipliers.len();
    let sums = constants.bias.get(channels..).unwrap_or_default();
    let [kh, kw] = record.kernel.map(usize::from);
    let layout = layout(record, input, channels);
    let mut used = 0;
    for (o, &stated) in sums.iter().enumerate() {
        let mut sum = 0;
        let mut take = |weight: i8| {
            used += usize::from(weight != 0);
            sum += i32::from(weight);
        };
        for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
            if record.kind == kind::DEPTHWISE_CONV2D {
                let place = (ky * kw + kx) * channels.next_multiple_of(BLOCK) + o;
                take(weights.get(place).copied().unwrap_or(0));
            } else {
                (0..layout.c_in).for_each(|c| take(layout.weight_at(weights, o, ky, kx, c)));
            }
        }
        if sum != stated {
            return false;
        }
    }
    // every weight has a place of its own: what is not zero and was not looked at lies in the padding
    let all = weights.iter().filter(|&&weight| weight != 0).count();
    used == all
}

/// An operator's weights in blocks, and the sum of each output channel's.
///
/// # Shapes
/// `ohwi`: `[c_out, kh, kw, c_in]`, depthwise `[kh * kw, c]`.
#[cfg(feature = "alloc")]
#[must_use]
pub fn pack(
    record: &OpRecord,
    input: &Tensor,
    c_out: usize,
    ohwi: &[i8],
) -> (alloc::vec::Vec<i8>, alloc::vec::Vec<i32>) {
    use blocked::layout as blocks;
    if record.kind == kind::DEPTHWISE_CONV2D {
        return (blocks::pack_depthwise(ohwi, c_out), blocks::depthwise_sums(ohwi, c_out));
    }
    (blocks::pack(ohwi, &layout(record, input, c_out)), blocks::sums(ohwi, c_out))
}
