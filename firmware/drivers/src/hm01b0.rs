//! Himax HM01B0: gray, 320x320, of about a milliwatt, parallel or serial. **Never run on hardware.**
//!
//! Wiring: SCL, SDA to I2C; MCLK a clock of 3 to 36 MHz (24 MHz with [`Setup::DEFAULT`]); D0 to D7, PCLKO, LVLD (as HREF), FVLD (as VSYNC, high
//! during a frame: its rising edge is the frame's start) to the chip's parallel port. Modules that bring out D0 only use the one-bit mode, which
//! this driver does not set.
//!
//! The sensor sends a border on every side (324x244 and 162x122 pixels): [`line`](Setup::line) tells [`parallel`](crate::parallel) to cut it off.
//!
//! # Source
//! Himax, "HM01B0 Ultra Low Power CIS" data sheet (HM01B0-MNA), its register table; here "DS". Fields were compared with Himax' published
//! initialization scripts and with OpenMV's driver; Himax' analog settings (0x3044 to 0x3058 and others, which DS calls reserved) are not here, send
//! them with [`Hm01b0::write_table`].

use crate::parallel::{ByteOrder, Line};
use crate::{Flips, Resolution, SensorError};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

/// The 7-bit address.
pub const ADDRESS: u8 = 0x24;
/// Frames until the automatic exposure follows a new scene. DS gives no figure; this is a guess to begin with.
pub const SETTLE_FRAMES: u32 = 8;
const IDENTIFICATION: u16 = 0x01b0;
/// Tries of a reset, each a millisecond.
const RESET_TRIES: u32 = 100;

// DS, register table.
const MODEL_ID: u16 = 0x0000; // two bytes
const MODE_SELECT: u16 = 0x0100; // [2:0] 0: standby, 1: streaming
const IMAGE_ORIENTATION: u16 = 0x0101; // [0] mirror, [1] vertical flip
const SW_RESET: u16 = 0x0103;
const GRP_PARAM_HOLD: u16 = 0x0104; // 1: what was written takes effect at the next frame
const FRAME_LENGTH_LINES: u16 = 0x0340; // two bytes
const LINE_LENGTH_PCK: u16 = 0x0342; // two bytes
const READOUT_X: u16 = 0x0383; // 1: every column, 3: binned
const READOUT_Y: u16 = 0x0387;
const BINNING_MODE: u16 = 0x0390; // [1] columns, [0] lines
const TEST_PATTERN_MODE: u16 = 0x0601; // [4] 0: colour bars, 1: walking ones; [0] on
const AE_CTRL: u16 = 0x2100; // [0] automatic exposure
const QVGA_WIN_EN: u16 = 0x3010; // [0] 324x244 of the 324x324 pixels
const BIT_CONTROL: u16 = 0x3059; // [7] own oscillator, [6] 4 bits, [5] 1 bit, else 8; [4:0] keep as 0x02
const OSC_CLK_DIV: u16 = 0x3060; // [5] PCLK only with data, [4] MSB first, [3:2] register clock, [1:0] pixel clock

/// UNDOCUMENTED (a reserved analog register): 0 takes the clock from MCLK instead of the sensor's oscillator. Known from Himax' scripts and
/// OpenMV's driver.
const UNDOCUMENTED_CLOCK: (u16, u8) = (0x3067, 0x00);

/// How MCLK is divided for the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// By 8.
    Eighth,
    /// By 4.
    Quarter,
    /// By 2.
    Half,
    /// As it is.
    Whole,
}

impl Clock {
    const fn divider_and_code(self) -> (u32, u8) {
        match self {
            Self::Eighth => (8, 0),
            Self::Quarter => (4, 1),
            Self::Half => (2, 2),
            Self::Whole => (1, 3),
        }
    }
}

/// What is asked of the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Size of the frames, without the border.
    pub resolution: Resolution,
    /// Turned over.
    pub flips: Flips,
    /// Bars instead of the picture.
    pub test_pattern: bool,
    /// The pixels' clock.
    pub clock: Clock,
    /// Lines from one frame to the next: more make it slower. Fewer than the size's least are taken as that.
    pub frame_lines: u16,
    /// The pixels' clocks from one line to the next: more give the receiver more time for each. Fewer than the size's least are taken as that.
    pub line_clocks: u16,
}

