//! OmniVision's Serial Camera Control Bus over an I2C controller.
//!
//! SCCB is I2C but for three things:
//! - A read has no repeated start: it is a write of the register's address that ends with a stop, then a read of its own. Sensors may
//!   not answer a repeated start, so that `write_read` is not used here.
//! - The ninth bit of a byte is no acknowledge but "don't care". An I2C controller wants it low; the sensors of this crate are known to pull it
//!   low. One that does not cannot be used with an I2C controller: [`Sccb`] then passes on the controller's error.
//! - Only single bytes are read and written.
//!
//! # Source
//! OmniVision, "Serial Camera Control Bus (SCCB) Functional Specification", version 2.2 (26 June 2007), section 3.2, transmission cycles.

use embedded_hal::i2c::I2c;

/// The control bus of a sensor.
#[derive(Debug)]
pub struct Sccb<I> {
    i2c: I,
    address: u8,
}

impl<I: I2c> Sccb<I> {
    /// A bus at a 7-bit address (data sheets give it with the direction bit: 0x42 there is 0x21 here).
    pub const fn new(i2c: I, address: u8) -> Self {
        Self { i2c, address }
    }

    /// Reads a register: two transfers, each with its own stop.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn read(&mut self, register: u8) -> Result<u8, I::Error> {
        let mut value = [0];
        self.i2c.write(self.address, &[register])?;
        self.i2c.read(self.address, &mut value)?;
        let [value] = value;
        Ok(value)
    }

    /// Writes a register.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn write(&mut self, register: u8, value: u8) -> Result<(), I::Error> {
        self.i2c.write(self.address, &[register, value])
    }

    /// Writes registers in their order.
    ///
    /// # Errors
    /// Those of the bus, at the first that fails.
    pub fn write_table(&mut self, table: &[(u8, u8)]) -> Result<(), I::Error> {
        table.iter().try_for_each(|&(register, value)| self.write(register, value))
    }

    /// Sets the bits of `mask` in a register to those of `value`, and keeps the others.
    ///
    /// # Errors
    /// Those of the bus.
    pub fn update(&mut self, register: u8, mask: u8, value: u8) -> Result<(), I::Error> {
        let old = self.read(register)?;
        self.write(register, (old & !mask) | (value & mask))
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.i2c
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::ErrorKind;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use std::vec;

    #[test]
    fn a_read_is_two_transfers_without_a_repeated_start() {
        // `write_read` would be another transaction than these two
        let mock = Mock::new(&[Transaction::write(0x21, vec![0x0a]), Transaction::read(0x21, vec![0x76])]);
        let mut bus = Sccb::new(mock, 0x21);
        assert_eq!(bus.read(0x0a), Ok(0x76));
        bus.release().done();
    }

    #[test]
    fn an_update_keeps_the_other_bits() {
        let mock = Mock::new(&[
            Transaction::write(0x30, vec![0x13]),
            Transaction::read(0x30, vec![0b1010_0101]),
            Transaction::write(0x30, vec![0x13, 0b1010_1001]),
        ]);
        let mut bus = Sccb::new(mock, 0x30);
        bus.update(0x13, 0b0000_1100, 0b1111_1011).unwrap();
        bus.release().done();
    }

    #[test]
    fn an_error_ends_a_table() {
        let failed = Transaction::write(0x30, vec![2, 2]).with_error(ErrorKind::ArbitrationLoss);
        let mock = Mock::new(&[Transaction::write(0x30, vec![1, 1]), failed]);
        let mut bus = Sccb::new(mock, 0x30);
        assert_eq!(bus.write_table(&[(1, 1), (2, 2), (3, 3)]), Err(ErrorKind::ArbitrationLoss));
        bus.release().done();
    }
}
