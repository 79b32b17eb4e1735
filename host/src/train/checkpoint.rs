//! A training on disk: one safetensors file with the weights under their names, the optimizer's memory, and the rest as TOML, written
//! as a whole or not at all.

use super::config::TrainingConfig;
use super::history::{History, HistoryRow};
use super::monitor::Patience;
use super::qat::IntervalState;
use super::schedule::{PlateauState, Schedule};
use crate::augment::AugmentationConfig;
use crate::data::ImageSource;
use crate::files::write_atomically;
use crate::network::{Network, Weights};
use crate::quantize::QuantizationConfig;
use crate::run::names;
use anyhow::{Context, bail, ensure};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The layout of [`State`]; another is refused.
const VERSION: u32 = 1;
/// The optimizer's memory among the tensors; layers' names end in a part.
const OPTIMIZER: &str = "optimizer";
const STATE: &str = "state";

/// A part of a training. Each has checkpoints of its own and begins with what the one before it left; where an earlier one is trained
/// for longer, later ones begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All of a training in float; of a fine-tuning the epochs with frozen layers.
    First,
    /// The epochs of a fine-tuning in which all layers are trained.
    Unfrozen,
    /// The epochs in int8.
    Int8,
}

impl Phase {
    /// In the order of training.
    pub(super) const ALL: [Self; 3] = [Self::First, Self::Unfrozen, Self::Int8];

    /// File name of the newest checkpoint.
    #[must_use]
    pub const fn last(self) -> &'static str {
        match self {
            Self::First => names::LAST,
            Self::Unfrozen => names::UNFROZEN_LAST,
            Self::Int8 => names::INT8_LAST,
        }
    }

    /// File name of the checkpoint of the best epoch.
    #[must_use]
    pub const fn best(self) -> &'static str {
        match self {
            Self::First => names::BEST,
            Self::Unfrozen => names::UNFROZEN_BEST,
            Self::Int8 => names::INT8_BEST,
        }
    }

    /// The file of the newest checkpoint in a run folder.
    #[must_use]
    pub fn file(self, run: &Path) -> PathBuf {
        run.join(names::CHECKPOINTS).join(self.last())
    }

    /// The phases after this one.
    pub(super) fn later(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().skip_while(move |phase| *phase != self).skip(1)
    }
}

/// What the phases before a phase did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Steps.
    pub steps: usize,
    /// Their epochs.
    pub history: History,
}

impl Past {
    /// Number of epochs.
    #[must_use]
    pub const fn epochs(&self) -> usize {
        self.history.rows.len()
    }

    /// The history of these epochs and of a phase after them, whose rows are counted from its own beginning.
    #[must_use]
    pub fn then(&self, rows: &[HistoryRow]) -> History {
        let seconds = self.history.rows.last().map_or(0.0, |row| row.seconds);
        let later = rows.iter().map(|row| HistoryRow {
            epoch: self.epochs() + row.epoch,
            seconds: seconds + row.seconds,
            ..*row
        });
        History { rows: self.history.rows.iter().copied().chain(later).collect() }
    }
}

/// A phase of a training that can be taken up again.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What has happened.
    pub(super) state: State,
    /// The network's numbers.
    pub(super) weights: Weights,
    /// The optimizer's memory.
    pub(super) optimizer: Vec<u8>,
}

/// Where a training stands, and what it is.
///
/// Numbers keep every bit: TOML is written with the shortest text that reads back the same.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct State {
    pub version: u32,
    /// Epochs that are done.
    pub epochs: usize,
    /// Batches of the next epoch that are done.
    pub batches: usize,
    /// Steps that are done.
    pub steps: usize,
    /// Sum of the losses of the images of the running epoch.
    pub loss_sum: f64,
    /// Right guesses of the running epoch.
    pub correct: usize,
    /// Images of the running epoch.
    pub images: usize,
    pub last_batch_loss: f64,
    pub last_batch_accuracy: f64,
    pub seconds: f64,
    /// Whether early stopping has ended the training.
    pub stopped: bool,
    pub data: DataMark,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    pub plateau: PlateauState,
    pub stopping: Patience,
    /// The network's `net.toml`.
    pub network: String,
    /// The run's `config.toml`, its paths as seen from the run folder.
    pub config: String,
    pub training: TrainingConfig,
    #[serde(default)]
    pub history: Vec<HistoryRow>,
    /// The intervals of activations, where the network is trained in int8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intervals: Option<IntervalState>,
}

/// The best epoch.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Best {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Its monitored metric.
    pub value: f64,
}

