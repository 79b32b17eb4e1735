//! Products of a column with the weights of all channels.

use super::column::{BLOCK, place};
use crate::kernels::isa::PIXELS;
use core::arch::naked_asm;

/// See [`Isa::accumulate`](crate::kernels::isa::Isa::accumulate).
pub(super) fn accumulate(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
    let k = column.len() / BLOCK * 4;
    let Some(others) = accumulators.len().checked_sub(1) else { return };
    let last = others.checked_mul(stride).and_then(|start| start.checked_add(k));
    if k == 0 || last.is_none_or(|end| end > weights.len()) {
        return;
    }
    if (column.as_ptr().addr() | weights.as_ptr().addr() | stride) % 4 != 0 {
        return any_alignment(column, weights, stride, accumulators);
    }
    let range = accumulators.as_mut_ptr_range();
    // SAFETY: the column has `4 * k` lanes, the last channel's `k` weights end inside `weights`, there is at least one channel, and
    // everything that is read by more than one word at a time starts at a multiple of 4.
    unsafe { multiply(column.as_ptr(), weights.as_ptr(), range.start, range.end, k, stride.wrapping_sub(k)) }
}

/// The same where words cannot be read.
#[cold]
fn any_alignment(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
    let k = column.len() / BLOCK * 4;
    for (acc, weights) in accumulators.iter_mut().zip(weights.chunks(stride.max(1))) {
        for (pixel, acc) in acc.iter_mut().enumerate() {
            for (i, &weight) in weights.iter().take(k).enumerate() {
                *acc += i32::from(weight) * i32::from(column.get(place(i, pixel)).copied().unwrap_or(0));
            }
        }
    }
}

/// Four values of `k`: two instructions widen their weights, which are in register `$w`, and each SMLAD makes two products.
macro_rules! four {
    ($w:literal) => {
        concat!(
            "ldm r0!, {r4-r7}\n", // pixels 0 and 1, of each the values 0, 2 and 1, 3
            "sxtb16 lr, ", $w, ", ror #8\n",
            "sxtb16 ", $w, ", ", $w, "\n",
            "smlad r8, r4, ", $w, ", r8\n",
            "smlad r9, r6, ", $w, ", r9\n",
            "smlad r8, r5, lr, r8\n",
            "smlad r9, r7, lr, r9\n",
            "ldm r0!, {r4-r7}\n", // pixels 2 and 3
            "smlad r10, r4, ", $w, ", r10\n",
            "smlad r11, r6, ", $w, ", r11\n",
            "smlad r10, r5, lr, r10\n",
            "smlad r11, r7, lr, r11\n",
        )
    };
}

/// For every channel from `accumulators` to `end`: adds the products of `k` weights, then skips `gap` bytes of weights.
///
/// 25 instructions for the 32 products of eight values of `k`, 2 for each started 32 values, 8 a channel.
///
/// # Safety
/// `k` is a multiple of 4 and not 0, `end` lies after `accumulators`; `column` has `4 * k` values, and all is readable and aligned
/// to 4 bytes.
#[unsafe(naked)]
unsafe extern "C" fn multiply(
    column: *const i16,
    weights: *const i8,
    accumulators: *mut [i32; PIXELS],
    end: *const [i32; PIXELS],
    k: usize,
    gap: usize,
) {
    // r0 column, r1 weights, r2 rounds, r3 r12 weights, r4-r7 column, r8-r11 accumulators, lr odd weights.
    // Stack: column, rounds, accumulators, end, gap, where a channel begins, where it goes on after an odd four.
    naked_asm!(
        "push {r4-r11, lr}",
        "sub sp, sp, #28",
        "mov r4, r2",
        "mov r5, r3",
        "ldrd r8, r6, [sp, #64]", // k, gap
        "lsr r9, r8, #3",         // eights
        "adr r7, 30f",
        "cmp r9, #0",
        "beq 11f",
        // The first round begins where as many eights are left as do not fill a round.
        "rsb r10, r9, #0",
        "and r10, r10, #3",
        "mov r11, #92", // bytes of an eight
        "adr r7, 20f",
        "mla r7, r10, r11, r7",
        "11:",
        "orr r7, r7, #1",
        "add r2, r9, #3",
        "lsr r2, r2, #2",
        "tst r8, #4",
        "beq 12f",
        "str r7, [sp, #24]",
        "adr r7, 25f",
        "orr r7, r7, #1",
        "12:",
        "stm sp, {r0, r2, r4, r5, r6, r7}",
        "40:",
        "ldm r4, {r8-r11}",
        "str r4, [sp, #8]",
        "bx r7",
        // A four that makes no eight.
        ".p2align 2",
        "25:",
        "ldr r3, [r1], #4",
        four!("r3"),
        "ldr pc, [sp, #24]",
        // A round of four eights.
        ".p2align 2",
        "20:",
        ".rept 4",
        "ldrd r3, r12, [r1], #8",
        four!("r3"),
        four!("r12"),
        ".endr",
        "subs r2, r2, #1",
        "bne 20b",
        ".p2align 2",
        "30:",
        "ldm sp, {r0, r2, r4, r5, r6, r7}",
        "stm r4!, {r8-r11}",
        "add r1, r1, r6",
        "cmp r4, r5",
        "bne 40b",
        "add sp, sp, #28",
        "pop {r4-r11, pc}",
        options(raw)
    )
}
