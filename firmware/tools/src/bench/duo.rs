//! One core and two: the same bytes, and the instructions of each core.
//!
//! A plugin counts them in QEMU, which runs one core at a time: what a core does while it waits for the other is no measure of anything
//! on a real chip, and is counted apart.

use super::{BenchError, BenchOptions, compare, host_outputs, layers, read, to_file};
use crate::aligned::Aligned;
use crate::boards::{Board, Optimize};
use crate::build::{DUO, build_bench, build_plugin};
use crate::elf;
use crate::qemu::{self, Job, RunError};
use crate::toolchain::{Toolchain, find_emulator};
use ocelli::model::Model;
use ocelli_app::bench::layers::LAYERS_FILE;
use std::fs;
use std::io;
use std::path::Path;

/// Instructions of a core in an inference (mean over the frames).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreInstructions {
    /// Of the work.
    pub work: u64,
    /// While it waited for the other core, as long as QEMU lets it.
    pub waiting: u64,
}

/// What a model takes on one core and on two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuoReport {
    /// The board.
    pub board: &'static Board,
    /// What the firmware was optimized for.
    pub optimize: Optimize,
    /// Frames that were run.
    pub frames: usize,
    /// Multiply-accumulates of an inference.
    pub macs: u64,
    /// Instructions of the first core alone.
    pub alone: CoreInstructions,
    /// Instructions of both cores together.
    pub together: [CoreInstructions; 2],
    /// Instructions on the longest way through the work of both: where they share, those of the core that has more. Divided into those of
    /// one core it says how much faster two are at best, with memory that serves both at once.
    pub span: u64,
    /// The deepest stack of each core, in bytes.
    pub stack_bytes: [u64; 2],
    /// The int8 outputs of each frame, the same with one core and with two.
    pub outputs: Vec<Vec<i8>>,
}

/// Runs the model file at `path` on one core of `board` and on two, over int8 frames, `[h, w, c]` each.
///
/// The outputs of both runs are held to those of the host.
///
/// # Errors
/// As [`bench`](super::bench), and when the board has one core only or QEMU cannot count.
pub fn duo(
    board: &'static Board,
    toolchain: &Toolchain,
    path: &Path,
    frames: &[Vec<i8>],
    options: &BenchOptions,
) -> Result<DuoReport, BenchError> {
    if board.cores < 2 {
        return Err(BenchError::Counts(format!("{} has one core", board.name)));
    }
    find_emulator(board).map_err(RunError::Missing)?;
    let file = Aligned::copy(&read(path)?);
    let refused = |error| BenchError::Model { path: path.to_owned(), error };
    let model = Model::parse(file.as_slice()).map_err(refused)?;
    let input = to_file(&model, frames)?;
    let optimize = options.optimize.unwrap_or(board.optimize);
    let firmware = build_bench(DUO, board, toolchain, path, optimize, options.target_dir.as_deref())?;
    let plugin = build_plugin(options.target_dir.as_deref())?;

    let dir = tempfile::Builder::new().prefix("ocelli-counts-").tempdir().map_err(failed("temporary folder"))?;
    let counts = dir.path().join("counts.txt");
    let plugin = plugin_argument(&plugin, &counts, &read(&firmware.elf)?)?;
    let arguments = ["-plugin".to_owned(), plugin];
    let (elf, count) = (&firmware.elf, frames.len());
    let job = Job { elf, input_name: LAYERS_FILE, input: &input, arguments: &arguments, count, done: |_| 0 };
    let finished = qemu::run(board, &job, &mut |_| {})?;
    let results =
        Results::parse(&finished.results, count).map_err(|reason| RunError::Results { board: board.name, reason })?;
    if !options.skip_host {
        let expected = host_outputs(model, frames).map_err(refused)?;
        compare(board, &results.alone, &expected)?;
    }
    compare(board, &results.together, &results.alone)?;

    let counts = fs::read_to_string(&counts).map_err(failed("the plugin's counts"))?;
    let [alone, together] = parse_counts(&counts, count).ok_or_else(|| BenchError::Counts(counts.clone()))?;
    Ok(DuoReport {
        board,
        optimize,
        frames: count,
        macs: layers::layers(&model).iter().map(|layer| layer.macs).sum(),
        alone: alone.cores[0],
        together: together.cores,
        span: together.span,
        stack_bytes: results.stack_bytes,
        outputs: results.together,
    })
}

