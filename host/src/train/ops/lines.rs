//! The three loops of depthwise convolution over one padded image, channels in vectors.
#![allow(clippy::needless_range_loop, reason = "blocks of registers: the index is a constant after unrolling")]

use super::geometry::Geometry;
use super::simd::{load, store};
use super::tile::bounds;
use ocelli::ir::Activation;
use pulp::{Arch, Simd, WithSimd};

/// The kernel that keeps its weights in registers has this many taps; others go through memory.
const TAPS: usize = 9;

/// Where output lines, their pixels and the taps of their windows lie.
pub(super) struct Lines {
    c: usize,
    out: [usize; 2],
    stride: usize,
    /// Floats of the padded image from an output line to the next, and from an output pixel to the next.
    down: usize,
    right: usize,
    taps: Vec<usize>,
}

/// A part of all lines that is worked on in vectors: `count` steps a line, at offset `from`.
#[derive(Clone, Copy)]
struct Part {
    from: usize,
    count: usize,
    /// Floats of a step, in the padded image and in the output.
    steps: [usize; 2],
}

impl Lines {
    pub fn new(geometry: &Geometry) -> Self {
        let [kh, kw] = geometry.kernel;
        let row = geometry.padded()[1] * geometry.pitch;
        let (below, beside) = (geometry.dilation[0] * row, geometry.dilation[1] * geometry.pitch);
        Self {
            c: geometry.c_in,
            out: geometry.out(),
            stride: geometry.stride[1],
            down: geometry.stride[0] * row,
            right: geometry.stride[1] * geometry.pitch,
            taps: (0..kh).flat_map(|ky| (0..kw).map(move |kx| ky * below + kx * beside)).collect(),
        }
    }

    /// The parts for vectors of `lanes`; where channels are few, a vector holds several neighbouring pixels.
    fn parts(&self, lanes: usize) -> Vec<Part> {
        let c = self.c;
        if self.taps.len() != TAPS {
            return Vec::new();
        }
        if c < lanes && lanes.is_multiple_of(c) && self.stride == 1 {
            let together = lanes / c;
            return vec![Part { from: 0, count: self.out[1] / together, steps: [together * self.right, lanes] }];
        }
        let part = |block| Part { from: block * lanes, count: self.out[1], steps: [self.right, c] };
        (0..c / lanes).map(part).collect()
    }

    /// The elements of the output that no part covers: channels and pixels of each line.
    fn rest(&self, parts: &[Part], lanes: usize) -> impl Iterator<Item = (usize, usize)> {
        let together = matches!(parts, [part] if part.steps[1] == lanes && self.c < lanes);
        let pixels = if together { parts[0].count * lanes / self.c } else { 0 };
        let channels = if together { 0 } else { parts.len() * lanes };
        let (c, width) = (self.c, self.out[1]);
        (pixels..width).flat_map(move |x| (channels..c).map(move |i| (x, i)))
    }

    fn is_taken_whole(&self, parts: &[Part], lanes: usize) -> bool {
        self.rest(parts, lanes).next().is_none()
    }
}

/// `out = activation(windows(a) · weights + bias)`; `weights` and all below are `[taps, c]`.
pub(super) struct Filter<'a> {
    pub lines: &'a Lines,
    pub a: &'a [f32],
    pub weights: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub activation: Activation,
    pub out: &'a mut [f32],
}

impl Filter<'_> {
    pub fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Filter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { lines, a, weights, bias, activation, out } = self;
        let (low, high) = bounds(activation);
        let (lowest, highest) = (simd.splat_f32s(low), simd.splat_f32s(high));
        let c = lines.c;
        let [height, width] = lines.out;
        let parts = lines.parts(S::F32_LANES);
        for &Part { from, count, steps: [right, out_right] } in &parts {
            let taps: [usize; TAPS] = std::array::from_fn(|k| lines.taps[k]);
            let weights: [S::f32s; TAPS] = std::array::from_fn(|k| repeat::<S>(&weights[k * c..][..c], from));
            let bias = bias.map_or(simd.splat_f32s(0.0), |bias| repeat::<S>(bias, from));
            for y in 0..height {
                let line = &mut out[y * width * c..][..width * c];
                for step in 0..count {
                    let at = y * lines.down + step * right + from;
                    let mut sum = bias;
                    for k in 0..TAPS {
                        sum = simd.mul_add_e_f32s(load::<S>(&a[at + taps[k]..]), weights[k], sum);
                    }
                    let to = &mut line[step * out_right + from..][..S::F32_LANES];
                    store::<S>(to, simd.min_f32s(highest, simd.max_f32s(lowest, sum)));
                }
            }
        }
        if lines.is_taken_whole(&parts, S::F32_LANES) {
            return;
        }
        for y in 0..height {
            for (x, i) in lines.rest(&parts, S::F32_LANES) {
                let mut sum = bias.map_or(0.0, |bias| bias[i]);
                for (k, &tap) in lines.taps.iter().enumerate() {
                    sum += a[y * lines.down + x * lines.right + tap + i] * weights[k * c + i];
                }
                out[(y * width + x) * c + i] = limit(sum, low, high);
            }
        }
    }
}

