//! Convolution with NEON, with or without the dot product instructions.

use core::arch::aarch64::*;

use super::super::Job;
use super::super::layout::{BLOCK, GROUP_BYTES};
use super::super::plan::{Piece, Plan, prepare};
use super::multiply::{Dot, Long, Multiply};
use super::scaling::{Channels, Clamp, store_channels};

/// Computes rows of a convolution with `sdot`.
pub(in super::super) fn dot(job: &Job<'_>, plan: &Plan, scratch: &mut [u8], out: &mut [i8]) {
    check::<Dot>(job, plan, scratch, out);
}

/// Computes rows of a convolution with `smull`.
pub(in super::super) fn long(job: &Job<'_>, plan: &Plan, scratch: &mut [u8], out: &mut [i8]) {
    if job.constants.is_symmetric {
        check::<Long<true>>(job, plan, scratch, out);
    } else {
        check::<Long<false>>(job, plan, scratch, out);
    }
}

fn check<M: Multiply>(job: &Job<'_>, plan: &Plan, scratch: &mut [u8], out: &mut [i8]) {
    assert!(job.constants.weights.len() >= plan.blocks() * plan.groups * GROUP_BYTES);
    assert!(scratch.len() >= plan.prepared_len());
    // SAFETY: the level that led here says that the CPU has these instructions; the slices are long enough (above).
    unsafe { row::<M>(job, plan, scratch, out) }
}

/// # Safety
/// `scratch` holds `plan.prepared_len()` bytes, and the constants the weights of every block; the CPU has what `M` needs.
#[target_feature(enable = "neon")]
unsafe fn row<M: Multiply>(job: &Job<'_>, plan: &Plan, scratch: &mut [u8], out: &mut [i8]) {
    let values: &mut [i8] = bytemuck::cast_slice_mut(scratch);
    prepare(job.params, plan, job.rows, job.y, |index, piece| match piece {
        Piece::Zero(len) => values[index..index + len].fill(job.zero),
        Piece::Values(from) => values[index..index + from.len()].copy_from_slice(from),
    });
    let clamp = Clamp::new(&job.constants.factors.stage);
    for block in 0..plan.blocks() {
        let tile = Tile { plan, channels: Channels::new(job.constants, block), clamp, first: block * BLOCK };
        for (y, out) in out.chunks_exact_mut(plan.out_width * plan.c_out).enumerate().take(plan.out_rows) {
            let mut x = 0;
            while x < plan.out_width {
                // SAFETY: pixels `x..x + P` lie in row `y`, so that their windows lie in the prepared rows; the block exists.
                unsafe {
                    let from = values.as_ptr().add(y * plan.row_step + x * plan.pixel_step);
                    let w = job.constants.weights.as_ptr().add(block * plan.groups * GROUP_BYTES);
                    let out = &mut out[x * plan.c_out..];
                    x += match plan.out_width - x {
                        4.. if M::FOUR => tile.run::<M, 4>(from, w, out),
                        2.. => tile.run::<M, 2>(from, w, out),
                        _ => tile.run::<M, 1>(from, w, out),
                    };
                }
            }
        }
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
    /// As [`Multiply::sums`].
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn run<M: Multiply, const P: usize>(&self, x: *const i8, w: *const i8, out: &mut [i8]) -> usize {
        // SAFETY: as this function's.
        let sums = unsafe { M::sums::<P>(self.plan, x, w, &self.channels.start) };
        for (sums, out) in sums.into_iter().zip(out.chunks_exact_mut(self.plan.c_out)) {
            let bytes: int8x16_t = self.clamp.apply(self.channels.scale(sums));
            store_channels(&mut out[self.first..], bytes, self.plan.c_out - self.first);
        }
        P
    }
}
