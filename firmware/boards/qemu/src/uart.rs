//! UART 0 of the MPS2 boards (Arm Cortex-M System Design Kit, APB UART), polled.

use core::hint::spin_loop;

const BASE: usize = 0x4000_4000;
const DATA: *mut u32 = BASE as *mut u32;
const STATE: *const u32 = (BASE + 4) as *const u32;
const CTRL: *mut u32 = (BASE + 8) as *mut u32;
const BAUDDIV: *mut u32 = (BASE + 16) as *mut u32;

/// `STATE`: the transmit buffer is full.
const TX_FULL: u32 = 1;
/// `STATE`: the receive buffer is full.
const RX_FULL: u32 = 2;
/// `CTRL`: transmit and receive.
const ENABLE: u32 = 3;

/// The running UART.
pub struct Uart(());

impl Uart {
    /// Starts it: 115,200 bits a second at 25 MHz, for whom it concerns (the emulator does not).
    pub fn start() -> Self {
        // SAFETY: registers of a UART that nothing else uses.
        unsafe {
            BAUDDIV.write_volatile(217);
            CTRL.write_volatile(ENABLE);
        }
        Self(())
    }

    /// Waits for a byte.
    pub fn receive(&mut self) -> u8 {
        while self.state() & RX_FULL == 0 {
            spin_loop();
        }
        // SAFETY: the register of received data, which this type has for itself.
        (unsafe { DATA.read_volatile() } & 0xFF) as u8
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
