//! The inner loops for Armv6-M (Cortex-M0, M0+): eight registers that can do arithmetic, a multiplication of 32 bits, no more.
//!
//! The loops are naked functions: `asm!` cannot have `r6` and `r7`, and the loops need all eight. The high registers hold what is only
//! added to or compared. Lengths are checked once a call, before a loop begins; where they are not as [`Isa`] says, nothing is done.

#![allow(unsafe_code)]

mod accumulate;
mod add;
mod depthwise;
mod gather;
mod requantize;

use super::isa::{AddParams, Isa, PIXELS, Requantization};

/// Columns are pixel pairs in int16 halves of words; one that does not start at a multiple of 4 bytes is taken as empty.
#[derive(Clone, Copy, Debug)]
pub struct Armv6m;

impl Isa for Armv6m {
    type Lane = i16;

    fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
        // SAFETY: they are there.
        unsafe { gather::gather(column, first, values.len(), pixel, values.as_ptr(), 1) };
    }

    fn fill(column: &mut [i16], first: usize, count: usize, pixel: usize, value: i8) {
        // SAFETY: it is the same value again and again.
        unsafe { gather::gather(column, first, count, pixel, &raw const value, 0) };
    }

    fn gather_tile(column: &mut [i16], first: usize, source: &[i8], step: usize, len: usize, pixels: usize) {
        gather::tile(column, first, source, step, len, pixels);
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
        requantize::tile(accumulators, factors, out, row, pixels);
    }

    fn depthwise(
        cells: &[&[i8]],
        weights: &[i8],
        stride: usize,
        bias: &[i32],
        factors: &Requantization<'_>,
        out: &mut [i8],
    ) {
        let bias = bias.get(..out.len()).unwrap_or_default();
        depthwise::depthwise(cells, 0, weights, stride, bias, factors, out);
    }

    fn depthwise_run(
        cells: &mut [&[i8]],
        step: usize,
        weights: &[i8],
        stride: usize,
        bias: &[i32],
        factors: &Requantization<'_>,
        out: &mut [i8],
    ) {
        depthwise::depthwise(cells, step, weights, stride, bias, factors, out);
    }

    fn dot(a: &[i8], b: &[i8]) -> i32 {
        a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
    }

    fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
        add::add(params, a, b);
    }
}

/// Values from the beginning of the first of `rows` rows, `stride` apart, to the end of the last one's `len` values; `usize::MAX` when
/// they are too many, `len` when there are no rows.
#[inline(never)]
fn reach(rows: usize, stride: usize, len: usize) -> usize {
    let last = rows.saturating_sub(1);
    // A product that may leave 32 bits is a call.
    let start = if (last | stride) >> 16 == 0 { last * stride } else { last.saturating_mul(stride) };
    start.saturating_add(len)
}
