//! `ocelli compile`

use super::Verdict;
use super::ui::{load_training, spinner, thousands};
use anyhow::ensure;
use ocelli_firmware_tools::boards::{Board, find};
use ocelli_host::compile::{LayerCost, Options, Target, assemble, cost, planned};
use ocelli_host::data::Dataset;
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
    let mut trained = Trained::open(&args.run)?;
    let config = &mut trained.config;
    if let Some(data) = &args.data {
        config.dataset.path.clone_from(data);
    }
    if let Some(images) = args.calibration_images {
        config.quantization.calibration_images = images;
    }
    if let Some(board) = &args.board {
        config.target.board.clone_from(board);
    }
    config.validate()?;
    let Trained { network, weights, config, .. } = &trained;
    let board = find(&config.target.board)?;
    let folder = RunFolder::create(&args.run)?;
    // the images set aside for validation stay aside
    let (training, _) = load_training(&config.dataset, network, config.training.seed)?;
    trained.check_labels(&training.labels)?;
    let quantized = quantize_with(network, weights, &training, &config.quantization)?;
    write_checked(&folder, &quantized, board)?;
    folder.write_config(config)?;
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
    let planned = planned(quantized, Options::for_target(Target::of(board)))?.file;
    let file = assemble(&planned)?;
    let cost = cost(&planned, file.len());
    for (what, needed, has, of_layer) in [
        ("flash", cost.flash_bytes, board.flash_bytes, (|c| c.flash_bytes) as fn(&LayerCost) -> u64),
        ("RAM", cost.ram_bytes, board.ram_bytes, |c| c.ram_bytes),
    ] {
        let largest = cost.layers.iter().max_by_key(|(_, layer)| of_layer(layer));
        let (layer, bytes) = largest.map_or(("", 0), |(name, layer)| (name.as_str(), of_layer(layer)));
        ensure!(
            needed < u64::from(has),
            "the network does not fit {}: it needs {} bytes of {what}, the board has {}; layer '{layer}' alone needs {}: make it \
             smaller, or pool before it",
            board.name,
            thousands(needed),
            thousands(u64::from(has)),
            thousands(bytes)
        );
    }
    folder.write_compiled(quantized, &file)
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
