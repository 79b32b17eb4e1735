//! What happened in each epoch and each batch.

use crate::files::write_atomically;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// One epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct HistoryRow {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Mean loss over the epoch's training batches, dropout on.
    pub loss: f64,
    /// Accuracy over the epoch's training batches, dropout on.
    pub accuracy: f64,
    /// Loss of the epoch's last training batch alone.
    pub last_batch_loss: f64,
    /// Accuracy of the epoch's last training batch alone.
    pub last_batch_accuracy: f64,
    /// Loss on the validation images after the epoch.
    pub val_loss: f64,
    /// Accuracy on the validation images after the epoch.
    pub val_accuracy: f64,
    /// Rate of the epoch's last step.
    pub learning_rate: f64,
    /// Seconds since the training began, those before a resumption among them.
    pub seconds: f64,
}

/// The epochs of a training.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct History {
    /// One row an epoch.
    pub rows: Vec<HistoryRow>,
}

impl History {
    /// Writes the rows as CSV, through a temporary file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = String::from(
            "epoch,loss,accuracy,val_loss,val_accuracy,seconds,last_batch_loss,last_batch_accuracy,learning_rate\n",
        );
        for row in &self.rows {
            let HistoryRow { epoch, loss, accuracy, val_loss, val_accuracy, seconds, .. } = row;
            let HistoryRow { last_batch_loss, last_batch_accuracy, learning_rate, .. } = row;
            writeln!(
                text,
                "{epoch},{loss:.6},{accuracy:.6},{val_loss:.6},{val_accuracy:.6},{seconds:.2},{last_batch_loss:.6},\
                 {last_batch_accuracy:.6},{learning_rate:e}"
            )?;
        }
        write_atomically(path, text.as_bytes())
    }
}

/// What a step of the training reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchReport {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Batches of this epoch that have been trained on, this one among them.
    pub batch: usize,
    /// Steps of the whole training, this one among them.
    pub step: usize,
    /// Images of this epoch that have been trained on.
    pub images: usize,
    /// Images of an epoch.
    pub of: usize,
    /// Loss of this batch.
    pub loss: f64,
    /// Share of right guesses in this batch.
    pub accuracy: f64,
    /// Mean loss over the epoch so far.
    pub running_loss: f64,
    /// Share of right guesses over the epoch so far.
    pub running_accuracy: f64,
    /// Rate of this step.
    pub learning_rate: f64,
}

const BATCH_HEADER: &str =
    "epoch,batch,step,images,batch_loss,batch_accuracy,running_loss,running_accuracy,learning_rate\n";

/// `batches.csv`, one row a batch, written as the training goes on.
pub(super) struct BatchLog {
    path: PathBuf,
    file: BufWriter<File>,
}

impl BatchLog {
    /// Begins a log; rows of steps up to `step` that an earlier log holds stay.
    pub fn open(path: &Path, step: usize) -> anyhow::Result<Self> {
        let mut text = BATCH_HEADER.to_owned();
        if step > 0 && path.exists() {
            let old = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let kept = |line: &&str| {
                let column = line.split(',').nth(2).and_then(|column| column.parse::<usize>().ok());
                // a row cut short by the end of its process has fewer columns
                column.is_some_and(|at| at <= step) && line.split(',').count() == BATCH_HEADER.split(',').count()
            };
            old.lines().filter(kept).for_each(|line| {
                text.push_str(line);
                text.push('\n');
            });
        }
        write_atomically(path, text.as_bytes())?;
        let file = File::options().append(true).open(path).with_context(|| cannot_write(path))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// Adds a row.
    pub fn add(&mut self, report: &BatchReport) -> anyhow::Result<()> {
        let BatchReport { epoch, batch, step, images, loss, accuracy, .. } = report;
        let BatchReport { running_loss, running_accuracy, learning_rate, .. } = report;
        writeln!(
            self.file,
            "{epoch},{batch},{step},{images},{loss:.6},{accuracy:.6},{running_loss:.6},{running_accuracy:.6},{learning_rate:e}"
        )
        .with_context(|| cannot_write(&self.path))
    }

    /// Brings all rows to the disk.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.file.flush().with_context(|| cannot_write(&self.path))
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_taken_up_at_its_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("batches.csv");
        let report = |step| BatchReport {
            epoch: 1,
            batch: step,
            step,
            images: 8 * step,
            of: 80,
            loss: 0.5,
            accuracy: 0.75,
            running_loss: 0.6,
            running_accuracy: 0.7,
            learning_rate: 1e-3,
        };
        let mut log = BatchLog::open(&path, 0).unwrap();
        (1..=6).for_each(|step| log.add(&report(step)).unwrap());
        log.flush().unwrap();
        drop(log);
        let whole = std::fs::read_to_string(&path).unwrap();
        assert_eq!(whole.lines().nth(3), Some("1,3,3,24,0.500000,0.750000,0.600000,0.700000,1e-3"));
        // as after a kill: more rows than the checkpoint's, the last cut short
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let mut log = BatchLog::open(&path, 4).unwrap();
        (5..=6).for_each(|step| log.add(&report(step)).unwrap());
        log.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        drop(BatchLog::open(&path, 0).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1, "a new training begins anew");
    }
}
