//! `ocelli import`

use super::Verdict;
use super::compile::{Chip, Limits, fitting};
use super::ui::thousands;
use anyhow::Context;
use ocelli::image::{ColorOrder, Resize};
use ocelli_host::config::Config;
use ocelli_host::files::write_atomically;
use ocelli_host::interchange::onnx_import;
use ocelli_host::interchange::tflite::{self, ImportOptions, Imported};
use ocelli_host::quantize::{BiasCorrection, Equalization, QuantizedNetwork};
use ocelli_host::run::{RunFolder, names, read_labels};
use std::path::Path;
use std::path::PathBuf;

/// Take in a network made elsewhere (.onnx or .tflite; quantized, or float to be quantized here)
///
/// A quantized network (.tflite in int8 or uint8, .onnx with QuantizeLinear and DequantizeLinear) is compiled as it is: OUT gets
/// model.ocelli, which computes what TensorFlow Lite Micro computes, byte for byte. A float network becomes a run folder (net.toml, weights.safetensors, model.onnx): go on with `ocelli compile OUT --data
/// PICTURES`, which quantizes it.
///
/// What is not supported is listed before anything is written, all of it at once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The .onnx or .tflite file. Constants that an .onnx file keeps in other files are read from its folder.
    file: PathBuf,
    /// Folder to write to, or with a quantized network a file that ends in .ocelli (default: the file's name without its ending).
    #[arg(long)]
    out: Option<PathBuf>,
    /// The board to compile for, or host.
    #[arg(long, default_value = "qemu-m4")]
    board: String,
    #[command(flatten)]
    limits: Limits,
    /// Text file with one label a line, in the order of the scores (default: those in an .onnx file, else numbers).
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
    /// Size of the input, for instance 224x224, where an .onnx file leaves it open.
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = size)]
    size: Option<[u32; 2]>,
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

/// Two numbers of at least 1 with an x between.
fn size(text: &str) -> Result<[u32; 2], String> {
    let side = |side: &str| side.parse::<u32>().ok().filter(|&n| n > 0);
    let sides = text.split_once('x').and_then(|(h, w)| Some([side(h)?, side(w)?]));
    sides.ok_or_else(|| format!("'{text}' is no size: height and width with an x between, for instance 96x96"))
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
        size: args.size,
        range: args.range.as_deref().and_then(|range| <[f32; 2]>::try_from(range).ok()),
    };
    let file = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let is_tflite = file.get(4..8) == Some(tflite::schema::IDENTIFIER.as_bytes());
    let is_onnx = !is_tflite && args.file.extension().is_none_or(|extension| extension != "tflite");
    let (imported, stated, notes) = if is_onnx {
        let import = onnx_import::import(&file, args.file.parent(), &options);
        let import = import.with_context(|| args.file.display().to_string())?;
        (import.imported, import.labels, import.notes)
    } else {
        let imported = tflite::import(&file, &options).with_context(|| args.file.display().to_string())?;
        (imported, options.labels.clone(), Vec::new())
    };
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(stem));
    match imported {
        Imported::Quantized(network) => quantized(&network, &Chip::find(&args.board, &args.limits)?, &out, args.json),
        Imported::Float(parts) => {
            let (network, weights) = *parts;
            let numbers = || (0..network.classes().unwrap_or(0)).map(|class| class.to_string()).collect();
            let labels = if stated.is_empty() { numbers() } else { stated };
            network.check_labels(&labels)?;
            let folder = RunFolder::create(&out)?;
            let mut config = Config::default();
            config.target.board.clone_from(&args.board);
            config.quantization.equalize = Equalization::Auto;
            config.quantization.bias_correction = BiasCorrection::Auto;
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
