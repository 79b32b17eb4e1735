//! ESP32-C3 on Espressif's ESP32-C3-DevKit-RUST-1: classifies what an Arducam Mini 2MP sees and shows it on an ST7789. **Never run on hardware.**
//!
//! | pin | goes to |
//! | --- | --- |
//! | GPIO6 | camera SCK and screen SCL |
//! | GPIO0 | camera MOSI and screen SDA |
//! | GPIO5 | camera MISO |
//! | GPIO20 | camera CS |
//! | GPIO10, GPIO8 | camera SDA, SCL: the board's I2C bus, with its pull-ups; its sensors have other addresses (0x68, 0x70) |
//! | GPIO4 | screen CS |
//! | GPIO3 | screen DC |
//! | GPIO1 | screen RES |
//! | GPIO7 | the board's LED |
//! | GPIO18, GPIO19 | the board's USB socket: flashing and the log |
//!
//! Screen BLK goes to 3.3 V. GPIO2 (the board's colour LED) and GPIO9 (its button) are not used.
//!
//! Other boards will do that have these pins and the chip's own USB on their socket; on those known as SuperMini GPIO8 has a LED, which flickers
//! with the bus. The ESP32-C3-DevKitM-1 has a UART bridge on its socket instead, which drives GPIO20, and lights its colour LED by GPIO8: it needs a
//! USB cable at GPIO18 and GPIO19, and other pins in `main`. (Espressif's user guides of both boards; github.com/esp-rs/esp-rust-board.)
//!
//! The chip has no parallel port and one SPI controller for users: camera and screen share it, at the camera's 8 MHz. The module keeps a
//! frame in a memory of its own, from which its rows are read as the network needs them; here a frame is never stored. The log goes out by
//! defmt over RTT, through the chip's USB (probe-rs).
#![no_std]
#![no_main]

use core::cell::RefCell;
use defmt_rtt as _;
use embedded_hal_bus::spi::RefCellDevice;
use esp_hal::delay::Delay;
use esp_hal::gpio::{AnyPin, Level, Output, OutputConfig};
use esp_hal::i2c::master::{Config as I2cConfig, I2c};
use esp_hal::spi::master::{Config as SpiConfig, Spi};
use esp_hal::time::{Instant, Rate};
use mipidsi::Builder;
use mipidsi::interface::SpiInterface;
use mipidsi::models::ST7789;
use mipidsi::options::ColorInversion;
use ocelli::image::PixelFormat;
use ocelli::model::Aligned;
use ocelli::runtime::Arena;
use ocelli::team::Solo;
use ocelli_app::classify::Memory;
use ocelli_board::{Device, once, run};
use ocelli_drivers::Resolution;
use ocelli_drivers::arducam::{Arducam, ArducamSetup};
use ocelli_drivers::control::{Configured, Controlled};
use ocelli_drivers::ov2640::{Output as Pixels, Ov2640, Setup};

/// Sizes that `build.rs` read from the model.
mod config {
    #![allow(dead_code, reason = "other boards use the others")]
    include!(concat!(env!("OUT_DIR"), "/config.rs"));
}

/// The model, under a name by which the host finds it in the ELF file.
#[unsafe(export_name = "ocelli_model")]
static MODEL: Aligned<[u8; config::MODEL_BYTES]> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/model.ocelli")));

/// What the camera is asked for: frames of 160x120.
const CAMERA: Setup = Setup { resolution: Resolution::Qqvga, output: Pixels::Rgb565, ..Setup::DEFAULT };
// A row is that long for which there is memory: the board's line in `firmware/tools/src/boards/table.rs`.
const _: () = assert!(config::ROW_BYTES == 2 * CAMERA.resolution.size()[0] as usize);

// What the boot loader asks of an image. No time of the build in it: the same sources give the same bytes.
esp_bootloader_esp_idf::esp_app_desc!(
    env!("CARGO_PKG_VERSION"),
    env!("CARGO_PKG_NAME"),
    "-",
    "-",
    esp_bootloader_esp_idf::ESP_IDF_COMPATIBLE_VERSION,
    esp_bootloader_esp_idf::MMU_PAGE_SIZE,
    0,
    u16::MAX,
    esp_bootloader_esp_idf::SECURE_VERSION
);

ocelli_board::panic_handler!();

#[esp_hal::main]
fn main() -> ! {
    ocelli_board::stack::paint();
    let p = esp_hal::init(esp_hal::Config::default().with_cpu_clock(esp_hal::clock::CpuClock::max()));
    let output = |pin: AnyPin<'static>, level| Output::new(pin, level, OutputConfig::default());
    let led = output(p.GPIO7.into(), Level::Low);

    let wires = SpiConfig::default().with_frequency(Rate::from_mhz(8));
    let Ok(bus) = Spi::new(p.SPI2, wires) else { defmt::panic!("the SPI bus cannot be set up") };
    let bus = RefCell::new(bus.with_sck(p.GPIO6).with_mosi(p.GPIO0).with_miso(p.GPIO5));
    let wires = I2cConfig::default().with_frequency(Rate::from_khz(100));
    let Ok(i2c) = I2c::new(p.I2C0, wires) else { defmt::panic!("the I2C bus cannot be set up") };
    let i2c = i2c.with_sda(p.GPIO10).with_scl(p.GPIO8);

    let Ok(module) = RefCellDevice::new_no_delay(&bus, output(p.GPIO20.into(), Level::High));
    let setup = ArducamSetup { format: PixelFormat::Rgb565, size: CAMERA.resolution.size(), skips_a_byte: true };
    let rows = Arducam::new(module, Delay::new(), setup);
    let control = Configured { sensor: Ov2640::new(i2c), setup: CAMERA, delay: Delay::new() };
    let camera = Controlled { rows, control };

    let Ok(device) = RefCellDevice::new_no_delay(&bus, output(p.GPIO4.into(), Level::High));
    let command = output(p.GPIO3.into(), Level::Low);
    let interface = SpiInterface::new(device, command, once!([u8; 512] = [0; 512]));
    let Ok(display) = Builder::new(ST7789, interface)
        .display_size(240, 240)
        .invert_colors(ColorInversion::Inverted)
        .reset_pin(output(p.GPIO1.into(), Level::High))
        .init(&mut Delay::new())
    else {
        defmt::panic!("the screen's bus does not work")
    };

    let memory = Memory {
        arena: once!(Arena<{ config::ARENA_BYTES }> = Arena::new()).bytes_mut(),
        scratch: once!([u32; config::SCRATCH_WORDS] = [0; config::SCRATCH_WORDS]),
        row: once!([u8; config::ROW_BYTES] = [0; config::ROW_BYTES]),
    };
    let device = Device { camera, display, led, led_class: config::LED_CLASS, team: Solo };
    let now_ms = || Instant::now().duration_since_epoch().as_millis();
    run::<{ config::KINDS }, { config::CLASSES }, _, _, _, _>(&MODEL.0, memory, device, now_ms)
}
