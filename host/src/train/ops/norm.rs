//! Batch norm over a batch `[n, h, w, c]` with an activation after it: forward and backward, each in two passes over the values.
#![allow(clippy::needless_range_loop, reason = "blocks of registers: the index is a constant after unrolling")]

use super::geometry::images_a_group;
use super::simd::vectorized;
use super::tile::bounds;
use ocelli::ir::Activation;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Values of a line that is worked on at once, at least: channels are repeated up to it.
const LINE: usize = 64;
/// Every vector's length divides this.
const VECTOR: usize = 16;

/// Mean and variance of each channel, over the batch.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    pub mean: Vec<f32>,
    /// Divided by the number of values.
    pub variance: Vec<f32>,
}

impl Statistics {
    /// Of `x`; `image` is the values of an image.
    pub fn of(x: &[f32], image: usize, c: usize) -> Self {
        // sums of differences to the first pixel: squares of large means would take the precision
        let shift = repeated(&x[..c]);
        let sums = by_image(x.len(), image, c, |at, sums, squares| {
            vectorized(
                #[inline(always)]
                || {
                    for line in x[at].chunks(shift.len()) {
                        for (((sum, square), &v), &shift) in
                            sums.iter_mut().zip(squares.iter_mut()).zip(line).zip(&shift)
                        {
                            let v = v - shift;
                            *sum += v;
                            *square += v * v;
                        }
                    }
                },
            );
        });
        let count = (x.len() / c) as f64;
        let mean = sums.iter().map(|&[sum, _]| sum / count);
        let mean = mean.zip(x).map(|(mean, &shift)| (mean + f64::from(shift)) as f32).collect();
        let variance =
            sums.iter().map(|&[sum, square]| ((square - sum * sum / count) / count).max(0.0) as f32).collect();
        Self { mean, variance }
    }

    fn inverse_deviation(&self, epsilon: f64) -> impl Iterator<Item = f32> {
        self.variance.iter().map(move |&variance| (1.0 / (f64::from(variance) + epsilon).sqrt()) as f32)
    }
}

/// `activation(x * scale + offset)`, channel by channel.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    scale: Vec<f32>,
    offset: Vec<f32>,
    activation: Activation,
}

impl Affine {
    /// What a batch norm does with these statistics.
    pub fn new(statistics: &Statistics, gamma: &[f32], beta: &[f32], epsilon: f64, activation: Activation) -> Self {
        let scale: Vec<f32> = gamma.iter().zip(statistics.inverse_deviation(epsilon)).map(|(g, i)| g * i).collect();
        let offset = beta.iter().zip(&statistics.mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        Self { scale, offset, activation }
    }

    pub fn forward(&self, x: &[f32], image: usize) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        let (low, high) = bounds(self.activation);
        let (scale, offset) = (repeated(&self.scale), repeated(&self.offset));
        let group = image * images_a_group(x.len() / image);
        out.par_chunks_mut(group).zip(x.par_chunks(group)).for_each(|(out, x)| {
            vectorized(
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_mut(scale.len()).zip(x.chunks(scale.len())) {
                        for (((out, &x), &scale), &offset) in out.iter_mut().zip(x).zip(&scale).zip(&offset) {
                            *out = limit(x * scale + offset, low, high);
                        }
                    }
                },
            );
        });
        out
    }

    /// The gradients of `x`, gamma and beta.
    pub fn backward(
        &self,
        x: &[f32],
        gradient: &[f32],
        image: usize,
        statistics: &Statistics,
        epsilon: f64,
    ) -> [Vec<f32>; 3] {
        let c = self.scale.len();
        let (low, high) = bounds(self.activation);
        let (scale, offset) = (repeated(&self.scale), repeated(&self.offset));
        let mean = repeated(&statistics.mean);
        let lines = Lines { scale: &scale, offset: &offset, bounds: [low, high] };
        let sums = by_image(x.len(), image, c, |at, sums, products| {
            Arch::new().dispatch(Sums {
                lines,
                x: &x[at.clone()],
                gradient: &gradient[at],
                mean: &mean,
                sums,
                products,
            });
        });
        let count = (x.len() / c) as f64;
        let beta: Vec<f32> = sums.iter().map(|&[sum, _]| sum as f32).collect();
        let inverse: Vec<f32> = statistics.inverse_deviation(epsilon).collect();
        let gamma: Vec<f32> =
            sums.iter().zip(&inverse).map(|(&[_, product], &i)| (product * f64::from(i)) as f32).collect();
        // dx = scale * (g - mean(g) - (x - mean) * inverse^2 * mean(g * (x - mean)))
        let (mut of_x, mut constant) = (Vec::with_capacity(c), Vec::with_capacity(c));
        for (i, &[sum, product]) in sums.iter().enumerate() {
            let factor = f64::from(self.scale[i]) / count;
            let slope = -factor * product * f64::from(inverse[i]) * f64::from(inverse[i]);
            of_x.push(slope as f32);
            constant.push((-factor * sum - slope * f64::from(statistics.mean[i])) as f32);
        }
        let (of_x, constant) = (repeated(&of_x), repeated(&constant));
        let mut dx = vec![0.0; x.len()];
        let group = image * images_a_group(x.len() / image);
        let parts = dx.par_chunks_mut(group).zip(x.par_chunks(group)).zip(gradient.par_chunks(group));
        parts.for_each(|((dx, x), gradient)| {
            Arch::new().dispatch(Slopes { lines, x, gradient, of_x: &of_x, constant: &constant, dx });
        });
        [dx, gamma, beta]
    }
}

