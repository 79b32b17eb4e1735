//! `ocelli import`

use super::Verdict;
use super::compile::{Chip, Limits, fitting};
use super::ui::thousands;
use anyhow::{Context, bail, ensure};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli_host::base::ResizeRule;
use ocelli_host::config::Config;
use ocelli_host::files::write_atomically;
use ocelli_host::imagenet::labels::{self, fitted};
use ocelli_host::imagenet::{Opened, Style, usual_resize};
use ocelli_host::interchange::named::{self, NamedWeights};
use ocelli_host::interchange::tflite::{ImportOptions, Imported};
use ocelli_host::network::{Network, Weights, zoo};
use ocelli_host::quantize::{QuantizationConfig, QuantizedNetwork};
use ocelli_host::run::{RunFolder, names};
use std::path::Path;
use std::path::PathBuf;

/// Take in a network made elsewhere (.onnx or .tflite, quantized or float; weights as .safetensors)
///
/// A quantized network (.tflite in int8 or uint8, .onnx with QuantizeLinear and DequantizeLinear) is compiled as it is: OUT gets
/// model.ocelli, which computes what TensorFlow Lite Micro computes, byte for byte. A float network becomes a run folder (net.toml, weights.safetensors, model.onnx): go on with `ocelli compile OUT --data
/// PICTURES`, which quantizes it. So do weights alone (.safetensors) with the network that they are of: `--network resnet50`.
///
/// What is not supported is listed before anything is written, all of it at once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The .onnx, .tflite or .safetensors file. Constants that an .onnx file keeps in other files are read from its folder.
    file: PathBuf,
    /// Folder to write to, or with a quantized network a file that ends in .ocelli (default: the file's name without its ending).
    #[arg(long)]
    out: Option<PathBuf>,
    /// The board to compile for, or host.
    #[arg(long, default_value = "qemu-m4")]
    board: String,
    #[command(flatten)]
    limits: Limits,
    /// Text file with one label a line, in the order of the scores (default: those in the file, or labels.txt beside it, else numbers).
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Order of the colours of the network's input (default: gray or rgb, by its channels).
    #[arg(long)]
    color: Option<Color>,
    /// What becomes of a picture that is not of the input's shape (default: what the file says; for ImageNet's networks imagenet-crop, else
    /// stretch).
    #[arg(long)]
    resize: Option<ResizeRule>,
    /// What the network takes for black and white, for instance -1,1 (default: what the file says, the ends of a quantized input's range, else as
    /// --preprocess).
    #[arg(long, value_name = "BLACK,WHITE", value_parser = range, allow_hyphen_values = true)]
    range: Option<Range>,
    /// Size of the input, for instance 224x224, where an .onnx file leaves it open.
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = size)]
    size: Option<[u32; 2]>,
    /// What the network takes pixels as (default: what the file says; for ImageNet's networks tf of .tflite, torch of .onnx; else 0 to 1).
    #[arg(long, value_name = "STYLE", conflicts_with = "range")]
    preprocess: Option<Preprocess>,
    /// Whose weights a .safetensors file holds: a built-in network, such as resnet50, or a net.toml. Its tensors have Ocelli's names, Keras'
    /// or torchvision's.
    #[arg(long)]
    network: Option<String>,
    /// Replace the run that is in the folder.
    #[arg(long)]
    overwrite: bool,
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

/// What a network takes pixels as.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Preprocess {
    /// TensorFlow's: -1 to 1.
    Tf,
    /// PyTorch's: 0 to 1, ImageNet's mean taken off, divided by its deviation.
    Torch,
    /// Caffe's: blue first, 0 to 255, ImageNet's mean taken off.
    Caffe,
    /// 0 to 1.
    Unit,
    /// 0 to 255, as they are.
    None,
}

impl From<Preprocess> for Style {
    fn from(preprocess: Preprocess) -> Self {
        match preprocess {
            Preprocess::Tf => Self::Tf,
            Preprocess::Torch => Self::Torch,
            Preprocess::Caffe => Self::Caffe,
            Preprocess::Unit => Self::Unit,
            Preprocess::None => Self::None,
        }
    }
}

/// What a network takes for black and for white.
#[derive(Clone, Copy, Debug)]
pub struct Range(pub [f32; 2]);

/// Two numbers with a comma between.
pub fn range(text: &str) -> Result<Range, String> {
    let ends =
        text.split_once(',').and_then(|(black, white)| Some([black.trim().parse().ok()?, white.trim().parse().ok()?]));
    ends.map(Range).ok_or_else(|| format!("'{text}' is no range: write what black and white are, for instance -1,1"))
}

