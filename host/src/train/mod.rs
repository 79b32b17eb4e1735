//! Training with Burn: batches, the loop, checkpoints, history.

mod batches;
mod checkpoint;
mod config;
mod evaluate;
mod finetune;
mod fit;
mod fragment;
mod graft;
mod history;
mod loss;
mod module;
mod monitor;
mod observer;
mod ops;
mod optimizer;
mod parallel;
mod parts;
mod place;
mod qat;
mod rule;
mod schedule;
mod source;
mod step;
#[cfg(test)]
mod tests;
mod volume;
mod worker;

pub use batches::{Batches, input_tensor, pixel_tensor};
pub use checkpoint::{Best, Checkpoint, Past, Phase};
pub use config::{TrainingConfig, device};
pub use evaluate::{Evaluation, Score, argmax, evaluate, score};
pub use finetune::{Cached, FinetuneConfig, Finetuned, Material, finetune};
pub use fit::{Disk, End, Hooks, Outcome};
pub use fragment::{FragmentInput, run_fragment};
pub use graft::{Freeze, Grafted};
pub use history::{BatchReport, History, HistoryRow};
pub use loss::ClassWeights;
pub use module::{Classifier, LayerOutput};
pub use monitor::{EarlyStopping, Keep, Monitor};
pub use observer::Observer;
pub use place::{Place, Token};
pub use qat::{Aware, AwareStart, DistillStep, Distillation, aware_phase, distill, int8_score, quantize_aware};
pub use schedule::{Plateau, StepDecay};
pub use source::{Batch, Epoch, Inputs, Source};
pub use worker::{new_token, serve};

use crate::data::{Dataset, Feed, FeedOptions, ImageSource};
use crate::network::{Network, Weights};
use fit::{Held, Job, fit};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Trains a network from fresh weights, without a run folder; the same seed gives the same weights.
///
/// # Errors
/// When the configuration is wrong, the network does not fit the data, or the loss stops being a number.
pub fn train(
    network: &Network,
    config: &TrainingConfig,
    training: &Dataset,
    validation: &Dataset,
    observer: &mut dyn Observer,
) -> anyhow::Result<(Weights, History)> {
    let options = FeedOptions { batch_size: config.batch_size, seed: config.seed, ..FeedOptions::default() };
    let source = Feed::new(Arc::new(training.clone()), options);
    let hooks = Hooks { observer, stop: &AtomicBool::new(false), disk: None };
    let outcome = train_from(network, config, &source, &training.targets, validation, hooks)?;
    Ok((outcome.weights, outcome.history))
}

/// Trains a network from fresh weights, or from a checkpoint, on the batches of a source; `targets` are the classes of its images.
///
/// # Errors
/// When the configuration is wrong, the network does not fit the data, the checkpoint is that of another training, a file cannot be
/// written, or the loss stops being a number.
pub fn train_from(
    network: &Network,
    config: &TrainingConfig,
    source: &dyn Source,
    targets: &[usize],
    validation: &dyn ImageSource,
    hooks: Hooks<'_>,
) -> anyhow::Result<Outcome> {
    config.validate()?;
    let start = Weights::initial(network, &mut ChaCha8Rng::seed_from_u64(config.seed))?;
    let none = |_: &str| false;
    let (phase, past) = (Phase::First, Past::default());
    let job = Job { network, config, start, first: 0, frozen: &none, still: &none, targets, phase, past };
    fit(job, source, &Held { set: validation, features: None }, hooks)
}
