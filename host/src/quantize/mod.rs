//! From float to int8 in TensorFlow Lite's scheme: activations per tensor, weights symmetric per output channel, bias int32.

mod adjust;
mod bias;
mod calibrate;
mod double;
mod equalize;
mod fit;
mod histogram;
mod int4;
mod network;
mod prepare;
mod ranges;

pub use adjust::{Adjustments, Channel, widened_network};
pub use bias::{Corrections, corrected, corrections};
pub use calibrate::{Calibration, Calibrator, Observation, Range};
pub use double::{Double, Doubles, doubled, doubles};
pub use equalize::{Equalize, Factors, Peaks, Shifts, Span, equalized, factors, plain, shifts, span};
pub use fit::{fitted, matched, takes_fitting};
pub use int4::{Int4, LARGE_WEIGHTS};
pub use network::{INT4_MAX, QuantParams, QuantizedLayer, QuantizedNetwork, QuantizedWeights, pixel_lut};
pub use prepare::{BiasCorrection, Equalization, Prepared, Recipe, Rounding};
pub use ranges::{Accuracies, TrainedRanges};

use crate::network::{Network, NetworkError, Node, Weights, channel_of};
use crate::train::Distillation;
use anyhow::ensure;
use ocelli::image::InputSpec;
use ocelli::ir::{Op, Unary};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// When a network learns of its quantization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// After its training.
    #[default]
    Ptq,
    /// In epochs after its float training, in which it runs as it will in int8.
    Qat,
}

/// How the intervals of activations move in quantization-aware training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RangeRule {
    /// A running mean of what the calibrator makes of each batch.
    #[default]
    Averaged,
    /// By gradient.
    Learned,
}

/// How to quantize.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizationConfig {
    /// Training images whose activations are observed.
    pub calibration_images: usize,
    /// How intervals are made of what was observed; when it is missing all are tried and the one is taken that keeps the network
    /// nearest to its float self.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibrator: Option<Calibrator>,
    /// `"off"`, `"weights"`, `"activations"` or `"auto"`: whether channels of unlike ranges are brought nearer to each other.
    #[serde(skip_serializing_if = "Equalization::is_off")]
    pub equalize: Equalization,
    /// Share of the network's multiplications that channels may take which are added to carry copies of others, so that those lose less.
    #[serde(skip_serializing_if = "is_none")]
    pub widen: f64,
    /// `"off"`, `"on"` or `"auto"`: whether biases make up for what quantization moves the means by.
    #[serde(skip_serializing_if = "BiasCorrection::is_off")]
    pub bias_correction: BiasCorrection,
    /// `"nearest"`, `"fitted"` or `"auto"`: how weights are rounded.
    #[serde(skip_serializing_if = "Rounding::is_nearest")]
    pub rounding: Rounding,
    /// Dense layers whose weights get four bits.
    #[serde(skip_serializing_if = "Int4::is_empty")]
    pub int4: Int4,
    /// Passes over the calibration images in which the int8 network is trained towards its float self.
    #[serde(skip_serializing_if = "is_zero")]
    pub distill_epochs: usize,
    /// Their learning rate: how far a step moves a weight, in steps of int8; it falls along half a cosine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill_rate: Option<f64>,
    /// Seed of their choice.
    pub seed: u64,
    /// `"ptq"`, or `"qat"` for quantization-aware training.
    pub quantize: Method,
    /// Epochs of quantization-aware training, after those of the float training.
    pub qat_epochs: usize,
    /// Their first learning rate, which falls along half a cosine; a tenth of `[training]`'s when it is missing, with SGD a hundredth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qat_learning_rate: Option<f64>,
    /// `"averaged"` or `"learned"`: how the intervals of activations move in quantization-aware training.
    pub ranges: RangeRule,
}

impl QuantizationConfig {
    /// How networks from elsewhere are quantized: all is tried, as nobody knows what their training did to the ranges of their channels.
    #[must_use]
    pub fn of_imported() -> Self {
        Self {
            equalize: Equalization::Auto,
            bias_correction: BiasCorrection::Auto,
            rounding: Rounding::Auto,
            ..Self::default()
        }
    }