/// Two numbers of at least 1 with an x between.
pub fn size(text: &str) -> Result<[u32; 2], String> {
    let side = |side: &str| side.parse::<u32>().ok().filter(|&n| n > 0);
    let sides = text.split_once('x').and_then(|(h, w)| Some([side(h)?, side(w)?]));
    sides.ok_or_else(|| format!("'{text}' is no size: height and width with an x between, for instance 96x96"))
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let stem = args.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("network").to_owned();
    let options = ImportOptions {
        name: stem.clone(),
        labels: args.labels.as_deref().map(labels::read).transpose()?.unwrap_or_default(),
        color: args.color.map(|color| match color {
            Color::Gray => ColorOrder::Gray,
            Color::Rgb => ColorOrder::Rgb,
            Color::Bgr => ColorOrder::Bgr,
        }),
        resize: args.resize.map(Resize::from),
        size: args.size,
        range: args.range.map(|range| range.0),
    };
    let is_weights = args.file.extension().is_some_and(|extension| extension == "safetensors");
    match (&args.network, is_weights) {
        (Some(network), true) => return weights_of(network, args, options),
        (Some(_), false) => bail!(
            "{} holds a network of its own: --network goes with a .safetensors file, which holds weights alone",
            args.file.display()
        ),
        (None, true) => bail!(
            "{} holds weights alone: say whose they are with --network NAME, for instance resnet50, or a net.toml",
            args.file.display()
        ),
        (None, false) => {}
    }
    let file = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let opened = Opened::new(&file, &args.file, &options, args.preprocess.map(Style::from));
    let opened = opened.with_context(|| args.file.display().to_string())?;
    drop(file); // it may be large
    let pictures = opened.pictures("--preprocess tf, torch or caffe, --range BLACK,WHITE, --resize");
    opened.notes.iter().chain(&pictures).for_each(|note| eprintln!("note: {note}"));
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(stem));
    match opened.imported {
        Imported::Quantized(network) => quantized(&network, &Chip::find(&args.board, &args.limits)?, &out, args),
        Imported::Float(parts) => float(&parts.0, &parts.1, opened.labels, &out, args),
    }
}

/// Weights alone, for a network that is built in or described by a `net.toml`.
fn weights_of(network: &str, args: &Args, options: ImportOptions) -> anyhow::Result<Verdict> {
    let is_built_in = zoo::find(network).is_some();
    let mut network = Network::open(network)?;
    if let Some([height, width]) = options.size {
        network = network.with_input(height, width)?;
    }
    let file = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let read = named::import(&file, &network).with_context(|| args.file.display().to_string())?;
    drop(file); // it may be large
    let NamedWeights { mut network, weights, notes } = read;
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    let classes = network.classes()?;
    let input = &mut network.input;
    // a net.toml says it, a built-in network is what ImageNet's weights make it
    let stated = if is_built_in { usual_resize(input.color, classes) } else { input.resize };
    input.resize = options.resize.unwrap_or(stated);
    if let Some(color) = options.color {
        ensure!(color.channels() == input.shape.c, "the input has {} channels: not those of --color", input.shape.c);
        input.color = color;
    }
    let plain = |color| InputSpec { color, mean: [0.0; 3], std: [1.0; 3], ..*input };
    if let Some(style) = args.preprocess {
        // of the styles only caffe has an order of colours of its own, and a network's own order may be that
        let color = if input.color == ColorOrder::Gray { ColorOrder::Gray } else { ColorOrder::Rgb };
        *input = Style::from(style).apply(plain(options.color.unwrap_or(color))).map_err(anyhow::Error::msg)?;
    } else if let Some([black, white]) = options.range {
        ensure!(white > black, "white ({white}) must be above black ({black})");
        (input.mean, input.std) = ([0.0 - black / (white - black); 3], [1.0 / (white - black); 3]);
    }
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(&options.name));
    float(&network, &weights, options.labels, &out, args)
}

/// The folder to write to, without what an earlier import left there. That of a training is refused unless it may be replaced.
fn emptied(out: &Path, args: &Args) -> anyhow::Result<RunFolder> {
    let folder = RunFolder::create(out)?;
    ensure!(
        args.overwrite || !folder.holds_training(),
        "{} holds a training: give another folder with --out, or replace it by --overwrite",
        out.display()
    );
    folder.clear()?;
    Ok(folder)
}

/// Writes the run folder of a float network.
fn float(
    network: &Network,
    weights: &Weights,
    labels: Vec<String>,
    out: &Path,
    args: &Args,
) -> anyhow::Result<Verdict> {
    let classes = network.classes()?;
    let numbers = || (0..classes).map(|class| class.to_string()).collect();
    let labels = if labels.is_empty() { numbers() } else { fitted(labels, classes)? };
    let folder = emptied(out, args)?;
    let mut config = Config::default();
    config.target.board.clone_from(&args.board);
    config.quantization = QuantizationConfig::of_imported();
    folder.write_trained(network, weights, &labels, &config)?;
    if args.json {
        println!("{}", serde_json::json!({ "run": out, "quantized": false }));
    } else {
        println!("{}: a float network of {} layers", out.display(), network.layers.len());
        println!("next: ocelli compile {} --data PICTURES", out.display());
    }
    Ok(Verdict::Done)
}

fn quantized(network: &QuantizedNetwork, chip: &Chip, out: &Path, args: &Args) -> anyhow::Result<Verdict> {
    let (bytes, plan) = fitting(network, chip)?;
    let path = if out.extension().is_some_and(|extension| extension == "ocelli") {
        write_atomically(out, &bytes)?;
        out.to_owned()
    } else {
        let folder = emptied(out, args)?;
        write_atomically(&folder.file(names::MODEL), &bytes)?;
        folder.file(names::MODEL)
    };
    let (flash, ram) = (bytes.len() as u64, u64::from(plan.file.arena_bytes));
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "model": path, "board": chip.name, "flash_bytes": flash, "ram_bytes": ram })
        );
    } else {
        println!("{}: {} bytes of flash, {} bytes of RAM", path.display(), thousands(flash), thousands(ram));
    }
    Ok(Verdict::Done)
}
