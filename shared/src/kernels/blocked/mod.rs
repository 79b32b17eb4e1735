//! Row kernels for PCs and the Raspberry Pi, over weights packed in blocks of sixteen output channels.
//!
//! A row is computed in two steps: the input rows that it covers are copied to scratch memory with their padding, in the form that the
//! instruction set multiplies; then tiles of a few pixels by 16, 32 or 64 channels are accumulated in registers and requantized.
//! Every [`Level`] gives the same bytes, those of TensorFlow Lite Micro.

// Without vector kernels some of what is worked out for them is not read.
#![cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]

mod level;
mod plan;
mod portable;
mod tables;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub mod layout;

pub use layout::Layout;
pub use level::{InstructionSet, Level};
pub use tables::Blocked;

use super::isa::{AddParams, Isa};
use super::{Rows, WindowParams};
use layout::{BLOCK, GROUP_BYTES};
use plan::{DepthwisePlan, Plan};

/// Rows to compute: the arguments of [`conv2d_rows`] and [`depthwise_row`], checked.
#[derive(Clone, Copy)]
struct Job<'a> {
    params: &'a WindowParams,
    /// What a cell outside the image holds.
    zero: i8,
    rows: Rows<'a>,
    y: u32,
    constants: &'a Blocked<'a>,
}

/// Bytes of scratch memory that [`conv2d_row`] needs at any level.
#[must_use]
pub fn conv2d_scratch_bytes(p: &WindowParams, out_width: usize) -> usize {
    conv2d_rows_scratch_bytes(p, out_width, 1)
}

/// Bytes of scratch memory that [`conv2d_rows`] needs for so many rows at any level.
#[must_use]
pub fn conv2d_rows_scratch_bytes(p: &WindowParams, out_width: usize, out_rows: usize) -> usize {
    2 * Plan::new(p, out_width, out_rows).prepared_len()
}

/// Computes output row `y` of a convolution.
///
/// A row whose tables or scratch memory are too short, or whose window has a zero, is left as it was.
///
/// # Shapes
/// `rows`: ring of `[w, c_in]` rows; `constants`: weights as `layout::pack` lays them out, tables `[c_out]`;
/// `scratch`: at least [`conv2d_scratch_bytes`], of any content; `out`: `[out_w, c_out]`.
///
/// # Arithmetic
/// `out = clamp(requantize(bias[o] + sum(x * w[o])))`; cells outside the image hold `input_zero_point`.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::ConvPerChannel`, the input's zero point folded into the bias.
#[expect(clippy::too_many_arguments, reason = "the row, where it comes from, and where it goes")]
pub fn conv2d_row(
    level: Level,
    p: &WindowParams,
    input_zero_point: i8,
    rows: Rows<'_>,
    y: u32,
    constants: &Blocked<'_>,
    scratch: &mut [u8],
    out: &mut [i8],
) {
    let out_width = out.len() / p.c_out.max(1);
    conv2d_rows(level, p, input_zero_point, rows, y, constants, scratch, out, out_width);
}

/// As [`conv2d_row`], for output rows `y` and following: an input row that several of them cover is prepared once.
///
/// # Shapes
/// As [`conv2d_row`]; `scratch`: at least [`conv2d_rows_scratch_bytes`]; `out`: `[rows, out_width, c_out]`.
#[expect(clippy::too_many_arguments, reason = "the rows, where they come from, and where they go")]
pub fn conv2d_rows(
    level: Level,
    p: &WindowParams,
    input_zero_point: i8,
    rows: Rows<'_>,
    y: u32,
    constants: &Blocked<'_>,
    scratch: &mut [u8],
    out: &mut [i8],
    out_width: usize,
) {
    let out_rows = out.len().checked_div(out_width * p.c_out).unwrap_or(0);
    if out_rows == 0 {
        return;
    }
    let plan = Plan::new(p, out_width, out_rows);
    let is_sound = has_no_zero(p)
        && constants.has_channels(p.c_out)
        && constants.weights.len() >= plan.blocks() * plan.groups * GROUP_BYTES
        && scratch.len() >= 2 * plan.prepared_len();
    if !is_sound {
        return;
    }
    let job = Job { params: p, zero: input_zero_point, rows, y, constants };
    match constants.level(level) {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Vnni => x86_64::avx512::conv2d(&job, &plan, scratch, out),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => x86_64::avx2::conv2d(&job, &plan, scratch, out),
        #[cfg(target_arch = "aarch64")]
        InstructionSet::NeonDot => aarch64::conv::dot(&job, &plan, scratch, out),
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Neon => aarch64::conv::long(&job, &plan, scratch, out),
        _ => portable::conv2d(&job, &plan, scratch, out),
    }
}

/// Bytes of scratch memory that [`depthwise_row`] needs at any level.
#[must_use]
pub fn depthwise_scratch_bytes(p: &WindowParams, out_width: usize) -> usize {
    let plan = DepthwisePlan::new(p, out_width * p.c_out);
    plan.prepared_bytes() + depthwise_weights_bytes(&plan)
}

/// Bytes for the weights of a block, two cells widened and interleaved.
fn depthwise_weights_bytes(plan: &DepthwisePlan) -> usize {
    plan.cells.div_ceil(2) * GROUP_BYTES
}

