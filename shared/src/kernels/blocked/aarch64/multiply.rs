//! The sums of products of a tile: `P` pixels by a block of sixteen channels.

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::layout::{GROUP, GROUP_BYTES};
use super::super::plan::Plan;
use super::scaling::Sums;

/// A way to multiply.
pub(super) trait Multiply {
    /// Whether the sums of four pixels fit the registers, or of two only.
    const FOUR: bool;

    /// Adds to `start` the products of `P` windows with a block's weights.
    ///
    /// # Safety
    /// `x` points to the window of the first of `P` pixels in the prepared rows, `w` to the block's weights; the CPU has the instructions.
    unsafe fn sums<const P: usize>(plan: &Plan, x: *const i8, w: *const i8, start: &Sums) -> [Sums; P];
}

/// By `sdot`: four products a lane.
pub(super) struct Dot;

impl Multiply for Dot {
    const FOUR: bool = true;

    #[inline]
    unsafe fn sums<const P: usize>(plan: &Plan, x: *const i8, w: *const i8, start: &Sums) -> [Sums; P] {
        // SAFETY: as this function's.
        unsafe { dot_sums(plan, x, w, start) }
    }
}

/// # Safety
/// As [`Multiply::sums`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot_sums<const P: usize>(plan: &Plan, x: *const i8, w: *const i8, start: &Sums) -> [Sums; P] {
    let mut acc = [*start; P];
    let (mut w, step) = (w, plan.pixel_step);
    for ky in 0..plan.kernel_rows {
        for segment in 0..plan.segments {
            // SAFETY: a window's segment, rounded up to a group, lies in a prepared row with its slack; a block has `groups` groups,
            // as many as this loop has steps.
            unsafe {
                let mut x = x.add(ky * plan.row_len + segment * plan.segment_step);
                for _ in 0..plan.segment_groups {
                    let weights: [int8x16_t; 4] = core::array::from_fn(|i| vld1q_s8(w.add(16 * i)));
                    for (p, acc) in acc.iter_mut().enumerate() {
                        let values = x.add(p * step).cast::<f32>().read_unaligned();
                        for (acc, weights) in acc.iter_mut().zip(weights) {
                            *acc = sdot(*acc, weights, values);
                        }
                    }
                    x = x.add(GROUP);
                    w = w.add(GROUP_BYTES);
                }
            }
        }
    }
    acc
}

/// Adds to each lane the products of its four weights with the four bytes of `values`.
///
/// (`vdotq_lane_s32` is not stable. A float is what Rust keeps in the low quarter of a vector register; its bits are only moved.)
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut acc: int32x4_t, weights: int8x16_t, values: f32) -> int32x4_t {
    // SAFETY: the instruction reads and writes the named registers only, and the caller has the feature.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {weights:v}.16b, {values:v}.4b[0]",
            acc = inout(vreg) acc,
            weights = in(vreg) weights,
            values = in(vreg) values,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// By `smull` and `sadalp`: eight products of 16 bits, neighbours added to 32. With `SYMMETRIC` weights (none is -128) two products fit
/// 16 bits: `2 * 127 * 128 < 2^15`.
pub(super) struct Long<const SYMMETRIC: bool>;

impl<const SYMMETRIC: bool> Multiply for Long<SYMMETRIC> {
    const FOUR: bool = false;

    #[inline]
    unsafe fn sums<const P: usize>(plan: &Plan, x: *const i8, w: *const i8, start: &Sums) -> [Sums; P] {
        // SAFETY: as this function's.
        unsafe { long_sums::<P, SYMMETRIC>(plan, x, w, start) }
    }
}

/// # Safety
/// As [`Multiply::sums`].
#[target_feature(enable = "neon")]
unsafe fn long_sums<const P: usize, const SYMMETRIC: bool>(
    plan: &Plan,
    x: *const i8,
    w: *const i8,
    start: &Sums,
) -> [Sums; P] {
    // two channels a vector, two sums a channel
    let mut acc = [[vdupq_n_s32(0); 8]; P];
    let (mut w, step) = (w, plan.pixel_step);
    for ky in 0..plan.kernel_rows {
        for segment in 0..plan.segments {
            // SAFETY: a window's segment, rounded up to a group, lies in a prepared row with its slack; a block has `groups` groups,
            // as many as this loop takes.
            unsafe {
                let mut x = x.add(ky * plan.row_len + segment * plan.segment_step);
                let mut left = plan.segment_groups;
                while left > 0 {
                    let together = if SYMMETRIC && left >= 2 { 2 } else { 1 };
                    for (p, acc) in acc.iter_mut().enumerate() {
                        let first = four_twice(x.add(p * step));
                        if together == 2 {
                            let second = four_twice(x.add(p * step + GROUP));
                            for (i, acc) in acc.iter_mut().enumerate() {
                                let products = vmull_s8(vld1_s8(w.add(8 * i)), first);
                                let products = vmlal_s8(products, vld1_s8(w.add(GROUP_BYTES + 8 * i)), second);
                                *acc = vpadalq_s16(*acc, products);
                            }
                        } else {
                            for (i, acc) in acc.iter_mut().enumerate() {
                                *acc = vpadalq_s16(*acc, vmull_s8(vld1_s8(w.add(8 * i)), first));
                            }
                        }
                    }
                    x = x.add(together * GROUP);
                    w = w.add(together * GROUP_BYTES);
                    left -= together;
                }
            }
        }
    }
    acc.map(|acc| core::array::from_fn(|i| vaddq_s32(start[i], vpaddq_s32(acc[2 * i], acc[2 * i + 1]))))
}

/// Four bytes, twice.
///
/// # Safety
/// `x` points to four readable bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn four_twice(x: *const i8) -> int8x8_t {
    // SAFETY: as this function's.
    vreinterpret_s8_s32(vdup_n_s32(unsafe { x.cast::<i32>().read_unaligned() }))
}
