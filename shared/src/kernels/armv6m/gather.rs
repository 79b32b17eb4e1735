//! Values into a column of pixel pairs (see [`pairs`](super::super::pairs)).

use super::reach;
use crate::kernels::isa::PIXELS;
use crate::kernels::pairs;
use core::arch::naked_asm;

/// See [`Isa::gather`](crate::kernels::isa::Isa::gather) and [`Isa::fill`](crate::kernels::isa::Isa::fill): `count` values, which are
/// `step` apart. The other pixel of the pair stays as it is.
///
/// # Safety
/// As many values can be read.
#[inline(never)]
pub unsafe fn gather(column: &mut [i16], first: usize, count: usize, pixel: usize, values: *const i8, step: usize) {
    let count = count.min(pairs::room(column).saturating_sub(first));
    if count == 0 {
        return;
    }
    let word = column.as_mut_ptr().cast::<i32>().wrapping_add(2 * first + (pixel >> 1 & 1));
    // SAFETY: the caller has `count` values, at least one, and there are as many pairs of words from `first` on, of which `word` is the
    // first or the second of one; the column is aligned as words must be.
    unsafe { merge(word, values, count, step, pixel & 1) };
}

/// See [`Isa::gather_tile`](crate::kernels::isa::Isa::gather_tile).
#[inline(never)]
pub fn tile(column: &mut [i16], first: usize, source: &[i8], step: usize, len: usize, pixels: usize) {
    let room = pairs::room(column);
    if pixels == 0 || len == 0 || first > room || len > room - first || reach(pixels, step, len) > source.len() {
        return;
    }
    let mut ends = [source.as_ptr().wrapping_add(len); PIXELS];
    for (pixel, end) in ends.iter_mut().enumerate() {
        *end = end.wrapping_add(step * pixel.min(pixels - 1));
    }
    let word = column.as_mut_ptr().cast::<i32>().wrapping_add(2 * first);
    // SAFETY: each pixel has `len` values before its end (the last one's stand for those that are missing) and the column has as many
    // pairs of words from `first` on; it is aligned as words must be.
    unsafe { all(word, &ends, len.wrapping_neg()) };
}

/// Values of all pixels: 12 instructions for four.
///
/// # Safety
/// From `word` on are two words for each of the values, which are not none and end at `ends`; `from` is minus their number.
#[unsafe(naked)]
unsafe extern "C" fn all(word: *mut i32, ends: &[*const i8; PIXELS], from: usize) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "mov r5, r2",
        "ldmia r1!, {{r2, r3, r4}}",
        "ldr r1, [r1]", // the fourth
        "2:",
        "ldrsb r6, [r2, r5]",
        "ldrsb r7, [r3, r5]",
        "lsls r7, r7, #16",
        "adds r6, r6, r7",
        "stmia r0!, {{r6}}",
        "ldrsb r6, [r4, r5]",
        "ldrsb r7, [r1, r5]",
        "lsls r7, r7, #16",
        "adds r6, r6, r7",
        "stmia r0!, {{r6}}",
        "adds r5, r5, #1",
        "bne 2b",
        "pop {{r4, r5, r6, r7, pc}}",
    )
}

/// Values of one pixel: 15 instructions each. For the edges of the image: short, not fast.
///
/// # Safety
/// `count` is not 0; there are as many values, `step` apart, and from `word` on as many words, every second counted. `odd` is 1 for pixel
/// 1 or 3, else 0.
#[unsafe(naked)]
unsafe extern "C" fn merge(word: *mut i32, values: *const i8, count: usize, step: usize, odd: usize) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "ldr r7, [sp, #20]",
        "2:",
        "movs r4, #0",
        "ldrsb r4, [r1, r4]",
        "ldr r5, [r0]",
        "sxth r6, r5",
        "cmp r7, #0",
        "bne 3f",
        "subs r6, r5, r6", // the upper pixel stays
        "b 4f",
        "3:",
        "lsls r4, r4, #16", // the lower one stays
        "4:",
        "adds r4, r4, r6",
        "str r4, [r0]",
        "adds r0, r0, #8",
        "adds r1, r1, r3",
        "subs r2, r2, #1",
        "bne 2b",
        "pop {{r4, r5, r6, r7, pc}}",
    )
}
