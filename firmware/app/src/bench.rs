//! The test bench's two files: frames from the host to an emulated board, and its results back.
//!
//! Both sides use these records, all numbers little-endian. A frames file is a [`FramesHeader`] and then the rows of every
//! frame. A results file is a [`ResultsHeader`], for each frame its scores and a `u32` of ticks, and last a `u32`: the
//! deepest stack in bytes. A run over operator cases and a benchmark have files of their own: [`cases`], [`layers`].

pub mod cases;
pub mod layers;

use core::fmt;
use ocelli::image::PixelFormat;

/// Name of the frames file in the emulator's working directory.
pub const FRAMES_FILE: &core::ffi::CStr = c"frames.bin";
/// Name of the results file there.
pub const RESULTS_FILE: &core::ffi::CStr = c"results.bin";

const FRAMES_MAGIC: [u8; 8] = *b"OCELFRM1";
const RESULTS_MAGIC: [u8; 8] = *b"OCELRES1";

/// The head of a frames file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramesHeader {
    /// Number of frames.
    pub count: u32,
    /// Width of every frame in pixels.
    pub width: u32,
    /// Height of every frame in pixels.
    pub height: u32,
    /// Layout of the pixels.
    pub format: PixelFormat,
}

/// The head of a results file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultsHeader {
    /// Scores of a frame.
    pub scores: u32,
    /// Instructions of the loop that the clock was calibrated with.
    pub calibration_instructions: u32,
    /// Ticks that this loop took.
    pub calibration_ticks: u32,
}

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum HeaderError {
    /// The first bytes are not those of such a file.
    Magic,
    /// A side of the frames is zero or above 65,535.
    Size,
    /// The code is that of no pixel format.
    Format,
    /// The clock stood still.
    Calibration,
    /// A case's model or frame is larger than the bench's memory for it.
    CaseSize,
    /// A case's outcome is none that the firmware writes.
    Outcome,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magic => "not a file of the test bench",
            Self::Size => "the frames' sides must be 1 to 65535 pixels",
            Self::Format => "unknown pixel format",
            Self::Calibration => "the clock of the board stands still",
            Self::CaseSize => "a case's model and frame must each fit 256 KiB",
            Self::Outcome => "a case has an unknown outcome",
        })
    }
}

impl core::error::Error for HeaderError {}

impl FramesHeader {
    /// Bytes of the head.
    pub const BYTES: usize = 24;

    /// The bytes of the head.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let code = match self.format {
            PixelFormat::Gray8 => 0,
            PixelFormat::Rgb888 => 1,
            PixelFormat::Rgb565 => 2,
            PixelFormat::Yuyv => 3,
        };
        join(FRAMES_MAGIC, [self.count, self.width, self.height, code])
    }

    /// Reads and checks a head.
    ///
    /// # Errors
    /// When it is not one or a field is out of range.
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, HeaderError> {
        let [count, width, height, code] = split(FRAMES_MAGIC, bytes)?;
        if [width, height].iter().any(|&side| side == 0 || side > u32::from(u16::MAX)) {
            return Err(HeaderError::Size);
        }
        let format = match code {
            0 => PixelFormat::Gray8,
            1 => PixelFormat::Rgb888,
            2 => PixelFormat::Rgb565,
            3 => PixelFormat::Yuyv,
            _ => return Err(HeaderError::Format),
        };
        Ok(Self { count, width, height, format })
    }
}

impl ResultsHeader {
    /// Bytes of the head.
    pub const BYTES: usize = 24;

    /// The bytes of the head.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        join(RESULTS_MAGIC, [self.scores, self.calibration_instructions, self.calibration_ticks, 0])
    }

    /// Reads and checks a head.
    ///
    /// # Errors
    /// When it is not one or the clock stood still.
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, HeaderError> {
        let [scores, calibration_instructions, calibration_ticks, _] = split(RESULTS_MAGIC, bytes)?;
        if calibration_ticks == 0 {
            return Err(HeaderError::Calibration);
        }
        Ok(Self { scores, calibration_instructions, calibration_ticks })
    }

    /// Instructions that `ticks` stand for.
    #[must_use]
    pub fn instructions(&self, ticks: u32) -> u64 {
        u64::from(ticks) * u64::from(self.calibration_instructions) / u64::from(self.calibration_ticks.max(1))
    }
}

/// A head: the magic (none for a record inside a file), then the words.
fn join<const M: usize, const N: usize, const BYTES: usize>(magic: [u8; M], words: [u32; N]) -> [u8; BYTES] {
    const { assert!(BYTES == M + 4 * N) };
    let mut bytes = [0; BYTES];
    let (head, body) = bytes.split_at_mut(M);
    head.copy_from_slice(&magic);
    for (place, word) in body.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The words of a head that [`join`] made.
fn split<const M: usize, const N: usize, const BYTES: usize>(
    magic: [u8; M],
    bytes: &[u8; BYTES],
) -> Result<[u32; N], HeaderError> {
    const { assert!(BYTES == M + 4 * N) };
    let body = bytes.strip_prefix(&magic).ok_or(HeaderError::Magic)?;
    let mut words = [0; N];
    for (word, place) in words.iter_mut().zip(body.chunks_exact(4)) {
        *word = place.try_into().map(u32::from_le_bytes).unwrap_or(0);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_survive_the_round_trip() {
        for format in [PixelFormat::Gray8, PixelFormat::Rgb888, PixelFormat::Rgb565, PixelFormat::Yuyv] {
            let header = FramesHeader { count: 100, width: 320, height: 240, format };
            assert_eq!(FramesHeader::parse(&header.to_bytes()), Ok(header));
        }
        let header = ResultsHeader { scores: 10, calibration_instructions: 2_000_000, calibration_ticks: 50_000 };
        assert_eq!(ResultsHeader::parse(&header.to_bytes()), Ok(header));
        assert_eq!(header.instructions(3), 120);
    }

    #[test]
    fn every_bad_field_is_refused() {
        let good = FramesHeader { count: 1, width: 28, height: 28, format: PixelFormat::Gray8 }.to_bytes();
        let with = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            FramesHeader::parse(&bytes)
        };
        assert_eq!(with(0, b'X'), Err(HeaderError::Magic));
        assert_eq!(with(12, 0), Err(HeaderError::Size));
        assert_eq!(with(18, 1), Err(HeaderError::Size));
        assert_eq!(with(20, 4), Err(HeaderError::Format));
        let stopped = ResultsHeader { scores: 10, calibration_instructions: 1, calibration_ticks: 0 };
        assert_eq!(ResultsHeader::parse(&stopped.to_bytes()), Err(HeaderError::Calibration));
    }
}
