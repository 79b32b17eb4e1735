//! The operator cases' firmware: runs many small models, each over its frame, and reports every output byte.
//!
//! A case that cannot run is logged and reported as such; the others go on. Logs with defmt; the exit code says whether the
//! files could be read and written.
#![no_std]
#![no_main]

#[path = "../fault.rs"]
mod fault;
#[macro_use]
#[path = "../once.rs"]
mod once;
#[path = "../stack.rs"]
mod stack;

#[cfg(target_arch = "arm")]
use cortex_m as _; // its critical section
use defmt_semihosting as _;
use ocelli::model::{Aligned, LoadError};
use ocelli::runtime::{Arena, Session};
use ocelli_app::bench::cases::{
    CASE_ARENA_BYTES, CASE_FRAME_BYTES, CASE_MODEL_BYTES, CASES_FILE, CaseHeader, CaseOutcome, CasesHeader,
};
use ocelli_app::bench::{HeaderError, RESULTS_FILE};
use semihosting::fs::File;
use semihosting::io::{Read, Write};
use semihosting::process::ExitCode;

/// Why the run failed.
#[derive(Clone, Copy, Debug, defmt::Format)]
enum RunError {
    /// The cases file cannot be read, or ended before its cases did.
    Cases,
    /// A head in the cases file is not valid.
    Header(HeaderError),
    /// The results file cannot be written.
    Results,
}

/// Why a case did not run.
#[derive(Clone, Copy, Debug, defmt::Format)]
enum CaseError {
    /// The model was refused.
    Refused(LoadError),
    /// The frame has another size than the model's input.
    FrameSize,
}

/// Memory for one case at a time.
struct Memory {
    model: &'static mut [u8],
    arena: &'static mut [u8],
    frame: &'static mut [u8],
}

// The start code, cortex-m-rt's and riscv-rt's, calls it by this name.
#[unsafe(export_name = "main")]
extern "C" fn main() -> ! {
    let memory = Memory {
        model: &mut once!(Aligned<[u8; CASE_MODEL_BYTES]> = Aligned([0; CASE_MODEL_BYTES])).0,
        arena: once!(Arena<CASE_ARENA_BYTES> = Arena::new()).bytes_mut(),
        frame: once!([u8; CASE_FRAME_BYTES] = [0; CASE_FRAME_BYTES]),
    };
    let result = run(memory);
    fault::check_stack();
    match result {
        Ok(count) => {
            defmt::info!("{=u32} cases done", count);
            ExitCode::SUCCESS.exit_process()
        }
        Err(error) => {
            defmt::error!("{}", error);
            ExitCode::FAILURE.exit_process()
        }
    }
}

/// Runs all cases; returns how many there were.
fn run(memory: Memory) -> Result<u32, RunError> {
    let mut cases = File::open(CASES_FILE).map_err(|_| RunError::Cases)?;
    let mut results = File::create(RESULTS_FILE).map_err(|_| RunError::Results)?;
    let mut head = [0; CasesHeader::BYTES];
    cases.read_exact(&mut head).map_err(|_| RunError::Cases)?;
    let CasesHeader { count } = CasesHeader::parse(&head).map_err(RunError::Header)?;
    for index in 0..count {
        let mut head = [0; CaseHeader::BYTES];
        cases.read_exact(&mut head).map_err(|_| RunError::Cases)?;
        let CaseHeader { model_bytes, frame_bytes } = CaseHeader::parse(&head).map_err(RunError::Header)?;
        let model = read_padded(&mut cases, memory.model, model_bytes)?;
        let frame = read_padded(&mut cases, memory.frame, frame_bytes)?;

        let mut session = Session::load(model, memory.arena).map_err(CaseError::Refused);
        let output = match &mut session {
            Ok(session) => session.run_frame(bytemuck::cast_slice(frame)).ok_or(CaseError::FrameSize),
            Err(error) => Err(*error),
        };
        let output = output.inspect_err(|error| defmt::error!("case {=u32}: {}", index, error));
        append(&mut results, output).map_err(|_| RunError::Results)?;
    }
    Ok(count)
}

/// Reads `len` bytes and what pads them to a multiple of four.
fn read_padded<'b>(file: &mut File, memory: &'b mut [u8], len: u32) -> Result<&'b [u8], RunError> {
    let len = usize::try_from(len).map_err(|_| RunError::Cases)?;
    let padded = memory.get_mut(..len.next_multiple_of(4)).ok_or(RunError::Cases)?;
    file.read_exact(padded).map_err(|_| RunError::Cases)?;
    padded.get(..len).ok_or(RunError::Cases)
}

/// Writes what became of a case.
fn append(results: &mut File, output: Result<&[i8], CaseError>) -> semihosting::io::Result<()> {
    let (outcome, bytes) = match output {
        Ok(output) => {
            // an output lies in the arena, so that its length fits
            let output_bytes = u32::try_from(output.len()).unwrap_or(u32::MAX);
            (CaseOutcome::Ran { output_bytes }, bytemuck::cast_slice(output))
        }
        Err(CaseError::Refused(_)) => (CaseOutcome::Refused, &[][..]),
        Err(CaseError::FrameSize) => (CaseOutcome::FrameSize, &[][..]),
    };
    results.write_all(&outcome.to_bytes())?;
    results.write_all(bytes)
}
