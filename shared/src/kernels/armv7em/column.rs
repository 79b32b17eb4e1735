//! Widening of values into a column.

use crate::kernels::isa::PIXELS;
use core::arch::naked_asm;

/// Lanes of four values of `k`.
pub(super) const BLOCK: usize = 4 * PIXELS;

/// The lane of value `k` of a pixel.
#[inline]
pub(super) const fn place(k: usize, pixel: usize) -> usize {
    // 0, 2, 1, 3: the two bits of k change places
    k / 4 * BLOCK + pixel * 4 + ((k & 1) << 1) + ((k >> 1) & 1)
}

/// The first block that values from `first` on lie in, when all of them lie in the column and its words are aligned.
#[inline(always)]
fn block(column: &mut [i16], first: usize, count: usize, pixel: usize) -> Option<*mut i16> {
    let k = column.len() / BLOCK * 4;
    let fits = first <= k && count <= k - first && pixel < PIXELS && column.as_ptr().addr() % 4 == 0;
    // the first block begins at most where the column ends
    fits.then(|| column.as_mut_ptr().wrapping_add(place(first & !3, pixel)))
}

/// See [`Isa::gather`](crate::kernels::isa::Isa::gather).
#[inline(always)]
pub(super) fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
    match block(column, first, values.len(), pixel) {
        // SAFETY: all the places of the pixel lie in the column, aligned.
        Some(block) => unsafe { widen(block, values.as_ptr(), values.len(), first % 4) },
        None => gather_any(column, first, pixel, values),
    }
}

/// See [`Isa::fill`](crate::kernels::isa::Isa::fill).
#[inline(always)]
pub(super) fn fill(column: &mut [i16], first: usize, count: usize, pixel: usize, value: i8) {
    let pair = i32::from(value) << 16 | i32::from(value) & 0xFFFF;
    match block(column, first, count, pixel) {
        // SAFETY: all the places of the pixel lie in the column, aligned.
        Some(block) => unsafe { spread(block, pair, count, first % 4) },
        None => (0..count).for_each(|i| gather_any(column, first + i, pixel, &[value])),
    }
}

/// Any alignment; leaves out what does not lie in the column.
#[cold]
#[inline(never)]
fn gather_any(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
    for (i, &value) in values.iter().enumerate() {
        let lane = column.get_mut(place(first + i, pixel)).filter(|_| pixel < PIXELS);
        if let Some(lane) = lane {
            *lane = i16::from(value);
        }
    }
}

/// Widens `count` values to the places of a pixel: from place `first` (below 4) of the block at `block` on.
///
/// # Safety
/// The values are readable, the places of the pixel in as many blocks as they need writable, and `block` is a multiple of 4.
#[unsafe(naked)]
unsafe extern "C" fn widen(block: *mut i16, values: *const i8, count: usize, first: usize) {
    // r0 block, r1 values, r2 count
    naked_asm!(
        dsp!(),
        "cbz r3, 4f",
        "cmp r3, #2",
        "beq 2f",
        "bhi 3f",
        "subs r2, r2, #1",
        "blo 9f",
        "ldrsb r3, [r1], #1",
        "strh r3, [r0, #4]",
        "2:",
        "subs r2, r2, #1",
        "blo 9f",
        "ldrsb r3, [r1], #1",
        "strh r3, [r0, #2]",
        "3:",
        "subs r2, r2, #1",
        "blo 9f",
        "ldrsb r3, [r1], #1",
        "strh r3, [r0, #6]",
        "add r0, r0, #32",
        // Sixteen at a time, where words can be read together.
        "4:",
        "subs r2, r2, #16",
        "blo 6f",
        "tst r1, #3",
        "bne 6f",
        "push {r4-r6}",
        "5:",
        "ldm r1!, {r3-r6}",
        "sxtb16 r12, r3, ror #8",
        "sxtb16 r3, r3",
        "strd r3, r12, [r0], #32",
        "sxtb16 r12, r4, ror #8",
        "sxtb16 r4, r4",
        "strd r4, r12, [r0], #32",
        "sxtb16 r12, r5, ror #8",
        "sxtb16 r5, r5",
        "strd r5, r12, [r0], #32",
        "sxtb16 r12, r6, ror #8",
        "sxtb16 r6, r6",
        "strd r6, r12, [r0], #32",
        "subs r2, r2, #16",
        "bhs 5b",
        "pop {r4-r6}",
        "6:",
        "adds r2, r2, #12",
        "blt 8f",
        "7:",
        "ldr r3, [r1], #4",
        "sxtb16 r12, r3, ror #8",
        "sxtb16 r3, r3",
        "strd r3, r12, [r0], #32",
        "subs r2, r2, #4",
        "bge 7b",
        // What is left of a block.
        "8:",
        "adds r2, r2, #4",
        "beq 9f",
        "ldrsb r3, [r1], #1",
        "strh r3, [r0]",
        "subs r2, r2, #1",
        "beq 9f",
        "ldrsb r3, [r1], #1",
        "strh r3, [r0, #4]",
        "subs r2, r2, #1",
        "beq 9f",
        "ldrsb r3, [r1], #1",
        "strh r3, [r0, #2]",
        "9:",
        "bx lr",
        options(raw)
    )
}

