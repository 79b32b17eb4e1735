//! Depthwise convolution, one filter a channel: forward and backward.

use super::conv::{Backward, Gradients};
use super::geometry::{Geometry, images_a_group, images_a_summing_group, total};
use super::lines::{Add, Filter, Lines, Multiply};
use super::mask::Mask;
use ocelli::ir::Activation;
use rayon::prelude::*;

/// `activation(x * weight + bias)`, channel by channel.
///
/// # Shapes
/// `x`: `[n, h, w, c]`, `weight`: `[c, 1, kh, kw]`, result: `[n, out_h, out_w, c]`.
pub(super) fn forward(
    geometry: &Geometry,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    activation: Activation,
) -> Vec<f32> {
    let lines = Lines::new(geometry);
    let weights = turned(geometry, weight, false);
    let out_image = geometry.out_pixels() * geometry.c_in;
    let per_group = images_a_group(geometry.n);
    let mut out = vec![0.0; geometry.n * out_image];
    out.par_chunks_mut((per_group * out_image).max(1)).zip(x.par_chunks(per_group * geometry.image())).for_each(
        |(out, x)| {
            let mut buffer = Vec::new();
            for (out, x) in out.chunks_mut(out_image).zip(x.chunks(geometry.image())) {
                let a = geometry.pad(x, &mut buffer, 0.0);
                Filter { lines: &lines, a, weights: &weights, bias: Some(bias), activation, out }.run();
            }
        },
    );
    out
}

/// The gradients of a depthwise convolution; the weight's is `[c, 1, kh, kw]`.
pub(super) fn backward(from: &Backward<'_>) -> Gradients {
    let geometry = &from.geometry;
    let c = geometry.c_in;
    let area = geometry.kernel[0] * geometry.kernel[1];
    let (in_image, out_image) = (geometry.image(), geometry.out_pixels() * c);
    let per_group = images_a_summing_group(geometry.n, geometry.out_pixels(), area * c);
    let lines = Lines::new(geometry);
    let towards_x = from.want_x.then(|| TowardsX::new(geometry, from.weight));
    let mut x_gradient = vec![0.0; if from.want_x { from.x.len() } else { 0 }];
    let in_group = (per_group * in_image).max(1);
    let mut x_parts: Vec<&mut [f32]> = x_gradient.chunks_mut(in_group).collect();
    x_parts.resize_with(from.x.len().div_ceil(in_group), Default::default);
    let groups: Vec<(Vec<f32>, Vec<f32>)> = x_parts
        .into_par_iter()
        .enumerate()
        .map(|(group, dx)| {
            let mut weight = vec![0.0; area * c];
            let mut bias = vec![0.0; c];
            let (mut padded, mut masked) = (Vec::new(), vec![0.0; out_image]);
            let mut scratch = Vec::new();
            let x = from.x.chunks(in_group).nth(group).unwrap_or_default();
            let first = group * per_group * out_image;
            let mut dx = dx.chunks_mut(in_image);
            for (i, x) in x.chunks(in_image).enumerate() {
                let at = first + i * out_image..first + (i + 1) * out_image;
                let gradient = &from.gradient[at.clone()];
                Mask {
                    gradient,
                    y: from.y.map(|y| &y[at]),
                    activation: from.activation,
                    c,
                    stride: c,
                    masked: &mut masked,
                    sum: &mut bias,
                }
                .run();
                let a = geometry.pad(x, &mut padded, 0.0);
                Multiply { lines: &lines, a, b: &masked, out: &mut weight }.run();
                if let (Some(towards_x), Some(dx)) = (&towards_x, dx.next()) {
                    towards_x.run(&masked, dx, &mut scratch);
                }
            }
            (weight, bias)
        })
        .collect();
    let (weights, biases): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    let sums = total(weights.into_iter());
    let weight = (0..c).flat_map(|i| (0..area).map(move |k| (i, k))).map(|(i, k)| sums[k * c + i]).collect();
    Gradients { x: from.want_x.then_some(x_gradient), weight, bias: total(biases.into_iter()) }
}

/// The weights as `[kh * kw, c]`, by half a turn or as they are.
fn turned(geometry: &Geometry, weight: &[f32], turn: bool) -> Vec<f32> {
    let area = geometry.kernel[0] * geometry.kernel[1];
    let tap = |k: usize| if turn { area - 1 - k } else { k };
    (0..area).flat_map(|k| (0..geometry.c_in).map(move |i| weight[i * area + tap(k)])).collect()
}

/// How the gradient of an image comes from that of its output.
struct TowardsX {
    /// Of the convolution, or where there is one, of that which gives the gradient.
    geometry: Geometry,
    direct: bool,
    lines: Lines,
    weights: Vec<f32>,
}

impl TowardsX {
    fn new(geometry: &Geometry, weight: &[f32]) -> Self {
        let transposed = Geometry { c_out: geometry.c_in, ..*geometry }.transposed(geometry.c_in);
        let direct = transposed.is_some();
        let of = transposed.unwrap_or(*geometry);
        Self { geometry: of, direct, lines: Lines::new(&of), weights: turned(geometry, weight, direct) }
    }

    fn run(&self, gradient: &[f32], dx: &mut [f32], scratch: &mut Vec<f32>) {
        let Self { geometry, lines, weights, .. } = self;
        if self.direct {
            let a = geometry.pad(gradient, scratch, 0.0);
            return Filter { lines, a, weights, bias: None, activation: Activation::None, out: dx }.run();
        }
        let [height, width] = geometry.padded();
        scratch.clear();
        scratch.resize(height * width * geometry.pitch, 0.0);
        Add { lines, b: gradient, weights, out: scratch }.run();
        geometry.crop(scratch, dx);
    }
}
