//! Depthwise convolution and addition with AVX2.

use core::arch::x86_64::*;

use super::super::layout::{BLOCK, GROUP_BYTES};
use super::super::plan::{DepthwisePlan, prepare_depthwise};
use super::super::{Job, portable, tables};
use super::avx2::{Channels, Clamp, PLAIN_BYTES, PLAIN_ORDER, Scaling, store_channels};
use super::{MAX_CELLS, cell_offsets};
use crate::kernels::isa::AddParams;

/// Computes a row of a depthwise convolution.
pub(in super::super) fn depthwise(job: &Job<'_>, plan: &DepthwisePlan, scratch: &mut [u8], out: &mut [i8]) {
    if plan.cells > MAX_CELLS {
        return portable::depthwise(job, plan, scratch, out);
    }
    // SAFETY: the level that led here says that the CPU has these instructions.
    unsafe { row(job, plan, scratch, out) }
}

#[target_feature(enable = "avx2")]
fn row(job: &Job<'_>, plan: &DepthwisePlan, scratch: &mut [u8], out: &mut [i8]) {
    prepare_depthwise(job.params, plan, job.zero, job.rows, job.y, 0, scratch);
    let (prepared, weights) = scratch.split_at_mut(plan.prepared_bytes());
    let weights = &mut weights.as_chunks_mut::<GROUP_BYTES>().0[..plan.cells.div_ceil(2)];
    let (offsets, last) = cell_offsets(job.params, plan);
    let offsets = &offsets.as_chunks::<2>().0[..weights.len()];
    let clamp = Clamp::new(&job.constants.factors.stage, &PLAIN_BYTES);
    for (block, prepared) in prepared.chunks_exact(plan.block_bytes).enumerate() {
        interleave_pairs(job.constants.weights, plan, block, weights);
        let channels = Channels::new(job.constants, block, &PLAIN_ORDER);
        let first = block * BLOCK;
        for x in (0..plan.out_width).step_by(2) {
            // a row is prepared for a multiple of four pixels: the second pixel's cells are there
            let values = &prepared[x * BLOCK..];
            assert!(values.len() >= last + 2 * BLOCK);
            // SAFETY: two pixels are there at the furthest offset (above).
            let pixels = unsafe {
                [
                    channels.scale(accumulate(values.as_ptr(), offsets, weights)),
                    channels.scale(accumulate(values.as_ptr().add(BLOCK), offsets, weights)),
                ]
            };
            let bytes = clamp.apply(pixels);
            let out = out[x * plan.channels..].chunks_exact_mut(plan.channels);
            for (out, bytes) in out.zip([_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)]) {
                store_channels(&mut out[first..], bytes, plan.channels - first);
            }
        }
    }
}

/// The sums of one pixel.
///
/// # Safety
/// Sixteen bytes are readable at each of `offsets` from `values`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn accumulate(values: *const u8, offsets: &[[usize; 2]], weights: &[[u8; GROUP_BYTES]]) -> [__m256i; 2] {
    let mut acc = [_mm256_setzero_si256(); 2];
    for (offsets, weights) in offsets.iter().zip(weights) {
        // SAFETY: as this function's.
        let cells = offsets.map(|offset| unsafe { _mm_loadu_si128(values.add(offset).cast()) });
        for ((acc, values), weights) in acc.iter_mut().zip(widen_pairs(cells)).zip(weights.as_chunks::<32>().0) {
            // SAFETY: the array is 32 readable bytes.
            let weights = unsafe { _mm256_loadu_si256(weights.as_ptr().cast()) };
            *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(values, weights));
        }
    }
    acc
}

/// Two cells of sixteen channels as 16-bit values, the cells of a channel side by side.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_pairs([a, b]: [__m128i; 2]) -> [__m256i; 2] {
    [_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)), _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b))]
}

/// Lays a block's weights as `[pairs of cells][16 channels][2 cells]` of 16 bits, zero for a cell that fills a pair up.
#[target_feature(enable = "avx2")]
fn interleave_pairs(weights: &[i8], plan: &DepthwisePlan, block: usize, to: &mut [[u8; GROUP_BYTES]]) {
    for (pair, to) in to.iter_mut().enumerate() {
        let cells = [2 * pair, 2 * pair + 1].map(|cell| super::load_cell(weights, plan, block, cell));
        for (to, wide) in to.as_chunks_mut::<32>().0.iter_mut().zip(widen_pairs(cells)) {
            // SAFETY: the array is 32 writable bytes.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), wide) }
        }
    }
}

/// Adds `b` to `a`, in place; both are equally long.
pub(in super::super) fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
    // SAFETY: the level that led here says that the CPU has these instructions.
    unsafe { add_all(params, a, b) }
}

#[target_feature(enable = "avx2")]
fn add_all(params: &AddParams, a: &mut [i8], b: &[i8]) {
    let inputs = [Input::new(params, 0), Input::new(params, 1)];
    let sum = uniform(params, 2);
    let clamp = Clamp::new(&params.stage, &PLAIN_BYTES);
    let (a, a_tail) = a.as_chunks_mut::<32>();
    let (b, b_tail) = b.as_chunks::<32>();
    for (a, b) in a.iter_mut().zip(b) {
        let values = [inputs[0].scale(a), inputs[1].scale(b)];
        let sums: [__m256i; 4] = core::array::from_fn(|i| sum.apply(_mm256_add_epi32(values[0][i], values[1][i])));
        let bytes = clamp.apply([[sums[0], sums[1]], [sums[2], sums[3]]]);
        // SAFETY: the array is 32 writable bytes.
        unsafe { _mm256_storeu_si256(a.as_mut_ptr().cast(), bytes) }
    }
    portable::add(params, a_tail, b_tail);
}

/// An input of an addition.
struct Input {
    zero_point: __m256i,
    scaling: Scaling,
    /// The factor is one half: what was shifted up by 20 is exact, shifted up by 19.
    is_half: bool,
}

impl Input {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(params: &AddParams, i: usize) -> Self {
        Self {
            zero_point: _mm256_set1_epi32(params.input_zero_points[i]),
            is_half: tables::is_half(params, i),
            scaling: uniform(params, i),
        }
    }

    /// The scaled values of 32 inputs.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn scale(&self, input: &[i8; 32]) -> [__m256i; 4] {
        let mut values = [_mm256_setzero_si256(); 4];
        for (values, input) in values.iter_mut().zip(input.as_chunks::<8>().0) {
            // SAFETY: the array is eight readable bytes.
            let bytes = unsafe { _mm_loadl_epi64(input.as_ptr().cast()) };
            let value = _mm256_sub_epi32(_mm256_cvtepi8_epi32(bytes), self.zero_point);
            *values = if self.is_half {
                _mm256_slli_epi32::<19>(value)
            } else {
                self.scaling.apply(_mm256_slli_epi32::<20>(value))
            };
        }
        values
    }
}

/// The same factor in every lane.
#[inline]
#[target_feature(enable = "avx2")]
fn uniform(params: &AddParams, i: usize) -> Scaling {
    let tables = tables::Scaling::new(&[params.multipliers[i]; BLOCK], &[params.shifts[i]; BLOCK]);
    Scaling::new(&tables, 0, &PLAIN_ORDER)
}
