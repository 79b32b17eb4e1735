//! The inner loops for 32-bit RISC-V with multiplication (RV32IMC): 31 registers and no packed arithmetic.
//!
//! Plain Rust, shaped so that what a loop needs stays in registers. Lengths are checked once a call, before a loop begins; where they
//! are not as [`Isa`] says, nothing is done.

#![allow(unsafe_code)]

mod accumulate;
mod depthwise;
mod gather;
mod requantize;

use super::isa::{AddParams, Isa, PIXELS, Requantization};

/// Columns are pixel pairs in int16 halves of words; one that does not start at a multiple of 4 bytes is taken as empty.
#[derive(Clone, Copy, Debug)]
pub struct Riscv32;

impl Isa for Riscv32 {
    type Lane = i16;

    fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
        gather::gather(column, first, pixel, values);
    }

    fn fill(column: &mut [i16], first: usize, count: usize, pixel: usize, value: i8) {
        let values = [value; 16];
        for at in (0..count).step_by(values.len()) {
            gather::gather(column, first + at, pixel, values.get(..count - at).unwrap_or(&values));
        }
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
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
        let product = |(&a, &b): (&i8, &i8)| i32::from(a) * i32::from(b);
        let mut sum = a_rest.iter().zip(b_rest).map(product).sum();
        for ([a0, a1, a2, a3], [b0, b1, b2, b3]) in a.iter().zip(b) {
            sum += product((a0, b0)) + product((a1, b1)) + product((a2, b2)) + product((a3, b3));
        }
        sum
    }

    fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
        requantize::add(params, a, b);
    }
}

/// Values from the beginning of the first of `rows` rows, `stride` apart, to the end of the last one's `len` values; `usize::MAX` when
/// they are too many, `len` when there are no rows.
#[inline]
const fn reach(rows: usize, stride: usize, len: usize) -> usize {
    rows.saturating_sub(1).saturating_mul(stride).saturating_add(len)
}
