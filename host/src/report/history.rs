//! A training's `history.csv`, read by the names of its columns: other versions may write other ones.

use crate::run::names;
use crate::train::Monitor;
use anyhow::{Context, ensure};
use std::path::Path;

/// The columns of a `history.csv`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    columns: Vec<(String, Vec<f64>)>,
}

impl Curves {
    /// Reads the history of a run folder; `None` when it has none.
    ///
    /// # Errors
    /// When the file cannot be read, or is no table of numbers.
    pub fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(names::HISTORY);
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string()).map(Some)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.lines();
        let header = lines.next().context("the file is empty: train again")?;
        let mut columns: Vec<(String, Vec<f64>)> =
            header.split(',').map(|name| (name.trim().to_owned(), Vec::new())).collect();
        for (number, line) in (2..).zip(lines).filter(|(_, line)| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split(',').collect();
            ensure!(fields.len() == columns.len(), "line {number} has {} fields, not {}", fields.len(), columns.len());
            for ((_, values), field) in columns.iter_mut().zip(fields) {
                // an empty field is a value that was not measured
                let value = if field.trim().is_empty() { Ok(f64::NAN) } else { field.trim().parse() };
                values.push(value.with_context(|| format!("line {number}: '{field}' is no number"))?);
            }
        }
        Ok(Self { columns })
    }

    /// A column by name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&[f64]> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, values)| values.as_slice())
    }

    /// A column's numbers with the epoch of each; those that are not finite are left out. Empty when there is no such column.
    #[must_use]
    pub fn points(&self, name: &str) -> Vec<(f64, f64)> {
        let values = self.column(name).unwrap_or_default();
        let epoch =
            |row: usize| self.column("epoch").and_then(|epochs| epochs.get(row)).copied().unwrap_or((row + 1) as f64);
        let points = values.iter().enumerate().map(|(row, &value)| (epoch(row), value));
        points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    }

    /// The row of the best epoch by a metric, from row `first` on; the first of equal ones.
    #[must_use]
    pub fn best(&self, first: usize, monitor: Monitor) -> Option<usize> {
        let values = self.column(&monitor.to_string())?.iter().copied().enumerate().skip(first);
        let finite = values.filter(|(_, value)| value.is_finite());
        let best = finite.reduce(|best, row| if monitor.better(row.1, best.1, 0.0) { row } else { best });
        best.map(|(row, _)| row)
    }

    /// Number of epochs.
    #[must_use]
    pub fn epochs(&self) -> usize {
        self.columns.first().map_or(0, |(_, values)| values.len())
    }

    /// Epoch and value of the best validation accuracy; the first of equal ones.
    #[must_use]
    pub fn best_accuracy(&self) -> Option<(f64, f64)> {
        let points = self.points("val_accuracy").into_iter();
        points.fold(None, |best: Option<(f64, f64)>, point| match best {
            Some(best) if best.1 >= point.1 => Some(best),
            _ => Some(point),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let curves = Curves::parse("val_accuracy,extra,epoch\n0.5,1,3\n0.75,,4\n0.75,nan,5\n").unwrap();
        assert_eq!(curves.points("val_accuracy"), [(3.0, 0.5), (4.0, 0.75), (5.0, 0.75)]);
        assert_eq!(curves.points("extra"), [(3.0, 1.0)], "what was not measured is no point");
        assert_eq!(curves.points("learning_rate"), []);
        assert_eq!((curves.epochs(), curves.best_accuracy()), (3, Some((4.0, 0.75))));
    }

    #[test]
    fn a_file_that_is_no_history_says_where() {
        for (text, expected) in [
            ("", "empty"),
            ("epoch,loss\n1\n", "line 2 has 1 fields, not 2"),
            ("epoch,loss\n1,2\n2,x\n", "line 3: 'x' is no number"),
        ] {
            let error = format!("{:#}", Curves::parse(text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(Curves::parse("epoch,loss\n").unwrap().best_accuracy(), None);
    }
}
