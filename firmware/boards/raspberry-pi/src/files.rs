//! Files that are complete or not there, and frames kept for the next training; over a disk that a test can fill.

use crate::frame::Frame;
use crate::jpeg::{KEEP_QUALITY, encode};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where files are written.
pub trait Disk: Send + Sync {
    /// Writes a file through a temporary one beside it, so that no reader ever sees half of it. Unless it `replaces`, a file that is there
    /// already is an error of the kind [`ErrorKind::AlreadyExists`].
    ///
    /// # Errors
    /// When it cannot be written.
    fn write(&self, path: &Path, bytes: &[u8], replaces: bool) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn write(&self, path: &Path, bytes: &[u8], replaces: bool) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().prefix(".ocelli-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        // a temporary file is private; this one is for whoever may read the folder
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        // a name that is written before its content would lead to an empty file after a power cut
        file.as_file().sync_all()?;
        let persisted = if replaces { file.persist(path) } else { file.persist_noclobber(path) };
        persisted.map(drop).map_err(|error| error.error)
    }
}

/// Why a frame was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepError {
    /// The label is none of the model's.
    Unknown(String),
    /// It is, but it leads to no folder of its own.
    Unfit(String),
    /// The frame could not be encoded or written.
    Failed(String),
}

impl std::fmt::Display for KeepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(what) | Self::Unfit(what) | Self::Failed(what) => f.write_str(what),
        }
    }
}

/// Keeps frames under a label, as a dataset for the next training: `DIR/LABEL/TIME.jpg`.
pub struct Keeper {
    folder: PathBuf,
    labels: Vec<String>,
    disk: Box<dyn Disk>,
    kept: Mutex<BTreeMap<String, u64>>,
}

impl Keeper {
    /// Keeps frames in a folder, under these labels and no others.
    #[must_use]
    pub fn new(folder: PathBuf, labels: Vec<String>, disk: Box<dyn Disk>) -> Self {
        Self { folder, labels, disk, kept: Mutex::default() }
    }

    /// Tries whether files can be written to the folder, which is made where it is missing.
    ///
    /// # Errors
    /// When they cannot.
    pub fn try_folder(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        tempfile::Builder::new().prefix(".ocelli-").tempfile_in(&self.folder).map(drop)
    }

    /// Keeps a frame; returns where.
    ///
    /// # Errors
    /// When the label is none of the model's, or cannot be a folder's name, or the file cannot be written.
    pub fn keep(&self, label: &str, frame: &Frame) -> Result<PathBuf, KeepError> {
        if !self.labels.iter().any(|known| known == label) {
            return Err(KeepError::Unknown(format!("'{label}' is none of the model's labels")));
        }
        if !is_folder_name(label) {
            return Err(KeepError::Unfit(format!("the label '{label}' cannot be the name of a folder")));
        }
        let jpeg = encode(frame, KEEP_QUALITY).map_err(KeepError::Failed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        // two in one millisecond, or a clock that was set back: the next free name
        for time in now..now + 1000 {
            let path = self.folder.join(label).join(format!("{time}.jpg"));
            match self.disk.write(&path, &jpeg, false) {
                Ok(()) => {
                    *self.kept.lock().unwrap_or_else(PoisonError::into_inner).entry(label.to_owned()).or_default() += 1;
                    return Ok(path);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(KeepError::Failed(format!("cannot keep the frame as {}: {error}", path.display())));
                }
            }
        }
        Err(KeepError::Failed(format!(
            "cannot keep the frame: the clock gives no new name in {}",
            self.folder.display()
        )))
    }

    /// Frames kept so far, for each label that has some.
    #[must_use]
    pub fn kept(&self) -> BTreeMap<String, u64> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether a label leads to a folder of its own within another, and not elsewhere. Labels come from a model file: they are not trusted.
fn is_folder_name(label: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\');
    !label.is_empty() && label.len() <= 200 && !label.starts_with('.') && label.chars().all(is_plain)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::jpeg::tests::colourful;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A disk that may be full.
    pub(crate) struct SmallDisk {
        pub(crate) is_full: Arc<AtomicBool>,
    }

    impl Disk for SmallDisk {
        fn write(&self, path: &Path, bytes: &[u8], replaces: bool) -> io::Result<()> {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(ErrorKind::StorageFull.into());
            }
            RealDisk.write(path, bytes, replaces)
        }
    }

    fn keeper(folder: &Path, is_full: &Arc<AtomicBool>) -> Keeper {
        let labels = ["cat", "a b", "../etc", ".git", "x/y", ""].map(str::to_owned).to_vec();
        Keeper::new(folder.to_owned(), labels, Box::new(SmallDisk { is_full: Arc::clone(is_full) }))
    }

    #[test]
    fn frames_are_kept_in_the_folder_of_their_label_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path(), &Arc::default());
        let frame = colourful(16, 8);
        for _ in 0..20 {
            let path = keeper.keep("cat", &frame).unwrap();
            assert!(path.starts_with(folder.path().join("cat")));
        }
        keeper.keep("a b", &frame).unwrap();
        let files: Vec<_> = std::fs::read_dir(folder.path().join("cat")).unwrap().flatten().collect();
        assert_eq!(files.len(), 20);
        let picture = image::open(files[0].path()).unwrap();
        assert_eq!((picture.width(), picture.height()), (16, 8));
        assert_eq!(keeper.kept(), BTreeMap::from([("a b".to_owned(), 1), ("cat".to_owned(), 20)]));
    }

    #[test]
    fn labels_that_are_unknown_or_lead_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path(), &Arc::default());
        for label in ["dog", "../etc", ".git", "x/y", ""] {
            assert!(keeper.keep(label, &colourful(8, 8)).is_err(), "{label}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_is_tried_and_made_where_it_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("a/b");
        keeper(&inside, &Arc::default()).try_folder().unwrap();
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0);
        assert!(keeper(Path::new("/proc/photos"), &Arc::default()).try_folder().is_err());
    }

    #[test]
    fn a_full_disk_is_said_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let is_full = Arc::new(AtomicBool::new(true));
        let keeper = keeper(folder.path(), &is_full);
        let error = keeper.keep("cat", &colourful(8, 8)).unwrap_err().to_string();
        assert!(error.contains("cannot keep the frame") && error.contains("cat"), "{error}");
        assert!(keeper.kept().is_empty());
        is_full.store(false, Ordering::Relaxed);
        keeper.keep("cat", &colourful(8, 8)).unwrap();
        // the real disk, full: the kernel's own device for it
        let error = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
