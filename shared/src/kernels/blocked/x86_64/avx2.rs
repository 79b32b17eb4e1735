//! Convolution with AVX2: `vpmaddwd` multiplies sixteen pairs of 16-bit values and adds neighbours.
//!
//! The input rows are widened to 16 bits when they are prepared, the weights as they are loaded. A vector has four channels by two sums,
//! folded at the end; `vphaddd` leaves eight channels in the order 0, 1, 4, 5, 2, 3, 6, 7, which the tables follow.

use core::arch::x86_64::*;

use super::super::Job;
use super::super::layout::{BLOCK, GROUP, GROUP_BYTES};
use super::super::plan::{Piece, Plan, prepare};
use super::super::tables::{self, Blocked, Lanes};
use crate::quant::OutputStage;

/// Bytes of a prepared value.
const WIDE: usize = 2;

/// Computes rows of a convolution.
pub(in super::super) fn conv2d(job: &Job<'_>, plan: &Plan, scratch: &mut [u8], out: &mut [i8]) {
    assert!(job.constants.weights.len() >= plan.blocks() * plan.groups * GROUP_BYTES);
    assert!(scratch.len() >= WIDE * plan.prepared_len());
    // SAFETY: the level that led here says that the CPU has these instructions; the slices are long enough (above).
    unsafe { row(job, plan, scratch, out) }
}

/// # Safety
/// `scratch` holds `plan.prepared_len()` values of 16 bits, and the constants the weights of every block.
#[target_feature(enable = "avx2")]
unsafe fn row(job: &Job<'_>, plan: &Plan, scratch: &mut [u8], out: &mut [i8]) {
    let (values, _) = scratch.as_chunks_mut::<WIDE>();
    prepare(job.params, plan, job.rows, job.y, |index, piece| match piece {
        Piece::Zero(len) => values[index..index + len].fill(i16::from(job.zero).to_ne_bytes()),
        Piece::Values(from) => widen(&mut values[index..index + from.len()], from),
    });
    let clamp = Clamp::new(&job.constants.factors.stage, &CONV_ORDER);
    for block in 0..plan.blocks() {
        let tile =
            Tile { plan, channels: Channels::new(job.constants, block, &HADD_ORDER), clamp, first: block * BLOCK };
        for (y, out) in out.chunks_exact_mut(plan.out_width * plan.c_out).enumerate().take(plan.out_rows) {
            let mut x = 0;
            while x < plan.out_width {
                // SAFETY: pixels `x..x + P` lie in row `y`, so that their windows lie in the prepared rows; the block exists.
                unsafe {
                    let from = scratch.as_ptr().add(WIDE * (y * plan.row_step + x * plan.pixel_step));
                    let w = job.constants.weights.as_ptr().add(block * plan.groups * GROUP_BYTES);
                    let out = &mut out[x * plan.c_out..];
                    x += match plan.out_width - x {
                        4.. => tile.run::<4>(from, w, out),
                        2.. => tile.run::<2>(from, w, out),
                        _ => tile.run::<1>(from, w, out),
                    };
                }
            }
        }
    }
}

/// Copies bytes as 16-bit values.
#[target_feature(enable = "avx2")]
fn widen(to: &mut [[u8; WIDE]], from: &[i8]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = i16::from(from).to_ne_bytes();
    }
}

/// A block of channels.
struct Tile<'a> {
    plan: &'a Plan,
    channels: Channels,
    clamp: Clamp,
    first: usize,
}

impl Tile<'_> {
    /// Computes `P` pixels; returns `P`.
    ///
    /// # Safety
    /// `x` points to the window of the first of `P` pixels in the prepared rows, `w` to the block's weights.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn run<const P: usize>(&self, x: *const u8, w: *const i8, out: &mut [i8]) -> usize {
        // SAFETY: as this function's; half a group of a block is 32 bytes.
        let halves =
            unsafe { [accumulate::<P>(self.plan, x, w), accumulate::<P>(self.plan, x, w.add(GROUP_BYTES / 2))] };
        let pixel = |p: usize| [halves[0][p], halves[1][p]];
        for p in (0..P).step_by(2) {
            let pixels = [self.channels.scale(pixel(p)), self.channels.scale(pixel((p + 1).min(P - 1)))];
            let bytes = self.clamp.apply(pixels);
            for (i, bytes) in
                [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)].into_iter().enumerate()
            {
                if p + i < P {
                    let start = (p + i) * self.plan.c_out + self.first;
                    store_channels(&mut out[start..], bytes, self.plan.c_out - self.first);
                }
            }
        }
        P
    }
}

