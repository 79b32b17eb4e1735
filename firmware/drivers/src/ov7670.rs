//! OmniVision OV7670 (and OV7171): VGA, colour, parallel. **Never run on hardware.**
//!
//! Wiring: SIOC, SIOD to I2C with pull-ups of 4.7 kOhm to 3.3 V; XCLK a clock of 10 to 48 MHz (24 MHz gives 30 frames a second); RESET# high,
//! PWDN low; D0 to D7, PCLK, HREF, VSYNC to the chip's parallel port. Data changes at PCLK's falling edge and is read at its rising one.
//!
//! # Source
//! "OV7670/OV7171 CMOS VGA (640x480) CameraChip Sensor with OmniPixel Technology", data sheet version 1.4 (21 August 2006): its device control
//! register list (Table 5) and the VGA frame timing (Figure 6); here "DS". "OV7670/OV7171 CMOS VGA (640x480) CameraChip Implementation Guide",
//! version 1.0 (2 September 2005), section 2.1, resolution formats; here "IG".

use crate::parallel::ByteOrder;
use crate::sccb::Sccb;
use crate::{Flips, Resolution, SensorError};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use ocelli::image::PixelFormat;

/// The 7-bit address (DS: 0x42 for writing, 0x43 for reading).
pub const ADDRESS: u8 = 0x21;
/// Frames after a change of registers until all took effect (DS, Table 4: 300 ms, 10 frames).
pub const SETTLE_FRAMES: u32 = 10;
/// After a reset (DS, Table 4: 1 ms); with a margin.
const RESET_MS: u32 = 5;
/// PID and VER. DS version 1.01 gives VER as 0x70; its upper half is compared.
const IDENTIFICATION: u16 = 0x7673;

// Registers, by DS Table 5.
const VREF: u8 = 0x03; // [3:2] line of the window's end, [1:0] of its start: bits 1:0
const COM2: u8 = 0x09; // [4] soft sleep
const PID: u8 = 0x0a;
const VER: u8 = 0x0b;
const COM3: u8 = 0x0c; // [2] DCW (downsample, crop, window) enable
const CLKRC: u8 = 0x11; // [7] reserved, 1 after reset; [5:0] divider less 1
const COM7: u8 = 0x12; // [7] reset; [2], [0]: output
const COM8: u8 = 0x13; // [2] automatic gain, [0] automatic exposure
const HSTART: u8 = 0x17; // column of the window's start, bits 10:3
const HSTOP: u8 = 0x18; // of its end
const VSTRT: u8 = 0x19; // line of the window's start, bits 9:2
const VSTOP: u8 = 0x1a; // of its end
const MVFP: u8 = 0x1e; // [5] mirror, [4] vertical flip; 0x01 after reset
const HREF: u8 = 0x32; // [7:6] HREF edge offset, 0b10 after reset; [5:3] end's bits 2:0, [2:0] start's
const TSLB: u8 = 0x3a; // [3] with COM13[0]: order of Y, U, V; [0] automatic window; [2:1] reserved, 0b10 after reset
const COM13: u8 = 0x3d; // [7] gamma, [6] automatic saturation, [0] swap of U and V; [3] reserved, 1 after reset
const COM14: u8 = 0x3e; // [4] DCW and scaling PCLK, [3] manual scaling, [2:0] PCLK divided by 2^n
const COM15: u8 = 0x40; // [7:6] range, 0b11: 0 to 255; [5:4] 0b01: RGB565
const DBLV: u8 = 0x6b; // [7:6] PLL; [3:0] reserved, 0xa after reset
const SCALING_XSC: u8 = 0x70; // [7] test pattern bit 0; [6:0] horizontal scale, 0x3a after reset
const SCALING_YSC: u8 = 0x71; // [7] test pattern bit 1; [6:0] vertical scale, 0x35 after reset
const SCALING_DCWCTR: u8 = 0x72; // [5:4] lines, [1:0] columns: downsampled by 2^n
const SCALING_PCLK_DIV: u8 = 0x73; // [2:0] the scaler's clock divided by 2^n; [7:4] reserved, 0xf in IG
const RGB444: u8 = 0x8c; // [1] RGB444 instead of RGB565
const SCALING_PCLK_DELAY: u8 = 0xa2; // 2 after reset

/// UNDOCUMENTED ("reserved" in DS): colours are wrong without it. Known from OmniVision's settings as Linux' `ov7670.c` has them, and
/// from Adafruit's and Arduino's drivers.
const UNDOCUMENTED_COLOUR: (u8, u8) = (0xb0, 0x84);

