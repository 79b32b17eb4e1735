//! Reductions over the whole picture, one input row at a time.

use super::pool::mean;
use crate::quant::{Multiplier, OutputStage, clamp_i8, multiply_by_quantized_multiplier};

/// Adds the values of an input row, channel by channel; `first` starts a picture.
///
/// # Shapes
/// `row`: `[w, c]`; `sums`: `[c]`.
pub fn sum_row(row: &[i8], first: bool, sums: &mut [i32]) {
    if first {
        sums.fill(0);
    }
    let mut rest = row;
    while let Some((pixel, others)) = rest.split_at_checked(sums.len()).filter(|_| !sums.is_empty()) {
        for (sum, &value) in sums.iter_mut().zip(pixel) {
            *sum += i32::from(value); // a picture has less than 2^24 pixels: checked when the model was loaded
        }
        rest = others;
    }
}

/// Turns sums over `count` pixels into means, rounded as [`average_pool2d_row`](super::average_pool2d_row) does.
///
/// # Shapes
/// `sums` and `output`: `[c]`.
///
/// # Source
/// As `average_pool2d_row`, with a window as large as the picture.
pub fn average_finish(sums: &[i32], count: i32, ties_up: bool, stage: &OutputStage, output: &mut [i8]) {
    for (out, &sum) in output.iter_mut().zip(sums) {
        *out = clamp_i8(mean(sum, count, ties_up), stage);
    }
}

/// Turns sums over `count` pixels into means at the output's scale.
///
/// # Shapes
/// `sums` and `output`: `[c]`.
///
/// # Arithmetic
/// `out = clamp(round((sum - count * zero_point) * factor) + output zero point)`; the factor holds both scales and `1 / count`.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::Mean` (`kernels/internal/reference/integer_ops/mean.h`).
pub fn mean_finish(
    sums: &[i32],
    count: i32,
    input_zero_point: i32,
    factor: Multiplier,
    stage: &OutputStage,
    output: &mut [i8],
) {
    for (out, &sum) in output.iter_mut().zip(sums) {
        let value = multiply_by_quantized_multiplier(sum - count * input_zero_point, factor);
        *out = clamp_i8(value.saturating_add(stage.zero_point), stage);
    }
}

/// Keeps the largest value of each channel; `first` starts a picture.
///
/// # Shapes
/// `row`: `[w, c]`; `output`: `[c]`.
///
/// # Source
/// TensorFlow Lite Micro, `reduce_max` (int8).
pub fn max_row(row: &[i8], first: bool, output: &mut [i8]) {
    if first {
        output.fill(i8::MIN);
    }
    for pixel in row.chunks_exact(output.len().max(1)) {
        for (out, &value) in output.iter_mut().zip(pixel) {
            *out = (*out).max(value);
        }
    }
}
