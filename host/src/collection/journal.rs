//! What an unfinished tagging has done: a line a photo, written as soon as it is done. A process that is killed loses the photos that it was
//! at, no others.

use super::list::{ModelId, Photo, text};
use anyhow::{Context, bail};
use serde::Serialize;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// The name of the journal.
pub const JOURNAL: &str = "tags.journal";

/// What a journal's photos were run with: those of another are of no use.
#[derive(Serialize)]
struct Header<'a> {
    version: u32,
    folder: &'a str,
    model: &'a str,
    top: usize,
}

/// A journal that is open, and locked against other processes.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal in a folder, or makes it; returns the photos that an interrupted run with the same model and settings left there,
    /// unless all is to be done `anew`.
    pub(super) fn open(
        out: &Path,
        folder: &str,
        model: &ModelId,
        top: usize,
        anew: bool,
    ) -> anyhow::Result<(Self, Vec<Photo>)> {
        let path = out.join(JOURNAL);
        let advice = || format!("cannot write {}: choose another folder with --out", path.display());
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path).with_context(advice)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => bail!(
                "another `ocelli tag` is at work on {}: wait for its end, or choose another folder with --out",
                out.display()
            ),
            // file systems without locks: two at once are the user's care
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let header = text(&Header { version: 1, folder, model: &model.sha256, top })?;
        let (photos, good) = if anew { (Vec::new(), 0) } else { read(&file, &header).with_context(advice)? };
        // what follows the last whole line, or all of another model's
        file.set_len(good).with_context(advice)?;
        let mut journal = Self { file, path };
        if good == 0 {
            journal.line(header)?;
        }
        Ok((journal, photos))
    }

    /// Adds a photo.
    pub(super) fn add(&mut self, photo: &Photo) -> anyhow::Result<()> {
        self.line(text(photo)?)
    }

    fn line(&mut self, mut line: String) -> anyhow::Result<()> {
        line.push('\n');
        let advice = || format!("cannot write {}: is the disk full? What was done is kept", self.path.display());
        self.file.write_all(line.as_bytes()).with_context(advice)
    }

    /// Removes the journal: its photos are in the list.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        let Self { file, path } = self;
        drop(file);
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }
}

/// The photos of a journal that begins with `header`, and the bytes of its whole lines; nothing of any other.
fn read(file: &File, header: &str) -> std::io::Result<(Vec<Photo>, u64)> {
    let mut lines = BufReader::new(file);
    let (mut photos, mut good, mut line) = (Vec::new(), 0, Vec::new());
    loop {
        line.clear();
        let bytes = lines.read_until(b'\n', &mut line)?;
        let Some(whole) = line.strip_suffix(b"\n") else { return Ok((photos, good)) };
        if good > 0 {
            let Ok(photo) = serde_json::from_slice(whole) else { return Ok((photos, good)) };
            photos.push(photo);
        } else if whole != header.as_bytes() {
            return Ok((photos, 0));
        }
        good += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(sha256: &str) -> ModelId {
        ModelId { name: "m".to_owned(), sha256: sha256.to_owned() }
    }

    fn photo(path: &str) -> Photo {
        let (sha256, reason) = ("ab".to_owned(), Some("damaged".to_owned()));
        Photo { path: path.to_owned(), bytes: 3, modified: 5, sha256, labels: Vec::new(), reason }
    }

    #[test]
    fn a_torn_line_is_cut_off_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Journal::open(folder.path(), ".", &model("1"), 5, false).unwrap();
        let (mut journal, photos) = open();
        assert!(photos.is_empty());
        journal.add(&photo("a")).unwrap();
        journal.add(&photo("b")).unwrap();
        drop(journal);
        let path = folder.path().join(JOURNAL);
        let whole = std::fs::read(&path).unwrap();
        for torn in [whole.len() - 1, whole.len() - 20] {
            std::fs::write(&path, &whole[..torn]).unwrap();
            let (mut journal, photos) = open();
            assert_eq!(photos, [photo("a")]);
            journal.add(&photo("c")).unwrap();
            drop(journal);
            assert_eq!(open().1, [photo("a"), photo("c")]);
        }
    }

    #[test]
    fn photos_of_another_model_are_of_no_use() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path(), ".", &model("1"), 5, false).unwrap();
        journal.add(&photo("a")).unwrap();
        drop(journal);
        let (journal, photos) = Journal::open(folder.path(), ".", &model("2"), 5, false).unwrap();
        assert!(photos.is_empty());
        drop(journal);
        let (journal, photos) = Journal::open(folder.path(), ".", &model("1"), 5, false).unwrap();
        assert!(photos.is_empty(), "it was begun anew");
        journal.remove().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_at_once_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = Journal::open(folder.path(), ".", &model("1"), 5, false).unwrap();
        let error = Journal::open(folder.path(), ".", &model("1"), 5, false).unwrap_err().to_string();
        assert!(error.contains("another `ocelli tag` is at work"), "{error}");
        drop(first);
        Journal::open(folder.path(), ".", &model("1"), 5, false).unwrap();
    }
}