/// How much longer than the least a line is made by [`Setup::slower`]. The register would take more (16 bits); DS gives no limit. With 24 MHz
/// on MCLK and the slowest clock a frame of QVGA then takes half a second.
const LONGEST_LINE: u16 = 16;

impl Setup {
    /// QVGA, as fast as MCLK divided by 4 allows: 61 frames a second with 24 MHz.
    pub const DEFAULT: Self = Self {
        resolution: Resolution::Qvga,
        flips: Flips { mirror: false, vertical: false },
        test_pattern: false,
        clock: Clock::Quarter,
        frame_lines: 0,
        line_clocks: 0,
    };

    /// The least lines of a frame and clocks of a line: with 6 MHz for the pixels they give DS' most frames a second, 60 and 120. OpenMV's
    /// driver has the same; other sources give 128 lines of 215 clocks for QQVGA.
    const fn least(&self) -> (u16, u16) {
        match self.resolution {
            Resolution::Qvga => (0x0104, 0x0178),
            Resolution::Qqvga => (0x0084, 0x0178),
        }
    }

    fn lines(&self) -> u16 {
        self.frame_lines.max(self.least().0)
    }

    fn clocks(&self) -> u16 {
        self.line_clocks.max(self.least().1)
    }

    /// Asks for half as many frames a second, with twice the time for each line: by the clock first, which also saves power, then by longer
    /// lines. `false` when it is at its slowest.
    pub fn slower(&mut self) -> bool {
        let slower = match self.clock {
            Clock::Whole => Clock::Half,
            Clock::Half => Clock::Quarter,
            Clock::Quarter => Clock::Eighth,
            Clock::Eighth => {
                let before = self.clocks();
                self.line_clocks = before.saturating_mul(2).min(LONGEST_LINE * self.least().1).max(before);
                return self.line_clocks > before;
            }
        };
        self.clock = slower;
        true
    }

    /// Frames in a thousand seconds, with a clock of `mclk_hz`.
    ///
    /// # Arithmetic
    /// `f = mclk / divider / (frame lines * clocks of a line)`.
    #[must_use]
    pub fn frames_in_1000_s(&self, mclk_hz: u32) -> u32 {
        let frame = u64::from(self.lines()) * u64::from(self.clocks()) * u64::from(self.clock.divider_and_code().0);
        u32::try_from(u64::from(mclk_hz) * 1000 / frame).unwrap_or(u32::MAX)
    }

    /// The lines that arrive, and what of them is the picture.
    #[must_use]
    pub const fn line(&self) -> Line {
        let [width, height] = self.resolution.size();
        let border = match self.resolution {
            Resolution::Qvga => 2,
            Resolution::Qqvga => 1, // binned
        };
        Line {
            bus_bytes: width + 2 * border,
            bus_lines: height + 2 * border,
            first_byte: border,
            first_line: border,
            bytes: width,
            lines: height,
            order: ByteOrder::AsIs,
        }
    }

    /// The registers in the order of writing, in standby.
    #[must_use]
    pub fn registers(&self) -> [(u16, u8); 16] {
        let (readout, binning) = match self.resolution {
            Resolution::Qvga => (0x01, 0x00),
            Resolution::Qqvga => (0x03, 0x03),
        };
        let [lines_high, lines_low] = self.lines().to_be_bytes();
        let [clocks_high, clocks_low] = self.clocks().to_be_bytes();
        [
            UNDOCUMENTED_CLOCK,
            (BIT_CONTROL, 0x02),
            (OSC_CLK_DIV, 0x28 | self.clock.divider_and_code().1), // PCLK with data, register clock undivided
            (QVGA_WIN_EN, 0x01),
            (READOUT_X, readout),
            (READOUT_Y, readout),
            (BINNING_MODE, binning),
            (FRAME_LENGTH_LINES, lines_high),
            (FRAME_LENGTH_LINES + 1, lines_low),
            (LINE_LENGTH_PCK, clocks_high),
            (LINE_LENGTH_PCK + 1, clocks_low),
            (IMAGE_ORIENTATION, flip_bits(self.flips)),
            (TEST_PATTERN_MODE, u8::from(self.test_pattern)),
            (AE_CTRL, 0x01),
            (GRP_PARAM_HOLD, 0x01),
            (MODE_SELECT, 0x01),
        ]
    }
}