/// QEMU's argument for the plugin: what it counts, by the addresses of the program's functions.
fn plugin_argument(plugin: &Path, counts: &Path, program: &[u8]) -> Result<String, BenchError> {
    let function = |name: &str| {
        elf::function(program, name).ok_or_else(|| BenchError::Counts(format!("the program has no function {name}")))
    };
    let mut argument = plugin.display().to_string();
    for (phase, name) in [(0, "ocelli_count_off"), (1, "ocelli_count_one"), (2, "ocelli_count_two")] {
        argument += &format!(",phase={phase}@{:#x}", function(name)?.start);
    }
    for name in ["ocelli_first_core_waits", "ocelli_second_core_waits"] {
        let range = function(name)?;
        argument += &format!(",wait={:#x}-{:#x}", range.start, range.end);
    }
    argument += &format!(",fork={:#x},out={}", function("ocelli_fork")?.start, counts.display());
    Ok(argument)
}

/// What the board left.
struct Results {
    alone: Vec<Vec<i8>>,
    together: Vec<Vec<i8>>,
    stack_bytes: [u64; 2],
}

impl Results {
    /// Takes the results file of `count` frames apart.
    fn parse(file: &[u8], count: usize) -> Result<Self, String> {
        let whole = |outputs: &usize| *outputs > 0 && outputs.is_multiple_of(2 * count.max(1));
        let outputs = file.len().checked_sub(8).filter(whole);
        let outputs = outputs.ok_or_else(|| format!("{} bytes are not those of {count} frames", file.len()))?;
        let (outputs, stacks) = file.split_at(outputs);
        let output = |bytes: &[u8]| -> Vec<i8> { bytes.iter().map(|&value| value.cast_signed()).collect() };
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for frame in outputs.chunks_exact(outputs.len() / count.max(1)) {
            let (first, second) = frame.split_at(frame.len() / 2);
            alone.push(output(first));
            together.push(output(second));
        }
        let stack = |at: usize| stacks[at..].first_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes).into());
        Ok(Self { alone, together, stack_bytes: [stack(0), stack(4)] })
    }
}

/// A line of the plugin's file.
struct Phase {
    cores: [CoreInstructions; 2],
    span: u64,
}

/// Means over `frames` of the plugin's counts of both phases.
fn parse_counts(text: &str, frames: usize) -> Option<[Phase; 2]> {
    let frames = u64::try_from(frames.max(1)).ok()?;
    let phase = |line: &str| {
        let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let &[_, work_a, wait_a, work_b, wait_b, span] = numbers.as_slice() else { return None };
        let core = |work: u64, waiting: u64| CoreInstructions { work: work / frames, waiting: waiting / frames };
        Some(Phase { cores: [core(work_a, wait_a), core(work_b, wait_b)], span: span / frames })
    };
    let mut lines = text.lines();
    Some([phase(lines.next()?)?, phase(lines.next()?)?])
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> BenchError {
    move |error| BenchError::Counts(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_taken_apart_and_others_refused() {
        let file = [1, 2, 255, 4, 5, 6, 7, 8, 44, 1, 0, 0, 9, 0, 0, 0];
        let results = Results::parse(&file, 2).unwrap();
        assert_eq!((results.alone, results.together), (vec![vec![1, 2], vec![5, 6]], vec![vec![-1, 4], vec![7, 8]]));
        assert_eq!(results.stack_bytes, [300, 9]);
        for cut in 0..file.len() {
            assert_eq!(Results::parse(&file[..cut], 2).is_ok(), cut == 12, "{cut} bytes");
        }
    }

    #[test]
    fn counts_are_means_over_the_frames() {
        let [alone, together] = parse_counts("1 100 2 0 0 100\n2 60 8 50 6 70\n", 2).unwrap();
        assert_eq!(alone.cores, [CoreInstructions { work: 50, waiting: 1 }, CoreInstructions::default()]);
        assert_eq!((together.cores[1].work, together.cores[1].waiting, together.span), (25, 3, 35));
        assert!(parse_counts("1 2 3\n", 1).is_none());
        assert!(parse_counts("", 1).is_none());
    }
}
