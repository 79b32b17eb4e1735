//! A run folder as reports and lists see it: whatever is there, nothing that must be.

use super::figures::Figures;
use super::history::Curves;
use crate::model::ModelBytes;
use crate::network::Network;
use crate::run::{names, read_labels};
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
    /// When it was trained: the time of its weights.
    pub trained: Option<SystemTime>,
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
