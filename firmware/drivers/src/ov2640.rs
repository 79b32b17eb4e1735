//! OmniVision OV2640: 2 megapixels, colour, parallel, with a JPEG encoder. **Never run on hardware.**
//!
//! Wiring as the [OV7670](crate::ov7670)'s. The sensor's array is read in its SVGA mode (800x600, half of its lines), and the sensor's processor
//! scales that.
//!
//! The published settings of this sensor hold more than a hundred values that the data sheet calls reserved (OmniVision's "OV2640 Camera
//! Module Software Application Notes", and Linux' `ov2640.c`). None of them is here: the picture has the colours and noise of the reset
//! values. Send such a table with [`Ov2640::write_table`] after [`Ov2640::setup`].
//!
//! # Source
//! "OV2640 Color CMOS UXGA (2.0 MegaPixel) CameraChip Sensor with OmniPixel2 Technology", data sheet version 2.2 (23 February 2007): the
//! device control register lists of bank 0xFF = 00 (processor) and of bank 0xFF = 01 (sensor); here "DS".

use crate::sccb::Sccb;
use crate::{Flips, Resolution, SensorError};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

/// The 7-bit address (DS: 0x60 for writing, 0x61 for reading).
pub const ADDRESS: u8 = 0x30;
/// After a reset. DS does not say how long it takes; Linux' driver waits 5 ms.
const RESET_MS: u32 = 10;
/// PIDH and PIDL; the lower half of PIDL is the revision (0x41 in DS version 1.6, 0x42 in 2.2).
const IDENTIFICATION: u16 = 0x2642;

const BANK: u8 = 0xff; // 0: processor, 1: sensor
const PROCESSOR: u8 = 0;
const SENSOR: u8 = 1;

// Bank 1, sensor.
const COM1: u8 = 0x03; // [3:2] the window's last line, bits 1:0; [1:0] of its first
const REG04: u8 = 0x04; // [7] mirror, [6] vertical flip, [4] VREF bit 0, [3] HREF bit 0; 0x20 after reset
const COM2: u8 = 0x09; // [4] standby; [1:0] strength of the outputs
const PIDH: u8 = 0x0a;
const PIDL: u8 = 0x0b;
const CLKRC: u8 = 0x11; // [5:0] divider less 1
const COM7: u8 = 0x12; // [7] reset, [6:4] 0b100: SVGA, [1] colour bars
const COM8: u8 = 0x13; // [2] automatic gain, [0] automatic exposure
const HREFST: u8 = 0x17; // the window, as DS gives it for SVGA
const HREFEND: u8 = 0x18;
const VSTRT: u8 = 0x19;
const VEND: u8 = 0x1a;
const REG32: u8 = 0x32; // [7:6] PCLK divider, [5:3] and [2:0] low bits of the window's columns

// Bank 0, processor.
const R_BYPASS: u8 = 0x05; // [0] pixels pass the processor by
const QS: u8 = 0x44; // JPEG: quantization scale
const CTRLI: u8 = 0x50; // [7] LP_DP, [5:3] lines and [2:0] columns, divided by 2^n
const HSIZE: u8 = 0x51; // columns taken, by 4
const VSIZE: u8 = 0x52; // lines taken, by 4
const XOFFL: u8 = 0x53;
const YOFFL: u8 = 0x54;
const VHYX: u8 = 0x55; // high bits of the four above
const TEST: u8 = 0x57; // [7] HSIZE bit 9
const ZMOW: u8 = 0x5a; // columns out, by 4
const ZMOH: u8 = 0x5b; // lines out, by 4
const ZMHH: u8 = 0x5c; // [2] ZMOH bit 8, [1:0] ZMOW bits 9:8
const CTRL2: u8 = 0x86; // [5] DCW: scaling; [4] effects; [3] UV adjust; [2] UV average; [0] colour matrix
const SIZEL: u8 = 0x8c; // low bits of the two below
const HSIZE8: u8 = 0xc0; // the array's columns, by 8
const VSIZE8: u8 = 0xc1; // the array's lines, by 8
const CTRL0: u8 = 0xc2; // [3] YUV422, [2] YUV, [1] RGB, [0] raw; DS: 0x0c after reset
const R_DVP_SP: u8 = 0xd3; // [7] automatic, [6:0] PCLK divider
const IMAGE_MODE: u8 = 0xda; // [4] JPEG, [3:2] 0b10: RGB565, 0b00: YUV; [1] HREF with JPEG; [0] low byte first
const RESET: u8 = 0xe0; // [4] JPEG, [2] output port

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// 16 bits a pixel, the low byte first, as the runtime takes them.
    Rgb565,
    /// Y, U, Y, V, as the runtime takes them.
    Yuyv,
    /// A JPEG file a frame, for storing or sending: its lines are no rows of pixels, and the runtime does not take them.
    Jpeg {
        /// The quantization scale: 2 is the best picture, 63 the smallest.
        scale: u8,
    },
}

