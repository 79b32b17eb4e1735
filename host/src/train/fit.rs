//! The loop: epochs of steps, the end of an epoch, checkpoints.

use super::batches::{Batches, read_tensor};
use super::checkpoint::{Best, Checkpoint, DataMark, Past, Phase, State};
use super::config::TrainingConfig;
use super::evaluate::{Features, Score, argmax, evaluation_batch, feature_tensor, score};
use super::history::{BatchLog, BatchReport, History, HistoryRow};
use super::loss::Criterion;
use super::module::Classifier;
use super::monitor::Keep;
use super::observer::Observer;
use super::optimizer::{Optimizer, numbered};
use super::parallel::{Blueprint, Lost, Replicas};
use super::parts::to_vec;
use super::qat::Int8;
use super::schedule::Schedule;
use super::source::{Batch, Source, mixed};
use super::step::{self, Base};
use crate::data::ImageSource;
use crate::network::{Network, Weights};
use crate::quantize::Calibration;
use crate::run::names;
use anyhow::{Context, anyhow, bail, ensure};
use burn::tensor::Device;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a training is told, and whom it tells.
pub struct Hooks<'a> {
    /// Gets every step and every epoch.
    pub observer: &'a mut dyn Observer,
    /// Once it is set the training ends after the running batch.
    pub stop: &'a AtomicBool,
    /// Where checkpoints, `batches.csv` and `history.csv` go; nowhere when there is none.
    pub disk: Option<Disk<'a>>,
}

/// The run folder as the loop sees it.
#[derive(Debug)]
pub struct Disk<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// The run's `config.toml`, kept in each checkpoint.
    pub config: &'a str,
    /// The checkpoint to go on from: of a fine-tuning that of its first phase, those of later ones are found beside it.
    pub resume: Option<Checkpoint>,
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After its last epoch.
    Done,
    /// Because the monitored metric got no better.
    Early,
    /// Because it was told to.
    Interrupted {
        /// Epochs that are done.
        epochs: usize,
        /// Batches of the next epoch that are done.
        batches: usize,
    },
}

/// What a training leaves.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The weights that are kept.
    pub weights: Weights,
    /// Which these are.
    pub kept: Keep,
    /// The best epoch by the monitored metric, once there is one.
    pub best: Option<Best>,
    /// What happened.
    pub history: History,
    /// Steps that were taken.
    pub steps: usize,
    /// How it ended.
    pub end: End,
}

/// What is trained.
pub(super) struct Job<'a> {
    pub network: &'a Network,
    pub config: &'a TrainingConfig,
    /// The numbers that it begins with.
    pub start: Weights,
    /// The first stage that is trained; what stands before is run without gradients, or not at all where the source gives features.
    pub first: usize,
    /// Layers that are not trained though they stand later.
    pub frozen: &'a dyn Fn(&str) -> bool,
    /// Batch norms that keep their statistics.
    pub still: &'a dyn Fn(&str) -> bool,
    /// Classes of the training images.
    pub targets: &'a [usize],
    /// Which part of a training this is.
    pub phase: Phase,
    /// What the parts before it did.
    pub past: Past,
}

/// The validation images.
pub(super) struct Held<'a> {
    pub set: &'a dyn ImageSource,
    /// What the layers before the first trained one make of them, where these do not change.
    pub features: Option<&'a Features>,
}

impl Held<'_> {
    fn score(&self, module: &Classifier, network: &Network, first: usize, device: &Device) -> anyhow::Result<Score> {
        let mut logits = Vec::new();
        for batch in Batches::in_order(self.set.len(), evaluation_batch(network)?) {
            logits.extend(to_vec(match self.features {
                Some(features) => {
                    let x = feature_tensor(features.of(&batch), features.shape, device);
                    module.forward_from(x, first)
                }
                None => module.forward(read_tensor(network, self.set, &batch, device)?),
            }));
        }
        Ok(score(&logits, self.set.targets()))
    }
}