/// The sums of `P` pixels by eight channels.
///
/// # Safety
/// As [`Tile::run`]; `w` points to the block's first or ninth channel.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn accumulate<const P: usize>(plan: &Plan, x: *const u8, w: *const i8) -> [__m256i; P] {
    let mut acc = [[_mm256_setzero_si256(); 2]; P];
    let (mut w, step) = (w, WIDE * plan.pixel_step);
    for ky in 0..plan.kernel_rows {
        for segment in 0..plan.segments {
            // SAFETY: a window's segment, rounded up to a group, lies in a prepared row with its slack; a block has `groups` groups,
            // as many as this loop has steps.
            unsafe {
                let mut x = x.add(WIDE * (ky * plan.row_len + segment * plan.segment_step));
                for _ in 0..plan.segment_groups {
                    let weights = [load_wide(w), load_wide(w.add(16))];
                    for (p, acc) in acc.iter_mut().enumerate() {
                        let values = _mm256_set1_epi64x(x.add(p * step).cast::<i64>().read_unaligned());
                        for (acc, weights) in acc.iter_mut().zip(weights) {
                            *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(values, weights));
                        }
                    }
                    x = x.add(WIDE * GROUP);
                    w = w.add(GROUP_BYTES);
                }
            }
        }
    }
    acc.map(|[low, high]| _mm256_hadd_epi32(low, high))
}

/// Loads sixteen bytes as 16-bit values.
///
/// # Safety
/// `from` points to sixteen readable bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_wide(from: *const i8) -> __m256i {
    // SAFETY: as this function's.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(from.cast()) })
}

/// Which channel each lane of a half block holds after `vphaddd`.
const HADD_ORDER: [usize; 8] = [0, 1, 4, 5, 2, 3, 6, 7];
/// The lanes of a half block as they come.
pub(super) const PLAIN_ORDER: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
/// Where each of a pixel's bytes lies when two halves in [`HADD_ORDER`] have been packed.
const CONV_ORDER: [i8; 16] = [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15];
/// Where each of a pixel's bytes lies when two halves in [`PLAIN_ORDER`] have been packed.
pub(super) const PLAIN_BYTES: [i8; 16] = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15];

/// A block of channels in two halves: what is added to its sums and how they are requantized.
pub(super) struct Channels {
    start: [__m256i; 2],
    scaling: [Scaling; 2],
}

impl Channels {
    /// The tables of a block, lane `i` of a half being its channel `order[i]`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn new(constants: &Blocked<'_>, block: usize, order: &[usize; 8]) -> Self {
        let table = constants.block(block);
        let tables = tables::Scaling::new(&table.multipliers, &table.shifts);
        Self {
            start: [half(&table.bias, 0, order), half(&table.bias, 1, order)],
            scaling: [Scaling::new(&tables, 0, order), Scaling::new(&tables, 1, order)],
        }
    }

    /// Adds the bias and multiplies by the factors.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn scale(&self, mut acc: [__m256i; 2]) -> [__m256i; 2] {
        for ((acc, &start), scaling) in acc.iter_mut().zip(&self.start).zip(&self.scaling) {
            *acc = scaling.apply(_mm256_add_epi32(*acc, start));
        }
        acc
    }
}

/// Eight lanes of a table.
#[inline]
#[target_feature(enable = "avx2")]
fn half(lanes: &Lanes<i32>, half: usize, order: &[usize; 8]) -> __m256i {
    let lanes: [i32; 8] = core::array::from_fn(|i| lanes[8 * half + order[i]]);
    // SAFETY: eight values are 32 readable bytes.
    unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
}

