//! The two small matrix products that all convolutions are made of, one block of the result in registers at a time.
//!
//! Neither wants its input unfolded (im2col): an output pixel's window is a few contiguous runs of an image in `[h, w, c]`, and both
//! products read those runs where they lie.
#![allow(clippy::needless_range_loop, reason = "blocks of registers: the index is a constant after unrolling")]

use super::simd::{load, store};
use ocelli::ir::Activation;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Rows of a block; with two vectors a row they fill half of 32 registers, and hide the latency of a multiply-add.
const ROWS: usize = 8;
/// The same for 16 registers.
const FEW_ROWS: usize = 4;

/// Values that a thread packs at once, at least.
const PACKED: usize = 1 << 12;

/// A matrix `[k, n]` cut into columns as wide as a vector: `[columns][k][lanes]`, filled up with zeros.
pub(super) struct Packed {
    values: Vec<f32>,
    k: usize,
    n: usize,
}

impl Packed {
    /// Packs the matrix with the elements `at(k, n)`.
    pub fn new(k: usize, n: usize, lanes: usize, at: impl Fn(usize, usize) -> f32 + Sync) -> Self {
        let mut values = vec![0.0; n.div_ceil(lanes) * k * lanes];
        values.par_chunks_mut((k * lanes).max(1)).with_min_len(PACKED / (k * lanes).max(1) + 1).enumerate().for_each(
            |(column, panel)| {
                let from = column * lanes;
                for (row, line) in panel.chunks_exact_mut(lanes).enumerate() {
                    for (lane, value) in line.iter_mut().enumerate().take(n - from) {
                        *value = at(row, from + lane);
                    }
                }
            },
        );
        Self { values, k, n }
    }
}

/// Where the rows of a product's left matrix lie: row `r` is the runs `a[pixels[r] + segments[s]..][..len]`, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Windows<'a> {
    pub pixels: &'a [usize],
    pub segments: &'a [usize],
    pub len: usize,
}

/// `out = activation(windows(a) · b + bias)`, row by row.
///
/// # Shapes
/// `out`: `[pixels, n]`, `bias`: `n` values or none.
pub(super) struct Product<'a> {
    pub a: &'a [f32],
    pub windows: Windows<'a>,
    pub b: &'a Packed,
    pub bias: Option<&'a [f32]>,
    pub activation: Activation,
    pub out: &'a mut [f32],
}

impl Product<'_> {
    pub fn run(self) {
        Arch::new().dispatch(self);
    }

    #[inline(always)]
    fn columns<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, column: usize) {
        let (k, n) = (self.b.k, self.b.n);
        let size = k * S::F32_LANES;
        let from = column * S::F32_LANES;
        let panels: [&[S::f32s]; N] =
            std::array::from_fn(|v| S::as_simd_f32s(&self.b.values[(column + v) * size..][..size]).0);
        let bias: [S::f32s; N] = std::array::from_fn(|v| match self.bias {
            None => simd.splat_f32s(0.0),
            Some(bias) => {
                let mut full = [0.0; 64];
                let rest = &bias[from + v * S::F32_LANES..];
                let len = rest.len().min(S::F32_LANES);
                full[..len].copy_from_slice(&rest[..len]);
                load::<S>(&full)
            }
        });
        let (low, high) = bounds(self.activation);
        let (low, high) = (simd.splat_f32s(low), simd.splat_f32s(high));
        let Windows { pixels, segments, len } = self.windows;
        for (block, pixels) in pixels.chunks(M).enumerate() {
            // a short block computes its last row more than once
            let offsets: [usize; M] = std::array::from_fn(|m| pixels[m.min(pixels.len() - 1)]);
            let mut sums = [bias; M];
            for (s, &segment) in segments.iter().enumerate() {
                let rows: [&[f32]; M] = std::array::from_fn(|m| &self.a[offsets[m] + segment..][..len]);
                let columns: [&[S::f32s]; N] = std::array::from_fn(|v| &panels[v][s * len..][..len]);
                for t in 0..len {
                    let b: [S::f32s; N] = std::array::from_fn(|v| columns[v][t]);
                    for m in 0..M {
                        let a = simd.splat_f32s(rows[m][t]);
                        for v in 0..N {
                            sums[m][v] = simd.mul_add_e_f32s(a, b[v], sums[m][v]);
                        }
                    }
                }
            }
            // limits first: the second operand is what a comparison with NaN gives
            let out = &mut self.out[block * M * n..];
            for (m, row) in out.chunks_mut(n).take(pixels.len()).enumerate() {
                for v in 0..N {
                    let start = from + v * S::F32_LANES;
                    let end = (start + S::F32_LANES).min(n);
                    store::<S>(&mut row[start..end], simd.min_f32s(high, simd.max_f32s(low, sums[m][v])));
                }
            }
        }
    }

    #[inline(always)]
    fn all_columns<S: Simd, const M: usize>(&mut self, simd: S) {
        let columns = self.b.n.div_ceil(S::F32_LANES);
        for pair in 0..columns / 2 {
            self.columns::<S, M, 2>(simd, 2 * pair);
        }
        if columns % 2 == 1 {
            self.columns::<S, M, 1>(simd, columns - 1);
        }
    }
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.all_columns::<S, ROWS>(simd);
        } else {
            self.all_columns::<S, FEW_ROWS>(simd);
        }
    }
}

