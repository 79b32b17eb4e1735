//! A model is replaced in the field, over a serial line, without writing the firmware anew: `docs/update.md`.
//!
//! [`store`] keeps two models in flash, one of them active, and is safe against a loss of power at any time; [`receiver`] is the device's
//! side of the line, a state machine from bytes to bytes; [`protocol`] and [`frame`] are what both sides of the line agree on. A board
//! brings a [`ModelFlash`] and a [`receiver::Device`], for which [`judge::ModelJudge`] does the checks.

use embedded_storage::nor_flash::NorFlash;

pub mod frame;
pub mod judge;
pub mod line;
pub mod protocol;
pub mod receiver;
pub mod refusal;
#[cfg(feature = "signed")]
pub mod signature;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod slot;
pub mod store;

#[cfg(test)]
mod power_cuts;
#[cfg(test)]
mod samples;

pub use judge::ModelJudge;
pub use line::{Kit, Line, serve};
pub use receiver::{Device, Receiver};
pub use refusal::{ModelRefusal, Refusal};
pub use store::{Active, Region, Store};

/// An ed25519 signature (RFC 8032) over all bytes of a model file.
pub type Signature = [u8; 64];

/// Flash memory that the core can also read in place, where a model is run from.
pub trait ModelFlash: NorFlash {
    /// All bytes from offset 0, as they are now: what [`ReadNorFlash::read`](embedded_storage::nor_flash::ReadNorFlash::read) would give.
    /// They start at a multiple of four bytes in memory.
    ///
    /// Where there is a cache before the flash, writing and erasing must have dropped what it held of it.
    fn mapped(&self) -> &[u8];

    /// Does what may read words that a loss of power has torn.
    ///
    /// Where reading such a word is an error (flash memory with error correction), this must see to it that the reading goes on and gives
    /// any bytes: checksums do the rest. Elsewhere there is nothing to do.
    fn tolerating<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// Decides whether a model may be used.
pub trait Judge {
    /// Checks a whole model file, which starts at a multiple of four bytes.
    ///
    /// # Errors
    /// Why the model may not be used.
    fn judge(&mut self, model: &[u8], signature: Option<&Signature>) -> Result<(), Refusal>;
}

/// What a model file's last four bytes must say: the CRC-32 of all bytes before them, by which it is known.
///
/// A checksum over the whole file would tell nothing: CRC-32 over data and its own CRC-32 is the same number for all data.
/// `None` for fewer than four bytes.
#[must_use]
pub fn model_crc(file: &[u8]) -> Option<u32> {
    Some(ocelli::model::crc32(file.split_last_chunk::<4>()?.0))
}
