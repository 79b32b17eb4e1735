//! Training with Burn: batches, the loop, history.

mod batches;
mod history;
mod module;
mod ops;
mod parts;

pub use batches::{Batches, input_tensor};
pub use history::{History, HistoryRow};
pub use module::{Classifier, LayerOutput};

use crate::data::Dataset;
use crate::network::{Network, Weights};
use anyhow::{Context, bail, ensure};
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig, momentum::MomentumConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// How to train.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// `"adam"` (betas 0.9 and 0.999, epsilon 1e-7, as Keras has it) or `"sgd"` (momentum 0.9).
    pub optimizer: String,
    /// Step size (of the first step, where the schedule lowers it).
    pub learning_rate: f64,
    /// `"constant"`, or `"cosine"`: down to zero along half a cosine.
    pub schedule: String,
    /// Seed of the initial weights, the order of the images and dropout.
    pub seed: u64,
    /// `"flex"`, or `"ndarray"` (slow; for comparison).
    pub backend: String,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 32,
            optimizer: "adam".to_owned(),
            learning_rate: 1e-3,
            schedule: "constant".to_owned(),
            seed: 1,
            backend: "flex".to_owned(),
        }
    }
}

impl TrainingConfig {
    /// Refuses values that cannot train.
    ///
    /// # Errors
    /// Names the key and what it may be.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(self.epochs > 0, "[training] epochs must be at least 1");
        ensure!(self.batch_size > 0, "[training] batch_size must be at least 1");
        ensure!(
            self.learning_rate.is_finite() && self.learning_rate > 0.0,
            "[training] learning_rate = {} must be above zero",
            self.learning_rate
        );
        optimizer(&self.optimizer)?;
        schedule(self, 1)?;
        device(&self.backend)?;
        Ok(())
    }
}

/// The learning rate of each of `steps` steps.
fn schedule(config: &TrainingConfig, steps: usize) -> anyhow::Result<ModuleLrScheduler> {
    match config.schedule.as_str() {
        "constant" => Ok(ModuleLrScheduler::new(config.learning_rate)),
        "cosine" => CosineAnnealingLrSchedulerConfig::new(config.learning_rate, steps)
            .init()
            .map_err(|error| anyhow::anyhow!("[training] learning_rate = {}: {error}", config.learning_rate)),
        other => bail!("[training] schedule = \"{other}\" is not one of constant, cosine"),
    }
}

/// What a step of the training reports.
#[derive(Clone, Copy, Debug)]
pub struct BatchReport {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Images of this epoch that have been trained on.
    pub images: usize,
    /// Images of an epoch.
    pub of: usize,
    /// Mean loss over the epoch so far.
    pub running_loss: f64,
    /// Share of right guesses over the epoch so far.
    pub running_accuracy: f64,
}

/// Mean cross-entropy and accuracy over a set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of images whose largest logit is the right class.
    pub accuracy: f64,
}

/// The device of a backend by name.
///
/// # Errors
/// When there is no such backend.
pub fn device(backend: &str) -> anyhow::Result<Device> {
    match backend {
        "flex" => Ok(Device::flex()),
        #[expect(deprecated, reason = "kept for comparison with burn-ndarray; flex is its successor and the default")]
        "ndarray" => Ok(Device::ndarray()),
        other => bail!("[training] backend = \"{other}\" is not one of flex, ndarray"),
    }
}

fn optimizer(name: &str) -> anyhow::Result<ModuleOptimizer> {
    match name {
        "adam" => Ok(AdamConfig::new().with_epsilon(1e-7).init()),
        "sgd" => Ok(SgdConfig::new()
            .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)))
            .init()),
        other => bail!("[training] optimizer = \"{other}\" is not one of adam, sgd"),
    }
}

