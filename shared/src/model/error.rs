//! Why a model file was refused.

use super::records::VERSION;
use core::fmt;

/// Why [`Model::parse`](super::Model::parse) or [`Session::load`](crate::runtime::Session::load) refused a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LoadError {
    /// The first bytes are not those of an `.ocelli` file.
    NotAModel,
    /// The file was written for another version of the format.
    Version {
        /// Version of the file.
        found: u16,
        /// Version that this library reads.
        supported: u16,
    },
    /// The file is shorter or longer than its header says.
    Length {
        /// Bytes that there are.
        found: u32,
        /// Bytes that the header names.
        expected: u32,
    },
    /// The checksum over the file does not match: it was damaged.
    Checksum {
        /// CRC-32 of the bytes.
        computed: u32,
        /// CRC-32 that the file states.
        stored: u32,
    },
    /// The bytes do not start at a multiple of four (use [`Aligned`](super::Aligned)).
    Misaligned,
    /// A table or value lies outside the file or outside its allowed range.
    Field {
        /// Name of the field in `docs/model-format.md`.
        what: &'static str,
    },
    /// A field of one operator is out of its allowed range.
    Op {
        /// Index of the operator.
        op: u16,
        /// Name of the field.
        what: &'static str,
    },
    /// Something shares memory with something else, lies outside the arena, or not at a multiple of 4 bytes.
    Memory {
        /// What it is.
        what: Region,
        /// Index of the tensor or operator.
        index: u16,
    },
    /// The sum of an operator's products could leave 32 bits.
    Overflow {
        /// Index of the operator.
        op: u16,
    },
    /// The model was compiled for cores that widen activations to fewer bytes: its scratch memory is too small for this one.
    Lanes {
        /// Bytes that the file was compiled for.
        found: u8,
        /// Bytes that this core's kernels need.
        needed: u8,
    },
    /// The weights lie in blocks, for PCs; the kernels for that are not in this build.
    Layout,
    /// The rings are too short: the network would wait for itself.
    Stalls,
    /// The arena handed to `load` is too small or not aligned.
    Arena {
        /// Bytes handed over (those after the first aligned one).
        found: u32,
        /// Bytes that the model needs.
        needed: u32,
    },
}

/// What holds a part of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Region {
    /// The ring of a tensor.
    Tensor,
    /// The accumulators of an operator.
    Accumulators,
    /// The counters of the schedule.
    State,
    /// The operators' common scratch memory.
    Scratch,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotAModel => f.write_str("not an .ocelli model file"),
            Self::Version { found, supported: VERSION } if found > VERSION => write!(
                f,
                "the model file has format version {found}, this build reads version {VERSION}: update ocelli, or compile the model again"
            ),
            Self::Version { found, supported } => write!(
                f,
                "the model file has format version {found}, this build reads version {supported}: compile the model again"
            ),
            Self::Length { found, expected } => {
                write!(f, "the model file has {found} bytes where its header says {expected}: copy or compile it again")
            }
            Self::Checksum { computed, stored } => write!(
                f,
                "the model file is damaged (CRC-32 {computed:08x}, stored {stored:08x}): copy or compile it again"
            ),
            Self::Misaligned => {
                f.write_str("the model must lie at a multiple of 4 bytes in memory: wrap it in ocelli::model::Aligned")
            }
            Self::Field { what } => write!(f, "invalid model file: {what}"),
            Self::Op { op, what } => write!(f, "invalid model file: operator {op}: {what}"),
            Self::Memory { what, index } => {
                let what = match what {
                    Region::Tensor => "the ring of tensor",
                    Region::Accumulators => "the accumulators of operator",
                    Region::State => "the schedule's state",
                    Region::Scratch => "the scratch memory",
                };
                write!(f, "invalid model file: {what} {index} does not have aligned memory of its own in the arena")
            }
            Self::Overflow { op } => write!(f, "operator {op}: the sum of products could overflow 32 bits"),
            Self::Lanes { found, needed } => write!(
                f,
                "the model was compiled for another core (values of {found} bytes, this one needs {needed}): compile it for this board"
            ),
            Self::Layout => f.write_str(
                "the model was compiled for a PC (its weights lie in blocks): compile it for this board, or build with feature `blocked`",
            ),
            Self::Stalls => {
                f.write_str("invalid model file: the rings are too short for the network to finish a frame")
            }
            Self::Arena { found, needed } => {
                write!(f, "the model needs an arena of {needed} bytes (aligned to 4), got {found}")
            }
        }
    }
}

impl core::error::Error for LoadError {}
