//! Nordic nRF52840-DK: classifies what an Arducam Mini 2MP sees and shows it on an ST7789. **Never run on hardware.**
//!
//! | pin | Arduino header | goes to |
//! | --- | --- | --- |
//! | P0.26, P0.27 | SDA, SCL | camera SDA, SCL |
//! | P1.15, P1.14, P1.13 | D13, D12, D11 | camera SCK, MISO, MOSI |
//! | P1.12 | D10 | camera CS |
//! | P1.08, P1.07 | D7, D6 | screen SCL, SDA |
//! | P1.06 | D5 | screen CS |
//! | P1.05 | D4 | screen DC |
//! | P1.04 | D3 | screen RES |
//! | P0.13 | | LED 1 of the board |
//! | P0.11 | | button 1 of the board: wakes it (`ocelli flash --wake-pin`), as a motion sensor that pulls the pin low would |
//! | P0.08, P0.06 | | the debugger's USB serial port, by which models come (feature `update`) |
//!
//! The camera module takes 3.3 V or 5 V, the screen and its BLK 3.3 V (VDD). The board's pull-ups for I2C are not fitted; the module has its own.
//!
//! The chip has no parallel port: the module keeps a frame in a memory of its own, from which its rows are read over SPI as the network
//! needs them; here a frame is never stored. The log goes out by defmt over RTT.
//!
//! With `ocelli flash --every SECONDS` chip and camera sleep between frames: [`docs/power.md`](../../../../docs/power.md).
#![no_std]
#![no_main]

#[cfg(all(feature = "sleep", feature = "update"))]
compile_error!("a board that sleeps does not hear its line: build it with `sleep` or with `update`");
#[cfg(feature = "sleep")]
mod sleep;
#[cfg(feature = "update")]
mod updates;

use cortex_m as _; // its critical section
use defmt_rtt as _;
use embassy_nrf::gpio::{Level, Output, OutputDrive};
use embassy_nrf::spim::{self, Spim};
use embassy_nrf::twim::{self, Twim};
use embassy_nrf::{bind_interrupts, peripherals};
use embassy_time::{Delay, Instant};
use embedded_hal_bus::spi::ExclusiveDevice;
use mipidsi::Builder;
use mipidsi::interface::SpiInterface;
use mipidsi::models::ST7789;
use mipidsi::options::ColorInversion;
use ocelli::image::PixelFormat;
use ocelli::model::Aligned;
use ocelli::runtime::Arena;
use ocelli::team::Solo;
use ocelli_app::classify::Memory;
use ocelli_board::{ActiveLow, Device, once};
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

bind_interrupts!(struct Irqs {
    TWISPI0 => twim::InterruptHandler<peripherals::TWISPI0>;
    SPI2 => spim::InterruptHandler<peripherals::SPI2>;
    TWISPI1 => spim::InterruptHandler<peripherals::TWISPI1>;
    #[cfg(feature = "update")]
    UARTE0 => embassy_nrf::buffered_uarte::InterruptHandler<peripherals::UARTE0>;
});

ocelli_board::panic_handler!();

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut chip = embassy_nrf::config::Config::default();
    chip.dcdc.reg1 = true; // the board has what it needs, and it takes less current
    let p = embassy_nrf::init(chip);
    let led = ActiveLow(Output::new(p.P0_13, Level::High, OutputDrive::Standard));

    let mut wires = spim::Config::default();
    wires.frequency = spim::Frequency::M8;
    let bus = Spim::new(p.SPI2, Irqs, p.P1_15, p.P1_14, p.P1_13, wires.clone());
    let select = Output::new(p.P1_12, Level::High, OutputDrive::Standard);
    let Ok(module) = ExclusiveDevice::new_no_delay(bus, select);
    let setup = ArducamSetup { format: PixelFormat::Rgb565, size: CAMERA.resolution.size(), skips_a_byte: true };
    let rows = Arducam::new(module, Delay, setup);
    // A bus cannot send from flash memory: what is not in RAM goes through these bytes.
    let bus = Twim::new(p.TWISPI0, Irqs, p.P0_26, p.P0_27, twim::Config::default(), once!([u8; 4] = [0; 4]));
    let control = Configured { sensor: Ov2640::new(bus), setup: CAMERA, delay: Delay };
    let camera = Controlled { rows, control };

    // SPIM1, with at most 8 MHz, and not SPIM3, which has 32: that may send wrong bytes when the core uses the same block of RAM meanwhile
    // (nRF52840 Errata, anomaly 198).
    let bus = Spim::new_txonly(p.TWISPI1, Irqs, p.P1_08, p.P1_07, wires);
    let Ok(device) = ExclusiveDevice::new_no_delay(bus, Output::new(p.P1_06, Level::High, OutputDrive::Standard));
    let command = Output::new(p.P1_05, Level::Low, OutputDrive::Standard);
    let interface = SpiInterface::new(device, command, once!([u8; 512] = [0; 512]));
    let Ok(display) = Builder::new(ST7789, interface)
        .display_size(240, 240)
        .invert_colors(ColorInversion::Inverted)
        .reset_pin(Output::new(p.P1_04, Level::High, OutputDrive::Standard))
        .init(&mut Delay)
    else {
        defmt::panic!("the screen's bus does not work")
    };

    let memory = Memory {
        arena: once!(Arena<{ config::ARENA_BYTES }> = Arena::new()).bytes_mut(),
        scratch: once!([u32; config::SCRATCH_WORDS] = [0; config::SCRATCH_WORDS]),
        row: once!([u8; config::ROW_BYTES] = [0; config::ROW_BYTES]),
    };
    let device = Device { camera, display, led, led_class: config::LED_CLASS, team: Solo };
    let now_ms = || Instant::now().as_millis();
    #[cfg(feature = "update")]
    {
        use {ocelli_app::update::Kit, ocelli_board::run_updatable};
        let (board, key) = ("nrf52840-dk", ocelli_board::model_key!());
        let kit = Kit { board, built_in: &MODEL.0, memory, classes: config::CLASSES, key };
        let wires = updates::Wires {
            uart: p.UARTE0,
            timer: p.TIMER1,
            channels: (p.PPI_CH0, p.PPI_CH1, p.PPI_GROUP0),
            rxd: p.P0_08,
            txd: p.P0_06,
        };
        let updates = updates::start(p.NVMC, wires);
        run_updatable::<{ config::KINDS }, { config::CLASSES }, _, _, _, _, _, _>(updates, kit, device, now_ms)
    }
    #[cfg(feature = "sleep")]
    {
        let plan = ocelli_board::plan(config::EVERY_MS, config::WAKES_BY_PIN);
        let sleep = sleep::Asleep::new(p.P0_11);
        ocelli_board::run_turns::<{ config::KINDS }, { config::CLASSES }, _, _, _, _, _>(
            &MODEL.0, memory, device, now_ms, sleep, plan,
        )
    }
    #[cfg(not(any(feature = "update", feature = "sleep")))]
    ocelli_board::run::<{ config::KINDS }, { config::CLASSES }, _, _, _, _>(&MODEL.0, memory, device, now_ms)
}
