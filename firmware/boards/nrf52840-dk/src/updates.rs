//! Models that come over the board's USB serial port, which is its debugger's and ends at the chip's UART; and the end of the flash memory, where
//! they are kept.
//!
//! While a page is erased (85 ms) the core stands still; bytes come by DMA all the same.

use crate::Irqs;
use crate::config::{LED_LABEL, SLOT_BYTES, SLOTS_FIRST};
use core::future::Future;
use core::ptr;
use embassy_futures::poll_once;
use embassy_nrf::Peri;
use embassy_nrf::buffered_uarte::BufferedUarte;
use embassy_nrf::nvmc::Nvmc;
use embassy_nrf::peripherals::{NVMC, P0_06, P0_08, PPI_CH0, PPI_CH1, PPI_GROUP0, TIMER1, UARTE0};
use embassy_nrf::uarte::{self, Baudrate};
use embassy_time::{Duration, Instant};
use ocelli_app::update::{Line, ModelFlash};
use ocelli_board::slots::{ReadAsBytes, Slots};
use ocelli_board::{Updates, once};

/// How long a reply may take to go: ten times what 122 bytes take.
const PATIENCE: Duration = Duration::from_millis(100);

/// What the UART needs of the chip.
pub struct Wires {
    /// The UART.
    pub uart: Peri<'static, UARTE0>,
    /// Counts the bytes that come.
    pub timer: Peri<'static, TIMER1>,
    /// Has them counted.
    pub channels: (Peri<'static, PPI_CH0>, Peri<'static, PPI_CH1>, Peri<'static, PPI_GROUP0>),
    /// From the debugger.
    pub rxd: Peri<'static, P0_08>,
    /// To it.
    pub txd: Peri<'static, P0_06>,
}

/// Starts the UART, with 115,200 bits a second, and finds the slots.
pub fn start(nvmc: Peri<'static, NVMC>, wires: Wires) -> Updates<impl ModelFlash, impl Line> {
    let Wires { uart, timer, channels, rxd, txd } = wires;
    let mut config = uarte::Config::default();
    config.baudrate = Baudrate::Baud115200;
    let (coming, going) = (once!([u8; 1024] = [0; 1024]), once!([u8; 128] = [0; 128]));
    let (first, second, group) = channels;
    let uart = BufferedUarte::new(uart, timer, first, second, group, rxd, txd, Irqs, config, coming, going);

    let address = ptr::without_provenance(SLOTS_FIRST as usize);
    // SAFETY: the core reads its flash memory from address 0 on; the program ends before the slots (`build.rs`), so that only the driver
    // changes them, which waits until that is done.
    let (flash, region) = unsafe { Slots::<_, ReadAsBytes>::new(Nvmc::new(nvmc), SLOTS_FIRST, SLOT_BYTES, address) };
    let buffer = once!([u8; Updates::FRAME_BYTES] = [0; Updates::FRAME_BYTES]);
    Updates { flash, region, line: Serial { uart, next: None }, buffer, led_label: LED_LABEL }
}

/// The UART, and a byte of it that was looked at.
struct Serial {
    uart: BufferedUarte<'static>,
    next: Option<u8>,
}

impl Serial {
    fn look(&mut self) -> Option<u8> {
        let mut byte = [0];
        // An overrun is told once; what is lost the sender sends again.
        match now(self.uart.read(&mut byte)) {
            Some(Ok(1)) => Some(byte[0]),
            _ => None,
        }
    }
}

impl Line for Serial {
    fn has_byte(&mut self) -> bool {
        self.next = self.next.or_else(|| self.look());
        self.next.is_some()
    }

    fn receive(&mut self) -> Option<u8> {
        self.next.take().or_else(|| self.look())
    }

    fn send(&mut self, mut bytes: &[u8]) {
        let start = Instant::now();
        while !bytes.is_empty() && start.elapsed() < PATIENCE {
            let count = self.uart.try_write(bytes).unwrap_or(0);
            bytes = bytes.get(count..).unwrap_or(&[]);
        }
    }
}

/// What is there without waiting.
fn now<R>(future: impl Future<Output = R>) -> Option<R> {
    match poll_once(future) {
        core::task::Poll::Ready(result) => Some(result),
        core::task::Poll::Pending => None,
    }
}
