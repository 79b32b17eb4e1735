//! Maximum pooling, and the mean over an image: forward and backward.

use super::geometry::{Geometry, images_a_group};
use super::simd::vectorized;
use rayon::prelude::*;

/// The largest value of each window, and where in the window it first is.
///
/// # Shapes
/// `x`: `[n, h, w, c]`, results: `[n, out_h, out_w, c]`.
pub(super) fn maximum(geometry: &Geometry, x: &[f32]) -> (Vec<f32>, Vec<u8>) {
    let c = geometry.c_in;
    let out_image = geometry.out_pixels() * c;
    let mut out = vec![0.0; geometry.n * out_image];
    let mut taken = vec![0; out.len()];
    let per_group = images_a_group(geometry.n);
    let group = (per_group * out_image).max(1);
    let parts =
        out.par_chunks_mut(group).zip(taken.par_chunks_mut(group)).zip(x.par_chunks(per_group * geometry.image()));
    parts.for_each(|((out, taken), x)| {
        for ((out, taken), x) in
            out.chunks_mut(out_image).zip(taken.chunks_mut(out_image)).zip(x.chunks(geometry.image()))
        {
            vectorized(
                #[inline(always)]
                || {
                    let pixels = out.chunks_exact_mut(c).zip(taken.chunks_exact_mut(c));
                    for ((y, x_out), (out, taken)) in places(geometry).zip(pixels) {
                        out.fill(f32::NEG_INFINITY);
                        for (tap, at) in taps(geometry, y, x_out) {
                            for ((best, taken), &v) in out.iter_mut().zip(taken.iter_mut()).zip(&x[at..at + c]) {
                                let better = v > *best || v.is_nan();
                                *best = if better { v } else { *best };
                                *taken = if better { tap } else { *taken };
                            }
                        }
                    }
                },
            );
        }
    });
    (out, taken)
}

/// The gradient of `x` for [`maximum`].
pub(super) fn maximum_backward(geometry: &Geometry, taken: &[u8], gradient: &[f32]) -> Vec<f32> {
    let c = geometry.c_in;
    let (image, out_image) = (geometry.image(), geometry.out_pixels() * c);
    let mut dx = vec![0.0; geometry.n * image];
    let per_group = images_a_group(geometry.n);
    let group = (per_group * out_image).max(1);
    let parts = dx.par_chunks_mut(per_group * image).zip(taken.par_chunks(group)).zip(gradient.par_chunks(group));
    parts.for_each(|((dx, taken), gradient)| {
        for ((dx, taken), gradient) in dx.chunks_mut(image).zip(taken.chunks(out_image)).zip(gradient.chunks(out_image))
        {
            vectorized(
                #[inline(always)]
                || {
                    let pixels = gradient.chunks_exact(c).zip(taken.chunks_exact(c));
                    for ((y, x), (gradient, taken)) in places(geometry).zip(pixels) {
                        for (tap, at) in taps(geometry, y, x) {
                            for ((dx, &g), &taken) in dx[at..at + c].iter_mut().zip(gradient).zip(taken) {
                                *dx += if taken == tap { g } else { 0.0 };
                            }
                        }
                    }
                },
            );
        }
    });
    dx
}

/// Row and column of the output pixels.
#[inline(always)]
fn places(geometry: &Geometry) -> impl Iterator<Item = (usize, usize)> {
    let [height, width] = geometry.out();
    (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)))
}

/// Number and offset in the image of the window's pixels; those in the padding are left out.
#[inline(always)]
fn taps(geometry: &Geometry, y: usize, x: usize) -> impl Iterator<Item = (u8, usize)> {
    let Geometry { h, w, pitch, kernel: [kh, kw], stride, dilation, pads: [top, left, ..], .. } = *geometry;
    (0..kh).flat_map(move |ky| {
        (0..kw).filter_map(move |kx| {
            let row = (y * stride[0] + ky * dilation[0]).checked_sub(top)?;
            let column = (x * stride[1] + kx * dilation[1]).checked_sub(left)?;
            (row < h && column < w).then(|| ((ky * kw + kx) as u8, (row * w + column) * pitch))
        })
    })
}

/// The mean over the pixels of each image: `[n, c]`.
pub(super) fn mean(x: &[f32], image: usize, c: usize) -> Vec<f32> {
    let factor = c as f32 / image as f32;
    let mut out = vec![0.0; x.len() / image * c];
    out.par_chunks_mut(c).zip(x.par_chunks(image)).with_min_len(images_a_group(x.len() / image)).for_each(
        |(out, x)| {
            vectorized(
                #[inline(always)]
                || {
                    for pixel in x.chunks_exact(c) {
                        for (sum, v) in out.iter_mut().zip(pixel) {
                            *sum += v;
                        }
                    }
                    for sum in out.iter_mut() {
                        *sum *= factor;
                    }
                },
            );
        },
    );
    out
}

/// The gradient of `x` for [`mean`].
pub(super) fn mean_backward(gradient: &[f32], image: usize, c: usize) -> Vec<f32> {
    let factor = c as f32 / image as f32;
    let mut dx = vec![0.0; gradient.len() / c * image];
    for (dx, gradient) in dx.chunks_exact_mut(image).zip(gradient.chunks_exact(c)) {
        for pixel in dx.chunks_exact_mut(c) {
            for (to, g) in pixel.iter_mut().zip(gradient) {
                *to = g * factor;
            }
        }
    }
    dx
}
