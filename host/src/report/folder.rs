//! A run folder as reports and lists see it: whatever is there, nothing that must be.

use super::figures::Figures;
use super::history::Curves;
use crate::model::ModelBytes;
use crate::network::Network;
use crate::quantize::QuantizationConfig;
use crate::run::{names, read_labels};
use crate::train::{Keep, Monitor};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a run folder holds.
#[derive(Clone, Debug)]
pub struct RunView {
    /// The folder.
    pub folder: PathBuf,
    /// The network.
    pub network: Network,
    /// The classes; empty when `labels.txt` is missing.
    pub labels: Vec<String>,
    /// `config.toml` as it is, of this version or another.
    pub config: toml::Table,
    /// The epochs.
    pub curves: Option<Curves>,
    /// The compiled model.
    pub model: Option<ModelFacts>,
    /// What evaluations and checks found.
    pub figures: Figures,
    /// When the file of its weights was written: of a folder that was copied or cloned, the time of that.
    pub trained: Option<SystemTime>,
}

/// The epoch whose weights a run folder holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeptEpoch {
    /// The epoch.
    pub epoch: f64,
    /// Its accuracy on the validation images.
    pub val_accuracy: f64,
}

/// What a compiled model needs.
#[derive(Clone, Debug)]
pub struct ModelFacts {
    /// The file.
    pub bytes: ModelBytes,
    /// Its size.
    pub flash_bytes: u64,
    /// Its working memory.
    pub ram_bytes: u64,
}

impl RunView {
    /// Whether a folder is one of a run: a network and a configuration alone may be what someone trains from.
    #[must_use]
    pub fn is_run(folder: &Path) -> bool {
        let there = |name: &&str| folder.join(name).is_file();
        [names::NETWORK, names::CONFIG].iter().all(there)
            && [names::WEIGHTS, names::HISTORY, names::MODEL].iter().any(there)
    }

    /// Reads a run folder.
    ///
    /// # Errors
    /// When it is none, or one of its files is damaged; the error names the file.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        ensure!(
            Self::is_run(folder),
            "{} is not the folder of a run ({}, {} and {} are in one): make one with `ocelli train --out FOLDER`",
            folder.display(),
            names::NETWORK,
            names::CONFIG,
            names::WEIGHTS
        );
        let at = |name: &str| folder.join(name);
        let config = at(names::CONFIG);
        let text = std::fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
        let labels = at(names::LABELS);
        let model = at(names::MODEL);
        Ok(Self {
            folder: folder.to_owned(),
            network: Network::open(&at(names::NETWORK).display().to_string())?,
            labels: if labels.is_file() { read_labels(&labels)? } else { Vec::new() },
            config: text.parse().with_context(|| config.display().to_string())?,
            curves: Curves::read(folder)?,
            model: if model.is_file() { Some(ModelFacts::read(&model)?) } else { None },
            figures: Figures::read(folder)?,
            trained: std::fs::metadata(at(names::WEIGHTS)).and_then(|data| data.modified()).ok(),
        })
    }

    /// A value of the configuration as text, by its table and key.
    #[must_use]
    pub fn setting(&self, table: &str, key: &str) -> Option<String> {
        self.config.get(table)?.get(key).map(text_of)
    }

    /// The epoch whose weights the folder holds: the last one, or the best by the monitored metric where the configuration keeps that (with
    /// early stopping it does). After epochs in int8 it is one of those. `None` where the epoch has no validation accuracy.
    #[must_use]
    pub fn kept(&self) -> Option<KeptEpoch> {
        let curves = self.curves.as_ref()?;
        let training = self.config.get("training");
        let value = |key: &str| training.and_then(|training| training.get(key)).cloned();
        let in_int8 = self.folder.join(names::RANGES).is_file();
        // the epochs in int8 know no early stopping
        let default = if value("early_stopping").is_some() && !in_int8 { Keep::Best } else { Keep::Last };
        let keep = value("keep").and_then(|keep| keep.try_into().ok()).unwrap_or(default);
        let monitor = value("monitor").and_then(|monitor| monitor.try_into().ok()).unwrap_or(Monitor::default());
        let last = curves.epochs().checked_sub(1)?;
        let first = if in_int8 {
            let epochs = self.setting("quantization", "qat_epochs").and_then(|epochs| epochs.parse().ok());
            curves.epochs().saturating_sub(epochs.unwrap_or(QuantizationConfig::default().qat_epochs))
        } else {
            0
        };
        let row = match keep {
            Keep::Last => last,
            Keep::Best => curves.best(first, monitor)?,
        };
        let point = |name: &str| curves.column(name)?.get(row).copied().filter(|value| value.is_finite());
        Some(KeptEpoch { epoch: point("epoch").unwrap_or((row + 1) as f64), val_accuracy: point("val_accuracy")? })
    }

    /// The name of the dataset: the last part of its path.
    #[must_use]
    pub fn data(&self) -> Option<String> {
        let path = self.setting("dataset", "path")?;
        Some(Path::new(&path).file_name().map_or(path.clone(), |name| name.to_string_lossy().into_owned()))
    }
}

