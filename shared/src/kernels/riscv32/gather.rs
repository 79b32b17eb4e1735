//! Values into a column of pixel pairs (see [`pairs`](super::super::pairs)).

use super::reach;
use crate::kernels::pairs::{self, Words};

/// See [`Isa::gather`](crate::kernels::isa::Isa::gather). The other pixel of the pair stays as it is.
#[inline(never)]
pub fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
    let count = values.len().min(pairs::room(column).saturating_sub(first));
    if count == 0 {
        return;
    }
    let word = column.as_mut_ptr().cast::<i32>().wrapping_add(2 * first + (pixel >> 1 & 1));
    // SAFETY: there are `count` values, and as many pairs of words from `first` on, of which `word` is the first or the second of one;
    // the column is aligned as words must be.
    unsafe {
        if pixel & 1 == 0 {
            each(word, values.as_ptr(), count, |word, low, value| word.wrapping_sub(low).wrapping_add(value));
        } else {
            each(word, values.as_ptr(), count, |_, low, value| low.wrapping_add(value << 16));
        }
    }
}

/// See [`Isa::gather_tile`](crate::kernels::isa::Isa::gather_tile).
#[inline(never)]
pub fn tile(column: &mut [i16], first: usize, source: &[i8], step: usize, len: usize, pixels: usize) {
    let room = pairs::room(column);
    if pixels == 0 || first > room || len > room - first || reach(pixels, step, len) > source.len() {
        return;
    }
    let mut word = column.as_mut_ptr().cast::<Words>().wrapping_add(first);
    let end = word.wrapping_add(len & !3);
    let next = |values: *const i8, pixel: usize| values.wrapping_add(if pixel < pixels { step } else { 0 });
    let mut a = source.as_ptr();
    let mut b = next(a, 1);
    let mut c = next(b, 2);
    let mut d = next(c, 3);
    while word != end {
        // SAFETY: each pixel has `len` values (the last one's stand for those that are missing), and the column as many pairs of words
        // from `first` on, aligned.
        unsafe {
            *word = [pair(a, b, 0), pair(c, d, 0)];
            *word.wrapping_add(1) = [pair(a, b, 1), pair(c, d, 1)];
            *word.wrapping_add(2) = [pair(a, b, 2), pair(c, d, 2)];
            *word.wrapping_add(3) = [pair(a, b, 3), pair(c, d, 3)];
        }
        word = word.wrapping_add(4);
        a = a.wrapping_add(4);
        b = b.wrapping_add(4);
        c = c.wrapping_add(4);
        d = d.wrapping_add(4);
    }
}

/// The word of two values.
///
/// # Safety
/// Both can be read at `i`.
#[inline(always)]
unsafe fn pair(low: *const i8, high: *const i8, i: usize) -> i32 {
    // SAFETY: the caller says so.
    unsafe { i32::from(*low.wrapping_add(i)) + (i32::from(*high.wrapping_add(i)) << 16) }
}

/// Merges every value into its word, of which `merge` is also given the low half, four a turn.
///
/// # Safety
/// `values` holds `count` values, and from `word` on are as many words, every second counted.
#[inline]
unsafe fn each(mut word: *mut i32, mut values: *const i8, count: usize, merge: impl Fn(i32, i32, i32) -> i32) {
    let end = values.wrapping_add(count);
    let fours = values.wrapping_add(count & !3);
    let one = |word: *mut i32, value: *const i8| {
        // SAFETY: both point to one of the words and values that the caller vouches for.
        // The low half is loaded by itself, which is one instruction; as volatile, or the compiler makes two of it, of the word.
        unsafe { *word = merge(*word, word.cast::<i16>().read_volatile().into(), (*value).into()) };
    };
    while values != fours {
        one(word, values);
        one(word.wrapping_add(2), values.wrapping_add(1));
        one(word.wrapping_add(4), values.wrapping_add(2));
        one(word.wrapping_add(6), values.wrapping_add(3));
        (word, values) = (word.wrapping_add(8), values.wrapping_add(4));
    }
    while values != end {
        one(word, values);
        (word, values) = (word.wrapping_add(2), values.wrapping_add(1));
    }
}
