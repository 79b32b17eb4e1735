//! `cargo xtask boards`: builds the firmware of every real board, which cannot be run here, and says how large it is: as it is, and where it
//! can take other models over a line also with that.

use crate::ci::firmware_clippy;
use crate::process::root;
use crate::setup::{self, Needs};
use anyhow::{Context, Result};
use ocelli_firmware_tools::boards::{Board, real};
use ocelli_firmware_tools::build::{Firmware, Rest, build, build_sleeping, build_updatable};
use ocelli_firmware_tools::toolchain::Toolchain;
use std::process::ExitCode;
use std::time::{Duration, Instant};

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
        let updatable = match board.updates {
            Some(_) => Some(
                build_updatable(board, &toolchain, &model, None, None)
                    .with_context(|| format!("updatable firmware of {}", board.name))?,
            ),
            None => None,
        };
        let time = start.elapsed();
        if board.sleeps {
            let rest = Rest { every_ms: 10_000, by_pin: true };
            let sleeping = build_sleeping(board, &toolchain, &model, rest, None)
                .with_context(|| format!("sleeping firmware of {}", board.name))?;
            println!(
                "boards: {} that sleeps between frames (--every): {} bytes of flash, {} of RAM",
                board.name, sleeping.flash_bytes, sleeping.ram_static_bytes
            );
        }
        rows.push(Row { board, firmware, updatable, time });
    }
    print(&rows);
    Ok(ExitCode::SUCCESS)
}

/// A board's firmware, and that which takes other models.
struct Row {
    board: &'static Board,
    firmware: Firmware,
    updatable: Option<Firmware>,
    time: Duration,
}

fn print(rows: &[Row]) {
    println!("\n{MODEL} on the real boards, in bytes; RAM without the stack:");
    println!("| board | core | flash | of | RAM | of | camera | screen | flashed by | build s |");
    println!("| --- | --- | --: | --: | --: | --: | --- | --- | --- | --: |");
    for Row { board, firmware, time, .. } in rows {
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
    println!("\nThe same, taking other models over a line (--updatable):");
    println!("| board | flash | more than above | before the slots | a slot | RAM | of it working memory | line |");
    println!("| --- | --: | --: | --: | --: | --: | --: | --- |");
    for Row { board, firmware, updatable, .. } in rows {
        let (Some(updatable), Ok((before, updates))) = (updatable, board.updatable()) else { continue };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            board.name,
            updatable.flash_bytes,
            updatable.flash_bytes.saturating_sub(firmware.flash_bytes),
            before.flash_bytes,
            updates.slot_bytes,
            updatable.ram_static_bytes,
            updates.arena_bytes,
            updates.line,
        );
    }
}
