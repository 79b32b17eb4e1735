//! A set of images in memory, or one that is larger and is decoded as it is used.

use super::dataset::{Holdout, allot, draw};
use super::items::Item;
use super::{DataError, Dataset, ImageSource, Skipped};
use ocelli::image::InputSpec;
use ocelli::ir::Shape;
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// Pictures decoded between two reports of progress.
const CHUNK: usize = 64;

/// Images at a network's input size.
#[derive(Clone, Debug)]
pub enum ImageSet {
    /// Decoded.
    Memory(Dataset),
    /// Decoded each time that they are asked for.
    Streamed(Streamed),
}

/// Images that are decoded each time that they are asked for; each has been decoded once, so that damaged ones are known.
#[derive(Clone, Debug)]
pub struct Streamed {
    labels: Vec<String>,
    spec: InputSpec,
    items: Arc<[Item]>,
    /// Which of the items, with their classes and names.
    chosen: Vec<usize>,
    targets: Vec<usize>,
    names: Vec<String>,
    skipped: Vec<Skipped>,
}

impl ImageSet {
    /// Whether images are decoded when they are asked for.
    #[must_use]
    pub fn is_streamed(&self) -> bool {
        matches!(self, Self::Streamed(_))
    }

    /// Divides the images as [`Dataset::split_off`] does: the same [`Holdout`] chooses the same images.
    #[must_use]
    pub fn split_off(&self, held_out: Holdout) -> (Self, Self) {
        match self {
            Self::Memory(set) => {
                let (rest, part) = set.split_off(held_out);
                (Self::Memory(rest), Self::Memory(part))
            }
            Self::Streamed(set) => {
                let chosen = held_out.chosen(&set.targets, &counts(set));
                let (part, rest): (Vec<usize>, Vec<usize>) = (0..set.targets.len()).partition(|&i| chosen[i]);
                let mut part = set.select(&part);
                part.skipped.clear();
                (Self::Streamed(set.select(&rest)), Self::Streamed(part))
            }
        }
    }

    /// `n` images (or all) in memory, chosen as [`Dataset::take`] does.
    ///
    /// # Errors
    /// When a file has changed or gone since the set was opened.
    pub fn take(&self, n: usize, seed: u64) -> Result<Dataset, DataError> {
        match self {
            Self::Memory(set) => Ok(set.take(n, seed)),
            Self::Streamed(set) => {
                let chosen = draw(&set.targets, &allot(&counts(set), n), seed);
                set.select(&(0..set.targets.len()).filter(|&i| chosen[i]).collect::<Vec<_>>()).decoded()
            }
        }
    }

    /// The first `n` images (or all) in memory.
    ///
    /// # Errors
    /// When a file has changed or gone since the set was opened.
    pub fn head(&self, n: usize) -> Result<Dataset, DataError> {
        match self {
            Self::Memory(set) => Ok(set.head(n)),
            Self::Streamed(set) => set.select(&(0..n.min(set.targets.len())).collect::<Vec<_>>()).decoded(),
        }
    }

    /// The same images for a network of other classes: which of those is right is not known, every target is the first.
    #[must_use]
    pub fn of_other_classes(mut self, classes: &[String]) -> Self {
        let (labels, targets) = match &mut self {
            Self::Memory(set) => (&mut set.labels, &mut set.targets),
            Self::Streamed(set) => (&mut set.labels, &mut set.targets),
        };
        *labels = classes.to_vec();
        targets.fill(0);
        self
    }

    fn source(&self) -> &dyn ImageSource {
        match self {
            Self::Memory(set) => set,
            Self::Streamed(set) => set,
        }
    }
}

fn counts(set: &Streamed) -> Vec<usize> {
    let mut counts = vec![0; set.labels.len()];
    set.targets.iter().for_each(|&target| counts[target] += 1);
    counts
}

