//! The inner loops for Armv6-M (Cortex-M0, M0+): eight registers that can do arithmetic, a multiplication of 32 bits, no more.
//!
//! The loops are naked functions: `asm!` cannot have `r6` and `r7`, and the loops need all eight. The high registers hold what is only
//! added to or compared. Lengths are checked here, once a call.

#![allow(unsafe_code)]

mod accumulate;
mod add;
mod depthwise;
mod requantize;

use super::isa::{AddParams, Isa, PIXELS, Requantization};
use super::pairs;

/// Columns are pixel pairs of int16 that start at a multiple of 4 bytes; others are taken as empty.
#[derive(Clone, Copy, Debug)]
pub struct Armv6m;

impl Isa for Armv6m {
    type Lane = i16;

    fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
        pairs::gather(column, first, pixel, values);
    }

    fn fill(column: &mut [i16], first: usize, count: usize, pixel: usize, value: i8) {
        pairs::fill(column, first, count, pixel, value);
    }

    fn accumulate(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
        accumulate::accumulate(pairs::words(column), weights, stride, accumulators);
    }

    fn requantize(
        accumulators: &[[i32; PIXELS]],
        factors: &Requantization<'_>,
        out: &mut [i8],
        row: usize,
        pixels: usize,
    ) {
        requantize::requantize::<PIXELS>(accumulators.as_flattened(), accumulators.len(), factors, out, row, pixels);
    }

    fn depthwise(
        cells: &[&[i8]],
        weights: &[i8],
        stride: usize,
        bias: &[i32],
        factors: &Requantization<'_>,
        out: &mut [i8],
    ) {
        depthwise::depthwise(cells, weights, stride, bias, factors, out);
    }

    fn dot(a: &[i8], b: &[i8]) -> i32 {
        a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
    }

    fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
        add::add(params, a, b);
    }
}
