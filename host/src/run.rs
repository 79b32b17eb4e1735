//! A run folder: everything that training and compiling leave behind, under fixed names.

use crate::check::tract::read_onnx;
use crate::config::Config;
use crate::files::{relative_to, write_atomically};
use crate::interchange::{onnx, qdq};
use crate::model::ModelBytes;
use crate::network::{Network, Weights};
use crate::quantize::{Adjustments, QuantizedNetwork, TrainedRanges};
use anyhow::{Context, ensure};
use prost::Message;
use std::path::{Path, PathBuf};
use tract_onnx::pb::ModelProto;

/// Names of the files in a run folder.
pub mod names {
    /// The network.
    pub const NETWORK: &str = "net.toml";
    /// How the run was made.
    pub const CONFIG: &str = "config.toml";
    /// The classes that it was trained on, one a line.
    pub const LABELS: &str = "labels.txt";
    /// Trained weights.
    pub const WEIGHTS: &str = "weights.safetensors";
    /// Intervals of activations that the network was trained with, where it was trained for int8.
    pub const RANGES: &str = "ranges.toml";
    /// What was done to the weights before they were quantized.
    pub const ADJUSTMENTS: &str = "adjustments.toml";
    /// Weights that were trained on in int8 after that.
    pub const TUNED: &str = "tuned.safetensors";
    /// The float network for others.
    pub const ONNX: &str = "model.onnx";
    /// The quantized network for others; what tract judges the model file by.
    pub const QDQ: &str = "model.qdq.onnx";
    /// The compiled model.
    pub const MODEL: &str = "model.ocelli";
    /// One row an epoch.
    pub const HISTORY: &str = "history.csv";
    /// One row a batch.
    pub const BATCHES: &str = "batches.csv";
    /// Folder of what a training is taken up from.
    pub const CHECKPOINTS: &str = "checkpoints";
    /// The newest checkpoint, in that folder.
    pub const LAST: &str = "last.safetensors";
    /// The checkpoint of the best epoch, in that folder.
    pub const BEST: &str = "best.safetensors";
    /// As [`LAST`], of the epochs of a fine-tuning in which all layers are trained.
    pub const UNFROZEN_LAST: &str = "unfrozen-last.safetensors";
    /// As [`BEST`], of those epochs.
    pub const UNFROZEN_BEST: &str = "unfrozen-best.safetensors";
    /// As [`LAST`], of the epochs in int8.
    pub const INT8_LAST: &str = "int8-last.safetensors";
    /// As [`BEST`], of those epochs.
    pub const INT8_BEST: &str = "int8-best.safetensors";
    /// Loss and accuracy over the epochs.
    pub const CURVES: &str = "curves.png";
    /// Which classes are taken for which.
    pub const CONFUSION: &str = "confusion.png";
    /// What the board's screen would show.
    pub const SCREEN: &str = "screen.png";
    /// All figures.
    pub const REPORT: &str = "report.json";
    /// What evaluations and checks found about the model.
    pub const FIGURES: &str = "figures.json";
    /// What `cargo xtask bench device --json` measured.
    pub const BENCH: &str = "bench.json";
    /// All of it on one page.
    pub const PAGE: &str = "report.html";

    /// All files.
    pub(super) const ALL: [&str; 19] = [
        NETWORK,
        CONFIG,
        LABELS,
        WEIGHTS,
        RANGES,
        ADJUSTMENTS,
        TUNED,
        ONNX,
        QDQ,
        MODEL,
        HISTORY,
        BATCHES,
        CURVES,
        CONFUSION,
        SCREEN,
        REPORT,
        FIGURES,
        BENCH,
        PAGE,
    ];
}

