//! What int8 costs: each layer's output in the compiled network against the float network's, on the same images.
//!
//! The error of a layer holds that of all layers before it. `check` compares each layer alone, on the same inputs.

use crate::check::{OBSERVED_IMAGES, observe};
use crate::data::Dataset;
use crate::interchange::qdq;
use crate::network::Node;
use crate::quantize::{Channel, QuantParams};
use crate::run::Bundle;
use crate::train::{Batches, Classifier, device, input_tensor};
use ocelli::ir::Op;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Float against int8, layer by layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizationError {
    /// The images that those below are the first of, in words.
    #[serde(default)]
    pub on: String,
    /// Images that were run.
    pub images: usize,
    /// The layers in order; those that the compiler fused into others have no output of their own and are left out.
    pub layers: Vec<LayerError>,
}

/// How far a layer's int8 output is from the float one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerError {
    /// Name of the layer.
    pub name: String,
    /// Values compared.
    pub values: usize,
    /// The real value of one step.
    pub step: f64,
    /// Signal-to-noise ratio in decibels, `10 log10(sum float^2 / sum (int8 - float)^2)`; `None` when there is no signal or no noise.
    pub snr_db: Option<f64>,
    /// Mean distance in steps.
    pub mean_steps: f64,
    /// Largest distance in steps.
    pub max_steps: f64,
}

impl QuantizationError {
    /// The layer of the lowest signal-to-noise ratio; the softmax, whose steps are fixed, is left out.
    #[must_use]
    pub fn worst(&self) -> Option<&LayerError> {
        let last = self.layers.len().saturating_sub(1);
        let layers = self.layers.iter().take(last).filter_map(|layer| Some((layer, layer.snr_db?)));
        layers.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(layer, _)| layer)
    }

    /// The worst layer, as a line.
    #[must_use]
    pub fn worst_in_words(&self) -> Option<String> {
        let LayerError { name, snr_db, .. } = self.worst()?;
        Some(format!("worst layer: {name}, {:.1} dB of signal over quantization noise", (*snr_db)?))
    }
}

/// Runs the first images of a set, which `on` names, through both networks.
///
/// # Errors
/// When a reference of the model is broken or the images do not fit it.
pub fn quantization_error(bundle: &Bundle, data: &Dataset, on: String) -> anyhow::Result<QuantizationError> {
    let data = data.head(OBSERVED_IMAGES);
    let labels: Vec<String> = bundle.model.model()?.labels().map(str::to_owned).collect();
    let network = qdq::import(&bundle.network, &bundle.qdq, &labels)?;
    let frames = observe(bundle, &network, &data)?;
    let float = float_outputs(bundle, &data)?;
    let channels = bundle.adjustments.channels(&bundle.network)?;
    let own = (1, vec![Channel::own(0)]);
    let mut layers = Vec::new();
    for (index, layer) in network.layers.iter().enumerate() {
        let int8: Vec<i8> =
            frames.iter().take(data.len()).filter_map(|t| t[index + 1].as_ref()).flatten().copied().collect();
        let of_node = |node: &Node| float.get(node.name.as_str()).cloned();
        let reference = if layer.node.op == Op::Softmax {
            let input = layer.node.inputs.first().and_then(|tensor| network.layers.get(tensor.checked_sub(1)?));
            input.and_then(|input| of_node(&input.node)).map(|logits| softmax(&logits, labels.len()))
        } else {
            of_node(&layer.node)
        };
        // adjusted channels stand for float ones
        let name = &layer.node.name;
        let (of, channels) = channels.get(name).unwrap_or(&own);
        let fits = |reference: &Vec<f32>| reference.len() / of == int8.len() / channels.len() && !int8.is_empty();
        if let Some(reference) = reference.filter(fits) {
            layers.push(layer_error(name, &int8, layer.output, channels, (&reference, *of)));
        }
    }
    Ok(QuantizationError { on, images: data.len(), layers })
}

