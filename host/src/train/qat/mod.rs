//! Quantization-aware training: after its float training a network is trained on as it will run in int8.
//!
//! Every step quantizes the weights and intervals of that moment with the quantizer itself and runs the network in the integers of the
//! runtime, so that what is trained is what the chip computes. Batch norms are folded into the weights with their running statistics,
//! which stay as they are; gain and offset are still trained, through the fold. Dropout is gone.

mod distill;
mod exact;
mod operator;
mod rounding;
mod simulate;
mod state;
#[cfg(test)]
mod tests;

pub use self::distill::{DistillStep, Distillation, distill};
pub(super) use self::state::IntervalState;

use self::simulate::{SharedSeen, Simulation};
use self::state::Intervals;
use super::checkpoint::{Best, Past, Phase};
use super::config::TrainingConfig;
use super::evaluate::{Score, argmax};
use super::finetune::Material;
use super::fit::{End, Held, Hooks, Job, Outcome, fit_int8};
use super::history::History;
use super::module::Classifier;
use super::monitor::Keep;
use super::source::Inputs;
use crate::check::scores;
use crate::compile::{Options, Target, compile};
use crate::data::ImageSource;
use crate::model::{ModelBytes, probabilities};
use crate::network::{Layer, Network, Node, Weights};
use crate::quantize::{Calibration, Calibrator, QuantizationConfig, QuantizedNetwork, RangeRule, quantize};
use anyhow::{bail, ensure};
use burn::tensor::{Device, Tensor};
use std::sync::PoisonError;

/// What quantization-aware training begins with.
#[derive(Clone, Debug)]
pub struct AwareStart<'a> {
    /// Trained float weights, batch norms apart.
    pub weights: &'a Weights,
    /// The intervals of all activations.
    pub calibration: Calibration,
    /// What made them; averaged intervals are made by it too.
    pub calibrator: Calibrator,
    /// How they move.
    pub rule: RangeRule,
    /// What the float training did before.
    pub past: Past,
}

/// What quantization-aware training leaves.
#[derive(Clone, Debug)]
pub struct Aware {
    /// The weights that are kept, in float: rounded by [`quantize`] they are those that were trained.
    pub weights: Weights,
    /// The intervals that belong to them.
    pub calibration: Calibration,
    /// What happened, its epochs counted from 1; the losses and accuracies on the validation images are those of the int8 runtime.
    pub history: History,
    /// The best epoch by the monitored metric, once there is one.
    pub best: Option<Best>,
    /// Accuracy on the validation images of the int8 network that is kept.
    pub accuracy: f64,
    /// How it ended.
    pub end: End,
}

/// The training configuration of the epochs that are aware of quantization.
#[must_use]
pub fn aware_phase(training: &TrainingConfig, quantization: &QuantizationConfig) -> TrainingConfig {
    // plain descent moves folded weights, which have no batch norm behind them any more, as far as the rate says; the others set their own pace
    let share = if training.optimizer == "sgd" { 100.0 } else { 10.0 };
    TrainingConfig {
        epochs: quantization.qat_epochs,
        learning_rate: quantization.qat_learning_rate.unwrap_or(training.learning_rate / share),
        schedule: "cosine".to_owned(),
        warmup_epochs: 0,
        step: None,
        plateau: None,
        early_stopping: None,
        // other batches than those of the last float epochs
        seed: training.seed.wrapping_add(1),
        ..training.clone()
    }
}

/// Trains a network on in int8; the same start, data and seed give the same weights, however often it is interrupted and taken up.
///
/// # Errors
/// When the configuration is wrong, a number is outside what int8 networks can hold, the source gives no pixels, the checkpoint is that of
/// another training, a file cannot be written, or the loss stops being a number.
pub fn quantize_aware(
    network: &Network,
    config: &TrainingConfig,
    start: &AwareStart<'_>,
    material: &Material<'_>,
    hooks: Hooks<'_>,
) -> anyhow::Result<Aware> {
    config.validate()?;
    network.check_labels(material.validation.labels())?;
    ensure!(config.backend == "flex", simulate::FLEX_ONLY);
    let nodes = network.folded_nodes()?;
    let intervals = Intervals::new(start.calibration.clone(), start.calibrator, start.rule);
    let none = |_: &str| false;
    let job = Job {
        network,
        config,
        start: start.weights.clone(),
        first: 0,
        frozen: &none,
        still: &none,
        targets: material.targets,
        phase: Phase::Int8,
        past: start.past.clone(),
    };
    let held = Held { set: material.validation, features: None };
    let (outcome, calibration) = fit_int8(job, Int8 { nodes: &nodes, intervals }, material.source, &held, hooks)?;
    let Outcome { weights, kept, best, history, end, .. } = outcome;
    let kept = best.filter(|_| kept == Keep::Best).map_or(history.rows.len(), |best| best.epoch);
    let accuracy = history.rows.iter().find(|row| row.epoch == kept).map_or(0.0, |row| row.val_accuracy);
    Ok(Aware { weights, calibration, history, best, accuracy, end })
}

/// Loss and accuracy of the int8 runtime; a probability that is rounded to zero counts as half a step.
///
/// # Errors
/// When the network cannot be compiled, or the images do not fit it.
pub fn int8_score(quantized: &QuantizedNetwork, set: &dyn ImageSource) -> anyhow::Result<Score> {
    let model = ModelBytes::new(&compile(quantized, Options::for_target(Target::HOST))?);
    let scores = scores(&model, set)?;
    let (mut loss, mut right) = (0.0, 0);
    for (row, &target) in scores.chunks_exact(set.labels().len()).zip(set.targets()) {
        loss -= f64::from(probabilities(row)[target].max(1.0 / 512.0)).ln();
        right += usize::from(argmax(row) == target);
    }
    let n = set.len().max(1) as f64;
    Ok(Score { loss: loss / n, accuracy: right as f64 / n })
}

/// The network as it is trained in int8.
pub(super) struct Int8<'a> {
    pub nodes: &'a [(Node, Vec<&'a Layer>)],
    pub intervals: Intervals,
}

impl Int8<'_> {
    /// The logits of a batch, and what is seen of the intervals on the way there and, once there are gradients, on the way back.
    pub fn forward(
        &self,
        network: &Network,
        module: &Classifier,
        inputs: &Inputs,
        labels: &[String],
        device: &Device,
    ) -> anyhow::Result<(Tensor<2>, SharedSeen)> {
        let Inputs::Pixels(pixels) = inputs else {
            bail!("quantization-aware training needs pixels, not the outputs of frozen layers")
        };
        let weights = module.to_weights();
        let simulation = Simulation::new(network, self.nodes, &weights, &self.intervals, labels, device)?;
        let logits = simulation.forward(module, pixels, None)?;
        Ok((logits, simulation.seen))
    }

    /// Loss and accuracy of the int8 runtime with these weights.
    pub fn score(&self, network: &Network, weights: &Weights, set: &dyn ImageSource) -> anyhow::Result<Score> {
        int8_score(&quantize(network, weights, &self.intervals.calibration, set.labels())?, set)
    }

    /// Moves the intervals by what a step saw.
    pub fn step(&mut self, seen: &SharedSeen, rate: f64) {
        self.intervals.step(&seen.lock().unwrap_or_else(PoisonError::into_inner), rate);
    }
}
