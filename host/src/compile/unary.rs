//! Functions of single values as tables of 256 entries: computed here in the fixed point of TensorFlow Lite Micro, exact for every
//! int8 input, so that a device looks them up.

use crate::quantize::QuantParams;
use anyhow::{Context, ensure};
use ocelli::ir::{Activation, Unary};
use ocelli::quant::{
    Multiplier, activation_range, multiply_by_quantized_multiplier, rounding_divide_by_pot as divide,
    saturating_rounding_doubling_high_mul as high_mul,
};

/// The table of a function, that of -128 first.
///
/// # Errors
/// When a scale is outside what the arithmetic can take.
///
/// # Source
/// TensorFlow Lite Micro: `reference_integer_ops::Logistic` and `Tanh`, `reference_ops::HardSwish`, `QuantizeLeakyRelu`,
/// `ReluQuantized`, `Requantize`; gemmlowp `fixedpoint.h` for the fixed-point functions.
pub fn lookup_table(unary: Unary, input: QuantParams, output: QuantParams) -> anyhow::Result<Vec<i8>> {
    let table = |f: &dyn Fn(i32) -> i32| table(input, f);
    let rescaled = |clamp| rescaled_table(f64::from(input.scale) / f64::from(output.scale), input, output, clamp);
    Ok(match unary {
        Unary::Requantize => rescaled(Activation::None)?,
        Unary::Relu => rescaled(Activation::Relu)?,
        Unary::ReluN1To1 => rescaled(Activation::ReluN1To1)?,
        // TensorFlow Lite Micro clamps at the input's scale and rescales nothing
        Unary::Relu6 => {
            let six = (6.0 / input.scale).round() as i32;
            table(&|x| x.clamp(0, six) + input.zero_point)
        }
        Unary::LeakyRelu { alpha } => {
            let slope = factor(f64::from(input.scale * alpha / output.scale))?;
            let ratio = factor(f64::from(input.scale / output.scale))?;
            table(&|x| scale_by(x, if x >= 0 { ratio } else { slope }).saturating_add(output.zero_point))
        }
        Unary::Sigmoid => {
            let (range, to_q4) = saturating_range(input)?;
            table(&|x| range(x).unwrap_or_else(|| divide(logistic(to_q4(x)), 23) - 128))
        }
        Unary::Tanh => {
            let (range, to_q4) = saturating_range(input)?;
            table(&|x| range(x).unwrap_or_else(|| divide(tanh(to_q4(x)), 24)))
        }
        Unary::HardSwish => {
            let hard_swish = HardSwish::new(input, output)?;
            table(&|x| hard_swish.of(x) + output.zero_point)
        }
        // TensorFlow Lite Micro has none of these: the real value, rounded once
        Unary::HardSigmoid { .. } | Unary::Swish | Unary::Clip { .. } => real_table(unary, input, output),
    })
}

/// The table of a function of a uint8 network, in int8: that of 0 first.
///
/// # Errors
/// When a scale is outside what the arithmetic can take.
///
/// # Source
/// TensorFlow Lite's reference kernels for uint8 (`kernels/activations.cc`): relu, relu6 and relu_n1_to_1 rescale by a quotient in single
/// precision, sigmoid and tanh are computed in it; the others are those of int8.
pub fn unsigned_table(unary: Unary, input: QuantParams, output: QuantParams) -> anyhow::Result<Vec<i8>> {
    let in_float = |f: &dyn Fn(f32) -> f32| {
        let inverse = 1.0 / output.scale;
        table(input, &|x| saturating_sum((f(input.scale * x as f32) * inverse).round(), output.zero_point))
    };
    let rescaled = |clamp| rescaled_table(f64::from(input.scale / output.scale), input, output, clamp);
    match unary {
        Unary::Relu => rescaled(Activation::Relu),
        Unary::Relu6 => rescaled(Activation::Relu6),
        Unary::ReluN1To1 => rescaled(Activation::ReluN1To1),
        Unary::Sigmoid => Ok(in_float(&|x| 1.0 / (1.0 + (-x).exp()))),
        Unary::Tanh => Ok(in_float(&f32::tanh)),
        Unary::LeakyRelu { .. }
        | Unary::HardSwish
        | Unary::HardSigmoid { .. }
        | Unary::Swish
        | Unary::Clip { .. }
        | Unary::Requantize => lookup_table(unary, input, output),
    }
}

