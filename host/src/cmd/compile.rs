//! `ocelli compile`

use super::Verdict;
use super::ui::{load, spinner, thousands};
use anyhow::ensure;
use ocelli_firmware_tools::boards::{Board, find};
use ocelli_host::data::{DataSource, Dataset, Split};
use ocelli_host::model::ModelBytes;
use ocelli_host::network::{Network, Weights};
use ocelli_host::quantize::{Calibration, QuantizationConfig, QuantizedNetwork, quantize};
use ocelli_host::run::{RunFolder, Trained, names};
use ocelli_host::train::device;
use std::path::PathBuf;

/// Quantize and compile a trained network to model.ocelli
///
/// Quantize a trained network (calibration on training images only) and compile it: writes model.ocelli and model.qdq.onnx
/// into the run folder.
///
/// Refuses a network that does not fit the board.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a training.
    run: PathBuf,
    /// Folder of the dataset, where it is not the one in config.toml.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The board that it is for (default: the one in config.toml).
    #[arg(long)]
    board: Option<String>,
    /// Training images observed for calibration.
    #[arg(long)]
    calibration_images: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let Trained { network, weights, mut config } = Trained::open(&args.run)?;
    if let Some(data) = &args.data {
        config.dataset.path.clone_from(data);
    }
    if let Some(images) = args.calibration_images {
        config.quantization.calibration_images = images;
    }
    config.validate()?;
    let board = find(args.board.as_deref().unwrap_or(&config.target.board))?;
    let folder = RunFolder::create(&args.run)?;
    let source = DataSource::open(&config.dataset.path, config.dataset.labels.as_deref())?;
    let training = load(&source, Split::Train, &network.input)?;
    let quantized = quantize_with(&network, &weights, &training, &config.quantization)?;
    write_checked(&folder, &quantized, board)?;
    report(&folder, board, args.json)
}

/// Calibrates on training images and quantizes.
pub fn quantize_with(
    network: &Network,
    weights: &Weights,
    training: &Dataset,
    config: &QuantizationConfig,
) -> anyhow::Result<QuantizedNetwork> {
    let spinner = spinner("calibrating");
    let images = training.take(config.calibration_images, config.seed);
    let calibration = Calibration::observe(network, weights, &images, &device("flex")?)?;
    spinner.finish_and_clear();
    quantize(network, weights, &calibration, &training.labels)
}

/// Writes the compiled model, unless the board cannot hold it.
pub fn write_checked(folder: &RunFolder, quantized: &QuantizedNetwork, board: &Board) -> anyhow::Result<()> {
    let bytes = ModelBytes::new(&ocelli_host::compile::compile(quantized)?);
    let (flash, ram) = (bytes.as_slice().len(), bytes.model()?.arena_bytes());
    let fits = |needed: usize, has: u32| needed < has as usize;
    ensure!(
        fits(flash, board.flash_bytes) && fits(ram as usize, board.ram_bytes),
        "the network does not fit {}: {} bytes of constants ({} bytes of flash), {} bytes of working memory ({} bytes of RAM); \
         see `ocelli summary {}` for the layer to blame",
        board.name,
        thousands(flash as u64),
        thousands(u64::from(board.flash_bytes)),
        thousands(u64::from(ram)),
        thousands(u64::from(board.ram_bytes)),
        folder.path().display()
    );
    folder.write_compiled(quantized)
}

fn report(folder: &RunFolder, board: &Board, json: bool) -> anyhow::Result<Verdict> {
    let path = folder.file(names::MODEL);
    let bytes = ModelBytes::read(&path)?;
    let (flash, ram) = (bytes.as_slice().len() as u64, u64::from(bytes.model()?.arena_bytes()));
    if json {
        let report = serde_json::json!({ "model": path, "board": board.name, "flash_bytes": flash, "ram_bytes": ram });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}: {} bytes of flash, {} bytes of RAM", path.display(), thousands(flash), thousands(ram));
        println!("next: ocelli check {} DATA", folder.path().display());
    }
    Ok(Verdict::Done)
}
