//! Measures a model on a board: instructions of every layer, flash by section, RAM with the deepest stack.
//!
//! QEMU counts instructions, not cycles: waiting for flash, stalls and dual issue are not in the figures.

mod duo;
mod results;

pub use duo::{CoreInstructions, DuoReport, duo};

use crate::aligned::Aligned;
use crate::boards::{Board, Optimize};
use crate::build::{self, BuildError, Firmware};
use crate::layers;
use crate::qemu::{self, Job, RunError};
use crate::toolchain::{Toolchain, find_emulator};
use ocelli::model::{LoadError, Model};
use ocelli::runtime::Session;
use ocelli_app::bench::layers::{LAYERS_FILE, LayersInput};
use results::{Measured, frames_done};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How to measure.
#[derive(Clone, Debug, Default)]
pub struct BenchOptions {
    /// What the firmware is optimized for, if not for what the board's programs are by default.
    pub optimize: Option<Optimize>,
    /// Do not hold the board's outputs to the host's: for a model that is laid out for another core than the host's.
    pub skip_host: bool,
    /// As for [`build`](crate::build()).
    pub target_dir: Option<PathBuf>,
}

/// A layer's share of an inference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// Its name; the first layer is `input`, which stands for everything but the operators' steps.
    pub name: String,
    /// Instructions (mean over the frames), the schedule's part before each of its steps included.
    pub instructions: u64,
    /// Multiply-accumulates, border cells counted in.
    pub macs: u64,
    /// Bytes of its weights.
    pub weight_bytes: u64,
}

/// What a model takes on a board. All memory in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchReport {
    /// The board.
    pub board: &'static Board,
    /// What the firmware was optimized for.
    pub optimize: Optimize,
    /// Frames that were run.
    pub frames: usize,
    /// Instructions of an inference (mean over the frames), measured without any reading of the clock in between; reading
    /// the frame is not in them.
    pub instructions: u64,
    /// Instructions of the checks at load.
    pub load_instructions: u64,
    /// Multiply-accumulates of an inference.
    pub macs: u64,
    /// The layers, measured in a second pass with a reading of the clock after every step, which has been taken off.
    pub layers: Vec<LayerReport>,
    /// Flash of everything but the model.
    pub flash_code_bytes: u64,
    /// Flash of the model file.
    pub flash_model_bytes: u64,
    /// The part of it that is weights.
    pub flash_weight_bytes: u64,
    /// The sections that take flash, by name; the model lies in one of them.
    pub flash_sections: Vec<(String, u64)>,
    /// Working memory of a session: rings of rows, accumulators, state.
    pub arena_bytes: u64,
    /// The part of it that is accumulators.
    pub scratch_bytes: u64,
    /// The other variables of the program.
    pub static_bytes: u64,
    /// The deepest stack.
    pub stack_bytes: u64,
    /// The int8 outputs of each frame.
    pub outputs: Vec<Vec<i8>>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file could not be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The model file was refused.
    #[error("{}: {error}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: LoadError,
    },
    /// A frame has not the size of the model's input, or there is none.
    #[error("frames for the benchmark: {0}")]
    Frames(String),
    /// The firmware was not built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The instructions of each core were not counted.
    #[error("counting the instructions of each core: {0}")]
    Counts(String),
    /// The board gave another output than the host.
    #[error("frame {frame}, output {element}: {board} gives {found}, the host {expected}")]
    Differs {
        /// The board's name.
        board: &'static str,
        /// Number of the frame, from 0.
        frame: usize,
        /// Index in the output.
        element: usize,
        /// The board's value.
        found: i8,
        /// The host's value.
        expected: i8,
    },
}

/// Measures the model file at `path` on `board` over int8 frames, `[h, w, c]` each.
///
/// The figures are the same for every run. The board's outputs are held to those of the host.
///
/// # Errors
/// When a tool is missing, the model is refused or does not fit the board, a frame has another size than its input, the build or the
/// run fails, or an output differs from the host's.
pub fn bench(
    board: &'static Board,
    toolchain: &Toolchain,
    path: &Path,
    frames: &[Vec<i8>],
    options: &BenchOptions,
) -> Result<BenchReport, BenchError> {
    find_emulator(board).map_err(RunError::Missing)?;
    let file = Aligned::copy(&read(path)?);
    let refused = |error| BenchError::Model { path: path.to_owned(), error };
    let model = Model::parse(file.as_slice()).map_err(refused)?;
    let input = to_file(&model, frames)?;
    let optimize = options.optimize.unwrap_or(board.optimize);
    let firmware = build::build_bench(build::BENCH, board, toolchain, path, optimize, options.target_dir.as_deref())?;
    let (elf, count) = (&firmware.elf, frames.len());
    let job = Job { elf, input_name: LAYERS_FILE, input: &input, arguments: &[], count, done: frames_done };
    let finished = qemu::run(board, &job, &mut |_| {})?;
    let measured = Measured::parse(&finished.results, frames.len())
        .map_err(|reason| RunError::Results { board: board.name, reason })?;
    if !options.skip_host {
        let expected = host_outputs(model, frames).map_err(refused)?;
        compare(board, &measured.outputs, &expected)?;
    }
    Ok(report(board, optimize, &model, &firmware, measured))
}

