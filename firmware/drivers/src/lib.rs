//! Drivers for camera sensors, over the traits of embedded-hal 1.0. **Never run on hardware.**
//!
//! | sensor | bus | sizes | formats |
//! | --- | --- | --- | --- |
//! | [OV7670](ov7670) | SCCB, 8-bit parallel | 320x240, 160x120 | RGB565, YUYV |
//! | [OV2640](ov2640) | SCCB, 8-bit parallel | 320x240, 160x120 | RGB565, YUYV, JPEG |
//! | [HM01B0](hm01b0) | I2C, 8-bit parallel | 320x240, 160x120 | gray |
//! | [Arducam Mini 2MP](arducam) (an OV2640) | SCCB, SPI | 320x240, 160x120 | RGB565, YUYV |
//!
//! A driver sets the sensor up through its control bus. The pixels come over the parallel bus, which each chip reads with hardware of its
//! own (PIO on an RP2040, DCMI on an STM32): [`parallel`] makes rows of what that delivers. [`control`] joins the two to a camera that is set up again
//! after a fault and sleeps between turns. [`screens`] shows how the usual displays are
//! connected.
//!
//! # Sources
//! Registers are named and described as in the makers' data sheets, which each module cites. The data sheets may not be passed on, so that
//! they are not here: fields and reset values were compared with public transcriptions of their tables (the register headers of Linux' drivers
//! and of Arduino libraries, Renode's model of the OV2640). The numbers of tables and figures were
//! not compared. Hold them to your own copy before you trust a board to them. A value
//! that no data sheet explains is marked UNDOCUMENTED, with where it is known from. Published tuning tables (colour, lens, noise) are
//! not part of the drivers; each has a `write_table` to send one.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod arducam;
pub mod control;
pub mod hm01b0;
pub mod ov2640;
pub mod ov7670;
pub mod parallel;
pub mod sccb;
pub mod screens;

#[cfg(test)]
mod registers;

use core::fmt;
use ocelli_app::camera::{CameraError, Fault};

/// Size of the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// 320x240.
    Qvga,
    /// 160x120.
    Qqvga,
}

impl Resolution {
    /// Width and height in pixels.
    #[must_use]
    pub const fn size(self) -> [u32; 2] {
        match self {
            Self::Qvga => [320, 240],
            Self::Qqvga => [160, 120],
        }
    }
}

/// How the picture is turned over; both together are a turn by 180 degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flips {
    /// Left becomes right.
    pub mirror: bool,
    /// Top becomes bottom.
    pub vertical: bool,
}

/// Why a sensor is not set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SensorError<E> {
    /// The control bus failed.
    Bus(E),
    /// Another chip answers at this address.
    WrongChip {
        /// The identification that was read.
        found: u16,
        /// That of the sensor.
        expected: u16,
    },
    /// The sensor did not come out of its reset.
    Reset,
}

impl<E> From<E> for SensorError<E> {
    fn from(error: E) -> Self {
        Self::Bus(error)
    }
}

impl<E: fmt::Debug> fmt::Display for SensorError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(error) => {
                write!(f, "the sensor's control bus failed ({error:?}): check wiring, pull-ups and the clock on XCLK")
            }
            Self::WrongChip { found, expected } => {
                write!(f, "another chip answers: identification {found:#06x}, expected {expected:#06x}")
            }
            Self::Reset => f.write_str("the sensor does not come out of its reset: check its power and clock"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for SensorError<E> {}

impl<E> CameraError for SensorError<E> {
    fn fault(&self) -> Fault {
        Fault::Bus
    }
}
