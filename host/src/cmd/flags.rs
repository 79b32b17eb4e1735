//! The flags that `ocelli train` and `ocelli finetune` share, and how both go on with a training.

use super::worker::parse_token;
use anyhow::ensure;
use ocelli_host::config::Config;
use ocelli_host::quantize::{Method, RangeRule};
use ocelli_host::run::{RunFolder, names};
use ocelli_host::train::{Checkpoint, EarlyStopping, Keep, Monitor, Phase, Token};
use std::path::{Path, PathBuf};

/// What is written over a configuration.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Text file with one label a line, in place of the dataset's own names.
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Share of the training images set aside when the dataset has no validation or test set [default: 0.1].
    #[arg(long)]
    validation_fraction: Option<f64>,
    /// Passes over the training images [default: 10].
    #[arg(long)]
    epochs: Option<usize>,
    /// Images a step [default: 32].
    #[arg(long)]
    batch_size: Option<usize>,
    /// adam, adamw, nadam, rmsprop or sgd, with Keras' defaults [default: adam].
    #[arg(long)]
    optimizer: Option<String>,
    /// Of sgd and rmsprop [default: 0].
    #[arg(long)]
    momentum: Option<f64>,
    /// Share of the kernels that a step takes away, times the rate [default: 0.004 for adamw, else 0].
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Step size [default: 0.001].
    #[arg(long)]
    learning_rate: Option<f64>,
    /// constant, cosine (down to zero), one-cycle, plateau, or step (with [training.step] in a config.toml) [default: constant].
    #[arg(long)]
    schedule: Option<String>,
    /// Epochs in which the rate rises to its height [default: 0].
    #[arg(long)]
    warmup_epochs: Option<usize>,
    /// categorical, sparse (the same), or binary (two classes) [default: categorical].
    #[arg(long)]
    loss: Option<String>,
    /// Share of each label that is spread over all classes [default: 0].
    #[arg(long)]
    label_smoothing: Option<f64>,
    /// What the best epoch is chosen by: val_loss, val_accuracy, loss or accuracy [default: val_loss].
    #[arg(long, value_parser = parse_monitor)]
    monitor: Option<Monitor>,
    /// Stop after so many epochs without gain, and keep the best.
    #[arg(long)]
    patience: Option<usize>,
    /// Keep the weights of the best epoch, or those of the last: best or last [default: last; best with early stopping].
    #[arg(long, value_parser = parse_keep)]
    keep: Option<Keep>,
    /// Write a checkpoint every so many steps too, not only after each epoch.
    #[arg(long)]
    checkpoint_steps: Option<usize>,
    /// Write a checkpoint every so many minutes too.
    #[arg(long)]
    checkpoint_minutes: Option<f64>,
    /// Seed of fresh weights, order and dropout [default: 1].
    #[arg(long)]
    seed: Option<u64>,
    /// flex, ndarray (slow; for comparison), or, in a build with --features wgpu or cuda, wgpu or cuda [default: flex].
    #[arg(long)]
    backend: Option<String>,
    /// Divide each batch over these devices, in place of --backend: cpu:N, wgpu, wgpu:N, cuda:N, remote://HOST:PORT (see ocelli worker).
    #[arg(long, value_name = "DEVICE,...", value_delimiter = ',', conflicts_with = "backend")]
    devices: Vec<String>,
    /// What lets in at remote devices.
    #[arg(long, env = "OCELLI_TOKEN", hide_env_values = true, value_parser = parse_token)]
    token: Option<Token>,
    /// Training images observed for calibration when the network is compiled [default: 512].
    #[arg(long)]
    calibration_images: Option<usize>,
    /// ptq, or qat: after the float training, train on in int8 [default: ptq].
    #[arg(long, value_parser = parse_method)]
    quantize: Option<Method>,
    /// Epochs in int8, with --quantize qat [default: 2].
    #[arg(long)]
    qat_epochs: Option<usize>,
    /// Their first learning rate, which falls to zero [default: a tenth of --learning-rate].
    #[arg(long)]
    qat_learning_rate: Option<f64>,
    /// How intervals of activations move meanwhile: averaged or learned [default: learned].
    #[arg(long, value_parser = parse_ranges)]
    ranges: Option<RangeRule>,
    /// The board that it is for [default: qemu-m4; of a fine-tuning its base's].
    #[arg(long)]
    board: Option<String>,
    /// Replace the run that is in the folder of --out.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Go on with the training in this folder (in that of --out when none is given).
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    resume: Option<Option<PathBuf>>,
}

/// A training that is gone on with.
pub struct Resumed {
    /// The newest checkpoint of its first phase.
    pub first: Checkpoint,
    /// Its configuration, as its furthest phase has it.
    pub config: Config,
    /// Epochs that are done, and batches of the next one.
    position: (usize, usize),
}

impl Resumed {
    /// Says where it stands; returns the checkpoint of the first phase.
    pub fn begin(self) -> Checkpoint {
        eprintln!("going on after {} epochs and {} batches", self.position.0, self.position.1);
        self.first
    }
}

