//! Requantization with NEON: `sqrdmulh` is the first rounding, `srshl` the second.

use core::arch::aarch64::*;

use super::super::layout::BLOCK;
use super::super::tables::{Blocked, Lanes};
use crate::quant::OutputStage;

/// Sixteen sums, four a vector.
pub(super) type Sums = [int32x4_t; 4];

/// A block of channels: what its sums start from and how they are requantized.
pub(super) struct Channels {
    pub start: Sums,
    scaling: [Scaling; 4],
}

impl Channels {
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn new(constants: &Blocked<'_>, block: usize) -> Self {
        let table = constants.block(block);
        Self {
            start: core::array::from_fn(|i| quad(&table.bias, i)),
            scaling: core::array::from_fn(|i| Scaling::new(quad(&table.multipliers, i), quad(&table.shifts, i))),
        }
    }

    /// The factors' products.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn scale(&self, mut sums: Sums) -> Sums {
        for (sum, scaling) in sums.iter_mut().zip(&self.scaling) {
            *sum = scaling.apply(*sum);
        }
        sums
    }
}

/// Four lanes of a table.
#[inline]
#[target_feature(enable = "neon")]
fn quad(lanes: &Lanes<i32>, i: usize) -> int32x4_t {
    // SAFETY: the array is four readable values.
    unsafe { vld1q_s32(lanes.as_chunks::<4>().0[i].as_ptr()) }
}

/// Multiplies by a factor and rounds twice.
#[derive(Clone, Copy)]
pub(super) struct Scaling {
    multiplier: int32x4_t,
    left: int32x4_t,
    /// The shift to the right, negative.
    right: int32x4_t,
}

impl Scaling {
    /// Multipliers and shifts, positive to the left.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn new(multiplier: int32x4_t, shift: int32x4_t) -> Self {
        let zero = vdupq_n_s32(0);
        Self { multiplier, left: vmaxq_s32(shift, zero), right: vminq_s32(shift, zero) }
    }

    /// `multiply_by_quantized_multiplier` of each lane.
    ///
    /// `srshl` rounds ties up: one less makes those of negative values go down, where there is a shift.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn apply(&self, sum: int32x4_t) -> int32x4_t {
        let high = vqrdmulhq_s32(vshlq_s32(sum, self.left), self.multiplier);
        let less = vshrq_n_s32::<31>(vandq_s32(high, self.right));
        vrshlq_s32(vaddq_s32(high, less), self.right)
    }
}

/// Adds the zero point and clamps.
#[derive(Clone, Copy)]
pub(super) struct Clamp {
    zero_point: int16x8_t,
    min: int8x16_t,
    max: int8x16_t,
}

impl Clamp {
    /// A zero point within int8, and the activation's bounds.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn new(stage: &OutputStage) -> Self {
        Self {
            zero_point: vdupq_n_s16(stage.zero_point as i16),
            min: vdupq_n_s8(stage.act_min),
            max: vdupq_n_s8(stage.act_max),
        }
    }

    /// Sixteen values to bytes. Every step saturates.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn apply(&self, [a, b, c, d]: Sums) -> int8x16_t {
        let narrow = |a, b| vqaddq_s16(vcombine_s16(vqmovn_s32(a), vqmovn_s32(b)), self.zero_point);
        let bytes = vcombine_s8(vqmovn_s16(narrow(a, b)), vqmovn_s16(narrow(c, d)));
        vminq_s8(vmaxq_s8(bytes, self.min), self.max)
    }
}

/// Stores the first `channels` of sixteen bytes, or all.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_channels(to: &mut [i8], bytes: int8x16_t, channels: usize) {
    if let (Some(to), true) = (to.first_chunk_mut::<BLOCK>(), channels >= BLOCK) {
        // SAFETY: the array is sixteen writable bytes.
        unsafe { vst1q_s8(to.as_mut_ptr(), bytes) }
    } else {
        let mut copy = [0_i8; BLOCK];
        // SAFETY: the array is sixteen writable bytes.
        unsafe { vst1q_s8(copy.as_mut_ptr(), bytes) }
        for (to, &byte) in to.iter_mut().zip(&copy).take(channels) {
            *to = byte;
        }
    }
}
