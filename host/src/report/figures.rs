//! What evaluations and checks found about a run's model, kept beside it in `figures.json`.
//!
//! Each part carries the hash of the file that it is about: figures of a model that has since been made anew do not count.

use super::evaluation::Evaluation;
use super::quantization::QuantizationError;
use crate::check::{CheckReport, DeviceOutcome};
use crate::files::write_atomically;
use crate::run::names;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

/// A part of the figures with the hash of the file that it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stamped<T> {
    /// Empty in files of versions that had another stamp: their figures do not count.
    #[serde(default)]
    hash: String,
    found: T,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    int8: Option<Stamped<Evaluation>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    float: Option<Stamped<Evaluation>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantization: Option<Stamped<QuantizationError>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Stamped<Checked>>,
}

/// The figures of a run folder; a part is `None` when it was not measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// The compiled model on a dataset.
    pub int8: Option<Evaluation>,
    /// The float network on a dataset.
    pub float: Option<Evaluation>,
    /// Float against int8, layer by layer.
    pub quantization: Option<QuantizationError>,
    /// The last check.
    pub check: Option<Checked>,
}

/// What a check left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The images that it was made with, in words.
    #[serde(default)]
    pub on: String,
    /// Its table.
    pub rows: Vec<CheckedRow>,
    /// The board, where one was run.
    pub device: Option<DeviceFigures>,
}

/// A line of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedRow {
    /// What was compared.
    pub what: String,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
    /// `ok`, `FAILED`, `not run`, or nothing.
    pub status: String,
}

/// What a model took on a board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceFigures {
    /// The images that those below are the first of, in words.
    #[serde(default)]
    pub on: String,
    /// The board.
    pub board: String,
    /// Images that were run.
    pub images: usize,
    /// Share of them that the board got right.
    pub accuracy: f64,
    /// Instructions an image, conversion of the picture and inference.
    pub instructions: u64,
    /// Flash of firmware and model.
    pub flash_bytes: u64,
    /// Statics and the deepest stack.
    pub ram_bytes: u64,
    /// The stack's part of it.
    pub stack_bytes: u64,
    /// Output bytes that are not the host's.
    pub differing_bytes: usize,
}

impl Checked {
    /// What a check with the images that `on` names left.
    #[must_use]
    pub fn new(report: &CheckReport, on: String) -> Self {
        let rows = report.rows().into_iter().map(|row| CheckedRow {
            what: row.what,
            found: row.found,
            allowed: row.allowed,
            status: row.status.word().to_owned(),
        });
        let device = match &report.device {
            Some(DeviceOutcome::Ran(check)) => Some(DeviceFigures {
                on: on.clone(),
                board: check.board.clone(),
                images: check.images.len(),
                accuracy: check.accuracy,
                instructions: check.instructions,
                flash_bytes: check.flash_bytes,
                ram_bytes: check.ram_bytes(),
                stack_bytes: check.stack_bytes,
                differing_bytes: check.differing_bytes,
            }),
            Some(DeviceOutcome::NotRun(_)) | None => None,
        };
        Self { on, rows: rows.collect(), device }
    }
}

impl Figures {
    /// Reads the figures of a run folder that are still true of its files; none are no error.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(names::FIGURES);
        if !path.is_file() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: File = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged: remove it, then run `ocelli report`", path.display()))?;
        let model = hash_of(&folder.join(names::MODEL));
        let weights = hash_of(&folder.join(names::WEIGHTS));
        Ok(Self {
            int8: current(file.int8, model.as_deref()),
            float: current(file.float, weights.as_deref()),
            quantization: current(file.quantization, model.as_deref()),
            check: current(file.check, model.as_deref()),
        })
    }

    /// Writes the figures into a run folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let model = hash_of(&folder.join(names::MODEL));
        let weights = hash_of(&folder.join(names::WEIGHTS));
        let file = File {
            int8: stamped(&self.int8, model.as_deref()),
            float: stamped(&self.float, weights.as_deref()),
            quantization: stamped(&self.quantization, model.as_deref()),
            check: stamped(&self.check, model.as_deref()),
        };
        write_atomically(&folder.join(names::FIGURES), &serde_json::to_vec(&file)?)
    }
}

fn stamped<T: Clone>(found: &Option<T>, hash: Option<&str>) -> Option<Stamped<T>> {
    Some(Stamped { hash: hash?.to_owned(), found: found.clone()? })
}

fn current<T>(stamped: Option<Stamped<T>>, hash: Option<&str>) -> Option<T> {
    stamped.filter(|stamped| Some(stamped.hash.as_str()) == hash).map(|stamped| stamped.found)
}

/// The hash of a file's content; `None` when it is not there.
///
/// No CRC: a model file ends in its own, and the CRC of such a file is the same number for every file. A Rust release that hashes otherwise
/// costs no more than to measure again.
fn hash_of(path: &Path) -> Option<String> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&std::fs::read(path).ok()?);
    Some(format!("{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_model_that_was_made_anew_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let take = |run: &str| {
            for name in [names::MODEL, names::WEIGHTS] {
                std::fs::copy(models.join(run).join(name), folder.path().join(name)).unwrap();
            }
        };
        // two model files of one network: of the same length, each with its checksum at its end
        take("mnist-cnn");
        let check = Checked { on: "a set".to_owned(), rows: Vec::new(), device: None };
        let quantization = QuantizationError { on: "a set".to_owned(), images: 3, layers: Vec::new() };
        let figures = Figures { check: Some(check), quantization: Some(quantization), ..Figures::default() };
        figures.write(folder.path()).unwrap();
        assert_eq!(Figures::read(folder.path()).unwrap(), figures);
        take("mnist-cnn-60k");
        assert_eq!(Figures::read(folder.path()).unwrap(), Figures::default());
        take("mnist-cnn");
        assert_eq!(Figures::read(folder.path()).unwrap(), figures);
    }

    #[test]
    fn figures_with_the_stamp_of_an_earlier_version_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(names::MODEL), "a model").unwrap();
        let text = "{\"check\": {\"crc32\": 558161692, \"found\": {\"rows\": [], \"device\": null}}}";
        std::fs::write(folder.path().join(names::FIGURES), text).unwrap();
        assert_eq!(Figures::read(folder.path()).unwrap(), Figures::default());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Figures::read(folder.path()).unwrap(), Figures::default());
        std::fs::write(folder.path().join(names::FIGURES), "{\"int8\": 3}").unwrap();
        let error = format!("{:#}", Figures::read(folder.path()).unwrap_err());
        assert!(error.contains("figures.json is damaged"), "{error}");
    }
}