impl Flags {
    /// Refuses a folder that holds a run which is neither gone on with nor to be replaced.
    ///
    /// # Errors
    /// Says what to do.
    pub fn check_folder(&self, folder: &RunFolder) -> anyhow::Result<()> {
        let path = folder.path().display();
        ensure!(
            self.resume.is_some() || self.overwrite || !folder.holds_run(),
            "{path} holds a run: give another folder with --out, go on with the run by --resume {path}, or replace it by --overwrite"
        );
        Ok(())
    }

    /// Removes what an earlier run left in the folder, before a training that is not gone on with.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn begin(&self, folder: &RunFolder) -> anyhow::Result<()> {
        if self.resume.is_some() { Ok(()) } else { folder.clear() }
    }

    /// The run folder, and what is there to go on with where that is wanted; `out` is the folder of `--out`.
    ///
    /// # Errors
    /// When there is no checkpoint, or it is damaged.
    pub fn resumed(&self, out: &Path) -> anyhow::Result<(PathBuf, Option<Resumed>)> {
        let Some(folder) = &self.resume else { return Ok((out.to_owned(), None)) };
        let folder = folder.clone().unwrap_or_else(|| out.to_owned());
        let first = Checkpoint::read(&Phase::First.file(&folder))?;
        let (mut position, mut config) = (first.position(), first.config().to_owned());
        for phase in [Phase::Unfrozen, Phase::Int8] {
            if let Some(later) = Checkpoint::find(&folder, phase)? {
                let (epochs, batches) = later.position();
                (position, config) = ((position.0 + epochs, batches), later.config().to_owned());
            }
        }
        let config = Config::parse(&config, &folder.join(names::CONFIG))?;
        Ok((folder, Some(Resumed { first, config, position })))
    }

    /// Writes the flags that are given over a configuration.
    pub fn apply(&self, config: &mut Config) {
        let Config { dataset, training, quantization, target, .. } = config;
        dataset.labels = self.labels.clone().or(dataset.labels.take());
        set(&mut dataset.validation_fraction, self.validation_fraction.as_ref());
        set(&mut training.epochs, self.epochs.as_ref());
        set(&mut training.batch_size, self.batch_size.as_ref());
        set(&mut training.optimizer, self.optimizer.as_ref());
        training.momentum = self.momentum.or(training.momentum);
        training.weight_decay = self.weight_decay.or(training.weight_decay);
        set(&mut training.learning_rate, self.learning_rate.as_ref());
        set(&mut training.schedule, self.schedule.as_ref());
        set(&mut training.warmup_epochs, self.warmup_epochs.as_ref());
        set(&mut training.loss, self.loss.as_ref());
        set(&mut training.label_smoothing, self.label_smoothing.as_ref());
        set(&mut training.monitor, self.monitor.as_ref());
        training.keep = self.keep.or(training.keep);
        if let Some(patience) = self.patience {
            let min_delta = training.early_stopping.map_or(0.0, |stopping| stopping.min_delta);
            training.early_stopping = Some(EarlyStopping { patience, min_delta });
        }
        set(&mut training.checkpoint_steps, self.checkpoint_steps.as_ref());
        set(&mut training.checkpoint_minutes, self.checkpoint_minutes.as_ref());
        set(&mut training.seed, self.seed.as_ref());
        set(&mut training.backend, self.backend.as_ref());
        if !self.devices.is_empty() {
            training.devices.clone_from(&self.devices);
        }
        training.token.clone_from(&self.token);
        set(&mut quantization.calibration_images, self.calibration_images.as_ref());
        set(&mut quantization.quantize, self.quantize.as_ref());
        set(&mut quantization.qat_epochs, self.qat_epochs.as_ref());
        quantization.qat_learning_rate = self.qat_learning_rate.or(quantization.qat_learning_rate);
        set(&mut quantization.ranges, self.ranges.as_ref());
        set(&mut target.board, self.board.as_ref());
    }
}

/// Takes a flag's value where it is given.
pub fn set<T: Clone>(value: &mut T, flag: Option<&T>) {
    if let Some(flag) = flag {
        value.clone_from(flag);
    }
}

fn parse_monitor(text: &str) -> Result<Monitor, String> {
    let known = [Monitor::ValLoss, Monitor::ValAccuracy, Monitor::Loss, Monitor::Accuracy];
    let found = known.into_iter().find(|monitor| monitor.to_string() == text);
    found.ok_or_else(|| format!("it is not one of {}", known.map(|monitor| monitor.to_string()).join(", ")))
}

fn parse_keep(text: &str) -> Result<Keep, String> {
    match text {
        "best" => Ok(Keep::Best),
        "last" => Ok(Keep::Last),
        _ => Err("it is not one of best, last".to_owned()),
    }
}

fn parse_method(text: &str) -> Result<Method, String> {
    match text {
        "ptq" => Ok(Method::Ptq),
        "qat" => Ok(Method::Qat),
        _ => Err("it is not one of ptq, qat".to_owned()),
    }
}

fn parse_ranges(text: &str) -> Result<RangeRule, String> {
    match text {
        "averaged" => Ok(RangeRule::Averaged),
        "learned" => Ok(RangeRule::Learned),
        _ => Err("it is not one of averaged, learned".to_owned()),
    }
}
