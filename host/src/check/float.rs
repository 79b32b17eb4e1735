//! Burn's float network against tract running the exported one.

use super::tract::TractModel;
use crate::data::Dataset;
use crate::interchange::onnx::{INPUT, metadata};
use crate::run::Bundle;
use crate::train::{argmax, device, evaluate};
use anyhow::Context;
use rayon::prelude::*;
use serde::Serialize;
use tract_onnx::pb::ModelProto;

/// How far Burn and tract are apart.
#[derive(Clone, Debug, Serialize)]
pub struct FloatCheck {
    /// Largest difference of a logit.
    pub max_difference: f64,
    /// Largest difference of a probability, `model.onnx` run from end to end.
    pub max_probability_difference: f64,
    /// What `model.onnx` says of labels, colours and normalization that is not the network's.
    pub metadata: Option<String>,
    /// Accuracy in Burn.
    pub burn_accuracy: f64,
    /// Mean cross-entropy in Burn.
    pub burn_loss: f64,
    /// Accuracy in tract.
    pub tract_accuracy: f64,
    /// Name of the image with the largest difference.
    pub worst_image: String,
    /// Burn's logits, `[n, classes]`.
    #[serde(skip)]
    pub logits: Vec<f32>,
}

pub(super) fn check(bundle: &Bundle, data: &Dataset) -> anyhow::Result<FloatCheck> {
    let burn = evaluate(&bundle.network, &bundle.weights, data, &device("flex")?)?;
    let nodes = bundle.network.nodes()?;
    let last = nodes.last().context("the network has no layers")?;
    let logits = last.inputs.first().and_then(|tensor| nodes.get(tensor.checked_sub(1)?));
    let logits = logits.map_or(INPUT, |node| node.name.as_str());
    let output = output_name(&bundle.onnx)?;
    let run = |to: &str| -> anyhow::Result<Vec<Vec<f32>>> {
        let tract = TractModel::new(&bundle.onnx, INPUT, to).context("model.onnx")?;
        (0..data.len()).into_par_iter().map(|i| tract.run_f32(&normalized(bundle, data, i))).collect()
    };
    let (tract_logits, tract_probabilities) = (run(logits)?, run(output)?);
    let classes = data.labels.len();
    let (mut largest, mut largest_probability, mut right) = ((0.0_f64, 0), 0.0_f64, 0);
    for (i, ours) in burn.logits.chunks_exact(classes).enumerate() {
        let (theirs, probabilities) = (&tract_logits[i], &tract_probabilities[i]);
        let difference = difference(ours, theirs);
        if difference > largest.0 {
            largest = (difference, i);
        }
        largest_probability = largest_probability.max(self::difference(&softmax(ours), probabilities));
        right += usize::from(argmax(theirs) == data.targets[i]);
    }
    Ok(FloatCheck {
        max_difference: largest.0,
        max_probability_difference: largest_probability,
        metadata: metadata_difference(bundle)?,
        burn_accuracy: burn.score.accuracy,
        burn_loss: burn.score.loss,
        tract_accuracy: right as f64 / data.len() as f64,
        worst_image: data.names.get(largest.1).cloned().unwrap_or_default(),
        logits: burn.logits,
    })
}

/// The name of a model's output.
pub(super) fn output_name(onnx: &ModelProto) -> anyhow::Result<&str> {
    let output = onnx.graph.as_ref().and_then(|graph| graph.output.first());
    Ok(&output.context("the ONNX file has no output")?.name)
}

/// Image `i` as the float network takes it.
pub(super) fn normalized(bundle: &Bundle, data: &Dataset, i: usize) -> Vec<f32> {
    let channels = bundle.network.input.color.channels() as usize;
    let pixels = data.input(i).iter().enumerate();
    pixels.map(|(at, &v)| bundle.network.input.normalize(at % channels, v)).collect()
}

/// The largest difference of two lists; infinite when one has other values or is longer.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let differences = a.iter().zip(b).map(|(x, y)| f64::from((x - y).abs()));
    differences.fold(0.0, |largest: f64, d| if d.is_nan() { f64::INFINITY } else { largest.max(d) })
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|&v| f64::from(v - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|e| (e / sum) as f32).collect()
}

fn metadata_difference(bundle: &Bundle) -> anyhow::Result<Option<String>> {
    let labels: Vec<String> = bundle.model.model()?.labels().map(str::to_owned).collect();
    let found = |key: &str| bundle.onnx.metadata_props.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let expected = metadata(&bundle.network, &labels);
    Ok(expected.iter().find(|(key, value)| found(key) != Some(value)).map(|(key, _)| format!("its '{key}' is another")))
}
