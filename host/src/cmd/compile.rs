//! `ocelli compile`

use super::Verdict;
use super::qat::in_words;
use super::quantize::{Made, quantize_by, quantize_with};
use super::ui::{TrainingSets, load_any, load_training, percent, spinner, table, thousands, write_page};
use anyhow::ensure;
use ocelli_firmware_tools::boards::find;
use ocelli_host::check::{Judge, Judgement, OBSERVED_IMAGES, Trial, best, compare};
use ocelli_host::compile::{LayerCost, Options, Planned, Target, assemble, cost, planned};
use ocelli_host::config::HOST;
use ocelli_host::data::{DataSource, Dataset, ImageSet, ImageSource};
use ocelli_host::network::{Network, Node};
use ocelli_host::quantize::{
    Adjustments, BiasCorrection, Calibrator, Equalization, Int4, QuantizationConfig, QuantizedNetwork, Rounding,
};
use ocelli_host::report::quantization::{QuantizationError, quantization_error};
use ocelli_host::run::{Bundle, RunFolder, Trained, names};
use ocelli_host::train::{device, evaluate, int8_score};
use std::path::PathBuf;

/// Quantize and compile a trained network to model.ocelli
///
/// Quantize a trained network (calibration on training images only) and compile it: writes model.ocelli and model.qdq.onnx
/// into the run folder.
///
/// A network that was trained with quantize = "qat" keeps the intervals that it was trained with, unless --calibrator, --equalize,
/// --bias-correction, --rounding, --widen or --distill is given.
///
/// An imported network may be calibrated with pictures of other classes than its own; how often int8 and float agree is then said in
/// place of an accuracy.
///
/// Refuses a network that does not fit the board.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a training.
    run: PathBuf,
    /// Folder of the dataset, where it is not the one in config.toml.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The board that it is for, or host (default: the one in config.toml).
    #[arg(long)]
    board: Option<String>,
    #[command(flatten)]
    limits: Limits,
    /// Training images observed for calibration.
    #[arg(long)]
    calibration_images: Option<usize>,
    /// How intervals are made of the observed values: min-max, percentile-99.99, percentile-99.9 or mse (default: all are tried, and
    /// the one is taken that keeps the network nearest to its float self). Kept in config.toml; auto tries all again.
    #[arg(long, value_parser = parse_calibrator)]
    calibrator: Option<Choice>,
    /// Bring channels of unlike ranges nearer to each other before quantizing, which changes nothing in float: off, weights, activations,
    /// or auto (all are tried where there is a depthwise convolution) [default: off; of an imported network auto]. Kept in config.toml.
    #[arg(long, value_parser = |text: &str| one_of(text, &Equalization::ALL))]
    equalize: Option<Equalization>,
    /// Add channels that carry copies of those whose rounding moves the scores most, up to this share of the network's multiplications: a
    /// network that loses too much in int8 becomes larger and keeps more [default: 0]. Kept in config.toml.
    #[arg(long, value_name = "SHARE")]
    widen: Option<f64>,
    /// Take what quantization moves the mean of a channel by off its bias: off, on, or auto (where it helps) [default: off; of an imported
    /// network auto]. Kept in config.toml.
    #[arg(long, value_parser = |text: &str| one_of(text, &BiasCorrection::ALL))]
    bias_correction: Option<BiasCorrection>,
    /// How weights are rounded: nearest; fitted, up or down so that each layer's output moves least on the calibration images, with biases that
    /// bring the means of the int8 network to the float one's; or auto (where it helps) [default: nearest; of an imported network auto].
    /// Kept in config.toml.
    #[arg(long, value_parser = |text: &str| one_of(text, &Rounding::ALL))]
    rounding: Option<Rounding>,
    /// Then train the int8 network towards its float self so many times over the calibration images, whose classes do not matter: it takes
    /// back part of what quantization lost, in minutes [default: 0]. Kept in config.toml.
    #[arg(long, value_name = "EPOCHS")]
    distill: Option<usize>,
    /// Instead: quantize in every way (calibrator, equalization, bias correction, rounding) and print how near each comes to the float network on so
    /// many validation images; nothing is written.
    #[arg(long, value_name = "IMAGES", conflicts_with_all = ["calibrator", "equalize", "bias_correction", "int4", "distill", "widen", "rounding"])]
    compare: Option<usize>,
    /// Weights of four bits for this dense layer, or for all large ones (more than 65,536 weights): half their flash. Prints what it
    /// costs. May be given several times. Kept in config.toml; none takes it back.
    #[arg(long, value_name = "NAME|large|none")]
    int4: Vec<String>,
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
    match args.calibrator {
        Some(Choice::All) => config.quantization.calibrator = None,
        Some(Choice::One(calibrator)) => config.quantization.calibrator = Some(calibrator),
        None => {}
    }
    config.quantization.equalize = args.equalize.unwrap_or(config.quantization.equalize);
    config.quantization.widen = args.widen.unwrap_or(config.quantization.widen);
    config.quantization.bias_correction = args.bias_correction.unwrap_or(config.quantization.bias_correction);
    config.quantization.rounding = args.rounding.unwrap_or(config.quantization.rounding);
    config.quantization.distill_epochs = args.distill.unwrap_or(config.quantization.distill_epochs);
    match args.int4.as_slice() {
        [] => {}
        [none] if none == "none" => config.quantization.int4 = Int4::default(),
        layers => config.quantization.int4 = Int4::new(layers.to_vec()),
    }
    say_what_is_kept(args, &config.quantization);
    if let Some(board) = &args.board {
        config.target.board.clone_from(board);
    }
    config.validate()?;
    let Trained { network, weights, config, .. } = &trained;
    network.check_device()?;
    let chip = Chip::find(&config.target.board, &args.limits)?;
    let folder = RunFolder::create(&args.run)?;
    // the images set aside for validation stay aside
    let source = config.dataset.open().map_err(|error| match &args.data {
        // the path comes from the run's config.toml: the run or the pictures were moved
        None if !config.dataset.path.exists() => error.context(format!(
            "{}, which names the training pictures: {} is not there; say where they are with --data DIR",
            folder.file("config.toml").display(),
            config.dataset.path.display()
        )),
        _ => error,
    })?;
    let sets = Pictures::load(&trained, &source, &folder)?;
    let Pictures { training, validation, own_classes } = &sets;
    if let Some(images) = args.compare {
        return compare_all(&trained, training, &validation.take(images, config.quantization.seed)?, args.json);
    }
    let asked = args.calibrator.is_some() || args.equalize.is_some() || args.bias_correction.is_some();
    let asked = asked || args.rounding.is_some() || config.quantization.asks_for_ptq();
    let ranges = trained.ranges.as_ref().filter(|_| !asked);
    if trained.ranges.is_some() && asked {
        eprintln!("note: quantized anew, without the intervals that it was trained with in int8 ({})", names::RANGES);
    }
    let made = match ranges {
        Some(ranges) => Made {
            quantized: quantize_by(network, weights, &ranges.calibration, training, &config.quantization)?,
            adjustments: Adjustments::default(),
        },
        None => quantize_with(network, weights, training, &config.quantization)?,
    };
    say_what_was_added(network, &made, config.quantization.widen)?;
    let plan = write_checked(&folder, &made, &chip)?;
    folder.write_config(config)?;
    write_page(folder.path());
    let layers = noise(&folder, validation)?;
    let judgement = if *own_classes {
        None
    } else {
        Some(
            Judge::new(network, weights, &validation.take(AGREEMENT_IMAGES, config.quantization.seed)?)?
                .judge(&made.quantized)?,
        )
    };
    if !args.json {
        // what QAT recorded holds for weights of eight bits
        match (ranges.filter(|_| config.quantization.int4.is_empty()), &judgement) {
            (_, Some(judgement)) => {
                println!(
                    "on {} validation images float and int8 name the same class for {}",
                    validation.len().min(AGREEMENT_IMAGES),
                    percent(judgement.agreement)
                );
                let QuantizationConfig { distill_epochs, widen, int4, .. } = &config.quantization;
                // it is by activations that channels are shifted and copied
                let copies = !made.adjustments.shifts.is_empty() || !made.adjustments.doubles.is_empty();
                if judgement.agreement < FEW && *widen == 0.0 && copies {
                    eprintln!("hint: --widen 0.25 keeps more of the network, with a quarter more multiplications");
                }
                if judgement.agreement < FEW && *distill_epochs == 0 && int4.is_empty() {
                    eprintln!(
                        "hint: --distill 4 trains the int8 network towards the float one on the calibration images, for some minutes"
                    );
                }
            }
            (Some(ranges), None) => println!("{}", in_words(&ranges.accuracy)),
            (None, None) => println!(
                "accuracy on the validation images: float {}, quantized {}",
                percent(evaluate(network, weights, validation, &device("flex")?)?.score.accuracy),
                percent(int8_score(&made.quantized, validation)?.accuracy)
            ),
        }
        if let Some(line) = layers.worst_in_words() {
            println!("{line}");
        }
    }
    report(&folder, &chip, &plan, &layers, judgement.as_ref(), args.json)
}