/// Trains a network from fresh weights; the same seed gives the same weights.
///
/// # Errors
/// When the configuration is wrong, the network does not fit the data, or the loss stops being a number.
pub fn train(
    network: &Network,
    config: &TrainingConfig,
    training: &Dataset,
    validation: &Dataset,
    on_batch: &mut dyn FnMut(BatchReport),
) -> anyhow::Result<(Weights, History)> {
    config.validate()?;
    network.check_labels(&training.labels)?;
    let device = device(&config.backend)?;
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let start = Weights::glorot(network, &mut rng)?;
    device.seed(config.seed);
    let training_device = device.clone().autodiff();
    let mut module = Classifier::new(network, &start, &training_device)?;
    let mut optimizer = optimizer(&config.optimizer)?;
    let steps = config.epochs.saturating_mul(training.len().div_ceil(config.batch_size));
    let mut schedule = schedule(config, steps)?;
    let criterion = CrossEntropyLossConfig::new().init(&training_device);
    let mut history = History::default();
    let began = Instant::now();
    for epoch in 1..=config.epochs {
        let (mut loss_sum, mut correct, mut seen) = (0.0, 0, 0);
        for batch in Batches::shuffled(training.len(), config.batch_size, &mut rng) {
            let x = input_tensor(network, training, &batch, &training_device);
            let targets: Vec<i64> = batch.iter().map(|&i| training.targets[i] as i64).collect();
            let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [batch.len()]), &training_device);
            let logits = module.forward(x);
            let loss = criterion.forward(logits.clone(), targets);
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                bail!("the loss became {value} in epoch {epoch}: lower learning_rate (now {})", config.learning_rate);
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &module);
            module = optimizer.step(schedule.step(), module, gradients);
            loss_sum += f64::from(value) * batch.len() as f64;
            let classes = logits.dims()[1];
            let logits = parts::to_vec(logits);
            correct += batch
                .iter()
                .zip(logits.chunks_exact(classes))
                .filter(|(i, row)| argmax(row) == training.targets[**i])
                .count();
            seen += batch.len();
            on_batch(BatchReport {
                epoch,
                images: seen,
                of: training.len(),
                running_loss: loss_sum / seen as f64,
                running_accuracy: correct as f64 / seen as f64,
            });
        }
        let score = evaluate(network, &module.to_weights(), validation, &device)?.score;
        history.rows.push(HistoryRow {
            epoch,
            loss: loss_sum / seen.max(1) as f64,
            accuracy: correct as f64 / seen.max(1) as f64,
            val_loss: score.loss,
            val_accuracy: score.accuracy,
            seconds: began.elapsed().as_secs_f64(),
        });
    }
    Ok((module.to_weights(), history))
}

/// What a network makes of a set.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Loss and accuracy.
    pub score: Score,
    /// Logits, `[n, classes]`.
    pub logits: Vec<f32>,
}

/// Runs a network in float, without dropout.
///
/// # Errors
/// When weights are missing or the set is empty.
pub fn evaluate(network: &Network, weights: &Weights, set: &Dataset, device: &Device) -> anyhow::Result<Evaluation> {
    ensure!(!set.is_empty(), "there are no images to evaluate on");
    network.check_labels(&set.labels)?;
    let module = Classifier::new(network, weights, device).context("cannot build the network")?;
    let mut logits = Vec::new();
    for batch in Batches::in_order(set.len(), 64) {
        logits.extend(parts::to_vec(module.forward(input_tensor(network, set, &batch, device))));
    }
    Ok(Evaluation { score: score(&logits, &set.targets), logits })
}

/// Cross-entropy and accuracy of logits `[n, classes]`.
#[must_use]
pub fn score(logits: &[f32], targets: &[usize]) -> Score {
    let classes = logits.len() / targets.len().max(1);
    let (mut loss, mut correct) = (0.0, 0);
    for (row, &target) in logits.chunks_exact(classes.max(1)).zip(targets) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&v| f64::from(v - largest).exp()).sum();
        loss += sum.ln() - f64::from(row[target] - largest);
        correct += usize::from(argmax(row) == target);
    }
    let n = targets.len().max(1) as f64;
    Score { loss: loss / n, accuracy: correct as f64 / n }
}

/// The index of the first largest value.
#[must_use]
pub fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, v)| if *v > values[best] { i } else { best })
}
