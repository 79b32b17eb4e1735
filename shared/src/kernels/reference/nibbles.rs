//! Fully connected layers whose weights have four bits, one input row at a time.

use crate::model::Constants;
use crate::model::records::packed_nibbles;

/// Weights that share four bytes.
const GROUP: usize = 8;
/// What a stored weight is more than its real value, so that it has no sign.
const OFFSET: i32 = 8;

/// Weight `i` of a packed row, plus 8: 0 to 15.
///
/// Eight weights take four bytes: byte `j` holds weight `j` in its low half and weight `j + 4` in its high half, so that four
/// neighbours are taken out of a word by one mask. Beyond the row everything is 8, which stands for zero.
#[inline]
#[must_use]
pub fn nibble(row: &[i8], i: usize) -> i32 {
    let pair = row.get(i / GROUP * 4 + i % 4).map_or(0x88, |pair| pair.cast_unsigned());
    i32::from(if i % GROUP < 4 { pair & 15 } else { pair >> 4 })
}

/// Adds the products of input values `first..first + row.len()` to the accumulators; the first call starts from the bias.
///
/// # Shapes
/// `row`: part of a flat input; weights: `[c_out, inputs]`, each row packed as [`nibble`] reads it; bias and `accumulators`: `[c_out]`.
/// `dot`: [`Isa::dot_nibbles`](crate::kernels::isa::Isa::dot_nibbles).
///
/// # Arithmetic
/// `acc[o] = bias[o] + sum(x * (nibble - 8))` over the calls of a frame; the bias has the zero point folded in.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::FullyConnectedPerChannel`, whose weights of four bits are unpacked first.
pub fn dense_accumulate_nibbles(
    row: &[i8],
    first: usize,
    inputs: usize,
    constants: &Constants<'_>,
    accumulators: &mut [i32],
    dot: impl Fn(&[i8], &[i8]) -> i32,
) {
    if first == 0 {
        accumulators.iter_mut().zip(constants.bias).for_each(|(acc, &bias)| *acc = bias);
    }
    let offset = OFFSET * row.iter().map(|&value| i32::from(value)).sum::<i32>();
    // a row of the input may begin and end inside a group
    let (head, whole) = row.split_at(row.len().min(first.wrapping_neg() % GROUP));
    let (whole, tail) = whole.split_at(whole.len() / GROUP * GROUP);
    let start = first.wrapping_add(head.len());
    let ends = |weights: &[i8]| {
        let product = |values: &[i8], first: usize| -> i32 {
            values.iter().zip(first..).map(|(&value, i)| i32::from(value) * nibble(weights, i)).sum()
        };
        product(head, first) + product(tail, start.wrapping_add(whole.len()))
    };
    let mut rest = constants.weights;
    for acc in accumulators {
        let Some((weights, others)) = rest.split_at_checked(packed_nibbles(inputs)) else { return };
        let packed = weights.get(start / 2..start / 2 + whole.len() / 2).unwrap_or_default();
        *acc += dot(whole, packed) + ends(weights) - offset; // bounded when the model was loaded
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::isa::Isa;
    use crate::kernels::portable::Portable;

    #[test]
    fn weights_lie_as_the_page_of_the_format_says() {
        // 1 2 3 4 -1 -2 -3 -4, then 7 -7 and six that pad: each plus 8, weight j + 4 above weight j
        let row = [0x79, 0x6a, 0x5b, 0x4c, 0x8f, 0x81, 0x88, 0x88_u8].map(u8::cast_signed);
        let weights: [i32; 16] = core::array::from_fn(|i| nibble(&row, i) - OFFSET);
        assert_eq!(weights, [1, 2, 3, 4, -1, -2, -3, -4, 7, -7, 0, 0, 0, 0, 0, 0]);
        assert_eq!(nibble(&row, 16), OFFSET);
        assert_eq!(Portable::dot_nibbles(&[1, 0, 0, 0, 0, 0, 0, 10], &row), 9 + 10 * 4);
    }

    #[test]
    fn rows_of_any_length_add_up_to_the_plain_sum() {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for (inputs, row_len) in [(1, 1), (8, 8), (9, 3), (24, 12), (35, 5), (60, 20), (63, 9), (160, 32), (7, 7)] {
            let values: [i8; 160] = core::array::from_fn(|_| noise().cast_signed());
            let packed: [i8; 3 * 80] = core::array::from_fn(|_| noise().cast_signed());
            let bytes = packed_nibbles(inputs);
            let constants = Constants { weights: &packed[..3 * bytes], bias: &[5, -6, 7000], ..Constants::EMPTY };
            let mut sums = [0; 3];
            for (y, row) in values[..inputs].chunks_exact(row_len).enumerate() {
                dense_accumulate_nibbles(row, y * row_len, inputs, &constants, &mut sums, Portable::dot_nibbles);
            }
            for (o, &sum) in sums.iter().enumerate() {
                let weights = &packed[o * bytes..][..bytes];
                let products = (0..inputs).map(|i| i32::from(values[i]) * (nibble(weights, i) - 8));
                assert_eq!(sum, constants.bias[o] + products.sum::<i32>(), "{inputs} inputs, output {o}");
            }
        }
    }
}
