//! 2-D convolution.

use crate::kernels::{Rows, WindowParams};
use crate::model::Constants;
use crate::quant::requantize;

/// Computes output row `y`.
///
/// # Shapes
/// `rows`: ring of `[w, c_in]` rows; `weights` OHWI; `bias`, `multipliers`, `shifts`: `[c_out]`; `output`: `[out_w, c_out]`.
///
/// # Arithmetic
/// `out = clamp(requantize(bias[o] + sum((x - input_zero_point) * w[o])))`; cells outside the image contribute nothing.
///
/// # Panics
/// When `c_in` or `c_out` is zero.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::ConvPerChannel`.
pub fn conv2d_row(
    p: &WindowParams,
    input_zero_point: i32,
    rows: Rows<'_>,
    y: u32,
    constants: &Constants<'_>,
    output: &mut [i8],
) {
    let [kh, kw] = p.kernel;
    for (x, pixel_out) in output.chunks_exact_mut(p.c_out).enumerate() {
        let filters = constants.weights.chunks_exact(kh * kw * p.c_in);
        for (o, (out, (filter, &bias))) in pixel_out.iter_mut().zip(filters.zip(constants.bias)).enumerate() {
            let mut acc = bias; // cannot overflow: bounded when the model was loaded
            for (ky, filter_row) in filter.chunks_exact(kw * p.c_in).enumerate() {
                let Some(row) = rows.get(p.input_row(y, ky)) else { continue };
                for (kx, taps) in filter_row.chunks_exact(p.c_in).enumerate() {
                    let Some(pixel) = p.pixel(row, x, kx) else { continue };
                    for (&value, &weight) in pixel.iter().zip(taps) {
                        acc += (i32::from(value) - input_zero_point) * i32::from(weight);
                    }
                }
            }
            *out = requantize(acc, constants.multiplier(o), &p.output);
        }
    }
}
