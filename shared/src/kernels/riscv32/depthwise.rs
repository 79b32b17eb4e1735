//! Depthwise convolution, four channels at a time.

use super::{reach, requantize};
use crate::kernels::isa::Requantization;

/// See [`Isa::depthwise`](crate::kernels::isa::Isa::depthwise).
#[inline(never)]
pub fn depthwise(
    cells: &[&[i8]],
    weights: &[i8],
    stride: usize,
    bias: &[i32],
    factors: &Requantization<'_>,
    out: &mut [i8],
) {
    let channels = out.len();
    let needed = if cells.is_empty() { 0 } else { reach(cells.len(), stride, channels) };
    if cells.iter().any(|cell| cell.len() < channels) || needed > weights.len() {
        return;
    }
    let (bias, bias_rest) = bias.as_chunks::<4>();
    let (fours, rest) = out.as_chunks_mut::<4>();
    let mut first = 0;
    for (out, &bias) in fours.iter_mut().zip(bias) {
        // SAFETY: every cell and its weights have `channels` values, and `first + 4` is not more.
        let sums = unsafe { products(cells, weights.as_ptr(), stride, first, bias) };
        requantize::pixel(&sums, factors, first, out);
        first += 4;
    }
    for (out, &bias) in rest.iter_mut().zip(bias_rest) {
        // SAFETY: as above, for one channel.
        let sums = unsafe { products(cells, weights.as_ptr(), stride, first, [bias]) };
        requantize::pixel(&sums, factors, first, core::slice::from_mut(out));
        first += 1;
    }
}

/// Bias and products of `N` channels from `first` on.
///
/// # Safety
/// Every cell has `first + N` values, and `weights` as many for each, `stride` apart.
#[inline(always)]
unsafe fn products<const N: usize>(
    cells: &[&[i8]],
    weights: *const i8,
    stride: usize,
    first: usize,
    mut sums: [i32; N],
) -> [i32; N] {
    let mut weights = weights.wrapping_add(first);
    for cell in cells {
        // SAFETY: the values of channels `first..first + N`; arrays of bytes need no alignment.
        let (values, weights_here) =
            unsafe { (*cell.as_ptr().wrapping_add(first).cast::<[i8; N]>(), *weights.cast::<[i8; N]>()) };
        for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights_here) {
            *sum += i32::from(value) * i32::from(weight);
        }
        weights = weights.wrapping_add(stride);
    }
    sums
}
