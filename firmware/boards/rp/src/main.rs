//! Raspberry Pi Pico and Pico 2: classifies what an OV7670 sees and shows it on an ST7789. **Never run on hardware.**
//!
//! | pin | goes to |
//! | --- | --- |
//! | GP0 to GP7 | camera D0 to D7 |
//! | GP8 | camera PCLK |
//! | GP9 | camera HREF |
//! | GP10 | camera VSYNC |
//! | GP21 | camera XCLK: 12 MHz, the crystal's clock |
//! | GP26, GP27 | camera SIOD, SIOC, each with 4.7 kOhm to 3.3 V |
//! | GP16 | screen DC |
//! | GP17 | screen CS |
//! | GP18, GP19 | screen SCL, SDA |
//! | GP20 | screen RES |
//! | GP25 | the board's LED |
//!
//! Camera RESET# and screen BLK go to 3.3 V, camera PWDN to ground.
//!
//! A state machine of PIO0 samples the camera's bytes, DMA channel 0 writes them into a ring of 4 KB, from which the rows are taken as the
//! network needs them: a frame is never stored. A network that takes longer than a frame makes the sensor slower (`ocelli_drivers::control::Paced`).
//! On the Pico 2 the second core shares the work. The log goes out by defmt over RTT. With the feature `update` models come over the board's own USB.
#![no_std]
#![no_main]

mod dvp;
#[cfg(feature = "rp2350")]
mod second_core;
#[cfg(feature = "update")]
mod updates;

use defmt_rtt as _;
use dvp::{Dvp, Pins};
use embassy_rp::bind_interrupts;
use embassy_rp::clocks::{Gpout, GpoutSrc};
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::i2c::{self, I2c};
use embassy_rp::peripherals::PIO0;
use embassy_rp::pio::{InterruptHandler, Pio};
use embassy_rp::spi::{self, Spi};
use embassy_time::{Delay, Instant};
use embedded_hal_bus::spi::ExclusiveDevice;
use mipidsi::Builder;
use mipidsi::interface::SpiInterface;
use mipidsi::models::ST7789;
use mipidsi::options::ColorInversion;
use ocelli::model::Aligned;
use ocelli::runtime::Arena;
use ocelli_app::camera::RingCamera;
use ocelli_app::classify::Memory;
use ocelli_board::{Device, once};
use ocelli_drivers::Resolution;
use ocelli_drivers::control::{Configured, Controlled, Paced};
use ocelli_drivers::ov7670::{Format, Ov7670, Setup};

/// Sizes that `build.rs` read from the model.
mod config {
    #![allow(dead_code, reason = "other boards use the others")]
    include!(concat!(env!("OUT_DIR"), "/config.rs"));
}

/// The model, under a name by which the host finds it in the ELF file.
#[unsafe(export_name = "ocelli_model")]
static MODEL: Aligned<[u8; config::MODEL_BYTES]> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/model.ocelli")));

/// What the camera is asked for: frames of 160x120, whose bytes the runtime takes as they come.
const CAMERA: Setup = Setup { resolution: Resolution::Qqvga, format: Format::Yuyv, ..Setup::DEFAULT };
// A row is that long for which there is memory: the board's line in `firmware/tools/src/boards/table.rs`.
const _: () = assert!(config::ROW_BYTES == 2 * CAMERA.resolution.size()[0] as usize);

bind_interrupts!(struct Irqs {
    PIO0_IRQ_0 => InterruptHandler<PIO0>;
});

ocelli_board::panic_handler!();

#[cortex_m_rt::entry]
fn main() -> ! {
    let p = embassy_rp::init(embassy_rp::config::Config::default());
    let led = Output::new(p.PIN_25, Level::Low);

    let xclk = Gpout::new(p.PIN_21);
    xclk.set_src(GpoutSrc::Xosc);
    xclk.enable();
    let pio = Pio::new(p.PIO0, Irqs);
    let pins = Pins {
        data: (p.PIN_0, p.PIN_1, p.PIN_2, p.PIN_3, p.PIN_4, p.PIN_5, p.PIN_6, p.PIN_7),
        pclk: p.PIN_8,
        href: p.PIN_9,
        vsync: Input::new(p.PIN_10, Pull::None),
    };
    let size = CAMERA.resolution.size();
    let format = CAMERA.format.pixel_format();
    let dvp = Dvp::new(pio, p.DMA_CH0, pins, size, once!(dvp::Ring = dvp::Ring::new()));
    let Some(rows) = RingCamera::new(dvp, format, size) else { defmt::panic!("the ring is too small for the camera") };
    let mut bus = i2c::Config::default();
    bus.frequency = 100_000;
    let sensor = Ov7670::new(I2c::new_blocking(p.I2C1, p.PIN_27, p.PIN_26, bus));
    let control = Configured { sensor, setup: CAMERA, delay: Delay };
    let camera = Paced::new(Controlled { rows, control });

    let mut wires = spi::Config::default();
    wires.frequency = 62_500_000;
    let bus = Spi::new_blocking_txonly(p.SPI0, p.PIN_18, p.PIN_19, wires);
    let Ok(device) = ExclusiveDevice::new_no_delay(bus, Output::new(p.PIN_17, Level::High));
    let interface = SpiInterface::new(device, Output::new(p.PIN_16, Level::Low), once!([u8; 512] = [0; 512]));
    let Ok(display) = Builder::new(ST7789, interface)
        .display_size(240, 240)
        .invert_colors(ColorInversion::Inverted)
        .reset_pin(Output::new(p.PIN_20, Level::High))
        .init(&mut Delay)
    else {
        defmt::panic!("the screen's pins cannot be set")
    };

    #[cfg(feature = "rp2350")]
    let team = second_core::start(p.CORE1);
    #[cfg(not(feature = "rp2350"))]
    let team = ocelli::team::Solo;

    let memory = Memory {
        arena: once!(Arena<{ config::ARENA_BYTES }> = Arena::new()).bytes_mut(),
        scratch: once!([u32; config::SCRATCH_WORDS] = [0; config::SCRATCH_WORDS]),
        row: once!([u8; config::ROW_BYTES] = [0; config::ROW_BYTES]),
    };
    let device = Device { camera, display, led, led_class: config::LED_CLASS, team };
    let now_ms = || Instant::now().as_millis();
    #[cfg(feature = "update")]
    {
        use {ocelli_app::update::Kit, ocelli_board::run_updatable};
        let (board, key) = (updates::BOARD, ocelli_board::model_key!());
        let kit = Kit { board, built_in: &MODEL.0, memory, classes: config::CLASSES, key };
        let updates = updates::start(p.FLASH, p.USB);
        run_updatable::<{ config::KINDS }, { config::CLASSES }, _, _, _, _, _, _>(updates, kit, device, now_ms)
    }
    #[cfg(not(feature = "update"))]
    ocelli_board::run::<{ config::KINDS }, { config::CLASSES }, _, _, _, _>(&MODEL.0, memory, device, now_ms)
}