/// Enough of the data to notice that it is another.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct DataMark {
    labels: Vec<String>,
    training_images: usize,
    validation_images: usize,
    /// Over names, classes and, where they are in memory, pixels of the validation images, in hexadecimal.
    validation: String,
    /// Over the classes of the training images.
    training: String,
}

impl DataMark {
    /// The mark of two sets; of the training set only what does not need its pixels, which may be on disk.
    pub fn of(targets: &[usize], validation: &dyn ImageSource) -> Self {
        let bytes = |targets: &[usize]| targets.iter().flat_map(|t| (*t as u64).to_le_bytes()).collect::<Vec<u8>>();
        let names = validation.names().iter().map(String::as_bytes);
        let pixels = (0..validation.len()).filter_map(|i| validation.in_memory(i));
        let classes = bytes(validation.targets());
        Self {
            labels: validation.labels().to_vec(),
            training_images: targets.len(),
            validation_images: validation.len(),
            validation: hash(names.chain(pixels).chain([&classes[..]])),
            training: hash([&bytes(targets)[..]]),
        }
    }
}

/// FNV-1a of 64 bits.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let bytes = parts.into_iter().flatten();
    let sum = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    format!("{sum:016x}")
}

impl State {
    /// A training that has not begun.
    pub fn new(
        training: &TrainingConfig,
        network: &Network,
        config: &str,
        data: DataMark,
        schedule: &Schedule,
    ) -> Self {
        Self {
            version: VERSION,
            epochs: 0,
            batches: 0,
            steps: 0,
            loss_sum: 0.0,
            correct: 0,
            images: 0,
            last_batch_loss: 0.0,
            last_batch_accuracy: 0.0,
            seconds: 0.0,
            stopped: false,
            data,
            best: None,
            plateau: schedule.start(),
            stopping: Patience::new(),
            network: network.to_toml(),
            config: config.to_owned(),
            training: training.clone(),
            history: Vec::new(),
            intervals: None,
        }
    }

    /// Whether there is nothing left to train of so many epochs.
    pub const fn is_over(&self, epochs: usize) -> bool {
        self.stopped || self.epochs >= epochs
    }

    /// Refuses to go on with something else; names what differs.
    pub fn check(&self, now: &Self, schedule: &Schedule) -> anyhow::Result<()> {
        same_network(&self.network, &now.network)?;
        ensure!(
            self.data == now.data,
            "--resume: the dataset is not the one that the training was begun with ({} and {} images of {} classes, now {} \
             and {} of {}{})",
            self.data.training_images,
            self.data.validation_images,
            self.data.labels.len(),
            now.data.training_images,
            now.data.validation_images,
            now.data.labels.len(),
            if self.data.labels == now.data.labels { "" } else { ", other labels" }
        );
        let training = &now.training;
        let (mut then, mut now) = (toml::Table::try_from(&self.training)?, toml::Table::try_from(training)?);
        if then.get("epochs") != now.get("epochs") {
            let (before, after) =
                (self.training.epochs, now.get("epochs").map(ToString::to_string).unwrap_or_default());
            ensure!(
                !schedule.knows_the_end(),
                "--resume: [training] epochs = {after}, but the training was begun with {before}, and schedule = \"{}\" \
                 depends on it",
                self.training.schedule
            );
        }
        ensure!(
            training.epochs >= self.epochs,
            "--resume: [training] epochs = {}, but {} are done already",
            training.epochs,
            self.epochs
        );
        for free in ["epochs", "keep", "checkpoint_steps", "checkpoint_minutes", "devices"] {
            then.remove(free);
            now.remove(free);
        }
        same_keys("training", &then, &now)
    }
}

fn same_network(then: &str, now: &str) -> anyhow::Result<()> {
    ensure!(
        then == now,
        "--resume: the network is not the one that the training was begun with: train it anew with another --out"
    );
    Ok(())
}

/// A section of the text of a configuration; empty where it has none.
fn section(config: &str, name: &str) -> anyhow::Result<toml::Table> {
    let config: toml::Table = toml::from_str(config)?;
    Ok(config.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default())
}

/// Refuses a section of a configuration that is not the one that a training was begun with.
fn same_keys(section: &str, then: &toml::Table, now: &toml::Table) -> anyhow::Result<()> {
    for key in then.keys().chain(now.keys()) {
        if then.get(key) != now.get(key) {
            let show = |table: &toml::Table| table.get(key).map_or("not set".to_owned(), ToString::to_string);
            bail!(
                "--resume: [{section}] {key} = {}, but the training was begun with {}: give the same, or another --out",
                show(now),
                show(then)
            );
        }
    }
    Ok(())
}

