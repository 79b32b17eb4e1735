//! Holds a core's own inner loops to the portable ones, on an emulated board.

use crate::boards::Board;
use crate::build::{self, KERNELS};
use crate::cases::CasesError;
use crate::qemu::{self, Job, RunError};
use crate::toolchain::{Toolchain, find_emulator};
use std::path::Path;

/// Runs the program that compares every inner loop of the core with plain Rust, on thousands of random cases each: what it printed, the
/// instructions of each loop with it. `target_dir` is as for [`build`](crate::build()).
///
/// # Errors
/// When QEMU is missing, the program cannot be built, or a case differs; the error holds the line that says which.
pub fn run_kernels(
    board: &'static Board,
    toolchain: &Toolchain,
    target_dir: Option<&Path>,
) -> Result<Vec<String>, CasesError> {
    find_emulator(board).map_err(RunError::Missing)?;
    let image = build::build_program(KERNELS, board, toolchain, target_dir)?;
    let job = Job { elf: &image.elf, input_name: c"none", input: &[], arguments: &[], count: 1, done: |_| 0 };
    Ok(qemu::run(board, &job, &mut |_| {})?.log)
}
