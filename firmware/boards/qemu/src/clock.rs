//! Time in SysTick ticks. Under QEMU's `-icount` a tick is a fixed number of instructions, which [`Clock::calibrate`] measures.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;

/// Largest value of the 24-bit counter.
const RELOAD: u32 = 0x00FF_FFFF;
/// Instructions of the calibration loop.
pub const CALIBRATION_INSTRUCTIONS: u32 = 40_000_000;

/// How often the counter has started again.
static WRAPS: AtomicU32 = AtomicU32::new(0);

#[exception]
fn SysTick() {
    // Only this handler writes, so that a load and a store do (a Cortex-M0 has no more).
    WRAPS.store(WRAPS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// The running clock.
#[derive(Clone, Copy)]
pub struct Clock(());

impl Clock {
    /// Starts SysTick on the processor's clock.
    pub fn start(mut syst: SYST) -> Self {
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(RELOAD);
        syst.clear_current();
        syst.enable_interrupt();
        syst.enable_counter();
        Self(())
    }

    /// Ticks since the start, modulo 2^32: differences of up to that are right.
    pub fn now(self) -> u32 {
        loop {
            let wraps = WRAPS.load(Ordering::Relaxed);
            let ticks = RELOAD - SYST::get_current();
            if WRAPS.load(Ordering::Relaxed) == wraps {
                return wraps.wrapping_mul(RELOAD + 1).wrapping_add(ticks);
            }
        }
    }

    /// Ticks that [`CALIBRATION_INSTRUCTIONS`] instructions take.
    pub fn calibrate(self) -> u32 {
        let start = self.now();
        // SAFETY: the loop only counts down a register that it has for itself.
        unsafe {
            asm!("2:", "subs {n}, {n}, #1", "bne 2b", n = inout(reg) CALIBRATION_INSTRUCTIONS / 2 => _, options(nomem, nostack));
        }
        self.now().wrapping_sub(start)
    }
}