/// Trains; the same job, source and seed give the same weights, however often it is interrupted and taken up.
pub(super) fn fit<'a>(
    job: Job<'a>,
    source: &'a dyn Source,
    held: &'a Held<'a>,
    hooks: Hooks<'_>,
) -> anyhow::Result<Outcome> {
    Ok(Fit::new(job, None, source, held, hooks)?.run()?.0)
}

/// As [`fit`], in int8; returns the intervals that belong to the weights too.
pub(super) fn fit_int8<'a>(
    job: Job<'a>,
    int8: Int8<'a>,
    source: &'a dyn Source,
    held: &'a Held<'a>,
    hooks: Hooks<'_>,
) -> anyhow::Result<(Outcome, Calibration)> {
    let (outcome, calibration) = Fit::new(job, Some(int8), source, held, hooks)?.run()?;
    Ok((outcome, calibration.context("a training in int8 has intervals")?))
}

struct Fit<'a, 'h> {
    network: &'a Network,
    config: &'a TrainingConfig,
    source: &'a dyn Source,
    held: &'a Held<'a>,
    hooks: Hooks<'h>,
    first: usize,
    phase: Phase,
    past: Past,
    device: Device,
    training_device: Device,
    criterion: Criterion,
    schedule: Schedule,
    optimizer: Optimizer,
    module: Classifier,
    base: Option<Base>,
    /// Where the gradients are found, when not here.
    replicas: Option<Replicas>,
    int8: Option<Int8<'a>>,
    state: State,
    /// Weights of the best epoch, and in int8 their intervals.
    best: Option<(Weights, Option<Calibration>)>,
    log: Option<BatchLog>,
    began: Instant,
    /// Seconds before the training was taken up.
    before: f64,
    saved: Instant,
}

impl<'a, 'h> Fit<'a, 'h> {
    fn new(
        job: Job<'a>,
        mut int8: Option<Int8<'a>>,
        source: &'a dyn Source,
        held: &'a Held<'a>,
        mut hooks: Hooks<'h>,
    ) -> anyhow::Result<Self> {
        let Job { network, config, first, phase, past, .. } = job;
        config.validate()?;
        network.check_labels(held.set.labels())?;
        ensure!(!held.set.is_empty(), "there are no images to validate on");
        ensure!(source.batches() > 0, "there are no images to train on");
        let device = if int8.is_some() { config.int8_device()? } else { config.main_device()? };
        let training_device = device.clone().autodiff();
        let named = |which: &dyn Fn(&str) -> bool| {
            network.layers.iter().map(|layer| layer.name.clone()).filter(|name| which(name)).collect()
        };
        let (frozen, still) = (named(job.frozen), named(job.still));
        let blueprint = Blueprint { network: network.clone(), start: job.start.clone(), first, frozen, still };
        let replicas = if int8.is_some() { None } else { Replicas::open(config, blueprint)? };
        let mut counts = vec![0; held.set.labels().len()];
        job.targets.iter().for_each(|&target| counts[target] += 1);
        let criterion = Criterion::new(config, held.set.labels(), &counts)?;
        let schedule = Schedule::new(config, source.batches())?;
        let mark = DataMark::of(job.targets, held.set);
        let text = hooks.disk.as_ref().map_or("", |disk| disk.config);
        let mut state = State::new(config, network, text, mark, &schedule);
        let (mut start, mut memory) = (job.start, None);
        let mut best = None;
        if let Some(disk) = &mut hooks.disk {
            let checkpoints = disk.folder.join(names::CHECKPOINTS);
            if let Some(checkpoint) = disk.resume.take() {
                checkpoint.state.check(&state, &schedule)?;
                state = State { training: state.training, config: state.config, ..checkpoint.state };
                (start, memory) = (checkpoint.weights, Some(checkpoint.optimizer));
                let intervals = state.intervals.take();
                if let Some(int8) = &mut int8 {
                    int8.intervals.restore(intervals.context("--resume: the checkpoint has no intervals")?);
                }
                if state.best.is_some() {
                    let kept = Checkpoint::read(&checkpoints.join(phase.best()))?;
                    state.best = kept.state.best;
                    best = Some((kept.weights, kept.state.intervals.map(|intervals| intervals.calibration())));
                }
            } else if phase == Phase::First && checkpoints.exists() {
                std::fs::remove_dir_all(&checkpoints)
                    .with_context(|| format!("cannot remove the outdated {}", checkpoints.display()))?;
            }
            std::fs::create_dir_all(&checkpoints)
                .with_context(|| format!("cannot make the folder {}", checkpoints.display()))?;
        }
        let module = numbered(Classifier::new(network, &start, &training_device)?);
        // the penalty of a layer's own and that of all
        let own = |name: &str| network.layers.iter().find(|l| l.name == name).map_or(0.0, |l| l.options.l2);
        let l2 = module.kernels().into_iter().map(|(name, id)| (id, config.l2 + own(name))).filter(|(_, l2)| *l2 > 0.0);
        let mut optimizer = Optimizer::new(config, l2.collect())?;
        if let Some(memory) = memory {
            optimizer.load(memory)?;
        }
        let base = match first {
            0 => None,
            layers => Some(Base { module: Classifier::new(network, &start, &device)?, layers }),
        };
        Ok(Self {
            module: module.freeze(job.frozen, job.still),
            before: state.seconds,
            network,
            config,
            source,
            held,
            hooks,
            first,
            phase,
            past,
            device,
            training_device,
            criterion,
            schedule,
            optimizer,
            base,
            replicas,
            int8,
            state,
            best,
            log: None,
            began: Instant::now(),
            saved: Instant::now(),
        })
    }

