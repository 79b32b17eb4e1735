//! From accumulators to int8, four pixels of a channel at a time.
//!
//! # Arithmetic
//! The reference rounds `x = floor((acc * m + 2^30) / 2^31)`, which is the upper half of `2 * acc * m`, rounded (SMMULR), and then,
//! for a shift to the right by `n >= 1`, `floor((x + 2^(n-1) - (x < 0)) / 2^n)`. Adding the zero point is adding `zero_point * 2^n` before the
//! second division; both constants are `(2 * zero_point + 1) * 2^(n-1)`. For `n <= 22` and `|acc| < 2^30` nothing leaves 32 bits.
//! The sign of `acc` does for the sign of `x`: they differ only where `x` is 0, and then the quotient is 0 with either. Where the
//! zero point is -128 a negative `x` gives -128 with or without the correction, so that it is left out.
//!
//! A shift to the left by `n >= 0` may leave 32 bits and wraps as the reference's does.

use super::{ends_within, is_narrow, narrow};
use crate::kernels::isa::{PIXELS, Requantization};
use crate::quant::{OutputStage, requantize as requantize_one};

/// What the loop reads, in the order of its registers.
#[repr(C)]
pub(in crate::kernels) struct Job {
    /// Minus the channels that are left.
    index: isize,
    /// The end of each pixel's outputs; the last pixel's stands for those that are missing.
    out_ends: [*mut i8; 3],
    shifts_end: *const i8,
    /// `2 * zero_point + 1`
    doubled_zero_point: i32,
    multipliers_end: *const i32,
    accumulators_end: *const [i32; PIXELS],
    last_out_end: *mut i8,
}

/// The loop of an instruction set: writes the outputs of channels up to one with a shift of more than 22 to the right; returns how
/// many are left. The pixels of a channel are written in descending order, so that each overwrites what was written in its place.
///
/// # Safety
/// Every pointer of the job has its entries.
pub(in crate::kernels) type Run = unsafe extern "C" fn(&Job) -> usize;

/// See [`Isa::requantize`](crate::kernels::isa::Isa::requantize). `runs` are the loops for a zero point of -128 and for any.
#[inline(always)]
pub(in crate::kernels) fn requantize(
    accumulators: &[[i32; PIXELS]],
    factors: &Requantization<'_>,
    out: &mut [i8],
    row: usize,
    pixels: usize,
    runs: [Run; 2],
) {
    let n = accumulators.len().min(factors.multipliers.len()).min(factors.shifts.len());
    let Some(last) = pixels.min(PIXELS).checked_sub(1) else { return };
    if n == 0 || !ends_within(last, row, n, out.len()) {
        return;
    }
    let zero_point = factors.stage.zero_point;
    let run = if zero_point == -128 { runs[0] } else { runs[1] };
    let first = out.as_mut_ptr().wrapping_add(n);
    let next = |end: *mut i8, pixel: usize| end.wrapping_add(if pixel <= last { row } else { 0 });
    let second = next(first, 1);
    let third = next(second, 2);
    let mut job = Job {
        index: n.wrapping_neg().cast_signed(),
        out_ends: [first, second, third],
        shifts_end: factors.shifts.as_ptr().wrapping_add(n),
        doubled_zero_point: zero_point.wrapping_mul(2).wrapping_add(1),
        multipliers_end: factors.multipliers.as_ptr().wrapping_add(n),
        accumulators_end: accumulators.as_ptr().wrapping_add(n),
        last_out_end: next(third, 3),
    };
    loop {
        // SAFETY: every slice has entries for the channels up to `n`, `out` also `last * row` places further on.
        let left = unsafe { run(&job) };
        if left == 0 {
            break;
        }
        far_shift(accumulators, factors, n - left, out, row, last);
        if left == 1 {
            break;
        }
        job.index = 1 - left.cast_signed();
    }
    if is_narrow(&factors.stage) {
        narrow_pixels(out, n, row, last, &factors.stage);
    }
}

/// Clamps the outputs of all pixels.
#[cold]
fn narrow_pixels(out: &mut [i8], n: usize, row: usize, last: usize, stage: &OutputStage) {
    for pixel in 0..=last {
        narrow(out.get_mut(pixel * row..pixel * row + n).unwrap_or_default(), stage);
    }
}

/// A channel whose shift the loop does not know.
#[cold]
fn far_shift(
    accumulators: &[[i32; PIXELS]],
    factors: &Requantization<'_>,
    channel: usize,
    out: &mut [i8],
    row: usize,
    last: usize,
) {
    let Some(acc) = accumulators.get(channel) else { return };
    for (pixel, &acc) in acc.iter().enumerate().take(last + 1) {
        if let Some(out) = out.get_mut(pixel * row + channel) {
            *out = requantize_one(acc, factors.multiplier(channel), &factors.stage);
        }
    }
}
