//! TIMER 0 of the MPS2 boards, which counts 32 bits down at the system's clock (Arm Cortex-M System Design Kit, APB timer).
//!
//! SysTick has 24 bits and would need an interrupt: that would take instructions and stack of what is measured.

#[cfg(not(any(ocelli_board = "qemu-m33", ocelli_board = "qemu-m33-duo")))]
const TIMER0: usize = 0x4000_0000;
/// Its alias for secure code.
#[cfg(any(ocelli_board = "qemu-m33", ocelli_board = "qemu-m33-duo"))]
const TIMER0: usize = 0x5000_0000;

const CTRL: *mut u32 = TIMER0 as *mut u32;
const VALUE: *mut u32 = (TIMER0 + 4) as *mut u32;
const RELOAD: *mut u32 = (TIMER0 + 8) as *mut u32;

/// `CTRL`: count.
const ENABLE: u32 = 1;

/// Starts the counter.
pub fn start() {
    write(RELOAD, u32::MAX);
    write(VALUE, u32::MAX);
    write(CTRL, ENABLE);
}

/// Ticks since the start, modulo 2^32.
#[inline]
pub fn now() -> u32 {
    // SAFETY: a register of the timer, readable at any time.
    u32::MAX - unsafe { VALUE.read_volatile() }
}

fn write(register: *mut u32, value: u32) {
    // SAFETY: only the constants above are passed: registers of a timer that nothing else uses.
    unsafe { register.write_volatile(value) }
}
