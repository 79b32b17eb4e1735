//! The test bench's firmware: classifies frames that the host provides by semihosting and reports every output byte.
//!
//! Logs with defmt; the exit code is the result.
#![no_std]
#![no_main]

mod clock;
mod fault;
mod file_camera;
mod run;
mod stack;

use defmt_semihosting as _;
use ocelli::model::Aligned;
use ocelli::runtime::Arena;
use ocelli_app::classify::Memory;
use semihosting::process::ExitCode;

/// Sizes that `build.rs` read from the model.
mod config {
    include!(concat!(env!("OUT_DIR"), "/config.rs"));
}

/// The model, under a name by which the host finds it in the ELF file.
#[unsafe(export_name = "ocelli_model")]
static MODEL: Aligned<[u8; config::MODEL_BYTES]> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/model.ocelli")));

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut ARENA: Arena<{ config::ARENA_BYTES }> = Arena::new();
    static mut SCRATCH: [u32; config::SCRATCH_WORDS] = [0; config::SCRATCH_WORDS];
    static mut ROW: [u8; config::ROW_BYTES] = [0; config::ROW_BYTES];
    let memory = Memory { arena: ARENA.bytes_mut(), scratch: SCRATCH, row: ROW };
    // The compiler must not learn what is in the file: a board's model may be exchanged without it.
    let model = core::hint::black_box(&MODEL.0);
    let Some(core) = cortex_m::Peripherals::take() else { ExitCode::FAILURE.exit_process() };
    match run::run(model, memory, clock::Clock::start(core.SYST)) {
        Ok(frames) => {
            defmt::info!("{=u32} frames classified", frames);
            ExitCode::SUCCESS.exit_process()
        }
        Err(error) => {
            fault::check_stack();
            defmt::error!("{}", error);
            ExitCode::FAILURE.exit_process()
        }
    }
}
