//! Transfers as the bus sees them, and fields as the data sheet's table has them.

use super::*;
use crate::registers::{Registers, Waited};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use std::vec;

fn chip() -> Registers<true> {
    Registers::new(&[(0, 0x0000, 0x01), (0, 0x0001, 0xb0), (0, 0x0100, 0x00)])
}

#[test]
fn registers_have_two_address_bytes_and_a_repeated_start() {
    let expected = [
        Transaction::write_read(0x24, vec![0, 0], vec![0x01]),
        Transaction::write_read(0x24, vec![0, 1], vec![0xb0]),
        Transaction::write(0x24, vec![0x01, 0x00, 0x00]),
    ];
    let mut sensor = Hm01b0::new(Mock::new(&expected));
    assert_eq!(sensor.identify(), Ok(0x01b0));
    sensor.standby().unwrap();
    sensor.release().done();
}

#[test]
fn a_chip_that_stays_in_reset_or_is_another_is_refused() {
    let mut stuck = chip();
    stuck.values.insert((0, 0x0100), 1);
    let mut waited = Waited::default();
    let error = Hm01b0::new(stuck).setup(&mut waited, &Setup::DEFAULT).unwrap_err();
    assert_eq!((error, waited.ns), (SensorError::Reset, 100_000_000));
    let mut other = chip();
    other.values.insert((0, 0), 0x03); // an HM0360
    let error = Hm01b0::new(other).setup(&mut Waited::default(), &Setup::DEFAULT).unwrap_err();
    assert_eq!(error, SensorError::WrongChip { found: 0x03b0, expected: 0x01b0 });
}

#[test]
fn fields_say_what_was_asked_for() {
    for (resolution, binned, total) in [(Resolution::Qvga, false, [324, 244]), (Resolution::Qqvga, true, [162, 122])] {
        let flips = Flips { mirror: false, vertical: true };
        let asked =
            Setup { resolution, flips, test_pattern: true, clock: Clock::Half, frame_lines: 300, line_clocks: 400 };
        let mut sensor = Hm01b0::new(chip());
        sensor.setup(&mut Waited::default(), &asked).unwrap();
        let chip = sensor.release();
        let at = |address: u16| chip.get(0, address);
        assert_eq!(chip.log.first(), Some(&(0, 0x0103, 1)), "a reset is the first write");
        assert_eq!(chip.log.last(), Some(&(0, 0x0100, 1)), "streaming is the last");
        assert_eq!([at(0x0383), at(0x0387), at(0x0390)], if binned { [3; 3] } else { [1, 1, 0] });
        assert_eq!(u16::from_be_bytes([at(0x0340), at(0x0341)]), 300);
        assert_eq!(u16::from_be_bytes([at(0x0342), at(0x0343)]), 400);
        assert_eq!([at(0x0101) & 1, at(0x0101) >> 1 & 1], [0, 1], "mirror, flip");
        assert_eq!([at(0x0601) & 1, at(0x0601) >> 4 & 1], [1, 0], "bars");
        assert_eq!([at(0x3059) >> 5 & 3, at(0x3059) & 31], [0, 2], "eight bits");
        assert_eq!(1 << (3 - (at(0x3060) & 3)), 2, "the clock is halved");
        assert_eq!([at(0x3060) >> 2 & 3, at(0x3060) >> 5 & 1], [2, 1], "register clock whole, PCLK gated");
        assert_eq!([at(0x2100), at(0x3010)], [1, 1]);
        let line = asked.line();
        assert_eq!([line.bus_bytes, line.bus_lines], total);
        assert_eq!([line.bytes, line.lines], resolution.size());
    }
}

#[test]
fn the_frame_rate_is_that_of_the_data_sheet() {
    // DS: at most 60 frames a second in QVGA and 120 in QQVGA, with 6 MHz for the pixels
    assert_eq!(Setup::DEFAULT.frames_in_1000_s(24_000_000) / 1000, 61);
    let small = Setup { resolution: Resolution::Qqvga, ..Setup::DEFAULT };
    assert_eq!(small.frames_in_1000_s(24_000_000) / 1000, 120);
    let slow = Setup { frame_lines: 2000, clock: Clock::Eighth, ..Setup::DEFAULT };
    assert_eq!(slow.frames_in_1000_s(24_000_000), 3_000_000_000 / (2000 * 376));
}

#[test]
fn each_step_slower_halves_the_frames_until_there_is_none() {
    for resolution in [Resolution::Qvga, Resolution::Qqvga] {
        let mut setup = Setup { resolution, clock: Clock::Whole, ..Setup::DEFAULT };
        let fastest = setup.frames_in_1000_s(24_000_000);
        let mut steps = 0;
        while setup.slower() {
            steps += 1;
            assert!(setup.frames_in_1000_s(24_000_000).abs_diff(fastest >> steps) <= 1, "step {steps}");
            let registers = setup.registers();
            let at = |address| registers.iter().find(|register| register.0 == address).unwrap().1;
            assert_eq!(at(0x3060) & 3, 3_u8.saturating_sub(steps), "OSC_CLK_DIV");
            let clocks = u16::from_be_bytes([at(0x0342), at(0x0343)]);
            assert_eq!(clocks, 376 << steps.saturating_sub(3), "LINE_LENGTH_PCK");
        }
        assert_eq!(steps, 3 + 4, "a divider of 8, then lines of 16 times the length");
        let slowest = setup;
        assert!(!setup.slower() && setup == slowest);
        // lines that were asked for longer than that are left
        let mut long = Setup { line_clocks: 60_000, clock: Clock::Eighth, ..setup };
        assert!(!long.slower() && long.line_clocks == 60_000);
    }
}
