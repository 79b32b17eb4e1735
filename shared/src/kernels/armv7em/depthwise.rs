//! The loop of [`thumb2::depthwise`](crate::kernels::thumb2::depthwise).

use crate::kernels::thumb2::depthwise::{Job, four_channels};
use core::arch::naked_asm;

/// A cell's four values in `$x`, its weights at `$w`: each is widened by two instructions.
macro_rules! cell {
    ($x:literal, $w:literal) => {
        concat! {
            "ldr ", $x, ", [", $x, ", r3]\n",
            "ldr r12, ", $w, "\n",
            "sxtb16 r11, ", $x, "\n",
            "sxtb16 ", $x, ", ", $x, ", ror #8\n",
            "sxtb16 lr, r12\n",
            "sxtb16 r12, r12, ror #8\n",
            "smlabb r4, r11, lr, r4\n",
            "smlatt r6, r11, lr, r6\n",
            "smlabb r5, ", $x, ", r12, r5\n",
            "smlatt r7, ", $x, ", r12, r7\n",
        }
    };
}

/// Three cells, whose addresses are on the stack.
macro_rules! three_cells {
    () => {
        concat! {
            "ldm r0!, {{r8-r10}}\n",
            cell!("r8", "[r1]"),
            cell!("r9", "[r1, r2]"),
            cell!("r10", "[r1, r2, lsl #1]"),
        }
    };
}

/// What precedes the products of four channels.
macro_rules! begin {
    () => {
        "ldm sp, {{r1-r4}}
        add r1, r1, r3
        add r4, r4, r3, lsl #2
        ldm r4, {{r4-r7}}"
    };
}

/// The output of one channel, as in [`requantize`](super::requantize); its shift is the lowest byte of r12.
macro_rules! output {
    ($acc:literal, $multiplier:literal, $sign:expr) => {
        concat! {
            "lsl lr, r0, r12\n",
            "lsl ", $acc, ", ", $acc, ", #1\n",
            "smmlar lr, ", $acc, ", ", $multiplier, ", lr\n",
            $sign,
            "asr lr, lr, r12\n",
            "ssat lr, #8, lr, asr #1\n",
            "strb lr, [r1], #1\n",
        }
    };
}

/// The outputs of four channels from the accumulators r4-r7; goes on with the next four.
macro_rules! outputs {
    ($($output:expr),*) => {
        concat! {
            "add r12, r12, r3, lsl #2\n",
            "ldm r12, {{r8-r11}}\n",
            "ldr r12, [r2, r3]\n",
            "add r1, r1, r3\n",
            "mvn r12, r12\n", // n - 1 in each byte
            "tst r12, #0xf0f0f0f0\n",
            "bne 50f\n",
            $($output,)*
            "51:\n",
            "add r3, r3, #4\n",
            "ldr r2, [sp, #36]\n",
            "str r3, [sp, #8]\n",
            "cmp r3, r2\n",
            "bhs 90f\n",
            "ldr pc, [sp, #40]\n",
            "50:\n", // a shift that is not 1 to 16 to the right
            "add r2, r2, r3\n",
            "mov r12, r1\n",
            "ldr r1, [sp, #28]\n",
            "add r1, r1, r3, lsl #2\n",
            "mov r3, r12\n",
            "push {{r0, r4-r8}}\n",
            "add r0, sp, #4\n",
            "bl {four_channels}\n",
            "add sp, sp, #24\n",
            "ldr r3, [sp, #8]\n",
            "b 51b\n",
        }
    };
}

/// For nine cells 98 instructions for the products of four channels and 46 to 50 for the rest.
///
/// # Safety
/// That of [`Run`](crate::kernels::thumb2::depthwise::Run).
#[unsafe(naked)]
pub(super) unsafe extern "C" fn run(job: &Job) {
    // r0 cells, r1 weights, r2 stride, r3 channel, r4-r7 accumulators, r8-r12 lr values and weights.
    // Stack: the job, in which the code for the zero point and for the cells replace two fields; nine addresses.
    naked_asm!(
        dsp!(),
        "push {{r4-r11, lr}}",
        "sub sp, sp, #36",
        "ldm r0, {{r1-r12}}",
        "cmp r9, #0",
        "ite ne",
        "adrne r9, 30f",
        "adreq r9, 40f",
        "orr r9, r9, #1",
        "mov lr, r11",
        "cmp r12, #9",
        "ite eq",
        "adreq r11, 10f",
        "adrne r11, 20f",
        "orr r11, r11, #1",
        "push {{r1-r12}}",
        "bne 15f",
        "add r0, sp, #48",
        ".rept 3",
        "ldm lr!, {{r4-r9}}",
        "stm r0!, {{r4, r6, r8}}",
        "cmp r5, r10",
        "it hs",
        "cmphs r7, r10",
        "it hs",
        "cmphs r9, r10",
        "blo 90f",
        ".endr",
        // Nine cells.
        ".p2align 2",
        "10:",
        begin!(),
        "add r0, sp, #48",
        three_cells!(),
        "add r1, r1, r2",
        "add r1, r1, r2, lsl #1",
        three_cells!(),
        "add r1, r1, r2",
        "add r1, r1, r2, lsl #1",
        three_cells!(),
        "add r0, sp, #16",
        "ldm r0, {{r0, r1, r2, r12, pc}}",
        // Any number of cells.
        "15:",
        "str lr, [sp, #48]",
        "add lr, lr, #4",
        "16:",
        "ldr r0, [lr], #8",
        "cmp r0, r10",
        "blo 90f",
        "subs r12, r12, #1",
        "bne 16b",
        ".p2align 2",
        "20:",
        begin!(),
        "ldr r9, [sp, #44]",
        "ldr r0, [sp, #48]",
        "21:",
        "ldr r8, [r0], #8",
        cell!("r8", "[r1]"),
        "add r1, r1, r2",
        "subs r9, r9, #1",
        "bne 21b",
        "add r0, sp, #16",
        "ldm r0, {{r0, r1, r2, r12, pc}}",
        ".p2align 2",
        "30:",
        outputs!(
            output!("r4", "r8", "add lr, lr, r4, asr #31\n"),
            "lsr r12, r12, #8\n",
            output!("r5", "r9", "add lr, lr, r5, asr #31\n"),
            "lsr r12, r12, #8\n",
            output!("r6", "r10", "add lr, lr, r6, asr #31\n"),
            "lsr r12, r12, #8\n",
            output!("r7", "r11", "add lr, lr, r7, asr #31\n")
        ),
        ".p2align 2",
        "40:",
        outputs!(
            output!("r4", "r8", ""),
            "lsr r12, r12, #8\n",
            output!("r5", "r9", ""),
            "lsr r12, r12, #8\n",
            output!("r6", "r10", ""),
            "lsr r12, r12, #8\n",
            output!("r7", "r11", "")
        ),
        "90:",
        "add sp, sp, #84",
        "pop {{r4-r11, pc}}",
        four_channels = sym four_channels,
    )
}
