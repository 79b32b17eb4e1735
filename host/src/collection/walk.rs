//! The photos below a folder, as they lie there; none is opened.

use crate::data::is_picture;
use anyhow::{Context, ensure};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A picture file by its name, with what tells whether it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// As seen from the folder, with `/` between the parts.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Microseconds since 1970.
    pub(super) modified: i64,
}

/// What lies below a folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Walk {
    /// In the order of their paths.
    pub(super) photos: Vec<Found>,
    /// Pictures whose names are no text, as nearly as they can be written.
    pub(super) unnamed: Vec<String>,
    /// Folders that cannot be read, with the reason.
    pub(super) unreadable: Vec<(String, String)>,
}

/// Lists the pictures below a folder. What is hidden is passed over; links to files are followed, links to folders are not.
pub(super) fn walk(root: &Path) -> anyhow::Result<Walk> {
    let kind = fs::metadata(root).with_context(|| format!("cannot read the folder {}", root.display()))?;
    ensure!(kind.is_dir(), "{} is a file: give the folder that the photos are in", root.display());
    let mut walk = Walk::default();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        if let Err(error) = walk.enter(root, &folder, &mut folders) {
            walk.unreadable.push((slashes(&folder).unwrap_or_else(|lossy| lossy), error.to_string()));
        }
    }
    if let Some((_, reason)) = walk.unreadable.iter().find(|(folder, _)| folder.is_empty()) {
        anyhow::bail!("cannot read the folder {}: {reason}", root.display());
    }
    walk.photos.sort_by(|a, b| a.path.cmp(&b.path));
    walk.unnamed.sort();
    Ok(walk)
}

impl Walk {
    fn enter(&mut self, root: &Path, folder: &Path, folders: &mut Vec<PathBuf>) -> std::io::Result<()> {
        for entry in fs::read_dir(root.join(folder))? {
            let entry = entry?;
            let name = entry.file_name();
            let shown = name.to_string_lossy();
            if shown.starts_with('.') || shown == "__MACOSX" {
                continue;
            }
            let path = folder.join(&name);
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if is_picture(&path) {
                // a link that leads nowhere, and a file that has gone since, are no photos
                let Some(file) = fs::metadata(entry.path()).ok().filter(Metadata::is_file) else { continue };
                match slashes(&path) {
                    Ok(path) => self.photos.push(Found { path, bytes: file.len(), modified: modified(&file) }),
                    Err(lossy) => self.unnamed.push(lossy),
                }
            }
        }
        Ok(())
    }
}

/// Microseconds since 1970: as exact as a number in JSON is for everybody who reads one.
fn modified(file: &Metadata) -> i64 {
    let micros = |time: std::time::Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    file.modified().map_or(0, |time| match time.duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    })
}

/// A path with `/` between its parts; one that is no text as nearly as it can be written.
fn slashes(path: &Path) -> Result<String, String> {
    let parts: Option<Vec<&str>> = path.iter().map(std::ffi::OsStr::to_str).collect();
    let lossy = || path.iter().map(|part| part.to_string_lossy().into_owned()).collect::<Vec<_>>().join("/");
    parts.map(|parts| parts.join("/")).ok_or_else(lossy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(walk: &Walk) -> Vec<&str> {
        walk.photos.iter().map(|photo| photo.path.as_str()).collect()
    }

    #[test]
    fn pictures_at_any_depth_are_found_in_the_order_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["b.JPG", "a/2.png", "a/deep/er/1.webp", ".hidden/x.png", "a/.y.png", "notes.txt", "__MACOSX/z.png"]
        {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"four").unwrap();
        }
        let walk = walk(folder.path()).unwrap();
        assert_eq!(names(&walk), ["a/2.png", "a/deep/er/1.webp", "b.JPG"]);
        assert!(walk.photos.iter().all(|photo| photo.bytes == 4 && photo.modified > 1_000_000_000_000_000));
        assert!(super::walk(&folder.path().join("b.JPG")).unwrap_err().to_string().contains("is a file"));
        assert!(super::walk(&folder.path().join("missing")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_to_folders_are_not_followed_and_names_that_are_no_text_are_told() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::write(at.join("a.png"), b"").unwrap();
        std::os::unix::fs::symlink(at, at.join("loop")).unwrap();
        std::os::unix::fs::symlink(at.join("a.png"), at.join("b.png")).unwrap();
        std::os::unix::fs::symlink(at.join("nowhere"), at.join("c.png")).unwrap();
        fs::write(at.join(std::ffi::OsStr::from_bytes(b"\xff.png")), b"").unwrap();
        let walk = walk(at).unwrap();
        assert_eq!(names(&walk), ["a.png", "b.png"]);
        assert_eq!(walk.unnamed, ["\u{fffd}.png"]);
    }
}
