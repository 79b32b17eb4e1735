//! One core and two: every frame is run by the first core alone and then by both, and each output goes into the results.
//!
//! No log: the exit code says whether it went well (the second core must not log, see `second_core.rs`). The input is that of the
//! benchmark, `ocelli_app::bench::layers`. The results file has, for each frame, the output of one core and that of two, and last
//! the deepest stacks in bytes, `u32`: the first core's and the second's. What runs between two of the marks below is counted from
//! outside, by QEMU's plugin: a core cannot count its own instructions there.
#![no_std]
#![no_main]

#[macro_use]
#[path = "../once.rs"]
mod once;
#[path = "../quiet_fault.rs"]
mod quiet_fault;
#[path = "../second_core.rs"]
mod second_core;
#[path = "../stack.rs"]
mod stack;

use core::arch::global_asm;
use ocelli::model::Aligned;
use ocelli::runtime::{Arena, SessionOf};
use ocelli::team::{Solo, Team};
use ocelli_app::bench::RESULTS_FILE;
use ocelli_app::bench::layers::{LAYERS_FILE, LayersInput};
use second_core::{Memory, SecondCore};
use semihosting::fs::File;
use semihosting::io::{Read, Write};
use semihosting::process::ExitCode;

/// Sizes that `build.rs` read from the model.
mod config {
    #![allow(dead_code, reason = "the classifier uses the others")]
    include!(concat!(env!("OUT_DIR"), "/config.rs"));
}

/// The model, under a name by which the host finds it in the ELF file.
#[unsafe(export_name = "ocelli_model")]
static MODEL: Aligned<[u8; config::MODEL_BYTES]> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/model.ocelli")));

/// A session with the model's kernels only.
type Session<'m, 'a> = SessionOf<'m, 'a, { config::KINDS }>;

// Functions of an instruction or two: what is executed after `ocelli_count_one` is counted as one core's, after `ocelli_count_two` as
// two cores', after `ocelli_count_off` not at all. Each is written out, for the compiler would make one of them all.
global_asm!(
    ".macro mark name",
    ".section .text.\\name, \"ax\"",
    ".global \\name",
    ".type \\name,%function",
    ".thumb_func",
    "\\name:",
    "bx lr",
    ".size \\name, . - \\name",
    ".endm",
    "mark ocelli_count_off",
    "mark ocelli_count_one",
    "mark ocelli_count_two",
);

unsafe extern "C" {
    safe fn ocelli_count_off();
    safe fn ocelli_count_one();
    safe fn ocelli_count_two();
}

// The start code calls it by this name.
#[unsafe(export_name = "main")]
extern "C" fn main() -> ! {
    let arena = once!(Arena<{ config::ARENA_BYTES }> = Arena::new()).bytes_mut();
    let second = SecondCore::start(once!(Memory = Memory::new()));
    let code = if run(arena, second).is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    code.exit_process()
}

/// Runs every frame twice; `None` when the model is refused, a file cannot be read or written, or a stack overflows.
fn run(arena: &mut [u8], mut second: SecondCore) -> Option<()> {
    // The compiler must not learn what is in the file: a board's model may be exchanged without it.
    let model = core::hint::black_box(&MODEL.0);
    let mut session = Session::load(model, arena).ok()?;
    let mut results = File::create(RESULTS_FILE).ok()?;
    let mut frames = File::open(LAYERS_FILE).ok()?;
    let mut head = [0; LayersInput::WORDS];
    frames.read_exact(bytemuck::bytes_of_mut(&mut head)).ok()?;
    for _ in 0..LayersInput::from_words(head).ok()?.count {
        run_frame(&mut session, &mut frames, &mut Solo, ocelli_count_one)?;
        results.write_all(bytemuck::cast_slice(session.output())).ok()?;
        run_frame(&mut session, &mut frames, &mut second, ocelli_count_two)?;
        results.write_all(bytemuck::cast_slice(session.output())).ok()?;
    }
    for bytes in [stack::deepest_bytes()?, second.deepest_stack_bytes()?] {
        results.write_all(&bytes.to_le_bytes()).ok()?;
    }
    Some(())
}

/// Runs a frame, its rows read from `file`; the reading is not counted.
#[inline(never)]
fn run_frame<T: Team>(
    session: &mut Session<'_, '_>,
    file: &mut File,
    team: &mut T,
    count: extern "C" fn(),
) -> Option<()> {
    let mut read = true;
    for _ in 0..session.model().input_shape().h {
        count();
        session.push_row_with(
            team,
            |row| {
                ocelli_count_off();
                read &= file.read_exact(bytemuck::cast_slice_mut(row)).is_ok();
                count();
            },
            |_| {},
        );
        ocelli_count_off();
    }
    read.then_some(())
}
