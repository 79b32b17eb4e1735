//! Columns of pixel pairs: two int8 values in a word, for cores that multiply 32 bits by 32 and have no packed arithmetic.
//!
//! Value `k` of a column is two words, of pixels 0 and 1 and of pixels 2 and 3: `low + (high << 16)`, a sum, so that a negative low
//! value borrows from the half above it. One multiplication by a weight then gives both products, `low * w + (high * w << 16)`.
//!
//! # Arithmetic
//! Let `t` be the sum of two such products, for weights `v` and `w`. Its low sum lies in `-2 * 128 * 127..=2 * 128 * 128`, that is
//! `-32512..=32768`, and so does its high sum. With [`BIAS`] added the low sum lies in `0..=65535` of the word's low half, and the high
//! one, less 1, in the int16 of its high half: `(t + BIAS) >> 16` is the high sum less 1, exactly. Those are added up in one
//! accumulator, and the words `t` themselves, modulo 2^32, in another, from which the high sums are taken away at the end.
//! More than two products would not fit.

/// The value of a column: the words of pixels 0 and 1 and of pixels 2 and 3.
pub type Words = [i32; 2];

/// What makes the low sum of two products positive, and the high one fit int16.
pub const BIAS: i32 = 0x7fff - 0x1_0000;

/// The words of a column: none when it does not start at a multiple of 4 bytes or ends within a value.
#[inline]
pub fn words(column: &[i16]) -> &[Words] {
    bytemuck::try_cast_slice(column).unwrap_or_default()
}

/// The words from value `first` on.
#[inline]
fn words_mut(column: &mut [i16], first: usize) -> &mut [Words] {
    let words: &mut [Words] = bytemuck::try_cast_slice_mut(column).unwrap_or_default();
    words.get_mut(first..).unwrap_or_default()
}

/// `word` with another low value.
#[inline]
fn with_low(word: i32, value: i8) -> i32 {
    word.wrapping_sub(i32::from(word as i16)).wrapping_add(i32::from(value))
}

/// `word` with another high value.
#[inline]
fn with_high(word: i32, value: i8) -> i32 {
    i32::from(word as i16).wrapping_add(i32::from(value) << 16)
}

/// Writes `values` to places `first..` of a pixel. The other pixel of the pair stays as it is, whatever it is.
#[inline]
pub fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
    let (words, pair) = (words_mut(column, first), pixel >> 1 & 1);
    if pixel & 1 == 0 {
        for (word, &value) in words.iter_mut().zip(values) {
            word[pair] = with_low(word[pair], value);
        }
    } else {
        for (word, &value) in words.iter_mut().zip(values) {
            word[pair] = with_high(word[pair], value);
        }
    }
}

/// Writes the same value to `count` places.
#[inline]
pub fn fill(column: &mut [i16], first: usize, count: usize, pixel: usize, value: i8) {
    let (words, pair) = (words_mut(column, first), pixel >> 1 & 1);
    for word in words.iter_mut().take(count) {
        word[pair] = if pixel & 1 == 0 { with_low(word[pair], value) } else { with_high(word[pair], value) };
    }
}