/// Says how much larger a widened network is.
fn say_what_was_added(network: &Network, made: &Made, widen: f64) -> anyhow::Result<()> {
    if widen == 0.0 {
        return Ok(());
    }
    let macs = |network: &Network| -> anyhow::Result<u64> { Ok(network.nodes()?.iter().map(Node::macs).sum()) };
    let wide = made.adjustments.widened(network)?;
    let (before, after) = (macs(network)?, macs(&wide)?);
    if after > before {
        let more = percent(after as f64 / before.max(1) as f64 - 1.0);
        eprintln!("widened: {} multiplications, {more} more", thousands(after));
    } else {
        eprintln!(
            "warning: nothing was widened: no channels that could be copied were measured to matter, or the network was not equalized by \
             activations (--equalize activations)"
        );
    }
    Ok(())
}

/// Agreement below which it is said how to raise it.
const FEW: f64 = 0.95;
/// Validation images on which int8 and float are compared where no accuracy can be told.
const AGREEMENT_IMAGES: usize = 200;

/// The signal-to-noise ratio of each layer of the compiled model on the first validation images.
fn noise(folder: &RunFolder, validation: &ImageSet) -> anyhow::Result<QuantizationError> {
    let images = validation.head(OBSERVED_IMAGES)?;
    quantization_error(&Bundle::open(folder.path())?, &images, format!("{} validation images", images.len()))
}

