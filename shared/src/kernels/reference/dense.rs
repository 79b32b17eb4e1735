//! Fully connected layers, one input row at a time: the input need not be held whole.

use crate::kernels::isa::Isa;
use crate::model::Constants;
use crate::model::records::padded;
use crate::quant::{OutputStage, clamp_i8, multiply_rounding_once, requantize};

/// Adds the products of input values `first..first + row.len()` to the accumulators; the first call starts from the bias.
///
/// # Shapes
/// `row`: part of a flat input; `weights`: `[c_out, inputs]`, the last axis padded to a multiple of 4; `bias` and `accumulators`:
/// `[c_out]`.
///
/// # Arithmetic
/// `acc[o] = bias[o] + sum(x * (w[o] - weight_zero_point))` over the calls of a frame; the bias has the zero point folded in.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::FullyConnectedPerChannel`.
pub fn dense_accumulate<I: Isa>(
    row: &[i8],
    first: usize,
    inputs: usize,
    weight_zero_point: i32,
    constants: &Constants<'_>,
    accumulators: &mut [i32],
) {
    if first == 0 {
        accumulators.iter_mut().zip(constants.bias).for_each(|(acc, &bias)| *acc = bias);
    }
    let offset = if weight_zero_point == 0 {
        0
    } else {
        weight_zero_point * row.iter().map(|&value| i32::from(value)).sum::<i32>()
    };
    let mut rest = constants.weights;
    for acc in accumulators {
        // (chunks of a slice would need its length divided)
        let Some((weights, others)) = rest.split_at_checked(padded(inputs)) else { return };
        if let Some(weights) = weights.get(first..first + row.len()) {
            *acc += I::dot(row, weights) - offset; // bounded when the model was loaded
        }
        rest = others;
    }
}

/// Turns the accumulators into the output row.
///
/// # Arithmetic
/// `out = clamp(requantize(acc))`, one multiplier an output; rounded once, half away from zero, where `once` is set.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::FullyConnectedPerChannel`; TensorFlow Lite's `FullyConnected` for uint8.
pub fn dense_finish(accumulators: &[i32], constants: &Constants<'_>, once: bool, stage: &OutputStage, row: &mut [i8]) {
    for (o, (out, &acc)) in row.iter_mut().zip(accumulators).enumerate() {
        let factor = constants.multiplier(o);
        *out = if once {
            clamp_i8(multiply_rounding_once(acc, factor).saturating_add(stage.zero_point), stage)
        } else {
            requantize(acc, factor, stage)
        };
    }
}
