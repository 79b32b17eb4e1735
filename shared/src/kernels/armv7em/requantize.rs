//! The loops of [`thumb2::requantize`](crate::kernels::thumb2::requantize).

use crate::kernels::thumb2::requantize::Job;
use core::arch::naked_asm;

/// The output of one pixel for a shift to the right: its accumulator in `$acc`, the sum in `$sum`.
macro_rules! shift_right {
    ($acc:literal, $sum:literal, $sign:expr, $out:literal) => {
        concat! {
            "lsl ", $acc, ", ", $acc, ", #1\n",
            "smmlar ", $sum, ", ", $acc, ", r8, r10\n",
            $sign,
            "asr ", $sum, ", ", $sum, ", r9\n",
            "ssat ", $sum, ", #8, ", $sum, ", asr #1\n",
            "strb ", $sum, ", [", $out, ", r0]\n",
        }
    };
}

/// The output of one pixel for a shift to the left. The doubling saturates: the reference's result is then at least `2^29` away from
/// zero, as is this one, on the same side, and the clamp makes them equal.
macro_rules! shift_left {
    ($acc:literal, $out:literal) => {
        concat! {
            "lsl ", $acc, ", ", $acc, ", r9\n",
            "qadd ", $acc, ", ", $acc, ", ", $acc, "\n",
            "smmlar ", $acc, ", ", $acc, ", r8, r10\n",
            "ssat ", $acc, ", #8, ", $acc, "\n",
            "strb ", $acc, ", [", $out, ", r0]\n",
        }
    };
}

/// The loop over channels, given what it does to four accumulators that are shifted to the right.
macro_rules! run {
    ($($pixel:expr),*) => {
        // r0 index, r1-r3 r12 outputs, r4-r7 accumulators, r8 multiplier, r9 shift, r10 zero point, r11 accumulators, lr free.
        // Stack: shifts, zero point, multipliers.
        naked_asm!(
            dsp!(),
            "push {r4-r11, lr}",
            "ldm r0, {r0-r6, r11, r12}",
            "push {r4-r6}",
            "add r11, r11, r0, lsl #4",
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

/// 34 instructions for four outputs.
///
/// # Safety
/// That of [`Run`](crate::kernels::thumb2::requantize::Run).
#[unsafe(naked)]
pub(super) unsafe extern "C" fn run_any(job: &Job) -> usize {
    run!(
        shift_right!("r7", "lr", "add lr, lr, r7, asr #31\n", "r12"),
        shift_right!("r6", "lr", "add lr, lr, r6, asr #31\n", "r3"),
        shift_right!("r5", "lr", "add lr, lr, r5, asr #31\n", "r2"),
        shift_right!("r4", "lr", "add lr, lr, r4, asr #31\n", "r1")
    )
}

/// The same for a zero point of -128, in 30.
///
/// # Safety
/// That of [`Run`](crate::kernels::thumb2::requantize::Run).
#[unsafe(naked)]
pub(super) unsafe extern "C" fn run_above_zero_point(job: &Job) -> usize {
    run!(
        shift_right!("r7", "r7", "", "r12"),
        shift_right!("r6", "r6", "", "r3"),
        shift_right!("r5", "r5", "", "r2"),
        shift_right!("r4", "r4", "", "r1")
    )
}
