//! The two files of a benchmark: int8 frames to an emulated board, and what each operator took back.
//!
//! A frames file is a [`LayersInput`] and then every frame's rows, `[h, w, c]` int8 values. The results file is a
//! [`LayersHeader`]; for each frame the total's ticks of a pass without further readings of the clock and its output, then, of a
//! pass with a reading after every step, the ticks of the input, those of each operator and again its output; last a `u32`:
//! the deepest stack in bytes. Ticks are `u32`, little-endian. The time that the clock's readings and the reading of rows took is
//! not in them.

use super::{HeaderError, join, split};

/// Name of the frames file in the emulator's working directory; the results have [`RESULTS_FILE`](super::RESULTS_FILE).
pub const LAYERS_FILE: &core::ffi::CStr = c"layers.bin";

const INPUT_MAGIC: [u8; 8] = *b"OCELLAY1";
const RESULTS_MAGIC: [u8; 8] = *b"OCELLRE1";

/// The head of a frames file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayersInput {
    /// Number of frames.
    pub count: u32,
}

/// The head of a results file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayersHeader {
    /// Operators of the model.
    pub ops: u32,
    /// Bytes of an output.
    pub output_bytes: u32,
    /// Instructions of the loop that the clock was calibrated with.
    pub calibration_instructions: u32,
    /// Ticks that this loop took.
    pub calibration_ticks: u32,
    /// Ticks that the checks at load took.
    pub load_ticks: u32,
    /// Ticks that one reading of the clock takes; it has been taken off everywhere.
    pub reading_ticks: u32,
}

impl LayersInput {
    /// Bytes of the head.
    pub const BYTES: usize = 12;

    /// The bytes of the head.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        join(INPUT_MAGIC, [self.count])
    }

    /// Reads and checks a head.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, HeaderError> {
        let [count] = split(INPUT_MAGIC, bytes)?;
        Ok(Self { count })
    }
}

impl LayersHeader {
    /// Bytes of the head.
    pub const BYTES: usize = 32;

    /// The bytes of the head.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let Self { ops, output_bytes, calibration_instructions, calibration_ticks, load_ticks, reading_ticks } = *self;
        join(RESULTS_MAGIC, [ops, output_bytes, calibration_instructions, calibration_ticks, load_ticks, reading_ticks])
    }

    /// Reads and checks a head.
    ///
    /// # Errors
    /// When it is not one or the clock stood still.
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, HeaderError> {
        let [ops, output_bytes, calibration_instructions, calibration_ticks, load_ticks, reading_ticks] =
            split(RESULTS_MAGIC, bytes)?;
        if calibration_ticks == 0 {
            return Err(HeaderError::Calibration);
        }
        Ok(Self { ops, output_bytes, calibration_instructions, calibration_ticks, load_ticks, reading_ticks })
    }

    /// Bytes that a frame's results have: `None` when that does not fit the host's memory.
    #[must_use]
    pub fn frame_bytes(&self) -> Option<usize> {
        let words = usize::try_from(self.ops).ok()?.checked_add(2)?;
        let outputs = usize::try_from(self.output_bytes).ok()?.checked_mul(2)?;
        words.checked_mul(4)?.checked_add(outputs)
    }

    /// Instructions that `ticks` stand for, to the nearest.
    #[must_use]
    pub fn instructions(&self, ticks: u32) -> u64 {
        let ticks_of_loop = u64::from(self.calibration_ticks.max(1));
        (u64::from(ticks) * u64::from(self.calibration_instructions) + ticks_of_loop / 2) / ticks_of_loop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: LayersHeader = LayersHeader {
        ops: 7,
        output_bytes: 10,
        calibration_instructions: 40_000_000,
        calibration_ticks: 64_000_000,
        load_ticks: 1_000,
        reading_ticks: 20,
    };

    #[test]
    fn heads_survive_the_round_trip() {
        assert_eq!(LayersInput::parse(&LayersInput { count: 3 }.to_bytes()), Ok(LayersInput { count: 3 }));
        assert_eq!(LayersHeader::parse(&HEADER.to_bytes()), Ok(HEADER));
    }

    #[test]
    fn every_bad_head_is_refused() {
        assert_eq!(LayersInput::parse(b"OCELFRM1\x01\x00\x00\x00"), Err(HeaderError::Magic));
        assert_eq!(LayersHeader::parse(&[0; LayersHeader::BYTES]), Err(HeaderError::Magic));
        let stopped = LayersHeader { calibration_ticks: 0, ..HEADER };
        assert_eq!(LayersHeader::parse(&stopped.to_bytes()), Err(HeaderError::Calibration));
    }

    #[test]
    fn ticks_are_rounded_to_the_nearest_instruction() {
        // 1.6 ticks an instruction
        for (ticks, instructions) in [(0, 0), (1, 1), (2, 1), (3, 2), (16, 10), (u32::MAX, 2_684_354_559)] {
            assert_eq!(HEADER.instructions(ticks), instructions, "{ticks} ticks");
        }
    }

    #[test]
    fn a_frame_has_a_total_the_input_each_operator_and_two_outputs() {
        assert_eq!(HEADER.frame_bytes(), Some(4 * (1 + 1 + 7) + 2 * 10));
        assert_eq!(LayersHeader { ops: u32::MAX, output_bytes: 0, ..HEADER }.frame_bytes(), Some((4 << 32) + 4));
    }
}
