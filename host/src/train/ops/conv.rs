//! Convolution of ungrouped channels: forward and backward.

use super::geometry::{Geometry, images_a_group, images_a_summing_group, total};
use super::mask::Mask;
use super::simd::lanes;
use super::tile::{Correlation, Packed, Product, Windows};
use ocelli::ir::Activation;
use rayon::prelude::*;

/// `activation(x * weight + bias)`.
///
/// # Shapes
/// `x`: `[n, h, w, c_in]`, `weight`: `[c_out, c_in, kh, kw]`, result: `[n, out_h, out_w, c_out]`.
pub(super) fn forward(
    geometry: &Geometry,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    activation: Activation,
) -> Vec<f32> {
    let taps = taps(geometry);
    let window = geometry.window();
    let packed = Packed::new(window, geometry.c_out, lanes(), |k, o| weight[o * window + taps[k]]);
    let (image, per_group) = by_group(geometry, images_a_group(geometry.n));
    let (pixels, (segments, len)) = (image.pixels(), image.segments());
    let out_image = image.out_pixels() * image.c_out;
    let mut out = vec![0.0; geometry.n * geometry.out_pixels() * geometry.c_out];
    out.par_chunks_mut((per_group * out_image).max(1)).zip(x.par_chunks(per_group * image.image())).for_each(
        |(out, x)| {
            let mut buffer = Vec::new();
            for (out, x) in out.chunks_mut(out_image).zip(x.chunks(image.image())) {
                let windows = Windows { pixels: &pixels[..out.len() / image.c_out], segments: &segments, len };
                Product { a: image.pad(x, &mut buffer, 0.0), windows, b: &packed, bias: Some(bias), activation, out }
                    .run();
            }
        },
    );
    out
}

/// The gradients of a convolution.
pub(super) struct Gradients {
    /// As `x`; none when it was not asked for.
    pub x: Option<Vec<f32>>,
    /// `[c_out, c_in, kh, kw]`.
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// What the backward pass of a convolution starts from.
pub(super) struct Backward<'a> {
    pub geometry: Geometry,
    /// The input.
    pub x: &'a [f32],
    /// The output, where an activation was applied.
    pub y: Option<&'a [f32]>,
    pub activation: Activation,
    pub weight: &'a [f32],
    /// The gradient of the output.
    pub gradient: &'a [f32],
    /// Whether the gradient of `x` is wanted.
    pub want_x: bool,
}

impl Backward<'_> {
    pub fn run(&self) -> Gradients {
        let geometry = &self.geometry;
        let (window, c_out) = (geometry.window(), geometry.c_out);
        let stride = c_out.next_multiple_of(lanes());
        let per_group = images_a_summing_group(geometry.n, geometry.out_pixels(), window * stride);
        let (image, per_group) = by_group(geometry, per_group);
        let (pixels, (segments, len)) = (image.pixels(), image.segments());
        let (in_image, out_image) = (image.image(), image.out_pixels() * c_out);
        let towards_x = self.want_x.then(|| TowardsX::new(&image, self.weight, stride));
        let mut x_gradient = vec![0.0; if self.want_x { self.x.len() } else { 0 }];
        let in_group = per_group * in_image;
        let mut x_parts: Vec<&mut [f32]> = x_gradient.chunks_mut(in_group.max(1)).collect();
        x_parts.resize_with(self.x.len().div_ceil(in_group.max(1)), Default::default);
        let groups: Vec<(Vec<f32>, Vec<f32>)> = x_parts
            .into_par_iter()
            .enumerate()
            .map(|(group, dx)| {
                let mut weight = vec![0.0; window * stride];
                let mut bias = vec![0.0; c_out];
                let (mut padded, mut masked) = (Vec::new(), Vec::new());
                let mut scratch = Scratch::default();
                let x = self.x.chunks(in_group).nth(group).unwrap_or_default();
                let from = group * per_group * out_image;
                let mut dx = dx.chunks_mut(in_image);
                for (i, x) in x.chunks(in_image).enumerate() {
                    // the last group of a pointwise convolution may be shorter
                    let count = if x.len() == in_image { image.out_pixels() } else { x.len() / image.c_in };
                    let at = from + i * out_image..from + i * out_image + count * c_out;
                    let gradient = &self.gradient[at.clone()];
                    masked.resize(count * stride, 0.0);
                    Mask {
                        gradient,
                        y: self.y.map(|y| &y[at]),
                        activation: self.activation,
                        c: c_out,
                        stride,
                        masked: &mut masked,
                        sum: &mut bias,
                    }
                    .run();
                    let windows = Windows { pixels: &pixels[..count], segments: &segments, len };
                    let a = image.pad(x, &mut padded, 0.0);
                    Correlation { a, windows, b: &masked, stride, out: &mut weight }.run();
                    if let (Some(towards_x), Some(dx)) = (&towards_x, dx.next()) {
                        towards_x.run(&masked, dx, &mut scratch);
                    }
                }
                (weight, bias)
            })
            .collect();
        let (weights, biases): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
        let sums = total(weights.into_iter());
        let mut weight = vec![0.0; window * c_out];
        for (line, &tap) in sums.chunks_exact(stride).zip(&taps(geometry)) {
            for (o, &value) in line[..c_out].iter().enumerate() {
                weight[o * window + tap] = value;
            }
        }
        Gradients { x: self.want_x.then_some(x_gradient), weight, bias: total(biases.into_iter()) }
    }
}

