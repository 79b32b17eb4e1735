//! The loop of [`thumb2::add`](crate::kernels::thumb2::add).

use crate::kernels::thumb2::add::Job;
use core::arch::naked_asm;

/// 13 instructions an element and 3 for each four.
///
/// # Safety
/// That of [`Run`](crate::kernels::thumb2::add::Run).
#[unsafe(naked)]
pub(super) unsafe extern "C" fn run(job: &Job) {
    // r0-r10 as in the job, r11 halved, r12 scaled, lr sum. Stack: the end.
    naked_asm!(
        dsp!(),
        "push {r4-r11, lr}",
        "ldm r0, {r0-r11}",
        "push {r10, r11}",
        ".p2align 2",
        "1:",
        ".rept 4",
        "ldrsb r12, [r1], #1",
        "ldrsb r11, [r0], #1",
        "rsb r12, r4, r12, lsl #21",
        "smmlar lr, r12, r5, r6",
        "add lr, lr, r12, asr #31",
        "asr lr, lr, r7",
        "rsb r11, r3, r11, lsl #20",
        "add r11, r11, lr, lsl #1",
        "smmlar lr, r11, r8, r9",
        "add lr, lr, r11, asr #31",
        "asr lr, lr, r10",
        "ssat lr, #8, lr, asr #1",
        "strb lr, [r2], #1",
        ".endr",
        "ldr lr, [sp, #4]",
        "cmp r2, lr",
        "bne 1b",
        "add sp, sp, #8",
        "pop {r4-r11, pc}",
        options(raw)
    )
}
