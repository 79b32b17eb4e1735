//! Convolution with AVX-512 VNNI: `vpdpbusd` multiplies four unsigned bytes with four signed ones in each of sixteen lanes.
//!
//! The input is `x + 128`, unsigned; `128 * sum(w)` is taken off the bias.

use core::arch::x86_64::*;

use super::super::Job;
use super::super::layout::{BLOCK, GROUP, GROUP_BYTES};
use super::super::plan::{Piece, Plan, prepare};
use super::super::tables::{self, Blocked};
use crate::quant::OutputStage;

/// What turns a signed byte into an unsigned one, 128 more.
pub(super) const FLIP: u8 = 0x80;

/// Computes a row of a convolution.
pub(in super::super) fn conv2d(job: &Job<'_>, plan: &Plan, scratch: &mut [u8], out: &mut [i8]) {
    assert!(job.constants.weights.len() >= plan.blocks() * plan.groups * GROUP_BYTES);
    assert!(scratch.len() >= plan.prepared_len());
    // SAFETY: the level that led here says that the CPU has these instructions; the slices are long enough (above).
    unsafe { row(job, plan, scratch, out) }
}

/// # Safety
/// `scratch` holds `plan.prepared_len()` bytes, and the constants the weights of every block.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn row(job: &Job<'_>, plan: &Plan, scratch: &mut [u8], out: &mut [i8]) {
    prepare(job.params, plan, job.rows, job.y, |index, piece| match piece {
        Piece::Zero(len) => scratch[index..index + len].fill(job.zero.cast_unsigned() ^ FLIP),
        Piece::Values(values) => flip(&mut scratch[index..index + values.len()], values),
    });
    let mut block = 0;
    while block < plan.blocks() {
        let left = plan.blocks() - block;
        // SAFETY: as this function's; the strips end within the blocks.
        unsafe {
            if left >= 4 && plan.out_width <= 4 {
                strip::<4>(job.constants, plan, scratch, block, out);
                block += 4;
            } else if left >= 2 {
                strip::<2>(job.constants, plan, scratch, block, out);
                block += 2;
            } else {
                strip::<1>(job.constants, plan, scratch, block, out);
                block += 1;
            }
        }
    }
}

/// Copies signed bytes as unsigned ones, 128 more.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn flip(to: &mut [u8], from: &[i8]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from.cast_unsigned() ^ FLIP;
    }
}

/// Computes `B` blocks of channels of a row.
///
/// # Safety
/// As [`row`]; blocks `block..block + B` exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn strip<const B: usize>(constants: &Blocked<'_>, plan: &Plan, prepared: &[u8], block: usize, out: &mut [i8]) {
    let channels: [Channels; B] = core::array::from_fn(|b| Channels::new(constants, block + b));
    let clamp = Clamp::new(&constants.factors.stage);
    let mut tile = Tile { plan, channels: &channels, clamp, block, x: 0 };
    while tile.x < plan.out_width {
        let left = plan.out_width - tile.x;
        // SAFETY: pixels `x..x + P` lie in the row, so that their windows lie in the prepared rows; the blocks exist.
        unsafe {
            let x = prepared.as_ptr().add(tile.x * plan.pixel_step);
            let w = constants.weights.as_ptr().add(block * plan.groups * GROUP_BYTES);
            tile.x += match left {
                16.. if B == 1 => tile.run::<16>(x, w, out),
                8.. if B <= 2 => tile.run::<8>(x, w, out),
                4.. => tile.run::<4>(x, w, out),
                2.. => tile.run::<2>(x, w, out),
                _ => tile.run::<1>(x, w, out),
            };
        }
    }
}

/// `B` blocks of channels, and the pixels that are computed together.
struct Tile<'a, const B: usize> {
    plan: &'a Plan,
    channels: &'a [Channels; B],
    clamp: Clamp,
    block: usize,
    x: usize,
}

