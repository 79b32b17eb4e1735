//! Buses and pins that take everything and do nothing, for examples and for boards without a screen. What was sent is counted.

use core::convert::Infallible;
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::i2c::{self, Operation};
use embedded_hal::spi::{self, SpiBus};

/// An SPI bus.
#[derive(Clone, Debug, Default)]
pub struct Spi {
    /// Bytes that were sent.
    pub bytes: u64,
}

impl spi::ErrorType for Spi {
    type Error = Infallible;
}

impl Spi {
    const fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

impl SpiBus for Spi {
    fn read(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        words.fill(0);
        self.count(words.len());
        Ok(())
    }

    fn write(&mut self, words: &[u8]) -> Result<(), Infallible> {
        self.count(words.len());
        Ok(())
    }

    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Infallible> {
        read.fill(0);
        self.count(write.len());
        Ok(())
    }

    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        self.count(words.len());
        words.fill(0);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// An I2C bus on which every address answers.
#[derive(Clone, Debug, Default)]
pub struct I2c {
    /// Bytes that were sent.
    pub bytes: u64,
}

impl i2c::ErrorType for I2c {
    type Error = Infallible;
}

impl i2c::I2c for I2c {
    fn transaction(&mut self, _: u8, operations: &mut [Operation<'_>]) -> Result<(), Infallible> {
        for operation in operations {
            match operation {
                Operation::Write(bytes) => self.bytes = self.bytes.saturating_add(bytes.len() as u64),
                Operation::Read(bytes) => bytes.fill(0),
            }
        }
        Ok(())
    }
}

/// An output pin that is not connected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pin;

impl digital::ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
