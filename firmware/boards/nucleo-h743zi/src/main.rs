//! ST NUCLEO-H743ZI2: classifies what an OV2640 sees and shows it on an ST7789. **Never run on hardware.**
//!
//! | pin | goes to |
//! | --- | --- |
//! | PC6, PC7, PC8, PC9, PC11, PB6, PE5, PE6 | camera D0 to D7 |
//! | PA6 | camera PCLK |
//! | PA4 | camera HREF |
//! | PG9 | camera VSYNC |
//! | PA8 | camera XCLK: 16 MHz |
//! | PB8, PB9 | camera SIOC, SIOD, each with 4.7 kOhm to 3.3 V |
//! | PB3, PB5 | screen SCL, SDA |
//! | PD14 | screen CS |
//! | PD15 | screen DC |
//! | PF12 | screen RES |
//! | PB0 | LED 1 of the board |
//! | PD9, PD8 | the debugger's USB serial port, by which models come (feature `update`) |
//!
//! Camera RESET# and screen BLK go to 3.3 V, camera PWDN to ground.
//!
//! The chip's camera interface (DCMI) packs the bytes into words, DMA writes them into a ring of 16 rows, from which they are taken as the
//! network needs them: a frame is never stored. A network that takes longer than a frame makes the sensor slower (`ocelli_drivers::control::Paced`).
//! The log goes out by defmt over RTT.
#![no_std]
#![no_main]

mod dvp;
#[cfg(feature = "update")]
mod updates;

use cortex_m as _; // its critical section
use defmt_rtt as _;
use dvp::Dvp;
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::i2c::{self, I2c};
use embassy_stm32::rcc::{Mco, Mco1Source, McoConfig, McoPrescaler};
use embassy_stm32::spi::{self, Spi};
use embassy_stm32::time::Hertz;
use embassy_stm32::{bind_interrupts, dcmi, dma, peripherals};
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
use ocelli_app::camera::RingCamera;
use ocelli_app::classify::Memory;
use ocelli_board::{Device, once};
use ocelli_drivers::Resolution;
use ocelli_drivers::control::{Configured, Controlled, Paced};
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
/// Words of the ring: 16 rows of 160 pixels of two bytes.
const RING_WORDS: usize = 16 * 80;

bind_interrupts!(struct Irqs {
    DCMI => dcmi::InterruptHandler<peripherals::DCMI>;
    DMA1_STREAM0 => dma::InterruptHandler<peripherals::DMA1_CH0>;
    DMA1_STREAM1 => dma::InterruptHandler<peripherals::DMA1_CH1>;
    #[cfg(feature = "update")]
    USART3 => embassy_stm32::usart::BufferedInterruptHandler<peripherals::USART3>;
});

ocelli_board::panic_handler!();

