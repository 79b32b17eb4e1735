//! Depthwise convolution and addition with AVX-512.

use core::arch::x86_64::*;

use super::super::Job;
use super::super::layout::{BLOCK, GROUP, GROUP_BYTES};
use super::super::plan::{DepthwisePlan, prepare_depthwise};
use super::super::{portable, tables};
use super::avx512::{Channels, Clamp, FLIP, Scaling, split, store_channels, store64};
use super::{MAX_CELLS, cell_offsets, interleave_weights};
use crate::kernels::isa::AddParams;

/// Computes a row of a depthwise convolution.
pub(in super::super) fn depthwise(job: &Job<'_>, plan: &DepthwisePlan, scratch: &mut [u8], out: &mut [i8]) {
    if plan.cells > MAX_CELLS {
        return portable::depthwise(job, plan, scratch, out);
    }
    // SAFETY: the level that led here says that the CPU has these instructions.
    unsafe { row(job, plan, scratch, out) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn row(job: &Job<'_>, plan: &DepthwisePlan, scratch: &mut [u8], out: &mut [i8]) {
    prepare_depthwise(job.params, plan, job.zero, job.rows, job.y, FLIP, scratch);
    let (prepared, weights) = scratch.split_at_mut(plan.prepared_bytes());
    let weights = &mut weights[..plan.cells.div_ceil(GROUP) * GROUP_BYTES];
    let weights = weights.as_chunks_mut::<GROUP_BYTES>().0;
    let (offsets, last) = cell_offsets(job.params, plan);
    let offsets = &offsets.as_chunks::<GROUP>().0[..weights.len()];
    let clamp = Clamp::new(&job.constants.factors.stage);
    for (block, prepared) in prepared.chunks_exact(plan.block_bytes).enumerate() {
        interleave_weights(job.constants.weights, plan, block, weights);
        let channels = Quad::new(&Channels::new(job.constants, block));
        let first = block * BLOCK;
        for x in (0..plan.out_width).step_by(DepthwisePlan::PIXELS) {
            // the last cell's four pixels lie in the block, and with them those of every cell
            let values = &prepared[x * BLOCK..];
            assert!(values.len() >= last + GROUP_BYTES);
            // SAFETY: 64 bytes are there at the furthest offset (above).
            let acc = unsafe { channels.accumulate(values.as_ptr(), offsets, weights) };
            let bytes = clamp.apply_in_lanes(channels.scale(acc));
            let out = &mut out[x * plan.channels..];
            match out.first_chunk_mut() {
                Some(out) if plan.channels == BLOCK => store64(out, bytes),
                _ => {
                    for (out, bytes) in out.chunks_exact_mut(plan.channels).zip(split(bytes)) {
                        store_channels(&mut out[first..], bytes, plan.channels - first);
                    }
                }
            }
        }
    }
}

/// A block of channels for four pixels at a time: vector `i` has channels `4 * i..4 * i + 4` of each pixel, a 128-bit lane a pixel.
struct Quad {
    start: [__m512i; 4],
    scaling: [Scaling; 4],
}

impl Quad {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(channels: &Channels) -> Self {
        let start = channels.start;
        Self {
            start: [
                _mm512_shuffle_i32x4::<0x00>(start, start),
                _mm512_shuffle_i32x4::<0x55>(start, start),
                _mm512_shuffle_i32x4::<0xaa>(start, start),
                _mm512_shuffle_i32x4::<0xff>(start, start),
            ],
            scaling: [
                channels.scaling.spread::<0x00>(),
                channels.scaling.spread::<0x55>(),
                channels.scaling.spread::<0xaa>(),
                channels.scaling.spread::<0xff>(),
            ],
        }
    }

    /// The sums of four pixels.
    ///
    /// # Safety
    /// 64 bytes are readable at each of `offsets` from `values`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn accumulate(
        &self,
        values: *const u8,
        offsets: &[[usize; GROUP]],
        weights: &[[u8; GROUP_BYTES]],
    ) -> [__m512i; 4] {
        let mut acc = self.start;
        for (offsets, weights) in offsets.iter().zip(weights) {
            // SAFETY: as this function's.
            let cells = offsets.map(|offset| unsafe { _mm512_loadu_si512(values.add(offset).cast()) });
            let low = [_mm512_unpacklo_epi8(cells[0], cells[1]), _mm512_unpacklo_epi8(cells[2], cells[3])];
            let high = [_mm512_unpackhi_epi8(cells[0], cells[1]), _mm512_unpackhi_epi8(cells[2], cells[3])];
            let values = [
                _mm512_unpacklo_epi16(low[0], low[1]),
                _mm512_unpackhi_epi16(low[0], low[1]),
                _mm512_unpacklo_epi16(high[0], high[1]),
                _mm512_unpackhi_epi16(high[0], high[1]),
            ];
            for ((acc, values), weights) in acc.iter_mut().zip(values).zip(weights.as_chunks::<16>().0) {
                *acc = _mm512_dpbusd_epi32(*acc, values, broadcast(weights));
            }
        }
        acc
    }

    /// The factors' products.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn scale(&self, mut acc: [__m512i; 4]) -> [__m512i; 4] {
        for (acc, scaling) in acc.iter_mut().zip(&self.scaling) {
            *acc = scaling.apply(*acc);
        }
        acc
    }
}

