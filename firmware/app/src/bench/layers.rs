//! The two files of a benchmark: int8 frames to an emulated board, and what each operator took back.
//!
//! A frames file is a [`LayersInput`] and then every frame's rows, `[h, w, c]` int8 values, each frame twice, so that the board reads
//! the file from end to end: one pass over a frame has no readings of the clock but those around its rows, one has a reading after every
//! step. The results file is a [`LayersHeader`]; for each pass the ticks of the input (of the first pass: the total), those of each
//! operator and the output; last a `u32`: the deepest stack in bytes. Ticks are `u32`, little-endian. The time that the clock's
//! readings and the reading of rows took is not in them.

use super::{HeaderError, split};

/// Name of the frames file in the emulator's working directory; the results have [`RESULTS_FILE`](super::RESULTS_FILE).
pub const LAYERS_FILE: &core::ffi::CStr = c"layers.bin";

const RESULTS_MAGIC: [u8; 8] = *b"OCELLRE2";
/// The magics by words.
const INPUT_WORDS: [u32; 2] = words(*b"OCELLAY2");
const RESULTS_WORDS: [u32; 2] = words(RESULTS_MAGIC);

/// The head of a frames file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayersInput {
    /// Number of frames, each of which is there twice.
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

/// The words of a magic: in memory they are its bytes, on the little-endian cores that there are.
const fn words(magic: [u8; 8]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = magic;
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// The words' bytes.
fn bytes<const N: usize, const BYTES: usize>(words: [u32; N]) -> [u8; BYTES] {
    const { assert!(BYTES == 4 * N) };
    let mut bytes = [0; BYTES];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

impl LayersInput {
    /// Bytes of the head.
    pub const BYTES: usize = 4 * Self::WORDS;
    /// Words of the head.
    pub const WORDS: usize = 3;

    /// The bytes of the head.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let [low, high] = INPUT_WORDS;
        bytes([low, high, self.count])
    }

    /// Reads and checks a head, by words: a board has no code for more.
    ///
    /// # Errors
    /// When it is not one.
    pub const fn from_words([low, high, count]: [u32; Self::WORDS]) -> Result<Self, HeaderError> {
        let [magic_low, magic_high] = INPUT_WORDS;
        if low == magic_low && high == magic_high { Ok(Self { count }) } else { Err(HeaderError::Magic) }
    }
}

impl LayersHeader {
    /// Bytes of the head.
    pub const BYTES: usize = 4 * Self::WORDS;
    /// Words of the head.
    pub const WORDS: usize = 8;

    /// The bytes of the head.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        bytes(self.to_words())
    }

    /// The words of the head.
    #[must_use]
    pub const fn to_words(&self) -> [u32; Self::WORDS] {
        let Self { ops, output_bytes, calibration_instructions, calibration_ticks, load_ticks, reading_ticks } = *self;
        let [low, high] = RESULTS_WORDS;
        [low, high, ops, output_bytes, calibration_instructions, calibration_ticks, load_ticks, reading_ticks]
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

    /// Bytes that a pass's results have: `None` when that does not fit the host's memory.
    #[must_use]
    pub fn pass_bytes(&self) -> Option<usize> {
        let words = usize::try_from(self.ops).ok()?.checked_add(1)?;
        words.checked_mul(4)?.checked_add(usize::try_from(self.output_bytes).ok()?)
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
        let words = LayersInput { count: 3 }.to_bytes();
        let words = [0, 4, 8].map(|at| u32::from_le_bytes(words[at..at + 4].try_into().unwrap()));
        assert_eq!(LayersInput::from_words(words), Ok(LayersInput { count: 3 }));
        assert_eq!(LayersHeader::parse(&HEADER.to_bytes()), Ok(HEADER));
    }

    #[test]
    fn every_bad_head_is_refused() {
        assert_eq!(LayersInput::from_words([0, 0, 1]), Err(HeaderError::Magic));
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
    fn a_pass_has_the_input_each_operator_and_an_output() {
        assert_eq!(HEADER.pass_bytes(), Some(4 * (1 + 7) + 10));
        assert_eq!(LayersHeader { ops: u32::MAX, output_bytes: 0, ..HEADER }.pass_bytes(), Some(4 << 32));
    }
}
