//! Files are complete or not there: written beside their place, then renamed.

use anyhow::{Context, ensure};
use std::io::Write;
use std::path::{Component, Path, PathBuf};

/// Writes a file through a temporary one in the same folder, so that no reader ever sees half of it.
///
/// # Errors
/// When the folder cannot be written; the error names the file.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomically_with(path, |out| out.write_all(bytes))
}

/// The same for a file that is not in memory as a whole: `content` writes it.
///
/// # Errors
/// As [`write_atomically`], or when `content` fails.
pub fn write_atomically_with(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        let mut out = std::io::BufWriter::with_capacity(1 << 16, file.as_file_mut());
        content(&mut out)?;
        out.flush()?;
        drop(out);
        persist(file, path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}: choose a folder that can be written", path.display()))
}

/// Gives a temporary file that is complete its name.
pub(crate) fn persist(file: tempfile::NamedTempFile, path: &Path) -> std::io::Result<()> {
    file.as_file().sync_all()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // a temporary file is private; this one is for whoever may read the folder
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}

/// Refuses a place where [`write_atomically`] would fail, before the work whose result is to be written there.
///
/// # Errors
/// When it is a folder, or its folder cannot be written; the error names the file.
pub fn check_writable(path: &Path) -> anyhow::Result<()> {
    ensure!(!path.is_dir(), "cannot write {}: it is a folder: give the name of a file", path.display());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    tempfile::NamedTempFile::new_in(folder)
        .map(drop)
        .with_context(|| format!("cannot write {}: choose a folder that can be written", path.display()))
}

/// `path` as seen from `folder`, so that a run folder can be moved together with its data; absolute where nothing is shared.
///
/// # Errors
/// When either does not exist.
pub fn relative_to(path: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let absolute = |p: &Path| p.canonicalize().with_context(|| format!("cannot find {}", p.display()));
    let (path, folder) = (absolute(path)?, absolute(folder)?);
    let shared = path.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    if shared <= 1 {
        return Ok(path); // only the root is shared
    }
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    Ok(up.chain(path.components().skip(shared)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_between_folders_lead_back() {
        let root = tempfile::tempdir().unwrap();
        let (data, run) = (root.path().join("a/data"), root.path().join("b/c/run"));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::create_dir_all(&run).unwrap();
        let relative = relative_to(&data, &run).unwrap();
        assert_eq!(relative, Path::new("../../../a/data"));
        assert_eq!(run.join(relative).canonicalize().unwrap(), data.canonicalize().unwrap());
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        write_atomically(&file, b"old").unwrap();
        assert!(write_atomically(&folder.path().join("missing/file"), b"new").is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("new")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
        for path in [folder.path().join("missing/p.csv"), folder.path().to_owned()] {
            let error = check_writable(&path).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }
}
