//! Arducam Mini: a camera module with a frame memory of its own, read over SPI. For chips without a parallel port. **Never run on hardware.**
//!
//! The module's sensor (an [OV2640](crate::ov2640) on the Mini 2MP) writes a frame into the module's memory, and the chip reads it from
//! there at its own pace, row by row: SPI at 8 MHz, mode 0, and the sensor's control bus (I2C). So a frame is never stored on the chip, and no row can be lost.
//!
//! Set the sensor up ([`control`](crate::control)) for RGB565 or YUYV, not JPEG, and for the size that is given here.
//!
//! # Source
//! "ArduCAM-M-2MP Camera Shield, 2MP SPI Camera, Hardware Application Note", revision 1.0 (March 2015): its table of registers and the timing
//! of the burst read. That the first byte of a frame's first burst is no pixel is known from the maker's answer in the issue 53 of its
//! repository `ArduCAM/Arduino`; newer modules may do without ([`ArducamSetup::skips_a_byte`]).

use core::fmt;
use embedded_hal::delay::DelayNs;
use embedded_hal::spi::{Operation, SpiDevice};
use ocelli::image::PixelFormat;
use ocelli_app::camera::{Camera, CameraError, Fault};

/// Bit of an address that says that the register is written.
const WRITE: u8 = 0x80;
const TEST: u8 = 0x00; // holds what is written to it
const FIFO_CONTROL: u8 = 0x04; // [0] clears the done flag, [1] starts a capture, [5:4] reset the memory's pointers
const BURST_READ: u8 = 0x3c;
const STATUS: u8 = 0x41; // [3] the frame is in the memory
const FIFO_SIZE: u8 = 0x42; // three bytes, the lowest first, in this and the next two registers; 19 bits

const CLEAR_DONE: u8 = 0x01;
const START: u8 = 0x02;
const RESET_POINTERS: u8 = 0x30;
const DONE: u8 = 0x08;

/// How often the module is asked whether the frame is there.
const POLL_MS: u32 = 2;
/// After this time there is none: the slowest frame of an OV2640 at full size takes 2/15 s.
const MOST_POLLS: u32 = 500;

/// What the module sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArducamSetup {
    /// Layout of the pixels that the sensor is set up for.
    pub format: PixelFormat,
    /// Width and height that the sensor is set up for.
    pub size: [u32; 2],
    /// Whether a byte that is no pixel comes before a frame's first one.
    pub skips_a_byte: bool,
}

/// Why a row could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ArducamError<E> {
    /// The SPI bus failed.
    Bus(E),
    /// The module's test register does not hold what was written: another device, or wrong wiring.
    NoModule {
        /// What was read.
        found: u8,
    },
    /// No frame came: the sensor is not set up or has stopped.
    NoFrame,
    /// The frame has fewer bytes than its size needs.
    Short {
        /// Bytes that there are.
        found: u32,
        /// Bytes that are needed.
        needed: u32,
    },
}

