//! Values into a column of pixel pairs (see [`pairs`](super::super::pairs)).

use crate::kernels::pairs;

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
