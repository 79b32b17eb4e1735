//! `ocelli flash`

use super::Verdict;
use super::ui::{spinner, thousands};
use anyhow::{Context, anyhow};
use ocelli_firmware_tools::boards::{Board, find};
use ocelli_firmware_tools::fit::check_model;
use ocelli_firmware_tools::flash::{self, Flashed, Programs};
use ocelli_firmware_tools::push::{ModelKey, SecretKey};
use ocelli_firmware_tools::{Firmware, Rest, Toolchain, Updates, build_sleeping, build_updatable};
use ocelli_host::compile::Target;
use ocelli_host::model::ModelBytes;
use ocelli_host::run::model_path;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Build the firmware for a board with a model in it, and write it to the board
///
/// Refuses a model that does not fit before anything is compiled, with the numbers. Writes what the board takes (ELF, BIN, Intel HEX, UF2)
/// into the folder of --out, prints flash and RAM, and flashes:
///
/// A board with a boot drive (pico, pico2): the UF2 file is copied to the drive that the board shows when it is plugged in with BOOTSEL held
/// down, found by its INFO_UF2.TXT; with --probe a debug probe writes it. Others: a debug probe, by the program probe-rs; esp32-c3 by the
/// program espflash, with --probe by probe-rs. Where that program is missing the images stay and the message says what to install and to run. Where
/// several probes or ports are there, the program asks on a terminal; name one with --probe SELECTOR or --port.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The board: one of `ocelli boards`.
    #[arg(long)]
    board: String,
    /// A model.ocelli, or a run folder.
    #[arg(long, short)]
    model: PathBuf,
    /// Folder for the images, made where it is missing [default: firmware-BOARD].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Build and write the images only.
    #[arg(long, conflicts_with_all = ["drive", "probe", "port"])]
    build_only: bool,
    /// The board's boot drive, where it is not found by itself or there are several.
    #[arg(long, value_name = "DIR")]
    drive: Option<PathBuf>,
    /// Let the firmware take other models over its serial port (`ocelli boards` says which boards can).
    #[arg(long)]
    updatable: bool,
    /// Let it take those only that are signed by this key, a file of `ocelli push --new-key`; the public key's 64 digits will do. Implies --updatable.
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// Let chip and camera sleep, and classify every so many seconds (docs/power.md; nrf52840-dk).
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["updatable", "key"], value_parser = seconds)]
    every: Option<u32>,
    /// Let chip and camera sleep until a pin wakes them, with --every at the latest after so many seconds.
    #[arg(long, conflicts_with_all = ["updatable", "key"])]
    wake_pin: bool,
    /// Use a debug probe, not the boot drive or serial port; of several the one that is named, as probe-rs does (VID:PID or VID:PID:SERIAL).
    #[arg(long, value_name = "SELECTOR", conflicts_with = "drive")]
    probe: Option<Option<String>>,
    /// The serial port that espflash uses (esp32-c3).
    #[arg(long, conflicts_with = "probe")]
    port: Option<String>,
}