/// The loop of [`thumb2::tile`](crate::kernels::thumb2::tile): 15 instructions for 16 values.
///
/// # Safety
/// That of [`Run`](crate::kernels::thumb2::tile::Run).
#[unsafe(naked)]
pub(super) unsafe extern "C" fn widen_tile(
    block: *mut i16,
    end: *const i16,
    first: *const i8,
    second: *const i8,
    third: *const i8,
    fourth: *const i8,
) {
    naked_asm!(
        dsp!(),
        "push {r4-r11, lr}",
        "ldrd r12, lr, [sp, #36]",
        ".p2align 2",
        "1:",
        "ldr r4, [r2], #4", // singly: they need no alignment
        "ldr r6, [r3], #4",
        "ldr r8, [r12], #4",
        "ldr r10, [lr], #4",
        "sxtb16 r5, r4, ror #8",
        "sxtb16 r4, r4",
        "sxtb16 r7, r6, ror #8",
        "sxtb16 r6, r6",
        "sxtb16 r9, r8, ror #8",
        "sxtb16 r8, r8",
        "sxtb16 r11, r10, ror #8",
        "sxtb16 r10, r10",
        "stm r0!, {r4-r11}",
        "cmp r0, r1",
        "bne 1b",
        "pop {r4-r11, pc}",
        options(raw)
    )
}

/// As [`widen`], the same value everywhere; `pair` holds it twice.
///
/// # Safety
/// The places of the pixel in as many blocks as they need are writable, and `block` is a multiple of 4.
#[unsafe(naked)]
unsafe extern "C" fn spread(block: *mut i16, pair: i32, count: usize, first: usize) {
    // r0 block, r1 pair, r2 count
    naked_asm!(
        dsp!(),
        "cbz r3, 4f",
        "cmp r3, #2",
        "beq 2f",
        "bhi 3f",
        "subs r2, r2, #1",
        "blo 9f",
        "strh r1, [r0, #4]",
        "2:",
        "subs r2, r2, #1",
        "blo 9f",
        "strh r1, [r0, #2]",
        "3:",
        "subs r2, r2, #1",
        "blo 9f",
        "strh r1, [r0, #6]",
        "add r0, r0, #32",
        "4:",
        "subs r2, r2, #4",
        "blo 6f",
        "mov r3, r1",
        "5:",
        "strd r1, r3, [r0], #32",
        "subs r2, r2, #4",
        "bhs 5b",
        "6:",
        "adds r2, r2, #4",
        "beq 9f",
        "strh r1, [r0]",
        "subs r2, r2, #1",
        "beq 9f",
        "strh r1, [r0, #4]",
        "subs r2, r2, #1",
        "beq 9f",
        "strh r1, [r0, #2]",
        "9:",
        "bx lr",
        options(raw)
    )
}
