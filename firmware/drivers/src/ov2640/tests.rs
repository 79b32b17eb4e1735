//! Transfers as the bus sees them, and fields as the data sheet's lists and Renode's model have them.

use super::*;
use crate::registers::{Registers, Waited};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use std::vec;

fn chip() -> Registers<false> {
    let mut chip = Registers::new(&[(1, 0x0a, 0x26), (1, 0x0b, 0x41)]);
    chip.bank_register = Some(0xff);
    chip
}

fn set_up(setup: &Setup) -> Registers<false> {
    let mut sensor = Ov2640::new(chip());
    sensor.setup(&mut Waited::default(), setup).unwrap();
    sensor.release()
}

#[test]
fn the_identification_is_read_in_the_sensors_bank() {
    let expected = [
        Transaction::write(0x30, vec![0xff, 0x01]),
        Transaction::write(0x30, vec![0x0a]),
        Transaction::read(0x30, vec![0x26]),
        Transaction::write(0x30, vec![0x0b]),
        Transaction::read(0x30, vec![0x42]),
    ];
    let mut sensor = Ov2640::new(Mock::new(&expected));
    assert_eq!(sensor.identify(), Ok(0x2642));
    sensor.release().done();
}

#[test]
fn another_chip_is_refused_before_its_reset() {
    let mut other = chip();
    other.values.insert((1, 0x0a), 0x76);
    let mut sensor = Ov2640::new(other);
    let error = sensor.setup(&mut Waited::default(), &Setup::DEFAULT).unwrap_err();
    assert_eq!(error, SensorError::WrongChip { found: 0x7641, expected: 0x2642 });
    assert_eq!(sensor.release().log, [(1, 0xff, 1)]);
}

#[test]
fn a_reset_in_the_sensors_bank_comes_first() {
    let log = set_up(&Setup::DEFAULT).log;
    assert_eq!(log[..2], [(1, 0xff, 1), (1, 0x12, 0x80)]);
}

/// Fields as Renode's model of the chip reads them (`OV2640.cs`), and as the data sheet gives their units.
#[test]
fn fields_say_what_was_asked_for() {
    for resolution in [Resolution::Qvga, Resolution::Qqvga] {
        for (output, format, jpeg) in [(Output::Rgb565, 2, 0), (Output::Yuyv, 0, 0), (Output::Jpeg { scale: 12 }, 0, 1)]
        {
            let flips = Flips { mirror: true, vertical: true };
            let asked = Setup { resolution, output, flips, test_pattern: true, divider: 3, pclk_divider: 8 };
            let chip = set_up(&asked);
            let p = |address: u16| u32::from(chip.get(0, address));
            let s = |address: u16| u32::from(chip.get(1, address));
            let out = [((p(0x5c) & 3) << 8 | p(0x5a)) * 4, ((p(0x5c) >> 2 & 1) << 8 | p(0x5b)) * 4];
            assert_eq!(out, resolution.size());
            assert_eq!([p(0xda) >> 2 & 3, p(0xda) >> 4 & 1], [format, jpeg], "IMAGE_MODE");
            assert_eq!(p(0xda) & 1, u32::from(output == Output::Rgb565), "low byte first for RGB565 only");
            // [3] YUV422, [2] YUV, [1] RGB, [0] raw, as Linux' ov2640.c names the bits: without the second RGB565 has no pixels
            assert_eq!([3, 2, 1, 0].map(|bit| p(0xc2) >> bit & 1), [1, 1, 1, 0], "CTRL0");
            assert_eq!(p(0xc2) >> 4, 0, "CTRL0: the line order and statistics of the reset");
            assert_eq!(p(0x44), 12, "QS");
            assert_eq!(s(0x12) >> 4 & 7, 4, "COM7: SVGA");
            assert_eq!(s(0x12) >> 1 & 1, 1, "COM7: colour bars");
            assert_eq!(s(0x12) >> 7, 0, "COM7: no reset at the end");
            assert_eq!([p(0xc0) * 8, p(0xc1) * 8], [800, 600], "HSIZE8, VSIZE8");
            let taken = [p(0x51) * 4, p(0x52) * 4];
            assert_eq!(taken, [800, 600], "HSIZE, VSIZE");
            let divided = [taken[0] >> (p(0x50) & 7), taken[1] >> (p(0x50) >> 3 & 7)];
            assert!(divided[0] >= out[0] && divided[1] >= out[1], "the scaler only shrinks");
            assert_eq!(divided[0] * out[1], divided[1] * out[0], "the aspect is kept");
            assert_eq!([s(0x04) >> 7, s(0x04) >> 6 & 1, s(0x04) >> 5 & 1], [1, 1, 1], "REG04");
            assert_eq!(s(0x11) & 63, 2, "CLKRC: divided by 3");
            assert_eq!(p(0xd3), 0x88, "R_DVP_SP");
            assert_eq!([p(0xe0), p(0x05)], [0, 0], "out of reset, through the processor");
        }
    }
}

#[test]
fn single_settings_keep_their_registers_other_bits() {
    let mut sensor = Ov2640::new(set_up(&Setup::DEFAULT));
    sensor.write_table(&[(0, 0xda, 0x09)]).unwrap(); // the other bank is selected now
    sensor.lock_exposure(true).unwrap();
    sensor.set_flips(Flips { mirror: true, vertical: false }).unwrap();
    sensor.set_test_pattern(true).unwrap();
    sensor.standby().unwrap();
    let chip = sensor.release();
    assert_eq!([0x13, 0x04, 0x12, 0x09].map(|address| chip.get(1, address)), [0xe0, 0xa0, 0x42, 0x12]);
    let mut sensor = Ov2640::new(chip);
    sensor.lock_exposure(false).unwrap();
    sensor.set_flips(Flips::default()).unwrap();
    sensor.set_test_pattern(false).unwrap();
    sensor.wake().unwrap();
    let chip = sensor.release();
    assert_eq!([0x13, 0x04, 0x12, 0x09].map(|address| chip.get(1, address)), [0xe5, 0x20, 0x40, 0x02]);
}
