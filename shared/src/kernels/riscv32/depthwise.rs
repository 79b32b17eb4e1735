//! Depthwise convolution, four channels at a time.

use super::{reach, requantize};
use crate::kernels::isa::Requantization;

/// See [`Isa::depthwise_run`](crate::kernels::isa::Isa::depthwise_run); as many pixels as there is room for in `out`.
#[inline(never)]
pub fn depthwise(
    cells: &[&[i8]],
    step: usize,
    weights: &[i8],
    stride: usize,
    bias: &[i32],
    factors: &Requantization<'_>,
    out: &mut [i8],
) {
    let channels = bias.len();
    if channels == 0 {
        return;
    }
    let values = reach(out.len() / channels, step, channels);
    let needed = if cells.is_empty() { 0 } else { reach(cells.len(), stride, channels) };
    if cells.iter().any(|cell| cell.len() < values) || needed > weights.len() {
        return;
    }
    let weights = weights.as_ptr();
    let (bias, bias_rest) = bias.as_chunks::<4>();
    let mut at = 0;
    for out in out.chunks_exact_mut(channels) {
        let (fours, rest) = out.as_chunks_mut::<4>();
        let mut first = 0;
        for (out, &sums) in fours.iter_mut().zip(bias) {
            // SAFETY: every cell has `at + channels` values and its weights have `channels`, and `first + 4` is not more.
            let sums = unsafe { four_channels(cells, weights.wrapping_add(first), stride, at + first, sums) };
            requantize::pixel(&sums, factors, first, out);
            first += 4;
        }
        for (out, &bias) in rest.iter_mut().zip(bias_rest) {
            let mut sum = bias;
            let mut weights = weights.wrapping_add(first);
            for cell in cells {
                // SAFETY: as above, of one channel.
                sum += unsafe { product(cell.as_ptr().wrapping_add(at + first), weights) };
                weights = weights.wrapping_add(stride);
            }
            requantize::pixel(&[sum], factors, first, core::slice::from_mut(out));
            first += 1;
        }
        at += step;
    }
}

/// Bias and products of four channels from `first` on.
///
/// # Safety
/// Every cell has `first + 4` values, and from `weights` on are four for each, `stride` apart.
#[inline(always)]
unsafe fn four_channels(
    cells: &[&[i8]],
    mut weights: *const i8,
    stride: usize,
    first: usize,
    [mut a, mut b, mut c, mut d]: [i32; 4],
) -> [i32; 4] {
    for cell in cells {
        let values = cell.as_ptr().wrapping_add(first);
        // SAFETY: the values and weights of the four channels.
        unsafe {
            a += product(values, weights);
            b += product(values.wrapping_add(1), weights.wrapping_add(1));
            c += product(values.wrapping_add(2), weights.wrapping_add(2));
            d += product(values.wrapping_add(3), weights.wrapping_add(3));
        }
        weights = weights.wrapping_add(stride);
    }
    [a, b, c, d]
}

/// A value by a weight.
///
/// # Safety
/// Both can be read.
#[inline(always)]
unsafe fn product(value: *const i8, weight: *const i8) -> i32 {
    // SAFETY: the caller says so.
    unsafe { i32::from(*value) * i32::from(*weight) }
}