/// The images that a network is quantized with.
struct Pictures {
    training: ImageSet,
    validation: ImageSet,
    /// Whether their classes are the network's.
    own_classes: bool,
}

impl Pictures {
    /// Loads them. A network from elsewhere takes pictures of any classes: they are calibrated with, not scored.
    fn load(trained: &Trained, source: &DataSource, folder: &RunFolder) -> anyhow::Result<Self> {
        let Trained { network, config, .. } = trained;
        let trained_here = folder.file(names::HISTORY).exists() || folder.file(names::CHECKPOINTS).exists();
        if trained_here || source.labels() == trained.labels {
            trained.check_labels(source.labels())?;
            let TrainingSets { training, validation, .. } =
                load_training(&config.dataset, source, network, config.training.seed)?;
            return Ok(Self { training, validation, own_classes: true });
        }
        eprintln!(
            "note: the classes of the pictures ({}) are not the network's {}: they are calibrated with, no accuracy is told",
            source.labels().iter().take(5).cloned().collect::<Vec<_>>().join(", "),
            trained.labels.len()
        );
        let (training, validation) = load_any(&config.dataset, source, network, config.training.seed)?;
        let [training, validation] = [training, validation].map(|set| set.of_other_classes(&trained.labels));
        Ok(Self { training, validation, own_classes: false })
    }
}