impl Streamed {
    /// Decodes each picture once and keeps those that can be.
    pub(super) fn new(
        root: &Path,
        labels: Vec<String>,
        spec: &InputSpec,
        items: Vec<Item>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DataError> {
        let mut set = Self {
            labels,
            spec: *spec,
            items: items.into(),
            chosen: Vec::new(),
            targets: Vec::new(),
            names: Vec::new(),
            skipped: Vec::new(),
        };
        let items = Arc::clone(&set.items);
        decode_all(root, &items, spec, &mut set.skipped, progress, &mut |i, _| {
            set.chosen.push(i);
            set.targets.push(items[i].class);
            set.names.push(items[i].name.clone());
        })?;
        Ok(set)
    }

    /// Adds to the list of files that could not be used.
    pub(super) fn also_skipped(&mut self, skipped: Vec<Skipped>) {
        self.skipped.extend(skipped);
    }

    fn select(&self, places: &[usize]) -> Self {
        Self {
            labels: self.labels.clone(),
            spec: self.spec,
            items: Arc::clone(&self.items),
            chosen: places.iter().map(|&i| self.chosen[i]).collect(),
            targets: places.iter().map(|&i| self.targets[i]).collect(),
            names: places.iter().map(|&i| self.names[i].clone()).collect(),
            skipped: self.skipped.clone(),
        }
    }

    fn decoded(self) -> Result<Dataset, DataError> {
        let size = self.image_len();
        let mut pixels = vec![0; size * self.targets.len()];
        pixels.par_chunks_exact_mut(size.max(1)).enumerate().try_for_each(|(i, out)| self.pixels(i, out))?;
        let Self { labels, spec, targets, names, skipped, .. } = self;
        Ok(Dataset { labels, shape: spec.shape, pixels, targets, names, skipped })
    }
}

/// Decodes pictures on all cores and gives each, in their order, to `each`; those that cannot be decoded are listed in `skipped`.
///
/// # Errors
/// When not one can be decoded.
pub(super) fn decode_all(
    root: &Path,
    items: &[Item],
    spec: &InputSpec,
    skipped: &mut Vec<Skipped>,
    progress: &mut dyn FnMut(usize, usize),
    each: &mut dyn FnMut(usize, Vec<u8>),
) -> Result<(), DataError> {
    let mut done = 0;
    for chunk in items.chunks(CHUNK) {
        let inputs: Vec<Result<Vec<u8>, String>> = chunk.par_iter().map(|item| item.picture.input(spec)).collect();
        for (i, (item, input)) in chunk.iter().zip(inputs).enumerate() {
            match input {
                Ok(input) => each(done + i, input),
                Err(reason) => skipped.push(Skipped { path: item.path().to_owned(), reason }),
            }
        }
        done += chunk.len();
        progress(done, items.len());
    }
    match skipped.first() {
        Some(first) if skipped.len() == items.len() => Err(DataError::AllCorrupt {
            path: root.to_owned(),
            count: items.len(),
            first: first.path.clone(),
            reason: first.reason.clone(),
        }),
        _ => Ok(()),
    }
}

impl ImageSource for Streamed {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn shape(&self) -> Shape {
        self.spec.shape
    }

    fn targets(&self) -> &[usize] {
        &self.targets
    }

    fn names(&self) -> &[String] {
        &self.names
    }

    fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    fn pixels(&self, i: usize, out: &mut [u8]) -> Result<(), DataError> {
        let item = &self.items[self.chosen[i]];
        let input = item.picture.input(&self.spec).map_err(|reason| item.error(reason))?;
        out.copy_from_slice(&input);
        Ok(())
    }
}

impl ImageSource for ImageSet {
    fn labels(&self) -> &[String] {
        self.source().labels()
    }

    fn shape(&self) -> Shape {
        self.source().shape()
    }

    fn targets(&self) -> &[usize] {
        self.source().targets()
    }

    fn names(&self) -> &[String] {
        self.source().names()
    }

    fn skipped(&self) -> &[Skipped] {
        self.source().skipped()
    }

    fn pixels(&self, i: usize, out: &mut [u8]) -> Result<(), DataError> {
        self.source().pixels(i, out)
    }

    fn in_memory(&self, i: usize) -> Option<&[u8]> {
        self.source().in_memory(i)
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
