//! `minstret`, RISC-V's counter of retired instructions: under `-icount shift=0` a tick is an instruction.

use core::arch::asm;

/// The counter always runs.
pub fn start() {}

/// Instructions retired, modulo 2^32.
#[inline]
pub fn now() -> u32 {
    let count;
    // SAFETY: machine mode may read the register; nothing is written.
    unsafe { asm!("csrr {count}, minstret", count = out(reg) count, options(nomem, nostack)) };
    count
}
