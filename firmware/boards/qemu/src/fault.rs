//! What ends a run that went wrong: a line in the log and a failing exit code.

use core::panic::PanicInfo;
use cortex_m_rt::{ExceptionFrame, exception};
use semihosting::process::ExitCode;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
    defmt::error!("panicked at {=str}:{=u32}: {=str}", file, line, info.message().as_str().unwrap_or("(formatted)"));
    ExitCode::FAILURE.exit_process()
}

// SAFETY: the handler never returns and touches no memory that the interrupted code may have left half written.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    defmt::error!("hard fault at {=u32:#010x}, called from {=u32:#010x}", frame.pc(), frame.lr());
    ExitCode::FAILURE.exit_process()
}