/// A run folder that is being written. One that was made for a run and is still empty at its end goes again.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    made: bool,
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if self.made {
            // fails when something has been written, as it should
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

impl RunFolder {
    /// Makes the folder where it is missing and makes sure that it can be written, before any work is done.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let advice = || format!("cannot write to the folder {}: choose another with --out", path.display());
        let made = !path.exists();
        std::fs::create_dir_all(path).with_context(advice)?;
        let folder = Self { path: path.to_owned(), made };
        tempfile::NamedTempFile::new_in(path).with_context(advice)?;
        Ok(folder)
    }

    /// The place of one of the [`names`].
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder holds a training, done or begun.
    #[must_use]
    pub fn holds_run(&self) -> bool {
        [names::WEIGHTS, names::CHECKPOINTS].iter().any(|name| self.file(name).exists())
    }

    /// Whether the folder's network was trained here, and not only imported.
    #[must_use]
    pub fn holds_training(&self) -> bool {
        [names::HISTORY, names::CHECKPOINTS].iter().any(|name| self.file(name).exists())
    }

    /// Removes the files of a run; others stay.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        let checkpoints = self.file(names::CHECKPOINTS);
        let outdated = |path: &Path| format!("cannot remove the outdated {}", path.display());
        if checkpoints.exists() {
            std::fs::remove_dir_all(&checkpoints).with_context(|| outdated(&checkpoints))?;
        }
        for path in names::ALL.map(|name| self.file(name)).iter().filter(|path| path.exists()) {
            std::fs::remove_file(path).with_context(|| outdated(path))?;
        }
        Ok(())
    }

    /// Writes what is known of a training when it begins: network, labels, configuration.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_begun(&self, network: &Network, labels: &[String], config: &Config) -> anyhow::Result<()> {
        write_atomically(&self.file(names::NETWORK), network.to_toml().as_bytes())?;
        write_atomically(&self.file(names::LABELS), (labels.join("\n") + "\n").as_bytes())?;
        self.write_config(config)
    }

    /// Writes network, weights, configuration and ONNX of a trained network; compiled files of other weights, pictures or labels go,
    /// because they would not be this network's.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_trained(
        &self,
        network: &Network,
        weights: &Weights,
        labels: &[String],
        config: &Config,
    ) -> anyhow::Result<()> {
        // weights, pictures and labels: all that a compiled model has
        let onnx = onnx::export(network, weights, labels)?.encode_to_vec();
        let is_same = std::fs::read(self.file(names::ONNX)).is_ok_and(|before| before == onnx);
        self.write_begun(network, labels, config)?;
        weights.write(&self.file(names::WEIGHTS))?;
        write_atomically(&self.file(names::ONNX), &onnx)?;
        if is_same {
            return Ok(());
        }
        let stale =
            [names::MODEL, names::QDQ, names::RANGES, names::ADJUSTMENTS, names::TUNED].map(|name| self.file(name));
        for stale in stale.iter().filter(|path| path.exists()) {
            std::fs::remove_file(stale).with_context(|| format!("cannot remove the outdated {}", stale.display()))?;
        }
        Ok(())
    }

    /// Writes the configuration of the run whose network is this folder's.
    ///
    /// # Errors
    /// When a path in it does not exist or the file cannot be written.
    pub fn write_config(&self, config: &Config) -> anyhow::Result<()> {
        write_atomically(&self.file(names::CONFIG), self.config_text(config)?.as_bytes())
    }

    /// The text of the `config.toml` that belongs into this folder.
    ///
    /// # Errors
    /// When a path in it does not exist.
    pub fn config_text(&self, config: &Config) -> anyhow::Result<String> {
        let mut config = config.clone();
        config.network.file = names::NETWORK.to_owned();
        if !config.dataset.path.as_os_str().is_empty() {
            config.dataset.path = relative_to(&config.dataset.path, &self.path)?;
        }
        config.dataset.labels = config.dataset.labels.map(|labels| relative_to(&labels, &self.path)).transpose()?;
        if let Some(finetune) = &mut config.finetune {
            finetune.base = relative_to(&finetune.base, &self.path)?;
        }
        config.to_toml()
    }

    /// Writes the quantized network and the model that it was compiled to.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_compiled(&self, network: &QuantizedNetwork, model: &[u8]) -> anyhow::Result<()> {
        write_atomically(&self.file(names::QDQ), &qdq::export(network)?.encode_to_vec())?;
        write_atomically(&self.file(names::MODEL), model)
    }
}

/// A trained network read back from its run folder.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The network.
    pub network: Network,
    /// Its weights.
    pub weights: Weights,
    /// The classes that it was trained on.
    pub labels: Vec<String>,
    /// How it was made.
    pub config: Config,
    /// Intervals of activations that it was trained with, where it was trained for int8.
    pub ranges: Option<TrainedRanges>,
}

impl Trained {
    /// Reads the run folder of a training.
    ///
    /// # Errors
    /// When a file is missing or wrong.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let (network, weights) = network_and_weights(folder, TRAINED)?;
        let labels = read_labels(&required(folder, names::LABELS, TRAINED)?)?;
        let config = Config::read(&required(folder, names::CONFIG, TRAINED)?)?;
        let ranges = folder.join(names::RANGES);
        let ranges = if ranges.exists() { Some(TrainedRanges::read(&ranges, &network)?) } else { None };
        Ok(Self { network, weights, labels, config, ranges })
    }

    /// Refuses a dataset of other classes than those that the network was trained on.
    ///
    /// # Errors
    /// Names both.
    pub fn check_labels(&self, labels: &[String]) -> anyhow::Result<()> {
        ensure!(
            self.labels == labels,
            "the network was trained on other classes ({}) than the dataset's ({})",
            self.labels.join(", "),
            labels.join(", ")
        );
        Ok(())
    }
}