/// Columns from one line to the next (DS, Figure 6: tLINE = 784 tP, tP = 2 tPCLK but for raw data).
const COLUMNS: u16 = 784;
/// Lines from one frame to the next (DS, Figure 6).
const LINES: u32 = 510;
/// The window's first column. UNDOCUMENTED where the array's picture begins after scaling: this is known from Linux' QVGA settings.
const FIRST_COLUMN: u16 = 168;
/// The window's first line: that after reset (DS: VSTRT 0x03, VREF[1:0] 0).
const FIRST_LINE: u16 = 12;

/// Layout of the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 16 bits a pixel, the high byte first on the bus.
    Rgb565,
    /// Y, U, Y, V.
    Yuyv,
}

impl Format {
    /// The format that the runtime takes.
    #[must_use]
    pub const fn pixel_format(self) -> PixelFormat {
        match self {
            Self::Rgb565 => PixelFormat::Rgb565,
            Self::Yuyv => PixelFormat::Yuyv,
        }
    }

    /// What [`parallel`](crate::parallel) must do with the bytes to get it.
    #[must_use]
    pub const fn byte_order(self) -> ByteOrder {
        match self {
            Self::Rgb565 => ByteOrder::Swapped,
            Self::Yuyv => ByteOrder::AsIs,
        }
    }
}

/// The multiplier of the clock on XCLK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pll {
    /// No PLL.
    Bypass,
    /// Times 4.
    X4,
    /// Times 6.
    X6,
    /// Times 8.
    X8,
}

impl Pll {
    const fn factor_and_code(self) -> (u32, u8) {
        match self {
            Self::Bypass => (1, 0),
            Self::X4 => (4, 1),
            Self::X6 => (6, 2),
            Self::X8 => (8, 3),
        }
    }
}

/// What is asked of the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Size of the frames.
    pub resolution: Resolution,
    /// Layout of the pixels.
    pub format: Format,
    /// Turned over.
    pub flips: Flips,
    /// Eight colour bars instead of the picture.
    pub test_pattern: bool,
    /// The clock's multiplier.
    pub pll: Pll,
    /// The clock's divider after the multiplier, 1 to 64; others are taken as the nearest of these.
    pub divider: u8,
}

impl Setup {
    /// QVGA, RGB565, the clock as it is on XCLK.
    pub const DEFAULT: Self = Self {
        resolution: Resolution::Qvga,
        format: Format::Rgb565,
        flips: Flips { mirror: false, vertical: false },
        test_pattern: false,
        pll: Pll::Bypass,
        divider: 1,
    };

    /// Frames in a thousand seconds, with a clock of `xclk_hz`. Scaling does not change it.
    ///
    /// # Arithmetic
    /// `f = xclk * pll / divider / (510 lines * 784 columns * 2)`.
    #[must_use]
    pub fn frames_in_1000_s(&self, xclk_hz: u32) -> u32 {
        let clock = u64::from(xclk_hz) * u64::from(self.pll.factor_and_code().0) * 1000;
        let frame = u64::from(LINES) * u64::from(COLUMNS) * 2 * u64::from(self.divider.clamp(1, 64));
        u32::try_from(clock / frame).unwrap_or(u32::MAX)
    }

