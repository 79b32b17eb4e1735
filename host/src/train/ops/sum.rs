//! Sum of two tensors with an activation after it: the end of a residual block.

use super::norm::limit;
use super::simd::vectorized;
use super::tile::bounds;
use ocelli::ir::Activation;
use rayon::prelude::*;

/// Values that a thread takes at once.
const PART: usize = 1 << 15;

/// `activation(a + b)`, value by value.
pub(super) fn forward(a: &[f32], b: &[f32], activation: Activation) -> Vec<f32> {
    let (low, high) = bounds(activation);
    let mut out = vec![0.0; a.len()];
    out.par_chunks_mut(PART).zip(a.par_chunks(PART)).zip(b.par_chunks(PART)).for_each(|((out, a), b)| {
        vectorized(
            #[inline(always)]
            || {
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    *out = limit(a + b, low, high);
                }
            },
        );
    });
    out
}

/// The gradient of either input; `y` is the output.
pub(super) fn backward(y: &[f32], gradient: &[f32], activation: Activation) -> Vec<f32> {
    let (low, high) = bounds(activation);
    let mut out = vec![0.0; y.len()];
    out.par_chunks_mut(PART).zip(y.par_chunks(PART)).zip(gradient.par_chunks(PART)).for_each(|((out, y), gradient)| {
        vectorized(
            #[inline(always)]
            || {
                for ((out, &y), &g) in out.iter_mut().zip(y).zip(gradient) {
                    *out = if y > low && y < high { g } else { 0.0 };
                }
            },
        );
    });
    out
}
