//! From accumulators to int8, four pixels of a channel at a time.
//!
//! # Arithmetic
//! The reference rounds `x = floor((acc * m + 2^30) / 2^31)`, which is what SMMULR makes of `2 * acc` and `m`, and then, for a shift
//! to the right by `n >= 1`, `floor((x + 2^(n-1) - (x < 0)) / 2^n)`. Adding the zero point is adding `zero_point * 2^n` before the
//! second division; both constants are `(2 * zero_point + 1) * 2^(n-1)`. For `n <= 22` and `|acc| < 2^30` nothing leaves 32 bits.
//! The sign of `acc` does for the sign of `x`: they differ only where `x` is 0, and then the quotient is 0 with either. Where the
//! zero point is -128 a negative `x` gives -128 with or without the correction, so that it is left out.
//!
//! A shift to the left by `n >= 0` may leave 32 bits. It wraps as the reference's does, and the doubling saturates: the
//! reference's result is then at least `2^29` away from zero, as is this one, on the same side, and the clamp makes them equal.

use crate::kernels::isa::{PIXELS, Requantization};
use crate::quant::{OutputStage, requantize as requantize_one};
use core::arch::naked_asm;

/// What the loop reads, in the order of its registers.
#[repr(C)]
struct Job {
    /// Minus the channels that are left.
    index: isize,
    /// The end of each pixel's outputs; the last pixel's stands for those that are missing.
    out_ends: [*mut i8; 3],
    shifts_end: *const i8,
    /// `2 * zero_point + 1`
    doubled_zero_point: i32,
    multipliers_end: *const i32,
    accumulators: *const [i32; PIXELS],
    last_out_end: *mut i8,
}

/// See [`Isa::requantize`](crate::kernels::isa::Isa::requantize).
pub(super) fn requantize(
    accumulators: &[[i32; PIXELS]],
    factors: &Requantization<'_>,
    out: &mut [i8],
    row: usize,
    pixels: usize,
) {
    let n = accumulators.len().min(factors.multipliers.len()).min(factors.shifts.len());
    let Some(last) = pixels.min(PIXELS).checked_sub(1) else { return };
    let end = last.checked_mul(row).and_then(|start| start.checked_add(n));
    if end.is_none_or(|end| end > out.len()) {
        return;
    }
    let start = out.as_mut_ptr();
    let out_end = |pixel: usize| start.wrapping_add(pixel.min(last) * row + n);
    let zero_point = factors.stage.zero_point;
    let run = if zero_point == -128 { run_above_zero_point } else { run_any };
    let mut done = 0;
    while done < n {
        let job = Job {
            index: done.wrapping_sub(n).cast_signed(),
            out_ends: [out_end(0), out_end(1), out_end(2)],
            shifts_end: factors.shifts.as_ptr().wrapping_add(n),
            doubled_zero_point: 2 * zero_point + 1,
            multipliers_end: factors.multipliers.as_ptr().wrapping_add(n),
            accumulators: accumulators.as_ptr().wrapping_add(done),
            last_out_end: out_end(3),
        };
        // SAFETY: every slice has entries for the channels `done..n`, `out` also `last * row` places further on.
        let left = unsafe { run(&job) };
        done = n - left;
        if let Some(acc) = accumulators.get(done).filter(|_| left > 0) {
            far_shift(acc, factors, done, out, row, last);
            done += 1;
        }
    }
    for pixel in 0..=last {
        super::clamp(out.get_mut(pixel * row..pixel * row + n).unwrap_or_default(), &factors.stage);
    }
}

/// A channel whose shift the loop does not know.
#[cold]
fn far_shift(
    acc: &[i32; PIXELS],
    factors: &Requantization<'_>,
    channel: usize,
    out: &mut [i8],
    row: usize,
    last: usize,
) {
    for (pixel, &acc) in acc.iter().enumerate().take(last + 1) {
        if let Some(out) = out.get_mut(pixel * row + channel) {
            *out = requantize_one(acc, factors.multiplier(channel), &factors.stage);
        }
    }
}

