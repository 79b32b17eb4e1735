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

/// Whether a column has room for `count` values from `first` on.
#[inline]
fn fits(column: &[i16], first: usize, count: usize, pixel: usize) -> bool {
    let k = column.len() / BLOCK * 4;
    pixel < PIXELS && first <= k && count <= k - first
}

/// See [`Isa::gather`](crate::kernels::isa::Isa::gather).
#[inline]
pub(super) fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
    if !fits(column, first, values.len(), pixel) {
        return;
    }
    if column.as_ptr().addr() % 4 != 0 {
        for (i, &value) in values.iter().enumerate() {
            set(column, first + i, pixel, value);
        }
        return;
    }
    // SAFETY: all the lanes lie in the column, the first block at a multiple of 4 bytes.
    unsafe {
        let block = column.as_mut_ptr().add(place(first & !3, pixel));
        widen(block, values.as_ptr(), values.len(), first % 4);
    }
}

/// See [`Isa::fill`](crate::kernels::isa::Isa::fill).
pub(super) fn fill(column: &mut [i16], first: usize, count: usize, pixel: usize, value: i8) {
    if !fits(column, first, count, pixel) {
        return;
    }
    let (mut k, end) = (first, first + count);
    while k < end {
        let start = place(k, pixel);
        match column.get_mut(start..start + 4) {
            Some(four) if k % 4 == 0 && end - k >= 4 => {
                four.fill(i16::from(value));
                k += 4;
            }
            _ => {
                set(column, k, pixel, value);
                k += 1;
            }
        }
    }
}

#[inline]
fn set(column: &mut [i16], k: usize, pixel: usize, value: i8) {
    if let Some(lane) = column.get_mut(place(k, pixel)) {
        *lane = i16::from(value);
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