impl<E: fmt::Debug> fmt::Display for ArducamError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(error) => write!(f, "the camera module's SPI bus failed ({error:?})"),
            Self::NoModule { found } => {
                write!(f, "no camera module answers on SPI (read {found:#04x}): check wiring, CS and the clock's speed")
            }
            Self::NoFrame => f.write_str("the camera module has no frame: its sensor does not run"),
            Self::Short { found, needed } => write!(f, "a frame has {found} bytes, its size needs {needed}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for ArducamError<E> {}

impl<E> CameraError for ArducamError<E> {
    fn fault(&self) -> Fault {
        match self {
            Self::Bus(_) | Self::NoModule { .. } => Fault::Bus,
            Self::NoFrame => Fault::SyncLost,
            Self::Short { .. } => Fault::LostFrame,
        }
    }
}

/// A module on an SPI bus.
#[derive(Debug)]
pub struct Arducam<S, D> {
    spi: S,
    delay: D,
    setup: ArducamSetup,
    /// Rows read of the frame in the module's memory; `None` when there is none.
    row: Option<u32>,
    /// The test register has been looked at.
    is_known: bool,
}

impl<S: SpiDevice, D: DelayNs> Arducam<S, D> {
    /// A module whose sensor is set up as `setup` says. Nothing is sent yet.
    pub const fn new(spi: S, delay: D, setup: ArducamSetup) -> Self {
        Self { spi, delay, setup, row: None, is_known: false }
    }

    /// Gives bus and delay back.
    pub fn release(self) -> (S, D) {
        (self.spi, self.delay)
    }

    fn read(&mut self, register: u8) -> Result<u8, ArducamError<S::Error>> {
        let mut bytes = [register, 0];
        self.spi.transfer_in_place(&mut bytes).map_err(ArducamError::Bus)?;
        let [_, value] = bytes;
        Ok(value)
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), ArducamError<S::Error>> {
        self.spi.write(&[register | WRITE, value]).map_err(ArducamError::Bus)
    }

    /// Looks for the module, once.
    fn identify(&mut self) -> Result<(), ArducamError<S::Error>> {
        for value in [0x55, 0xaa] {
            self.write(TEST, value)?;
            let found = self.read(TEST)?;
            if found != value {
                return Err(ArducamError::NoModule { found });
            }
        }
        self.is_known = true;
        Ok(())
    }

    /// Waits for the frame to be in the memory, and checks its length.
    fn wait(&mut self) -> Result<(), ArducamError<S::Error>> {
        let mut polls = 0;
        while self.read(STATUS)? & DONE == 0 {
            polls += 1;
            if polls > MOST_POLLS {
                return Err(ArducamError::NoFrame);
            }
            self.delay.delay_ms(POLL_MS);
        }
        let [low, middle, high] = [self.read(FIFO_SIZE)?, self.read(FIFO_SIZE + 1)?, self.read(FIFO_SIZE + 2)?];
        let found = u32::from_le_bytes([low, middle, high & 0x07, 0]);
        let [width, height] = self.setup.size;
        let needed = u32::try_from(self.setup.format.row_bytes(width) * u64::from(height)).unwrap_or(u32::MAX);
        if found < needed {
            return Err(ArducamError::Short { found, needed });
        }
        Ok(())
    }
}

impl<S: SpiDevice, D: DelayNs> Camera for Arducam<S, D> {
    type Error = ArducamError<S::Error>;

    fn format(&self) -> PixelFormat {
        self.setup.format
    }

    fn size(&self) -> [u32; 2] {
        self.setup.size
    }

    fn begin_frame(&mut self) -> Result<(), Self::Error> {
        self.row = None;
        if !self.is_known {
            self.identify()?;
        }
        self.write(FIFO_CONTROL, CLEAR_DONE)?;
        self.write(FIFO_CONTROL, RESET_POINTERS)?;
        self.write(FIFO_CONTROL, START)?;
        self.wait()?;
        self.row = Some(0);
        Ok(())
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Self::Error> {
        if self.row.is_none() {
            self.begin_frame()?;
        }
        let number = self.row.take().unwrap_or(0);
        let command = &[BURST_READ];
        let result = if number == 0 && self.setup.skips_a_byte {
            let skipped = &mut [0];
            self.spi.transaction(&mut [Operation::Write(command), Operation::Read(skipped), Operation::Read(row)])
        } else {
            self.spi.transaction(&mut [Operation::Write(command), Operation::Read(row)])
        };
        result.map_err(ArducamError::Bus)?;
        self.row = Some(number + 1).filter(|&next| next < self.setup.size[1]);
        Ok(())
    }

    /// Looks for the module again before the next frame.
    fn recover(&mut self, fault: Fault) -> Result<(), Self::Error> {
        self.is_known &= fault == Fault::LostFrame;
        self.row = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
