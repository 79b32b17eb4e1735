//! Files in the emulator's working directory, a semihosting call each: the crate's own `File` brings its options and errors along.

use core::ffi::CStr;
use semihosting::process::ExitCode;
use semihosting::sys::arm_compat::syscall::{OperationNumber, ParamRegW, syscall};

pub use semihosting::sys::arm_compat::OpenMode;

/// A file, by its handle. It is closed when the program ends.
pub struct HostFile(usize);

impl HostFile {
    /// No file: for a variable's first value. (Zeros: another value would be in the image.)
    pub const fn closed() -> Self {
        Self(0)
    }

    /// Opens a file. Where that fails, so does its first use.
    pub fn open(path: &CStr, mode: OpenMode) -> Self {
        Self(call(OperationNumber::SYS_OPEN, path.as_ptr().expose_provenance(), mode as usize, path.count_bytes()))
    }

    /// Reads as many bytes as `bytes` has; ends the program when there are not as many.
    pub fn read(&self, bytes: &mut [u8]) {
        self.transfer(OperationNumber::SYS_READ, bytes.as_mut_ptr().expose_provenance(), bytes.len());
    }

    /// Writes all bytes; ends the program when that fails.
    pub fn write(&self, bytes: &[u8]) {
        self.transfer(OperationNumber::SYS_WRITE, bytes.as_ptr().expose_provenance(), bytes.len());
    }

    #[inline(never)]
    fn transfer(&self, number: OperationNumber, address: usize, len: usize) {
        if call(number, self.0, address, len) != 0 {
            fail() // some bytes are missing
        }
    }
}

/// Ends the program: it went wrong.
pub fn fail() -> ! {
    ExitCode::FAILURE.exit_process()
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
