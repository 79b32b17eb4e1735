//! `cargo xtask boards`: builds the firmware of every real board, which cannot be run here, and says how large it is.

use crate::ci::firmware_clippy;
use crate::process::root;
use crate::setup::{self, Needs};
use anyhow::{Context, Result};
use ocelli_firmware_tools::boards::real;
use ocelli_firmware_tools::build::build;
use ocelli_firmware_tools::toolchain::Toolchain;
use std::process::ExitCode;
use std::time::Instant;

/// The model in each.
const MODEL: &str = "models/mnist-cnn/model.ocelli";

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Run clippy on their crates first, with warnings denied.
    #[arg(long)]
    pub clippy: bool,
}

/// Builds them and prints a table.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.clippy {
        setup::ensure(&Needs::everything())?;
        firmware_clippy(real())?;
    }
    let model = root().join(MODEL);
    let mut rows = Vec::new();
    for board in real() {
        setup::ensure(&Needs::board(board))?;
        let toolchain = Toolchain::find(board.target)?;
        println!("boards: builds the firmware of {}", board.name);
        let start = Instant::now();
        let firmware = build(board, &toolchain, &model, None).with_context(|| format!("firmware of {}", board.name))?;
        rows.push((board, firmware, start.elapsed()));
    }
    println!("\n{MODEL} on the real boards, in bytes; RAM without the stack:");
    println!("| board | core | flash | of | RAM | of | camera | screen | flashed by | build s |");
    println!("| --- | --- | --: | --: | --: | --: | --- | --- | --- | --: |");
    for (board, firmware, time) in &rows {
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} |",
            board.name,
            board.core,
            firmware.flash_bytes,
            board.flash_bytes,
            firmware.ram_static_bytes,
            board.ram_bytes,
            board.camera,
            board.screen,
            board.flashing,
            time.as_secs_f64(),
        );
    }
    Ok(ExitCode::SUCCESS)
}
