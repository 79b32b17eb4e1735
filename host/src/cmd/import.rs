//! `ocelli import`

use super::Verdict;
use super::compile::{Chip, Limits, fitting};
use super::ui::thousands;
use anyhow::Context;
use ocelli::image::{ColorOrder, Resize};
use ocelli_host::config::Config;
use ocelli_host::files::write_atomically;
use ocelli_host::interchange::tflite::{ImportOptions, Imported, import};
use ocelli_host::quantize::QuantizedNetwork;
use ocelli_host::run::{RunFolder, names, read_labels};
use std::path::Path;
use std::path::PathBuf;

/// Take in a network made elsewhere (.tflite: int8, uint8, or float to be quantized here)
///
/// A quantized network is compiled as it is: OUT gets model.ocelli, which computes what TensorFlow Lite Micro computes, byte for
/// byte. A float network becomes a run folder (net.toml, weights.safetensors, model.onnx): go on with `ocelli compile OUT --data
/// PICTURES`, which quantizes it.
///
/// What is not supported is listed before anything is written, all of it at once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The .tflite file.
    file: PathBuf,
    /// Folder to write to, or with a quantized network a file that ends in .ocelli (default: the file's name without .tflite).
    #[arg(long)]
    out: Option<PathBuf>,
    /// The board to compile for, or host.
    #[arg(long, default_value = "qemu-m4")]
    board: String,
    #[command(flatten)]
    limits: Limits,
    /// Text file with one label a line, in the order of the scores.
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Order of the colours of the network's input (default: gray or rgb, by its channels).
    #[arg(long)]
    color: Option<Color>,
    /// What becomes of a picture that is not of the input's shape.
    #[arg(long)]
    resize: Option<ResizeRule>,
    /// What the network takes for black and white, for instance -1,1 (default: the ends of the input's range; of a float network 0,1).
    #[arg(long, value_delimiter = ',', num_args = 2, allow_hyphen_values = true, value_names = ["BLACK", "WHITE"])]
    range: Option<Vec<f32>>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Color {
    Gray,
    Rgb,
    Bgr,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ResizeRule {
    Stretch,
    CenterCrop,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let stem = args.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("network").to_owned();
    let options = ImportOptions {
        name: stem.clone(),
        labels: args.labels.as_deref().map(read_labels).transpose()?.unwrap_or_default(),
        color: args.color.map(|color| match color {
            Color::Gray => ColorOrder::Gray,
            Color::Rgb => ColorOrder::Rgb,
            Color::Bgr => ColorOrder::Bgr,
        }),
        resize: args.resize.map(|rule| match rule {
            ResizeRule::Stretch => Resize::Stretch,
            ResizeRule::CenterCrop => Resize::CenterCrop,
        }),
        range: args.range.as_deref().and_then(|range| <[f32; 2]>::try_from(range).ok()),
    };
    let file = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let imported = import(&file, &options).with_context(|| args.file.display().to_string())?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(stem));
    match imported {
        Imported::Quantized(network) => quantized(&network, &Chip::find(&args.board, &args.limits)?, &out, args.json),
        Imported::Float(parts) => {
            let (network, weights) = *parts;
            let numbers = || (0..network.classes().unwrap_or(0)).map(|class| class.to_string()).collect();
            let labels = if options.labels.is_empty() { numbers() } else { options.labels };
            network.check_labels(&labels)?;
            let folder = RunFolder::create(&out)?;
            let mut config = Config::default();
            config.target.board.clone_from(&args.board);
            folder.write_trained(&network, &weights, &labels, &config)?;
            if args.json {
                println!("{}", serde_json::json!({ "run": out, "quantized": false }));
            } else {
                println!("{}: a float network of {} layers", out.display(), network.layers.len());
                println!("next: ocelli compile {} --data PICTURES", out.display());
            }
            Ok(Verdict::Done)
        }
    }
}

fn quantized(network: &QuantizedNetwork, chip: &Chip, out: &Path, json: bool) -> anyhow::Result<Verdict> {
    let (bytes, plan) = fitting(network, chip)?;
    let path = if out.extension().is_some_and(|extension| extension == "ocelli") {
        write_atomically(out, &bytes)?;
        out.to_owned()
    } else {
        let folder = RunFolder::create(out)?;
        write_atomically(&folder.file(names::MODEL), &bytes)?;
        folder.file(names::MODEL)
    };
    let (flash, ram) = (bytes.len() as u64, u64::from(plan.file.arena_bytes));
    if json {
        println!(
            "{}",
            serde_json::json!({ "model": path, "board": chip.name, "flash_bytes": flash, "ram_bytes": ram })
        );
    } else {
        println!("{}: {} bytes of flash, {} bytes of RAM", path.display(), thousands(flash), thousands(ram));
    }
    Ok(Verdict::Done)
}