/// The affine map of a line of repeated channels, and the limits of the activation after it.
#[derive(Clone, Copy)]
struct Lines<'a> {
    scale: &'a [f32],
    offset: &'a [f32],
    bounds: [f32; 2],
}

impl Lines<'_> {
    /// The gradient where the activation lets it through. The rounding is that of the forward pass.
    #[inline(always)]
    fn through(&self, i: usize, x: f32, gradient: f32) -> f32 {
        let y = x * self.scale[i] + self.offset[i];
        if y > self.bounds[0] && y < self.bounds[1] { gradient } else { 0.0 }
    }

    #[inline(always)]
    fn through_vector<S: Simd>(
        simd: S,
        [x, gradient, scale, offset]: [S::f32s; 4],
        [low, high]: [S::f32s; 2],
    ) -> S::f32s {
        let y = simd.add_f32s(simd.mul_f32s(x, scale), offset);
        let inside = simd.and_m32s(simd.less_than_f32s(low, y), simd.less_than_f32s(y, high));
        simd.select_f32s(inside, gradient, simd.splat_f32s(0.0))
    }
}

/// Adds the gradients of an image, and their products with `x - mean`, to lines of sums.
struct Sums<'a> {
    lines: Lines<'a>,
    x: &'a [f32],
    gradient: &'a [f32],
    mean: &'a [f32],
    sums: &'a mut [f32],
    products: &'a mut [f32],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { lines, x, gradient, mean, sums, products } = self;
        let bounds = lines.bounds.map(|bound| simd.splat_f32s(bound));
        let len = lines.scale.len();
        for (x, gradient) in x.chunks(len).zip(gradient.chunks(len)) {
            if x.len() < len {
                for i in 0..x.len() {
                    let g = lines.through(i, x[i], gradient[i]);
                    sums[i] += g;
                    products[i] += g * (x[i] - mean[i]);
                }
                continue;
            }
            let vectors = len / S::F32_LANES;
            let [x, gradient, scale, offset, mean] =
                [x, gradient, lines.scale, lines.offset, mean].map(|v| &S::as_simd_f32s(v).0[..vectors]);
            let sums = &mut S::as_mut_simd_f32s(sums).0[..vectors];
            let products = &mut S::as_mut_simd_f32s(products).0[..vectors];
            for j in 0..vectors {
                let g = Lines::through_vector(simd, [x[j], gradient[j], scale[j], offset[j]], bounds);
                sums[j] = simd.add_f32s(sums[j], g);
                products[j] = simd.mul_add_e_f32s(g, simd.sub_f32s(x[j], mean[j]), products[j]);
            }
        }
    }
}

/// `dx = scale * gradient + of_x * x + constant`.
struct Slopes<'a> {
    lines: Lines<'a>,
    x: &'a [f32],
    gradient: &'a [f32],
    of_x: &'a [f32],
    constant: &'a [f32],
    dx: &'a mut [f32],
}

impl WithSimd for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { lines, x, gradient, of_x, constant, dx } = self;
        let bounds = lines.bounds.map(|bound| simd.splat_f32s(bound));
        let len = lines.scale.len();
        for ((x, gradient), dx) in x.chunks(len).zip(gradient.chunks(len)).zip(dx.chunks_mut(len)) {
            if x.len() < len {
                for i in 0..x.len() {
                    dx[i] = lines.through(i, x[i], gradient[i]) * lines.scale[i] + (x[i] * of_x[i] + constant[i]);
                }
                continue;
            }
            let vectors = len / S::F32_LANES;
            let [x, gradient, scale, offset, of_x, constant] =
                [x, gradient, lines.scale, lines.offset, of_x, constant].map(|v| &S::as_simd_f32s(v).0[..vectors]);
            let dx = &mut S::as_mut_simd_f32s(dx).0[..vectors];
            for j in 0..vectors {
                let g = Lines::through_vector(simd, [x[j], gradient[j], scale[j], offset[j]], bounds);
                dx[j] = simd.mul_add_e_f32s(g, scale[j], simd.mul_add_e_f32s(x[j], of_x[j], constant[j]));
            }
        }
    }
}

/// Two sums a channel over a batch: `add` adds those of an image to lines of repeated channels. In the order of the images.
fn by_image(
    len: usize,
    image: usize,
    c: usize,
    add: impl Fn(std::ops::Range<usize>, &mut [f32], &mut [f32]) + Sync,
) -> Vec<[f64; 2]> {
    let width = repeated_len(c);
    let images: Vec<Vec<[f32; 2]>> = (0..len / image)
        .into_par_iter()
        .with_min_len(images_a_group(len / image))
        .map(|i| {
            let (mut first, mut second) = (vec![0.0; width], vec![0.0; width]);
            add(i * image..(i + 1) * image, &mut first, &mut second);
            let fold = |values: &[f32], channel: usize| values.iter().skip(channel).step_by(c).sum();
            (0..c).map(|channel| [fold(&first, channel), fold(&second, channel)]).collect()
        })
        .collect();
    let mut total = vec![[0.0; 2]; c];
    for image in images {
        for (total, sums) in total.iter_mut().zip(image) {
            total[0] += f64::from(sums[0]);
            total[1] += f64::from(sums[1]);
        }
    }
    total
}

/// Values of a line: whole vectors of whole pixels.
const fn repeated_len(c: usize) -> usize {
    let mut len = c;
    while !len.is_multiple_of(VECTOR) {
        len += c;
    }
    len * LINE.div_ceil(len)
}

/// The values of channels, repeated to fill a line.
fn repeated(channels: &[f32]) -> Vec<f32> {
    channels.iter().copied().cycle().take(repeated_len(channels.len())).collect()
}

/// Clamps; what is not a number stays that.
#[inline(always)]
pub(super) fn limit(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}
