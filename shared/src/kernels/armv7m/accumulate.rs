//! Products of a column with the weights of all channels, two pixels a multiplication.
//!
//! # Arithmetic
//! A word of the column is `a + 2^16 * b`. For two values of `k` with the weights `v` and `w` the loop computes, modulo `2^32`,
//! `t = word0 * v + word1 * w + 2^15 - 1 - 2^16`. Both pixels' sums of two products lie in `2 * -128 * 127..=2 * 128 * 128`, so that
//! with the constant the lower half, `255..=65535`, carries nothing and the upper half, `-32513..=32767`, fits:
//! it is `b0 * v + b1 * w - 1`. The loop adds up the upper halves, which gives the odd pixel, and `t`, which is what both pixels give
//! together. At the end the even pixel is what is left when the odd one is taken away.

use super::column::{even, odd};
use crate::kernels::isa::PIXELS;
use crate::kernels::thumb2::ends_within;
use core::arch::naked_asm;

/// See [`Isa::accumulate`](crate::kernels::isa::Isa::accumulate).
pub(super) fn accumulate(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
    let k = column.len() / (4 * PIXELS) * 4;
    let Some(others) = accumulators.len().checked_sub(1) else { return };
    if k == 0 || !ends_within(others, stride, k, weights.len()) {
        return;
    }
    if column.as_ptr().addr() % 4 != 0 {
        return any_alignment(column, weights, stride, accumulators);
    }
    let range = accumulators.as_mut_ptr_range();
    // SAFETY: the column has `4 * k` lanes and is aligned to words, the last channel's `k` weights end inside `weights`, and there is
    // at least one channel.
    unsafe { multiply(column.as_ptr(), weights.as_ptr(), range.start, range.end, k, stride.wrapping_sub(k)) }
}

/// The same where words cannot be read.
#[cold]
fn any_alignment(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
    for (acc, weights) in accumulators.iter_mut().zip(weights.chunks(stride.max(1))) {
        for (pairs, &weight) in column.chunks_exact(PIXELS).zip(weights) {
            for (acc, pair) in acc.chunks_exact_mut(2).zip(pairs.chunks_exact(2)) {
                if let ([a, b], &[low, high]) = (acc, pair) {
                    *a += i32::from(even(low)) * i32::from(weight);
                    *b += i32::from(odd(low, high)) * i32::from(weight);
                }
            }
        }
    }
}

/// For every channel from `accumulators` to `end`: adds the products of `k` weights, then skips `gap` bytes of weights.
///
/// 22 instructions for the 16 products of four values of `k`, 2 for each started 16 values, 16 a channel.
///
/// # Safety
/// `k` is a multiple of 4 and not 0, `end` lies after `accumulators`; `column` has `4 * k` values, aligned to 4 bytes, and all is
/// readable.
#[unsafe(naked)]
unsafe extern "C" fn multiply(
    column: *const i16,
    weights: *const i8,
    accumulators: *mut [i32; PIXELS],
    end: *const [i32; PIXELS],
    k: usize,
    gap: usize,
) {
    // r0 column, r1 weights, r2 rounds, r3 r12 weights, r4-r7 column, r8 r10 sums of both, r9 r11 odd pixels, lr constant.
    // Stack: column, rounds, k / 2, accumulators, end, gap, where a channel begins, k / 2 * (2^15 - 1).
    naked_asm!(
        "push {r4-r11, lr}",
        "sub sp, sp, #36",
        "mov r4, r2",
        "mov r5, r3",
        "ldrd r8, r6, [sp, #72]", // k, gap
        "lsr r3, r8, #1",
        "rsb r12, r3, r3, lsl #15",
        "lsr r9, r8, #2", // fours
        // The first round begins where as many fours are left as do not fill a round.
        "rsb r10, r9, #0",
        "and r10, r10, #3",
        "mov r11, #76", // bytes of a four
        "adr r7, 20f",
        "mla r7, r10, r11, r7",
        "orr r7, r7, #1",
        "add r2, r9, #3",
        "lsr r2, r2, #2",
        "mvn lr, #0x8000",
        "stm sp, {r0, r2, r3, r4, r5, r6, r7, r12}",
        "10:",
        "ldm r4, {r8-r11}",
        "str r4, [sp, #12]",
        "add r9, r9, r3",
        "add r11, r11, r3",
        "add r8, r8, r9, lsl #16",
        "add r10, r10, r11, lsl #16",
        "sub r8, r8, r12",
        "sub r10, r10, r12",
        "bx r7",
        // A round of four fours.
        ".p2align 2",
        "20:",
        ".rept 8",
        "ldrsb r3, [r1], #1",
        "ldrsb r12, [r1], #1",
        "ldm r0!, {r4-r7}",
        "mla r4, r4, r3, lr",
        "mla r5, r5, r3, lr",
        "mla r4, r6, r12, r4",
        "mla r5, r7, r12, r5",
        "add r8, r8, r4",
        "add r9, r9, r4, asr #16",
        "add r10, r10, r5",
        "add r11, r11, r5, asr #16",
        ".endr",
        "subs r2, r2, #1",
        "bne 20b",
        "ldm sp, {r0, r2, r3, r4, r5, r6, r7, r12}",
        "sub r8, r8, r9, lsl #16",
        "sub r10, r10, r11, lsl #16",
        "stm r4!, {r8-r11}",
        "add r1, r1, r6",
        "cmp r4, r5",
        "bne 10b",
        "add sp, sp, #36",
        "pop {r4-r11, pc}",
        options(raw)
    )
}
