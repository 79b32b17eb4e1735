//! Time in ticks of the board's counter. Under QEMU's `-icount` a tick is a fixed number of instructions, which
//! [`Clock::calibrate`] measures.

use core::arch::asm;

#[cfg_attr(ocelli_clock = "cmsdk", path = "clock/cmsdk.rs")]
#[cfg_attr(ocelli_clock = "timer0", path = "clock/timer0.rs")]
#[cfg_attr(ocelli_clock = "minstret", path = "clock/minstret.rs")]
mod counter;

/// Instructions of the calibration loop.
pub const CALIBRATION_INSTRUCTIONS: u32 = 40_000_000;

/// The running clock.
#[derive(Clone, Copy)]
pub struct Clock(());

impl Clock {
    /// A clock for a variable's first value: it has yet to be started.
    #[allow(dead_code, reason = "not every program has one")]
    pub const fn stopped() -> Self {
        Self(())
    }

    /// Starts the counter.
    pub fn start() -> Self {
        counter::start();
        Self(())
    }

    /// Ticks since the start, modulo 2^32: differences of up to that are right.
    #[inline(never)] // a reading costs the same wherever it is taken
    pub fn now(self) -> u32 {
        counter::now()
    }

    /// Ticks that a reading takes: to be taken off a time between two readings.
    #[allow(dead_code, reason = "not every program subtracts it")]
    pub fn reading_ticks(self) -> u32 {
        let start = self.now();
        self.now().wrapping_sub(start)
    }

    /// Ticks that [`CALIBRATION_INSTRUCTIONS`] instructions take.
    pub fn calibrate(self) -> u32 {
        let start = self.now();
        // SAFETY: the loop only counts down a register that it has for itself.
        #[cfg(target_arch = "arm")]
        unsafe {
            asm!("2:", "subs {n}, {n}, #1", "bne 2b", n = inout(reg) CALIBRATION_INSTRUCTIONS / 2 => _, options(nomem, nostack));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "riscv32")]
        unsafe {
            asm!("2:", "addi {n}, {n}, -1", "bnez {n}, 2b", n = inout(reg) CALIBRATION_INSTRUCTIONS / 2 => _, options(nomem, nostack));
        }
        self.now().wrapping_sub(start)
    }
}