/// Multiplies by a factor and rounds twice; see [`tables::Scaling`] for the arithmetic.
#[derive(Clone, Copy)]
pub(super) struct Scaling {
    left: __m256i,
    doubled_even: __m256i,
    doubled_odd: __m256i,
    nudge_even: __m256i,
    nudge_odd: __m256i,
    fix: __m256i,
    right: __m256i,
    shifts_left: bool,
}

impl Scaling {
    /// Prepares the factors of eight lanes.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn new(tables: &tables::Scaling, part: usize, order: &[usize; 8]) -> Self {
        let rounding = _mm256_set1_epi64x(1 << 31);
        let high = _mm256_set1_epi64x(-1 << 32);
        let table = |lanes| half(lanes, part, order);
        let (left, doubled, nudge) = (table(&tables.left), table(&tables.doubled), table(&tables.nudge));
        Self {
            left,
            doubled_even: doubled,
            doubled_odd: _mm256_srli_epi64::<32>(doubled),
            nudge_even: _mm256_or_si256(_mm256_slli_epi64::<32>(nudge), rounding),
            nudge_odd: _mm256_or_si256(_mm256_and_si256(nudge, high), rounding),
            fix: table(&tables.fix),
            right: table(&tables.right),
            shifts_left: _mm256_testz_si256(left, left) == 0,
        }
    }

    /// `multiply_by_quantized_multiplier` of each lane.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn apply(&self, acc: __m256i) -> __m256i {
        let acc = if self.shifts_left { _mm256_sllv_epi32(acc, self.left) } else { acc };
        let even = _mm256_add_epi64(_mm256_mul_epu32(acc, self.doubled_even), self.nudge_even);
        let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(acc), self.doubled_odd);
        let odd = _mm256_add_epi64(odd, self.nudge_odd);
        let high = _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd);
        let high = _mm256_add_epi32(high, _mm256_and_si256(self.fix, _mm256_srai_epi32::<31>(acc)));
        _mm256_srav_epi32(high, self.right)
    }
}

/// Adds the zero point and clamps.
#[derive(Clone, Copy)]
pub(super) struct Clamp {
    zero_point: __m256i,
    min: __m256i,
    max: __m256i,
    order: __m256i,
}

impl Clamp {
    /// A zero point within int8, the activation's bounds, and where each byte of a pixel lies after packing.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn new(stage: &OutputStage, order: &[i8; 16]) -> Self {
        // SAFETY: the array is sixteen readable bytes.
        let order = unsafe { _mm_loadu_si128(order.as_ptr().cast()) };
        Self {
            zero_point: _mm256_set1_epi16(stage.zero_point as i16),
            min: _mm256_set1_epi8(stage.act_min),
            max: _mm256_set1_epi8(stage.act_max),
            order: _mm256_broadcastsi128_si256(order),
        }
    }

    /// Two pixels of two halves each to sixteen bytes a pixel. Every step saturates.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn apply(&self, pixels: [[__m256i; 2]; 2]) -> __m256i {
        let [a, b] = pixels.map(|[low, high]| _mm256_adds_epi16(_mm256_packs_epi32(low, high), self.zero_point));
        let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(a, b));
        let bytes = _mm256_shuffle_epi8(bytes, self.order);
        _mm256_min_epi8(_mm256_max_epi8(bytes, self.min), self.max)
    }
}

/// Stores the first `channels` of sixteen bytes, or all.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_channels(to: &mut [i8], bytes: __m128i, channels: usize) {
    if let (Some(to), true) = (to.first_chunk_mut::<BLOCK>(), channels >= BLOCK) {
        // SAFETY: the array is sixteen writable bytes.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
    } else {
        let mut copy = [0_i8; BLOCK];
        // SAFETY: the array is sixteen writable bytes.
        unsafe { _mm_storeu_si128(copy.as_mut_ptr().cast(), bytes) }
        for (to, &byte) in to.iter_mut().zip(&copy).take(channels) {
            *to = byte;
        }
    }
}