/// The table of a function in double precision: `round(f(x) / scale) + zero_point`, halves away from zero.
fn real_table(unary: Unary, input: QuantParams, output: QuantParams) -> Vec<i8> {
    let function = |x: f64| match unary {
        Unary::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
        Unary::Swish => x / (1.0 + (-x).exp()),
        Unary::Clip { low, high } => x.max(low.into()).min(high.into()),
        _ => x,
    };
    let steps = |x: i32| (function(f64::from(input.scale) * f64::from(x)) / f64::from(output.scale)).round();
    table(input, &|x| (steps(x) as i32).saturating_add(output.zero_point))
}

/// The identity to another scale, `ratio` output steps for one of the input, clamped there.
fn rescaled_table(ratio: f64, input: QuantParams, output: QuantParams, clamp: Activation) -> anyhow::Result<Vec<i8>> {
    let ratio = factor(ratio)?;
    let (low, high) = activation_range(clamp, output.scale, output.zero_point);
    let value = |x| scale_by(x, ratio).saturating_add(output.zero_point).clamp(low.into(), high.into());
    Ok(table(input, &value))
}

fn table(input: QuantParams, f: &dyn Fn(i32) -> i32) -> Vec<i8> {
    (-128..=127).map(|q| f(q - input.zero_point).clamp(-128, 127) as i8).collect()
}

fn factor(real: f64) -> anyhow::Result<Multiplier> {
    Multiplier::from_real(real).context("its scale is out of range")
}

/// `x * factor`, rounded as [`multiply_by_quantized_multiplier`] does, but saturated where a left shift would leave 32 bits, which the
/// reference leaves undefined.
fn scale_by(x: i32, factor: Multiplier) -> i32 {
    let left = factor.shift.max(0);
    multiply_by_quantized_multiplier(
        shift_left(x, left.unsigned_abs()),
        Multiplier { shift: factor.shift - left, ..factor },
    )
}

/// A rounded real number and a zero point; what does not fit saturates.
fn saturating_sum(real: f32, zero_point: i32) -> i32 {
    (real as i32).saturating_add(zero_point)
}

/// The table that takes a tensor to another scale where TensorFlow Lite concatenates.
///
/// # Source
/// TensorFlow Lite `reference_ops::ConcatenationWithScaling`, in float.
#[must_use]
pub fn rescale_table(input: QuantParams, output: QuantParams) -> Vec<i8> {
    let scale = input.scale * (1.0 / output.scale);
    let bias = -(input.zero_point as f32) * scale;
    let value = |q: i32| saturating_sum((q as f32 * scale + bias).round(), output.zero_point);
    (-128..=127).map(|q| value(q).clamp(-128, 127) as i8).collect()
}

type Range = Box<dyn Fn(i32) -> Option<i32>>;
type ToQ4 = Box<dyn Fn(i32) -> i32>;

/// The values at which a sigmoid or tanh has reached its end, and the way from a step to Q4.27.
fn saturating_range(input: QuantParams) -> anyhow::Result<(Range, ToQ4)> {
    let factor =
        Multiplier::from_real(f64::from(input.scale) * f64::from(1 << 27)).context("its scale is out of range")?;
    let radius = (15.0 * f64::from(1 << 27) / 2.0_f64.powi(factor.shift)).floor();
    let radius = radius.clamp(0.0, f64::from(i32::MAX)) as i32;
    let range = move |x: i32| (x <= -radius).then_some(-128).or((x >= radius).then_some(127));
    Ok((Box::new(range), Box::new(move |x| scale_by(x, factor))))
}