/// What is asked of the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Size of the frames.
    pub resolution: Resolution,
    /// Their format.
    pub output: Output,
    /// Turned over.
    pub flips: Flips,
    /// Colour bars over the picture.
    pub test_pattern: bool,
    /// The divider of the clock on XCLK, 1 to 64; others are taken as the nearest of these. It divides the frame rate, which DS gives as 30 a
    /// second in SVGA at full speed.
    pub divider: u8,
    /// The divider of the pixel clock, 1 to 127: as low as the receiver allows. It does not change the frame rate, but what does not fit
    /// into a line's time is lost.
    pub pclk_divider: u8,
}

impl Setup {
    /// QVGA, RGB565.
    pub const DEFAULT: Self = Self {
        resolution: Resolution::Qvga,
        output: Output::Rgb565,
        flips: Flips { mirror: false, vertical: false },
        test_pattern: false,
        divider: 1,
        pclk_divider: 2,
    };

    /// Bank, register and value, in the order of writing, after a reset.
    #[must_use]
    pub fn registers(&self) -> [(u8, u8, u8); 32] {
        let [width, height] = self.resolution.size();
        let by_4 = |side: u32| (side / 4).to_le_bytes()[0]; // at most 80
        let power = match self.resolution {
            Resolution::Qvga => 1, // 800x600 halved, then scaled from 400x300
            Resolution::Qqvga => 2,
        };
        let (mode, scale) = match self.output {
            Output::Rgb565 => (0x09, 0x0c),
            Output::Yuyv => (0x00, 0x0c),
            Output::Jpeg { scale } => (0x12, scale.clamp(2, 63)),
        };
        let bars = if self.test_pattern { 0x02 } else { 0 };
        [
            (SENSOR, COM7, 0x40 | bars),
            (SENSOR, CLKRC, self.divider.clamp(1, 64) - 1),
            (SENSOR, COM2, 0x02), // three times the strength; awake
            (SENSOR, REG04, 0x20 | flip_bits(self.flips)),
            // DS, bank 1: the window's values for SVGA
            (SENSOR, COM1, 0x0a),
            (SENSOR, HREFST, 0x11),
            (SENSOR, HREFEND, 0x43),
            (SENSOR, VSTRT, 0x00),
            (SENSOR, VEND, 0x4b),
            (SENSOR, REG32, 0x09),
            (SENSOR, COM8, 0xe5), // banding filter, gain and exposure automatic
            (PROCESSOR, RESET, 0x14),
            (PROCESSOR, R_BYPASS, 0x00),
            (PROCESSOR, HSIZE8, 100), // 800
            (PROCESSOR, VSIZE8, 75),  // 600
            (PROCESSOR, SIZEL, 0x00),
            // all but raw: after the reset RGB is off. Linux' and OpenMV's drivers end their initial tables with these three bits, whatever the format
            (PROCESSOR, CTRL0, 0x0e),
            (PROCESSOR, CTRL2, 0x3d),
            // DS names the dividers' fields without their unit; that they are powers of two is known from Linux' driver
            (PROCESSOR, CTRLI, 0x80 | (power << 3) | power),
            (PROCESSOR, HSIZE, 200), // 800
            (PROCESSOR, VSIZE, 150), // 600
            (PROCESSOR, XOFFL, 0),
            (PROCESSOR, YOFFL, 0),
            (PROCESSOR, VHYX, 0),
            (PROCESSOR, TEST, 0),
            (PROCESSOR, ZMOW, by_4(width)),
            (PROCESSOR, ZMOH, by_4(height)),
            (PROCESSOR, ZMHH, 0),
            (PROCESSOR, R_DVP_SP, 0x80 | self.pclk_divider.clamp(1, 127)),
            (PROCESSOR, QS, scale),
            (PROCESSOR, IMAGE_MODE, mode),
            (PROCESSOR, RESET, 0x00),
        ]
    }
}

