//! Models that come over the board's USB serial port, which is its debugger's and ends at the chip's UART; and the second bank of the flash memory,
//! where they are kept. The program runs from the first bank and goes on while the second is written.
//!
//! The flash memory has error correction: a word of 32 bytes at which power failed while it was written may have an error that cannot be
//! corrected, and reading it is a bus fault (RM0433, 4.3). [`BusFaults`] has the core go on then. **Never tried on a chip.**

use crate::Irqs;
use crate::config::{LED_LABEL, SLOT_BYTES, SLOTS_FIRST};
use core::arch::asm;
use core::ptr;
use cortex_m::peripheral::{SCB, scb};
use embassy_stm32::Peri;
use embassy_stm32::flash::{Blocking, Flash};
use embassy_stm32::pac;
use embassy_stm32::peripherals::{FLASH, PD8, PD9, USART3};
use embassy_stm32::usart::{BufferedUart, Config};
use embedded_io::{Read, ReadReady, Write};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use ocelli_app::update::{Line, ModelFlash};
use ocelli_board::slots::{Slots, TornWords};
use ocelli_board::{Updates, once};

/// Where the core reads the flash memory (RM0433, 2.3).
const FLASH_ADDRESS: usize = 0x0800_0000;
/// The second bank, where the slots are.
const BANK: usize = 1;
const _: () =
    assert!(SLOTS_FIRST >= 0x10_0000, "the slots must lie in the second bank: the program runs from the first");

/// Starts the UART, with 115,200 bits a second, and finds the slots.
pub fn start(
    flash: Peri<'static, FLASH>,
    uart: Peri<'static, USART3>,
    rx: Peri<'static, PD9>,
    tx: Peri<'static, PD8>,
) -> Updates<impl ModelFlash, impl Line> {
    let (coming, going) = (once!([u8; 1024] = [0; 1024]), once!([u8; 128] = [0; 128]));
    let Ok(uart) = BufferedUart::new(uart, rx, tx, going, coming, Irqs, Config::default()) else {
        defmt::panic!("the UART cannot be set up")
    };
    let flash = Bank2(Flash::new_blocking(flash));
    let address = ptr::without_provenance(FLASH_ADDRESS + SLOTS_FIRST as usize);
    // SAFETY: the core reads its flash memory from that address on, without a data cache; the program ends before the slots (`build.rs`),
    // so that only the driver changes them, which waits until that is done.
    let (flash, region) = unsafe { Slots::<_, BusFaults>::new(flash, SLOTS_FIRST, SLOT_BYTES, address) };
    let buffer = once!([u8; Updates::FRAME_BYTES] = [0; Updates::FRAME_BYTES]);
    Updates { flash, region, line: Serial(uart), buffer, led_label: LED_LABEL }
}

/// The flash memory, whose driver takes the errors of earlier readings for its own: they are forgotten first.
struct Bank2(Flash<'static, Blocking>);

fn forget_errors() {
    pac::FLASH.bank(BANK).ccr().write(|clear| {
        clear.set_clr_sneccerr(true);
        clear.set_clr_dbeccerr(true);
    });
}

impl ErrorType for Bank2 {
    type Error = embassy_stm32::flash::Error;
}

impl ReadNorFlash for Bank2 {
    const READ_SIZE: usize = <Flash<'static, Blocking> as ReadNorFlash>::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl NorFlash for Bank2 {
    const WRITE_SIZE: usize = <Flash<'static, Blocking> as NorFlash>::WRITE_SIZE;
    const ERASE_SIZE: usize = <Flash<'static, Blocking> as NorFlash>::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        forget_errors();
        self.0.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        forget_errors();
        self.0.write(offset, bytes)
    }
}

/// Words that cannot be read are any bytes: at a priority of -1 a core that is told so ignores bus faults of data (ARMv7-M Architecture
/// Reference Manual, B3.2.8, CCR.BFHFNMIGN). Interrupts wait meanwhile.
struct BusFaults;

/// `CCR.BFHFNMIGN`.
const IGNORED: u32 = 1 << 8;
/// The bits of `CFSR` that tell of bus faults; writing them clears them.
const BUS_FAULTS: u32 = 0xFF00;

impl TornWords for BusFaults {
    fn tolerating<R>(work: impl FnOnce() -> R) -> R {
        // SAFETY: no other code writes these registers; interrupts are off between the two.
        let system: &scb::RegisterBlock = unsafe { &*SCB::PTR };
        // SAFETY: the core goes on, at the highest priority that there is. The barriers see to it that what `work` reads is read in between.
        unsafe {
            asm!("cpsid f", options(preserves_flags));
            system.ccr.modify(|bits| bits | IGNORED);
            asm!("dsb sy", "isb sy", options(preserves_flags));
        }
        let result = work();
        // SAFETY: as above; the faults are forgotten, then all is as it was.
        unsafe {
            asm!("dsb sy", "isb sy", options(preserves_flags));
            system.cfsr.write(BUS_FAULTS);
            system.ccr.modify(|bits| bits & !IGNORED);
            asm!("cpsie f", options(preserves_flags));
        }
        result
    }
}

/// The UART.
struct Serial(BufferedUart<'static>);

impl Line for Serial {
    fn has_byte(&mut self) -> bool {
        // An error is told once; what is lost the sender sends again.
        self.0.read_ready().unwrap_or(false)
    }

    fn receive(&mut self) -> Option<u8> {
        let mut byte = [0];
        let has_read = self.has_byte() && self.0.read(&mut byte).is_ok_and(|count| count == 1);
        has_read.then_some(byte[0])
    }

    fn send(&mut self, bytes: &[u8]) {
        // A UART sends whether somebody listens or not.
        let _ = self.0.write_all(bytes);
    }
}
