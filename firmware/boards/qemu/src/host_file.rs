//! Files in the emulator's working directory, a semihosting call each: the crate's own `File` brings its options and errors along.

use core::ffi::CStr;
use semihosting::fd::BorrowedFd;
use semihosting::sys::arm_compat::{sys_open, sys_read_orig, sys_write_orig};

pub use semihosting::sys::arm_compat::OpenMode;

/// An open file. It is closed when the program ends.
pub struct HostFile(BorrowedFd<'static>);

impl HostFile {
    /// Opens a file; `None` when it cannot be opened so.
    #[inline(never)]
    pub fn open(path: &CStr, mode: OpenMode) -> Option<Self> {
        let file = sys_open(path, mode).ok()?.into_raw_fd();
        // SAFETY: nothing closes the file.
        Some(Self(unsafe { BorrowedFd::borrow_raw(file) }))
    }

    /// Reads as many bytes as `bytes` has; `None` when there are not as many.
    #[inline(never)]
    pub fn read(&self, bytes: &mut [u8]) -> Option<()> {
        matches!(sys_read_orig(self.0, bytes), Ok(0)).then_some(())
    }

    /// Writes all bytes; `None` when that fails.
    #[inline(never)]
    pub fn write(&self, bytes: &[u8]) -> Option<()> {
        matches!(sys_write_orig(self.0, bytes), Ok(0)).then_some(())
    }
}