    /// The registers that differ from those after a reset, in the order of writing.
    #[must_use]
    pub fn registers(&self) -> [(u8, u8); 24] {
        let power = match self.resolution {
            Resolution::Qvga => 1,
            Resolution::Qqvga => 2,
        };
        let (com7, com15) = match self.format {
            Format::Rgb565 => (0x04, 0xd0),
            Format::Yuyv => (0x00, 0xc0),
        };
        let (column_end, line_end) = ((FIRST_COLUMN + 640) % COLUMNS, FIRST_LINE + 480);
        let low = |value: u16| value.to_le_bytes()[0];
        let test = if self.test_pattern { 0x80 } else { 0 };
        [
            (CLKRC, 0x80 | (self.divider.clamp(1, 64) - 1)),
            (DBLV, 0x0a | (self.pll.factor_and_code().1 << 6)),
            (COM7, com7), // VGA: the smaller sizes are scaled from it
            (RGB444, 0),
            (COM15, com15),
            (TSLB, 0x04),  // Y first; the window below, not the automatic one
            (COM13, 0x88), // gamma, U before V
            (COM3, 0x04),
            // IG 2.1, QVGA and QQVGA
            (COM14, 0x18 | power),
            (SCALING_XSC, 0x3a),
            // DS writes the pattern's code as (SCALING_XSC[7], SCALING_YSC[7]) and gives 10 for the bars; Linux' driver and others'
            // measurements agree that SCALING_YSC[7] alone gives the bars and SCALING_XSC[7] alone a shifting 1.
            (SCALING_YSC, 0x35 | test),
            (SCALING_DCWCTR, (power << 4) | power),
            (SCALING_PCLK_DIV, 0xf0 | power),
            (SCALING_PCLK_DELAY, 0x02),
            (HSTART, low(FIRST_COLUMN >> 3)),
            (HSTOP, low(column_end >> 3)),
            (HREF, 0x80 | (low(column_end & 7) << 3) | low(FIRST_COLUMN & 7)),
            (VSTRT, low(FIRST_LINE >> 2)),
            (VSTOP, low(line_end >> 2)),
            (VREF, (low(line_end & 3) << 2) | low(FIRST_LINE & 3)),
            (MVFP, 0x01 | flip_bits(self.flips)),
            (COM8, 0x8f), // as after reset: gain, white balance and exposure automatic, fast
            (COM2, 0x01), // as after reset: awake, outputs of twice the strength
            UNDOCUMENTED_COLOUR,
        ]
    }
}

/// An OV7670 on a control bus.
#[derive(Debug)]
pub struct Ov7670<I> {
    bus: Sccb<I>,
}

impl<I: I2c> Ov7670<I> {
    /// A sensor whose clock is running. Nothing is sent yet.
    pub const fn new(i2c: I) -> Self {
        Self { bus: Sccb::new(i2c, ADDRESS) }
    }

    /// Checks that the chip is one of these; returns PID and VER.
    ///
    /// # Errors
    /// When the bus fails or another chip answers.
    pub fn identify(&mut self) -> Result<u16, SensorError<I::Error>> {
        let found = u16::from_be_bytes([self.bus.read(PID)?, self.bus.read(VER)?]);
        if found & 0xfff0 != IDENTIFICATION & 0xfff0 {
            return Err(SensorError::WrongChip { found, expected: IDENTIFICATION });
        }
        Ok(found)
    }

    /// Identifies the chip, resets it and sets it up. The first [`SETTLE_FRAMES`] frames are not good yet.
    ///
    /// # Errors
    /// When the bus fails or another chip answers.
    pub fn setup(&mut self, delay: &mut impl DelayNs, setup: &Setup) -> Result<(), SensorError<I::Error>> {
        self.identify()?;
        self.bus.write(COM7, 0x80)?;
        delay.delay_ms(RESET_MS);
        Ok(self.bus.write_table(&setup.registers())?)
    }

    /// Turns the picture over.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn set_flips(&mut self, flips: Flips) -> Result<(), SensorError<I::Error>> {
        Ok(self.bus.update(MVFP, 0x30, flip_bits(flips))?)
    }

    /// Shows eight colour bars, or the picture again.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn set_test_pattern(&mut self, on: bool) -> Result<(), SensorError<I::Error>> {
        self.bus.update(SCALING_XSC, 0x80, 0)?;
        Ok(self.bus.update(SCALING_YSC, 0x80, if on { 0x80 } else { 0 })?)
    }

    /// Keeps exposure and gain as they are now, or makes them automatic again.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn lock_exposure(&mut self, locked: bool) -> Result<(), SensorError<I::Error>> {
        Ok(self.bus.update(COM8, 0x05, if locked { 0 } else { 0x05 })?)
    }

    /// Sends the sensor to sleep: the registers stay, the outputs stop.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn standby(&mut self) -> Result<(), SensorError<I::Error>> {
        Ok(self.bus.update(COM2, 0x10, 0x10)?)
    }

    /// Wakes the sensor.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn wake(&mut self) -> Result<(), SensorError<I::Error>> {
        Ok(self.bus.update(COM2, 0x10, 0)?)
    }

    /// Sends more registers, in their order: a tuning of your own.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn write_table(&mut self, table: &[(u8, u8)]) -> Result<(), SensorError<I::Error>> {
        Ok(self.bus.write_table(table)?)
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.bus.release()
    }
}

const fn flip_bits(flips: Flips) -> u8 {
    (if flips.mirror { 0x20 } else { 0 }) | if flips.vertical { 0x10 } else { 0 }
}

#[cfg(test)]
mod tests;
