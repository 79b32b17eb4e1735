//! Products of weights with a column of pixel pairs (see [`pairs`](super::super::pairs)).

use super::reach;
use crate::kernels::isa::PIXELS;
use crate::kernels::pairs::{self, BIAS, Words};

/// See [`Isa::accumulate`](crate::kernels::isa::Isa::accumulate).
#[inline]
pub fn accumulate(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
    let k = pairs::room(column) & !3;
    if k == 0 || reach(accumulators.len(), stride, k) > weights.len() {
        return;
    }
    let column = column.as_ptr().cast::<Words>();
    let mut weights = weights.as_ptr();
    let (twos, rest) = accumulators.as_chunks_mut::<2>();
    for [first, second] in twos {
        // SAFETY: the column has `k` values, a multiple of 4 and not 0, and each channel as many weights.
        unsafe { two_channels(column, k, [weights, weights.wrapping_add(stride)], first, second) };
        weights = weights.wrapping_add(2 * stride);
    }
    for last in rest {
        // SAFETY: as above.
        unsafe { two_channels(column, k, [weights, weights], last, &mut [0; PIXELS]) };
    }
}

/// Sums of a pixel pair.
#[derive(Clone, Copy)]
struct Sums {
    /// Of the words.
    words: i32,
    /// Of the high halves.
    high: i32,
}

impl Sums {
    #[inline]
    fn new(low: i32, high: i32, k: usize) -> Self {
        // The bias takes 1 from every second value's high sum.
        Self { words: low.wrapping_add(high << 16), high: high.wrapping_add((k / 2) as i32) }
    }

    /// Adds the products of two words with two weights.
    #[inline(always)]
    fn add(&mut self, words: [i32; 2], weights: [i32; 2]) {
        let sum = words[0].wrapping_mul(weights[0]).wrapping_add(words[1].wrapping_mul(weights[1]));
        self.words = self.words.wrapping_add(sum);
        self.high = self.high.wrapping_add(sum.wrapping_add(BIAS) >> 16);
    }

    #[inline]
    fn finish(self) -> [i32; 2] {
        [self.words.wrapping_sub(self.high << 16), self.high]
    }
}

/// Two channels: 36 instructions for the 16 products of two values.
///
/// # Safety
/// `column` has `k` values, a multiple of 4 and not 0, and there are as many of both weights.
#[inline(never)]
unsafe fn two_channels(
    mut column: *const Words,
    k: usize,
    weights: [*const i8; 2],
    first: &mut [i32; PIXELS],
    second: &mut [i32; PIXELS],
) {
    let [mut v, mut w] = weights;
    let end = column.wrapping_add(k);
    let mut a = Sums::new(first[0], first[1], k);
    let mut b = Sums::new(first[2], first[3], k);
    let mut c = Sums::new(second[0], second[1], k);
    let mut d = Sums::new(second[2], second[3], k);
    while column != end {
        // SAFETY: as long as the end is not reached there are four more values and weights.
        let ([v0, v1, v2, v3], [w0, w1, w2, w3]) = unsafe { (*v.cast::<[i8; 4]>(), *w.cast::<[i8; 4]>()) };
        // SAFETY: as above.
        let [[a0, b0], [a1, b1], [a2, b2], [a3, b3]] = unsafe { *column.cast::<[Words; 4]>() };
        let weights = [i32::from(v0), i32::from(v1)];
        a.add([a0, a1], weights);
        b.add([b0, b1], weights);
        let weights = [i32::from(w0), i32::from(w1)];
        c.add([a0, a1], weights);
        d.add([b0, b1], weights);
        let weights = [i32::from(v2), i32::from(v3)];
        a.add([a2, a3], weights);
        b.add([b2, b3], weights);
        let weights = [i32::from(w2), i32::from(w3)];
        c.add([a2, a3], weights);
        d.add([b2, b3], weights);
        (column, v, w) = (column.wrapping_add(4), v.wrapping_add(4), w.wrapping_add(4));
    }
    let ([a0, a1], [b0, b1], [c0, c1], [d0, d1]) = (a.finish(), b.finish(), c.finish(), d.finish());
    *first = [a0, a1, b0, b1];
    *second = [c0, c1, d0, d1];
}
