//! Why a device did not do what it was asked to.

use core::fmt;
use ocelli::model::LoadError;
use serde::{Deserialize, Serialize};

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// The frame came whole, but its message is none that this firmware knows.
    Message,
    /// No such transfer is under way: the device was reset since, or another one has begun.
    NoTransfer,
    /// The file is too long for a slot, or too short to be a model.
    Length {
        /// Bytes of the longest model file.
        capacity: u32,
    },
    /// A block starts or ends where it should not.
    Block {
        /// Offset at which a block is expected.
        next: u32,
    },
    /// Not all bytes of the file have come.
    Incomplete {
        /// How many have.
        written: u32,
    },
    /// The bytes in flash are not those that were announced.
    Checksum {
        /// CRC-32 of what is there.
        found: u32,
    },
    /// The firmware was built with a key, and the model has no signature.
    Unsigned,
    /// The signature is not one of this file by the firmware's key.
    Signature,
    /// The file is no model that this firmware can run.
    Model(ModelRefusal),
    /// The flash memory could not be erased or written, or does not hold what was written.
    Flash,
    /// A model was received before and is not running yet: the device must restart first.
    Restart,
    /// The board cannot do that.
    NotSupported,
}

/// Why a firmware cannot run a model: [`LoadError`], in numbers that travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ModelRefusal {
    /// It is no model file.
    NotAModel,
    /// It has another version of the format.
    Version {
        /// The file's.
        found: u16,
        /// The firmware's.
        supported: u16,
    },
    /// Its checksum is wrong.
    Damaged,
    /// It needs more working memory than the firmware has for it.
    Ram {
        /// Bytes that it needs.
        needed: u32,
        /// Bytes that there are.
        available: u32,
    },
    /// It was compiled for another core.
    Core,
    /// The firmware was built without the kernel of an operator, or the operator is not valid.
    Operator {
        /// Index of the operator.
        op: u16,
    },
    /// Its input is no picture.
    NotAPicture,
    /// Something else in it is not valid.
    Invalid,
}

impl From<LoadError> for ModelRefusal {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::NotAModel => Self::NotAModel,
            LoadError::Version { found, supported } => Self::Version { found, supported },
            LoadError::Checksum { .. } | LoadError::Length { .. } => Self::Damaged,
            LoadError::Arena { found, needed } => Self::Ram { needed, available: found },
            LoadError::Lanes { .. } | LoadError::Layout => Self::Core,
            LoadError::Op { op, .. } | LoadError::Overflow { op } => Self::Operator { op },
            _ => Self::Invalid,
        }
    }
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        Self::Model(error.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message => {
                f.write_str("it does not know the message: its firmware is older or newer than this program")
            }
            Self::NoTransfer => {
                f.write_str("it knows of no such transfer: it was reset, or somebody else began another")
            }
            Self::Length { capacity } => write!(f, "a model file may have 4 to {capacity} bytes there"),
            Self::Block { next } => write!(f, "it expects the block at byte {next}"),
            Self::Incomplete { written } => write!(f, "it has only {written} bytes of the file"),
            Self::Checksum { found } => write!(f, "its flash holds other bytes than were sent (CRC-32 {found:08x})"),
            Self::Unsigned => f.write_str("it takes signed models only, and this one has no signature"),
            Self::Signature => f.write_str("the signature is not one of this file by the key in its firmware"),
            Self::Model(refusal) => refusal.fmt(f),
            Self::Flash => f.write_str("its flash memory could not be erased or written"),
            Self::Restart => f.write_str("it has a new model that is not running yet: restart it first"),
            Self::NotSupported => f.write_str("the board cannot do that"),
        }
    }
}

impl fmt::Display for ModelRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAModel => f.write_str("the file is no .ocelli model"),
            Self::Version { found, supported } => {
                write!(f, "the model has format version {found}, the firmware reads version {supported}")
            }
            Self::Damaged => f.write_str("the model file is damaged"),
            Self::Ram { needed, available } => {
                write!(f, "the model needs {needed} bytes of working memory, the firmware has {available} for it")
            }
            Self::Core => f.write_str("the model was compiled for another core: compile it for this board"),
            Self::Operator { op } => {
                write!(f, "operator {op} of the model: the firmware was built without its kernel, or it is not valid")
            }
            Self::NotAPicture => f.write_str("the model's input is no picture"),
            Self::Invalid => f.write_str("the model file is not valid"),
        }
    }
}

impl core::error::Error for Refusal {}

impl core::error::Error for ModelRefusal {}
