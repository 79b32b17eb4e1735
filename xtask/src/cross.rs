//! `cargo xtask cross`: the Raspberry Pi's program, built here; what is built runs under QEMU and must say the same as on this computer.

use crate::linux::{AARCH64, ARMV7, Computer};
use crate::process::{self, cargo, root, shown_output};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "ocelli-raspberry-pi";
const PROGRAM: &str = "ocelli-pi";
/// Pictures without loss: decoders of JPEG may round otherwise on another processor.
const PICTURES: &str = "tests/data/photos";
/// One model of each colour order and kind of network.
const MODELS: [&str; 3] = ["models/mnist-cnn", "models/cifar-cnn", "models/resnet8"];

/// The computer to build for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// 64-bit Arm: a Raspberry Pi 3 or newer with a 64-bit system.
    #[default]
    Aarch64,
    /// 32-bit Arm: a Raspberry Pi 2 or newer with a 32-bit system.
    Armv7,
}

/// Arguments of `cross`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// The computer to build for.
    #[arg(long, value_enum, default_value = "aarch64")]
    target: Target,
    /// With tract, for `--verify` and the comparison of `bench`: takes several minutes more.
    #[arg(long)]
    verify: bool,
}

/// Builds the program and compares what it prints with this computer's.
pub fn run(args: &Args) -> Result<()> {
    let computer = match args.target {
        Target::Aarch64 => &AARCH64,
        Target::Armv7 => &ARMV7,
    };
    computer.ensure_packages()?;
    let program = build(computer, args.verify)?;
    let size = std::fs::metadata(&program)?.len();
    println!("built: {} ({:.1} MB)", program.display(), size as f64 / 1e6);
    let own = build_here()?;
    for model in MODELS {
        let pictures = ["--model", model, "--images", PICTURES, "--scores", "--smooth", "none"];
        let here = process::output(Command::new(&own).current_dir(root()).args(pictures))?;
        let there = shown_output(computer.emulated(&program).current_dir(root()).args(pictures))?;
        let count = here.lines().count();
        ensure!(count >= 5, "{model}: only {count} pictures were classified");
        ensure!(here == there, "{model}: this computer says otherwise:\n{here}");
        println!("{model}: {count} pictures, every score is this computer's");
    }
    Ok(())
}

/// Builds the program for this computer; returns where it is. With the features of the whole workspace, whose tests ci has built before: those
/// of the package alone would compile tract a second time.
fn build_here() -> Result<PathBuf> {
    process::run(cargo().args(["build", "--release", "--locked", "--workspace", "--bin", PROGRAM]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(root().join(target).join("release").join(PROGRAM))
}

/// Builds the program for a computer; returns where it is.
fn build(computer: &Computer, verify: bool) -> Result<PathBuf> {
    let mut build = computer.cargo()?;
    build.current_dir(root()).args(["build", "--release", "--locked", "--package", PACKAGE]);
    if !verify {
        build.arg("--no-default-features");
    }
    let folder = Path::new("target").join(computer.folder);
    build.args(["--target", computer.target, "--target-dir"]).arg(&folder);
    process::run(&mut build)?;
    Ok(root().join(folder).join(computer.target).join("release").join(PROGRAM))
}
