//! Requantization with AVX-512, and how outputs are stored.

use core::arch::x86_64::*;

use super::super::layout::BLOCK;
use super::super::tables::Blocked;
use crate::quant::OutputStage;

/// A block of channels: what its sums start from and how they are requantized.
pub(super) struct Channels {
    /// Bias, and what the unsigned input adds taken off.
    pub start: __m512i,
    /// Multipliers and shifts.
    pub scaling: Scaling,
}

impl Channels {
    /// The tables of a block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn new(constants: &Blocked<'_>, block: usize) -> Self {
        let first = block * BLOCK;
        let factors = &constants.factors;
        let flipped = _mm512_slli_epi32::<7>(load_table(constants.sums, first));
        Self {
            start: _mm512_sub_epi32(load_table(constants.bias, first), flipped),
            scaling: Scaling::new(load_table(factors.multipliers, first), load_shifts(factors.shifts, first)),
        }
    }
}

/// Sixteen entries of a table, zero beyond its end.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_table(table: &[i32], first: usize) -> __m512i {
    let table = table.get(first..).unwrap_or_default();
    let mask = ((1_u32 << table.len().min(BLOCK)) - 1) as __mmask16;
    // SAFETY: the mask has at most as many bits as the table has entries.
    unsafe { _mm512_maskz_loadu_epi32(mask, table.as_ptr()) }
}

/// Sixteen shifts, zero beyond the end of the table.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load_shifts(table: &[i8], first: usize) -> __m512i {
    let table = table.get(first..).unwrap_or_default();
    let mask = ((1_u32 << table.len().min(BLOCK)) - 1) as __mmask16;
    // SAFETY: the mask has at most as many bits as the table has entries.
    _mm512_cvtepi8_epi32(unsafe { _mm_maskz_loadu_epi8(mask, table.as_ptr()) })
}

/// Multiplies by a factor and rounds twice; see [`tables::Scaling`](super::super::tables::Scaling) for the arithmetic.
#[derive(Clone, Copy)]
pub(super) struct Scaling {
    left: __m512i,
    doubled_even: __m512i,
    doubled_odd: __m512i,
    nudge_even: __m512i,
    nudge_odd: __m512i,
    fix: __m512i,
    right: __m512i,
    /// The high halves of eight even and eight odd products, in order.
    merge: __m512i,
    /// Whether [`shift_left`](Self::shift_left) does anything.
    pub shifts_left: bool,
}

impl Scaling {
    /// Multipliers and shifts (positive to the left) of sixteen lanes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn new(multipliers: __m512i, shifts: __m512i) -> Self {
        let (zero, one) = (_mm512_setzero_si512(), _mm512_set1_epi32(1));
        let right = _mm512_max_epi32(_mm512_sub_epi32(zero, shifts), zero);
        let left = _mm512_max_epi32(shifts, zero);
        let doubled = _mm512_add_epi32(multipliers, multipliers);
        let nudge = _mm512_srli_epi32::<1>(_mm512_sllv_epi32(one, right));
        let fix = _mm512_sub_epi32(zero, doubled);
        let half = _mm512_set1_epi64(1 << 31);
        let high = _mm512_set1_epi64(-1 << 32);
        Self {
            left,
            doubled_even: doubled,
            doubled_odd: _mm512_srli_epi64::<32>(doubled),
            nudge_even: _mm512_or_si512(_mm512_slli_epi64::<32>(nudge), half),
            nudge_odd: _mm512_or_si512(_mm512_and_si512(nudge, high), half),
            fix: _mm512_mask_sub_epi32(fix, _mm512_test_epi32_mask(right, right), fix, one),
            right,
            merge: _mm512_setr_epi32(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31),
            shifts_left: _mm512_test_epi32_mask(left, left) != 0,
        }
    }

    /// The factors of one 128-bit lane in all of them; `LANE` is `0x55` times its index.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn spread<const LANE: i32>(&self) -> Self {
        Self {
            left: _mm512_shuffle_i32x4::<LANE>(self.left, self.left),
            doubled_even: _mm512_shuffle_i32x4::<LANE>(self.doubled_even, self.doubled_even),
            doubled_odd: _mm512_shuffle_i32x4::<LANE>(self.doubled_odd, self.doubled_odd),
            nudge_even: _mm512_shuffle_i32x4::<LANE>(self.nudge_even, self.nudge_even),
            nudge_odd: _mm512_shuffle_i32x4::<LANE>(self.nudge_odd, self.nudge_odd),
            fix: _mm512_shuffle_i32x4::<LANE>(self.fix, self.fix),
            right: _mm512_shuffle_i32x4::<LANE>(self.right, self.right),
            ..*self
        }
    }

    /// The shift to the left, before [`apply`](Self::apply).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn shift_left(&self, acc: __m512i) -> __m512i {
        _mm512_sllv_epi32(acc, self.left)
    }

    /// `multiply_by_quantized_multiplier` of each lane that has been shifted to the left.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn apply(&self, acc: __m512i) -> __m512i {
        let even = _mm512_add_epi64(_mm512_mul_epu32(acc, self.doubled_even), self.nudge_even);
        let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(acc), self.doubled_odd);
        let odd = _mm512_add_epi64(odd, self.nudge_odd);
        let high = _mm512_permutex2var_epi32(even, self.merge, odd);
        let high = _mm512_mask_add_epi32(high, _mm512_movepi32_mask(acc), high, self.fix);
        _mm512_srav_epi32(high, self.right)
    }
}

