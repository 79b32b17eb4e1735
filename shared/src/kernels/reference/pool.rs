//! Pooling over windows.

use crate::kernels::{Rows, WindowParams};
use crate::quant::clamp_i8;

/// Computes output row `y`: the largest value of each window and channel inside the image.
///
/// # Shapes
/// `rows`: ring of `[w, c]` rows; `output`: `[out_w, c]`.
///
/// # Panics
/// When `c_in` is zero.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::MaxPool`.
pub fn max_pool2d_row(p: &WindowParams, rows: Rows<'_>, y: u32, output: &mut [i8]) {
    pool(p, rows, y, output, i8::MIN, i8::max);
}

/// Computes output row `y`: the smallest value of each window and channel inside the image, `-max(-x)`.
///
/// # Shapes
/// As [`max_pool2d_row`].
///
/// # Panics
/// When `c_in` is zero.
pub fn min_pool2d_row(p: &WindowParams, rows: Rows<'_>, y: u32, output: &mut [i8]) {
    pool(p, rows, y, output, i8::MAX, i8::min);
}

#[inline]
fn pool(p: &WindowParams, rows: Rows<'_>, y: u32, output: &mut [i8], start: i8, pick: impl Fn(i8, i8) -> i8) {
    for (x, pixel_out) in output.chunks_exact_mut(p.c_in).enumerate() {
        pixel_out.fill(start);
        for_each_pixel(p, rows, y, x, |pixel| {
            for (out, &value) in pixel_out.iter_mut().zip(pixel) {
                *out = pick(*out, value);
            }
        });
        for out in pixel_out {
            *out = clamp_i8(i32::from(*out), &p.output);
        }
    }
}

/// Computes output row `y`: the mean of each window and channel over the cells inside the image.
///
/// # Shapes
/// `rows`: ring of `[w, c]` rows; `output`: `[out_w, c]`.
///
/// # Arithmetic
/// `out = clamp(round(sum / count))`, ties away from zero, or up when `ties_up`; the zero point cancels out.
///
/// # Panics
/// When `c_in` is zero.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::AveragePool`; TensorFlow Lite, `reference_ops::AveragePool` for uint8.
pub fn average_pool2d_row(p: &WindowParams, ties_up: bool, rows: Rows<'_>, y: u32, output: &mut [i8]) {
    for (x, pixel_out) in output.chunks_exact_mut(p.c_in).enumerate() {
        for (channel, out) in pixel_out.iter_mut().enumerate() {
            let (mut sum, mut count) = (0, 0);
            for_each_pixel(p, rows, y, x, |pixel| {
                sum += pixel.get(channel).map_or(0, |&v| i32::from(v)); // a window has less than 2^24 cells: checked at load
                count += 1;
            });
            *out = clamp_i8(mean(sum, count, ties_up), &p.output);
        }
    }
}

/// `round(sum / count)`, ties away from zero, or up when `ties_up`; 0 for a count of 0.
#[inline]
#[must_use]
pub const fn mean(sum: i32, count: i32, ties_up: bool) -> i32 {
    if count <= 0 {
        return 0;
    }
    if ties_up {
        return (sum + count / 2).div_euclid(count);
    }
    let half = if sum >= 0 { count / 2 } else { -(count / 2) };
    (sum + half) / count
}

/// Calls `visit` with the channels of each cell of a window that lies inside the image.
#[inline]
fn for_each_pixel(p: &WindowParams, rows: Rows<'_>, y: u32, x: usize, mut visit: impl FnMut(&[i8])) {
    for ky in 0..p.kernel[0] {
        for kx in 0..p.kernel[1] {
            p.input_pixel(rows, y, x, ky, kx).into_iter().for_each(&mut visit);
        }
    }
}