/// What a folder must be, for errors.
const TRAINED: &str = "that is not the folder of a training: make one with `ocelli train --out FOLDER`";
const COMPILED: &str =
    "a model is judged by the files of its run folder: make them with `ocelli train` and `ocelli compile`";

fn network_and_weights(folder: &Path, advice: &str) -> anyhow::Result<(Network, Weights)> {
    let network = Network::open(&required(folder, names::NETWORK, advice)?.display().to_string())?;
    let weights = Weights::read(&required(folder, names::WEIGHTS, advice)?, &network)?;
    Ok((network, weights))
}

/// Class names, one a line.
///
/// # Errors
/// When the file cannot be read.
pub fn read_labels(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let labels: Vec<String> = text.lines().map(str::to_owned).collect();
    ensure!(!labels.is_empty(), "{} is empty: it should name a class on each line", path.display());
    Ok(labels)
}

/// A compiled model with the references that it is judged by.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The model file.
    pub path: PathBuf,
    /// Its bytes.
    pub model: ModelBytes,
    /// The network.
    pub network: Network,
    /// Its float weights.
    pub weights: Weights,
    /// The float network as exported.
    pub onnx: ModelProto,
    /// The quantized network as exported.
    pub qdq: ModelProto,
    /// What was done to the weights before they were quantized.
    pub adjustments: Adjustments,
}

impl Bundle {
    /// Reads a model file and its references, which lie beside it.
    ///
    /// # Errors
    /// When a file is missing or wrong; the error names it.
    pub fn open(model: &Path) -> anyhow::Result<Self> {
        let path = model_path(model)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")).to_owned();
        let bytes = ModelBytes::read(&path)?;
        let (network, weights) = network_and_weights(&folder, COMPILED)?;
        let onnx = read_onnx(&required(&folder, names::ONNX, COMPILED)?)?;
        let qdq = read_onnx(&required(&folder, names::QDQ, COMPILED)?)?;
        ensure!(
            network.input.shape == bytes.input_spec()?.shape,
            "{} takes {}, {} beside it {}: compile it again",
            path.display(),
            bytes.input_spec()?.shape,
            names::NETWORK,
            network.input.shape
        );
        let adjustments = Adjustments::read(&folder, &network, &weights)?;
        Ok(Self { path, model: bytes, network, weights, onnx, qdq, adjustments })
    }
}

impl Bundle {
    /// The classes of the model.
    ///
    /// # Errors
    /// When the model file is damaged.
    pub fn labels(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.model.model()?.labels().map(str::to_owned).collect())
    }
}

/// The model file that an argument means: a file, or the one in a run folder.
///
/// # Errors
/// When there is none.
pub fn model_path(argument: &Path) -> anyhow::Result<PathBuf> {
    if argument.is_dir() {
        let (path, run) = (argument.join(names::MODEL), argument.display());
        ensure!(path.is_file(), "there is no model file {}: compile one with `ocelli compile {run}`", path.display());
        return Ok(path);
    }
    let path = argument.to_owned();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ensure!(
        !matches!(extension, "onnx" | "tflite"),
        "{shown} is no compiled model: take it in with `ocelli import {shown} --board host --out {name}` and give the folder {name} (a float \
         network is quantized first, by `ocelli compile {name} --data PICTURES`)",
        shown = path.display(),
        name = path.file_stem().map_or_else(|| "net".into(), |stem| stem.to_string_lossy())
    );
    ensure!(
        path.is_file(),
        "there is no model file {}: compile one with `ocelli compile RUN`, RUN being the folder of a training",
        path.display()
    );
    Ok(path)
}

fn required(folder: &Path, name: &str, advice: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is missing: {advice}", path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn a_compiled_model_stays_only_with_its_weights_pictures_and_labels() {
        let mut network = Network::open("mnist-cnn").unwrap();
        let mut weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        let mut labels: Vec<String> = (0..10).map(|class| class.to_string()).collect();
        let at = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(at.path()).unwrap();
        let stays = |network: &Network, weights: &Weights, labels: &[String]| {
            std::fs::write(folder.file(names::MODEL), "compiled").unwrap();
            folder.write_trained(network, weights, labels, &Config::default()).unwrap();
            folder.file(names::MODEL).exists()
        };
        assert!(!stays(&network, &weights, &labels), "a folder without a network");
        assert!(stays(&network, &weights, &labels));
        network.input.mean[0] += 0.5;
        assert!(!stays(&network, &weights, &labels), "other pictures");
        labels[3] = "three".to_owned();
        assert!(!stays(&network, &weights, &labels), "other labels");
        weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(2)).unwrap();
        assert!(!stays(&network, &weights, &labels), "other weights");
        assert!(stays(&network, &weights, &labels));
    }
}
