//! The gradient before an activation, and its sum: that of a bias.

use super::tile::bounds;
use ocelli::ir::Activation;
use pulp::{Arch, Simd, WithSimd};

/// Writes the gradient before the activation and adds its sum over the pixels to `sum`.
///
/// # Shapes
/// `gradient` and `y`: `[pixels, c]`, `masked`: `[pixels, stride]`, `sum`: `[c]`.
pub(super) struct Mask<'a> {
    pub gradient: &'a [f32],
    /// The output, where an activation was applied.
    pub y: Option<&'a [f32]>,
    pub activation: Activation,
    pub c: usize,
    pub stride: usize,
    pub masked: &'a mut [f32],
    pub sum: &'a mut [f32],
}

impl Mask<'_> {
    pub fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Mask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { gradient, y, activation, c, stride, masked, sum } = self;
        let (low, high) = bounds(activation);
        let (lowest, highest) = (simd.splat_f32s(low), simd.splat_f32s(high));
        let (sums, last_sums) = S::as_mut_simd_f32s(sum);
        let lines = masked.chunks_exact_mut(stride).zip(gradient.chunks_exact(c));
        let Some(y) = y else {
            for (to, gradient) in lines {
                to[..c].copy_from_slice(gradient);
                let (gradient, last) = S::as_simd_f32s(gradient);
                for (sum, &gradient) in sums.iter_mut().zip(gradient) {
                    *sum = simd.add_f32s(*sum, gradient);
                }
                for (sum, gradient) in last_sums.iter_mut().zip(last) {
                    *sum += gradient;
                }
            }
            return;
        };
        for ((to, gradient), y) in lines.zip(y.chunks_exact(c)) {
            let (to, last) = S::as_mut_simd_f32s(&mut to[..c]);
            let (gradient, last_gradient) = S::as_simd_f32s(gradient);
            let (y, last_y) = S::as_simd_f32s(y);
            for (((to, &gradient), &y), sum) in to.iter_mut().zip(gradient).zip(y).zip(sums.iter_mut()) {
                let inside = simd.and_m32s(simd.less_than_f32s(lowest, y), simd.less_than_f32s(y, highest));
                *to = simd.select_f32s(inside, gradient, simd.splat_f32s(0.0));
                *sum = simd.add_f32s(*sum, *to);
            }
            let last = last.iter_mut().zip(last_gradient).zip(last_y).zip(last_sums.iter_mut());
            for (((to, &gradient), &y), sum) in last {
                *to = if y > low && y < high { gradient } else { 0.0 };
                *sum += *to;
            }
        }
    }
}
