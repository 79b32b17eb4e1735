//! Where a dataset lies: a folder, or an archive that stands for one.

use super::DataError;
use super::archive::{self, Entry, Listing};
use super::blob::Blob;
use std::path::{Path, PathBuf};

/// A folder, or the files of an archive.
pub(super) enum Place {
    Folder(PathBuf),
    /// The archive's path, its files in the order of their names, and the names in it that lead out of it.
    Archive(PathBuf, Vec<Entry>, Vec<String>),
}

impl Place {
    /// `None` when `path` is a file but no archive.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, DataError> {
        let unreadable = |source| DataError::Unreadable { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Ok(Some(Self::Folder(path.to_owned())));
        }
        let listing = archive::list(path)?;
        Ok(listing.map(|Listing { mut files, outside }| {
            files.sort_by(|a, b| a.0.cmp(&b.0));
            Self::Archive(path.to_owned(), files, outside)
        }))
    }

    /// The folder, or the archive's file.
    pub(super) fn root(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Archive(path, ..) => path,
        }
    }

    /// The file `name` at the top; of an archive, the one that lies least deep.
    pub(super) fn file(&self, name: &str) -> Option<Blob> {
        match self {
            Self::Folder(root) => Some(root.join(name)).filter(|path| path.is_file()).map(Blob::file),
            Self::Archive(_, files, _) => {
                let named = files.iter().filter(|(parts, _)| parts.last().is_some_and(|last| last == name));
                named.min_by_key(|(parts, _)| parts.len()).map(|(_, blob)| blob.clone())
            }
        }
    }
}