impl ModelFacts {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = ModelBytes::read(path)?;
        let (flash_bytes, ram_bytes) = (bytes.as_slice().len() as u64, u64::from(bytes.model()?.arena_bytes()));
        Ok(Self { bytes, flash_bytes, ram_bytes })
    }
}

/// A value of a configuration, strings without their quotes.
#[must_use]
pub fn text_of(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: &str =
        "epoch,val_loss,val_accuracy\n1,0.9,0.5\n2,0.4,0.7\n3,0.5,0.9\n4,0.6,0.8\n5,0.7,0.6\n6,0.65,0.65\n7,0.8,0.55\n";

    fn kept(config: &str, in_int8: bool) -> Option<(f64, f64)> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(names::HISTORY), HISTORY).unwrap();
        if in_int8 {
            std::fs::write(folder.path().join(names::RANGES), "").unwrap();
        }
        let run = RunView {
            folder: folder.path().to_owned(),
            network: Network::open("mnist-cnn").unwrap(),
            labels: Vec::new(),
            config: config.parse().unwrap(),
            curves: Curves::read(folder.path()).unwrap(),
            model: None,
            figures: Figures::default(),
            trained: None,
        };
        run.kept().map(|kept| (kept.epoch, kept.val_accuracy))
    }

    #[test]
    fn the_epoch_whose_weights_are_kept_is_the_one_that_the_configuration_says() {
        assert_eq!(kept("", false), Some((7.0, 0.55)), "the last one, not the best");
        assert_eq!(kept("[training]\nkeep = \"best\"", false), Some((2.0, 0.7)), "the lowest loss");
        assert_eq!(kept("[training]\nkeep = \"best\"\nmonitor = \"val_accuracy\"", false), Some((3.0, 0.9)));
        assert_eq!(kept("[training.early_stopping]\npatience = 3", false), Some((2.0, 0.7)));
        assert_eq!(
            kept("[training]\nkeep = \"last\"\n[training.early_stopping]\npatience = 3", false),
            Some((7.0, 0.55))
        );
        // the last two epochs were in int8, or the last three
        assert_eq!(kept("[training]\nkeep = \"best\"", true), Some((6.0, 0.65)));
        assert_eq!(kept("[training.early_stopping]\npatience = 3", true), Some((7.0, 0.55)));
        let three = "[training]\nkeep = \"best\"\nmonitor = \"val_accuracy\"\n[quantization]\nqat_epochs = 3";
        assert_eq!(kept(three, true), Some((6.0, 0.65)));
        assert_eq!(kept("[training]\nkeep = \"best\"\nmonitor = \"loss\"", false), None, "no such column");
    }
}
