//! Products of weights with a column of pixel pairs (see [`pairs`](super::super::pairs)).

use super::reach;
use crate::kernels::isa::PIXELS;
use crate::kernels::pairs::{self, BIAS, Words};
use core::arch::naked_asm;

/// See [`Isa::accumulate`](crate::kernels::isa::Isa::accumulate).
#[inline(never)]
pub fn accumulate(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
    let (k, count) = (pairs::room(column), accumulators.len());
    let aligned = (weights.as_ptr().addr() | stride | k).is_multiple_of(4);
    if k == 0 || count == 0 || !aligned || reach(count, stride, k) > weights.len() {
        return;
    }
    let column = column.as_ptr().cast::<Words>();
    let accumulators = accumulators.as_mut_ptr_range();
    // SAFETY: the column is not empty, has a multiple of 4 values and is aligned as words must be; every channel's `k` weights lie in
    // `weights` and start at a multiple of 4; there is at least one channel. From one channel's last weight to the next one's first it
    // is `stride - k` bytes, as a number modulo 2^32.
    unsafe {
        channels(
            column,
            column.wrapping_add(k),
            weights.as_ptr(),
            accumulators.start,
            stride.wrapping_sub(k),
            accumulators.end,
        );
    }
}

/// Four values of the column, 16 products. In and out: `r0` column, `r1` weights; `r8` and `r9` sum of words and high sum of pixels
/// 0 and 1, `r10` and `r11` those of pixels 2 and 3; in: `r12` bias.
macro_rules! four_values {
    () => {
        concat!(
            "ldmia r1!, {{r2}}\n",
            "ldmia r0!, {{r4, r5, r6, r7}}\n",
            "sxtb r3, r2\n",
            "muls r4, r3, r4\n",
            "muls r5, r3, r5\n",
            "asrs r2, r2, #8\n",
            "sxtb r3, r2\n",
            "muls r6, r3, r6\n",
            "muls r7, r3, r7\n",
            "asrs r2, r2, #8\n",
            two_sums!(),
            "ldmia r0!, {{r4, r5, r6, r7}}\n",
            "sxtb r3, r2\n",
            "muls r4, r3, r4\n",
            "muls r5, r3, r5\n",
            "asrs r2, r2, #8\n",
            "muls r6, r2, r6\n",
            "muls r7, r2, r7\n",
            two_sums!(),
        )
    };
}

/// Adds up the products of two values.
macro_rules! two_sums {
    () => {
        concat!(
            "adds r4, r4, r6\n",
            "adds r5, r5, r7\n",
            "add r8, r4\n",
            "add r10, r5\n",
            "add r4, r12\n",
            "add r5, r12\n",
            "asrs r4, r4, #16\n",
            "asrs r5, r5, #16\n",
            "add r9, r4\n",
            "add r11, r5\n",
        )
    };
}

/// All channels. The column is read twice a turn, four values each: 37 instructions for 16 products.
///
/// # Safety
/// `column..end` holds a multiple of 4 values, not none; from `weights` on every channel has as many weights, aligned to 4, with `gap`
/// bytes behind them; `accumulators..accumulators_end` is not empty.
#[unsafe(naked)]
unsafe extern "C" fn channels(
    column: *const Words,
    end: *const Words,
    weights: *const i8,
    accumulators: *mut [i32; PIXELS],
    gap: usize,
    accumulators_end: *mut [i32; PIXELS],
) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4, r5, r6, r7}}",
        "mov lr, r1",
        "subs r4, r1, r0",
        "lsrs r4, r4, #4", // pairs of values: as often the bias takes 1 from a high sum
        "push {{r0, r3, r4}}", // column, accumulators, pairs; above them 36 bytes, then gap and end of the accumulators
        "mov r1, r2",
        "ldr r2, ={bias}",
        "mov r12, r2",
        "2:", // a channel
        "ldr r2, [sp, #4]",
        "ldr r3, [sp, #8]",
        "ldmia r2!, {{r4, r5, r6, r7}}",
        "lsls r2, r5, #16",
        "adds r2, r2, r4",
        "mov r8, r2",
        "adds r5, r5, r3",
        "mov r9, r5",
        "lsls r2, r7, #16",
        "adds r2, r2, r6",
        "mov r10, r2",
        "adds r7, r7, r3",
        "mov r11, r7",
        "ldr r0, [sp, #0]",
        "lsrs r3, r3, #2", // carry: an odd number of four values
        "bcs 4f",
        "3:",
        four_values!(),
        "4:",
        four_values!(),
        "cmp r0, lr",
        "bne 3b",
        "mov r5, r9",
        "lsls r3, r5, #16",
        "mov r4, r8",
        "subs r4, r4, r3",
        "mov r7, r11",
        "lsls r3, r7, #16",
        "mov r6, r10",
        "subs r6, r6, r3",
        "ldr r2, [sp, #4]",
        "stmia r2!, {{r4, r5, r6, r7}}",
        "str r2, [sp, #4]",
        "ldr r3, [sp, #48]",
        "adds r1, r1, r3",
        "ldr r3, [sp, #52]",
        "cmp r2, r3",
        "bne 2b",
        "add sp, #12",
        "pop {{r4, r5, r6, r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4, r5, r6, r7, pc}}",
        ".p2align 2",
        ".ltorg",
        bias = const BIAS,
    )
}