/// Prints how near each way to quantize comes to the float network.
fn compare_all(trained: &Trained, training: &ImageSet, judged: &Dataset, json: bool) -> anyhow::Result<Verdict> {
    let Trained { network, weights, config, .. } = trained;
    let spinner = spinner("comparing");
    let images = training.take(config.quantization.calibration_images, config.quantization.seed)?;
    let judge = Judge::new(network, weights, judged)?;
    let trials = compare(network, weights, &images, &judge, &mut |trial| spinner.set_message(trial.recipe.to_string()));
    spinner.finish_and_clear();
    let trials = trials?;
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({ "images": judge.images(), "trials": trials }))?
        );
        return Ok(Verdict::Done);
    }
    let row = |Trial { recipe, judgement }: &Trial| {
        vec![
            recipe.equalize.to_string(),
            recipe.calibrator.to_string(),
            if recipe.bias_correction { "on" } else { "off" }.to_owned(),
            if recipe.fitted { "fitted" } else { "nearest" }.to_owned(),
            percent(judgement.agreement),
            judgement.snr_db.map_or_else(String::new, |db| format!("{db:.2}")),
            format!("{:.5}", judgement.divergence),
        ]
    };
    let header =
        ["equalize", "calibrator", "bias correction", "rounding", "same class", "logits, dB", "divergence, nats"];
    println!("{}", table(&header, trials.iter().map(row), 4));
    if let Some(best) = best(&trials) {
        println!("least divergence on {} images: {}", judge.images(), best.recipe);
    }
    Ok(Verdict::Done)
}

/// What becomes of a word on the command line.
fn one_of<T: Copy>(text: &str, all: &[(&'static str, T)]) -> Result<T, String> {
    let known = || all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = all.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| format!("'{text}' is not one of {}", known()))
}

/// Says what config.toml asks for that the command line does not.
fn say_what_is_kept(args: &Args, config: &QuantizationConfig) {
    if let (None, Some(calibrator)) = (args.calibrator, config.calibrator) {
        eprintln!("calibrator {calibrator}, as config.toml has it (--calibrator auto: all are tried)");
    }
    let word = |name: &str, given: bool, is_off: bool| {
        if !given && !is_off {
            eprintln!("{name} as config.toml has it (--{name} off: without)");
        }
    };
    word("equalize", args.equalize.is_some(), config.equalize.is_off());
    word("bias-correction", args.bias_correction.is_some(), config.bias_correction.is_off());
    if args.rounding.is_none() && !config.rounding.is_nearest() {
        eprintln!("rounding as config.toml has it (--rounding nearest: each weight by itself)");
    }
    if args.widen.is_none() && config.widen > 0.0 {
        eprintln!("widen {} as config.toml has it (--widen 0: not)", config.widen);
    }
    if args.distill.is_none() && config.distill_epochs > 0 {
        eprintln!("distilled for {} epochs, as config.toml has it (--distill 0: not)", config.distill_epochs);
    }
    if args.int4.is_empty() && !config.int4.is_empty() {
        eprintln!("weights of four bits as config.toml has them (--int4 none: eight bits)");
    }
}

/// What `--calibrator` asks for.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// Whichever is best.
    All,
    /// This one.
    One(Calibrator),
}

/// What a model is compiled for: a board's core and memory, or this computer.
#[derive(Clone, Debug)]
pub struct Chip {
    /// The board's name, or `host`.
    pub name: String,
    target: Target,
    flash_bytes: u64,
    ram_bytes: u64,
}

impl Chip {
    /// A board, or `host`; `limits` take the place of the board's flash and RAM.
    pub fn find(name: &str, limits: &Limits) -> anyhow::Result<Self> {
        let (target, flash, ram) = if name == HOST {
            (Target::HOST, u64::MAX, u64::MAX)
        } else {
            let board = find(name)?;
            (Target::of(board), u64::from(board.flash_bytes), u64::from(board.ram_bytes))
        };
        Ok(Self {
            name: name.to_owned(),
            target,
            flash_bytes: limits.flash.unwrap_or(flash),
            ram_bytes: limits.ram.unwrap_or(ram),
        })
    }
}

