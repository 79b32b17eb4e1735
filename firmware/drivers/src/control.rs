//! A camera whose sensor is set up again after a fault, and sleeps between turns.
//!
//! The pixels come by one way (DMA, SPI, a [`ParallelCamera`](crate::parallel::ParallelCamera)), the settings go by another (I2C). [`Controlled`] is both:
//! `wake`, `standby` and `recover` of `Camera` reach the sensor.

mod paced;

pub use paced::Paced;

use crate::SensorError;
use crate::hm01b0::{self, Hm01b0};
use crate::ov2640::{self, Ov2640};
use crate::ov7670::{self, Ov7670};
use core::fmt;
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use ocelli::image::PixelFormat;
use ocelli_app::camera::{Camera, CameraError, Fault};

/// A sensor's control bus, whatever the sensor.
pub trait Control {
    /// Why a command failed.
    type Error;

    /// Resets the sensor and sets it up.
    ///
    /// # Errors
    /// When the sensor does not answer or is another one.
    fn restore(&mut self) -> Result<(), Self::Error>;

    /// Sends the sensor to sleep.
    ///
    /// # Errors
    /// When the sensor does not answer.
    fn standby(&mut self) -> Result<(), Self::Error>;

    /// Wakes the sensor.
    ///
    /// # Errors
    /// When the sensor does not answer.
    fn wake(&mut self) -> Result<(), Self::Error>;

    /// Asks for half as many frames a second at the next [`restore`](Self::restore); `false` when there are no fewer.
    fn slower(&mut self) -> bool {
        false
    }
}

/// The largest divider of a sensor's clock.
const SLOWEST: u8 = 64;

/// Doubles a divider of a sensor's clock, if it is not at its largest.
fn double(divider: &mut u8) -> bool {
    let before = (*divider).max(1);
    *divider = before.saturating_mul(2).min(SLOWEST);
    *divider > before
}

/// A sensor, what is asked of it, and the delay for its reset.
#[derive(Debug)]
pub struct Configured<S, P, D> {
    /// The sensor.
    pub sensor: S,
    /// What is asked of it at every [`Control::restore`].
    pub setup: P,
    /// Waits for its reset.
    pub delay: D,
}

impl<I: I2c, D: DelayNs> Control for Configured<Ov7670<I>, ov7670::Setup, D> {
    type Error = SensorError<I::Error>;

    fn restore(&mut self) -> Result<(), Self::Error> {
        self.sensor.setup(&mut self.delay, &self.setup)
    }

    fn standby(&mut self) -> Result<(), Self::Error> {
        self.sensor.standby()
    }

    fn wake(&mut self) -> Result<(), Self::Error> {
        self.sensor.wake()
    }

    fn slower(&mut self) -> bool {
        double(&mut self.setup.divider)
    }
}

impl<I: I2c, D: DelayNs> Control for Configured<Ov2640<I>, ov2640::Setup, D> {
    type Error = SensorError<I::Error>;

    fn restore(&mut self) -> Result<(), Self::Error> {
        self.sensor.setup(&mut self.delay, &self.setup)
    }

    fn standby(&mut self) -> Result<(), Self::Error> {
        self.sensor.standby()
    }

    fn wake(&mut self) -> Result<(), Self::Error> {
        self.sensor.wake()
    }

    fn slower(&mut self) -> bool {
        double(&mut self.setup.divider)
    }
}

impl<I: I2c, D: DelayNs> Control for Configured<Hm01b0<I>, hm01b0::Setup, D> {
    type Error = SensorError<I::Error>;

    fn restore(&mut self) -> Result<(), Self::Error> {
        self.sensor.setup(&mut self.delay, &self.setup)
    }

    fn standby(&mut self) -> Result<(), Self::Error> {
        self.sensor.standby()
    }

    fn wake(&mut self) -> Result<(), Self::Error> {
        self.sensor.wake()
    }

    fn slower(&mut self) -> bool {
        self.setup.slower()
    }
}

/// Why a controlled camera failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ControlledError<R, C> {
    /// The rows.
    Rows(R),
    /// The control bus.
    Control(C),
}

impl<R: fmt::Display, C: fmt::Display> fmt::Display for ControlledError<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(error) => error.fmt(f),
            Self::Control(error) => error.fmt(f),
        }
    }
}

impl<R: fmt::Debug + fmt::Display, C: fmt::Debug + fmt::Display> core::error::Error for ControlledError<R, C> {}

