//! Project tasks: `cargo xtask setup`, `ci`, `demo`, `bench`, `boards`, `browser`, `interop`, `sizes`,
//! `aarch64`, `cross`, `sanitize`, `miri`, `gpu` and `remote`.

mod aarch64;
mod apt;
mod bench;
mod bench_host;
mod bench_train;
mod boards;
mod browser;
mod ci;
mod cross;
mod debian;
mod demo;
mod gpu;
mod interop;
mod linux;
mod memory;
mod platform;
mod process;
mod setup;
mod sizes;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Project tasks of Ocelli.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what firmware work needs: Rust targets and QEMU. Says what it installs; installs only what is missing.
    ///
    /// With OCELLI_TOOLCHAIN=debian it uses Debian's packages only, not rustup.
    Setup,
    /// Run every check of the project; stop at the first that fails.
    Ci,
    /// Measure a model.
    #[command(subcommand)]
    Bench(bench::Task),
    /// Build the firmware of the real boards, which run nowhere here, and print flash and RAM of each.
    Boards(boards::Args),
    /// Flash, RAM and instructions of every model on every emulated board: print the table, check it, write it.
    Sizes(sizes::Args),
    /// Run the tests of 64-bit Arm's kernels under QEMU.
    Aarch64,
    /// Build the Raspberry Pi's program, run it under QEMU, and compare what it says with this computer.
    Cross(cross::Args),
    /// Test the report page of a run in headless Chromium, at the width of a phone and of a desktop.
    Browser(browser::Args),
    /// Run exported networks in ONNX Runtime, LiteRT and tflite-micro, which must compute what ours does; installs these from PyPI.
    Interop(interop::Args),
    /// Run the tests of untrusted model files under AddressSanitizer, or valgrind.
    Sanitize,
    /// Run the runtime's tests under Miri.
    Miri,
    /// Train on a GPU through wgpu, or on Mesa's software Vulkan, beside the CPU; installs Mesa's drivers where there are none.
    Gpu,
    /// Run the tests of devices of other machines.
    Remote,
    /// Set up what is missing, then run `ocelli demo` with these arguments.
    Demo {
        /// Arguments for `ocelli demo` (see `cargo xtask demo -- --help`).
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup => setup::ensure(&setup::Needs::everything()).map(|()| ExitCode::SUCCESS),
        Task::Ci => ci::run(),
        Task::Bench(task) => bench::run(&task),
        Task::Boards(args) => boards::run(&args),
        Task::Sizes(args) => sizes::run(&args),
        Task::Aarch64 => aarch64::test().map(|()| ExitCode::SUCCESS),
        Task::Cross(args) => cross::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Browser(args) => browser::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Interop(args) => interop::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Sanitize => memory::sanitize(),
        Task::Miri => memory::miri(),
        Task::Gpu => gpu::gpu().map(|()| ExitCode::SUCCESS),
        Task::Remote => gpu::remote().map(|()| ExitCode::SUCCESS),
        Task::Demo { args } => demo::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
