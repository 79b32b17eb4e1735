//! A folder of image files for each class, at the top or inside `train/`, `validation/` and `test/`.

use super::blob::Blob;
use super::items::{Item, Picture};
use super::passed::{PassedOver, is_picture, may_be_picture};
use super::place::Place;
use super::{DataError, Found, Split, packed};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders inside a class folder.
const MAX_DEPTH: usize = 8;
pub(super) const SPLIT_NAMES: [(Split, &[&str]); 3] = [
    (Split::Train, &["train", "training"]),
    (Split::Validation, &["validation", "valid", "val"]),
    (Split::Test, &["test", "testing"]),
];

/// The pictures of a set, in the order of their paths.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) split: Split,
    pub(super) items: Vec<Item>,
}

/// Looks for class folders in a folder or an archive; `None` when there are none. Classes are in the order of their names, as text (10
/// before 9), which is Keras' order. Empty ones are refused unless `lenient` is set; what is passed over is noted.
pub(super) fn find(place: &Place, lenient: bool, passed: &mut PassedOver) -> Found<Set> {
    match place {
        Place::Folder(root) => find_in_folder(root, lenient, passed),
        Place::Archive(path, files, _) => packed::find(path, files, passed),
    }
}

/// All pictures of a folder and the folders in it, in the order of their paths; of a file that file. What is none by the ending of its name is
/// passed over.
///
/// # Errors
/// When a folder cannot be read.
pub fn pictures(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut files, mut other) = (Vec::new(), Vec::new());
    list_files(path, 0, MAX_DEPTH, &mut files, &mut other)?;
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// The part that a folder of this name is.
pub(super) fn split_of(name: &str) -> Option<Split> {
    let name = name.to_lowercase();
    SPLIT_NAMES.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(split, _)| *split)
}

fn find_in_folder(root: &Path, lenient: bool, passed: &mut PassedOver) -> Found<Set> {
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
    let mut other = Vec::new();
    for (split, _, classes) in &parts {
        let mut files = Vec::new();
        for (name, path) in classes {
            let class = labels.binary_search(name).map_err(|_| DataError::UnknownClass {
                path: path.clone(),
                class: name.clone(),
                known: labels.join(", "),
            })?;
            let before = files.len();
            list_files(path, class, MAX_DEPTH, &mut files, &mut other)?;
            if files.len() == before && *split == Split::Train && classes.len() > 1 && !lenient {
                return Err(DataError::Empty { path: path.clone() });
            }
        }
        let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        let items = files.into_iter().map(|(path, class)| Item {
            name: name(&path),
            class,
            picture: Picture::File(Blob::file(path)),
        });
        sets.push(Set { split: *split, items: items.collect() });
    }
    match sets.iter().zip(&parts).find(|(set, _)| set.items.is_empty()) {
        _ if sets.iter().all(|set| set.items.is_empty()) => return Ok(None),
        Some((_, (_, path, _))) if !lenient => return Err(DataError::Empty { path: path.clone() }),
        _ => {}
    }
    passed.not_pictures = other;
    let tops: BTreeSet<&Path> = std::iter::once(root).chain(parts.iter().map(|part| part.1.as_path())).collect();
    for top in tops {
        let files = entries(top)?.into_iter().map(|(_, path)| path);
        passed.without_class.extend(files.filter(|path| is_picture(path) && path.is_file()));
    }
    Ok(Some((labels, sets)))
}

/// Folders in a folder by name; what is hidden or made by an archiver is no class.
fn subfolders(path: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let folders = entries(path)?.into_iter().filter(|(name, path)| name != "__MACOSX" && path.is_dir());
    Ok(folders.collect())
}

/// Files below a class folder, which may have folders of its own; links to folders are not followed. `other` gets those that are no
/// pictures by their names.
fn list_files(
    folder: &Path,
    class: usize,
    depth: usize,
    files: &mut Vec<(PathBuf, usize)>,
    other: &mut Vec<PathBuf>,
) -> Result<(), DataError> {
    for (name, path) in entries(folder)? {
        if path.is_file() && !["Thumbs.db", "desktop.ini"].contains(&name.as_str()) {
            if may_be_picture(&path) {
                files.push((path, class));
            } else {
                other.push(path);
            }
        } else if depth > 0 && path.is_dir() && !path.is_symlink() {
            list_files(&path, class, depth - 1, files, other)?;
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
