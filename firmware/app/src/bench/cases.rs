//! The two files of a run over operator cases: small models with a frame each to an emulated board, and its outputs back.
//!
//! A cases file is a [`CasesHeader`] and for each case a [`CaseHeader`], the model file and the int8 frame, both padded to a
//! multiple of four bytes. The results file has for each case, in the same order, a [`CaseOutcome`] and its output bytes.

use super::{HeaderError, join, split};

/// Name of the cases file in the emulator's working directory; the results have [`RESULTS_FILE`](super::RESULTS_FILE).
pub const CASES_FILE: &core::ffi::CStr = c"cases.bin";
/// Bytes of the longest model file of a case.
pub const CASE_MODEL_BYTES: usize = 256 << 10;
/// Bytes of working memory that a case's model may need.
pub const CASE_ARENA_BYTES: usize = 256 << 10;
/// Bytes of the longest frame of a case.
pub const CASE_FRAME_BYTES: usize = 256 << 10;

const CASES_MAGIC: [u8; 8] = *b"OCELCAS1";

/// The head of a cases file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CasesHeader {
    /// Number of cases.
    pub count: u32,
}

/// The head of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaseHeader {
    /// Bytes of the model file, at most [`CASE_MODEL_BYTES`].
    pub model_bytes: u32,
    /// Bytes of the frame, at most [`CASE_FRAME_BYTES`].
    pub frame_bytes: u32,
}

/// What became of a case, the head of its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseOutcome {
    /// It ran.
    Ran {
        /// Bytes of the output, which follow.
        output_bytes: u32,
    },
    /// The model was refused, or needs more than [`CASE_ARENA_BYTES`].
    Refused,
    /// The frame has another size than the model's input.
    FrameSize,
}

impl CasesHeader {
    /// Bytes of the head.
    pub const BYTES: usize = 12;

    /// The bytes of the head.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        join(CASES_MAGIC, [self.count])
    }

    /// Reads and checks a head.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, HeaderError> {
        let [count] = split(CASES_MAGIC, bytes)?;
        Ok(Self { count })
    }
}

impl CaseHeader {
    /// Bytes of the head.
    pub const BYTES: usize = 8;

    /// The bytes of the head.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        join([], [self.model_bytes, self.frame_bytes])
    }

    /// Reads and checks a head.
    ///
    /// # Errors
    /// When the bench has no memory for the model or the frame.
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, HeaderError> {
        let [model_bytes, frame_bytes] = split([], bytes)?;
        let fits = |bytes: u32, memory: usize| usize::try_from(bytes).is_ok_and(|bytes| bytes <= memory);
        if !fits(model_bytes, CASE_MODEL_BYTES) || !fits(frame_bytes, CASE_FRAME_BYTES) {
            return Err(HeaderError::CaseSize);
        }
        Ok(Self { model_bytes, frame_bytes })
    }
}

impl CaseOutcome {
    /// Bytes of the head.
    pub const BYTES: usize = 8;

    /// The bytes of the head.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        join(
            [],
            match *self {
                Self::Ran { output_bytes } => [0, output_bytes],
                Self::Refused => [1, 0],
                Self::FrameSize => [2, 0],
            },
        )
    }

    /// Reads and checks a head.
    ///
    /// # Errors
    /// When the code is unknown, or there is an output although the case did not run.
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, HeaderError> {
        match split([], bytes)? {
            [0, output_bytes] => Ok(Self::Ran { output_bytes }),
            [1, 0] => Ok(Self::Refused),
            [2, 0] => Ok(Self::FrameSize),
            _ => Err(HeaderError::Outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_survive_the_round_trip() {
        let header = CasesHeader { count: 80 };
        assert_eq!(CasesHeader::parse(&header.to_bytes()), Ok(header));
        let header = CaseHeader { model_bytes: 256 << 10, frame_bytes: 256 << 10 };
        assert_eq!(CaseHeader::parse(&header.to_bytes()), Ok(header));
        for outcome in [CaseOutcome::Ran { output_bytes: 0x0102_0304 }, CaseOutcome::Refused, CaseOutcome::FrameSize] {
            assert_eq!(CaseOutcome::parse(&outcome.to_bytes()), Ok(outcome));
        }
    }

    #[test]
    fn numbers_are_little_endian_after_the_magic() {
        assert_eq!(CasesHeader { count: 0x0102 }.to_bytes(), *b"OCELCAS1\x02\x01\x00\x00");
        assert_eq!(CaseHeader { model_bytes: 1, frame_bytes: 2 }.to_bytes(), [1, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn every_bad_field_is_refused() {
        assert_eq!(CasesHeader::parse(b"OCELCAS2\x02\x01\x00\x00"), Err(HeaderError::Magic));
        for (model_bytes, frame_bytes) in [((256 << 10) + 1, 0), (0, (256 << 10) + 1), (u32::MAX, u32::MAX)] {
            let bytes = CaseHeader { model_bytes, frame_bytes }.to_bytes();
            assert_eq!(CaseHeader::parse(&bytes), Err(HeaderError::CaseSize));
        }
        for bytes in [[1, 0, 0, 0, 1, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 1], [3, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(CaseOutcome::parse(&bytes), Err(HeaderError::Outcome));
        }
    }
}
