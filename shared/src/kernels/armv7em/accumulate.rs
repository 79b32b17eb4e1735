//! Products of a column with the weights of all channels.

use super::column::{BLOCK, place};
use crate::kernels::isa::PIXELS;
use crate::kernels::thumb2::ends_within;
use core::arch::naked_asm;

/// A loop over channels: column, weights, accumulators and their end, `k`, bytes from a channel's last weight to the next one's first.
type Run = unsafe extern "C" fn(*const i16, *const i8, *mut [i32; PIXELS], *const [i32; PIXELS], usize, usize);

/// See [`Isa::accumulate`](crate::kernels::isa::Isa::accumulate).
#[inline(always)]
pub(super) fn accumulate(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]], run: Run) {
    let k = column.len() / BLOCK * 4;
    let Some(others) = accumulators.len().checked_sub(1) else { return };
    if k == 0 || !ends_within(others, stride, k, weights.len()) {
        return;
    }
    if (column.as_ptr().addr() | weights.as_ptr().addr() | stride) % 4 != 0 {
        return any_alignment(column, weights, stride, accumulators);
    }
    let range = accumulators.as_mut_ptr_range();
    // SAFETY: the column has `4 * k` lanes, the last channel's `k` weights end inside `weights`, there is at least one channel, and
    // everything that is read by more than one word at a time starts at a multiple of 4.
    unsafe { run(column.as_ptr(), weights.as_ptr(), range.start, range.end, k, stride.wrapping_sub(k)) }
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
        concat! {
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
        }
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
pub(super) unsafe extern "C" fn multiply(
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
        dsp!(),
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

/// Four values of `k` of two pixels, whose weights are in register `$w`.
macro_rules! four_of_two {
    ($w:literal) => {
        concat! {
            "ldm r0!, {r4-r7}\n",
            "sxtb16 lr, ", $w, ", ror #8\n",
            "sxtb16 ", $w, ", ", $w, "\n",
            "smlad r8, r4, ", $w, ", r8\n",
            "smlad r9, r6, ", $w, ", r9\n",
            "smlad r8, r5, lr, r8\n",
            "smlad r9, r7, lr, r9\n",
            "adds r0, r0, #16\n", // past pixels 2 and 3
        }
    };
}

/// As [`multiply`], for pixels 0 and 1: 17 instructions for the 16 products of eight values of `k`.
///
/// # Safety
/// That of [`multiply`].
#[unsafe(naked)]
pub(super) unsafe extern "C" fn multiply_two(
    column: *const i16,
    weights: *const i8,
    accumulators: *mut [i32; PIXELS],
    end: *const [i32; PIXELS],
    k: usize,
    gap: usize,
) {
    // r0 column, r1 weights, r2 rounds, r3 r12 weights, r4-r7 column, r8 r9 sums, r10 r11 accumulators and end, lr odd weights.
    // Stack: column, rounds, where the eights begin, gap; k at 52.
    naked_asm!(
        dsp!(),
        "push {r4-r11, lr}",
        "sub sp, sp, #16",
        "mov r10, r2",
        "mov r11, r3",
        "ldrd r2, r3, [sp, #52]",
        "lsr r4, r2, #3", // eights
        "adr r6, 30f",
        "cmp r4, #0",
        "beq 11f",
        // The first round begins where as many eights are left as do not fill a round.
        "rsb r5, r4, #0",
        "and r5, r5, #3",
        "mov r7, #60", // bytes of an eight
        "adr r6, 20f",
        "mla r6, r5, r7, r6",
        "11:",
        "orr r6, r6, #1",
        "add r4, r4, #3",
        "lsr r4, r4, #2",
        "strd r0, r4, [sp]",
        "strd r6, r3, [sp, #8]",
        "40:",
        "ldrd r8, r9, [r10]",
        "ldrd r0, r2, [sp]",
        "ldr r7, [sp, #52]",
        "lsls r7, r7, #29",
        "bpl 12f",
        "ldr r3, [r1], #4",
        four_of_two!("r3"),
        "12:",
        "ldr pc, [sp, #8]",
        ".p2align 2",
        "20:",
        ".rept 4",
        "ldrd r3, r12, [r1], #8",
        four_of_two!("r3"),
        four_of_two!("r12"),
        ".endr",
        "subs r2, r2, #1",
        "bne 20b",
        ".p2align 2",
        "30:",
        "strd r8, r9, [r10], #16",
        "ldr r3, [sp, #12]",
        "add r1, r1, r3",
        "cmp r10, r11",
        "bne 40b",
        "add sp, sp, #16",
        "pop {r4-r11, pc}",
        options(raw)
    )
}
