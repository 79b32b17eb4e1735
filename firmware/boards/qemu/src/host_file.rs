//! Files in the emulator's working directory, a semihosting call each: the crate's own `File` brings its options and errors along.

use core::ffi::CStr;
use core::mem::ManuallyDrop;
use semihosting::fd::{AsFd, OwnedFd};
use semihosting::sys::arm_compat::{sys_open, sys_read_orig, sys_write_orig};

pub use semihosting::sys::arm_compat::OpenMode;

/// An open file. It is closed when the program ends.
pub struct HostFile(ManuallyDrop<OwnedFd>);

impl HostFile {
    /// Opens a file; `None` when it cannot be opened so.
    #[inline(never)]
    pub fn open(path: &CStr, mode: OpenMode) -> Option<Self> {
        sys_open(path, mode).ok().map(ManuallyDrop::new).map(Self)
    }

    /// Reads as many bytes as `bytes` has; `None` when there are not as many.
    #[inline(never)]
    pub fn read(&self, bytes: &mut [u8]) -> Option<()> {
        matches!(sys_read_orig(self.0.as_fd(), bytes), Ok(0)).then_some(())
    }

    /// Writes all bytes; `None` when that fails.
    #[inline(never)]
    pub fn write(&self, bytes: &[u8]) -> Option<()> {
        matches!(sys_write_orig(self.0.as_fd(), bytes), Ok(0)).then_some(())
    }
}
