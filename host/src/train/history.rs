//! What happened in each epoch.

use crate::files::write_atomically;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// One epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HistoryRow {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Mean loss over the epoch's training batches, dropout on.
    pub loss: f64,
    /// Accuracy over the epoch's training batches, dropout on.
    pub accuracy: f64,
    /// Loss on the validation images after the epoch.
    pub val_loss: f64,
    /// Accuracy on the validation images after the epoch.
    pub val_accuracy: f64,
    /// Seconds since the training began.
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
        let mut text = String::from("epoch,loss,accuracy,val_loss,val_accuracy,seconds\n");
        for row in &self.rows {
            let HistoryRow { epoch, loss, accuracy, val_loss, val_accuracy, seconds } = row;
            writeln!(text, "{epoch},{loss:.6},{accuracy:.6},{val_loss:.6},{val_accuracy:.6},{seconds:.2}")?;
        }
        write_atomically(path, text.as_bytes())
    }
}
