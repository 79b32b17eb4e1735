//! Convolution with AVX-512 VNNI: `vpdpbusd` multiplies four unsigned bytes with four signed ones in each of sixteen lanes.
//!
//! The input is `x + 128`, unsigned; `128 * sum(w)` is taken off the bias.

use core::arch::asm;
use core::arch::x86_64::*;

use super::super::Job;
use super::super::layout::{BLOCK, GROUP, GROUP_BYTES};
use super::super::plan::{Piece, Plan, SLACK, prepare};
use super::super::tables::Blocked;
use super::avx512_scaling::{Channels, Clamp, load, split, store_channels, store64};

/// What turns a signed byte into an unsigned one, 128 more.
pub(super) const FLIP: u8 = 0x80;

/// Computes rows of a convolution.
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
    let zero = _mm512_set1_epi8((job.zero.cast_unsigned() ^ FLIP).cast_signed());
    prepare(job.params, plan, job.rows, job.y, |index, piece| match piece {
        Piece::Zero(len) => fill(&mut scratch[index..index + len + SLACK], zero),
        Piece::Values(values) => flip(&mut scratch[index..index + values.len() + SLACK], values),
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

/// Fills all but up to the last [`SLACK`] bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn fill(to: &mut [u8], bytes: __m512i) {
    for to in to.as_chunks_mut::<SLACK>().0 {
        store64(to, bytes);
    }
}

/// Copies signed bytes as unsigned ones, 128 more; `to` has [`SLACK`] bytes after these, which may be overwritten.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn flip(to: &mut [u8], from: &[i8]) {
    let flip = _mm512_set1_epi8(FLIP.cast_signed());
    let (from, tail) = from.as_chunks::<64>();
    let (to, _) = to.as_chunks_mut::<64>();
    for (to, from) in to.iter_mut().zip(from) {
        // SAFETY: the array is 64 readable bytes.
        let bytes = unsafe { load(from.as_ptr()) };
        store64(to, _mm512_xor_si512(bytes, flip));
    }
    if let Some(to) = to.get_mut(from.len()).filter(|_| !tail.is_empty()) {
        // SAFETY: the mask has as many bits as there are bytes to read, fewer than 64.
        let bytes = unsafe { _mm512_maskz_loadu_epi8((1 << tail.len()) - 1, tail.as_ptr()) };
        store64(to, _mm512_xor_si512(bytes, flip));
    }
}

