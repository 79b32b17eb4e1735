//! Builds the firmware for a board, runs it in QEMU and brings back every output byte: of pictures ([`run`]), or of many
//! small models in one run ([`run_cases`]). [`bench`](bench()) measures what a model takes.
//!
//! ```no_run
//! use ocelli_firmware_tools::{Frames, PixelFormat, Toolchain, build, find, run};
//! # fn main() -> anyhow::Result<()> {
//! let board = find("qemu-m4")?;
//! let toolchain = Toolchain::find(board.target)?;
//! let firmware = build(board, &toolchain, "models/mnist-cnn/model.ocelli".as_ref(), None)?;
//! let frames = Frames { width: 28, height: 28, format: PixelFormat::Gray8, frames: vec![vec![0; 28 * 28]] };
//! let device = run(board, &firmware, &frames, &mut |done| println!("{done} frames"))?;
//! assert_eq!(device.outputs.len(), 1);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "emulator")]
mod aligned;
#[cfg(feature = "emulator")]
pub mod bench;
pub mod boards;
#[cfg(feature = "emulator")]
pub mod build;
#[cfg(feature = "emulator")]
pub mod cases;
#[cfg(feature = "emulator")]
pub mod elf;
#[cfg(feature = "emulator")]
pub mod fit;
#[cfg(feature = "flash")]
pub mod flash;
#[cfg(feature = "emulator")]
pub mod frames;
#[cfg(feature = "emulator")]
pub mod kernels;
#[cfg(feature = "emulator")]
mod layers;
#[cfg(feature = "emulator")]
mod log;
#[cfg(feature = "push")]
pub mod push;
#[cfg(feature = "emulator")]
pub mod qemu;
pub mod toolchain;
#[cfg(feature = "emulator")]
pub mod update;

#[cfg(feature = "emulator")]
pub use bench::{BenchError, BenchOptions, BenchReport, CoreInstructions, DuoReport, LayerReport, bench, duo};
pub use boards::{
    BOARDS, Board, Emulator, Flashing, NeverSleeps, NotEmulated, NotUpdatable, Optimize, UnknownBoard, Updates,
    emulated, find, real,
};
#[cfg(feature = "emulator")]
pub use build::{BuildError, Firmware, Rest, build, build_chatty, build_sleeping, build_updatable};
#[cfg(feature = "emulator")]
pub use cases::{Case, CaseOutput, CasesError, run_cases};
#[cfg(feature = "emulator")]
pub use frames::{DeviceRun, Frames, run, watch};
#[cfg(feature = "emulator")]
pub use kernels::run_kernels;
#[cfg(feature = "emulator")]
pub use ocelli::image::PixelFormat;
#[cfg(feature = "emulator")]
pub use qemu::{Event, RunError};
pub use toolchain::{MissingTool, Toolchain};