/// Adds the zero point and clamps.
#[derive(Clone, Copy)]
pub(super) struct Clamp {
    zero_point: __m512i,
    min: __m512i,
    max: __m512i,
    order: __m512i,
}

impl Clamp {
    /// A zero point within int8, and the activation's bounds.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn new(stage: &OutputStage) -> Self {
        Self {
            zero_point: _mm512_set1_epi16(stage.zero_point as i16),
            min: _mm512_set1_epi8(stage.act_min),
            max: _mm512_set1_epi8(stage.act_max),
            order: _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
        }
    }

    /// Four vectors of sixteen values to 64 bytes, the first vector's first. Every step saturates.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn apply(&self, values: [__m512i; 4]) -> __m512i {
        _mm512_permutexvar_epi32(self.order, self.apply_in_lanes(values))
    }

    /// As [`apply`](Self::apply), but 128-bit lane `l` of the result holds lane `l` of each vector.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn apply_in_lanes(&self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        let low = _mm512_adds_epi16(_mm512_packs_epi32(a, b), self.zero_point);
        let high = _mm512_adds_epi16(_mm512_packs_epi32(c, d), self.zero_point);
        let bytes = _mm512_packs_epi16(low, high);
        _mm512_min_epi8(_mm512_max_epi8(bytes, self.min), self.max)
    }
}

/// Loads 64 bytes.
///
/// # Safety
/// `from` points to 64 readable bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load(from: *const i8) -> __m512i {
    // SAFETY: as this function's.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// Stores 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store64<T: bytemuck::Pod>(to: &mut [T; 64], bytes: __m512i) {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: the array is 64 writable bytes.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), bytes) }
}

/// The four 128-bit lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn split(bytes: __m512i) -> [__m128i; 4] {
    [
        _mm512_castsi512_si128(bytes),
        _mm512_extracti32x4_epi32::<1>(bytes),
        _mm512_extracti32x4_epi32::<2>(bytes),
        _mm512_extracti32x4_epi32::<3>(bytes),
    ]
}

/// Stores the first `channels` of sixteen bytes, or all.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn store_channels(to: &mut [i8], bytes: __m128i, channels: usize) {
    if let (Some(to), true) = (to.first_chunk_mut::<BLOCK>(), channels >= BLOCK) {
        // SAFETY: the array is sixteen writable bytes.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
    } else {
        let count = channels.min(BLOCK).min(to.len());
        let mask = ((1_u32 << count) - 1) as __mmask16;
        // SAFETY: the mask has `count` bits, at most as many as there are bytes to write.
        unsafe { _mm_mask_storeu_epi8(to.as_mut_ptr(), mask, bytes) }
    }
}
