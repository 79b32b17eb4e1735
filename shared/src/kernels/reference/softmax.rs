//! Softmax in fixed point: no floats, no tables.

use crate::quant::{
    Multiplier, multiply_by_quantized_multiplier, rounding_divide_by_pot as divide_by_pot,
    saturating_rounding_doubling_high_mul as high_mul,
};

/// Integer bits of the scaled difference to the largest input (Q5.26).
const DIFF_INTEGER_BITS: u32 = 5;
/// Integer bits of the sum of exponentials (Q12.19).
const SUM_INTEGER_BITS: i32 = 12;

/// The factor from an input step to Q5.26, and the difference below which an exponential counts as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftmaxScale {
    /// Multiplier with a left shift.
    pub factor: Multiplier,
    /// Smallest difference (a negative number of steps) that is computed.
    pub diff_min: i32,
}

impl SoftmaxScale {
    /// From the stored factor.
    ///
    /// # Source
    /// TensorFlow Lite `CalculateInputRadius` (`kernels/internal/quantization_util.cc`).
    #[must_use]
    pub fn new(factor: Multiplier) -> Self {
        const RADIUS: i32 = ((1 << DIFF_INTEGER_BITS) - 1) << (31 - DIFF_INTEGER_BITS);
        Self { factor, diff_min: -(RADIUS >> factor.shift.clamp(0, 31)) }
    }

    /// The factor for an input scale (beta is 1); `None` for a scale of 16 or more, which the format cannot hold.
    ///
    /// # Source
    /// TensorFlow Lite `PreprocessSoftmaxScaling` (`kernels/internal/quantization_util.cc`).
    #[must_use]
    pub fn factor_for(input_scale: f32) -> Option<Multiplier> {
        Multiplier::from_real(f64::from(input_scale) * f64::from(1_u32 << (31 - DIFF_INTEGER_BITS)))
    }
}

/// Computes one pixel's probabilities: scale 1/256, zero point -128.
///
/// # Shapes
/// `input` and `output`: `[c]`.
///
/// # Arithmetic
/// `out = round(256 e_i / sum(e)) - 128` with `e_i = exp(scale (x_i - max(x)))` in Q0.31, summed in Q12.19; differences below
/// `diff_min` count as zero.
///
/// # Source
/// TensorFlow Lite Micro `reference_ops::Softmax` (int8); exponential and reciprocal as gemmlowp's `fixedpoint.h` has them.
#[inline(never)]
pub fn softmax_row(scale: SoftmaxScale, input: &[i8], output: &mut [i8]) {
    let largest = i32::from(input.iter().fold(i8::MIN, |largest, &value| largest.max(value)));
    let exponential = |value: i8| {
        let diff = i32::from(value) - largest;
        (diff >= scale.diff_min).then(|| exp_on_negative_values(multiply_by_quantized_multiplier(diff, scale.factor)))
    };
    let mut sum = 0_i32;
    for e in input.iter().filter_map(|&value| exponential(value)) {
        sum = sum.saturating_add(divide_by_pot(e, SUM_INTEGER_BITS));
    }
    let headroom = sum.max(1).leading_zeros() as i32; // 1..=31
    let bits_over_unit = SUM_INTEGER_BITS - headroom;
    let normalized = (sum.max(1) as u32) << headroom; // in [2^31, 2^32)
    let reciprocal = one_over_one_plus_x(normalized);
    for (out, &value) in output.iter_mut().zip(input) {
        *out = exponential(value).map_or(i8::MIN, |e| {
            // 512 and more nearly equal scores shift everything out; TensorFlow Lite leaves that undefined
            let shift = bits_over_unit + 31 - 8;
            let probability = if shift > 31 { 0 } else { divide_by_pot(high_mul(reciprocal, e), shift) };
            (probability - 128).min(127) as i8 // neither factor is negative
        });
    }
}

/// `exp(a)` for `a <= 0` in Q5.26, result in Q0.31.
fn exp_on_negative_values(a: i32) -> i32 {
    const ONE_QUARTER: i32 = 1 << 24;
    /// `exp(-2^i)` in Q0.31 for `i` in `-2..=4`.
    static FACTORS: [i32; 7] = [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    if a == 0 {
        return i32::MAX;
    }
    let in_quarter = (a & (ONE_QUARTER - 1)) - ONE_QUARTER; // in [-1/4, 0)
    let mut result = exp_between_minus_quarter_and_zero(in_quarter << DIFF_INTEGER_BITS);
    let remainder = in_quarter.wrapping_sub(a);
    for (bit, &factor) in (24..).zip(&FACTORS) {
        if remainder & (1 << bit) != 0 {
            result = high_mul(result, factor);
        }
    }
    result
}

/// Taylor series around -1/8; argument and result in Q0.31.
fn exp_between_minus_quarter_and_zero(a: i32) -> i32 {
    const EXP_OF_MINUS_EIGHTH: i32 = 1_895_147_668;
    const ONE_THIRD: i32 = 715_827_883;
    let x = a + (1 << 28);
    let x2 = high_mul(x, x);
    let x3 = high_mul(x2, x);
    let x4_over_4 = divide_by_pot(high_mul(x2, x2), 2);
    let tail = divide_by_pot(high_mul(x4_over_4 + x3, ONE_THIRD) + x2, 1); // x^2/2 + x^3/6 + x^4/24
    EXP_OF_MINUS_EIGHTH + high_mul(EXP_OF_MINUS_EIGHTH, x + tail)
}

/// `1 / (1 + x)` for `x` in `[0, 1)`, Q0.31, by three Newton steps; `normalized` is `1 + x`.
fn one_over_one_plus_x(normalized: u32) -> i32 {
    const C48_OVER_17: i32 = 1_515_870_810; // Q2.29
    const MINUS_32_OVER_17: i32 = -1_010_580_540; // Q2.29
    let half_denominator = (normalized >> 1) as i32; // (x + 1) / 2
    let mut y = C48_OVER_17 + high_mul(half_denominator, MINUS_32_OVER_17);
    for _ in 0..3 {
        let error = (1 << 29) - high_mul(half_denominator, y);
        y += shift_left_saturating(high_mul(y, error), 2);
    }
    shift_left_saturating(y, 1)
}

/// `x * 2^bits`, for `bits` below 32.
fn shift_left_saturating(x: i32, bits: u32) -> i32 {
    let shifted = x << bits;
    if shifted >> bits == x { shifted } else { i32::MAX ^ (x >> 31) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_shifts_saturate() {
        for x in [0, 1, -1, 1 << 29, -(1 << 29), (1 << 29) - 1, i32::MAX, i32::MIN, 1 << 30, -(1 << 30) - 1] {
            for bits in [0, 1, 2] {
                let wide = (i64::from(x) << bits).clamp(i64::from(i32::MIN), i64::from(i32::MAX));
                assert_eq!(i64::from(shift_left_saturating(x, bits)), wide, "{x} << {bits}");
            }
        }
    }

    #[test]
    fn many_equal_scores_share_nothing_that_can_be_shown() {
        let scale = SoftmaxScale::new(SoftmaxScale::factor_for(0.1).unwrap());
        for (classes, expected) in [(2, 0), (256, -127), (300, -127), (600, -128), (2000, -128)] {
            let input = std::vec![5; classes];
            let mut output = std::vec![0; classes];
            softmax_row(scale, &input, &mut output);
            assert!(output.iter().all(|&q| q == expected), "{classes}: {}", output[0]);
        }
    }
}
