//! The inner loops in plain Rust: for every core that has no module of its own, and what the others are checked against.

use super::isa::{AddParams, Isa, PIXELS, Requantization};
use crate::quant::{Multiplier, clamp_i8, multiply_by_quantized_multiplier, requantize};

/// Columns are `[k][pixels]` of int8.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Isa for Portable {
    type Lane = i8;

    fn gather(column: &mut [i8], first: usize, pixel: usize, values: &[i8]) {
        let places = column.get_mut(first * PIXELS..).unwrap_or_default();
        for (place, &value) in places.chunks_exact_mut(PIXELS).zip(values) {
            place[pixel] = value;
        }
    }

    fn fill(column: &mut [i8], first: usize, count: usize, pixel: usize, value: i8) {
        let places = column.get_mut(first * PIXELS..).unwrap_or_default();
        for place in places.chunks_exact_mut(PIXELS).take(count) {
            place[pixel] = value;
        }
    }

    fn accumulate(column: &[i8], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
        for (acc, weights) in accumulators.iter_mut().zip(weights.chunks(stride.max(1))) {
            for (values, &weight) in column.chunks_exact(PIXELS).zip(weights) {
                for (acc, &value) in acc.iter_mut().zip(values) {
                    *acc += i32::from(value) * i32::from(weight);
                }
            }
        }
    }

    fn requantize(
        accumulators: &[[i32; PIXELS]],
        factors: &Requantization<'_>,
        out: &mut [i8],
        row: usize,
        pixels: usize,
    ) {
        for (c, acc) in accumulators.iter().enumerate() {
            for (p, &acc) in acc.iter().take(pixels).enumerate() {
                if let Some(out) = out.get_mut(p * row + c) {
                    *out = requantize(acc, factors.multiplier(c), &factors.stage);
                }
            }
        }
    }

    fn depthwise(
        cells: &[&[i8]],
        weights: &[i8],
        stride: usize,
        bias: &[i32],
        factors: &Requantization<'_>,
        out: &mut [i8],
    ) {
        for (c, (out, &bias)) in out.iter_mut().zip(bias).enumerate() {
            let mut acc = bias;
            for (cell, weights) in cells.iter().zip(weights.chunks(stride.max(1))) {
                if let (Some(&value), Some(&weight)) = (cell.get(c), weights.get(c)) {
                    acc += i32::from(value) * i32::from(weight);
                }
            }
            *out = requantize(acc, factors.multiplier(c), &factors.stage);
        }
    }

    fn dot(a: &[i8], b: &[i8]) -> i32 {
        a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
    }

    fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
        for (a, &b) in a.iter_mut().zip(b) {
            *a = add_one(params, *a, b);
        }
    }
}

/// One sum.
///
/// # Arithmetic
/// Both inputs are scaled to a common scale with 20 more bits, added and scaled to the output's; each factor rounds twice.
#[inline]
#[must_use]
pub fn add_one(params: &AddParams, a: i8, b: i8) -> i8 {
    let factor = |i: usize| Multiplier { multiplier: params.multipliers[i], shift: params.shifts[i] };
    let scaled = |value: i8, i: usize| {
        let shifted = (i32::from(value) - params.input_zero_points[i]) * (1 << 20);
        multiply_by_quantized_multiplier(shifted, factor(i))
    };
    let sum = scaled(a, 0) + scaled(b, 1);
    clamp_i8(multiply_by_quantized_multiplier(sum, factor(2)) + params.stage.zero_point, &params.stage)
}

impl Requantization<'_> {
    /// Multiplier and shift of a channel.
    #[inline]
    #[must_use]
    pub fn multiplier(&self, channel: usize) -> Multiplier {
        let multiplier = self.multipliers.get(channel).copied().unwrap_or(0);
        Multiplier { multiplier, shift: self.shifts.get(channel).map_or(0, |&s| i32::from(s)) }
    }
}
