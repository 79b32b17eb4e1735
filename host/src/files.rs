//! Files are complete or not there: written beside their place, then renamed.

use anyhow::Context;
use std::io::Write;
use std::path::Path;

/// Writes a file through a temporary one in the same folder, so that no reader ever sees half of it.
///
/// # Errors
/// When the folder cannot be written; the error names the file.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // a temporary file is private; this one is for whoever may read the folder
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}: choose a folder that can be written", path.display()))
}
