//! TIMER0 of the nRF51, 32 bits at 16 MHz: this chip has no SysTick (nRF51 Series Reference Manual, chapter 18).

const TIMER0: usize = 0x4000_8000;
const TASK_START: *mut u32 = (TIMER0) as *mut u32;
const TASK_CAPTURE0: *mut u32 = (TIMER0 + 0x040) as *mut u32;
const BITMODE: *mut u32 = (TIMER0 + 0x508) as *mut u32;
const PRESCALER: *mut u32 = (TIMER0 + 0x510) as *mut u32;
const CC0: *const u32 = (TIMER0 + 0x540) as *const u32;

/// `BITMODE` of a 32-bit counter.
const BITS_32: u32 = 3;

/// Starts the counter.
pub fn start() {
    write(BITMODE, BITS_32);
    write(PRESCALER, 0); // 16 MHz
    write(TASK_START, 1);
}

/// Ticks since the start, modulo 2^32.
#[inline]
pub fn now() -> u32 {
    write(TASK_CAPTURE0, 1);
    // SAFETY: a register of the timer, readable at any time.
    unsafe { CC0.read_volatile() }
}

fn write(register: *mut u32, value: u32) {
    // SAFETY: only the constants above are passed: registers of a timer that nothing else uses.
    unsafe { register.write_volatile(value) }
}