/// `out += windows(a)ᵀ · b`, channel by channel: the gradient of weights.
pub(super) struct Multiply<'a> {
    pub lines: &'a Lines,
    pub a: &'a [f32],
    pub b: &'a [f32],
    pub out: &'a mut [f32],
}

impl Multiply<'_> {
    pub fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { lines, a, b, out } = self;
        let c = lines.c;
        let [height, width] = lines.out;
        let parts = lines.parts(S::F32_LANES);
        for &Part { from, count, steps: [right, out_right] } in &parts {
            let taps: [usize; TAPS] = std::array::from_fn(|k| lines.taps[k]);
            let mut sums = [simd.splat_f32s(0.0); TAPS];
            for y in 0..height {
                let line = &b[y * width * c..][..width * c];
                for step in 0..count {
                    let at = y * lines.down + step * right + from;
                    let b = load::<S>(&line[step * out_right + from..]);
                    for k in 0..TAPS {
                        sums[k] = simd.mul_add_e_f32s(load::<S>(&a[at + taps[k]..]), b, sums[k]);
                    }
                }
            }
            for (k, &sum) in sums.iter().enumerate() {
                let lanes = [sum];
                let lanes: &[f32] = bytemuck::cast_slice(&lanes);
                for (lane, value) in lanes.iter().enumerate() {
                    out[k * c + (from + lane) % c] += value;
                }
            }
        }
        if lines.is_taken_whole(&parts, S::F32_LANES) {
            return;
        }
        for y in 0..height {
            for (x, i) in lines.rest(&parts, S::F32_LANES) {
                let b = b[(y * width + x) * c + i];
                for (k, &tap) in lines.taps.iter().enumerate() {
                    out[k * c + i] += a[y * lines.down + x * lines.right + tap + i] * b;
                }
            }
        }
    }
}

/// Adds `weights · b` to the windows of `out`: the gradient of a padded image.
pub(super) struct Add<'a> {
    pub lines: &'a Lines,
    pub b: &'a [f32],
    pub weights: &'a [f32],
    pub out: &'a mut [f32],
}

impl Add<'_> {
    pub fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { lines, b, weights, out } = self;
        let c = lines.c;
        let [height, width] = lines.out;
        let mut parts = lines.parts(S::F32_LANES);
        if c < S::F32_LANES {
            parts.clear(); // windows of neighbouring pixels overlap
        }
        for &Part { from, count, steps: [right, out_right] } in &parts {
            let taps: [usize; TAPS] = std::array::from_fn(|k| lines.taps[k]);
            let weights: [S::f32s; TAPS] = std::array::from_fn(|k| repeat::<S>(&weights[k * c..][..c], from));
            for y in 0..height {
                let line = &b[y * width * c..][..width * c];
                for step in 0..count {
                    let at = y * lines.down + step * right + from;
                    let b = load::<S>(&line[step * out_right + from..]);
                    for k in 0..TAPS {
                        let to = &mut out[at + taps[k]..][..S::F32_LANES];
                        store::<S>(to, simd.mul_add_e_f32s(b, weights[k], load::<S>(to)));
                    }
                }
            }
        }
        if lines.is_taken_whole(&parts, S::F32_LANES) {
            return;
        }
        for y in 0..height {
            for (x, i) in lines.rest(&parts, S::F32_LANES) {
                let b = b[(y * width + x) * c + i];
                for (k, &tap) in lines.taps.iter().enumerate() {
                    out[y * lines.down + x * lines.right + tap + i] += weights[k * c + i] * b;
                }
            }
        }
    }
}

/// The vector at `from` of values that repeat.
#[inline(always)]
fn repeat<S: Simd>(values: &[f32], from: usize) -> S::f32s {
    let mut vector = [0.0; 64];
    for (lane, to) in vector.iter_mut().enumerate().take(S::F32_LANES) {
        *to = values[(from + lane) % values.len()];
    }
    load::<S>(&vector)
}

/// As the vectors do it: what is not a number stays that.
fn limit(value: f32, low: f32, high: f32) -> f32 {
    if value < low {
        low
    } else if value > high {
        high
    } else {
        value
    }
}
