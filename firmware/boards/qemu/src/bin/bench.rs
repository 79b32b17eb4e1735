//! The benchmark's firmware: what a model takes on this board, layer by layer, in a program with nothing else in it.
//!
//! No log: the exit code says whether it went well. `ocelli_app::bench::layers` describes its files.
#![no_std]
#![no_main]

#[path = "../clock.rs"]
mod clock;
#[path = "../host_file.rs"]
mod host_file;
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
use host_file::{HostFile, OpenMode, fail};
use ocelli::model::Aligned;
use ocelli::runtime::{Arena, SessionOf};
use ocelli_app::bench::RESULTS_FILE;
use ocelli_app::bench::layers::{LAYERS_FILE, LayersHeader, LayersInput};
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
type Ticks = [u32; config::OPS + 1];

// The start code, cortex-m-rt's and riscv-rt's, calls it by this name.
#[unsafe(export_name = "main")]
extern "C" fn main() -> ! {
    let arena = once!(Arena<{ config::ARENA_BYTES }> = Arena::new()).bytes_mut();
    // Variables, not on the stack: that is measured for the runtime's sake.
    let place = once!(Option<Session<'static, 'static>> = None);
    let meter = once!(Meter = Meter::new());
    run(arena, place, meter);
    ExitCode::SUCCESS.exit_process()
}

/// Runs every frame twice. Ends the program when the model is refused, a file cannot be read or written, or the stack overflows.
fn run<'a>(arena: &'a mut [u8], place: &mut Option<Session<'static, 'a>>, meter: &mut Meter) {
    begin(arena, place, meter);
    let Some(session) = place else { fail() };
    for pass in 0..meter.count << 1 {
        *meter.ticks.get_mut() = [0; config::OPS + 1];
        run_frame(session, meter, pass & 1 != 0);
        meter.results.write(bytemuck::bytes_of(meter.ticks.get_mut()));
        meter.results.write(bytemuck::cast_slice(session.output()));
    }
    let Some(deepest) = stack::deepest_bytes() else { fail() };
    meter.results.write(&deepest.to_le_bytes());
}

/// Starts the clock, checks the model, opens both files and writes the results' head. Apart: it needs no stack below the frames.
#[inline(never)]
fn begin<'a>(arena: &'a mut [u8], place: &mut Option<Session<'static, 'a>>, meter: &mut Meter) {
    meter.clock = Clock::start();
    let clock = meter.clock;
    meter.reading_ticks = clock.reading_ticks();
    let calibration_ticks = clock.calibrate().wrapping_sub(meter.reading_ticks);
    // The compiler must not learn what is in the file: a board's model may be exchanged without it.
    let model = core::hint::black_box(&MODEL.0);
    let start = clock.now();
    load(model, arena, place);
    let load_ticks = clock.now().wrapping_sub(start).wrapping_sub(meter.reading_ticks);
    let Some(session) = place else { fail() };
    let header = LayersHeader {
        ops: config::OPS as u32,
        output_bytes: session.output().len() as u32,
        calibration_instructions: CALIBRATION_INSTRUCTIONS,
        calibration_ticks,
        load_ticks,
        reading_ticks: meter.reading_ticks,
    };
    meter.results = HostFile::open(RESULTS_FILE, OpenMode::WRONLY_TRUNC_BINARY);
    meter.results.write(bytemuck::bytes_of(&header.to_words()));
    meter.frames = HostFile::open(LAYERS_FILE, OpenMode::RDONLY_BINARY);
    let mut head = [0; LayersInput::WORDS];
    meter.frames.read(bytemuck::bytes_of_mut(&mut head));
    // The magic is not looked at: the host that wrote the file checks the results.
    let [.., count] = head;
    meter.count = count;
}

/// Checks the model. Apart from the loop over the frames, which then does not have the stack of the checks below its own.
#[inline(never)]
fn load<'m, 'a>(model: &'m [u8], arena: &'a mut [u8], place: &mut Option<Session<'m, 'a>>) {
    // (with `ok()` a refusal would be copied as well)
    if let Ok(session) = Session::load(model, arena) {
        *place = Some(session);
    }
}

/// Runs a frame, its rows read from `file`; the reading is not measured.
///
/// With `observe` the clock is read after every step, and the step goes to its operator; what comes before the first step of a row
/// and after the last (looks at the schedule) goes to the input. Without it everything goes to the input: the frame's total.
#[inline(never)]
fn run_frame(session: &mut Session<'_, '_>, meter: &Meter, observe: bool) {
    let mut is_last = false;
    while !is_last {
        meter.begin();
        let scores = session.push_row_observed(
            |row| {
                meter.charge(0);
                meter.frames.read(bytemuck::cast_slice_mut(row));
                meter.begin();
            },
            |step| {
                if observe {
                    meter.charge(step.op + 1);
                }
            },
        );
        is_last = scores.is_some();
        meter.charge(0);
    }
}

/// Measures intervals; what a reading of the clock takes is not in them.
struct Meter {
    clock: Clock,
    frames: HostFile,
    results: HostFile,
    /// Frames that there are.
    count: u32,
    reading_ticks: u32,
    last: Cell<u32>,
    ticks: Cell<Ticks>,
}

impl Meter {
    const fn new() -> Self {
        Self {
            clock: Clock::stopped(),
            frames: HostFile::closed(),
            results: HostFile::closed(),
            count: 0,
            reading_ticks: 0,
            last: Cell::new(0),
            ticks: Cell::new([0; config::OPS + 1]),
        }
    }

    /// Begins an interval.
    fn begin(&self) {
        self.last.set(self.clock.now());
    }

    /// Ends an interval, adds it to those of `slot`, and begins the next.
    #[inline(never)]
    fn charge(&self, slot: usize) {
        let spent = self.clock.now().wrapping_sub(self.last.get()).wrapping_sub(self.reading_ticks);
        if let Some(ticks) = self.ticks.as_array_of_cells().get(slot) {
            ticks.set(ticks.get().wrapping_add(spent));
        }
        self.begin();
    }
}
