//! The `.ocelli` file: a compiled network with all that a board needs to run it, read in place from flash.

#[cfg(feature = "blocked")]
pub mod blocks;
mod error;
pub mod memory;
mod read;
pub mod records;
mod validate;
#[cfg(feature = "alloc")]
pub mod write;

pub use error::{LoadError, Region};
pub use read::{Constants, Model, Strings};

/// Bytes aligned for [`Model::parse`]: `static MODEL: Aligned<[u8; N]> = Aligned(*include_bytes!(..))`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct Aligned<T: ?Sized>(pub T);

/// CRC-32 as in zip and PNG (polynomial 04C11DB7 reflected, ISO 3309).
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    CRC.checksum(bytes)
}
