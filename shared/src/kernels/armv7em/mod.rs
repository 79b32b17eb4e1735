//! Inner loops for Arm cores with Thumb-2 and the DSP extension (Cortex-M4, M7, M33): two products an instruction.

#![allow(unsafe_code)]

/// The first line of every function in assembly. The compiler does not tell the assembler which core it compiles for, only the target,
/// and thumbv8m.main does not name the DSP extension.
#[cfg(feature = "dsp")]
macro_rules! dsp {
    () => {
        ".cpu cortex-m33"
    };
}

/// The first line of every function in assembly: thumbv7em names the DSP extension.
#[cfg(not(feature = "dsp"))]
macro_rules! dsp {
    () => {
        ""
    };
}

mod accumulate;
mod add;
mod column;
mod depthwise;
mod depthwise_run;
mod dot;
mod dot_nibbles;
mod requantize;

use super::isa::{AddParams, Isa, PIXELS, Requantization};
use super::thumb2;

/// The inner loops of cores with the DSP extension.
///
/// A column is `[k / 4][pixel][4]` of `i16`; four values lie in the order 0, 2, 1, 3, which is how SXTB16 widens four bytes.
/// The loops run at full speed when a column starts at a multiple of four bytes, as its memory in a session does.
#[derive(Clone, Copy, Debug)]
pub struct Armv7em;

impl Isa for Armv7em {
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

    #[inline(never)] // of its stack nothing remains below the edges of a tile
    fn gather_tile(column: &mut [i16], first: usize, source: &[i8], step: usize, len: usize, pixels: usize) {
        thumb2::tile::gather_tile(column, first, source, [step, len, pixels], column::widen_tile, column::gather);
    }

    fn accumulate(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
        accumulate::accumulate(column, weights, stride, accumulators, accumulate::multiply);
    }

    fn accumulate_two(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
        accumulate::accumulate(column, weights, stride, accumulators, accumulate::multiply_two);
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

    #[inline(never)]
    fn depthwise_run(
        cells: &mut [&[i8]],
        step: usize,
        weights: &[i8],
        stride: usize,
        bias: &[i32],
        factors: &Requantization<'_>,
        out: &mut [i8],
    ) {
        if depthwise_run::depthwise_run(cells, step, weights, stride, bias, factors, out) {
            return;
        }
        for pixel in out.chunks_exact_mut(bias.len().max(1)) {
            Self::depthwise(cells, weights, stride, bias, factors, pixel);
            for cell in &mut *cells {
                *cell = cell.get(step..).unwrap_or_default();
            }
        }
    }

    fn dot(a: &[i8], b: &[i8]) -> i32 {
        dot::dot(a, b)
    }

    fn dot_nibbles(values: &[i8], packed: &[i8]) -> i32 {
        dot_nibbles::dot_nibbles(values, packed)
    }

    fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
        thumb2::add::add(params, a, b, add::run);
    }
}
