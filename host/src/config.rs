//! `config.toml`: dataset, network, training, quantization, target. Enough to repeat a run.

use crate::augment::AugmentationConfig;
use crate::data::{DataSource, Holdout, OpenOptions};
use crate::network::in_words;
use crate::quantize::QuantizationConfig;
use crate::train::{FinetuneConfig, TrainingConfig};
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
    /// What it was made from, where `ocelli finetune` made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finetune: Option<FinetuneConfig>,
}

/// The dataset.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetConfig {
    /// A folder of MNIST idx files, CIFAR binary files, or class folders with pictures; a .zip, .tar or .tar.gz of one; or a .csv with
    /// the columns path, label and, if it is divided, split.
    pub path: PathBuf,
    /// A text file with one label a line, in place of the dataset's own names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// Share of the training images that is set aside for validation when the dataset has no validation or test set.
    pub validation_fraction: f64,
    /// Share of the training images that is validated on in any case, the last ones as the dataset has them (of each class, where
    /// pictures are files; Keras' `validation_split`); a test set is then left alone while training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<f64>,
    /// CIFAR-100's 20 coarse labels in place of its 100 fine ones.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub coarse_labels: bool,
    /// What the network says of a picture.
    pub mode: Mode,
    /// Bytes of decoded pixels that a set may hold in memory (`"512M"`, `"4G"`, or a number); a larger set is decoded as it is used.
    pub memory: String,
}

/// What the network says of a picture (Keras' `class_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One of the classes; targets are numbers.
    #[default]
    Sparse,
    /// One of the classes; targets are one-hot rows.
    Categorical,
    /// The second of two classes or not: one output.
    Binary,
}

impl DatasetConfig {
    /// Opens the dataset.
    ///
    /// # Errors
    /// When it cannot be opened, or has not the two classes that the binary mode is for.
    pub fn open(&self) -> anyhow::Result<DataSource> {
        let options = OpenOptions { labels: self.labels.clone(), coarse_labels: self.coarse_labels };
        let source = DataSource::open_with(&self.path, &options)?;
        let classes = source.labels().len();
        ensure!(
            self.mode != Mode::Binary || classes == 2,
            "[dataset] mode = \"binary\" is for two classes, {} has {classes}: use \"sparse\"",
            self.path.display()
        );
        Ok(source)
    }

    /// Which training images are validated on, where the dataset leaves that open.
    #[must_use]
    pub fn holdout(&self, source: &DataSource, seed: u64) -> Holdout {
        match self.validation_split {
            Some(share) if source.is_of_files() => Holdout::LastOfEach(share),
            Some(share) => Holdout::Last(share),
            None => Holdout::Drawn { fraction: self.validation_fraction, seed },
        }
    }

    /// The limit of [`memory`](Self::memory) in bytes.
    ///
    /// # Errors
    /// When it is no number of bytes.
    pub fn memory_bytes(&self) -> anyhow::Result<u64> {
        let text = self.memory.trim();
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text[digits.len()..].trim().to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            _ => 64,
        };
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1_u64.checked_shl(shift)?));
        bytes.with_context(|| {
            format!("[dataset] memory = \"{}\" is no number of bytes such as \"512M\" or \"4G\"", self.memory)
        })
    }
}

impl Default for DatasetConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            labels: None,
            validation_fraction: 0.1,
            validation_split: None,
            coarse_labels: false,
            mode: Mode::Sparse,
            memory: "4G".to_owned(),
        }
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
        Self::parse(&text, path)
    }

    /// Reads the text of a `config.toml` that lies, or could lie, at `path`.
    ///
    /// # Errors
    /// When it has an unknown key or a wrong value.
    pub fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
        let mut config: Self =
            toml::from_str(text).map_err(|e| anyhow::anyhow!("{}: {}", path.display(), in_words(&e)))?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        if !config.dataset.path.as_os_str().is_empty() {
            config.dataset.path = folder.join(&config.dataset.path);
        }
        config.dataset.labels = config.dataset.labels.map(|labels| folder.join(labels));
        if let Some(finetune) = &mut config.finetune {
            finetune.base = folder.join(&finetune.base);
        }
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
        if let Some(share) = self.dataset.validation_split {
            ensure!(share > 0.0 && share < 1.0, "[dataset] validation_split = {share} must be above 0 and below 1");
        }
        self.quantization.validate()?;
        if self.target.board != HOST {
            ocelli_firmware_tools::boards::find(&self.target.board).context("[target] board (or host)")?;
        }
        self.dataset.memory_bytes()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_number_with_a_unit() {
        let bytes = |text: &str| DatasetConfig { memory: text.to_owned(), ..DatasetConfig::default() }.memory_bytes();
        for (text, expected) in [("4G", 4 << 30), ("512 MiB", 512 << 20), ("10k", 10_240), ("77", 77), ("0", 0)] {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in ["", "G", "4T", "-1", "1.5G", "99999999999999999999", "99999999999G"] {
            assert!(bytes(text).unwrap_err().to_string().contains(text), "{text}");
        }
    }

    #[test]
    fn a_wrong_type_is_told_in_words() {
        for (line, words) in [
            ("epochs = \"ten\"", "invalid type: string \"ten\", expected a whole number, 0 or more"),
            ("epochs = -3", "invalid value: integer `-3`, expected a whole number, 0 or more"),
            ("learning_rate = \"fast\"", "invalid type: string \"fast\", expected a number"),
        ] {
            let error = Config::parse(&format!("[training]\n{line}\n"), Path::new("c.toml")).unwrap_err().to_string();
            assert!(error.starts_with("c.toml: TOML parse error at line 2") && error.ends_with(words), "{error}");
        }
    }

    #[test]
    fn sections_are_read_and_written_back() {
        let text = "[dataset]\npath = \"x\"\nmode = \"binary\"\nmemory = \"1G\"\n[augmentation]\nrotation = 10\nzoom = [0.9, 1.1]\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!((config.dataset.mode, config.augmentation.rotation), (Mode::Binary, 10.0));
        let again: Config = toml::from_str(&config.to_toml().unwrap()).unwrap();
        assert_eq!((again.dataset.memory.as_str(), &again.augmentation), ("1G", &config.augmentation));
        assert!(!Config::default().to_toml().unwrap().contains("augmentation"));
    }
}
