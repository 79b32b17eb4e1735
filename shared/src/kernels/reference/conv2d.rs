//! 2-D convolution, over all channels or one by one.

use crate::kernels::{Rows, WindowParams};
use crate::model::Constants;
use crate::model::records::padded;
use crate::quant::requantize;

/// Computes output row `y`.
///
/// # Shapes
/// `rows`: ring of `[w, c_in]` rows; `weights`: `[c_out, kh, kw * c_in / groups]`, the last axis padded to a multiple of 4; `bias`,
/// `multipliers`, `shifts`: `[c_out]`; `output`: `[out_w, c_out]`.
///
/// # Arithmetic
/// `out = clamp(requantize(bias[o] + sum(x * (w[o] - weight_zero_point))))` where a cell outside the image holds the input's zero
/// point. The bias has the zero point folded in, so that this is `sum((x - zero_point) * w)` over the cells inside.
///
/// # Panics
/// When `c_in` or `c_out` is zero.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::ConvPerChannel`; TensorFlow Lite, `reference_ops::Conv` for uint8.
pub fn conv2d_row(p: &WindowParams, rows: Rows<'_>, y: u32, constants: &Constants<'_>, output: &mut [i8]) {
    let [kh, kw] = p.kernel;
    let depth = p.c_in / p.groups;
    let kernel_row = padded(kw * depth);
    for (x, pixel_out) in output.chunks_exact_mut(p.c_out).enumerate() {
        let filters = constants.weights.chunks_exact(kh * kernel_row);
        for (o, (out, (filter, &bias))) in pixel_out.iter_mut().zip(filters.zip(constants.bias)).enumerate() {
            let first = o / (p.c_out / p.groups) * depth;
            let mut acc = bias; // cannot overflow: bounded when the model was loaded
            for (ky, weights) in filter.chunks_exact(kernel_row).enumerate() {
                for (kx, weights) in weights.chunks_exact(depth).take(kw).enumerate() {
                    let pixel = p.input_pixel(rows, y, x, ky, kx);
                    for (i, &weight) in weights.iter().enumerate() {
                        let value = pixel.map_or(p.input_zero_point, |pixel| i32::from(pixel[first + i]));
                        acc += value * (i32::from(weight) - p.weight_zero_point);
                    }
                }
            }
            *out = requantize(acc, constants.multiplier(o), &p.output);
        }
    }
}

/// Computes output row `y` of a depthwise convolution: output channel `o` sees input channel `o / multiplier` only.
///
/// # Shapes
/// As [`conv2d_row`], but `weights`: `[kh * kw, c_out]`, the last axis padded to a multiple of 4. `p.groups` is the multiplier.
///
/// # Arithmetic
/// As [`conv2d_row`].
///
/// # Panics
/// When `c_in` or `c_out` is zero.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::DepthwiseConvPerChannel`.
pub fn depthwise_conv2d_row(p: &WindowParams, rows: Rows<'_>, y: u32, constants: &Constants<'_>, output: &mut [i8]) {
    let [_, kw] = p.kernel;
    for (x, pixel_out) in output.chunks_exact_mut(p.c_out).enumerate() {
        for (o, (out, &bias)) in pixel_out.iter_mut().zip(constants.bias).enumerate() {
            let mut acc = bias; // cannot overflow: bounded when the model was loaded
            for (cell, weights) in constants.weights.chunks_exact(padded(p.c_out)).enumerate() {
                let pixel = p.input_pixel(rows, y, x, cell / kw, cell % kw);
                let value = pixel.map_or(p.input_zero_point, |pixel| i32::from(pixel[o / p.groups]));
                acc += value * (i32::from(weights[o]) - p.weight_zero_point);
            }
            *out = requantize(acc, constants.multiplier(o), &p.output);
        }
    }
}