impl Checkpoint {
    /// The text of the `config.toml` that the training was begun with, its paths as seen from the run folder.
    #[must_use]
    pub fn config(&self) -> &str {
        &self.state.config
    }

    /// Refuses an `[augmentation]` that is not the one that the training was begun with.
    ///
    /// # Errors
    /// Names the key and both values.
    pub fn check_augmentation(&self, now: &AugmentationConfig) -> anyhow::Result<()> {
        let now = if now.is_none() { toml::Table::new() } else { toml::Table::try_from(now)? };
        same_keys("augmentation", &section(self.config(), "augmentation")?, &now)
    }

    /// Refuses a `[quantization]` whose epochs in int8 would be others than those that this checkpoint is of.
    ///
    /// # Errors
    /// Names the key and both values.
    pub fn check_quantization(&self, now: &QuantizationConfig) -> anyhow::Result<()> {
        let (mut then, mut now) = (section(self.config(), "quantization")?, toml::Table::try_from(now)?);
        for free in ["quantize", "int4"] {
            then.remove(free);
            now.remove(free);
        }
        same_keys("quantization", &then, &now)
    }

    /// Refuses a `[finetune]` that is not the one that the training was begun with; `now` is the run's `config.toml`, its paths as seen
    /// from the run folder. What comes after the epochs with frozen layers may still be changed.
    ///
    /// # Errors
    /// Names the key and both values.
    pub fn check_finetune(&self, now: &str) -> anyhow::Result<()> {
        let (mut then, mut now) = (section(self.config(), "finetune")?, section(now, "finetune")?);
        for free in ["unfreeze_epochs", "unfreeze_rate"] {
            then.remove(free);
            now.remove(free);
        }
        same_keys("finetune", &then, &now)
    }

    /// Refuses another network than the one that is trained.
    pub(super) fn check_network(&self, now: &Network) -> anyhow::Result<()> {
        same_network(&self.state.network, &now.to_toml())
    }

    /// Whether all epochs are done that it was begun with.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.state.is_over(self.state.training.epochs)
    }

    /// The network that is trained.
    ///
    /// # Errors
    /// When the file has been changed.
    pub fn network(&self) -> anyhow::Result<Network> {
        Ok(Network::from_toml(&self.state.network, "the checkpoint's net.toml")?)
    }

    /// Epochs that are done, and batches of the next one.
    #[must_use]
    pub const fn position(&self) -> (usize, usize) {
        (self.state.epochs, self.state.batches)
    }

    /// The newest checkpoint of a phase of the training in a run folder, if it has come so far.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn find(run: &Path, phase: Phase) -> anyhow::Result<Option<Self>> {
        let path = phase.file(run);
        if path.exists() { Self::read(&path).map(Some) } else { Ok(None) }
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        ensure!(
            path.is_file(),
            "there is no checkpoint {shown}: give --resume the folder of a training that was interrupted"
        );
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let damaged = |what: String| anyhow::anyhow!("{shown} is damaged: {what}");
        let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(STATE));
        let text = text.ok_or_else(|| damaged("it has no state".to_owned()))?;
        let table: toml::Table = toml::from_str(text).map_err(|e| damaged(e.to_string()))?;
        let version = table.get("version").and_then(toml::Value::as_integer);
        ensure!(version == Some(i64::from(VERSION)), "{shown} is of another version of Ocelli: train anew");
        let state: State = toml::from_str(text).map_err(|e| damaged(e.to_string()))?;
        let network = Network::from_toml(&state.network, &shown.to_string())?;
        let weights = Weights::read(path, &network)?;
        let optimizer = file.tensor(OPTIMIZER).map_err(|e| damaged(e.to_string()))?.data().to_vec();
        Ok(Self { state, weights, optimizer })
    }

    /// Writes the checkpoint, through a temporary file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let tensors = self.weights.tensors();
        let mut views = Vec::with_capacity(tensors.len() + 1);
        for (name, shape, data) in &tensors {
            views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?));
        }
        views.push((OPTIMIZER, TensorView::new(Dtype::U8, vec![self.optimizer.len()], &self.optimizer)?));
        let metadata = HashMap::from([(STATE.to_owned(), toml::to_string(&self.state)?)]);
        write_atomically(path, &safetensors::serialize(views, Some(metadata))?)
    }
}
