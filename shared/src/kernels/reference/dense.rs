//! Fully connected layers, one input row at a time: the input need not be held whole.

use crate::model::Constants;
use crate::quant::{OutputStage, requantize};

/// Adds the products of input values `first..first + row.len()` to the accumulators; the first call starts from the bias.
///
/// # Shapes
/// `row`: part of a flat input; `weights`: `[c_out, inputs]`; `bias` and `accumulators`: `[c_out]`.
///
/// # Arithmetic
/// `acc[o] = bias[o] + sum((x - input_zero_point) * w[o])` over the calls of a frame.
///
/// # Panics
/// When there is not one bias an accumulator.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::FullyConnectedPerChannel`.
pub fn dense_accumulate(
    row: &[i8],
    first: usize,
    input_zero_point: i32,
    constants: &Constants<'_>,
    accumulators: &mut [i32],
) {
    let inputs = constants.weights.len() / accumulators.len().max(1);
    if first == 0 {
        accumulators.copy_from_slice(constants.bias);
    }
    for (acc, weights) in accumulators.iter_mut().zip(constants.weights.chunks_exact(inputs.max(1))) {
        let Some(weights) = weights.get(first..) else { continue };
        for (&value, &weight) in row.iter().zip(weights) {
            *acc += (i32::from(value) - input_zero_point) * i32::from(weight); // bounded when the model was loaded
        }
    }
}

/// Turns the accumulators into the output row.
///
/// # Arithmetic
/// `out = clamp(requantize(acc))`, one multiplier an output.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::FullyConnectedPerChannel`.
pub fn dense_finish(accumulators: &[i32], constants: &Constants<'_>, output: &OutputStage, row: &mut [i8]) {
    for (o, (out, &acc)) in row.iter_mut().zip(accumulators).enumerate() {
        *out = requantize(acc, constants.multiplier(o), output);
    }
}
