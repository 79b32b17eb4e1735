//! Quantization-aware training: after its float training a network is trained on as it will run in int8.
//!
//! Every step quantizes the weights and intervals of that moment with the quantizer itself and runs the network in the integers of the
//! runtime, so that what is trained is what the chip computes. Batch norms are folded into the weights with their running statistics,
//! which stay as they are; gain and offset are still trained, through the fold. Dropout is gone.

mod exact;
mod operator;
mod rounding;
mod simulate;
mod state;
#[cfg(test)]
mod tests;

use self::simulate::Simulation;
use self::state::Intervals;
use super::checkpoint::Best;
use super::config::{TrainingConfig, device};
use super::evaluate::{Score, argmax};
use super::finetune::Material;
use super::fit::{End, Hooks};
use super::history::{BatchReport, History, HistoryRow};
use super::loss::{Criterion, cross_entropy};
use super::module::Classifier;
use super::monitor::Keep;
use super::optimizer::{Optimizer, numbered};
use super::parts::to_vec;
use super::schedule::Schedule;
use super::source::{Batch, Inputs};
use crate::check::scores;
use crate::compile::{Options, Target, compile};
use crate::data::ImageSource;
use crate::model::{ModelBytes, probabilities};
use crate::network::{Layer, Network, Node, Weights};
use crate::quantize::{Calibration, Calibrator, QuantizationConfig, QuantizedNetwork, RangeRule, quantize};
use anyhow::{bail, ensure};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::atomic::Ordering;
use std::time::Instant;

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
}

/// What quantization-aware training leaves.
#[derive(Clone, Debug)]
pub struct Aware {
    /// The weights that are kept, in float: rounded by [`quantize`] they are those that were trained.
    pub weights: Weights,
    /// The intervals that belong to them.
    pub calibration: Calibration,
    /// What happened; the losses and accuracies on the validation images are those of the int8 runtime.
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
    TrainingConfig {
        epochs: quantization.qat_epochs,
        learning_rate: quantization.qat_learning_rate.unwrap_or(training.learning_rate / 10.0),
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

/// Trains a network on in int8; the same start, data and seed give the same weights.
///
/// # Errors
/// When the configuration is wrong, a number is outside what int8 networks can hold, the source gives no pixels, or the loss stops being a
/// number.
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
    ensure!(!material.validation.is_empty(), "there are no images to validate on");
    ensure!(material.source.batches() > 0, "there are no images to train on");
    let nodes = network.folded_nodes()?;
    let mut phase = Phase::new(network, &nodes, config, start, material)?;
    phase.train(hooks)
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

struct Phase<'a> {
    network: &'a Network,
    nodes: &'a [(Node, Vec<&'a Layer>)],
    config: &'a TrainingConfig,
    material: &'a Material<'a>,
    device: Device,
    module: Classifier,
    intervals: Intervals,
    optimizer: Optimizer,
    schedule: Schedule,
    criterion: Criterion,
    steps: usize,
}

/// Sums over an epoch.
#[derive(Default)]
struct Sums {
    loss: f64,
    right: usize,
    images: usize,
    batches: usize,
}

