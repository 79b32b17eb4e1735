//! Whom a training tells how it goes.

use super::history::{BatchReport, HistoryRow};

/// Gets every step and every epoch of a training. A closure that takes a [`BatchReport`] is one that leaves epochs aside.
pub trait Observer {
    /// A step has been taken.
    fn batch(&mut self, report: BatchReport);

    /// An epoch has been validated; its number and its seconds are those of the whole training.
    fn epoch(&mut self, _row: &HistoryRow) {}
}

impl<F: FnMut(BatchReport)> Observer for F {
    fn batch(&mut self, report: BatchReport) {
        self(report);
    }
}
