//! A pixel of a depthwise convolution, four channels at a time.

use super::{ends_within, is_narrow, narrow};
use crate::kernels::isa::Requantization;
use crate::quant::{OutputStage, requantize};

/// A slice as the loop sees it.
#[repr(C)]
pub(in crate::kernels) struct Cell {
    _values: *const i8,
    len: usize,
}

/// The compiler is free to choose how a slice reference lies in memory: this line does not compile should it ever choose otherwise.
const _: () = {
    // SAFETY: both types have two words; a pointer that became a length would end the compilation.
    let cell = unsafe { core::mem::transmute::<&[i8], Cell>(&[0; 3]) };
    assert!(cell.len == 3);
};

/// What the loop reads, in the order of its registers.
#[repr(C)]
pub(in crate::kernels) struct Job {
    weights: *const i8,
    stride: usize,
    channel: usize,
    bias: *const i32,
    /// `2 * zero_point + 1`
    doubled_zero_point: i32,
    out: *mut i8,
    shifts: *const i8,
    multipliers: *const i32,
    /// 0 for a zero point of -128.
    above_zero_point: i32,
    channels: usize,
    cells: *const Cell,
    count: usize,
}

/// The loop of an instruction set: all the channels of a pixel, which are a multiple of four; none when a cell has not as many values.
///
/// # Safety
/// The job has at least one cell and four channels, and every pointer its entries; the length of cells is checked by the loop.
pub(in crate::kernels) type Run = unsafe extern "C" fn(&Job);

/// See [`Isa::depthwise`](crate::kernels::isa::Isa::depthwise).
#[inline(always)]
pub(in crate::kernels) fn depthwise(
    cells: &[&[i8]],
    weights: &[i8],
    stride: usize,
    bias: &[i32],
    factors: &Requantization<'_>,
    out: &mut [i8],
    run: Run,
) {
    let n = out.len().min(bias.len()).min(factors.multipliers.len()).min(factors.shifts.len());
    let fours = if cells.is_empty() { 0 } else { n & !3 };
    if !ends_within(cells.len().saturating_sub(1), stride, n, weights.len()) {
        return;
    }
    if fours != 0 {
        let zero_point = factors.stage.zero_point;
        let job = Job {
            weights: weights.as_ptr(),
            stride,
            channel: 0,
            bias: bias.as_ptr(),
            doubled_zero_point: zero_point.wrapping_mul(2).wrapping_add(1),
            out: out.as_mut_ptr(),
            shifts: factors.shifts.as_ptr(),
            multipliers: factors.multipliers.as_ptr(),
            above_zero_point: zero_point.wrapping_add(128),
            channels: fours,
            cells: cells.as_ptr().cast(),
            count: cells.len(),
        };
        // SAFETY: there is a cell; all slices but the cells have the channels, and so has every row of the weights.
        unsafe { run(&job) };
    }
    for c in fours..n {
        rest(cells, weights, stride, bias, factors, out, c);
    }
    if is_narrow(&factors.stage) {
        narrow(out.get_mut(..n).unwrap_or_default(), &factors.stage);
    }
}

/// A channel beyond the last four.
#[cold]
fn rest(
    cells: &[&[i8]],
    weights: &[i8],
    stride: usize,
    bias: &[i32],
    factors: &Requantization<'_>,
    out: &mut [i8],
    c: usize,
) {
    let (Some(out), Some(&bias)) = (out.get_mut(c), bias.get(c)) else { return };
    let mut acc = bias;
    for (i, cell) in cells.iter().enumerate() {
        if let (Some(&value), Some(&weight)) = (cell.get(c), weights.get(i * stride + c)) {
            acc += i32::from(value) * i32::from(weight);
        }
    }
    *out = requantize(acc, factors.multiplier(c), &factors.stage);
}

/// Outputs of four channels, not yet narrowed: the loop calls it for shifts that it does not know.
pub(in crate::kernels) extern "C" fn four_channels(
    accumulators: &[i32; 4],
    multipliers: &[i32; 4],
    shifts: &[i8; 4],
    out: &mut [i8; 4],
    doubled_zero_point: i32,
) {
    let stage = OutputStage { zero_point: doubled_zero_point >> 1, act_min: i8::MIN, act_max: i8::MAX };
    let factors = Requantization { multipliers, shifts, stage };
    for (channel, (out, &acc)) in out.iter_mut().zip(accumulators).enumerate() {
        *out = requantize(acc, factors.multiplier(channel), &stage);
    }
}
