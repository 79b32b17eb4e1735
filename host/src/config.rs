//! `config.toml`: dataset, network, training, quantization, target. Enough to repeat a run.

use crate::augment::AugmentationConfig;
use crate::quantize::QuantizationConfig;
use crate::train::TrainingConfig;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// In place of a board's name: the computer that compiles.
pub const HOST: &str = "host";

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What to train on.
    #[serde(default)]
    pub dataset: DatasetConfig,
    /// What to train.
    #[serde(default)]
    pub network: NetworkConfig,
    /// What the training images go through; validation images go through nothing.
    #[serde(default, skip_serializing_if = "AugmentationConfig::is_none")]
    pub augmentation: AugmentationConfig,
    /// How to train.
    #[serde(default)]
    pub training: TrainingConfig,
    /// How to quantize.
    #[serde(default)]
    pub quantization: QuantizationConfig,
    /// What it is for.
    #[serde(default)]
    pub target: TargetConfig,
}

/// The dataset.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetConfig {
    /// A folder of MNIST idx files, CIFAR-10 binary files, or class folders with pictures.
    pub path: PathBuf,
    /// A text file with one label a line, in place of the dataset's own names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// Share of the training images that is set aside for validation when the dataset has no validation or test set.
    pub validation_fraction: f64,
}

impl Default for DatasetConfig {
    fn default() -> Self {
        Self { path: PathBuf::new(), labels: None, validation_fraction: 0.1 }
    }
}

/// The network.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// A `net.toml`, or the name of a built-in network.
    pub file: String,
}

/// The device.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetConfig {
    /// Name of a board, or [`HOST`].
    pub board: String,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self { board: "qemu-m4".to_owned() }
    }
}

impl Config {
    /// Reads a `config.toml`; what it leaves out has its default, and dataset and network are empty then (see
    /// [`validate`](Self::validate)). Relative paths in it are meant from the file's own folder.
    ///
    /// # Errors
    /// When the file cannot be read, or has an unknown key or a wrong value.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the config {}", path.display()))?;
        let mut config: Self =
            toml::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {}", path.display(), e.to_string().trim_end()))?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        if !config.dataset.path.as_os_str().is_empty() {
            config.dataset.path = folder.join(&config.dataset.path);
        }
        config.dataset.labels = config.dataset.labels.map(|labels| folder.join(labels));
        let file = &mut config.network.file;
        if !file.is_empty() && crate::network::zoo::find(file).is_none() {
            *file = folder.join(&*file).display().to_string();
        }
        Ok(config)
    }

    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// Names the key and what it may be.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(
            !self.dataset.path.as_os_str().is_empty(),
            "which dataset? give --data FOLDER, or [dataset] path in config.toml"
        );
        ensure!(!self.network.file.is_empty(), "which network? give --network NET, or [network] file in config.toml");
        let fraction = self.dataset.validation_fraction;
        ensure!(
            (0.0..1.0).contains(&fraction),
            "[dataset] validation_fraction = {fraction} must be at least 0 and below 1"
        );
        ensure!(self.quantization.calibration_images > 0, "[quantization] calibration_images must be at least 1");
        if self.target.board != HOST {
            ocelli_firmware_tools::boards::find(&self.target.board).context("[target] board (or host)")?;
        }
        self.augmentation.validate()?;
        self.training.validate()
    }

    /// The text of a `config.toml`.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        toml::to_string(self).context("cannot write the configuration as TOML")
    }
}
