//! Rows from a parallel camera bus (DVP): bytes, and the edges of VSYNC and HREF between them.
//!
//! [`RowAssembler`] is a state machine without hardware: a board's driver tells it what came, in pieces as its DMA delivers them. A line
//! that is too short or too long, a frame with too few lines and one whose VSYNC was missed are found; what is left of such a frame is
//! thrown away. [`PortSamples`] finds the edges in samples of a whole port, [`ParallelCamera`] makes a `Camera` of both.
//!
//! For boards to come whose chips have nothing that counts the bytes of a line (`docs/port-a-board.md`). The boards of this repository have: PIO and
//! DCMI deliver lines, and `ocelli_app::camera::RingCamera` takes them.

mod camera;
mod samples;

pub use camera::{BusEvent, BusSource, ParallelCamera, ParallelError};
pub use samples::PortSamples;

use core::fmt;

/// The order of a pair of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// As they come.
    AsIs,
    /// The two bytes of each pair change places: most sensors send the high byte of RGB565 first, the runtime takes the low one first.
    Swapped,
}

/// What arrives in a frame, and what of it is the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bytes of a line on the bus.
    pub bus_bytes: u32,
    /// Lines of a frame on the bus.
    pub bus_lines: u32,
    /// The picture's first byte in a line.
    pub first_byte: u32,
    /// The picture's first line.
    pub first_line: u32,
    /// Bytes of a row of the picture.
    pub bytes: u32,
    /// Rows of the picture.
    pub lines: u32,
    /// Order of the bytes of a pair.
    pub order: ByteOrder,
}

impl Line {
    /// Lines without a border.
    #[must_use]
    pub const fn whole(bytes: u32, lines: u32, order: ByteOrder) -> Self {
        Self { bus_bytes: bytes, bus_lines: lines, first_byte: 0, first_line: 0, bytes, lines, order }
    }

    fn is_valid(&self) -> bool {
        let inside = |first: u32, len: u32, all: u32| len > 0 && first.checked_add(len).is_some_and(|end| end <= all);
        inside(self.first_byte, self.bytes, self.bus_bytes)
            && inside(self.first_line, self.lines, self.bus_lines)
            && (self.order == ByteOrder::AsIs || self.bytes.is_multiple_of(2))
    }
}

/// Why a frame is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RowFault {
    /// A line ended early.
    ShortLine {
        /// Its number on the bus.
        line: u32,
        /// Its bytes.
        found: u32,
    },
    /// A line went on after its last byte.
    LongLine {
        /// Its number on the bus.
        line: u32,
        /// Its bytes.
        found: u32,
    },
    /// The next frame began before all lines had come. That frame can be taken.
    MissingLines {
        /// The lines that came.
        found: u32,
    },
    /// Another line came after the last one: a VSYNC was missed.
    ExtraLine,
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortLine { line, found } => write!(f, "line {line} ended after {found} bytes"),
            Self::LongLine { line, found } => write!(f, "line {line} has {found} bytes"),
            Self::MissingLines { found } => write!(f, "the frame ended after {found} lines"),
            Self::ExtraLine => f.write_str("more lines than a frame has: a VSYNC was missed"),
        }
    }
}

impl core::error::Error for RowFault {}

/// What an edge completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A frame begins.
    FrameStart,
    /// A row of the picture, which [`RowAssembler::row`] has until the next line.
    Row {
        /// Its number, from 0.
        number: u32,
    },
    /// The frame is broken. After [`RowFault::MissingLines`] the next one has begun; after the others nothing comes before the next VSYNC.
    Broken(RowFault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for VSYNC.
    Waiting,
    /// In a frame.
    Frame {
        /// Lines that ended.
        lines: u32,
        /// Bytes of the line so far.
        bytes: u32,
    },
}

/// Puts rows together. It holds one row.
#[derive(Debug)]
pub struct RowAssembler<'b> {
    line: Line,
    row: &'b mut [u8],
    state: State,
}

impl<'b> RowAssembler<'b> {
    /// An assembler that waits for VSYNC; `None` when `row` is shorter than a row of the picture, or the picture does not lie inside the
    /// lines, or an odd number of bytes is to be swapped.
    #[must_use]
    pub fn new(line: Line, row: &'b mut [u8]) -> Option<Self> {
        let row = row.get_mut(..usize::try_from(line.bytes).ok()?)?;
        line.is_valid().then_some(Self { line, row, state: State::Waiting })
    }

    /// What arrives.
    #[must_use]
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// The bytes of the row that was completed last, in the order asked for.
    #[must_use]
    pub const fn row(&self) -> &[u8] {
        self.row
    }

    /// Throws away what came of a frame, and waits for VSYNC.
    pub const fn restart(&mut self) {
        self.state = State::Waiting;
    }

    /// A frame begins: the edge of VSYNC before its first line. The same edge again before any byte is ignored.
    pub const fn vsync(&mut self) -> Option<Output> {
        let before = core::mem::replace(&mut self.state, State::Frame { lines: 0, bytes: 0 });
        match before {
            State::Frame { lines: 0, bytes: 0 } => None,
            State::Frame { lines, .. } if lines < self.line.bus_lines => {
                Some(Output::Broken(RowFault::MissingLines { found: lines }))
            }
            _ => Some(Output::FrameStart),
        }
    }

    /// Bytes of a line, while HREF is active. Of a line that is too long the rest is counted only.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let Line { first_byte, order, .. } = self.line;
        let State::Frame { bytes: count, .. } = &mut self.state else { return };
        let start = *count;
        *count = start.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        // where the piece's first byte goes in the row, and what of the piece lies before the row
        let before = usize::try_from(first_byte.saturating_sub(start)).unwrap_or(usize::MAX);
        let place = usize::try_from(start.saturating_sub(first_byte)).unwrap_or(usize::MAX);
        let (Some(kept), Some(room)) = (bytes.get(before..), self.row.len().checked_sub(place)) else { return };
        match order {
            ByteOrder::AsIs => {
                let kept = kept.get(..room).unwrap_or(kept);
                if let Some(target) = self.row.get_mut(place..).and_then(|row| row.get_mut(..kept.len())) {
                    target.copy_from_slice(kept);
                }
            }
            ByteOrder::Swapped => {
                for (at, &byte) in (place..).zip(kept.iter().take(room)) {
                    if let Some(target) = self.row.get_mut(at ^ 1) {
                        *target = byte;
                    }
                }
            }
        }
    }

    /// A line ends: HREF's falling edge.
    pub fn line_end(&mut self) -> Option<Output> {
        let State::Frame { lines: line, bytes: found } = self.state else { return None };
        let fault = if line >= self.line.bus_lines {
            Some(RowFault::ExtraLine)
        } else if found < self.line.bus_bytes {
            Some(RowFault::ShortLine { line, found })
        } else if found > self.line.bus_bytes {
            Some(RowFault::LongLine { line, found })
        } else {
            None
        };
        if let Some(fault) = fault {
            self.state = State::Waiting;
            return Some(Output::Broken(fault));
        }
        self.state = State::Frame { lines: line + 1, bytes: 0 };
        let number = line.checked_sub(self.line.first_line).filter(|&number| number < self.line.lines)?;
        Some(Output::Row { number })
    }
}

#[cfg(test)]
mod tests;
