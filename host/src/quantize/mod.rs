//! From float to int8 in TensorFlow Lite's scheme: activations per tensor, weights symmetric per output channel, bias int32.

mod calibrate;

pub use calibrate::{Calibration, Range};

use crate::network::{Network, NetworkError, Node, Weights};
use anyhow::ensure;
use ocelli::image::InputSpec;
use ocelli::ir::{Op, Shape};
use serde::{Deserialize, Serialize};

/// How to quantize.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizationConfig {
    /// Training images whose activations are observed.
    pub calibration_images: usize,
    /// Seed of their choice.
    pub seed: u64,
}

impl Default for QuantizationConfig {
    fn default() -> Self {
        Self { calibration_images: 512, seed: 1 }
    }
}

/// Scale and zero point of a tensor: `real = scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QuantParams {
    /// Real value of one step.
    pub scale: f32,
    /// The quantized value of 0.
    pub zero_point: i32,
}

/// The int8 numbers of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedWeights {
    /// `[c_out, kh, kw, c_in]`, or `[out, 1, 1, in]` for dense.
    pub shape: [usize; 4],
    /// The weights in that order; zero point 0.
    pub kernel: Vec<i8>,
    /// Scale of each output channel, or one for all.
    pub scales: Vec<f32>,
    /// One an output channel, at input scale times weight scale.
    pub bias: Vec<i32>,
}

impl QuantizedWeights {
    /// The scale of an output channel.
    #[must_use]
    pub fn scale(&self, channel: usize) -> f32 {
        if self.scales.len() == 1 { self.scales[0] } else { self.scales[channel] }
    }
}

/// An operator with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedLayer {
    /// Operator and shapes.
    pub node: Node,
    /// Quantization of its output.
    pub output: QuantParams,
    /// Its weights, if it has some.
    pub weights: Option<QuantizedWeights>,
}

/// A network in int8: what the compiler lays out and what tract is given to judge it.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedNetwork {
    /// How a picture becomes the input; `None` when the input is no picture.
    pub picture: Option<InputSpec>,
    /// Shape of the input.
    pub input_shape: Shape,
    /// Quantization of the input.
    pub input: QuantParams,
    /// The operators in order.
    pub layers: Vec<QuantizedLayer>,
    /// Class labels; may be empty.
    pub labels: Vec<String>,
}

impl QuantizedNetwork {
    /// Quantization of a layer's input.
    #[must_use]
    pub fn input_of(&self, layer: usize) -> QuantParams {
        layer.checked_sub(1).map_or(self.input, |before| self.layers[before].output)
    }
}

/// Output of every softmax: probabilities in 1/256.
pub const SOFTMAX_OUTPUT: QuantParams = QuantParams { scale: 1.0 / 256.0, zero_point: -128 };

/// Quantizes a trained network with the ranges that calibration saw.
///
/// # Errors
/// When a layer has no weights or no range, or holds a number that is not finite.
pub fn quantize(
    network: &Network,
    weights: &Weights,
    calibration: &Calibration,
    labels: &[String],
) -> anyhow::Result<QuantizedNetwork> {
    network.check_labels(labels)?;
    let input = input_params(&network.input);
    let mut layers: Vec<QuantizedLayer> = Vec::new();
    let mut before = input;
    for node in network.nodes()? {
        let output = match node.op {
            Op::MaxPool2d { .. } | Op::AveragePool2d { .. } | Op::Flatten => before,
            Op::Softmax => SOFTMAX_OUTPUT,
            Op::Conv2d { .. } | Op::Dense { .. } => calibration.range(&node.name)?.params(),
        };
        let weights = match node.op {
            Op::Conv2d { .. } | Op::Dense { .. } => Some(quantize_weights(network, weights, &node, before)?),
            _ => None,
        };
        layers.push(QuantizedLayer { node, output, weights });
        before = output;
    }
    Ok(QuantizedNetwork {
        picture: Some(network.input),
        input_shape: network.input.shape,
        input,
        layers,
        labels: labels.to_vec(),
    })
}

/// Scale and zero point of a picture: the interval that pixels 0 to 255 become, over all channels.
#[must_use]
pub fn input_params(spec: &InputSpec) -> QuantParams {
    let channels = spec.color.channels() as usize;
    let bounds = (0..channels).flat_map(|c| [spec.normalize(c, 0), spec.normalize(c, 255)]);
    bounds.fold(Range::default(), Range::with).params()
}

/// The quantized input for each pixel value, `[c, 256]`.
#[must_use]
pub fn pixel_lut(spec: &InputSpec, input: QuantParams) -> Vec<i8> {
    let channels = spec.color.channels() as usize;
    let entry = |c, v| ocelli::quant::quantize(spec.normalize(c, v), input.scale, input.zero_point);
    (0..channels).flat_map(|c| (0..=255).map(move |v| entry(c, v))).collect()
}

fn quantize_weights(
    network: &Network,
    weights: &Weights,
    node: &Node,
    input: QuantParams,
) -> anyhow::Result<QuantizedWeights> {
    let layer = weights.layer(&node.name).ok_or_else(|| NetworkError::Invalid {
        name: network.name.clone(),
        message: format!("layer '{}' has no weights", node.name),
    })?;
    let [channels, ..] = layer.shape;
    let taps = layer.kernel.len() / channels.max(1);
    let largest_of = |values: &[f32]| values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let finite = layer.kernel.iter().chain(&layer.bias).all(|v| v.is_finite());
    ensure!(finite, "layer '{}' holds a weight that is no number: train again with a lower rate", node.name);
    let fallback = largest_of(&layer.kernel).max(f32::MIN_POSITIVE * 1e6);
    let mut quantized =
        QuantizedWeights { shape: layer.shape, kernel: Vec::new(), scales: Vec::new(), bias: Vec::new() };
    for (filter, &bias) in layer.kernel.chunks_exact(taps).zip(&layer.bias) {
        let largest = largest_of(filter);
        // a dead channel takes the layer's scale, so that its bias still has one
        let mut scale = if largest > fallback * 1e-6 { largest } else { fallback } / 127.0;
        // the bias must fit 30 bits, to leave room for the sum
        let bias_limit = f64::from(1 << 30);
        let bias_steps = |scale: f32| f64::from(bias) / (f64::from(input.scale) * f64::from(scale));
        if bias_steps(scale).abs() > bias_limit {
            scale = (f64::from(bias.abs()) / (bias_limit * f64::from(input.scale))) as f32;
        }
        quantized.scales.push(scale);
        quantized.kernel.extend(filter.iter().map(|&w| (w / scale).round().clamp(-127.0, 127.0) as i8));
        quantized.bias.push(bias_steps(scale).round().clamp(-bias_limit, bias_limit) as i32);
    }
    Ok(quantized)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli::image::{ColorOrder, Resize};

    #[test]
    fn a_plain_picture_quantizes_to_pixel_minus_128() {
        let spec = InputSpec {
            shape: Shape::new(1, 1, 1),
            color: ColorOrder::Gray,
            resize: Resize::Stretch,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let input = input_params(&spec);
        assert_eq!(input.zero_point, -128);
        let expected: Vec<i8> = (-128..=127).collect();
        assert_eq!(pixel_lut(&spec, input), expected);
    }
}
