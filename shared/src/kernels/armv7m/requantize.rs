//! The loops of [`thumb2::requantize`](crate::kernels::thumb2::requantize).

use crate::kernels::thumb2::requantize::Job;
use core::arch::naked_asm;

/// The output of one pixel for a shift to the right. The carry of the doubled lower half rounds the upper half.
macro_rules! shift_right {
    ($acc:literal, $sign:expr, $out:literal) => {
        concat! {
            "lsl ", $acc, ", ", $acc, ", #1\n",
            "smull r11, lr, ", $acc, ", r8\n",
            "lsls r11, r11, #1\n",
            "adc lr, lr, r10\n",
            $sign,
            "asr lr, lr, r9\n",
            "ssat lr, #8, lr, asr #1\n",
            "strb lr, [", $out, ", r0]\n",
        }
    };
}

/// The output of one pixel for a shift to the left, whose product has all 64 bits.
macro_rules! shift_left {
    ($acc:literal, $out:literal) => {
        concat! {
            "lsl ", $acc, ", ", $acc, ", r9\n",
            "smull r11, lr, ", $acc, ", r8\n",
            "adds r11, r11, #0x40000000\n",
            "adc lr, lr, #0\n",
            "lsl lr, lr, #1\n",
            "orr lr, lr, r11, lsr #31\n",
            "ssat lr, #16, lr\n",
            "add lr, lr, r10\n",
            "ssat lr, #8, lr\n",
            "strb lr, [", $out, ", r0]\n",
        }
    };
}

/// The loop over channels, given what it does to four accumulators that are shifted to the right.
macro_rules! run {
    ($($pixel:expr),*) => {
        // r0 index, r1-r3 r12 outputs, r4-r7 accumulators, r8 multiplier, r9 shift, r10 zero point, r11 lr product.
        // Stack: multipliers, shifts, zero point, accumulators.
        naked_asm!(
            "push {r4-r11, lr}",
            "ldm r0, {r0-r6, r11, r12}",
            "mov r8, r6",
            "mov r9, r4",
            "mov r10, r5",
            "push {r8-r11}",
            ".p2align 2",
            "1:",
            "ldm sp, {r8-r11}",
            "add r11, r11, r0, lsl #4",
            "ldm r11, {r4-r7}",
            "ldr r8, [r8, r0, lsl #2]",
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
            "add sp, sp, #16",
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

/// 43 instructions for four outputs.
///
/// # Safety
/// That of [`Run`](crate::kernels::thumb2::requantize::Run).
#[unsafe(naked)]
pub(super) unsafe extern "C" fn run_any(job: &Job) -> usize {
    run!(
        shift_right!("r7", "add lr, lr, r7, asr #31\n", "r12"),
        shift_right!("r6", "add lr, lr, r6, asr #31\n", "r3"),
        shift_right!("r5", "add lr, lr, r5, asr #31\n", "r2"),
        shift_right!("r4", "add lr, lr, r4, asr #31\n", "r1")
    )
}

/// The same for a zero point of -128, in 39.
///
/// # Safety
/// That of [`Run`](crate::kernels::thumb2::requantize::Run).
#[unsafe(naked)]
pub(super) unsafe extern "C" fn run_above_zero_point(job: &Job) -> usize {
    run!(
        shift_right!("r7", "", "r12"),
        shift_right!("r6", "", "r3"),
        shift_right!("r5", "", "r2"),
        shift_right!("r4", "", "r1")
    )
}