/// Computes output row `y` of a depthwise convolution with a multiplier of 1 (`c_in == c_out`).
///
/// A row whose tables or scratch memory are too short, or whose window has a zero, is left as it was.
///
/// # Shapes
/// `rows`: ring of `[w, c]` rows; `constants`: weights `[kh * kw][c rounded up to 16]`, tables `[c]`;
/// `scratch`: at least [`depthwise_scratch_bytes`], of any content; `out`: `[out_w, c]`.
///
/// # Arithmetic
/// `out[c] = clamp(requantize(bias[c] + sum(x[c] * w[c])))`; cells outside the image hold `input_zero_point`.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::DepthwiseConvPerChannel`, the input's zero point folded into the bias.
#[expect(clippy::too_many_arguments, reason = "the row, where it comes from, and where it goes")]
pub fn depthwise_row(
    level: Level,
    p: &WindowParams,
    input_zero_point: i8,
    rows: Rows<'_>,
    y: u32,
    constants: &Blocked<'_>,
    scratch: &mut [u8],
    out: &mut [i8],
) {
    let plan = DepthwisePlan::new(p, out.len());
    let is_sound = has_no_zero(p)
        && p.c_in == p.c_out
        && constants.has_channels(p.c_out)
        && constants.weights.len() >= plan.cells * p.c_out.next_multiple_of(BLOCK)
        && scratch.len() >= plan.prepared_bytes() + depthwise_weights_bytes(&plan);
    if !is_sound {
        return;
    }
    let job = Job { params: p, zero: input_zero_point, rows, y, constants };
    match constants.level(level) {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Vnni => x86_64::avx512_rows::depthwise(&job, &plan, scratch, out),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => x86_64::avx2_rows::depthwise(&job, &plan, scratch, out),
        #[cfg(target_arch = "aarch64")]
        InstructionSet::NeonDot | InstructionSet::Neon => aarch64::rows::depthwise(&job, &plan, scratch, out),
        _ => portable::depthwise(&job, &plan, scratch, out),
    }
}

/// Bytes of scratch memory that [`dense`] needs at any level.
#[must_use]
pub fn dense_scratch_bytes(inputs: usize) -> usize {
    conv2d_scratch_bytes(
        &dense_params(inputs, 1, crate::quant::OutputStage { zero_point: 0, act_min: 0, act_max: 0 }),
        1,
    )
}

/// Computes a fully connected layer: a 1x1 convolution of one pixel.
///
/// # Shapes
/// `constants`: weights as `layout::pack` lays out a 1x1 kernel over `input.len()` channels, tables `[out.len()]`;
/// `scratch`: at least [`dense_scratch_bytes`], of any content.
///
/// # Arithmetic
/// `out[o] = clamp(requantize(bias[o] + sum(x * w[o])))`.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::FullyConnected`, the input's zero point folded into the bias.
pub fn dense(level: Level, input: &[i8], constants: &Blocked<'_>, scratch: &mut [u8], out: &mut [i8]) {
    let p = dense_params(input.len(), out.len(), constants.factors.stage);
    conv2d_row(level, &p, 0, Rows::new(input, input.len(), 1, 1), 0, constants, scratch, out);
}

/// A dense layer as a window.
fn dense_params(inputs: usize, outputs: usize, output: crate::quant::OutputStage) -> WindowParams {
    WindowParams {
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0],
        width: 1,
        c_in: inputs,
        c_out: outputs,
        groups: 1,
        input_zero_point: 0,
        weight_zero_point: 0,
        output,
    }
}

/// Adds `b` to `a`, in place, over the shorter of both.
///
/// # Arithmetic
/// As [`add_one`](super::portable::add_one) of each pair.
pub fn add_row(level: Level, params: &AddParams, a: &mut [i8], b: &[i8]) {
    let len = a.len().min(b.len());
    let (a, b) = (&mut a[..len], &b[..len]);
    match tables::add_level(level, params) {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Vnni => x86_64::avx512_rows::add(params, a, b),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => x86_64::avx2_rows::add(params, a, b),
        #[cfg(target_arch = "aarch64")]
        InstructionSet::NeonDot | InstructionSet::Neon => aarch64::rows::add(params, a, b),
        _ => portable::add(params, a, b),
    }
}

/// The sum of products of values with weights of four bits.
///
/// # Shapes
/// As [`Isa::dot_nibbles`].
///
/// # Arithmetic
/// As [`Isa::dot_nibbles`].
#[must_use]
pub fn dot_nibbles(level: Level, values: &[i8], packed: &[i8]) -> i32 {
    match level.instruction_set() {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Vnni | InstructionSet::Avx2 => x86_64::nibbles::dot(values, packed),
        _ => super::portable::Portable::dot_nibbles(values, packed),
    }
}

/// Whether no size of the window is zero.
fn has_no_zero(p: &WindowParams) -> bool {
    let [kh, kw] = p.kernel;
    let sizes = [kh, kw, p.stride[0], p.stride[1], p.dilation[0], p.dilation[1], p.width, p.c_in, p.c_out];
    sizes.iter().all(|&size| size > 0)
}
