//! `ocelli run`

use super::Verdict;
use super::flash::{checked_model, in_words};
use super::predict::{Guess, top};
use super::ui::{bar, spinner, thousands};
use anyhow::{Context, bail, ensure};
use ocelli_firmware_tools::boards::{Board, emulated, find};
use ocelli_firmware_tools::flash::{self, Programs};
use ocelli_firmware_tools::{Event, Firmware, Toolchain, build, build_chatty};
use ocelli_host::check::{not_available, run_photos};
use ocelli_host::data::{RawImage, pictures, to_input};
use ocelli_host::model::ModelBytes;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Run photos through an emulated chip
///
/// Builds the firmware for an emulated board with the model in it, runs every picture of a folder (class folders too) through it in QEMU, and
/// prints the labels with their probabilities, the instructions, and whether every output byte is the one that this computer computes (exit
/// code 1 when not). Pictures that cannot be read are named, the others are run, and the exit code is 2.
///
/// With --watch the firmware's log is decoded and printed as it comes, with a line for each frame. For a real board there is only --watch: the
/// firmware is built and flashed, and its log is shown until ctrl-C (probe-rs must be installed); its camera brings the pictures.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The board: one of `ocelli boards`.
    #[arg(long, default_value = "qemu-m4")]
    board: String,
    /// A model.ocelli, or a run folder.
    #[arg(long, short)]
    model: PathBuf,
    /// Folder of pictures, or one picture.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// How many labels to print.
    #[arg(long, default_value_t = 1, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    top: usize,
    /// Print what the firmware logs, as it comes (with --json to standard error).
    #[arg(long)]
    watch: bool,
    /// The debug probe of a real board, of several, as probe-rs names it (VID:PID or VID:PID:SERIAL).
    #[arg(long, value_name = "SELECTOR", requires = "watch")]
    probe: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Pictures that are run at once: a start of QEMU for each batch, and memory for one.
const BATCH: usize = 256;

#[derive(Serialize)]
struct Photo {
    image: PathBuf,
    top: Vec<Guess>,
    instructions: u64,
}

/// What all batches gave.
#[derive(Default)]
struct Sum {
    photos: Vec<Photo>,
    unreadable: usize,
    differing_bytes: usize,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let board = find(&args.board)?;
    if board.emulator.is_none() {
        return on_real_board(args, board);
    }
    let folder = args.images.as_ref().context("--images is missing: the folder of the pictures to run")?;
    let path = checked_model(&args.model, board)?;
    let model = ModelBytes::read(&path)?;
    let files = pictures(folder)?;
    ensure!(!files.is_empty(), "{} has no pictures (PNG, JPEG, GIF, BMP, WebP, TIFF, PNM)", folder.display());
    if let Some(missing) = not_available(board) {
        bail!("{missing}");
    }
    let firmware = built(board, &path, args.watch)?;
    let mut sum = Sum::default();
    for files in files.chunks(BATCH) {
        run_batch(args, board, &firmware, &model, files, &mut sum)?;
    }
    report(args, board, &firmware, &sum)?;
    ensure!(sum.unreadable == 0, "{} of {} pictures could not be read", sum.unreadable, files.len());
    Ok(if sum.differing_bytes == 0 { Verdict::Done } else { Verdict::Differs })
}

/// Flashes a real board and shows its log.
fn on_real_board(args: &Args, board: &'static Board) -> anyhow::Result<Verdict> {
    let name = board.name;
    if !args.watch || args.images.is_some() || args.json {
        let same_core = emulated().find(|other| other.core == board.core).map_or("qemu-m4", |other| other.name);
        bail!(
            "{name} is a real board, whose camera brings the pictures: flash it with `ocelli flash --board {name} --model {0}`, see what it \
             logs with `ocelli run --board {name} --model {0} --watch`, or run photos on an emulated board with such a core: --board \
             {same_core}",
            args.model.display()
        );
    }
    let path = checked_model(&args.model, board)?;
    // real boards log each result anyway, and their HALs much more where they are asked to
    let firmware = built(board, &path, false)?;
    println!("{}", in_words(board, &firmware));
    flash::watch(board, &firmware.elf, &Programs { probe: args.probe.clone(), ..Programs::default() })?;
    Ok(Verdict::Done)
}

/// Builds the firmware; `is_chatty`: one that logs every frame.
fn built(board: &'static Board, model: &Path, is_chatty: bool) -> anyhow::Result<Firmware> {
    let toolchain = Toolchain::find(board.target)?;
    let spinner = spinner(&format!("building the firmware for {}", board.name));
    let build = if is_chatty { build_chatty } else { build };
    let firmware = build(board, &toolchain, model, None);
    spinner.finish_and_clear();
    Ok(firmware?)
}

fn run_batch(
    args: &Args,
    board: &'static Board,
    firmware: &Firmware,
    model: &ModelBytes,
    files: &[PathBuf],
    sum: &mut Sum,
) -> anyhow::Result<()> {
    let spec = model.input_spec()?;
    let (mut readable, mut photos) = (Vec::new(), Vec::new());
    for file in files {
        let input = RawImage::open(file).map_err(anyhow::Error::from);
        match input.and_then(|raw| to_input(&raw, &spec).with_context(|| file.display().to_string())) {
            Ok(pixels) => {
                readable.push(file);
                photos.push(pixels);
            }
            Err(error) => {
                sum.unreadable += 1;
                eprintln!("error: {error:#}");
            }
        }
    }
    if photos.is_empty() {
        return Ok(());
    }
    let bar = bar(board.name, photos.len() as u64);
    let mut hear = |event: Event<'_>| match event {
        Event::Done(done) => bar.set_position(done as u64),
        Event::Log(line) => bar.suspend(|| if args.json { eprintln!("{line}") } else { println!("{line}") }),
    };
    let run = run_photos(board, firmware, model, &photos, args.watch, &mut hear);
    bar.finish_and_clear();
    let run = run?;
    sum.differing_bytes += run.differing_bytes;
    for ((file, scores), instructions) in readable.into_iter().zip(&run.outputs).zip(run.instructions) {
        let photo = Photo { image: file.clone(), top: top(&model.model()?, scores, args.top), instructions };
        if !args.json {
            let guesses: Vec<String> = photo.top.iter().map(Guess::to_string).collect();
            println!("{}: {}", photo.image.display(), guesses.join(", "));
        }
        sum.photos.push(photo);
    }
    Ok(())
}

fn report(args: &Args, board: &Board, firmware: &Firmware, sum: &Sum) -> anyhow::Result<()> {
    let count = sum.photos.len() as u64;
    let instructions = sum.photos.iter().map(|photo| photo.instructions).sum::<u64>() / count.max(1);
    if args.json {
        let report = serde_json::json!({
            "board": board.name, "photos": sum.photos, "unreadable": sum.unreadable, "instructions": instructions,
            "differing_bytes": sum.differing_bytes, "flash_bytes": firmware.flash_bytes,
            "ram_static_bytes": firmware.ram_static_bytes,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!("{}", in_words(board, firmware));
    if count > 0 {
        let agreement = match sum.differing_bytes {
            0 => "every output byte as on this computer".to_owned(),
            bytes => format!("DIFFERS from this computer in {} output bytes", thousands(bytes as u64)),
        };
        println!(
            "{} photos on {} ({}): {} instructions each, {agreement}",
            thousands(count),
            board.name,
            board.core,
            thousands(instructions)
        );
    }
    Ok(())
}