/// Computes `B` blocks of channels of all rows. (A function of its own: the three, inlined side by side, spill each other's registers.)
///
/// # Safety
/// As [`row`]; blocks `block..block + B` exist.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn strip<const B: usize>(constants: &Blocked<'_>, plan: &Plan, prepared: &[u8], block: usize, out: &mut [i8]) {
    let channels: [Channels; B] = core::array::from_fn(|b| Channels::new(constants, block + b));
    let clamp = Clamp::new(&constants.factors.stage);
    for (y, out) in out.chunks_exact_mut(plan.out_width * plan.c_out).enumerate().take(plan.out_rows) {
        let mut tile = Tile { plan, channels: &channels, clamp, block, x: 0 };
        while tile.x < plan.out_width {
            let left = plan.out_width - tile.x;
            // SAFETY: pixels `x..x + P` lie in row `y`, so that their windows lie in the prepared rows; the blocks exist.
            unsafe {
                let x = prepared.as_ptr().add(y * plan.row_step + tile.x * plan.pixel_step);
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
    #[expect(
        clippy::needless_range_loop,
        reason = "only ranges of a constant length are unrolled, which keeps the sums in registers"
    )]
    unsafe fn run<const P: usize>(&self, x: *const u8, w: *const i8, out: &mut [i8]) -> usize {
        // SAFETY: as this function's.
        let mut acc = unsafe { accumulate::<B, P>(self.plan, x, w, self.channels) };
        for b in 0..B {
            let scaling = self.channels[b].scaling;
            if scaling.shifts_left {
                for p in 0..P {
                    acc[p][b] = scaling.shift_left(acc[p][b]);
                }
            }
            for p in 0..P {
                acc[p][b] = scaling.apply(acc[p][b]);
            }
        }
        self.store::<P>(&acc, out);
        P
    }

    /// Clamps and stores what has been scaled.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn store<const P: usize>(&self, scaled: &[[__m512i; B]; P], out: &mut [i8]) {
        let (first, c_out) = (self.block * BLOCK, self.plan.c_out);
        let out = &mut out[self.x * c_out..];
        let units = scaled.as_flattened();
        if c_out == B * BLOCK && units.len().is_multiple_of(4) {
            // the tile's outputs are neighbours
            for (units, out) in units.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
                store64(out, self.clamp.apply(*units));
            }
            return;
        }
        for (quad, units) in units.chunks(4).enumerate() {
            let bytes = split(self.clamp.apply(core::array::from_fn(|i| units[i.min(units.len() - 1)])));
            for (i, &bytes) in bytes.iter().enumerate().take(units.len()) {
                let (p, b) = ((4 * quad + i) / B, (4 * quad + i) % B);
                let channel = first + b * BLOCK;
                store_channels(&mut out[p * c_out + channel..], bytes, c_out - channel);
            }
        }
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
    let (mut w, block_bytes) = (w, plan.groups * GROUP_BYTES);
    let steps = Steps::new(plan.pixel_step);
    for ky in 0..plan.kernel_rows {
        for segment in 0..plan.segments {
            // SAFETY: a window's segment, rounded up to a group, lies in a prepared row with its slack; a block has `groups` groups,
            // as many as this loop has steps.
            unsafe {
                let mut x = x.add(ky * plan.row_len + segment * plan.segment_step);
                for _ in 0..plan.segment_groups {
                    let weights: [__m512i; B] = core::array::from_fn(|b| load(w.add(b * block_bytes)));
                    let pixels = steps.pixels(x);
                    let (near, far) = acc.split_at_mut(P.min(8));
                    for (acc, pixel) in near.iter_mut().zip(pixels) {
                        multiply(acc, pixel, &weights);
                    }
                    for (acc, pixel) in far.iter_mut().zip(pixels) {
                        multiply(acc, pixel.add(steps.eight), &weights);
                    }
                    x = opaque(x.add(GROUP));
                    w = w.add(GROUP_BYTES);
                }
            }
        }
    }
    acc
}

/// Odd multiples of the distance between two pixels, so that the address of each of sixteen is one addressing mode.
struct Steps {
    odd: [usize; 4],
    eight: usize,
}

impl Steps {
    #[inline]
    fn new(step: usize) -> Self {
        Self {
            odd: [step, opaque_number(3 * step), opaque_number(5 * step), opaque_number(7 * step)],
            eight: opaque_number(8 * step),
        }
    }

    /// Eight pixels.
    #[inline(always)]
    fn pixels(&self, x: *const u8) -> [*const u8; 8] {
        let [one, three, five, seven] = self.odd;
        [0, one, 2 * one, three, 4 * one, five, 2 * three, seven].map(|step| x.wrapping_add(step))
    }
}

/// Adds the products of four values of a pixel with the weights of `B` blocks.
///
/// # Safety
/// `pixel` points to four readable bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn multiply<const B: usize>(acc: &mut [__m512i; B], pixel: *const u8, weights: &[__m512i; B]) {
    // SAFETY: as this function's.
    let values = _mm512_set1_epi32(unsafe { pixel.cast::<i32>().read_unaligned() });
    for (acc, weights) in acc.iter_mut().zip(weights) {
        *acc = _mm512_dpbusd_epi32(*acc, values, *weights);
    }
}

/// The same address, its origin hidden from the compiler: it would keep the addresses of sixteen pixels in memory, or add step after step,
/// where the multiples of the step are part of the addressing mode.
#[inline(always)]
fn opaque(mut address: *const u8) -> *const u8 {
    // SAFETY: no instruction.
    unsafe { asm!("/* {0} */", inout(reg) address, options(pure, readonly, nostack, preserves_flags)) };
    address
}

/// The same number, its origin hidden from the compiler.
#[inline(always)]
fn opaque_number(mut number: usize) -> usize {
    // SAFETY: no instruction.
    unsafe { asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
    number
}
