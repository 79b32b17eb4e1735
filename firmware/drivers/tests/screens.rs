//! A drawn frame goes out over a mocked bus, in the commands of the screen's data sheet.

use embedded_graphics::pixelcolor::{BinaryColor, Rgb565};
use embedded_graphics::prelude::*;
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::digital::{Mock as PinMock, State, Transaction as PinTransaction};
use embedded_hal_mock::eh1::i2c::{Mock as I2cMock, Transaction as I2cTransaction};
use embedded_hal_mock::eh1::spi::{Mock as SpiMock, Transaction as SpiTransaction};
use mipidsi::Builder;
use mipidsi::interface::{Interface, SpiInterface};
use mipidsi::models::ST7789;
use ocelli::image::PixelFormat;
use ocelli_app::screen::LiveView;
use ssd1306::command::AddrMode;
use ssd1306::prelude::*;
use ssd1306::{I2CDisplayInterface, Ssd1306};
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

/// What went over the bus: the level of DC, then the bytes.
type Sent = Rc<RefCell<Vec<(bool, Vec<u8>)>>>;

#[derive(Clone, Default)]
struct Recorder {
    sent: Sent,
    data: Rc<RefCell<bool>>,
}

impl embedded_hal::spi::ErrorType for Recorder {
    type Error = Infallible;
}

impl embedded_hal::spi::SpiDevice for Recorder {
    fn transaction(&mut self, operations: &mut [embedded_hal::spi::Operation<'_, u8>]) -> Result<(), Infallible> {
        for operation in operations {
            if let embedded_hal::spi::Operation::Write(bytes) = operation {
                self.sent.borrow_mut().push((*self.data.borrow(), bytes.to_vec()));
            }
        }
        Ok(())
    }
}

struct DcPin(Recorder);

impl embedded_hal::digital::ErrorType for DcPin {
    type Error = Infallible;
}

impl embedded_hal::digital::OutputPin for DcPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        *self.0.data.borrow_mut() = false;
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        *self.0.data.borrow_mut() = true;
        Ok(())
    }
}

/// Commands and their data.
fn commands(sent: &Sent) -> Vec<(u8, Vec<u8>)> {
    let mut commands: Vec<(u8, Vec<u8>)> = vec![];
    for (data, bytes) in sent.borrow().iter() {
        if *data {
            let Some((_, data)) = commands.last_mut() else { panic!("data before any command") };
            data.extend(bytes);
        } else {
            commands.extend(bytes.iter().map(|&command| (command, vec![])));
        }
    }
    commands
}

/// ST7789 data sheet V1.4: 0x2a CASET and 0x2b RASET give the window, 0x2c RAMWR its pixels, RGB565 with the high byte first.
#[test]
fn a_camera_row_becomes_a_window_and_its_pixels_on_an_st7789() {
    let recorder = Recorder::default();
    let mut buffer = [0; 64];
    let interface = SpiInterface::new(recorder.clone(), DcPin(recorder.clone()), &mut buffer);
    let mut display = Builder::new(ST7789, interface).display_size(240, 240).init(&mut NoopDelay::new()).ok().unwrap();
    recorder.sent.borrow_mut().clear();
    // a frame of 3x2 pixels at twice its size
    let area = embedded_graphics::primitives::Rectangle::new(Point::new(10, 20), Size::new(6, 4));
    let view = LiveView::new(area, PixelFormat::Rgb888, [3, 2]).unwrap();
    view.push_row(&mut display, 1, &[255, 0, 0, 0, 255, 0, 0, 0, 255]).ok().unwrap();
    let row = [Rgb565::RED, Rgb565::RED, Rgb565::GREEN, Rgb565::GREEN, Rgb565::BLUE, Rgb565::BLUE];
    let pixels: Vec<u8> = row.iter().chain(&row).flat_map(|color| color.into_storage().to_be_bytes()).collect();
    let expected = [(0x2a, vec![0, 10, 0, 15]), (0x2b, vec![0, 22, 0, 23]), (0x2c, pixels)];
    assert_eq!(commands(&recorder.sent), expected);
}

/// The same commands over embedded-hal-mock's own bus and pin: a window of two pixels, filled.
#[test]
fn a_fill_goes_over_the_mocked_spi_bus() {
    let write = |bytes: &[u8]| {
        [
            SpiTransaction::transaction_start(),
            SpiTransaction::write_vec(bytes.to_vec()),
            SpiTransaction::transaction_end(),
        ]
    };
    let expected = [
        write(&[0x2a]),
        write(&[0, 1, 0, 2]),
        write(&[0x2b]),
        write(&[0, 3, 0, 3]),
        write(&[0x2c]),
        write(&[]),
        write(&[0xf8, 0x00, 0xf8, 0x00]),
    ]
    .concat();
    let (low, high) = (PinTransaction::set(State::Low), PinTransaction::set(State::High));
    let levels: Vec<_> = [&low, &high, &low, &high, &low, &high].into_iter().cloned().collect();
    let (spi, dc) = (SpiMock::new(&expected), PinMock::new(&levels));
    let mut buffer = [0; 64];
    let mut interface = SpiInterface::new(spi.clone(), dc.clone(), &mut buffer);
    interface.send_command(0x2a, &[0, 1, 0, 2]).unwrap();
    interface.send_command(0x2b, &[0, 3, 0, 3]).unwrap();
    interface.send_command(0x2c, &[]).unwrap();
    interface.send_repeated_pixel(Rgb565::RED.into_storage().to_be_bytes(), 2).unwrap();
    let (mut spi, mut dc) = (spi, dc);
    spi.done();
    dc.done();
}

/// SSD1306 data sheet rev 1.1: 0x21 sets the columns, 0x22 the pages of eight lines; the control byte is 0x00 for commands and 0x40 for data.
#[test]
fn a_pixel_is_flushed_to_an_ssd1306_over_the_mocked_i2c_bus() {
    let expected = [
        I2cTransaction::write(0x3c, vec![0x00, 0x20, 0b00]), // horizontal addressing
        I2cTransaction::write(0x3c, vec![0x00, 0x21, 5, 5]),
        I2cTransaction::write(0x3c, vec![0x00, 0x22, 1, 1]),
        I2cTransaction::write(0x3c, vec![0x40, 0b0000_0100]),
    ];
    let mut i2c = I2cMock::new(&expected);
    let mut display = Ssd1306::new(I2CDisplayInterface::new(i2c.clone()), DisplaySize128x64, DisplayRotation::Rotate0)
        .into_buffered_graphics_mode();
    display.set_addr_mode(AddrMode::Horizontal).unwrap(); // `init` does so too, among other things
    Pixel(Point::new(5, 10), BinaryColor::On).draw(&mut display).unwrap();
    display.flush().unwrap();
    i2c.done();
}
