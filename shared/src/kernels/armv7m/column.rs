//! Writing values into a column whose words hold two pixels as a sum.

use crate::kernels::isa::PIXELS;
use core::arch::naked_asm;

/// The even pixel of a word, given its lower half.
#[inline]
pub(super) const fn even(low: i16) -> i16 {
    low
}

/// The odd pixel of a word.
#[inline]
pub(super) const fn odd(low: i16, high: i16) -> i16 {
    high.wrapping_add((low < 0) as i16)
}

/// The first word of a pixel's values from `first` on, when all of them lie in the column and its words are aligned.
#[inline(always)]
fn word(column: &mut [i16], first: usize, count: usize, pixel: usize) -> Option<*mut i16> {
    let k = column.len() / PIXELS;
    let fits = first <= k && count <= k - first && pixel < PIXELS && column.as_ptr().addr() % 4 == 0;
    // the first word begins at most where the column ends
    fits.then(|| column.as_mut_ptr().wrapping_add(first * PIXELS + (pixel & !1)))
}

/// See [`Isa::gather`](crate::kernels::isa::Isa::gather).
#[inline(always)]
pub(super) fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
    match word(column, first, values.len(), pixel) {
        // SAFETY: all the words of the pixel lie in the column, aligned.
        Some(word) if pixel % 2 == 0 => unsafe { put_even(word, values.as_ptr(), values.len()) },
        // SAFETY: as above.
        Some(word) => unsafe { put_odd(word, values.as_ptr(), values.len()) },
        None => gather_any(column, first, pixel, values),
    }
}

/// See [`Isa::fill`](crate::kernels::isa::Isa::fill).
#[inline(always)]
pub(super) fn fill(column: &mut [i16], first: usize, count: usize, pixel: usize, value: i8) {
    match word(column, first, count, pixel) {
        // SAFETY: all the words of the pixel lie in the column, aligned.
        Some(word) if pixel % 2 == 0 => unsafe { fill_even(word, value, count) },
        // SAFETY: as above.
        Some(word) => unsafe { fill_odd(word, value, count) },
        None => (0..count).for_each(|i| gather_any(column, first + i, pixel, &[value])),
    }
}

/// Any alignment; leaves out what does not lie in the column.
#[cold]
#[inline(never)]
fn gather_any(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
    let words = column.chunks_exact_mut(2).skip(first * (PIXELS / 2) + pixel / 2).step_by(PIXELS / 2);
    for (word, &value) in words.zip(values) {
        if let ([low, high], true) = (word, pixel < PIXELS) {
            let (a, b) =
                if pixel % 2 == 0 { (i16::from(value), odd(*low, *high)) } else { (even(*low), i16::from(value)) };
            (*low, *high) = (a, b.wrapping_sub(i16::from(a < 0)));
        }
    }
}

/// The loop of [`thumb2::tile`](crate::kernels::thumb2::tile): 30 instructions for 16 values.
///
/// # Safety
/// That of [`Run`](crate::kernels::thumb2::tile::Run).
#[unsafe(naked)]
pub(super) unsafe extern "C" fn put_tile(
    word: *mut i16,
    end: *const i16,
    first: *const i8,
    second: *const i8,
    third: *const i8,
    fourth: *const i8,
) {
    naked_asm!(
        "push {r4-r7, lr}",
        "ldrd r12, lr, [sp, #20]",
        ".p2align 2",
        "1:",
        ".rept 4",
        "ldrsb r4, [r2], #1",
        "ldrsb r5, [r3], #1",
        "ldrsb r6, [r12], #1",
        "ldrsb r7, [lr], #1",
        "add r4, r4, r5, lsl #16",
        "add r5, r6, r7, lsl #16",
        "stm r0!, {r4, r5}",
        ".endr",
        "cmp r0, r1",
        "bne 1b",
        "pop {r4-r7, pc}",
        options(raw)
    )
}

/// A loop over `count` places of a pixel, four a round.
macro_rules! each {
    ($($instruction:literal),*) => {
        // r0 word, r1 values or value, r2 count
        naked_asm!(
            "push {r4, lr}",
            "ands r3, r2, #3",
            "beq 2f",
            "1:",
            $($instruction,)*
            "subs r3, r3, #1",
            "bne 1b",
            "2:",
            "lsrs r2, r2, #2",
            "beq 4f",
            "3:",
            ".rept 4",
            $($instruction,)*
            ".endr",
            "subs r2, r2, #1",
            "bne 3b",
            "4:",
            "pop {r4, pc}",
            options(raw)
        )
    };
}

/// Exchanges the even pixel: the word is rounded to a multiple of `2^16`, which is the odd pixel, and the value added.
///
/// # Safety
/// The values are readable and the words writable, at a multiple of 4.
#[unsafe(naked)]
unsafe extern "C" fn put_even(word: *mut i16, values: *const i8, count: usize) {
    each!(
        "ldr r12, [r0]",
        "ldrsb r4, [r1], #1",
        "add r12, r12, #0x8000",
        "bfc r12, #0, #16",
        "add r12, r12, r4",
        "str r12, [r0], #8"
    )
}

/// Exchanges the odd pixel: adds it to the even one.
///
/// # Safety
/// As [`put_even`].
#[unsafe(naked)]
unsafe extern "C" fn put_odd(word: *mut i16, values: *const i8, count: usize) {
    each!("ldrsh r12, [r0]", "ldrsb r4, [r1], #1", "add r12, r12, r4, lsl #16", "str r12, [r0], #8")
}

/// As [`put_even`], the same value everywhere.
///
/// # Safety
/// The words are writable, at a multiple of 4.
#[unsafe(naked)]
unsafe extern "C" fn fill_even(word: *mut i16, value: i8, count: usize) {
    each!("ldr r12, [r0]", "add r12, r12, #0x8000", "bfc r12, #0, #16", "add r12, r12, r1", "str r12, [r0], #8")
}

/// As [`put_odd`], the same value everywhere.
///
/// # Safety
/// As [`fill_even`].
#[unsafe(naked)]
unsafe extern "C" fn fill_odd(word: *mut i16, value: i8, count: usize) {
    each!("ldrsh r12, [r0]", "add r12, r12, r1, lsl #16", "str r12, [r0], #8")
}
