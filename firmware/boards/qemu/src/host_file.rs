//! Files in the emulator's working directory, a semihosting call each: the crate's own `File` brings its options and errors along.

use core::ffi::CStr;
use semihosting::sys::arm_compat::syscall::{OperationNumber, ParamRegW, syscall};

pub use semihosting::sys::arm_compat::OpenMode;

/// An open file, by its handle. It is closed when the program ends.
pub struct HostFile(usize);

impl HostFile {
    /// Opens a file; `None` when it cannot be opened so.
    pub fn open(path: &CStr, mode: OpenMode) -> Option<Self> {
        let handle =
            call(OperationNumber::SYS_OPEN, path.as_ptr().expose_provenance(), mode as usize, path.count_bytes());
        (handle != usize::MAX).then_some(Self(handle))
    }

    /// Reads as many bytes as `bytes` has; `None` when there are not as many.
    #[inline(never)]
    pub fn read(&self, bytes: &mut [u8]) -> Option<()> {
        let missing = call(OperationNumber::SYS_READ, self.0, bytes.as_mut_ptr().expose_provenance(), bytes.len());
        (missing == 0).then_some(())
    }

    /// Writes all bytes; `None` when that fails.
    #[inline(never)]
    pub fn write(&self, bytes: &[u8]) -> Option<()> {
        let missing = call(OperationNumber::SYS_WRITE, self.0, bytes.as_ptr().expose_provenance(), bytes.len());
        (missing == 0).then_some(())
    }
}

/// A semihosting call with three parameters.
///
/// # Source
/// Semihosting for AArch32 and AArch64 (Arm, `semihosting.rst`), SYS_OPEN, SYS_READ and SYS_WRITE.
#[inline(never)]
fn call(number: OperationNumber, a: usize, b: usize, c: usize) -> usize {
    // SAFETY: only the functions above call this, with as many parameters as the operations take; addresses and lengths are those of
    // borrowed slices, and the bytes that are read into are borrowed mutably.
    unsafe { syscall(number, ParamRegW::ref_(&mut [a, b, c])).usize() }
}
