//! The test bench's firmware: classifies frames that the host provides by semihosting and reports every output byte.
//!
//! Logs with defmt; the exit code is the result.
#![no_std]
#![no_main]

mod clock;
mod fault;
mod file_camera;
#[macro_use]
mod once;
mod run;
mod stack;

#[cfg(target_arch = "arm")]
use cortex_m as _; // its critical section
use defmt_semihosting as _;
use ocelli::model::Aligned;
use ocelli::runtime::Arena;
use ocelli_app::classify::Memory;
use semihosting::process::ExitCode;

/// Sizes that `build.rs` read from the model.
mod config {
    #![allow(dead_code, reason = "the benchmark uses the others")]
    include!(concat!(env!("OUT_DIR"), "/config.rs"));
}

/// The model, under a name by which the host finds it in the ELF file.
#[unsafe(export_name = "ocelli_model")]
static MODEL: Aligned<[u8; config::MODEL_BYTES]> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/model.ocelli")));

// The start code, cortex-m-rt's and riscv-rt's, calls it by this name.
#[unsafe(export_name = "main")]
extern "C" fn main() -> ! {
    let memory = Memory {
        arena: once!(Arena<{ config::ARENA_BYTES }> = Arena::new()).bytes_mut(),
        scratch: once!([u32; config::SCRATCH_WORDS] = [0; config::SCRATCH_WORDS]),
        row: once!([u8; config::ROW_BYTES] = [0; config::ROW_BYTES]),
    };
    // The compiler must not learn what is in the file: a board's model may be exchanged without it.
    let model = core::hint::black_box(&MODEL.0);
    match run::run(model, memory, clock::Clock::start()) {
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
