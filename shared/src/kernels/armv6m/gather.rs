//! Values into a column of pixel pairs (see [`pairs`](super::super::pairs)).

use super::reach;
use crate::kernels::isa::PIXELS;
use crate::kernels::pairs;
use core::arch::naked_asm;

/// See [`Isa::gather`](crate::kernels::isa::Isa::gather). The other pixel of the pair stays as it is.
#[inline(never)]
pub fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
    let count = values.len().min(pairs::room(column).saturating_sub(first));
    if count == 0 {
        return;
    }
    let word = column.as_mut_ptr().cast::<i32>().wrapping_add(2 * first + (pixel >> 1 & 1));
    // SAFETY: there are `count` values, at least one, and as many pairs of words from `first` on, of which `word` is the first or the
    // second of one; the column is aligned as words must be.
    unsafe { if pixel & 1 == 0 { low(word, values.as_ptr(), count) } else { high(word, values.as_ptr(), count) } };
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

/// All values, four a turn: value `i` at `r1` goes into word `2 * i` at `r0`, which are 7 instructions of 14 bytes. The first turn begins
/// as far in as there are fewer.
macro_rules! values {
    ($merge:literal) => {
        naked_asm!(
            "push {{r4, r5, lr}}",
            "rsbs r3, r2, #0",
            "movs r4, #3",
            "ands r3, r4",
            "adds r2, r2, r3",
            "subs r1, r1, r3",
            "lsls r4, r3, #3",
            "subs r0, r0, r4",
            "movs r4, #14",
            "muls r3, r4, r3",
            "add pc, r3", // the program counter is two instructions ahead
            "nop",
            "2:",
            ".irp i, 0, 1, 2, 3",
            "movs r3, #\\i",
            "ldrsb r3, [r1, r3]",
            "ldr r4, [r0, #(8 * \\i)]",
            $merge,
            "str r3, [r0, #(8 * \\i)]",
            ".endr",
            "adds r0, r0, #32",
            "adds r1, r1, #4",
            "subs r2, r2, #4",
            "bne 2b",
            "pop {{r4, r5, pc}}",
        )
    };
}

/// Values of pixel 0 or 2.
///
/// # Safety
/// `count` is not 0; `values` holds as many, and from `word` on are as many words, every second counted.
#[unsafe(naked)]
unsafe extern "C" fn low(word: *mut i32, values: *const i8, count: usize) {
    values!("sxth r5, r4\nsubs r4, r4, r5\nadds r3, r3, r4\n")
}

/// Values of pixel 1 or 3.
///
/// # Safety
/// As [`low`]'s.
#[unsafe(naked)]
unsafe extern "C" fn high(word: *mut i32, values: *const i8, count: usize) {
    values!("sxth r4, r4\nlsls r3, r3, #16\nadds r3, r3, r4\n")
}