/// Every layer's float output by its name, `[n, h, w, c]`.
fn float_outputs(bundle: &Bundle, data: &Dataset) -> anyhow::Result<BTreeMap<String, Vec<f32>>> {
    let device = device("flex")?;
    let module = Classifier::folded(&bundle.network, &bundle.weights, &device)?;
    let mut outputs: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for batch in Batches::in_order(data.len(), OBSERVED_IMAGES) {
        module.forward_observed(input_tensor(&bundle.network, data, &batch, &device), |layer| {
            outputs.entry(layer.name).or_default().extend(layer.values);
        });
    }
    Ok(outputs)
}

fn softmax(logits: &[f32], classes: usize) -> Vec<f32> {
    let row = |row: &[f32]| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials: Vec<f32> = row.iter().map(|&v| (v - largest).exp()).collect();
        let sum: f32 = exponentials.iter().sum();
        exponentials.into_iter().map(move |e| e / sum).collect::<Vec<_>>()
    };
    logits.chunks_exact(classes.max(1)).flat_map(row).collect()
}

/// The error of an int8 output, whose channels, the innermost axis, stand for those of a float one, of which there are `of`.
fn layer_error(
    name: &str,
    int8: &[i8],
    params: QuantParams,
    channels: &[Channel],
    (float, of): (&[f32], usize),
) -> LayerError {
    let step = f64::from(params.scale);
    let (mut signal, mut noise, mut sum, mut largest) = (0.0, 0.0, 0.0, 0.0_f64);
    for (pixel, float) in int8.chunks_exact(channels.len()).zip(float.chunks_exact(of)) {
        for (&q, channel) in pixel.iter().zip(channels) {
            let reference = f64::from(float[channel.of]);
            let value = step * f64::from(channel.factor) * f64::from(i32::from(q) - params.zero_point);
            let difference = value + f64::from(channel.shift) - reference;
            signal += reference * reference;
            noise += difference * difference;
            sum += difference.abs();
            largest = largest.max(difference.abs());
        }
    }
    LayerError {
        name: name.to_owned(),
        values: int8.len(),
        step,
        snr_db: (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10()),
        mean_steps: sum / step / int8.len().max(1) as f64,
        max_steps: largest / step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_decibels_and_steps() {
        // 0, 1, 2 and 4 steps of 1/2, read as 0, 0.5, 1.25 and 2
        let params = QuantParams { scale: 0.5, zero_point: -128 };
        let own = [Channel::own(0)];
        let error = layer_error("a", &[-128, -127, -126, -124], params, &own, (&[0.0, 0.5, 1.25, 2.0], 1));
        assert_eq!((error.values, error.max_steps, error.mean_steps), (4, 0.5, 0.125));
        let expected = 10.0 * ((0.25 + 1.5625 + 4.0) / 0.0625_f64).log10();
        assert!((error.snr_db.unwrap() - expected).abs() < 1e-12);
        assert_eq!(layer_error("a", &[-128], params, &own, (&[0.0], 1)).snr_db, None);
        // two channels: the second divided by 3, and again, with 1 taken off before
        let channels =
            [(0, 1.0, 0.0), (1, 3.0, 0.0), (1, 3.0, 1.0)].map(|(of, factor, shift)| Channel { of, factor, shift });
        let int8 = [-127, -127, -127, -126, -126, -126];
        let error = layer_error("a", &int8, params, &channels, (&[0.5, 1.5, 1.0, 3.5], 2));
        assert_eq!((error.max_steps, error.mean_steps), (2.0, 4.0 / 6.0));
    }

    #[test]
    fn probabilities_are_those_of_each_row() {
        let p = softmax(&[0.0, 0.0, 100.0, 0.0], 2);
        assert_eq!(p[..2], [0.5, 0.5]);
        assert!((p[2] - 1.0).abs() < 1e-6 && p[3] < 1e-6);
    }
}