impl<R: CameraError, C: CameraError> CameraError for ControlledError<R, C> {
    fn fault(&self) -> Fault {
        match self {
            Self::Rows(error) => error.fault(),
            Self::Control(error) => error.fault(),
        }
    }
}

/// A source of rows and the control of its sensor.
#[derive(Debug)]
pub struct Controlled<R, C> {
    /// The rows.
    pub rows: R,
    /// The control bus.
    pub control: C,
}

impl<R: Camera, C: Control> Camera for Controlled<R, C> {
    type Error = ControlledError<R::Error, C::Error>;

    fn format(&self) -> PixelFormat {
        self.rows.format()
    }

    fn size(&self) -> [u32; 2] {
        self.rows.size()
    }

    fn begin_frame(&mut self) -> Result<(), Self::Error> {
        self.rows.begin_frame().map_err(ControlledError::Rows)
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Self::Error> {
        self.rows.next_row(row).map_err(ControlledError::Rows)
    }

    /// After a single broken frame the sensor is left alone; one that stopped or whose bus failed is reset and set up again.
    fn recover(&mut self, fault: Fault) -> Result<(), Self::Error> {
        if matches!(fault, Fault::SyncLost | Fault::Bus) {
            self.control.restore().map_err(ControlledError::Control)?;
        }
        self.rows.recover(fault).map_err(ControlledError::Rows)
    }

    fn wake(&mut self) -> Result<(), Self::Error> {
        self.control.wake().map_err(ControlledError::Control)?;
        self.rows.wake().map_err(ControlledError::Rows)
    }

    fn standby(&mut self) -> Result<(), Self::Error> {
        self.rows.standby().map_err(ControlledError::Rows)?;
        self.control.standby().map_err(ControlledError::Control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::{Registers, Waited};
    use std::vec;
    use std::vec::Vec;

    /// Rows that fail with the given faults, in turn, before they come.
    struct Rows(Vec<Fault>);

    impl Camera for Rows {
        type Error = Fault;

        fn format(&self) -> PixelFormat {
            PixelFormat::Gray8
        }

        fn size(&self) -> [u32; 2] {
            [320, 240]
        }

        fn next_row(&mut self, _: &mut [u8]) -> Result<(), Fault> {
            if self.0.is_empty() { Ok(()) } else { Err(self.0.remove(0)) }
        }
    }

    #[test]
    fn a_sensor_that_stopped_is_set_up_again_and_one_that_lost_a_frame_is_not() {
        let chip = Registers::<true>::new(&[(0, 0, 0x01), (0, 1, 0xb0), (0, 0x0100, 0)]);
        let control = Configured { sensor: Hm01b0::new(chip), setup: hm01b0::Setup::DEFAULT, delay: Waited::default() };
        let mut camera = Controlled { rows: Rows(vec![Fault::LostFrame, Fault::SyncLost]), control };
        let mut resets = vec![];
        for _ in 0..3 {
            if let Err(error) = camera.next_row(&mut [0; 320]) {
                camera.recover(error.fault()).unwrap();
            }
            camera.standby().unwrap();
            let Configured { sensor, setup, delay } = camera.control;
            let mut chip = sensor.release();
            assert_eq!(chip.get(0, 0x0100), 0, "standby");
            resets.push(chip.log.iter().filter(|&&write| write == (0, 0x0103, 1)).count());
            chip.log.clear();
            camera.control = Configured { sensor: Hm01b0::new(chip), setup, delay };
        }
        assert_eq!(resets, [0, 1, 0]);
        camera.wake().unwrap();
        assert_eq!(camera.control.sensor.release().get(0, 0x0100), 1);
    }

    #[test]
    fn a_sensor_that_does_not_answer_is_a_fault_of_the_bus() {
        let other = Registers::<false>::new(&[(0, 0x0a, 0), (0, 0x0b, 0)]);
        let control =
            Configured { sensor: Ov7670::new(other), setup: ov7670::Setup::DEFAULT, delay: Waited::default() };
        let mut camera = Controlled { rows: Rows(vec![]), control };
        let error = camera.recover(Fault::Bus).unwrap_err();
        assert_eq!(error.fault(), Fault::Bus);
        assert_eq!(error, ControlledError::Control(SensorError::WrongChip { found: 0, expected: 0x7673 }));
    }
}