/// An HM01B0 on a control bus.
#[derive(Debug)]
pub struct Hm01b0<I> {
    i2c: I,
}

impl<I: I2c> Hm01b0<I> {
    /// A sensor whose clock is running. Nothing is sent yet.
    pub const fn new(i2c: I) -> Self {
        Self { i2c }
    }

    /// Checks that the chip is one of these.
    ///
    /// # Errors
    /// When the bus fails or another chip answers.
    pub fn identify(&mut self) -> Result<u16, SensorError<I::Error>> {
        let found = u16::from_be_bytes([self.read(MODEL_ID)?, self.read(MODEL_ID + 1)?]);
        if found != IDENTIFICATION {
            return Err(SensorError::WrongChip { found, expected: IDENTIFICATION });
        }
        Ok(found)
    }

    /// Identifies the chip, resets it, sets it up and lets the frames stream.
    ///
    /// # Errors
    /// When the bus fails, another chip answers, or it does not come to standby after the reset.
    pub fn setup(&mut self, delay: &mut impl DelayNs, setup: &Setup) -> Result<(), SensorError<I::Error>> {
        self.identify()?;
        self.write(SW_RESET, 0x01)?;
        let mut tries = 0;
        loop {
            delay.delay_ms(1);
            if self.read(MODE_SELECT)? == 0 {
                break;
            }
            tries += 1;
            if tries == RESET_TRIES {
                return Err(SensorError::Reset);
            }
        }
        self.write_table(&setup.registers())
    }

    /// Turns the picture over, from the next frame on.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn set_flips(&mut self, flips: Flips) -> Result<(), SensorError<I::Error>> {
        self.write_table(&[(IMAGE_ORIENTATION, flip_bits(flips)), (GRP_PARAM_HOLD, 0x01)])
    }

    /// Shows bars, or the picture again.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn set_test_pattern(&mut self, on: bool) -> Result<(), SensorError<I::Error>> {
        self.write_table(&[(TEST_PATTERN_MODE, u8::from(on)), (GRP_PARAM_HOLD, 0x01)])
    }

    /// Keeps exposure and gain as they are now, or makes them automatic again.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn lock_exposure(&mut self, locked: bool) -> Result<(), SensorError<I::Error>> {
        self.write_table(&[(AE_CTRL, u8::from(!locked)), (GRP_PARAM_HOLD, 0x01)])
    }

    /// Stops the frames; the registers stay.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn standby(&mut self) -> Result<(), SensorError<I::Error>> {
        self.write(MODE_SELECT, 0x00)
    }

    /// Lets the frames stream.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn wake(&mut self) -> Result<(), SensorError<I::Error>> {
        self.write(MODE_SELECT, 0x01)
    }

    /// Sends more registers, in their order: a tuning of your own.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn write_table(&mut self, table: &[(u16, u8)]) -> Result<(), SensorError<I::Error>> {
        table.iter().try_for_each(|&(register, value)| self.write(register, value))
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.i2c
    }

    fn read(&mut self, register: u16) -> Result<u8, SensorError<I::Error>> {
        let mut value = [0];
        self.i2c.write_read(ADDRESS, &register.to_be_bytes(), &mut value)?;
        let [value] = value;
        Ok(value)
    }

    fn write(&mut self, register: u16, value: u8) -> Result<(), SensorError<I::Error>> {
        let [high, low] = register.to_be_bytes();
        Ok(self.i2c.write(ADDRESS, &[high, low, value])?)
    }
}

const fn flip_bits(flips: Flips) -> u8 {
    (flips.mirror as u8) | (flips.vertical as u8) << 1
}

#[cfg(test)]
mod tests;
