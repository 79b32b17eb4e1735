//! Screens: how the usual ones are connected, and driven by other people's well-kept crates. **Never run on hardware.**
//!
//! Nothing of this is code of this crate: `mipidsi` and `ssd1306` implement embedded-graphics' `DrawTarget`, which is all that
//! `ocelli_app::screen::LiveScreen` asks for. The examples below are compiled and run with this crate's tests, against a bus that only
//! listens; take one and put your board's SPI or I2C in.
//!
//! # ST7789, 240x240 or 240x320, over SPI
//!
//! | screen | board |
//! | --- | --- |
//! | SCL, SDA | SPI clock and data out; mode 3 where the module has no CS (then CS is low for ever), else mode 0 |
//! | DC | an output pin |
//! | RES | an output pin, or the board's reset |
//! | CS | an output pin, by `embedded_hal_bus::spi::ExclusiveDevice` |
//! | BLK | 3.3 V, or an output pin to save power between frames |
//!
//! At 62.5 MHz a picture of 240x196 pixels takes 240 * 196 * 16 / 62.5e6 = 12 ms of the bus. Colours of IPS modules are inverted.
//!
//! ```
//! # use embedded_hal_mock::eh1::delay::NoopDelay;
//! # use ocelli_drivers::screens::listening::{Pin, Spi};
//! # let (spi_bus, cs, dc, rst, mut delay) = (Spi::default(), Pin, Pin, Pin, NoopDelay::new());
//! use embedded_graphics::{pixelcolor::Rgb565, prelude::*};
//! use embedded_hal_bus::spi::ExclusiveDevice;
//! use mipidsi::{interface::SpiInterface, models::ST7789, options::ColorInversion, Builder};
//! use ocelli_app::screen::{LiveScreen, Status};
//!
//! let spi = ExclusiveDevice::new_no_delay(spi_bus, cs)?;
//! let mut buffer = [0; 512];
//! let mut display = Builder::new(ST7789, SpiInterface::new(spi, dc, &mut buffer))
//!     .display_size(240, 240)
//!     .invert_colors(ColorInversion::Inverted)
//!     .reset_pin(rst)
//!     .init(&mut delay)
//!     .map_err(|_| "the screen does not answer")?;
//! let mut screen = LiveScreen::<Rgb565>::new(display.bounding_box());
//! screen
//!     .update(&mut display, &Status { label: Some("cat"), permille: 870, fps_tenths: Some(125) })
//!     .map_err(|_| "the screen does not answer")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # ILI9341, 240x320, over SPI
//!
//! Wired the same; RESET, D/C, SDI and SCK are its names, and its SDO is not needed. The data sheet allows 10 MHz for writing; boards are
//! known to run it at 40 MHz.
//!
//! ```
//! # use embedded_hal_mock::eh1::delay::NoopDelay;
//! # use ocelli_drivers::screens::listening::{Pin, Spi};
//! # let (spi_bus, cs, dc, rst, mut delay) = (Spi::default(), Pin, Pin, Pin, NoopDelay::new());
//! use embedded_graphics::{pixelcolor::Rgb565, prelude::*};
//! use embedded_hal_bus::spi::ExclusiveDevice;
//! use mipidsi::{interface::SpiInterface, models::ILI9341Rgb565, options::{ColorOrder, Orientation, Rotation}, Builder};
//! use ocelli_app::screen::{LiveScreen, Status};
//!
//! let spi = ExclusiveDevice::new_no_delay(spi_bus, cs)?;
//! let mut buffer = [0; 512];
//! let mut display = Builder::new(ILI9341Rgb565, SpiInterface::new(spi, dc, &mut buffer))
//!     .color_order(ColorOrder::Bgr)
//!     .orientation(Orientation::new().rotate(Rotation::Deg90)) // 320x240
//!     .reset_pin(rst)
//!     .init(&mut delay)
//!     .map_err(|_| "the screen does not answer")?;
//! assert_eq!(display.bounding_box().size, Size::new(320, 240));
//! let mut screen = LiveScreen::<Rgb565>::new(display.bounding_box());
//! screen
//!     .update(&mut display, &Status { label: None, permille: 300, fps_tenths: None })
//!     .map_err(|_| "the screen does not answer")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # SSD1306, 128x64, monochrome, over I2C
//!
//! SCL and SDA to I2C at 400 kHz with pull-ups (most modules have them), VCC to 3.3 V. It answers at 0x3c, some at 0x3d
//! (`I2CDisplayInterface::new_alternate_address`). The crate keeps a frame of 1,024 bytes and `flush` sends what changed: a whole frame takes
//! 1024 * 9 / 400e3 = 23 ms, so flush once after a camera frame, not after each row.
//!
//! ```
//! # use ocelli_drivers::screens::listening::I2c;
//! # let i2c = I2c::default();
//! use embedded_graphics::{pixelcolor::BinaryColor, prelude::*};
//! use ocelli_app::screen::{LiveScreen, Status};
//! use ssd1306::{prelude::*, I2CDisplayInterface, Ssd1306};
//!
//! let mut display = Ssd1306::new(I2CDisplayInterface::new(i2c), DisplaySize128x64, DisplayRotation::Rotate0)
//!     .into_buffered_graphics_mode();
//! let failed = |_| "the screen does not answer";
//! display.init().map_err(failed)?;
//! let mut screen = LiveScreen::<BinaryColor>::new(display.bounding_box());
//! screen.update(&mut display, &Status { label: Some("dog"), permille: 600, fps_tenths: Some(40) }).map_err(failed)?;
//! display.flush().map_err(failed)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod listening;
