//! Scales, zero points and the one rounding rule: `real = scale * (q - zero_point)`.

/// A positive real factor as `multiplier * 2^(shift - 31)`, `multiplier` in `[2^30, 2^31)`; `shift` is positive to the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier {
    /// The factor's mantissa as a Q0.31 number.
    pub multiplier: i32,
    /// Power of two.
    pub shift: i32,
}

/// Shifts that a model file may hold.
pub const SHIFT_RANGE: core::ops::RangeInclusive<i32> = -31..=30;

impl Multiplier {
    /// The nearest representable factor; a factor below `2^-32` becomes zero.
    ///
    /// Returns `None` for a negative, infinite or not-a-number factor, or one of `2^30` or more.
    ///
    /// # Source
    /// TensorFlow Lite `QuantizeMultiplier` (`kernels/internal/quantization_util.cc`).
    #[must_use]
    pub fn from_real(real: f64) -> Option<Self> {
        if !real.is_finite() || real < 0.0 {
            return None;
        }
        if real == 0.0 {
            return Some(Self { multiplier: 0, shift: 0 });
        }
        let bits = real.to_bits();
        let exponent_field = i32::try_from((bits >> 52) & 0x7ff).ok()?;
        if exponent_field == 0 {
            return Some(Self { multiplier: 0, shift: 0 }); // subnormal: far below 2^-31
        }
        let mut shift = exponent_field - 1022; // real = fraction * 2^shift with fraction in [0.5, 1)
        let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52); // fraction * 2^53
        let mut q = (mantissa + (1 << 21)) >> 22; // round(fraction * 2^31), ties away from zero
        if q == 1 << 31 {
            q /= 2;
            shift += 1;
        }
        if shift < -31 {
            return Some(Self { multiplier: 0, shift: 0 });
        }
        if shift > 30 {
            return None;
        }
        Some(Self { multiplier: i32::try_from(q).ok()?, shift })
    }

    /// The real factor.
    #[must_use]
    pub fn to_real(self) -> f64 {
        let two_to = |e: i32| f64::from_bits(u64::try_from(1023 + e).unwrap_or(0) << 52);
        f64::from(self.multiplier) * two_to(self.shift - 31)
    }

    /// Whether the pair is one that [`from_real`](Self::from_real) can make.
    #[must_use]
    pub fn is_valid(self) -> bool {
        (self.multiplier == 0 || self.multiplier >= 1 << 30) && SHIFT_RANGE.contains(&self.shift)
    }
}

/// `round(a * b / 2^31)`, saturating; ties go away from zero for positive products and towards zero for negative ones.
///
/// # Source
/// gemmlowp `SaturatingRoundingDoublingHighMul` (`fixedpoint/fixedpoint.h`).
#[cfg_attr(ocelli_isa = "armv6m", inline(never))] // the product of 64 bits is a call there
#[cfg_attr(not(ocelli_isa = "armv6m"), inline)]
#[must_use]
pub const fn saturating_rounding_doubling_high_mul(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    // gemmlowp adds 1 - 2^30 to a negative product and then divides towards zero: the same for every product.
    ((a as i64 * b as i64 + (1 << 30)) >> 31) as i32 // in range: |product| < 2^62 here
}

/// `round(x / 2^exponent)`, ties away from zero; `exponent` in `0..=31`.
///
/// # Panics
/// With overflow checks, when `exponent` is outside its range.
///
/// # Source
/// gemmlowp `RoundingDivideByPOT` (`fixedpoint/fixedpoint.h`).
#[inline]
#[must_use]
pub const fn rounding_divide_by_pot(x: i32, exponent: i32) -> i32 {
    let mask = ((1_u32 << exponent) - 1) as i32;
    let threshold = (mask >> 1) + (x < 0) as i32;
    (x >> exponent) + (x & mask > threshold) as i32
}