/// The clocks: 400 MHz from the chip's own oscillator, which also makes the camera's.
fn clocks() -> embassy_stm32::Config {
    use embassy_stm32::rcc::*;
    let mut config = embassy_stm32::Config::default();
    config.rcc.hsi = Some(HSIPrescaler::DIV1);
    config.rcc.pll1 = Some(Pll {
        source: PllSource::HSI,
        prediv: PllPreDiv::DIV4,
        mul: PllMul::MUL50,
        fracn: None,
        divp: Some(PllDiv::DIV2),
        divq: Some(PllDiv::DIV8), // 100 MHz, for SPI1
        divr: None,
    });
    config.rcc.sys = Sysclk::PLL1_P;
    config.rcc.ahb_pre = AHBPrescaler::DIV2;
    config.rcc.apb1_pre = APBPrescaler::DIV2;
    config.rcc.apb2_pre = APBPrescaler::DIV2;
    config.rcc.apb3_pre = APBPrescaler::DIV2;
    config.rcc.apb4_pre = APBPrescaler::DIV2;
    config.rcc.voltage_scale = VoltageScale::Scale1;
    config
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let p = embassy_stm32::init(clocks());
    // Code runs from flash, which is slow. Data is not cached: DMA writes into it.
    if let Some(mut core) = cortex_m::Peripherals::take() {
        core.SCB.enable_icache();
    }
    let led = Output::new(p.PB0, Level::Low, Speed::Low);

    let mut clock = McoConfig::default();
    clock.prescaler = McoPrescaler::DIV4; // of 64 MHz
    let _xclk = Mco::new(p.MCO1, p.PA8, Mco1Source::HSI, clock);
    // The levels at which the sensor's bytes mean nothing: its VSYNC is high during a frame, so low between frames; HREF is high during a
    // line; bytes are read at PCLK's rising edge. As ST's own driver for this sensor (STM32CubeF4, stm324xg_eval_camera.c:
    // DCMI_VSPOLARITY_LOW, DCMI_HSPOLARITY_LOW, DCMI_PCKPOLARITY_RISING) and OpenMV's (ov2640.c: SENSOR_HW_FLAGS_VSYNC 0, HSYNC 0, PIXCK 1)
    // have it. The HAL's default is a VSYNC of the other kind, with which every frame begins at its end.
    let mut levels = dcmi::Config::default();
    levels.vsync_level = dcmi::VSyncDataInvalidLevel::Low;
    levels.hsync_level = dcmi::HSyncDataInvalidLevel::Low;
    levels.pixclk_polarity = dcmi::PixelClockPolarity::RisingEdge;
    // The interface captures frames by the channel that it is given; rows come through a ring on the other.
    let port = dcmi::Dcmi::new_8bit(
        p.DCMI, p.DMA1_CH1, Irqs, p.PC6, p.PC7, p.PC8, p.PC9, p.PC11, p.PB6, p.PE5, p.PE6, p.PG9, p.PA4, p.PA6, levels,
    );
    let size = CAMERA.resolution.size();
    let dvp = Dvp::new(port, p.DMA1_CH0, Irqs, once!([u32; RING_WORDS] = [0; RING_WORDS]));
    let Some(rows) = RingCamera::new(dvp, PixelFormat::Rgb565, size) else {
        defmt::panic!("the ring is too small for the camera")
    };
    let mut bus = i2c::Config::default();
    bus.frequency = Hertz(100_000);
    let sensor = Ov2640::new(I2c::new_blocking(p.I2C1, p.PB8, p.PB9, bus));
    let control = Configured { sensor, setup: CAMERA, delay: Delay };
    let camera = Paced::new(Controlled { rows, control });

    let mut wires = spi::Config::default();
    wires.frequency = Hertz(50_000_000);
    let bus = Spi::new_blocking_txonly(p.SPI1, p.PB3, p.PB5, wires);
    let Ok(device) = ExclusiveDevice::new_no_delay(bus, Output::new(p.PD14, Level::High, Speed::High));
    let command = Output::new(p.PD15, Level::Low, Speed::High);
    let interface = SpiInterface::new(device, command, once!([u8; 512] = [0; 512]));
    let Ok(display) = Builder::new(ST7789, interface)
        .display_size(240, 240)
        .invert_colors(ColorInversion::Inverted)
        .reset_pin(Output::new(p.PF12, Level::High, Speed::Low))
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
        let (board, key) = ("nucleo-h743zi", ocelli_board::model_key!());
        let kit = Kit { board, built_in: &MODEL.0, memory, classes: config::CLASSES, key };
        let updates = updates::start(p.FLASH, p.USART3, p.PD9, p.PD8);
        run_updatable::<{ config::KINDS }, { config::CLASSES }, _, _, _, _, _, _>(updates, kit, device, now_ms)
    }
    #[cfg(not(feature = "update"))]
    ocelli_board::run::<{ config::KINDS }, { config::CLASSES }, _, _, _, _>(&MODEL.0, memory, device, now_ms)
}
