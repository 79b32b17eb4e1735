//! `cargo xtask demo`: from a clean clone to a digit classifier on an emulated board.

use crate::process::{cargo, line};
use crate::setup::{self, Needs};
use anyhow::{Context, Result};
use ocelli_firmware_tools::boards;
use std::process::ExitCode;

/// The board that the demo runs on.
const BOARD: &str = "qemu-m4";

/// Sets up what the demo needs, then runs it; its exit code is passed on.
pub fn run(args: &[String]) -> Result<ExitCode> {
    setup::ensure(&Needs::board(boards::find(BOARD)?))
        .context("setup failed (without the device, nothing but Rust is needed: cargo run --release -- demo)")?;
    let mut demo = cargo();
    demo.args(["run", "--release", "--", "demo"]).args(args);
    println!("$ {}", line(&demo));
    let status = demo.status().context("cannot start cargo")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