    /// Trains what is left.
    fn run(mut self) -> anyhow::Result<(Outcome, Option<Calibration>)> {
        if !self.is_over() {
            self.begin()?;
        }
        while !self.is_over() {
            if !self.epoch()? {
                let (epochs, batches) = (self.state.epochs, self.state.batches);
                return Ok(self.outcome(End::Interrupted { epochs, batches }));
            }
        }
        let end = if self.state.stopped { End::Early } else { End::Done };
        Ok(self.outcome(end))
    }

    const fn is_over(&self) -> bool {
        self.state.is_over(self.config.epochs)
    }

    /// Opens the log, and removes what later phases left: they begin with other weights now.
    fn begin(&mut self) -> anyhow::Result<()> {
        let Some(disk) = &self.hooks.disk else { return Ok(()) };
        for phase in self.phase.later() {
            for file in [phase.last(), phase.best()].map(|name| disk.folder.join(names::CHECKPOINTS).join(name)) {
                if file.exists() {
                    std::fs::remove_file(&file)
                        .with_context(|| format!("cannot remove the outdated {}", file.display()))?;
                }
            }
        }
        let steps = self.past.steps + self.state.steps;
        self.log = Some(BatchLog::open(&disk.folder.join(names::BATCHES), steps)?);
        Ok(())
    }

    /// Trains what is left of an epoch; says whether it came to its end.
    fn epoch(&mut self) -> anyhow::Result<bool> {
        for batch in self.source.epoch(self.state.epochs + 1, self.state.batches) {
            let report = match self.step(&batch?) {
                Ok(report) => report,
                Err(error) => return Err(self.keep(error)),
            };
            if let Some(log) = &mut self.log {
                log.add(&report)?;
            }
            self.hooks.observer.batch(report);
            let stop = self.hooks.stop.load(Ordering::Relaxed);
            if stop || self.due() {
                self.save(self.phase.last())?;
            }
            if stop {
                return Ok(false);
            }
        }
        self.end_epoch()?;
        Ok(true)
    }

