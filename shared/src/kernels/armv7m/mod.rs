//! Inner loops for Arm cores with Thumb-2 and without the DSP extension (Cortex-M3): two products a multiplication.

#![allow(unsafe_code)]

mod accumulate;
mod add;
mod column;
mod depthwise;
mod dot;
mod requantize;

use super::isa::{AddParams, Isa, PIXELS, Requantization};
use super::thumb2;

/// The inner loops of cores without the DSP extension.
///
/// A column is `[k][pixel]` of `i16`, two pixels a word: the even one in the lower half, and in the upper half the odd one, less one
/// where the lower half is negative, so that the word is `even + odd * 2^16`. A multiplication by a weight makes both products.
/// The loops run at full speed when a column starts at a multiple of four bytes, as its memory in a session does.
#[derive(Clone, Copy, Debug)]
pub struct Armv7m;

impl Isa for Armv7m {
    type Lane = i16;

    // Inlined: in a loop over the runs of a window most of the checks are the same.
    #[inline(always)]
    fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
        column::gather(column, first, pixel, values);
    }

    #[inline(always)]
    fn fill(column: &mut [i16], first: usize, count: usize, pixel: usize, value: i8) {
        column::fill(column, first, count, pixel, value);
    }

    fn gather_tile(column: &mut [i16], first: usize, source: &[i8], step: usize, len: usize, pixels: usize) {
        thumb2::tile::gather_tile(column, first, source, [step, len, pixels], column::put_tile, column::gather);
    }

    fn accumulate(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
        accumulate::accumulate(column, weights, stride, accumulators);
    }

    fn requantize(
        accumulators: &[[i32; PIXELS]],
        factors: &Requantization<'_>,
        out: &mut [i8],
        row: usize,
        pixels: usize,
    ) {
        let runs = [requantize::run_above_zero_point, requantize::run_any];
        thumb2::requantize::requantize(accumulators, factors, out, row, pixels, runs);
    }

    fn depthwise(
        cells: &[&[i8]],
        weights: &[i8],
        stride: usize,
        bias: &[i32],
        factors: &Requantization<'_>,
        out: &mut [i8],
    ) {
        thumb2::depthwise::depthwise(cells, weights, stride, bias, factors, out, depthwise::run);
    }

    fn dot(a: &[i8], b: &[i8]) -> i32 {
        dot::dot(a, b)
    }

    fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
        thumb2::add::add(params, a, b, add::run);
    }
}
