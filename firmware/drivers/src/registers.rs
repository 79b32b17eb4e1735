//! A sensor's registers for the tests: a bus that remembers what was written, as the chip would.

use core::convert::Infallible;
use embedded_hal::i2c::{ErrorType, I2c, Operation};
use std::collections::BTreeMap;
use std::vec::Vec;

/// Registers by bank and address. `WIDE` sensors have addresses of two bytes.
#[derive(Debug, Default)]
pub struct Registers<const WIDE: bool> {
    /// The register that selects the bank, where there is one.
    pub bank_register: Option<u16>,
    /// Values, by bank and address.
    pub values: BTreeMap<(u8, u16), u8>,
    /// What was written, in order: bank, address, value.
    pub log: Vec<(u8, u16, u8)>,
    bank: u8,
    address: u16,
}

impl<const WIDE: bool> Registers<WIDE> {
    /// Registers with values after reset.
    pub fn new(values: &[(u8, u16, u8)]) -> Self {
        let values = values.iter().map(|&(bank, address, value)| ((bank, address), value)).collect();
        Self { values, ..Self::default() }
    }

    /// A register's value; one that was never set is an error of the test.
    pub fn get(&self, bank: u8, address: u16) -> u8 {
        *self.values.get(&(bank, address)).unwrap_or_else(|| panic!("register {bank}:{address:#06x} was never written"))
    }
}

impl<const WIDE: bool> ErrorType for Registers<WIDE> {
    type Error = Infallible;
}

impl<const WIDE: bool> I2c for Registers<WIDE> {
    fn transaction(&mut self, _: u8, operations: &mut [Operation<'_>]) -> Result<(), Infallible> {
        for operation in operations {
            match operation {
                Operation::Write(bytes) => {
                    let split = bytes.split_at(1 + usize::from(WIDE));
                    self.address = split.0.iter().fold(0, |address, &byte| (address << 8) | u16::from(byte));
                    for &value in split.1 {
                        if Some(self.address) == self.bank_register {
                            self.bank = value;
                        } else {
                            self.values.insert((self.bank, self.address), value);
                        }
                        self.log.push((self.bank, self.address, value));
                        self.address += 1;
                    }
                }
                Operation::Read(bytes) => {
                    for byte in bytes.iter_mut() {
                        *byte = self.get(self.bank, self.address);
                        self.address += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A delay that only adds up.
#[derive(Debug, Default)]
pub struct Waited {
    /// Nanoseconds waited.
    pub ns: u64,
}

impl embedded_hal::delay::DelayNs for Waited {
    fn delay_ns(&mut self, ns: u32) {
        self.ns += u64::from(ns);
    }
}
