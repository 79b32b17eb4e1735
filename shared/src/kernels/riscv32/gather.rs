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
    let end = word.wrapping_add(len & !1);
    let [mut a, mut b, mut c, mut d] =
        [0, 1, 2, 3].map(|pixel: usize| source.as_ptr().wrapping_add(step * pixel.min(pixels - 1)));
    // SAFETY: each pixel has `len` values (the last one's stand for those that are missing), and the column as many words from `first`
    // on, aligned.
    let one = |word: *mut Words, [a, b, c, d]: [*const i8; 4]| unsafe {
        *word = [i32::from(*a) + (i32::from(*b) << 16), i32::from(*c) + (i32::from(*d) << 16)];
    };
    while word != end {
        one(word, [a, b, c, d]);
        one(word.wrapping_add(1), [a, b, c, d].map(|value| value.wrapping_add(1)));
        [a, b, c, d] = [a, b, c, d].map(|value| value.wrapping_add(2));
        word = word.wrapping_add(2);
    }
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
