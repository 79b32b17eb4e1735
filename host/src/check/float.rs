//! Burn's float network against tract running the exported one.

use super::tract::TractModel;
use crate::data::Dataset;
use crate::interchange::onnx::INPUT;
use crate::run::Bundle;
use crate::train::{argmax, device, evaluate};
use anyhow::Context;
use ocelli::ir::Op;
use rayon::prelude::*;
use serde::Serialize;

/// How far Burn and tract are apart.
#[derive(Clone, Debug, Serialize)]
pub struct FloatCheck {
    /// Largest difference of a logit.
    pub max_difference: f64,
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
    let logits_layer = nodes.iter().rev().find(|node| node.op != Op::Softmax).context("the network has no logits")?;
    let tract = TractModel::new(&bundle.onnx, INPUT, &logits_layer.name).context("model.onnx")?;
    let channels = bundle.network.input.color.channels() as usize;
    let tract_logits: Vec<Vec<f32>> = (0..data.len())
        .into_par_iter()
        .map(|i| {
            let pixels = data.input(i).iter().enumerate();
            let input: Vec<f32> = pixels.map(|(at, &v)| bundle.network.input.normalize(at % channels, v)).collect();
            tract.run_f32(&input)
        })
        .collect::<anyhow::Result<_>>()?;
    let classes = data.labels.len();
    let mut largest = (0.0_f64, 0);
    let mut right = 0;
    for (i, (ours, theirs)) in burn.logits.chunks_exact(classes).zip(&tract_logits).enumerate() {
        let difference = ours.iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs()));
        // a value that is no number counts as infinitely far away
        let difference = difference.fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) });
        if difference > largest.0 {
            largest = (difference, i);
        }
        right += usize::from(argmax(theirs) == data.targets[i]);
    }
    Ok(FloatCheck {
        max_difference: largest.0,
        burn_accuracy: burn.score.accuracy,
        burn_loss: burn.score.loss,
        tract_accuracy: right as f64 / data.len() as f64,
        worst_image: data.names.get(largest.1).cloned().unwrap_or_default(),
        logits: burn.logits,
    })
}