    /// Whether it is time for a checkpoint in mid-epoch.
    fn due(&self) -> bool {
        let TrainingConfig { checkpoint_steps: steps, checkpoint_minutes: minutes, .. } = *self.config;
        let waited = self.saved.elapsed();
        (steps > 0 && self.state.steps.is_multiple_of(steps))
            || (minutes > 0.0 && Duration::try_from_secs_f64(60.0 * minutes).is_ok_and(|limit| waited >= limit))
    }

    /// Writes a checkpoint when a device was lost; the error then says how to go on.
    fn keep(&mut self, error: anyhow::Error) -> anyhow::Error {
        let Some(Lost { place, .. }) = error.downcast_ref::<Lost>() else { return error };
        let others = match place.is_remote() {
            true => "start the worker again, or give other devices with --devices (cpu:0 for this machine alone)",
            false => "or on other devices with --devices",
        };
        let (epoch, batch) = (self.past.epochs() + self.state.epochs + 1, self.state.batches + 1);
        let at = anyhow!("{error}, in epoch {epoch}, batch {batch}");
        let Some(disk) = &self.hooks.disk else { return at };
        let finetuned = toml::from_str::<toml::Table>(disk.config).is_ok_and(|config| config.contains_key("finetune"));
        let command =
            format!("ocelli {} --resume {}", if finetuned { "finetune" } else { "train" }, disk.folder.display());
        match self.save(self.phase.last()) {
            Ok(()) => anyhow!("{at}; what was trained before that is kept: go on with `{command}`; {others}"),
            Err(failed) => failed.context(at),
        }
    }

    /// Trains on a batch.
    fn step(&mut self, batch: &Batch) -> anyhow::Result<BatchReport> {
        let images = batch.targets.len();
        let rate = self.schedule.rate(self.state.steps, &self.state.plateau);
        // dropout depends on seed and step alone, so that a training can be taken up at any step
        let seed = mixed(!self.config.seed, self.state.steps as u64);
        self.device.seed(seed);
        let labels = self.held.set.labels();
        let (network, base, criterion) = (self.network, self.base.as_ref(), &self.criterion);
        let (device, training_device) = (&self.device, &self.training_device);
        let (found, seen) = match (&self.int8, &self.replicas) {
            (Some(int8), _) => {
                let (logits, seen) = int8.forward(network, &self.module, &batch.inputs, labels, training_device)?;
                (step::find(&self.module, logits, criterion, batch), Some(seen))
            }
            (None, Some(replicas)) => {
                let features = base.map(|base| base.batch(network, batch, device));
                let batch = features.as_ref().unwrap_or(batch);
                (replicas.find(&self.module, criterion, batch, seed, device)?, None)
            }
            (None, None) => {
                let x = step::inputs(network, base, &batch.inputs, device, training_device);
                (step::find(&self.module, self.module.forward_from(x, self.first), criterion, batch), None)
            }
        };
        let (value, classes, logits) = (found.loss, found.classes, found.logits);
        let epoch = self.past.epochs() + self.state.epochs + 1;
        if !value.is_finite() {
            let key = match self.phase {
                Phase::First => "learning_rate",
                Phase::Unfrozen => "unfreeze_rate",
                Phase::Int8 => "qat_learning_rate",
            };
            bail!(
                "the loss became {value} in epoch {epoch}, batch {}: lower {key} (now {rate}) or set clip_global_norm",
                self.state.batches + 1
            );
        }
        self.module = self.optimizer.step(rate, self.module.clone(), found.gradients);
        if let (Some(int8), Some(seen)) = (&mut self.int8, &seen) {
            int8.step(seen, rate);
        }
        let right = logits.chunks_exact(classes).enumerate().filter(|(i, row)| argmax(row) == batch.class(*i)).count();
        let state = &mut self.state;
        state.batches += 1;
        state.steps += 1;
        state.loss_sum += f64::from(value) * images as f64;
        state.correct += right;
        state.images += images;
        state.last_batch_loss = f64::from(value);
        state.last_batch_accuracy = right as f64 / images.max(1) as f64;
        Ok(BatchReport {
            epoch,
            batch: state.batches,
            step: self.past.steps + state.steps,
            images: state.images,
            of: self.source.images(),
            loss: state.last_batch_loss,
            accuracy: state.last_batch_accuracy,
            running_loss: state.loss_sum / state.images.max(1) as f64,
            running_accuracy: state.correct as f64 / state.images.max(1) as f64,
            learning_rate: rate,
        })
    }

