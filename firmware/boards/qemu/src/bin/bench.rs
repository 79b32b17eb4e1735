//! The benchmark's firmware: what a model takes on this board, layer by layer, in a program with nothing else in it.
//!
//! No log: the exit code says whether it went well. `ocelli_app::bench::layers` describes its files.
#![no_std]
#![no_main]

#[path = "../clock.rs"]
mod clock;
#[macro_use]
#[path = "../once.rs"]
mod once;
#[path = "../quiet_fault.rs"]
mod quiet_fault;
#[path = "../small.rs"]
mod small;
#[path = "../stack.rs"]
mod stack;

use clock::{CALIBRATION_INSTRUCTIONS, Clock};
use core::cell::Cell;
use ocelli::model::Aligned;
use ocelli::runtime::{Arena, SessionOf};
use ocelli_app::bench::RESULTS_FILE;
use ocelli_app::bench::layers::{LAYERS_FILE, LayersHeader, LayersInput};
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

/// A session with the kernels that the model needs and no others.
type Session<'m, 'a> = SessionOf<'m, 'a, { config::KINDS }>;

/// Ticks of the input (first) and of each operator.
type Ticks = [Cell<u32>; config::OPS + 1];

// The start code, cortex-m-rt's and riscv-rt's, calls it by this name.
#[unsafe(export_name = "main")]
extern "C" fn main() -> ! {
    let arena = once!(Arena<{ config::ARENA_BYTES }> = Arena::new()).bytes_mut();
    let ticks = once!(Ticks = [const { Cell::new(0) }; config::OPS + 1]);
    let code = if run(arena, ticks).is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    code.exit_process()
}

/// Runs every frame twice; `None` when the model is refused, a file cannot be read or written, or the stack overflows.
fn run(arena: &mut [u8], ticks: &Ticks) -> Option<()> {
    let clock = Clock::start();
    let meter = Meter { clock, reading: clock.reading_ticks(), last: Cell::new(0), ticks };
    let calibration_ticks = clock.calibrate().wrapping_sub(meter.reading);
    // The compiler must not learn what is in the file: a board's model may be exchanged without it.
    let model = core::hint::black_box(&MODEL.0);
    meter.begin();
    let mut loaded = load(model, arena);
    let session = loaded.as_mut()?; // where it is: a move would take its size of the stack again
    let load_ticks = meter.spent();

    let mut results = Results::begin(session.output(), calibration_ticks, load_ticks, meter.reading)?;
    let (mut unobserved, count) = open()?;
    let (mut observed, _) = open()?;
    for _ in 0..count {
        run_frame(session, &mut unobserved, &meter, false)?;
        results.append(&meter.take(0).to_le_bytes())?;
        results.append(bytemuck::cast_slice(session.output()))?;
        run_frame(session, &mut observed, &meter, true)?;
        for slot in 0..ticks.len() {
            results.append(&meter.take(slot).to_le_bytes())?;
        }
        results.append(bytemuck::cast_slice(session.output()))?;
    }
    results.append(&stack::deepest_bytes()?.to_le_bytes())
}

/// Checks the model. Apart from the loop over the frames, which then does not have the stack of the checks below its own.
#[inline(never)]
fn load<'m, 'a>(model: &'m [u8], arena: &'a mut [u8]) -> Option<Session<'m, 'a>> {
    Session::load(model, arena).ok()
}

/// Runs a frame, its rows read from `file`; the reading is not measured.
///
/// With `observe` the clock is read after every step, and the step goes to its operator; what comes before the first step of a row
/// and after the last (looks at the schedule) goes to the input. Without it everything goes to the input: the frame's total.
fn run_frame(session: &mut Session<'_, '_>, file: &mut File, meter: &Meter<'_>, observe: bool) -> Option<()> {
    let mut read = true;
    for _ in 0..session.model().input_shape().h {
        meter.begin();
        session.push_row_observed(
            |row| {
                meter.charge(0);
                read &= file.read_exact(bytemuck::cast_slice_mut(row)).is_ok();
                meter.begin();
            },
            |step| {
                if observe {
                    meter.charge(step.op + 1);
                }
            },
        );
        meter.charge(0);
    }
    read.then_some(())
}

/// Opens the frames file; also the number of frames in it.
fn open() -> Option<(File, u32)> {
    let mut file = File::open(LAYERS_FILE).ok()?;
    let mut head = [0; LayersInput::BYTES];
    file.read_exact(&mut head).ok()?;
    Some((file, LayersInput::parse(&head).ok()?.count))
}

/// Measures intervals; what a reading of the clock takes is not in them.
struct Meter<'t> {
    clock: Clock,
    reading: u32,
    last: Cell<u32>,
    ticks: &'t Ticks,
}

impl Meter<'_> {
    /// Begins an interval.
    fn begin(&self) {
        self.last.set(self.clock.now());
    }

    /// Ticks of the interval up to now.
    fn spent(&self) -> u32 {
        self.clock.now().wrapping_sub(self.last.get()).wrapping_sub(self.reading)
    }

    /// Ends an interval, adds it to those of `slot`, and begins the next.
    fn charge(&self, slot: usize) {
        let spent = self.spent();
        if let Some(ticks) = self.ticks.get(slot) {
            ticks.set(ticks.get().wrapping_add(spent));
        }
        self.begin();
    }

    /// The ticks of `slot`, which begins anew.
    fn take(&self, slot: usize) -> u32 {
        self.ticks.get(slot).map_or(0, Cell::take)
    }
}

/// The results file.
struct Results(File);

impl Results {
    /// Creates the file and writes its head. Not inlined: it needs no stack below the frames.
    #[inline(never)]
    fn begin(output: &[i8], calibration_ticks: u32, load_ticks: u32, reading_ticks: u32) -> Option<Self> {
        let mut results = Self(File::create(RESULTS_FILE).ok()?);
        let header = LayersHeader {
            ops: u32::try_from(config::OPS).ok()?,
            output_bytes: u32::try_from(output.len()).ok()?,
            calibration_instructions: CALIBRATION_INSTRUCTIONS,
            calibration_ticks,
            load_ticks,
            reading_ticks,
        };
        results.append(&header.to_bytes())?;
        Some(results)
    }

    fn append(&mut self, bytes: &[u8]) -> Option<()> {
        self.0.write_all(bytes).ok()
    }
}
