//! Inner loops for Arm cores with Thumb-2 and the DSP extension (Cortex-M4, M7, M33): two products an instruction.

#![allow(unsafe_code)]

mod accumulate;
mod add;
mod column;
mod depthwise;
mod dot;
mod requantize;

use super::isa::{AddParams, Isa, PIXELS, Requantization};
use crate::quant::OutputStage;

/// The inner loops of cores with the DSP extension.
///
/// A column is `[k / 4][pixel][4]` of `i16`; four values lie in the order 0, 2, 1, 3, which is how SXTB16 widens four bytes.
/// The loops run at full speed when a column starts at a multiple of four bytes, as its memory in a session does.
#[derive(Clone, Copy, Debug)]
pub struct Armv7em;

impl Isa for Armv7em {
    type Lane = i16;

    fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
        column::gather(column, first, pixel, values);
    }

    fn fill(column: &mut [i16], first: usize, count: usize, pixel: usize, value: i8) {
        column::fill(column, first, count, pixel, value);
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
        requantize::requantize(accumulators, factors, out, row, pixels);
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
        dot::dot(a, b)
    }

    fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
        add::add(params, a, b);
    }
}

/// Narrows outputs that are clamped to int8 already to the activation's range.
#[inline]
fn clamp(out: &mut [i8], stage: &OutputStage) {
    if (stage.act_min, stage.act_max) != (i8::MIN, i8::MAX) {
        clamp_all(out, stage.act_min, stage.act_max);
    }
}

/// Rare: an activation whose bounds are not those of int8.
#[inline(never)]
fn clamp_all(out: &mut [i8], low: i8, high: i8) {
    for value in out {
        *value = (*value).max(low).min(high);
    }
}
