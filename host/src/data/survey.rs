//! What a dataset holds: counts, sizes, damaged files, and pictures that occur twice.

use super::duplicates::{Fingerprint, Twin, twins};
use super::items::Item;
use super::{DataError, DataSource, MAX_PIXEL_BYTES, PassedOver, RawImage, Split};
use ocelli::image::PixelFormat;
use rayon::prelude::*;
use serde::Serialize;
use std::path::PathBuf;

/// Pictures decoded between two reports of progress.
const CHUNK: usize = 64;

/// What a dataset holds.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    /// The folder, archive or table.
    pub path: PathBuf,
    /// How it is stored.
    pub kind: String,
    /// Class names.
    pub labels: Vec<String>,
    /// The sets that are there.
    pub sets: Vec<SetCounts>,
    /// Columns of the pictures: least, median, most.
    pub width: [u32; 3],
    /// Rows of the pictures: least, median, most.
    pub height: [u32; 3],
    /// Gray pictures.
    pub gray: usize,
    /// Bytes of the picture files (none of idx and CIFAR files).
    pub file_bytes: u64,
    /// Files that cannot be decoded.
    pub corrupt: Vec<Corrupt>,
    /// Files beside the pictures.
    pub passed_over: PassedOver,
    /// Pictures that occur more than once, equal ones before near ones, those across sets first.
    pub duplicates: Vec<Duplicate>,
    /// Whether near duplicates were looked for: not among very many pictures.
    pub near_duplicates_searched: bool,
}

impl Survey {
    /// Classes of the first set, which is the training set where there is one, without pictures that can be decoded.
    #[must_use]
    pub fn empty_classes(&self) -> Vec<&str> {
        let Some(first) = self.sets.first() else { return Vec::new() };
        let empty = self.labels.iter().zip(&first.classes).filter(|(_, count)| **count == 0);
        empty.map(|(label, _)| label.as_str()).collect()
    }

    /// Groups of equal pictures that are in more than one set: what is judged by them was trained on. Pictures that are merely near each
    /// other may be different ones.
    #[must_use]
    pub fn leaks(&self) -> usize {
        self.duplicates.iter().filter(|duplicate| duplicate.exact && duplicate.across_sets).count()
    }
}

/// A set's pictures.
#[derive(Clone, Debug, Serialize)]
pub struct SetCounts {
    /// `train`, `validation` or `test`.
    pub set: String,
    /// Pictures that can be decoded.
    pub images: usize,
    /// The same of each class.
    pub classes: Vec<usize>,
    /// Files that cannot be decoded.
    pub corrupt: usize,
}

/// A file that cannot be decoded.
#[derive(Clone, Debug, Serialize)]
pub struct Corrupt {
    /// Its set.
    pub set: String,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Pictures that are the same, or nearly.
#[derive(Clone, Debug, Serialize)]
pub struct Duplicate {
    /// Whether all their pixels are equal.
    pub exact: bool,
    /// Whether they are in more than one set: what is judged by then was trained on.
    pub across_sets: bool,
    /// Whether they are said to be of different classes.
    pub across_classes: bool,
    /// The pictures.
    pub images: Vec<Place>,
}

/// Where a picture is.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// Its set.
    pub set: String,
    /// Its class.
    pub class: String,
    /// Its name.
    pub name: String,
}

/// What is known of a decoded picture.
struct Facts {
    split: Split,
    class: usize,
    name: String,
    width: u32,
    height: u32,
    gray: bool,
}

/// Decodes all pictures of a dataset and looks at them.
///
/// # Errors
/// When idx or CIFAR files are damaged or too large for memory; damaged picture files are part of the answer.
pub fn survey(source: &DataSource, progress: &mut dyn FnMut(usize, usize)) -> Result<Survey, DataError> {
    let total: usize = source.splits().iter().filter_map(|&split| source.count(split)).sum();
    let mut result = Survey {
        path: source.path().to_owned(),
        kind: source.kind().to_string(),
        labels: source.labels().to_vec(),
        sets: Vec::new(),
        width: [0; 3],
        height: [0; 3],
        gray: 0,
        file_bytes: 0,
        corrupt: Vec::new(),
        passed_over: source.passed_over().clone(),
        duplicates: Vec::new(),
        near_duplicates_searched: false,
    };
    let (mut facts, mut prints, mut done) = (Vec::new(), Vec::new(), 0);
    for split in source.splits() {
        let mut counts =
            SetCounts { set: split.to_string(), images: 0, classes: vec![0; source.labels().len()], corrupt: 0 };
        let items = source.items(split, MAX_PIXEL_BYTES)?;
        for chunk in items.chunks(CHUNK) {
            let looked: Vec<_> = chunk.par_iter().map(|item| look(split, item)).collect();
            for (item, looked) in chunk.iter().zip(looked) {
                result.file_bytes += item.picture.blob().and_then(|blob| blob.len().ok()).unwrap_or(0);
                match looked {
                    Ok((fact, print)) => {
                        counts.images += 1;
                        counts.classes[item.class] += 1;
                        facts.push(fact);
                        prints.push(print);
                    }
                    Err(reason) => {
                        counts.corrupt += 1;
                        let (set, path) = (split.to_string(), item.path().to_owned());
                        result.corrupt.push(Corrupt { set, path, reason });
                    }
                }
            }
            done += chunk.len();
            progress(done, total);
        }
        result.sets.push(counts);
    }
    result.width = spread(facts.iter().map(|fact| fact.width));
    result.height = spread(facts.iter().map(|fact| fact.height));
    result.gray = facts.iter().filter(|fact| fact.gray).count();
    let (found, searched) = twins(&prints);
    result.near_duplicates_searched = searched;
    result.duplicates = found.iter().map(|twin| describe(twin, &facts, source.labels())).collect();
    result.duplicates.sort_by_key(|duplicate| (!duplicate.exact, !duplicate.across_sets, !duplicate.across_classes));
    Ok(result)
}

fn look(split: Split, item: &Item) -> Result<(Facts, Fingerprint), String> {
    let picture = item.picture.decode()?;
    let RawImage { width, height, format, .. } = picture;
    let print = Fingerprint::of(&picture)?;
    let gray = format == PixelFormat::Gray8;
    Ok((Facts { split, class: item.class, name: item.name.clone(), width, height, gray }, print))
}

fn describe(twin: &Twin, facts: &[Facts], labels: &[String]) -> Duplicate {
    let facts: Vec<&Facts> = twin.members.iter().map(|&i| &facts[i]).collect();
    let first = facts[0];
    Duplicate {
        exact: twin.exact,
        across_sets: facts.iter().any(|fact| fact.split != first.split),
        across_classes: facts.iter().any(|fact| fact.class != first.class),
        images: facts
            .iter()
            .map(|fact| Place {
                set: fact.split.to_string(),
                class: labels[fact.class].clone(),
                name: fact.name.clone(),
            })
            .collect(),
    }
}

/// Least, median and most.
fn spread(values: impl Iterator<Item = u32>) -> [u32; 3] {
    let mut values: Vec<u32> = values.collect();
    values.sort_unstable();
    match (values.first(), values.last()) {
        (Some(&least), Some(&most)) => [least, values[values.len() / 2], most],
        _ => [0; 3],
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
