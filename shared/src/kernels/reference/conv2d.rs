//! 2-D convolution.

use crate::kernels::{Rows, Run, WindowParams};
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
        let runs = p.runs(x);
        let filters = constants.weights.chunks_exact(kh * kw * p.c_in);
        for (o, (out, (filter, &bias))) in pixel_out.iter_mut().zip(filters.zip(constants.bias)).enumerate() {
            let mut acc = bias; // cannot overflow: bounded when the model was loaded
            for (ky, filter_row) in filter.chunks_exact(kw * p.c_in).enumerate() {
                let Some(row) = rows.get(p.input_row(y, ky)) else { continue };
                for Run { input, kernel, len } in runs.clone() {
                    let (Some(values), Some(taps)) =
                        (row.get(input..input + len), filter_row.get(kernel..kernel + len))
                    else {
                        continue; // not for a window inside its image
                    };
                    for (&value, &weight) in values.iter().zip(taps) {
                        acc += (i32::from(value) - input_zero_point) * i32::from(weight);
                    }
                }
            }
            *out = requantize(acc, constants.multiplier(o), &p.output);
        }
    }
}