/// An OV2640 on a control bus.
#[derive(Debug)]
pub struct Ov2640<I> {
    bus: Sccb<I>,
}

impl<I: I2c> Ov2640<I> {
    /// A sensor whose clock is running. Nothing is sent yet.
    pub const fn new(i2c: I) -> Self {
        Self { bus: Sccb::new(i2c, ADDRESS) }
    }

    /// Checks that the chip is one of these; returns PIDH and PIDL.
    ///
    /// # Errors
    /// When the bus fails or another chip answers.
    pub fn identify(&mut self) -> Result<u16, SensorError<I::Error>> {
        self.bus.write(BANK, SENSOR)?;
        let found = u16::from_be_bytes([self.bus.read(PIDH)?, self.bus.read(PIDL)?]);
        if found & 0xfff0 != IDENTIFICATION & 0xfff0 {
            return Err(SensorError::WrongChip { found, expected: IDENTIFICATION });
        }
        Ok(found)
    }

    /// Identifies the chip, resets it and sets it up.
    ///
    /// # Errors
    /// When the bus fails or another chip answers.
    pub fn setup(&mut self, delay: &mut impl DelayNs, setup: &Setup) -> Result<(), SensorError<I::Error>> {
        self.identify()?; // selects the sensor's bank
        self.bus.write(COM7, 0x80)?;
        delay.delay_ms(RESET_MS);
        self.write_table(&setup.registers())
    }

    /// Turns the picture over.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn set_flips(&mut self, flips: Flips) -> Result<(), SensorError<I::Error>> {
        self.update(REG04, 0xd0, flip_bits(flips))
    }

    /// Shows colour bars, or the picture again.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn set_test_pattern(&mut self, on: bool) -> Result<(), SensorError<I::Error>> {
        self.update(COM7, 0x02, if on { 0x02 } else { 0 })
    }

    /// Keeps exposure and gain as they are now, or makes them automatic again.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn lock_exposure(&mut self, locked: bool) -> Result<(), SensorError<I::Error>> {
        self.update(COM8, 0x05, if locked { 0 } else { 0x05 })
    }

    /// Sends the sensor to sleep: the registers stay, the outputs stop.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn standby(&mut self) -> Result<(), SensorError<I::Error>> {
        self.update(COM2, 0x10, 0x10)
    }

    /// Wakes the sensor.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn wake(&mut self) -> Result<(), SensorError<I::Error>> {
        self.update(COM2, 0x10, 0)
    }

    /// Sends registers (bank, address, value) in their order: a tuning of your own. The bank is selected where it changes.
    ///
    /// # Errors
    /// When the bus fails.
    pub fn write_table(&mut self, table: &[(u8, u8, u8)]) -> Result<(), SensorError<I::Error>> {
        let mut selected = None;
        for &(bank, register, value) in table {
            if selected != Some(bank) {
                self.bus.write(BANK, bank)?;
                selected = Some(bank);
            }
            self.bus.write(register, value)?;
        }
        Ok(())
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.bus.release()
    }

    fn update(&mut self, register: u8, mask: u8, value: u8) -> Result<(), SensorError<I::Error>> {
        self.bus.write(BANK, SENSOR)?;
        Ok(self.bus.update(register, mask, value)?)
    }
}

/// Linux' driver sets VREF's bit with the vertical flip: the first line is then of the same colour of the Bayer pattern.
const fn flip_bits(flips: Flips) -> u8 {
    (if flips.mirror { 0x80 } else { 0 }) | if flips.vertical { 0x50 } else { 0 }
}

#[cfg(test)]
mod tests;