    /// Whether something is asked for that a network which was trained in int8, with intervals of its own, does not have.
    #[must_use]
    pub fn asks_for_ptq(&self) -> bool {
        matches!(self.equalize, Equalization::Weights | Equalization::Activations)
            || self.bias_correction == BiasCorrection::On
            || self.rounding == Rounding::Fitted
            || self.distill_epochs > 0
            || self.widen > 0.0
    }

    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// Names key, value and what is allowed.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(self.calibration_images > 0, "[quantization] calibration_images must be at least 1");
        ensure!(self.qat_epochs > 0, "[quantization] qat_epochs = 0 must be at least 1");
        if let Some(rate) = self.qat_learning_rate {
            ensure!(rate.is_finite() && rate > 0.0, "[quantization] qat_learning_rate = {rate} must be above 0");
        }
        if let Some(rate) = self.distill_rate {
            ensure!(rate.is_finite() && rate > 0.0, "[quantization] distill_rate = {rate} must be above 0");
        }
        ensure!(
            (0.0..=1.0).contains(&self.widen),
            "[quantization] widen = {} must be a share of the network's multiplications, 0 to 1",
            self.widen
        );
        let copies = matches!(self.equalize, Equalization::Activations | Equalization::Auto);
        ensure!(
            self.widen == 0.0 || copies,
            "[quantization] widen = {} needs equalize = \"activations\" or \"auto\", which copies channels",
            self.widen
        );
        ensure!(
            self.distill_epochs == 0 || self.int4.is_empty(),
            "[quantization] distill_epochs trains weights of eight bits, int4 asks for four: give --distill 0 or --int4 none"
        );
        ensure!(
            self.distill_epochs <= 1000,
            "[quantization] distill_epochs = {} must be at most 1000",
            self.distill_epochs
        );
        Ok(())
    }

    /// The training towards the float network, where one is wanted.
    #[must_use]
    pub fn distillation(&self) -> Option<Distillation> {
        let Self { distill_epochs: epochs, distill_rate, seed, .. } = *self;
        (epochs > 0).then(|| Distillation { epochs, rate: distill_rate.unwrap_or(DISTILL_RATE), seed })
    }
}