impl<const B: usize> Tile<'_, B> {
    /// Computes `P` pixels; returns `P`.
    ///
    /// # Safety
    /// `x` points to the window of the first of `P` pixels in the prepared rows, `w` to the weights of the first of `B` blocks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn run<const P: usize>(&self, x: *const u8, w: *const i8, out: &mut [i8]) -> usize {
        // SAFETY: as this function's.
        let acc = unsafe { accumulate::<B, P>(self.plan, x, w, self.channels) };
        let mut units = [[_mm512_setzero_si512(); B]; P];
        for (units, acc) in units.iter_mut().zip(&acc) {
            for ((unit, &acc), channels) in units.iter_mut().zip(acc).zip(self.channels) {
                *unit = channels.scaling.apply(acc);
            }
        }
        let (first, c_out) = (self.block * BLOCK, self.plan.c_out);
        if c_out == B * BLOCK && (B * P).is_multiple_of(4) {
            // the tile's outputs are neighbours
            let out = out[self.x * c_out..].as_chunks_mut::<64>().0;
            for (units, out) in units.as_flattened().as_chunks::<4>().0.iter().zip(out) {
                store64(out, self.clamp.apply(*units));
            }
            return P;
        }
        for (i, units) in units.as_flattened().chunks(4).enumerate() {
            let quad = core::array::from_fn(|j| units[j.min(units.len() - 1)]);
            let bytes = split(self.clamp.apply(quad));
            for (j, &bytes) in bytes.iter().enumerate().take(units.len()) {
                let (p, b) = ((4 * i + j) / B, (4 * i + j) % B);
                let channel = first + b * BLOCK;
                let start = (self.x + p) * c_out + channel;
                store_channels(&mut out[start..], bytes, c_out - channel);
            }
        }
        P
    }
}

/// The sums of `P` pixels by `B` blocks.
///
/// # Safety
/// As [`Tile::run`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn accumulate<const B: usize, const P: usize>(
    plan: &Plan,
    x: *const u8,
    w: *const i8,
    channels: &[Channels; B],
) -> [[__m512i; B]; P] {
    let mut acc = [core::array::from_fn(|b| channels[b].start); P];
    let (mut w, block_bytes, step) = (w, plan.groups * GROUP_BYTES, plan.pixel_step);
    for ky in 0..plan.kernel_rows {
        for segment in 0..plan.segments {
            // SAFETY: a window's segment, rounded up to a group, lies in a prepared row with its slack; a block has `groups` groups,
            // as many as this loop has steps.
            unsafe {
                let mut x = x.add(ky * plan.row_len + segment * plan.segment_step);
                for _ in 0..plan.segment_groups {
                    let weights: [__m512i; B] = core::array::from_fn(|b| load(w.add(b * block_bytes)));
                    for (p, acc) in acc.iter_mut().enumerate() {
                        let values = _mm512_set1_epi32(x.add(p * step).cast::<i32>().read_unaligned());
                        for (acc, weights) in acc.iter_mut().zip(weights) {
                            *acc = _mm512_dpbusd_epi32(*acc, values, weights);
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

/// Loads 64 bytes.
///
/// # Safety
/// `from` points to 64 readable bytes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(from: *const i8) -> __m512i {
    // SAFETY: as this function's.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// A block of channels: what its sums start from and how they are requantized.
pub(super) struct Channels {
    /// Bias, and what the unsigned input adds taken off.
    pub start: __m512i,
    /// Multipliers and shifts.
    pub scaling: Scaling,
}

impl Channels {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn new(constants: &Blocked<'_>, block: usize) -> Self {
        let table = constants.block(block);
        Self {
            start: _mm512_sub_epi32(from_lanes(&table.bias), _mm512_slli_epi32::<7>(from_lanes(&table.sums))),
            scaling: Scaling::new(&tables::Scaling::new(&table.multipliers, &table.shifts)),
        }
    }
}

/// Multiplies by a factor and rounds twice; see [`tables::Scaling`] for the arithmetic.
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
    shifts_left: bool,
}

impl Scaling {
    /// Prepares the factors of sixteen lanes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn new(tables: &tables::Scaling) -> Self {
        let [left, doubled, nudge] = [&tables.left, &tables.doubled, &tables.nudge].map(|lanes| from_lanes(lanes));
        let half = _mm512_set1_epi64(1 << 31);
        let high = _mm512_set1_epi64(-1 << 32);
        Self {
            left,
            doubled_even: doubled,
            doubled_odd: _mm512_srli_epi64::<32>(doubled),
            nudge_even: _mm512_or_si512(_mm512_slli_epi64::<32>(nudge), half),
            nudge_odd: _mm512_or_si512(_mm512_and_si512(nudge, high), half),
            fix: from_lanes(&tables.fix),
            right: from_lanes(&tables.right),
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

    /// `multiply_by_quantized_multiplier` of each lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub fn apply(&self, acc: __m512i) -> __m512i {
        let acc = if self.shifts_left { _mm512_sllv_epi32(acc, self.left) } else { acc };
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

/// Sixteen lanes of a table.
#[inline]
#[target_feature(enable = "avx512f")]
fn from_lanes(lanes: &[i32; 16]) -> __m512i {
    // SAFETY: sixteen values are 64 readable bytes.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

/// Stores 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store64(to: &mut [i8; 64], bytes: __m512i) {
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
