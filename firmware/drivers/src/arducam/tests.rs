//! Expected transfers on a mocked SPI bus, byte by byte as the application note draws them.

use super::*;
use embedded_hal::spi::ErrorKind;
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::spi::{Mock, Transaction};
use std::vec;
use std::vec::Vec;

const SETUP: ArducamSetup = ArducamSetup { format: PixelFormat::Rgb565, size: [2, 3], skips_a_byte: true };

fn chip_selected(transfers: Vec<Transaction<u8>>) -> Vec<Transaction<u8>> {
    [vec![Transaction::transaction_start()], transfers, vec![Transaction::transaction_end()]].concat()
}

fn read(register: u8, value: u8) -> Vec<Transaction<u8>> {
    chip_selected(vec![Transaction::transfer_in_place(vec![register, 0], vec![0, value])])
}

fn write(register: u8, value: u8) -> Vec<Transaction<u8>> {
    chip_selected(vec![Transaction::write_vec(vec![register | 0x80, value])])
}

fn identified() -> Vec<Transaction<u8>> {
    [write(0, 0x55), read(0, 0x55), write(0, 0xaa), read(0, 0xaa)].concat()
}

/// A capture that is done at the third look, with a memory of `bytes`.
fn captured(bytes: u32) -> Vec<Transaction<u8>> {
    let [low, middle, high, _] = bytes.to_le_bytes();
    let start = [write(4, 0x01), write(4, 0x30), write(4, 0x02)].concat();
    let looks = [read(0x41, 0x00), read(0x41, 0x01), read(0x41, 0x08)].concat();
    [start, looks, read(0x42, low), read(0x43, middle), read(0x44, high)].concat()
}

fn burst(skips: bool, bytes: [u8; 4]) -> Vec<Transaction<u8>> {
    let skipped = skips.then(|| Transaction::read_vec(vec![0xee]));
    let row = Transaction::read_vec(bytes.to_vec());
    chip_selected([Transaction::write_vec(vec![0x3c])].into_iter().chain(skipped).chain([row]).collect())
}

#[test]
fn a_frame_is_captured_and_read_row_by_row_and_the_next_row_captures_another() {
    let frame = [burst(true, [1, 2, 3, 4]), burst(false, [5, 6, 7, 8]), burst(false, [9, 10, 11, 12])].concat();
    let again = [captured(20), burst(true, [13, 14, 15, 16])].concat();
    let expected = [identified(), captured(12), frame, again].concat();
    let mut camera = Arducam::new(Mock::new(&expected), NoopDelay::new(), SETUP);
    let mut rows = vec![];
    for _ in 0..4 {
        let mut row = [0; 4];
        camera.next_row(&mut row).unwrap();
        rows.extend(row);
    }
    assert_eq!(rows, (1..=16).collect::<Vec<u8>>());
    camera.release().0.done();
}

#[test]
fn a_module_without_the_extra_byte_is_read_from_the_first() {
    let expected = [identified(), captured(12), burst(false, [1, 2, 3, 4])].concat();
    let setup = ArducamSetup { skips_a_byte: false, ..SETUP };
    let mut camera = Arducam::new(Mock::new(&expected), NoopDelay::new(), setup);
    camera.next_row(&mut [0; 4]).unwrap();
    camera.release().0.done();
}

#[test]
fn a_short_frame_is_lost_and_a_missing_module_is_said() {
    let expected = [identified(), captured(11), captured(12)].concat();
    let mut camera = Arducam::new(Mock::new(&expected), NoopDelay::new(), SETUP);
    let error = camera.begin_frame().unwrap_err();
    assert_eq!((error, error.fault()), (ArducamError::Short { found: 11, needed: 12 }, Fault::LostFrame));
    camera.recover(error.fault()).unwrap();
    camera.begin_frame().unwrap();
    camera.release().0.done();

    let mut camera = Arducam::new(Mock::new(&[write(0, 0x55), read(0, 0xff)].concat()), NoopDelay::new(), SETUP);
    let error = camera.begin_frame().unwrap_err();
    assert_eq!((error, error.fault()), (ArducamError::NoModule { found: 0xff }, Fault::Bus));
    camera.release().0.done();
}

/// Answers every read with the same byte, and looks for the module's test register.
struct Stuck(u8);

impl embedded_hal::spi::ErrorType for Stuck {
    type Error = ErrorKind;
}

impl SpiDevice for Stuck {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), ErrorKind> {
        for operation in operations {
            match operation {
                Operation::Write([0x80, value]) => self.0 = *value,
                Operation::TransferInPlace([register, value]) => *value = if *register == 0 { self.0 } else { 0 },
                _ => {}
            }
        }
        Ok(())
    }
}

#[test]
fn a_sensor_that_does_not_run_is_given_up_after_a_second() {
    let waited = crate::registers::Waited::default();
    let mut camera = Arducam::new(Stuck(0), waited, SETUP);
    let error = camera.next_row(&mut [0; 4]).unwrap_err();
    assert_eq!((error, error.fault()), (ArducamError::NoFrame, Fault::SyncLost));
}
