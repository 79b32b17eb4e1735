//! What tells a good epoch from a bad one.

use super::config::in_range;
use super::history::HistoryRow;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The metric that epochs are judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// Loss on the validation images: lower is better. Keras' default.
    #[default]
    ValLoss,
    /// Accuracy on the validation images: higher is better.
    ValAccuracy,
    /// Mean loss over the epoch's training batches: lower is better.
    Loss,
    /// Accuracy over the epoch's training batches: higher is better.
    Accuracy,
}

impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ValLoss => "val_loss",
            Self::ValAccuracy => "val_accuracy",
            Self::Loss => "loss",
            Self::Accuracy => "accuracy",
        })
    }
}

impl Monitor {
    /// The metric of an epoch.
    #[must_use]
    pub const fn of(self, row: &HistoryRow) -> f64 {
        match self {
            Self::ValLoss => row.val_loss,
            Self::ValAccuracy => row.val_accuracy,
            Self::Loss => row.loss,
            Self::Accuracy => row.accuracy,
        }
    }

    /// Whether a value is better than another by more than `delta`; nothing is better by not being a number.
    #[must_use]
    pub fn better(self, value: f64, than: f64, delta: f64) -> bool {
        match self {
            Self::ValLoss | Self::Loss => value < than - delta,
            Self::ValAccuracy | Self::Accuracy => value > than + delta,
        }
    }
}

/// Which weights a run folder gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those after the last step.
    Last,
    /// Those after the best epoch.
    Best,
}

/// `[training.early_stopping]`: ends the training after `patience` epochs without gain (Keras' `EarlyStopping`).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Epochs without gain.
    pub patience: usize,
    /// What counts as a gain.
    #[serde(default)]
    pub min_delta: f64,
}

impl EarlyStopping {
    /// Refuses what cannot be compared with.
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        in_range("early_stopping.min_delta", self.min_delta, self.min_delta >= 0.0, "at least 0")
    }
}

/// How long a metric has not got better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(super) struct Patience {
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<f64>,
    waited: usize,
}

impl Patience {
    pub const fn new() -> Self {
        Self { best: None, waited: 0 }
    }

    /// Takes an epoch's value; returns the epochs since the last gain of more than `delta`.
    pub fn waited(&mut self, monitor: Monitor, value: f64, delta: f64) -> usize {
        if self.best.is_none_or(|best| monitor.better(value, best, delta)) {
            *self = Self { best: Some(value), waited: 0 };
        } else {
            self.waited += 1;
        }
        self.waited
    }

    /// Begins to wait anew.
    pub const fn rest(&mut self) {
        self.waited = 0;
    }
}