/// How the gradient of an image comes from that of its output.
enum TowardsX {
    /// A convolution of the padded gradient.
    Direct { geometry: Geometry, weights: Packed, pixels: Vec<usize>, segments: Vec<usize>, len: usize },
    /// The gradient of every window, added up where windows overlap.
    Windows { geometry: Geometry, weights: Packed, gradients: Vec<usize>, pixels: Vec<usize>, segments: Vec<usize> },
}

#[derive(Default)]
struct Scratch {
    padded: Vec<f32>,
    windows: Vec<f32>,
}

impl TowardsX {
    fn new(geometry: &Geometry, weight: &[f32], stride: usize) -> Self {
        let (window, c_in, c_out) = (geometry.window(), geometry.c_in, geometry.c_out);
        let area = geometry.kernel[0] * geometry.kernel[1];
        // where the output is much smaller than the image, the direct way has many more products
        let direct = geometry.transposed(stride).filter(|turned| 2 * turned.out_pixels() <= 3 * geometry.out_pixels());
        if let Some(turned) = direct {
            // rows are [kh, kw, c_out], the kernel turned by half a turn
            let at = |k: usize, i: usize| weight[(k % c_out) * window + i * area + (area - 1 - k / c_out)];
            let weights = Packed::new(area * c_out, c_in, lanes(), at);
            let (segments, len) = turned.segments();
            return Self::Direct { weights, pixels: turned.pixels(), segments, len, geometry: turned };
        }
        let taps = taps(geometry);
        let weights = Packed::new(c_out, window, lanes(), |o, k| weight[o * window + taps[k]]);
        let gradients = (0..geometry.out_pixels()).map(|pixel| pixel * stride).collect();
        Self::Windows {
            weights,
            gradients,
            pixels: geometry.pixels(),
            segments: geometry.segments().0,
            geometry: *geometry,
        }
    }

    fn run(&self, gradient: &[f32], dx: &mut [f32], scratch: &mut Scratch) {
        match self {
            Self::Direct { geometry, weights, pixels, segments, len } => {
                let windows =
                    Windows { pixels: &pixels[..dx.len() / geometry.c_out], segments: &segments[..], len: *len };
                let a = geometry.pad(gradient, &mut scratch.padded, 0.0);
                Product { a, windows, b: weights, bias: None, activation: Activation::None, out: dx }.run();
            }
            Self::Windows { geometry, weights, gradients, pixels, segments } => {
                let window = geometry.window();
                scratch.windows.resize(gradients.len() * window, 0.0);
                let windows = Windows { pixels: gradients, segments: &[0], len: geometry.c_out };
                let out = &mut scratch.windows;
                Product { a: gradient, windows, b: weights, bias: None, activation: Activation::None, out }.run();
                let [height, width] = geometry.padded();
                scratch.padded.clear();
                scratch.padded.resize(height * width * geometry.pitch, 0.0);
                let len = window / segments.len();
                for (&pixel, window) in pixels.iter().zip(scratch.windows.chunks_exact(window)) {
                    for (&segment, run) in segments.iter().zip(window.chunks_exact(len)) {
                        for (to, value) in scratch.padded[pixel + segment..][..len].iter_mut().zip(run) {
                            *to += value;
                        }
                    }
                }
                geometry.crop(&scratch.padded, dx);
            }
        }
    }
}

/// The geometry of what is worked on at once, and how many of it make a group: images, or for a pointwise convolution, which knows
/// no borders, all images of a group as one tall image.
fn by_group(geometry: &Geometry, per_group: usize) -> (Geometry, usize) {
    if geometry.is_pointwise() {
        return (Geometry { h: geometry.h * per_group, n: geometry.n.div_ceil(per_group), ..*geometry }, 1);
    }
    (*geometry, per_group)
}

/// Where the values of a window, `[kh, kw, c_in]`, stand in Burn's `[c_in, kh, kw]`.
fn taps(geometry: &Geometry) -> Vec<usize> {
    let area = geometry.kernel[0] * geometry.kernel[1];
    (0..area).flat_map(|tap| (0..geometry.c_in).map(move |i| i * area + tap)).collect()
}
