//! A folder of image files for each class, at the top or inside `train/`, `validation/` and `test/`.

use super::image::{RawImage, to_input};
use super::{DataError, Dataset, Found, Skipped, Split};
use ocelli::image::InputSpec;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files decoded between two reports of progress.
const CHUNK: usize = 64;
/// Folders inside a class folder.
const MAX_DEPTH: usize = 8;
const SPLIT_NAMES: [(Split, &[&str]); 3] = [
    (Split::Train, &["train", "training"]),
    (Split::Validation, &["validation", "valid", "val"]),
    (Split::Test, &["test", "testing"]),
];

/// The files of a set with their classes, in the order of their paths.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) split: Split,
    pub(super) files: Vec<(PathBuf, usize)>,
}

/// Looks for class folders and lists their files; `None` when there are none. Classes are in the order of their names.
pub(super) fn find(root: &Path) -> Found<Set> {
    let top = subfolders(root)?;
    let mut parts = Vec::new();
    for (split, names) in SPLIT_NAMES {
        for (name, path) in &top {
            if names.contains(&name.to_lowercase().as_str()) {
                let classes = subfolders(path)?;
                if !classes.is_empty() {
                    parts.push((split, path.clone(), classes));
                    break;
                }
            }
        }
    }
    if parts.is_empty() {
        parts.push((Split::Train, root.to_owned(), top));
    }
    // the training set says what the classes are; without one, every class that occurs
    let defining = parts.iter().take(if parts[0].0 == Split::Train { 1 } else { parts.len() });
    let labels: BTreeSet<String> = defining.flat_map(|part| part.2.iter().map(|class| class.0.clone())).collect();
    let labels: Vec<String> = labels.into_iter().collect();
    let mut sets = Vec::new();
    for (split, _, classes) in &parts {
        let mut files = Vec::new();
        for (name, path) in classes {
            let class = labels.binary_search(name).map_err(|_| DataError::UnknownClass {
                path: path.clone(),
                class: name.clone(),
                known: labels.join(", "),
            })?;
            let before = files.len();
            list_files(path, class, MAX_DEPTH, &mut files)?;
            if files.len() == before && *split == Split::Train && classes.len() > 1 {
                return Err(DataError::Empty { path: path.clone() });
            }
        }
        sets.push(Set { split: *split, files });
    }
    match sets.iter().zip(&parts).find(|(set, _)| set.files.is_empty()) {
        _ if sets.iter().all(|set| set.files.is_empty()) => Ok(None),
        Some((_, (_, path, _))) => Err(DataError::Empty { path: path.clone() }),
        None => Ok(Some((labels, sets))),
    }
}

/// Decodes the images of a set on all cores; the order is that of the files. Files that cannot be decoded are listed as skipped.
pub(super) fn load(
    root: &Path,
    sets: &[Set],
    split: Split,
    spec: &InputSpec,
    mut dataset: Dataset,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Dataset, DataError> {
    let Some(set) = sets.iter().find(|set| set.split == split) else { return Ok(dataset) };
    let mut done = 0;
    for files in set.files.chunks(CHUNK) {
        let inputs: Vec<Result<Vec<u8>, String>> = files.par_iter().map(|(path, _)| read(path, spec)).collect();
        for ((path, class), input) in files.iter().zip(inputs) {
            match input {
                Ok(input) => {
                    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
                    dataset.push(&input, *class, name);
                }
                Err(reason) => dataset.skipped.push(Skipped { path: path.clone(), reason }),
            }
        }
        done += files.len();
        progress(done, set.files.len());
    }
    match dataset.skipped.first() {
        Some(first) if dataset.is_empty() => Err(DataError::AllCorrupt {
            path: root.to_owned(),
            count: set.files.len(),
            first: first.path.clone(),
            reason: first.reason.clone(),
        }),
        _ => Ok(dataset),
    }
}

fn read(path: &Path, spec: &InputSpec) -> Result<Vec<u8>, String> {
    let picture = RawImage::open(path).map_err(|error| match error {
        DataError::Image { reason, .. } => reason,
        DataError::Unreadable { source, .. } => source.to_string(),
        other => other.to_string(),
    })?;
    to_input(&picture, spec).map_err(|error| error.to_string())
}

/// Folders in a folder by name; what is hidden or made by an archiver is no class.
fn subfolders(path: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let folders = entries(path)?.into_iter().filter(|(name, path)| name != "__MACOSX" && path.is_dir());
    Ok(folders.collect())
}

/// Files below a class folder, which may have folders of its own; links to folders are not followed.
fn list_files(folder: &Path, class: usize, depth: usize, files: &mut Vec<(PathBuf, usize)>) -> Result<(), DataError> {
    for (name, path) in entries(folder)? {
        if path.is_file() && !["Thumbs.db", "desktop.ini"].contains(&name.as_str()) {
            files.push((path, class));
        } else if depth > 0 && path.is_dir() && !path.is_symlink() {
            list_files(&path, class, depth - 1, files)?;
        }
    }
    Ok(())
}

/// Entries that are not hidden, sorted by name.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let unreadable = |source| DataError::Unreadable { path: folder.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
#[path = "folders_tests.rs"]
mod tests;
