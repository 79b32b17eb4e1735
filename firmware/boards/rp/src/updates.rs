//! Models that come over USB: a serial port (CDC-ACM), and the end of the flash memory, where they are kept.
//!
//! USB is served from an interrupt, so that the port is there whatever the program does; the bytes wait in pipes. A computer that sends faster than
//! they are taken is held up by USB itself. While flash memory is erased or written no code may be read from it: the HAL stops interrupts for that
//! time (some 50 ms a page of 4 KB) and holds the second core in RAM, if it was started. That core has nothing to do then: no model runs during an update.

use crate::config::{LED_LABEL, SLOT_BYTES, SLOTS_FIRST};
use embassy_executor::InterruptExecutor;
use embassy_futures::join::join3;
use embassy_rp::flash::{Blocking, FLASH_BASE, Flash};
use embassy_rp::interrupt::{InterruptExt, Priority};
use embassy_rp::peripherals::{FLASH, USB};
use embassy_rp::usb::{Driver, InterruptHandler};
use embassy_rp::{Peri, bind_interrupts, interrupt};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pipe::Pipe;
use embassy_time::{Duration, Instant};
use embassy_usb::class::cdc_acm::{CdcAcmClass, State};
use ocelli_app::update::{Line, ModelFlash};
use ocelli_board::slots::{ReadAsBytes, Slots};
use ocelli_board::{Updates, once};

/// The name under which `ocelli boards` lists it.
pub const BOARD: &str = if cfg!(feature = "rp2040") { "pico" } else { "pico2" };
/// Bytes of the flash memory.
const FLASH_BYTES: usize = SLOTS_FIRST as usize + 2 * SLOT_BYTES as usize;
/// Raspberry Pi's number, and those of a serial port by its SDK on each chip (usb-pid.md of raspberrypi/usb-pid).
const VENDOR: u16 = 0x2E8A;
const PRODUCT: u16 = if cfg!(feature = "rp2040") { 0x000A } else { 0x0009 };
/// Bytes of a packet.
const PACKET: usize = 64;
/// How long a reply waits for somebody who reads it.
const PATIENCE: Duration = Duration::from_millis(500);

/// From the computer: a frame of the longest kind and more.
static COMING: Pipe<CriticalSectionRawMutex, 1024> = Pipe::new();
/// To the computer.
static GOING: Pipe<CriticalSectionRawMutex, 256> = Pipe::new();
static EXECUTOR: InterruptExecutor = InterruptExecutor::new();

bind_interrupts!(struct Irqs {
    USBCTRL_IRQ => InterruptHandler<USB>;
});

#[interrupt]
unsafe fn SWI_IRQ_1() {
    // SAFETY: called from the interrupt that `start` names, and nowhere else.
    unsafe { EXECUTOR.on_interrupt() }
}

/// Starts the port, and finds the slots.
pub fn start(flash: Peri<'static, FLASH>, usb: Peri<'static, USB>) -> Updates<impl ModelFlash, impl Line> {
    interrupt::SWI_IRQ_1.set_priority(Priority::P3);
    let spawner = EXECUTOR.start(interrupt::SWI_IRQ_1);
    match talk(usb) {
        Ok(task) => spawner.spawn(task),
        Err(_) => defmt::panic!("the USB task was started before"),
    }

    let flash = Flash::<_, Blocking, FLASH_BYTES>::new_blocking(flash);
    let address = FLASH_BASE.cast::<u8>().wrapping_add(SLOTS_FIRST as usize);
    // SAFETY: the core reads the whole flash memory from its base on; the program ends before the slots (`build.rs`), so that only the driver
    // changes them, which drops the cache then.
    let (flash, region) = unsafe { Slots::<_, ReadAsBytes>::new(flash, SLOTS_FIRST, SLOT_BYTES, address) };
    let buffer = once!([u8; Updates::FRAME_BYTES] = [0; Updates::FRAME_BYTES]);
    Updates { flash, region, line: UsbLine, buffer, led_label: LED_LABEL }
}

/// Serves USB, for ever.
#[embassy_executor::task]
async fn talk(usb: Peri<'static, USB>) {
    let mut config = embassy_usb::Config::new(VENDOR, PRODUCT);
    config.manufacturer = Some("Ocelli");
    config.product = Some("Ocelli classifier");
    let mut builder = embassy_usb::Builder::new(
        Driver::new(usb, Irqs),
        config,
        once!([u8; 128] = [0; 128]),
        once!([u8; 16] = [0; 16]),
        &mut [],
        once!([u8; PACKET] = [0; PACKET]),
    );
    let port = CdcAcmClass::new(&mut builder, once!(State<'static> = State::new()), PACKET as u16);
    let mut device = builder.build();
    let (mut sender, mut receiver) = port.split();
    let coming = async {
        loop {
            receiver.wait_connection().await;
            let mut packet = [0; PACKET];
            while let Ok(count) = receiver.read_packet(&mut packet).await {
                COMING.write_all(packet.get(..count).unwrap_or(&[])).await;
            }
        }
    };
    let going = async {
        // Less than a packet: a full one would have to be followed by an empty one.
        let mut packet = [0; PACKET - 1];
        loop {
            let count = GOING.read(&mut packet).await;
            // Lost when nobody is there: the sender asks again.
            let _ = sender.write_packet(packet.get(..count).unwrap_or(&[])).await;
        }
    };
    join3(device.run(), coming, going).await;
}

/// The port's other side.
struct UsbLine;

impl Line for UsbLine {
    fn has_byte(&mut self) -> bool {
        !COMING.is_empty()
    }

    fn receive(&mut self) -> Option<u8> {
        let mut byte = [0];
        COMING.try_read(&mut byte).ok().map(|_| byte[0])
    }

    fn send(&mut self, mut bytes: &[u8]) {
        let start = Instant::now();
        while !bytes.is_empty() && start.elapsed() < PATIENCE {
            let count = GOING.try_write(bytes).unwrap_or(0);
            bytes = bytes.get(count..).unwrap_or(&[]);
        }
    }
}