/// Four outputs that an activation does not narrow, for the channels that the depthwise loop hands over.
pub(super) unsafe extern "C" fn four_channels(
    accumulators: &[i32; 4],
    multipliers: &[i32; 4],
    shifts: &[i8; 4],
    out: &mut [i8; 4],
    doubled_zero_point: i32,
) {
    let stage = OutputStage { zero_point: doubled_zero_point >> 1, act_min: i8::MIN, act_max: i8::MAX };
    let factors = Requantization { multipliers, shifts, stage };
    for (channel, (out, &acc)) in out.iter_mut().zip(accumulators).enumerate() {
        *out = requantize_one(acc, factors.multiplier(channel), &stage);
    }
}

/// The output of one pixel for a shift to the right: its accumulator in `$acc`, the sum in `$sum`.
macro_rules! shift_right {
    ($acc:literal, $sum:literal, $sign:expr, $out:literal) => {
        concat!(
            "lsl ", $acc, ", ", $acc, ", #1\n",
            "smmlar ", $sum, ", ", $acc, ", r8, r10\n",
            $sign,
            "asr ", $sum, ", ", $sum, ", r9\n",
            "ssat ", $sum, ", #8, ", $sum, ", asr #1\n",
            "strb ", $sum, ", [", $out, ", r0]\n",
        )
    };
}

/// The output of one pixel for a shift to the left.
macro_rules! shift_left {
    ($acc:literal, $out:literal) => {
        concat!(
            "lsl ", $acc, ", ", $acc, ", r9\n",
            "qadd ", $acc, ", ", $acc, ", ", $acc, "\n",
            "smmlar ", $acc, ", ", $acc, ", r8, r10\n",
            "ssat ", $acc, ", #8, ", $acc, "\n",
            "strb ", $acc, ", [", $out, ", r0]\n",
        )
    };
}

/// The loop over channels, given what it does to four accumulators that are shifted to the right.
macro_rules! run {
    ($($pixel:expr),*) => {
        // r0 index, r1-r3 r12 outputs, r4-r7 accumulators, r8 multiplier, r9 shift, r10 zero point, r11 accumulators, lr free.
        // Stack: shifts, zero point, multipliers.
        naked_asm!(
            "push {r4-r11, lr}",
            "ldm r0, {r0-r6, r11, r12}",
            "push {r4-r6}",
            ".p2align 2",
            "1:",
            "ldm sp, {r9, r10, lr}",
            "ldm r11!, {r4-r7}",
            "ldr r8, [lr, r0, lsl #2]",
            "ldrsb r9, [r9, r0]",
            "mvn r9, r9", // n - 1
            "cmp r9, #21",
            "bhi 3f",
            "lsl r10, r10, r9",
            $($pixel,)*
            "2:",
            "adds r0, r0, #1",
            "bne 1b",
            "9:",
            "rsb r0, r0, #0",
            "add sp, sp, #12",
            "pop {r4-r11, pc}",
            "3:",
            "mvns r9, r9",
            "bmi 9b",
            "asr r10, r10, #1",
            shift_left!("r7", "r12"),
            shift_left!("r6", "r3"),
            shift_left!("r5", "r2"),
            shift_left!("r4", "r1"),
            "b 2b",
            options(raw)
        )
    };
}

/// Writes the outputs of channels up to one with a shift of more than 22 to the right; returns how many are left.
///
/// 33 instructions for four outputs, in descending order, so that a pixel overwrites what was written in its place.
///
/// # Safety
/// Every pointer of the job has its entries.
#[unsafe(naked)]
unsafe extern "C" fn run_any(job: &Job) -> usize {
    run!(
        shift_right!("r7", "lr", "add lr, lr, r7, asr #31\n", "r12"),
        shift_right!("r6", "lr", "add lr, lr, r6, asr #31\n", "r3"),
        shift_right!("r5", "lr", "add lr, lr, r5, asr #31\n", "r2"),
        shift_right!("r4", "lr", "add lr, lr, r4, asr #31\n", "r1")
    )
}

/// The same for a zero point of -128, four instructions fewer.
///
/// # Safety
/// As [`run_any`].
#[unsafe(naked)]
unsafe extern "C" fn run_above_zero_point(job: &Job) -> usize {
    run!(
        shift_right!("r7", "r7", "", "r12"),
        shift_right!("r6", "r6", "", "r3"),
        shift_right!("r5", "r5", "", "r2"),
        shift_right!("r4", "r4", "", "r1")
    )
}
