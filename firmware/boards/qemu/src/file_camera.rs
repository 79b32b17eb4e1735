//! A camera whose rows are read from a file on the host.

use crate::clock::Clock;
use ocelli::image::PixelFormat;
use ocelli_app::bench::{FRAMES_FILE, FramesHeader, HeaderError};
use ocelli_app::camera::Camera;
use semihosting::fs::File;
use semihosting::io::Read;

/// Why the frames file was refused.
#[derive(Clone, Copy, Debug, defmt::Format)]
pub enum OpenError {
    /// It cannot be read.
    Io,
    /// Its head is not valid.
    Header(HeaderError),
}

/// The file could not be read, or ended before its frames did.
#[derive(Clone, Copy, Debug, defmt::Format)]
pub struct ReadError;

/// The open frames file.
pub struct FileCamera {
    file: File,
    header: FramesHeader,
    clock: Clock,
    waited: u32,
}

impl FileCamera {
    /// Opens the file and checks its head.
    pub fn open(clock: Clock) -> Result<Self, OpenError> {
        let mut file = File::open(FRAMES_FILE).map_err(|_| OpenError::Io)?;
        let mut head = [0; FramesHeader::BYTES];
        file.read_exact(&mut head).map_err(|_| OpenError::Io)?;
        let header = FramesHeader::parse(&head).map_err(OpenError::Header)?;
        Ok(Self { file, header, clock, waited: 0 })
    }

    /// Frames in the file.
    pub const fn frames(&self) -> u32 {
        self.header.count
    }

    /// Ticks spent on reading since the last call.
    pub fn take_waited(&mut self) -> u32 {
        core::mem::take(&mut self.waited)
    }
}

impl Camera for FileCamera {
    type Error = ReadError;

    fn format(&self) -> PixelFormat {
        self.header.format
    }

    fn size(&self) -> [u32; 2] {
        [self.header.width, self.header.height]
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), ReadError> {
        let start = self.clock.now();
        let read = self.file.read_exact(row);
        self.waited = self.waited.wrapping_add(self.clock.now().wrapping_sub(start));
        read.map_err(|_| ReadError)
    }
}