/// `a * 2^exponent`, saturated.
fn shift_left(a: i32, exponent: u32) -> i32 {
    (i64::from(a) << exponent).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// `exp(a)` for `a <= 0` with `integer_bits` bits before the point, in Q0.31.
fn exp_on_negative_values(a: i32, integer_bits: u32) -> i32 {
    /// `exp(-2^i)` in Q0.31.
    const FACTORS: [(i32, i32); 7] = [
        (-2, 1_672_461_947),
        (-1, 1_302_514_674),
        (0, 790_015_084),
        (1, 290_630_308),
        (2, 39_332_535),
        (3, 720_401),
        (4, 242),
    ];
    /// `exp(-1/8)` and `1/3` in Q0.31.
    const EXP_EIGHTH: i32 = 1_895_147_668;
    const THIRD: i32 = 715_827_883;
    if a == 0 {
        return i32::MAX;
    }
    let fraction_bits = 31 - integer_bits as i32;
    let quarter = 1 << (fraction_bits - 2);
    let in_quarter = (a & (quarter - 1)) - quarter; // in [-1/4, 0)
    let x = shift_left(in_quarter, integer_bits) + (1 << 28);
    let x2 = high_mul(x, x);
    let (x3, x4) = (high_mul(x2, x), high_mul(x2, x2));
    let terms = divide(high_mul(divide(x4, 2) + x3, THIRD) + x2, 1);
    let mut result = EXP_EIGHTH + high_mul(EXP_EIGHTH, x + terms);
    let remainder = in_quarter - a;
    for (exponent, factor) in FACTORS {
        if integer_bits as i32 > exponent && remainder & (1 << (fraction_bits + exponent)) != 0 {
            result = high_mul(result, factor);
        }
    }
    result
}

/// `2 / (1 + a)` in Q2.29 for `a` in Q0.31 between 0 and 1, by Newton and Raphson.
fn two_over_one_plus(a: i32) -> i32 {
    let half = ((i64::from(a) + i64::from(i32::MAX) + 1) / 2) as i32;
    let mut x = 1_515_870_810 + high_mul(half, -1_010_580_540); // 48/17 - 32/17 half
    for _ in 0..3 {
        x = x.wrapping_add(shift_left(high_mul(x, (1 << 29) - high_mul(half, x)), 2));
    }
    x
}

/// `1 / (1 + exp(-a))` in Q0.31 for `a` in Q4.27.
fn logistic(a: i32) -> i32 {
    let positive = shift_left(two_over_one_plus(exp_on_negative_values(-a.abs(), 4)), 1);
    match a {
        0 => 1 << 30,
        a if a > 0 => positive,
        _ => i32::MAX - positive,
    }
}

/// `tanh(a)` in Q0.31 for `a` in Q4.27: `(1 - exp(-2|a|)) / (1 + exp(-2|a|))` with a sign.
fn tanh(a: i32) -> i32 {
    // the same bits with one more before the point are twice the value
    let positive = shift_left(two_over_one_plus(exp_on_negative_values(-a.abs(), 5)) - (1 << 29), 2);
    match a {
        0 => 0,
        a if a > 0 => positive,
        _ => -positive,
    }
}

/// The 16-bit factors of a hard swish.
struct HardSwish {
    output: (i32, i32),
    relu_ish: (i32, i32),
}

impl HardSwish {
    fn new(input: QuantParams, output: QuantParams) -> anyhow::Result<Self> {
        let fine = input.scale / 128.0;
        let to_16_bits = |real: f32| -> anyhow::Result<(i32, i32)> {
            let factor = Multiplier::from_real(f64::from(real)).context("its scale is out of range")?;
            let rounded =
                if factor.multiplier >= i32::MAX - (1 << 15) { 32767 } else { (factor.multiplier + (1 << 15)) >> 16 };
            Ok((rounded, factor.shift))
        };
        let (output, relu_ish) = (to_16_bits(fine / output.scale)?, to_16_bits(fine / (3.0 / 32768.0))?);
        ensure!(output.1 <= 0, "hard swish cannot take an output scale so much smaller than the input's");
        ensure!(relu_ish.1 < 16, "hard swish cannot take so large an input scale");
        Ok(Self { output, relu_ish })
    }

    /// The output less its zero point, for an input less its own.
    fn of(&self, x: i32) -> i32 {
        let saturate = |v: i32| v.clamp(-32768, 32767);
        let fine = x << 7;
        let scaled = high_mul_16(fine, self.output.0);
        let (factor, exponent) = self.relu_ish;
        let mut gate = fine;
        if exponent > 0 {
            gate = saturate(gate << (exponent - 1));
        }
        gate = high_mul_16(gate, factor);
        if exponent > 0 {
            gate = saturate(gate << 1);
        }
        if exponent < 0 {
            gate = divide(gate, -exponent);
        }
        let gate = (gate + 32768) >> 1; // from [-1, 1] to [0, 1]
        divide(gate * scaled / 32768, -self.output.1)
    }
}

/// `round(a * b / 2^15)` on 16-bit numbers, as `high_mul` on 32-bit ones.
fn high_mul_16(a: i32, b: i32) -> i32 {
    let product = a * b;
    (product + if product >= 0 { 1 << 14 } else { 1 - (1 << 14) }) / (1 << 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_at_the_ends_of_their_range_saturate() {
        let scales = [f32::MIN_POSITIVE, 1e-38, 1e-30, 1e-9, 1e-3, 1.0, 1e9, 1e30, f32::MAX];
        let unaries = [
            Unary::Relu,
            Unary::Relu6,
            Unary::ReluN1To1,
            Unary::LeakyRelu { alpha: 0.1 },
            Unary::Sigmoid,
            Unary::Tanh,
            Unary::HardSwish,
            Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Unary::Swish,
            Unary::Clip { low: -3.0, high: f32::INFINITY },
            Unary::Requantize,
        ];
        let zero_points = [-128, -1, 0, 5, 127];
        let params = || {
            let with = |scale| zero_points.iter().map(move |&zero_point| QuantParams { scale, zero_point });
            scales.iter().flat_map(move |&scale| with(scale))
        };
        for input in params() {
            for output in params() {
                assert_eq!(rescale_table(input, output).len(), 256);
                for unary in unaries {
                    for table in [lookup_table(unary, input, output), unsigned_table(unary, input, output)] {
                        assert!(table.is_err() || table.is_ok_and(|table| table.len() == 256)); // and no panic
                    }
                }
            }
        }
    }

    #[test]
    fn functions_without_a_fixed_point_form_are_rounded_once() {
        let input = QuantParams { scale: 1.0, zero_point: 0 };
        let at = |unary, output, q: i32| i32::from(lookup_table(unary, input, output).unwrap()[(q + 128) as usize]);
        let hundredths = QuantParams { scale: 0.01, zero_point: -50 };
        // 0.2 x + 0.5: 0, 0.1, 0.5, 1
        let hard_sigmoid = Unary::HardSigmoid { alpha: 0.2, beta: 0.5 };
        assert_eq!([-3, -2, 0, 3].map(|q| at(hard_sigmoid, hundredths, q)), [-50, -40, 0, 50]);
        // 1 / (1 + e) = 0.26894; e / (1 + e) = 0.73106; 2 e^2 / (1 + e^2) = 1.76159
        assert_eq!([-1, 0, 1, 2].map(|q| at(Unary::Swish, hundredths, q)), [-77, -50, 23, 126]);
        let clip = Unary::Clip { low: -2.0, high: 5.0 };
        let twos = QuantParams { scale: 2.0, zero_point: 1 };
        assert_eq!([-9, -1, 0, 3, 9].map(|q| at(clip, twos, q)), [0, 0, 1, 3, 4]);
    }

    #[test]
    fn a_rescaling_that_leaves_32_bits_keeps_its_order() {
        let (input, output) = (QuantParams { scale: 1.0, zero_point: 0 }, QuantParams { scale: 2e-9, zero_point: 5 });
        let steps: Vec<i8> = (-128..=127)
            .map(|q: i32| {
                if q < 0 {
                    -128
                } else if q == 0 {
                    5
                } else {
                    127
                }
            })
            .collect();
        assert_eq!(lookup_table(Unary::Requantize, input, output).unwrap(), steps);
        assert_eq!(rescale_table(input, output), steps);
    }

    #[test]
    fn relu6_of_uint8_rescales_and_that_of_int8_does_not() {
        // by TensorFlow Lite's reference kernels and by TensorFlow Lite Micro: input 10 of zero point 10 is 0 of zero point 0
        let input = QuantParams { scale: 0.1, zero_point: 10 - 128 };
        let output = QuantParams { scale: 6.0 / 255.0, zero_point: -128 };
        let at = |table: Vec<i8>, q: i32| i32::from(table[q as usize]) + 128;
        let unsigned = || unsigned_table(Unary::Relu6, input, output).unwrap();
        // 40: half a step above 127, but for the quotient in double precision
        assert_eq!([10, 11, 40, 69, 70, 200].map(|q| at(unsigned(), q)), [0, 4, 128, 251, 255, 255]);
        let signed = || lookup_table(Unary::Relu6, input, output).unwrap();
        assert_eq!([0, 10, 11, 70, 200].map(|q| at(signed(), q)), [10, 10, 11, 70, 70]);
    }
}