    /// Validates, judges the epoch and writes checkpoints.
    fn end_epoch(&mut self) -> anyhow::Result<()> {
        let epoch = self.state.epochs + 1;
        let weights = self.module.to_weights();
        let score = match &self.int8 {
            None => {
                let module = Classifier::new(self.network, &weights, &self.device)?;
                self.held.score(&module, self.network, self.first, &self.device)?
            }
            Some(int8) => int8.score(self.network, &weights, self.held.set)?,
        };
        let state = &mut self.state;
        let row = HistoryRow {
            epoch,
            loss: state.loss_sum / state.images.max(1) as f64,
            accuracy: state.correct as f64 / state.images.max(1) as f64,
            last_batch_loss: state.last_batch_loss,
            last_batch_accuracy: state.last_batch_accuracy,
            val_loss: score.loss,
            val_accuracy: score.accuracy,
            learning_rate: self.schedule.rate(state.steps.saturating_sub(1), &state.plateau),
            seconds: self.before + self.began.elapsed().as_secs_f64(),
        };
        state.history.push(row);
        (state.epochs, state.batches) = (epoch, 0);
        (state.loss_sum, state.correct, state.images) = (0.0, 0, 0);
        let monitor = self.config.monitor;
        let value = monitor.of(&row);
        self.schedule.end_epoch(epoch, monitor, value, &mut state.plateau);
        if let Some(stopping) = self.config.early_stopping {
            let waited = state.stopping.waited(monitor, value, stopping.min_delta);
            state.stopped = waited >= stopping.patience.max(1);
        }
        if state.best.is_none_or(|best| monitor.better(value, best.value, 0.0)) {
            state.best = Some(Best { epoch, value });
            self.best = Some((weights, self.calibration()));
            self.save(self.phase.best())?;
        }
        self.save(self.phase.last())?;
        let history = self.past.then(&self.state.history);
        if let Some(disk) = &self.hooks.disk {
            history.write_csv(&disk.folder.join(names::HISTORY))?;
        }
        if let Some(row) = history.rows.last() {
            self.hooks.observer.epoch(row);
        }
        Ok(())
    }

    /// Writes a checkpoint.
    fn save(&mut self, name: &str) -> anyhow::Result<()> {
        self.saved = Instant::now();
        self.state.seconds = self.before + self.began.elapsed().as_secs_f64();
        let Some(disk) = &self.hooks.disk else { return Ok(()) };
        if let Some(log) = &mut self.log {
            log.flush()?;
        }
        let intervals = self.int8.as_ref().map(|int8| int8.intervals.state());
        let checkpoint = Checkpoint {
            state: State { intervals, ..self.state.clone() },
            weights: self.module.to_weights(),
            optimizer: self.optimizer.to_bytes()?,
        };
        checkpoint.write(&disk.folder.join(names::CHECKPOINTS).join(name))
    }

    /// The intervals of activations now.
    fn calibration(&self) -> Option<Calibration> {
        self.int8.as_ref().map(|int8| int8.intervals.calibration.clone())
    }

    fn outcome(mut self, end: End) -> (Outcome, Option<Calibration>) {
        let (kept, weights, calibration) = match (self.config.kept(), self.best.take()) {
            (Keep::Best, Some((weights, calibration))) => (Keep::Best, weights, calibration),
            _ => (Keep::Last, self.module.to_weights(), self.calibration()),
        };
        let State { best, steps, history, .. } = self.state;
        (Outcome { weights, kept, best, history: History { rows: history }, steps, end }, calibration)
    }
}
