//! What ends a run that went wrong when the program must stay small: a failing exit code.

use core::panic::PanicInfo;
use semihosting::process::ExitCode;

#[path = "unaligned.rs"]
mod unaligned;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    ExitCode::FAILURE.exit_process()
}

// SAFETY: the handler never returns and touches no memory.
#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    ExitCode::FAILURE.exit_process()
}

/// Called by riscv-rt for every exception.
#[cfg(target_arch = "riscv32")]
#[unsafe(export_name = "ExceptionHandler")]
extern "C" fn exception(_: &riscv_rt::TrapFrame) -> ! {
    ExitCode::FAILURE.exit_process()
}