impl<'a> Phase<'a> {
    fn new(
        network: &'a Network,
        nodes: &'a [(Node, Vec<&'a Layer>)],
        config: &'a TrainingConfig,
        start: &AwareStart<'_>,
        material: &'a Material<'a>,
    ) -> anyhow::Result<Self> {
        let device = device(&config.backend)?.autodiff();
        let labels = material.validation.labels();
        let mut counts = vec![0; labels.len()];
        material.targets.iter().for_each(|&target| counts[target] += 1);
        let module = numbered(Classifier::new(network, start.weights, &device)?);
        let own = |name: &str| network.layers.iter().find(|l| l.name == name).map_or(0.0, |l| l.options.l2);
        let l2 = module.kernels().into_iter().map(|(name, id)| (id, config.l2 + own(name))).filter(|(_, l2)| *l2 > 0.0);
        let optimizer = Optimizer::new(config, l2.collect())?;
        Ok(Self {
            network,
            nodes,
            config,
            material,
            device,
            module,
            intervals: Intervals::new(start.calibration.clone(), start.calibrator, start.rule),
            optimizer,
            schedule: Schedule::new(config, material.source.batches())?,
            criterion: Criterion::new(config, labels, &counts)?,
            steps: 0,
        })
    }

    fn train(&mut self, hooks: Hooks<'_>) -> anyhow::Result<Aware> {
        let Hooks { on_batch, stop, .. } = hooks;
        let (began, plateau) = (Instant::now(), self.schedule.start());
        let mut history = History::default();
        let mut best: Option<(Best, Weights, Calibration)> = None;
        let mut end = End::Done;
        'epochs: for epoch in 1..=self.config.epochs {
            let mut sums = Sums::default();
            let (mut last, mut rate) = ((0.0, 0.0), 0.0);
            for batch in self.material.source.epoch(epoch, 0) {
                rate = self.schedule.rate(self.steps, &plateau);
                let report = self.step(&batch?, epoch, rate, &mut sums)?;
                last = (report.loss, report.accuracy);
                on_batch(report);
                if stop.load(Ordering::Relaxed) {
                    end = End::Interrupted { epochs: epoch - 1, batches: sums.batches };
                    break 'epochs;
                }
            }
            let weights = self.module.to_weights();
            let labels = self.material.validation.labels();
            let quantized = quantize(self.network, &weights, &self.intervals.calibration, labels)?;
            let score = int8_score(&quantized, self.material.validation)?;
            let row = HistoryRow {
                epoch,
                loss: sums.loss / sums.images.max(1) as f64,
                accuracy: sums.right as f64 / sums.images.max(1) as f64,
                last_batch_loss: last.0,
                last_batch_accuracy: last.1,
                val_loss: score.loss,
                val_accuracy: score.accuracy,
                learning_rate: rate,
                seconds: began.elapsed().as_secs_f64(),
            };
            history.rows.push(row);
            let value = self.config.monitor.of(&row);
            if best.as_ref().is_none_or(|(best, ..)| self.config.monitor.better(value, best.value, 0.0)) {
                best = Some((Best { epoch, value }, weights, self.intervals.calibration.clone()));
            }
        }
        let best_epoch = best.as_ref().map(|(best, ..)| *best);
        let (kept, weights, calibration) = match best {
            Some((best, weights, calibration)) if self.config.kept() == Keep::Best => {
                (best.epoch, weights, calibration)
            }
            _ => (history.rows.len(), self.module.to_weights(), self.intervals.calibration.clone()),
        };
        let accuracy = history.rows.iter().find(|row| row.epoch == kept).map_or(0.0, |row| row.val_accuracy);
        Ok(Aware { weights, calibration, history, best: best_epoch, accuracy, end })
    }

    /// Trains on a batch.
    fn step(&mut self, batch: &Batch, epoch: usize, rate: f64, sums: &mut Sums) -> anyhow::Result<BatchReport> {
        let Inputs::Pixels(pixels) = &batch.inputs else {
            bail!("quantization-aware training needs pixels, not the outputs of frozen layers")
        };
        let images = batch.targets.len();
        let weights = self.module.to_weights();
        let labels = self.material.validation.labels();
        let simulation = Simulation::new(self.network, self.nodes, &weights, &self.intervals, labels, &self.device)?;
        let logits = simulation.forward(&self.module, pixels, None)?;
        let classes = logits.dims()[1];
        let targets = TensorData::new(self.criterion.targets(batch), [images, classes]);
        let loss = cross_entropy(logits.clone(), Tensor::from_data(targets, &self.device));
        let value: f32 = loss.clone().into_scalar();
        if !value.is_finite() {
            bail!(
                "the loss became {value} in epoch {epoch} of quantization-aware training: lower qat_learning_rate (now {rate})"
            );
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &self.module);
        let seen = simulation.seen();
        self.module = self.optimizer.step(rate, self.module.clone(), gradients);
        self.intervals.step(&seen, rate);
        let logits = to_vec(logits);
        let right = logits.chunks_exact(classes).enumerate().filter(|(i, row)| argmax(row) == batch.class(*i)).count();
        self.steps += 1;
        sums.batches += 1;
        sums.loss += f64::from(value) * images as f64;
        sums.right += right;
        sums.images += images;
        Ok(BatchReport {
            epoch,
            batch: sums.batches,
            step: self.steps,
            images: sums.images,
            of: self.material.source.images(),
            loss: f64::from(value),
            accuracy: right as f64 / images.max(1) as f64,
            running_loss: sums.loss / sums.images.max(1) as f64,
            running_accuracy: sums.right as f64 / sums.images.max(1) as f64,
            learning_rate: rate,
        })
    }
}
