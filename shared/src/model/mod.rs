//! The `.ocelli` file: a compiled network with all that a board needs to run it, read in place from flash.

#[cfg(feature = "blocked")]
pub mod blocks;
mod crc;
mod error;
pub mod memory;
mod read;
pub mod records;
mod rule;
mod text;
mod validate;
#[cfg(feature = "alloc")]
pub mod write;

pub use crc::crc32;
pub use error::{LoadError, Region};
pub use read::{Constants, Model};
pub use text::Strings;

/// Bytes aligned for [`Model::parse`]: `static MODEL: Aligned<[u8; N]> = Aligned(*include_bytes!(..))`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct Aligned<T: ?Sized>(pub T);