/// Seconds, as milliseconds.
fn seconds(text: &str) -> Result<u32, String> {
    let seconds: f64 =
        text.trim_end_matches('s').parse().map_err(|error: std::num::ParseFloatError| error.to_string())?;
    let wait = Duration::try_from_secs_f64(seconds).ok();
    // 2^32 ms are 49 days
    wait.and_then(|wait| u32::try_from(wait.as_millis()).ok())
        .filter(|&ms| ms > 0)
        .ok_or_else(|| "0.001 to 4294967 seconds".to_owned())
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let board = find(&args.board)?;
    let sleeps = args.every.is_some() || args.wake_pin;
    let rest = sleeps.then(|| Rest { every_ms: args.every.unwrap_or(0), by_pin: args.wake_pin });
    if rest.is_some() {
        board.check_sleeps()?;
    }
    let updates = if args.updatable || args.key.is_some() { Some(board.updatable()?.1) } else { None };
    let key = args.key.as_deref().map(public_key).transpose()?;
    let path = checked_model(&args.model, board)?;
    // what is not plugged in is known before minutes are spent on compiling
    let (has_probe, has_port) = (args.probe.is_some(), args.port.is_some());
    let way = if args.build_only { None } else { Some(flash::way(board, args.drive.as_deref(), has_probe, has_port)?) };
    let toolchain = Toolchain::find(board.target)?;
    let out = args.out.clone().unwrap_or_else(|| format!("firmware-{}", board.name).into());
    flash::check_folder(&out)?;
    let spinner = spinner(&format!("building the firmware for {}", board.name));
    let firmware = match (updates, rest) {
        (Some(_), _) => build_updatable(board, &toolchain, &path, key.as_ref(), None),
        (None, Some(rest)) => build_sleeping(board, &toolchain, &path, rest, None),
        (None, None) => ocelli_firmware_tools::build(board, &toolchain, &path, None),
    };
    spinner.finish_and_clear();
    let firmware = firmware?;
    println!("{}", in_words(board, &firmware));
    if let Some(updates) = updates {
        println!("{}", updates_in_words(&updates, key.is_some()));
    }

    let elf = fs::read(&firmware.elf).with_context(|| firmware.elf.display().to_string())?;
    let images = flash::write(&elf, board, &out)?;
    for file in images.files() {
        let address = images.bin.as_ref().filter(|(bin, _)| bin == file).map(|(_, address)| address);
        let address = address.map(|address| format!(" (from address {address:#010x})")).unwrap_or_default();
        println!("{}: {} bytes{address}", file.display(), thousands(fs::metadata(file)?.len()));
    }
    if let Some(way) = way {
        let programs = Programs { probe: args.probe.clone().flatten(), port: args.port.clone(), ..Programs::default() };
        match flash::flash(board, &images, &way, &programs)? {
            Flashed::Copied(copied) if copied.is_gone => {
                println!("copied to {}; the board has restarted with it", copied.file.display());
            }
            Flashed::Copied(copied) => println!("copied to {}; the board restarts with it", copied.file.display()),
            Flashed::By(program) => println!("{}: flashed by {program}", board.name),
        }
    }
    Ok(Verdict::Done)
}

/// The public key of a secret one's file, or of its own digits.
fn public_key(argument: &str) -> anyhow::Result<[u8; 32]> {
    match ModelKey::from_hex(argument) {
        Some(key) if !Path::new(argument).exists() => Ok(key.0),
        _ => Ok(SecretKey::read(Path::new(argument))?.public()),
    }
}

/// What a firmware takes that takes other models.
fn updates_in_words(updates: &Updates, is_signed: bool) -> String {
    format!(
        "takes {}models by `ocelli push`: over {}; {} bytes of flash are kept for two of them; a model that was pushed to the board before stays \
         the active one",
        if is_signed { "signed " } else { "" },
        updates.line,
        thousands((2 * updates.slot_bytes).into())
    )
}

/// The model file that an argument means, which a board's classifier has room for; says what it could do better on the board.
pub fn checked_model(argument: &Path, board: &Board) -> anyhow::Result<PathBuf> {
    let path = model_path(argument)?;
    let bytes = ModelBytes::read(&path)?;
    check_model(bytes.as_slice(), board)
        .map_err(|error| anyhow!("{}: {error} (`ocelli compile RUN --board {}`)", path.display(), board.name))??;
    let cores = Target::of_model(&bytes.model()?).cores;
    if cores < board.cores {
        eprintln!(
            "note: the model was compiled for {cores} core, {0} has {1}: `ocelli compile RUN --board {0}` shares the work among them",
            board.name, board.cores
        );
    }
    Ok(path)
}

/// What a firmware takes of its board.
pub fn in_words(board: &Board, firmware: &Firmware) -> String {
    format!(
        "{}: {} of {} bytes of flash ({} code, {} model), {} of {} bytes of RAM and the stack",
        board.name,
        thousands(firmware.flash_bytes),
        thousands(board.flash_bytes.into()),
        thousands(firmware.flash_code_bytes),
        thousands(firmware.flash_model_bytes),
        thousands(firmware.ram_static_bytes),
        thousands(board.ram_bytes.into())
    )
}