/// `count` frames of noise over the whole int8 range for the model file at `path`, always the same.
///
/// # Errors
/// When the file cannot be read or is no model.
pub fn noise(path: &Path, count: usize) -> Result<Vec<Vec<i8>>, BenchError> {
    let file = Aligned::copy(&read(path)?);
    let model = Model::parse(file.as_slice()).map_err(|error| BenchError::Model { path: path.to_owned(), error })?;
    let mut state = 1_u32;
    let mut next = || {
        // Numerical Recipes' generator; its high bits are the random ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0].cast_signed()
    };
    let len = frame_len(&model);
    Ok((0..count).map(|_| (0..len).map(|_| next()).collect()).collect())
}

fn report(
    board: &'static Board,
    optimize: Optimize,
    model: &Model<'_>,
    firmware: &Firmware,
    measured: Measured,
) -> BenchReport {
    let known = layers::layers(model);
    let input = layers::Layer { name: "input".to_owned(), macs: 0, weight_bytes: 0 };
    let layers = std::iter::once(input).chain(known).zip(measured.layers).map(|(layer, instructions)| LayerReport {
        name: layer.name,
        instructions,
        macs: layer.macs,
        weight_bytes: layer.weight_bytes,
    });
    let layers: Vec<_> = layers.collect();
    let arena_bytes = u64::from(model.arena_bytes());
    BenchReport {
        board,
        optimize,
        frames: measured.outputs.len(),
        instructions: measured.instructions,
        load_instructions: measured.load_instructions,
        macs: layers.iter().map(|layer| layer.macs).sum(),
        flash_code_bytes: firmware.flash_code_bytes,
        flash_model_bytes: firmware.flash_model_bytes,
        flash_weight_bytes: layers.iter().map(|layer| layer.weight_bytes).sum(),
        flash_sections: firmware.flash_sections().to_vec(),
        arena_bytes,
        scratch_bytes: layers::scratch_bytes(model),
        static_bytes: firmware.ram_static_bytes.saturating_sub(arena_bytes),
        stack_bytes: measured.stack_bytes,
        outputs: measured.outputs,
        layers,
    }
}

/// The frames file, checked against the model's input: every frame twice.
fn to_file(model: &Model<'_>, frames: &[Vec<i8>]) -> Result<Vec<u8>, BenchError> {
    let needed = frame_len(model);
    if let Some((index, frame)) = frames.iter().enumerate().find(|(_, frame)| frame.len() != needed) {
        let reason = format!("frame {index} has {} values, the model's input {needed}", frame.len());
        return Err(BenchError::Frames(reason));
    }
    let count = u32::try_from(frames.len()).ok().filter(|&count| count > 0);
    let count = count.ok_or_else(|| BenchError::Frames("there must be one or more".to_owned()))?;
    let twice = frames.iter().flat_map(|frame| [frame, frame]);
    let values = twice.flatten().map(|value| value.cast_unsigned());
    Ok(LayersInput { count }.to_bytes().into_iter().chain(values).collect())
}

/// Values of the model's input; a checked model's fit a host's memory.
fn frame_len(model: &Model<'_>) -> usize {
    model.input_shape().elements().and_then(|len| usize::try_from(len).ok()).unwrap_or(0)
}

/// The outputs that the runtime gives on the host.
fn host_outputs(model: Model<'_>, frames: &[Vec<i8>]) -> Result<Vec<Vec<i8>>, LoadError> {
    let mut arena = Aligned::zeros(usize::try_from(model.arena_bytes()).unwrap_or(usize::MAX));
    let mut session = Session::with_model(model, arena.as_mut_slice())?;
    Ok(frames.iter().map(|frame| session.run_frame(frame).unwrap_or(&[]).to_vec()).collect())
}

fn compare(board: &'static Board, found: &[Vec<i8>], expected: &[Vec<i8>]) -> Result<(), BenchError> {
    for (frame, (found, expected)) in found.iter().zip(expected).enumerate() {
        let differing = found.iter().zip(expected).enumerate().find(|(_, (found, expected))| found != expected);
        if let Some((element, (&found, &expected))) = differing {
            return Err(BenchError::Differs { board: board.name, frame, element, found, expected });
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, BenchError> {
    fs::read(path).map_err(|error| BenchError::File { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards::find;

    #[test]
    fn the_first_output_that_differs_is_named() {
        let board = find("qemu-m4").unwrap();
        let host = vec![vec![1, 2], vec![3, 4]];
        assert!(compare(board, &host, &host).is_ok());
        let error = compare(board, &[vec![1, 2], vec![3, -4]], &host).unwrap_err();
        assert_eq!(error.to_string(), "frame 1, output 1: qemu-m4 gives -4, the host 4");
    }
}
