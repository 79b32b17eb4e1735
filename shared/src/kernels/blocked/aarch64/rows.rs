//! Depthwise convolution and addition with NEON.

use core::arch::aarch64::*;

use super::super::layout::BLOCK;
use super::super::plan::{DepthwisePlan, prepare_depthwise};
use super::super::{Job, portable};
use super::scaling::{Channels, Clamp, Scaling, Sums, store_channels};
use crate::kernels::isa::AddParams;

/// Computes a row of a depthwise convolution.
pub(in super::super) fn depthwise(job: &Job<'_>, plan: &DepthwisePlan, scratch: &mut [u8], out: &mut [i8]) {
    // SAFETY: every CPU of this architecture that the library is built for has NEON, and the level says so.
    unsafe { row(job, plan, scratch, out) }
}

#[target_feature(enable = "neon")]
fn row(job: &Job<'_>, plan: &DepthwisePlan, scratch: &mut [u8], out: &mut [i8]) {
    prepare_depthwise(job.params, plan, job.zero, job.rows, job.y, 0, scratch);
    let [kh, kw] = job.params.kernel;
    let stride = plan.channels.next_multiple_of(BLOCK);
    let prepared: &[i8] = bytemuck::cast_slice(&scratch[..plan.prepared_bytes()]);
    let clamp = Clamp::new(&job.constants.factors.stage);
    for (block, prepared) in prepared.chunks_exact(plan.block_bytes).enumerate() {
        let channels = Channels::new(job.constants, block);
        let first = block * BLOCK;
        for (x, out) in (0..plan.out_width).step_by(PIXELS).zip(out.chunks_mut(PIXELS * plan.channels)) {
            let mut acc = [channels.start; PIXELS];
            for ky in 0..kh {
                for kx in 0..kw {
                    let offset = plan.cell_offset(job.params, ky, kx) + x * BLOCK;
                    let weights = job.constants.weights[(ky * kw + kx) * stride + first..].first_chunk();
                    let (Some(weights), Some(values)) = (weights, prepared.get(offset..)) else { continue };
                    for (acc, values) in acc.iter_mut().zip(values.as_chunks::<BLOCK>().0) {
                        *acc = add_products(*acc, load(values), load(weights));
                    }
                }
            }
            for (acc, out) in acc.into_iter().zip(out.chunks_exact_mut(plan.channels)) {
                store_channels(&mut out[first..], clamp.apply(channels.scale(acc)), plan.channels - first);
            }
        }
    }
}

/// Pixels that are computed together.
const PIXELS: usize = 4;

/// Adds the products of sixteen channels.
#[inline]
#[target_feature(enable = "neon")]
fn add_products([a, b, c, d]: Sums, values: int8x16_t, weights: int8x16_t) -> Sums {
    let low = vmull_s8(vget_low_s8(values), vget_low_s8(weights));
    let high = vmull_high_s8(values, weights);
    [vaddw_s16(a, vget_low_s16(low)), vaddw_high_s16(b, low), vaddw_s16(c, vget_low_s16(high)), vaddw_high_s16(d, high)]
}

/// Loads sixteen bytes.
#[inline]
#[target_feature(enable = "neon")]
fn load(from: &[i8; BLOCK]) -> int8x16_t {
    // SAFETY: the array is sixteen readable bytes.
    unsafe { vld1q_s8(from.as_ptr()) }
}

/// Adds `b` to `a`, in place; both are equally long.
pub(in super::super) fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
    // SAFETY: every CPU of this architecture that the library is built for has NEON, and the level says so.
    unsafe { add_all(params, a, b) }
}

#[target_feature(enable = "neon")]
fn add_all(params: &AddParams, a: &mut [i8], b: &[i8]) {
    let factor = |i: usize| Scaling::new(vdupq_n_s32(params.multipliers[i]), vdupq_n_s32(params.shifts[i]));
    let (factors, sum) = ([factor(0), factor(1)], factor(2));
    let zero_points = params.input_zero_points.map(|zero_point| vdupq_n_s16(zero_point as i16));
    let clamp = Clamp::new(&params.stage);
    let (a, a_tail) = a.as_chunks_mut::<BLOCK>();
    let (b, b_tail) = b.as_chunks::<BLOCK>();
    for (a, b) in a.iter_mut().zip(b) {
        let left = scale(load(a), zero_points[0], &factors[0]);
        let right = scale(load(b), zero_points[1], &factors[1]);
        let sums = core::array::from_fn(|i| sum.apply(vaddq_s32(left[i], right[i])));
        store_channels(a, clamp.apply(sums), BLOCK);
    }
    portable::add(params, a_tail, b_tail);
}

/// The scaled values of sixteen inputs.
#[inline]
#[target_feature(enable = "neon")]
fn scale(input: int8x16_t, zero_point: int16x8_t, factor: &Scaling) -> Sums {
    let low = vsubq_s16(vmovl_s8(vget_low_s8(input)), zero_point);
    let high = vsubq_s16(vmovl_high_s8(input), zero_point);
    let wide = [vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)];
    wide.map(|value| factor.apply(vshlq_n_s32::<20>(value)))
}