/// Sixteen bytes in each 128-bit lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast(bytes: &[u8; 16]) -> __m512i {
    // SAFETY: the array is sixteen readable bytes.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

/// Adds `b` to `a`, in place; both are equally long.
pub(in super::super) fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
    // SAFETY: the level that led here says that the CPU has these instructions.
    unsafe { add_all(params, a, b) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn add_all(params: &AddParams, a: &mut [i8], b: &[i8]) {
    let scalings = [Input::new(params, 0), Input::new(params, 1)];
    let sum = uniform(params, 2);
    let clamp = Clamp::new(&params.stage);
    let (a, a_tail) = a.as_chunks_mut::<64>();
    let (b, b_tail) = b.as_chunks::<64>();
    for (a, b) in a.iter_mut().zip(b) {
        let values = [scalings[0].scale(a), scalings[1].scale(b)];
        store64(a, clamp.apply(core::array::from_fn(|i| sum.apply(_mm512_add_epi32(values[0][i], values[1][i])))));
    }
    portable::add(params, a_tail, b_tail);
}

/// An input of an addition.
struct Input {
    zero_point: __m512i,
    scaling: Scaling,
    /// The factor is one half: what was shifted up by 20 is exact, shifted up by 19.
    is_half: bool,
}

impl Input {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(params: &AddParams, i: usize) -> Self {
        Self {
            zero_point: _mm512_set1_epi32(params.input_zero_points[i]),
            is_half: tables::is_half(params, i),
            scaling: uniform(params, i),
        }
    }

    /// The scaled values of 64 inputs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn scale(&self, input: &[i8; 64]) -> [__m512i; 4] {
        let mut values = [_mm512_setzero_si512(); 4];
        for (values, input) in values.iter_mut().zip(input.as_chunks::<16>().0) {
            // SAFETY: the array is sixteen readable bytes.
            let bytes = unsafe { _mm_loadu_si128(input.as_ptr().cast()) };
            let value = _mm512_sub_epi32(_mm512_cvtepi8_epi32(bytes), self.zero_point);
            *values = if self.is_half {
                _mm512_slli_epi32::<19>(value)
            } else {
                self.scaling.apply(_mm512_slli_epi32::<20>(value))
            };
        }
        values
    }
}

/// The same factor in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn uniform(params: &AddParams, i: usize) -> Scaling {
    Scaling::new(&tables::Scaling::new(&[params.multipliers[i]; BLOCK], &[params.shifts[i]; BLOCK]))
}
