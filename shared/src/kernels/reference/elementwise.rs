//! Operators that look at one pixel at a time.

use crate::quant::{Multiplier, OutputStage, clamp_i8, multiply_by_quantized_multiplier};

/// Multiplies `row` by `factors`, in place; `factors` is a row of the same length, or one value a channel.
///
/// # Shapes
/// `row`: `[w, c]`; `factors`: `[w, c]` or `[c]`.
///
/// # Arithmetic
/// `a = clamp(round((a - za) * (b - zb) * factor) + output zero point)`.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::MulElementwise` (`kernels/internal/reference/integer_ops/mul.h`).
pub fn mul_row(row: &mut [i8], factors: &[i8], [za, zb]: [i32; 2], factor: Multiplier, stage: &OutputStage) {
    for row in row.chunks_exact_mut(factors.len().max(1)) {
        for (a, &b) in row.iter_mut().zip(factors) {
            let product = (i32::from(*a) - za) * (i32::from(b) - zb);
            *a = clamp_i8(multiply_by_quantized_multiplier(product, factor).saturating_add(stage.zero_point), stage);
        }
    }
}

/// Replaces every value by its entry in a table.
///
/// # Shapes
/// `table`: 256 entries, that of -128 first.
pub fn lookup_row(row: &mut [i8], table: &[i8]) {
    for value in row {
        if let Some(&entry) = table.get(usize::from((*value as u8) ^ 0x80)) {
            *value = entry;
        }
    }
}

/// Lays two rows side by side along the channels.
///
/// # Shapes
/// `a`: `[w, ca]`; `b`: `[w, cb]`; `output`: `[w, ca + cb]`.
pub fn concat_row(a: &[i8], b: &[i8], ca: usize, cb: usize, output: &mut [i8]) {
    let pixels = a.chunks_exact(ca.max(1)).zip(b.chunks_exact(cb.max(1)));
    for (out, (a, b)) in output.chunks_exact_mut((ca + cb).max(1)).zip(pixels) {
        let (left, right) = out.split_at_mut(ca);
        left.copy_from_slice(a);
        right.copy_from_slice(b);
    }
}

/// Sets a row between `before` values and the rest, all at the zero point; a row outside the picture is `None`.
///
/// # Shapes
/// `row`: `[w, c]`; `output`: `[out_w, c]`; `before` counts values, not pixels.
pub fn pad_row(row: Option<&[i8]>, before: usize, zero_point: i8, output: &mut [i8]) {
    output.fill(zero_point);
    if let Some((row, place)) = row.and_then(|row| Some((row, output.get_mut(before..before + row.len())?))) {
        place.copy_from_slice(row);
    }
}
