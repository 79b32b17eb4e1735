//! Transfers as the bus sees them, and fields as the data sheet's table has them.

use super::*;
use crate::registers::{Registers, Waited};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use std::vec;

const SIZES: [(Resolution, u16); 2] = [(Resolution::Qvga, 2), (Resolution::Qqvga, 4)];

fn chip() -> Registers<false> {
    Registers::new(&[(0, 0x0a, 0x76), (0, 0x0b, 0x73)])
}

#[test]
fn another_chip_is_refused_before_anything_is_written() {
    let expected = [
        Transaction::write(0x21, vec![0x0a]),
        Transaction::read(0x21, vec![0x26]), // an OV2640 with the wrong address strap
        Transaction::write(0x21, vec![0x0b]),
        Transaction::read(0x21, vec![0x42]),
    ];
    let mut sensor = Ov7670::new(Mock::new(&expected));
    let error = sensor.setup(&mut NoopDelay::new(), &Setup::DEFAULT).unwrap_err();
    assert_eq!(error, SensorError::WrongChip { found: 0x2642, expected: 0x7673 });
    sensor.release().done();
}

#[test]
fn the_first_write_is_a_reset_and_is_waited_for() {
    let mut sensor = Ov7670::new(chip());
    let mut waited = Waited::default();
    sensor.setup(&mut waited, &Setup::DEFAULT).unwrap();
    assert_eq!(sensor.release().log[0], (0, 0x12, 0x80));
    assert!(waited.ns >= 1_000_000);
}

/// The fields of the data sheet's table, read from the registers as the chip holds them.
#[test]
fn fields_say_what_was_asked_for() {
    for (resolution, scale) in SIZES {
        for format in [Format::Rgb565, Format::Yuyv] {
            let flips = Flips { mirror: true, vertical: false };
            let asked = Setup { resolution, format, flips, test_pattern: true, pll: Pll::X6, divider: 12 };
            let mut sensor = Ov7670::new(chip());
            sensor.setup(&mut Waited::default(), &asked).unwrap();
            let chip = sensor.release();
            let field =
                |address: u16, high: u8, low: u8| (chip.get(0, address) >> low) & (u8::MAX >> (7 - (high - low)));
            let rgb = u8::from(format == Format::Rgb565);
            assert_eq!([field(0x12, 2, 2), field(0x12, 0, 0)], [rgb, 0], "COM7: RGB or YUV, not raw");
            assert_eq!(field(0x12, 5, 3), 0, "COM7: none of the fixed sizes");
            assert_eq!(field(0x40, 5, 4), rgb, "COM15: RGB565");
            assert_eq!(field(0x40, 7, 6), 3, "COM15: full range");
            assert_eq!(field(0x8c, 1, 1), 0, "RGB444 off");
            assert_eq!([field(0x3a, 3, 3), field(0x3d, 0, 0)], [0, 0], "TSLB, COM13: Y U Y V");
            assert_eq!(field(0x3a, 0, 0), 0, "TSLB: manual window");
            assert_eq!(field(0x0c, 3, 2), 1, "COM3: DCW without scaling");
            assert_eq!(field(0x3e, 4, 3), 3, "COM14: DCW clock, manual");
            for power in [field(0x3e, 2, 0), field(0x72, 5, 4), field(0x72, 1, 0), field(0x73, 2, 0)] {
                assert_eq!(1 << power, scale, "640x480 is downsampled by {scale}");
            }
            assert_eq!([640 / u32::from(scale), 480 / u32::from(scale)], resolution.size());
            let column = |high: u16, low: u8| u16::from(chip.get(0, high)) << 3 | u16::from(low);
            let (start, end) = (column(0x17, field(0x32, 2, 0)), column(0x18, field(0x32, 5, 3)));
            assert_eq!((end + 784 - start) % 784, 640, "HSTART to HSTOP");
            let line = |high: u16, low: u8| u16::from(chip.get(0, high)) << 2 | u16::from(low);
            assert_eq!(line(0x1a, field(0x03, 3, 2)) - line(0x19, field(0x03, 1, 0)), 480, "VSTRT to VSTOP");
            assert_eq!([field(0x1e, 5, 5), field(0x1e, 4, 4)], [1, 0], "MVFP");
            assert_eq!([field(0x70, 7, 7), field(0x71, 7, 7)], [0, 1], "colour bars");
            assert_eq!([field(0x6b, 7, 6), field(0x11, 5, 0)], [2, 11], "DBLV times 6, CLKRC by 12");
            assert_eq!(field(0x09, 4, 4), 0, "COM2: awake");
            // reserved bits that are set after reset stay
            assert_eq!([field(0x11, 7, 7), field(0x3a, 2, 1), field(0x6b, 3, 0), field(0x3d, 3, 3)], [1, 2, 10, 1]);
        }
    }
}

#[test]
fn the_frame_rate_is_that_of_the_data_sheet() {
    // DS: 30 frames a second with 24 MHz
    assert_eq!(Setup::DEFAULT.frames_in_1000_s(24_000_000) / 1000, 30);
    assert_eq!(Setup { divider: 2, ..Setup::DEFAULT }.frames_in_1000_s(24_000_000) / 1000, 15);
    assert_eq!(Setup { pll: Pll::X4, divider: 4, ..Setup::DEFAULT }.frames_in_1000_s(24_000_000) / 1000, 30);
    assert_eq!(Setup { divider: 0, ..Setup::DEFAULT }.registers()[0], (0x11, 0x80));
    assert_eq!(Setup { divider: 200, ..Setup::DEFAULT }.registers()[0], (0x11, 0xbf));
}

#[test]
fn single_settings_keep_their_registers_other_bits() {
    let mut sensor = Ov7670::new(chip());
    sensor.setup(&mut Waited::default(), &Setup::DEFAULT).unwrap();
    sensor.lock_exposure(true).unwrap();
    sensor.set_flips(Flips { mirror: false, vertical: true }).unwrap();
    sensor.set_test_pattern(true).unwrap();
    sensor.standby().unwrap();
    let mut chip = sensor.release();
    let changed = [(0x13, 0x8a), (0x1e, 0x11), (0x70, 0x3a), (0x71, 0xb5), (0x09, 0x11)];
    assert_eq!(changed.map(|(address, _)| chip.get(0, address)), changed.map(|(_, value)| value));
    chip.log.clear();
    let mut sensor = Ov7670::new(chip);
    sensor.lock_exposure(false).unwrap();
    sensor.wake().unwrap();
    sensor.set_test_pattern(false).unwrap();
    assert_eq!(sensor.release().log, [(0, 0x13, 0x8f), (0, 0x09, 0x01), (0, 0x70, 0x3a), (0, 0x71, 0x35)]);
}