/// `x * m`, rounded twice as TensorFlow Lite Micro does: after the high multiplication and after the right shift.
///
/// A left shift that leaves 32 bits wraps (the reference leaves it undefined).
///
/// # Panics
/// With overflow checks, when the shift is outside [`SHIFT_RANGE`].
///
/// # Source
/// TensorFlow Lite `MultiplyByQuantizedMultiplier` (`kernels/internal/common.cc`), double rounding.
#[inline]
#[must_use]
pub const fn multiply_by_quantized_multiplier(x: i32, m: Multiplier) -> i32 {
    let (left, right) = if m.shift > 0 { (m.shift, 0) } else { (0, -m.shift) };
    let shifted = x.wrapping_shl(left as u32);
    rounding_divide_by_pot(saturating_rounding_doubling_high_mul(shifted, m.multiplier), right)
}

/// `x * m`, rounded once, half away from zero, and saturated.
///
/// # Source
/// TensorFlow Lite's fully connected kernel for uint8, which multiplies by the real factor.
#[inline]
#[must_use]
pub const fn multiply_rounding_once(x: i32, m: Multiplier) -> i32 {
    let product = x as i64 * m.multiplier as i64;
    let right = 31 - m.shift; // 1 to 62 for shifts in range
    let half = 1_i64 << (right - 1);
    let rounded = if product >= 0 { (product + half) >> right } else { -((half - product) >> right) };
    if rounded > i32::MAX as i64 {
        i32::MAX
    } else if rounded < i32::MIN as i64 {
        i32::MIN
    } else {
        rounded as i32
    }
}

/// An accumulator to an int8 output.
///
/// # Arithmetic
/// `clamp(multiply_by_quantized_multiplier(acc, m) + zero_point, act_min, act_max)`.
///
/// # Source
/// TensorFlow Lite Micro, the end of `reference_integer_ops::ConvPerChannel`.
#[inline]
#[must_use]
pub fn requantize(acc: i32, m: Multiplier, output: &OutputStage) -> i8 {
    let value = multiply_by_quantized_multiplier(acc, m).saturating_add(output.zero_point);
    clamp_i8(value, output)
}

/// Clamps to the activation's range, which lies inside int8.
#[inline]
#[must_use]
pub fn clamp_i8(value: i32, output: &OutputStage) -> i8 {
    let clamped = value.max(i32::from(output.act_min)).min(i32::from(output.act_max));
    clamped as i8 // in range: act_min and act_max are int8
}

/// How an operator's accumulators become int8 outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputStage {
    /// Zero point of the output.
    pub zero_point: i32,
    /// Smallest output (the fused activation's lower bound).
    pub act_min: i8,
    /// Largest output.
    pub act_max: i8,
}

/// Int8 bounds of an activation: `zero_point + round(bound / scale)`, inside `-128..=127`.
///
/// # Source
/// TensorFlow Lite `CalculateActivationRangeQuantized` (`kernels/kernel_util.cc`).
#[must_use]
pub fn activation_range(activation: crate::ir::Activation, scale: f32, zero_point: i32) -> (i8, i8) {
    let (low, high) = activation.bounds();
    (quantize(low, scale, zero_point), quantize(high, scale, zero_point))
}

