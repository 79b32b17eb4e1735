//! Max and average pooling.

use crate::kernels::{Rows, Run, WindowParams};
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
    for (x, pixel_out) in output.chunks_exact_mut(p.c_in).enumerate() {
        pixel_out.fill(i8::MIN);
        for_each_pixel(p, rows, y, x, |pixel| {
            for (out, &value) in pixel_out.iter_mut().zip(pixel) {
                *out = (*out).max(value);
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
/// `out = clamp(round(sum / count))`, ties away from zero; the zero point cancels out.
///
/// # Panics
/// When `c_in` is zero.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::AveragePool`.
pub fn average_pool2d_row(p: &WindowParams, rows: Rows<'_>, y: u32, output: &mut [i8]) {
    for (x, pixel_out) in output.chunks_exact_mut(p.c_in).enumerate() {
        for (channel, out) in pixel_out.iter_mut().enumerate() {
            let (mut sum, mut count) = (0_i64, 0_i64);
            for_each_pixel(p, rows, y, x, |pixel| {
                sum += pixel.get(channel).map_or(0, |&v| i64::from(v));
                count += 1;
            });
            let half = if sum >= 0 { count / 2 } else { -(count / 2) };
            // padding is smaller than the window, so that every window holds a cell of the image
            let mean = (sum + half) / count.max(1);
            *out = clamp_i8(mean as i32, &p.output); // the mean of int8 values
        }
    }
}

/// Calls `visit` with the channels of each cell of a window that lies inside the image.
fn for_each_pixel(p: &WindowParams, rows: Rows<'_>, y: u32, x: usize, mut visit: impl FnMut(&[i8])) {
    let runs = p.runs(x);
    for ky in 0..p.kernel[0] {
        let Some(row) = rows.get(p.input_row(y, ky)) else { continue };
        for Run { input, len, .. } in runs.clone() {
            row.get(input..input + len).into_iter().flat_map(|run| run.chunks_exact(p.c_in)).for_each(&mut visit);
        }
    }
}
