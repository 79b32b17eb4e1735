//! UART 0 of the MPS2 boards (Arm Cortex-M System Design Kit, APB UART). The core sleeps until a byte comes: a core that asks all the time keeps
//! the emulator from bringing it.

use core::hint::spin_loop;

const BASE: usize = 0x4000_4000;
const DATA: *mut u32 = BASE as *mut u32;
const STATE: *const u32 = (BASE + 4) as *const u32;
const CTRL: *mut u32 = (BASE + 8) as *mut u32;
const BAUDDIV: *mut u32 = (BASE + 16) as *mut u32;

const INTCLEAR: *mut u32 = (BASE + 12) as *mut u32;
/// Where interrupts are enabled, and where they are made no longer pending (ARMv7-M Architecture Reference Manual, B3.4).
const NVIC_ISER0: *mut u32 = 0xE000_E100 as *mut u32;
const NVIC_ICPR0: *mut u32 = 0xE000_E280 as *mut u32;

/// UART 0 has received a byte (Arm application note AN386, interrupt 0).
const RECEIVED: u32 = 1;
/// `STATE`: the transmit buffer is full.
const TX_FULL: u32 = 1;
/// `STATE`: the receive buffer is full.
const RX_FULL: u32 = 2;
/// `CTRL`: transmit, receive, an interrupt for each byte that is received.
const ENABLE: u32 = 1 | 2 | 8;
/// `INTCLEAR`: that interrupt.
const CLEAR_RECEIVED: u32 = 2;

/// The running UART.
pub struct Uart(());

impl Uart {
    /// Starts it: 115,200 bits a second at 25 MHz, for whom it concerns (the emulator does not).
    pub fn start() -> Self {
        // The interrupt only wakes the core: it is never taken.
        #[cfg(target_arch = "arm")]
        cortex_m::interrupt::disable();
        // SAFETY: registers of a UART that nothing else uses, and an interrupt that cannot be taken.
        unsafe {
            BAUDDIV.write_volatile(217);
            CTRL.write_volatile(ENABLE);
            NVIC_ISER0.write_volatile(RECEIVED);
            // The emulator looks for bytes that wait on the line when one is read, not when the UART is switched on.
            DATA.read_volatile();
        }
        Self(())
    }

    /// Waits for a byte.
    pub fn receive(&mut self) -> u8 {
        while self.state() & RX_FULL == 0 {
            #[cfg(target_arch = "arm")]
            cortex_m::asm::wfi(); // returns at once when a byte came since the last was read
            #[cfg(not(target_arch = "arm"))]
            spin_loop();
        }
        // SAFETY: the register of received data, which this type has for itself, and its interrupt. A byte that comes between them is
        // seen by its state.
        unsafe {
            let byte = DATA.read_volatile();
            INTCLEAR.write_volatile(CLEAR_RECEIVED);
            NVIC_ICPR0.write_volatile(RECEIVED);
            (byte & 0xFF) as u8
        }
    }

    /// Sends all bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            while self.state() & TX_FULL != 0 {
                spin_loop();
            }
            // SAFETY: the register of data to send, which this type has for itself.
            unsafe { DATA.write_volatile(byte.into()) };
        }
    }

    fn state(&self) -> u32 {
        // SAFETY: a register that may be read at any time.
        unsafe { STATE.read_volatile() }
    }
}