/// Learning rate of a distillation where none is given.
const DISTILL_RATE: f64 = 0.005;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_none(share: &f64) -> bool {
    *share == 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Default for QuantizationConfig {
    fn default() -> Self {
        Self {
            calibration_images: 512,
            calibrator: None,
            equalize: Equalization::Off,
            widen: 0.0,
            bias_correction: BiasCorrection::Off,
            rounding: Rounding::Nearest,
            int4: Int4::default(),
            distill_epochs: 0,
            distill_rate: None,
            seed: 1,
            quantize: Method::Ptq,
            qat_epochs: 2,
            qat_learning_rate: None,
            ranges: RangeRule::Learned,
        }
    }
}

/// Output of every softmax and sigmoid: 0 to 1 in 1/256.
pub const SOFTMAX_OUTPUT: QuantParams = QuantParams { scale: 1.0 / 256.0, zero_point: -128 };

/// Output of every hyperbolic tangent: -1 to 1 in 1/128.
pub const TANH_OUTPUT: QuantParams = QuantParams { scale: 1.0 / 128.0, zero_point: 0 };

/// Quantizes a trained network with the ranges that calibration saw.
///
/// # Errors
/// When a layer runs on the host only, has no weights or no range, or holds a number that is not finite.
pub fn quantize(
    network: &Network,
    weights: &Weights,
    calibration: &Calibration,
    labels: &[String],
) -> anyhow::Result<QuantizedNetwork> {
    quantize_int4(network, weights, calibration, labels, &Int4::default())
}

/// As [`quantize`], with weights of four bits for some dense layers: symmetric, -7 to 7, a scale an output channel. All else is as it was.
///
/// # Errors
/// As [`quantize`], and when `int4` names no dense layer.
pub fn quantize_int4(
    network: &Network,
    weights: &Weights,
    calibration: &Calibration,
    labels: &[String],
    int4: &Int4,
) -> anyhow::Result<QuantizedNetwork> {
    network.check_device()?;
    network.check_labels(labels)?;
    let weights = weights.folded(network)?;
    let nodes = network.nodes()?;
    int4.check(&nodes)?;
    let input = input_params(&network.input);
    let params = tensor_params(&nodes, input, calibration)?;
    let mut layers: Vec<QuantizedLayer> = Vec::new();
    for (index, node) in nodes.into_iter().enumerate() {
        let weights = match node.op.weight_shape(node.input()) {
            Some(_) => Some(quantize_weights(network, &weights, &node, params[node.inputs[0]], int4.takes(&node))?),
            None => None,
        };
        layers.push(QuantizedLayer { output: params[index + 1], node, weights, unsigned: false });
    }
    Ok(QuantizedNetwork {
        picture: Some(network.input),
        input_shape: network.input.shape,
        input,
        layers,
        labels: labels.to_vec(),
    })
}

/// The operator that clamps to 0 to 6, by itself.
const RELU6: Op = Op::Unary(Unary::Relu6);

/// Quantization of every tensor, the network's input first.
///
/// The inputs of a concatenation take its scale where nobody else reads them and their operator can: the values are then only moved.
/// A relu6 that stands alone has the quantization of its input, because TensorFlow Lite Micro's clamps bytes and never rescales; where it
/// alone reads that input, the input takes what the relu6 would have, and what lies above saturates a layer earlier.
fn tensor_params(nodes: &[Node], input: QuantParams, calibration: &Calibration) -> anyhow::Result<Vec<QuantParams>> {
    let readers = |tensor: usize| nodes.iter().flat_map(|node| &node.inputs).filter(|&&read| read == tensor).count();
    let mut chosen: Vec<Option<QuantParams>> = vec![None; nodes.len() + 1];
    for (index, node) in nodes.iter().enumerate().rev() {
        let fixed = fixed_output(&node.op);
        if node.op.keeps_quantization() {
            // what is wanted of the output is wanted of the input
            if let Some(wanted) =
                chosen[index + 1].take().filter(|_| node.inputs[0] > 0 && readers(node.inputs[0]) == 1)
            {
                chosen[node.inputs[0]] = Some(wanted);
            }
            continue;
        }
        let params = match (fixed, chosen[index + 1]) {
            (Some(params), _) | (None, Some(params)) => params,
            (None, None) => calibration.range(&node.name)?.params(),
        };
        if node.op == RELU6 {
            chosen[index + 1] = None;
            if node.inputs[0] > 0 && readers(node.inputs[0]) == 1 {
                chosen[node.inputs[0]] = Some(params);
            }
            continue;
        }
        chosen[index + 1] = Some(params);
        if node.op == Op::Concat {
            for &tensor in node.inputs.iter().filter(|&&tensor| tensor > 0 && readers(tensor) == 1) {
                chosen[tensor] = Some(params);
            }
        }
    }
    let mut params = vec![input];
    for (index, node) in nodes.iter().enumerate() {
        // only operators that keep their input's quantization have none of their own
        let keeps = node.op.keeps_quantization() || node.op == RELU6;
        params.push(chosen[index + 1].filter(|_| !keeps).unwrap_or(params[node.inputs[0]]));
    }
    Ok(params)
}

/// The quantization that an operator's output always has.
const fn fixed_output(op: &Op) -> Option<QuantParams> {
    match op {
        Op::Softmax | Op::Unary(Unary::Sigmoid) => Some(SOFTMAX_OUTPUT),
        Op::Unary(Unary::Tanh) => Some(TANH_OUTPUT),
        _ => None,
    }
}

/// Scale and zero point of a picture: the interval that pixels 0 to 255 become, over all channels.
#[must_use]
pub fn input_params(spec: &InputSpec) -> QuantParams {
    let channels = spec.color.channels() as usize;
    let bounds = (0..channels).flat_map(|c| [spec.normalize(c, 0), spec.normalize(c, 255)]);
    bounds.fold(Range::default(), Range::with).params()
}

fn quantize_weights(
    network: &Network,
    weights: &Weights,
    node: &Node,
    input: QuantParams,
    is_int4: bool,
) -> anyhow::Result<QuantizedWeights> {
    let layer = weights.layer(&node.name).ok_or_else(|| NetworkError::Invalid {
        name: network.name.clone(),
        message: format!("layer '{}' has no weights", node.name),
    })?;
    let channels = layer.bias.len();
    let finite = layer.kernel.iter().chain(&layer.bias).all(|v| v.is_finite());
    ensure!(finite, "layer '{}' holds a weight that is no number: train again with a lower rate", node.name);
    let axis = node.op.channel_axis();
    let mut largest_of = vec![0.0_f32; channels];
    for (at, weight) in layer.kernel.iter().enumerate() {
        let largest = &mut largest_of[channel_of(layer.shape, axis, at)];
        *largest = largest.max(weight.abs());
    }
    let fallback = largest_of.iter().copied().fold(0.0_f32, f32::max).max(f32::MIN_POSITIVE * 1e6);
    let (mut scales, mut biases) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
    let most = if is_int4 { INT4_MAX } else { 127 };
    let fitted: Vec<f32> = if is_int4 {
        let rows: Vec<&[f32]> = layer.kernel.chunks_exact((layer.kernel.len() / channels.max(1)).max(1)).collect();
        rows.into_par_iter().map(int4::least_error_scale).collect()
    } else {
        largest_of.iter().map(|largest| largest / 127.0).collect()
    };
    for ((&largest, &fitted), &bias) in largest_of.iter().zip(&fitted).zip(&layer.bias) {
        // a dead channel takes the layer's scale, so that its bias still has one
        let mut scale = if largest > fallback * 1e-6 { fitted } else { fallback / f32::from(most) };
        // the bias must fit 30 bits, to leave room for the sum
        let bias_limit = f64::from(1 << 30);
        let bias_steps = |scale: f32| f64::from(bias) / (f64::from(input.scale) * f64::from(scale));
        if bias_steps(scale).abs() > bias_limit {
            scale = (f64::from(bias.abs()) / (bias_limit * f64::from(input.scale))) as f32;
        }
        scales.push(scale);
        biases.push(bias_steps(scale).round().clamp(-bias_limit, bias_limit) as i32);
    }
    let steps = |(at, weight): (usize, &f32)| {
        (weight / scales[channel_of(layer.shape, axis, at)]).round().clamp(-f32::from(most), f32::from(most)) as i8
    };
    let kernel = layer.kernel.iter().enumerate().map(steps).collect();
    Ok(QuantizedWeights { shape: layer.shape, kernel, zero_point: 0, scales, bias: biases })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli::image::{ColorOrder, Resize};
    use ocelli::ir::Shape;

    #[test]
    fn a_configuration_is_read_and_wrong_values_are_refused() {
        let read = |text: &str| toml::from_str::<QuantizationConfig>(text).map_err(|e| e.to_string());
        let config = read("quantize = \"qat\"\nqat_learning_rate = 1e-4\nranges = \"learned\"").unwrap();
        config.validate().unwrap();
        assert_eq!((config.quantize, config.ranges, config.qat_epochs), (Method::Qat, RangeRule::Learned, 2));
        for (text, expected) in [
            ("qat_epochs = 0", "qat_epochs = 0 must be at least 1"),
            ("qat_learning_rate = -1.0", "qat_learning_rate = -1 must be above 0"),
            ("calibration_images = 0", "calibration_images must be at least 1"),
            ("widen = 1.5\nequalize = \"auto\"", "widen = 1.5 must be a share"),
            ("widen = 0.1", "widen = 0.1 needs equalize"),
        ] {
            assert!(read(text).unwrap().validate().unwrap_err().to_string().contains(expected), "{text}");
        }
        for (text, expected) in [
            ("quantize = \"int4\"", "ptq"),
            ("ranges = \"fixed\"", "averaged"),
            ("equalize = \"on\"", "activations"),
            ("rounding = \"up\"", "fitted"),
            ("bias_correction = true", "bias_correction"),
        ] {
            assert!(read(text).unwrap_err().contains(expected), "{text}");
        }
    }

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
