//! A `Camera` over the parallel bus.

use super::{Output, RowAssembler, RowFault};
use core::fmt;
use ocelli::image::PixelFormat;
use ocelli_app::camera::{Camera, CameraError, Fault};

/// What comes over the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusEvent<'b> {
    /// A frame begins.
    Vsync,
    /// Bytes of a line.
    Bytes(&'b [u8]),
    /// A line ends.
    LineEnd,
}

/// The chip's side of the bus: a PIO program, a DCMI, a timer with DMA. A board writes this.
pub trait BusSource {
    /// Why nothing comes.
    type Error;

    /// Waits for what comes next. It must not wait for ever: a source whose sensor stopped says so by an error of the kind
    /// [`Fault::SyncLost`].
    ///
    /// # Errors
    /// When the bus failed, lost bytes, or nothing came in time.
    fn next(&mut self) -> Result<BusEvent<'_>, Self::Error>;
}

/// Why a row could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ParallelError<E> {
    /// The bus failed.
    Bus(E),
    /// The frame is broken.
    Frame(RowFault),
    /// The row asked for has another length than the picture's.
    RowLength,
}

impl<E: fmt::Display> fmt::Display for ParallelError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(error) => error.fmt(f),
            Self::Frame(fault) => fault.fmt(f),
            Self::RowLength => f.write_str("the row asked for has another length than the picture's"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ParallelError<E> {}

impl<E: CameraError> CameraError for ParallelError<E> {
    fn fault(&self) -> Fault {
        match self {
            Self::Bus(error) => error.fault(),
            Self::Frame(_) => Fault::LostFrame,
            Self::RowLength => Fault::Ended, // another frame would not help
        }
    }
}

/// Frames from a bus.
#[derive(Debug)]
pub struct ParallelCamera<'b, S> {
    source: S,
    rows: RowAssembler<'b>,
    format: PixelFormat,
    width: u32,
    /// A VSYNC was seen and nothing after it.
    at_start: bool,
}

impl<'b, S: BusSource> ParallelCamera<'b, S> {
    /// A camera of frames `width` pixels wide; `None` where that is not the length of the assembler's rows.
    pub fn new(source: S, rows: RowAssembler<'b>, format: PixelFormat, width: u32) -> Option<Self> {
        let fits = format.row_bytes(width) == u64::from(rows.line().bytes);
        fits.then_some(Self { source, rows, format, width, at_start: false })
    }

    /// The bus, for its counters.
    pub const fn source(&self) -> &S {
        &self.source
    }

    fn next_output(&mut self) -> Result<Output, ParallelError<S::Error>> {
        loop {
            let output = match self.source.next() {
                Ok(BusEvent::Vsync) => self.rows.vsync(),
                Ok(BusEvent::LineEnd) => self.rows.line_end(),
                Ok(BusEvent::Bytes(bytes)) => {
                    self.rows.bytes(bytes);
                    None
                }
                Err(error) => {
                    self.rows.restart(); // bytes may be missing
                    return Err(ParallelError::Bus(error));
                }
            };
            if let Some(output) = output {
                return Ok(output);
            }
        }
    }
}

impl<S: BusSource> Camera for ParallelCamera<'_, S> {
    type Error = ParallelError<S::Error>;

    fn format(&self) -> PixelFormat {
        self.format
    }

    fn size(&self) -> [u32; 2] {
        [self.width, self.rows.line().lines]
    }

    fn begin_frame(&mut self) -> Result<(), Self::Error> {
        if self.at_start {
            return Ok(());
        }
        self.rows.restart();
        loop {
            if self.next_output()? == Output::FrameStart {
                self.at_start = true;
                return Ok(());
            }
        }
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Self::Error> {
        self.at_start = false;
        loop {
            match self.next_output()? {
                Output::Row { .. } => break,
                Output::FrameStart => {} // the frame before was whole
                Output::Broken(fault) => {
                    self.at_start = matches!(fault, RowFault::MissingLines { .. });
                    return Err(ParallelError::Frame(fault));
                }
            }
        }
        let done = self.rows.row();
        if row.len() != done.len() {
            return Err(ParallelError::RowLength);
        }
        row.copy_from_slice(done);
        Ok(())
    }
}
