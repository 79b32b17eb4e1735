//! What setup needs of the system it runs on. Only the Debian toolchain needs it: elsewhere than on Unix this merely compiles.

use std::io;
use std::path::Path;

/// Makes `link` a symbolic link to `target`.
#[cfg(unix)]
pub fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Makes `link` a symbolic link to `target`.
#[cfg(not(unix))]
pub fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Lets everyone run a program.
#[cfg(unix)]
pub fn make_executable(program: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755))
}

/// Lets everyone run a program.
#[cfg(not(unix))]
pub fn make_executable(_program: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether this process has root's rights.
#[cfg(unix)]
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Whether this process has root's rights.
#[cfg(not(unix))]
pub fn is_root() -> bool {
    false
}