/// The int8 value nearest to `real` (ties away from zero), saturating.
///
/// # Arithmetic
/// `q = clamp(round(real / scale) + zero_point, -128, 127)` in float32.
///
/// # Source
/// TensorFlow Lite, `reference_ops::AffineQuantize`.
#[must_use]
pub fn quantize(real: f32, scale: f32, zero_point: i32) -> i8 {
    let scaled = real / scale;
    if scaled.is_nan() {
        return zero_point.clamp(-128, 127) as i8;
    }
    // `as` saturates; 512 keeps the sum inside i32 and lies outside int8 for every zero point.
    let limited = scaled.clamp(-512.0, 512.0);
    let truncated = limited as i32;
    let rest = limited - truncated as f32;
    let rounded = truncated + i32::from(rest >= 0.5) - i32::from(rest <= -0.5);
    (rounded + zero_point).clamp(-128, 127) as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    #[test]
    fn rounding_divide_rounds_half_away_from_zero() {
        assert_eq!([5, 6, 7, -5, -6, -7].map(|x| rounding_divide_by_pot(x, 2)), [1, 2, 2, -1, -2, -2]);
        assert_eq!(rounding_divide_by_pot(i32::MIN, 31), -1);
        assert_eq!(rounding_divide_by_pot(1 << 30, 31), 1);
    }

    #[test]
    fn high_mul_rounds_ties_up() {
        for (product, expected) in [(1 << 30, 1), (-1 << 30, 0), ((-1 << 30) - 1, -1), (3 << 30, 2), (-3 << 30, -1)] {
            // gemmlowp's own words
            let nudge = if product >= 0 { 1_i64 << 30 } else { 1 - (1 << 30) };
            assert_eq!((product + nudge) / (1 << 31), expected, "{product}");
        }
        assert_eq!([1, -1, 3, -3].map(|a| saturating_rounding_doubling_high_mul(a, 1 << 30)), [1, 0, 2, -1]);
    }

    #[test]
    fn high_mul_saturates_at_the_one_overflow() {
        assert_eq!(saturating_rounding_doubling_high_mul(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!(saturating_rounding_doubling_high_mul(i32::MIN, i32::MAX), -i32::MAX);
    }

    #[test]
    fn known_multipliers() {
        assert_eq!(Multiplier::from_real(0.5), Some(Multiplier { multiplier: 1 << 30, shift: 0 }));
        assert_eq!(Multiplier::from_real(1.0), Some(Multiplier { multiplier: 1 << 30, shift: 1 }));
        // the largest double below 1 rounds up to 1
        assert_eq!(Multiplier::from_real(1.0 - f64::EPSILON / 2.0), Multiplier::from_real(1.0));
        assert_eq!(Multiplier::from_real(f64::NAN), None);
        assert_eq!(Multiplier::from_real(-0.1), None);
        assert_eq!(Multiplier::from_real(1e300), None);
        assert_eq!(Multiplier::from_real(1e-300), Some(Multiplier { multiplier: 0, shift: 0 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]
        #[test]
        fn requantize_is_within_one_of_the_real_product(acc in -(1 << 24)..(1 << 24_i32), real in 1e-6_f64..1.0) {
            let m = Multiplier::from_real(real).unwrap();
            let got = f64::from(multiply_by_quantized_multiplier(acc, m));
            prop_assert!((got - f64::from(acc) * real).abs() <= 1.0, "{got}");
        }

        #[test]
        fn requantize_is_monotonic_and_stays_in_range(
            a in any::<i32>(), b in any::<i32>(), mantissa in (1 << 30)..=i32::MAX, shift in -31..=0_i32,
            zero_point in -128..=127_i32, act_min in -128..=0_i8, act_max in 0..=127_i8,
        ) {
            let m = Multiplier { multiplier: mantissa, shift };
            let output = OutputStage { zero_point, act_min, act_max };
            let (low, high) = (requantize(a.min(b), m, &output), requantize(a.max(b), m, &output));
            prop_assert!(low <= high && low >= act_min && high <= act_max);
        }

        #[test]
        fn multiplier_round_trips(real in 1e-9_f64..1e9) {
            let m = Multiplier::from_real(real).unwrap();
            prop_assert!(m.is_valid());
            prop_assert!((m.to_real() / real - 1.0).abs() < 1e-9);
        }

        #[test]
        fn quantize_inverts_dequantize(q in any::<i8>(), scale in 1e-4_f32..10.0, zero_point in -128..=127_i32) {
            let real = scale * (i32::from(q) - zero_point) as f32;
            prop_assert_eq!(quantize(real, scale, zero_point), q);
        }
    }
}
