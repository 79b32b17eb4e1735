//! Holds the core's own inner loops to the portable ones, over random cases, and counts their instructions.
//!
//! Writes text by semihosting; the exit code is 1 when a result differs.
#![no_std]
#![no_main]

#[path = "kernels/cases.rs"]
mod cases;
#[path = "../clock.rs"]
mod clock;
#[path = "../fault.rs"]
mod fault;
#[path = "kernels/measure.rs"]
mod measure;
#[macro_use]
#[path = "../once.rs"]
mod once;
#[path = "kernels/random.rs"]
mod random;
#[path = "../stack.rs"]
mod stack;

use cases::Case;
use clock::Clock;
#[cfg(target_arch = "arm")]
use cortex_m as _; // its critical section
use defmt_semihosting as _;
use ocelli::kernels::Native;
use ocelli::kernels::isa::{Isa, PIXELS};
use random::Rng;
use semihosting::println;
use semihosting::process::ExitCode;

/// Cases of each method.
const CASES: u32 = 3000;
/// The longest column.
const MAX_K: usize = 640;
/// The most channels.
const MAX_C: usize = 64;
/// The most cells of a window.
const MAX_CELLS: usize = 25;
/// The longest run of values.
const MAX_VALUES: usize = 700;
const MAX_WEIGHTS: usize = MAX_K * 66;

type Lane = <Native as Isa>::Lane;

/// Everything that a case needs.
struct Memory {
    values: [i8; MAX_CELLS * (MAX_C + 4) + MAX_VALUES],
    /// The weights begin at a multiple of 4.
    weights: [u32; MAX_WEIGHTS / 4],
    /// With room for a column that begins at the second lane.
    column: [u64; (MAX_K + 2) * PIXELS * size_of::<Lane>() / 8],
    portable_column: [i8; MAX_K * PIXELS],
    accumulators: [[[i32; PIXELS]; MAX_C]; 2],
    multipliers: [i32; MAX_C],
    shifts: [i8; MAX_C],
    bias: [i32; MAX_C],
    out: [[i8; MAX_VALUES]; 2],
}

impl Memory {
    const fn new() -> Self {
        Self {
            values: [0; _],
            weights: [0; _],
            column: [0; _],
            portable_column: [0; _],
            accumulators: [[[0; PIXELS]; MAX_C]; 2],
            multipliers: [0; _],
            shifts: [0; _],
            bias: [0; _],
            out: [[0; MAX_VALUES]; 2],
        }
    }
}

// The start code, cortex-m-rt's and riscv-rt's, calls it by this name.
#[unsafe(export_name = "main")]
extern "C" fn main() -> ! {
    let memory = once!(Memory = Memory::new());
    let mut rng = Rng(0x0CE1_1106_2025_1003);
    let suite: [(&str, Case); 8] = [
        ("gather, fill, gather_tile, accumulate", cases::accumulate),
        ("one value among equal ones", cases::accumulate_one),
        ("requantize", cases::requantize),
        ("depthwise", cases::depthwise),
        ("depthwise run", cases::depthwise_run),
        ("dot", cases::dot),
        ("dot of four bits", cases::dot_nibbles),
        ("add", cases::add),
    ];
    for (name, case) in suite {
        for i in 0..CASES {
            if let Err(index) = case(memory, &mut rng) {
                println!("{name}: case {i} differs at {index}");
                ExitCode::FAILURE.exit_process();
            }
        }
        println!("{name}: {CASES} cases are equal");
    }
    measure::measure(memory, &mut rng, Clock::start());
    fault::check_stack();
    ExitCode::SUCCESS.exit_process()
}