/// `out += windows(a)ᵀ · b`: the gradient of weights.
///
/// # Shapes
/// `b`: `[pixels, stride]` with `stride` a multiple of the lanes; `out`: `[segments * len, stride]`.
pub(super) struct Correlation<'a> {
    pub a: &'a [f32],
    pub windows: Windows<'a>,
    pub b: &'a [f32],
    pub stride: usize,
    pub out: &'a mut [f32],
}

impl Correlation<'_> {
    pub fn run(self) {
        Arch::new().dispatch(self);
    }

    /// Rows `from .. from + M` of one segment; the first `done` of them are left as they are.
    #[inline(always)]
    fn block<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        column: usize,
        segment: usize,
        from: usize,
        done: usize,
    ) {
        let Windows { pixels, segments, len } = self.windows;
        let start = segments[segment] + from;
        let column = column * S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); N]; M];
        for (&pixel, line) in pixels.iter().zip(self.b.chunks_exact(self.stride)) {
            let rows: &[f32] = &self.a[pixel + start..][..M];
            let line = &line[column..][..N * S::F32_LANES];
            let b: [S::f32s; N] = std::array::from_fn(|v| load::<S>(&line[v * S::F32_LANES..]));
            for m in 0..M {
                let a = simd.splat_f32s(rows[m]);
                for v in 0..N {
                    sums[m][v] = simd.mul_add_e_f32s(a, b[v], sums[m][v]);
                }
            }
        }
        for m in done..M {
            let row = &mut self.out[(segment * len + from + m) * self.stride + column..][..N * S::F32_LANES];
            for v in 0..N {
                let part = &mut row[v * S::F32_LANES..][..S::F32_LANES];
                store::<S>(part, simd.add_f32s(load::<S>(part), sums[m][v]));
            }
        }
    }

    #[inline(always)]
    fn columns<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, column: usize) {
        let Windows { segments, len, .. } = self.windows;
        for segment in 0..segments.len() {
            for block in 0..len / M {
                self.block::<S, M, N>(simd, column, segment, block * M, 0);
            }
            let done = len / M * M;
            if done == len {
                continue;
            }
            if len >= M {
                self.block::<S, M, N>(simd, column, segment, len - M, done - (len - M));
            } else {
                for row in 0..len {
                    self.block::<S, 1, N>(simd, column, segment, row, 0);
                }
            }
        }
    }

    #[inline(always)]
    fn all_columns<S: Simd, const M: usize>(&mut self, simd: S) {
        let columns = self.stride / S::F32_LANES;
        for pair in 0..columns / 2 {
            self.columns::<S, M, 2>(simd, 2 * pair);
        }
        if columns % 2 == 1 {
            self.columns::<S, M, 1>(simd, columns - 1);
        }
    }
}

impl WithSimd for Correlation<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.all_columns::<S, ROWS>(simd);
        } else {
            self.all_columns::<S, FEW_ROWS>(simd);
        }
    }
}

/// The values that an activation lets through.
pub(super) const fn bounds(activation: Activation) -> (f32, f32) {
    match activation {
        Activation::None => (f32::NEG_INFINITY, f32::INFINITY),
        Activation::Relu => (0.0, f32::INFINITY),
        Activation::Relu6 => (0.0, 6.0),
        Activation::ReluN1To1 => (-1.0, 1.0),
    }
}
