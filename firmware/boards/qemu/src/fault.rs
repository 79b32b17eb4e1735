//! What ends a run that went wrong: a message and a failing exit code.

use crate::stack;
use core::panic::PanicInfo;
use semihosting::process::ExitCode;
use semihosting::sys::arm_compat::sys_write0;

#[path = "unaligned.rs"]
mod unaligned;

/// The deepest stack in bytes. Ends the run when that was all of it: no result can be relied on.
///
/// To be called before an error is logged: the log's own state is among the variables that the stack would have grown into.
pub fn check_stack() -> u32 {
    stack::deepest_bytes().unwrap_or_else(|| {
        sys_write0(c"stack overflow: the variables may be damaged\n");
        ExitCode::FAILURE.exit_process()
    })
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    check_stack();
    let (file, line) = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
    defmt::error!("panicked at {=str}:{=u32}: {=str}", file, line, info.message().as_str().unwrap_or("(formatted)"));
    ExitCode::FAILURE.exit_process()
}

// SAFETY: the handler never returns and touches no memory that the interrupted code may have left half written.
#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    check_stack();
    defmt::error!("hard fault at {=u32:#010x}, called from {=u32:#010x}", frame.pc(), frame.lr());
    ExitCode::FAILURE.exit_process()
}

/// Called by riscv-rt for every exception.
#[cfg(target_arch = "riscv32")]
#[unsafe(export_name = "ExceptionHandler")]
extern "C" fn exception(frame: &riscv_rt::TrapFrame) -> ! {
    check_stack();
    let cause = riscv::register::mcause::read().code();
    let pc = riscv::register::mepc::read();
    defmt::error!("exception {=usize} at {=usize:#010x}, called from {=usize:#010x}", cause, pc, frame.ra);
    ExitCode::FAILURE.exit_process()
}