/// Memory that a model may take.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Limits {
    /// Flash that the model may take, for instance 256K (default: what the board has).
    #[arg(long, value_parser = parse_bytes)]
    flash: Option<u64>,
    /// Working memory that the model may take, for instance 64K (default: what the board has).
    #[arg(long, value_parser = parse_bytes)]
    ram: Option<u64>,
}

fn parse_calibrator(text: &str) -> Result<Choice, String> {
    if text == "auto" {
        return Ok(Choice::All);
    }
    let known = || Calibrator::ALL.map(|calibrator| calibrator.to_string()).join(", ");
    Calibrator::ALL
        .into_iter()
        .find(|calibrator| calibrator.to_string() == text)
        .map(Choice::One)
        .ok_or_else(|| format!("'{text}' is not one of auto, {}", known()))
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1024),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1024 * 1024),
        _ => (text, 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| format!("'{text}' is no size: write 65536, 64K or 1M"))
}

/// Compiles a network so that it fits a chip: with less scratch memory where that is what it takes.
///
/// # Errors
/// When it does not fit; the error names what is missing and the layer that takes most.
pub fn fitting(quantized: &QuantizedNetwork, chip: &Chip) -> anyhow::Result<(Vec<u8>, Planned)> {
    let compiled = |scratch_bytes: u32| {
        let target = Target { scratch_bytes, ..chip.target };
        planned(quantized, Options::for_target(target))
    };
    let mut plan = compiled(chip.target.scratch_bytes)?;
    let smaller = [1280, 768, 512, 256, 128].into_iter().filter(|&bytes| bytes < chip.target.scratch_bytes);
    for scratch_bytes in smaller {
        if u64::from(plan.file.arena_bytes) <= chip.ram_bytes {
            break;
        }
        plan = compiled(scratch_bytes)?;
    }
    let file = assemble(&plan.file)?;
    let cost = cost(&plan.file, file.len());
    for (what, needed, has, of_layer) in [
        ("flash", cost.flash_bytes, chip.flash_bytes, (|c| c.flash_bytes) as fn(&LayerCost) -> u64),
        ("RAM", cost.ram_bytes, chip.ram_bytes, |c| c.ram_bytes),
    ] {
        let largest = cost.layers.iter().max_by_key(|(_, layer)| of_layer(layer));
        let (layer, bytes) = largest.map_or(("", 0), |(name, layer)| (name.as_str(), of_layer(layer)));
        ensure!(
            needed <= has,
            "the network does not fit {}: it needs {} bytes of {what}, there are {}; layer '{layer}' alone needs {}: make it \
             smaller, or pool before it",
            chip.name,
            thousands(needed),
            thousands(has),
            thousands(bytes)
        );
    }
    Ok((file, plan))
}

/// Writes the compiled model, unless the chip cannot hold it.
pub fn write_checked(folder: &RunFolder, made: &Made, chip: &Chip) -> anyhow::Result<Planned> {
    let (file, plan) = fitting(&made.quantized, chip)?;
    made.adjustments.write(folder.path())?;
    folder.write_compiled(&made.quantized, &file)?;
    Ok(plan)
}

fn report(
    folder: &RunFolder,
    chip: &Chip,
    plan: &Planned,
    layers: &QuantizationError,
    judgement: Option<&Judgement>,
    json: bool,
) -> anyhow::Result<Verdict> {
    let path = folder.file(names::MODEL);
    let (flash, ram) = (std::fs::metadata(&path)?.len(), u64::from(plan.file.arena_bytes));
    let bound = u64::from(plan.lower_bound);
    if json {
        let report = serde_json::json!({
            "model": path, "board": chip.name, "flash_bytes": flash, "ram_bytes": ram, "ram_lower_bound_bytes": bound,
            "quantization": layers, "worst_layer": layers.worst().map(|layer| &layer.name), "agreement": judgement,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!(
            "{}: {} bytes of flash, {} bytes of RAM (no packing of these rings takes less than {})",
            path.display(),
            thousands(flash),
            thousands(ram),
            thousands(bound)
        );
        println!("next: ocelli check {} DATA", folder.path().display());
    }
    Ok(Verdict::Done)
}
