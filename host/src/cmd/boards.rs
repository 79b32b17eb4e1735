//! `ocelli boards`

use super::Verdict;
use super::ui::{table, thousands};
use anyhow::Context;
use ocelli_firmware_tools::fit::check_model;
use ocelli_firmware_tools::{BOARDS, Board};
use ocelli_host::run::model_path;
use serde::Serialize;
use std::path::PathBuf;

/// List the boards, and which of them hold a model
///
/// Core, flash, RAM, camera, screen, how the firmware gets there, and whether it has run: in QEMU, where every byte is held to the host's, or
/// never yet on the board itself. Below it which boards can take other models over a serial line.
///
/// With --model also whether the classifier of each board has room for it: what the model needs of flash and RAM, with camera row and stack.
/// The code comes on top, which `ocelli flash --build-only` tells.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model.ocelli, or a run folder.
    #[arg(long, short)]
    model: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    core: &'static str,
    cores: u8,
    target: &'static str,
    flash_bytes: u32,
    ram_bytes: u32,
    camera: &'static str,
    screen: &'static str,
    flashing: String,
    is_emulated: bool,
    /// The line that models can be pushed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    updates_over: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holds_model: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let model = match &args.model {
        Some(model) => {
            let path = model_path(model)?;
            let file = std::fs::read(&path).with_context(|| format!("cannot read the model {}", path.display()))?;
            Some((path, file))
        }
        None => None,
    };
    let mut rows = Vec::new();
    for board in BOARDS {
        let fits =
            model.as_ref().map(|(path, file)| check_model(file, board).with_context(|| path.display().to_string()));
        rows.push(row(board, fits.transpose()?.map(|fits| fits.err().map(|too_large| too_large.to_string()))));
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(Verdict::Done);
    }
    let mut header = vec!["board", "core", "flash", "RAM", "camera", "screen", "how flashed", "has run"];
    header.extend(model.as_ref().map(|_| "model"));
    let cells = rows.iter().map(|row| {
        let mut cells: Vec<String> = [row.name, row.core].map(str::to_owned).to_vec();
        cells.extend([row.flash_bytes, row.ram_bytes].map(|bytes| format!("{} KB", thousands(u64::from(bytes >> 10)))));
        cells.extend([row.camera, row.screen, &row.flashing].map(str::to_owned));
        cells.push(if row.is_emulated { "in QEMU" } else { "never on hardware" }.to_owned());
        cells.extend(row.holds_model.map(|holds| if holds { "fits" } else { "too large" }.to_owned()));
        cells
    });
    println!("{}", table(&header, cells, header.len()));
    for row in &rows {
        if let (Some(line), Some(bytes)) = (row.updates_over, row.slot_bytes) {
            println!(
                "{} takes other models by `ocelli push` when flashed with --updatable: over {line}, of up to {} KB",
                row.name,
                thousands(u64::from(bytes >> 10))
            );
        }
    }
    for row in &rows {
        if let Some(why) = &row.why_not {
            println!("{}: {why}", row.name);
        }
    }
    Ok(Verdict::Done)
}

/// A board's row; `fits` says of a model why it does not, if it does not.
fn row(board: &Board, fits: Option<Option<String>>) -> Row {
    Row {
        name: board.name,
        core: board.core,
        cores: board.cores,
        target: board.target,
        flash_bytes: board.flash_bytes,
        ram_bytes: board.ram_bytes,
        camera: board.camera,
        screen: board.screen,
        flashing: board.flashing.to_string(),
        is_emulated: board.emulator.is_some(),
        updates_over: board.updates.map(|updates| updates.line),
        slot_bytes: board.updates.map(|updates| updates.slot_bytes),
        holds_model: fits.as_ref().map(Option::is_none),
        why_not: fits.flatten(),
    }
}
