//! A part of the MPS2 boards' PSRAM that behaves as flash memory: it keeps its bytes over a reset, erases in pages to FF, and lets bits of
//! erased words be cleared, a word at a time, none of them twice.
//!
//! Neither start code nor linker know of the PSRAM, so nothing initializes it (Arm application note AN386: 16 MB at 0x2100_0000).

use core::hint::black_box;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_write};
use ocelli_app::update::ModelFlash;

const PSRAM: *mut u8 = 0x2100_0000 as *mut u8;
/// Bytes of the memory.
pub const BYTES: usize = 128 << 10;
/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Turns of a loop that a word takes to write, so that it takes time: a reset may come between any two words.
const WORD_TURNS: u32 = 40;

/// The memory.
pub struct PsramFlash(&'static mut [u8; BYTES]);

impl PsramFlash {
    /// Takes the memory.
    ///
    /// # Safety
    /// It must be called once.
    pub unsafe fn take() -> Self {
        // SAFETY: there is RAM at this address, which nothing else uses, and the caller takes it once. Any bytes are bytes.
        Self(unsafe { &mut *PSRAM.cast() })
    }

    /// Bytes from offset `from` to `to`.
    fn span(&mut self, from: u32, to: u32) -> Result<&mut [u8], NorFlashErrorKind> {
        self.0.get_mut(from as usize..to as usize).ok_or(NorFlashErrorKind::OutOfBounds)
    }
}

impl ErrorType for PsramFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for PsramFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let count = u32::try_from(bytes.len()).map_err(|_| NorFlashErrorKind::OutOfBounds)?;
        let end = offset.checked_add(count).ok_or(NorFlashErrorKind::OutOfBounds)?;
        bytes.copy_from_slice(self.span(offset, end)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        BYTES
    }
}

impl NorFlash for PsramFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for word in self.span(from, to)?.chunks_exact_mut(4) {
            spend(WORD_TURNS / 8);
            word.fill(0xFF);
            black_box(word); // now, not with the next one
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let end = offset.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let words = self.span(offset, end)?.chunks_exact_mut(4);
        for (word, new) in words.zip(bytes.chunks_exact(4)) {
            if word.iter().any(|&byte| byte != 0xFF) {
                return Err(NorFlashErrorKind::Other); // it was not erased
            }
            spend(WORD_TURNS);
            // byte by byte: a reset may come in the middle of a word
            for (byte, new) in word.iter_mut().zip(new) {
                *byte &= new;
                black_box(&mut *byte);
            }
        }
        Ok(())
    }
}

/// Lets time pass.
fn spend(turns: u32) {
    for turn in 0..turns {
        black_box(turn);
    }
}

impl ModelFlash for PsramFlash {
    fn mapped(&self) -> &[u8] {
        self.0
    }
}
