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
//!
//! A high half that holds anything else (a tile of fewer than four pixels) does not disturb the low one.

/// A value of a column: the words of pixels 0 and 1 and of pixels 2 and 3.
pub type Words = [i32; 2];

/// What makes the low sum of two products positive, and the high one fit int16.
pub const BIAS: i32 = 0x7fff - 0x1_0000;

/// Values that a column has room for: none when it does not start at a multiple of 4 bytes.
#[inline]
pub fn room(column: &[i16]) -> usize {
    if column.as_ptr().addr().is_multiple_of(align_of::<Words>()) { column.len() / 4 } else { 0 }
}
