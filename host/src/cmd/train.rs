//! `ocelli train`

use super::Verdict;
use super::flags::{Flags, Resumed, set};
use super::qat::Place;
use super::ui::{TrainingBar, TrainingSets, announce, feed, load_training, percent, table};
use anyhow::{Context, ensure};
use ocelli_host::config::Config;
use ocelli_host::data::{Dataset, ImageSet, ImageSource};
use ocelli_host::network::{Network, Weights, zoo};
use ocelli_host::quantize::Method;
use ocelli_host::report::plots::curves_png;
use ocelli_host::run::{RunFolder, names};
use ocelli_host::train::{
    Disk, EarlyStopping, End, History, HistoryRow, Hooks, Keep, Material, Outcome, TrainingConfig, train, train_from,
};
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Train a network and write a run folder
///
/// Train a network from fresh weights and write a run folder: net.toml, config.toml, weights.safetensors, model.onnx,
/// history.csv (a row an epoch), batches.csv (a row a batch), curves.png, checkpoints/ (last and best).
///
/// Ctrl-C ends it after the running batch, with exit code 130; --resume FOLDER goes on from the last checkpoint, after a crash too, to
/// the same result as an unbroken run. All keys of [training] can be given in a config.toml, the most common as flags.
///
/// With --quantize qat the network is trained on in int8 after its float epochs, and ranges.toml holds the intervals of activations that
/// `ocelli compile` then takes. --resume with it does this to a training that was done before.
///
/// The dataset is found by what its folder holds: MNIST idx files (gz or not), CIFAR-10 binary files, or class folders with
/// pictures (optionally below train/ and validation/ or test/). The same seed gives the same weights. A folder that holds a run is
/// refused, unless --resume or --overwrite says what to do with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A config.toml; flags override what it says.
    config: Option<PathBuf>,
    /// Folder of the dataset.
    #[arg(long)]
    data: Option<PathBuf>,
    /// A net.toml, or the name of a built-in network (a wrong name lists them).
    #[arg(long)]
    network: Option<String>,
    /// Rows and columns of the pictures that the network takes, for instance 96x96, in place of its own.
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    input: Option<(u32, u32)>,
    #[command(flatten)]
    flags: Flags,
    /// Folder to write.
    #[arg(long, default_value = "runs/latest")]
    out: PathBuf,
}

/// A built-in network gets as many classes as the dataset has; one of the user's own is taken as it is.
pub fn for_classes(network: Network, config: &Config, classes: usize) -> anyhow::Result<Network> {
    if zoo::find(&config.network.file).is_none() || network.classes()? == classes {
        return Ok(network);
    }
    eprintln!("note: {} is trained with {classes} classes, those of the dataset", network.name);
    Ok(network.with_classes(classes)?)
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sizes = text.split_once('x').and_then(|(h, w)| Some((h.parse().ok()?, w.parse().ok()?)));
    sizes
        .filter(|&(h, w)| h > 0 && w > 0)
        .ok_or_else(|| format!("'{text}' is no size: write rows x columns, for instance 96x96"))
}

/// A flag that ctrl-C sets, so that a training ends after its running batch; a second ctrl-C ends the process.
pub fn stop_on_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let listen = || {
        flag::register_conditional_shutdown(SIGINT, INTERRUPTED, Arc::clone(&stop))?;
        flag::register(SIGINT, Arc::clone(&stop))
    };
    listen().context("cannot listen for ctrl-C")?;
    Ok(stop)
}

/// The exit code of what ctrl-C ended.
const INTERRUPTED: i32 = 130;

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let (out, resumed) = args.flags.resumed(&args.out)?;
    let config = args.config(resumed.as_ref())?;
    ensure!(
        config.finetune.is_none(),
        "this configuration is that of a fine-tuned network: use `ocelli finetune` (to go on with one `ocelli finetune --resume RUN`), or \
         take out [finetune] to train from fresh weights"
    );
    let network = match &resumed {
        Some(resumed) if args.config.is_none() && args.network.is_none() => resumed.first.network()?,
        _ => {
            let network = Network::open(&config.network.file)?;
            match args.input {
                Some((height, width)) => network.with_input(height, width)?,
                None => network,
            }
        }
    };
    // before anything is written: a device may not be there
    config.training.open_devices()?;
    let folder = RunFolder::create(&out)?;
    args.flags.check_folder(&folder)?;
    if let Some(resumed) = &resumed {
        resumed.first.check_augmentation(&config.augmentation)?;
    }
    let source = config.dataset.open()?;
    let network = for_classes(network, &config, source.labels().len())?;
    if config.quantization.quantize == Method::Qat {
        network.check_device()?;
    }
    let sets = load_training(&config.dataset, &source, &network, config.training.seed)?;
    announce(&sets, &config.training);
    let TrainingSets { training, validation, .. } = sets;
    let training = Arc::new(training);
    let images: Arc<dyn ImageSource> = Arc::<ImageSet>::clone(&training);
    let resumes = resumed.is_some();
    let resume = resumed.map(Resumed::begin);
    let source = feed(&config, &network, &images)?;
    let stop = stop_on_ctrl_c()?;
    let mut bar = TrainingBar::new(config.training.epochs, training.len());
    args.flags.begin(&folder)?;
    folder.write_begun(&network, training.labels(), &config)?;
    let hooks = Hooks {
        observer: &mut bar,
        stop: &stop,
        disk: Some(Disk { folder: folder.path(), config: &folder.config_text(&config)?, resume }),
    };
    let outcome = train_from(&network, &config.training, &source, training.targets(), &validation, hooks);
    bar.finish();
    let mut outcome = outcome?;
    let material = Material { source: &source, plain: None, targets: training.targets(), validation: &validation };
    let place = Place { folder: &folder, resumes };
    let ranges = super::qat::train_on(&config, &network, &training, &material, &mut outcome, &place, &stop)?;
    let verdict = finish(&folder, &config, &network, training.labels(), &outcome)?;
    super::qat::keep(&folder, ranges.as_ref())?;
    Ok(verdict)
}

/// Writes what a training leaves behind, and says what it was.
pub fn finish(
    folder: &RunFolder,
    config: &Config,
    network: &Network,
    labels: &[String],
    outcome: &Outcome,
) -> anyhow::Result<Verdict> {
    let path = folder.path().display();
    let Outcome { weights, history, .. } = outcome;
    if !history.rows.is_empty() {
        write(folder, config, network, labels, (weights, history))?;
        super::ui::write_page(folder.path());
        print_history(history);
        println!("{}", kept(outcome, &config.training));
    }
    if let End::Interrupted { epochs, batches } = outcome.end {
        eprint!("interrupted after {epochs} epochs and {batches} batches");
        let verb = if config.finetune.is_some() { "finetune" } else { "train" };
        eprintln!("; go on with: ocelli {verb} --resume {path}");
        return Ok(Verdict::Interrupted);
    }
    // by the validation loss, which class weights, smoothing and mixup leave alone
    let classes = labels.len() as f64;
    let guessing = |row: &&HistoryRow| row.val_loss > classes.ln() && row.val_accuracy < 1.1 / classes;
    if let Some(last) = history.rows.last().filter(guessing) {
        eprintln!(
            "warning: the network has learned nothing: a validation loss of {:.4} and an accuracy of {}, guessing gives {:.4} and {}; train \
             longer or lower learning_rate ({})",
            last.val_loss,
            percent(last.val_accuracy),
            classes.ln(),
            percent(1.0 / classes),
            config.training.learning_rate
        );
    }
    println!("{} parameters; run folder: {path}", super::ui::thousands(weights.parameters() as u64));
    match network.host_only() {
        Some(_) => println!("next: ocelli eval {path} DATA --float"),
        None => println!("next: ocelli compile {path}"),
    }
    Ok(Verdict::Done)
}

/// Which epoch was best, and whose weights were kept.
fn kept(outcome: &Outcome, config: &TrainingConfig) -> String {
    let monitor = config.monitor;
    let early = match (outcome.end, config.early_stopping) {
        (End::Early, Some(EarlyStopping { patience, .. })) => {
            format!("stopped early: {monitor} got no better for {patience} epochs\n")
        }
        _ => String::new(),
    };
    let best = outcome.best.map_or_else(
        || format!("no epoch has a {monitor}"),
        |best| format!("best epoch by {monitor}: {} ({:.4})", best.epoch, best.value),
    );
    let which = match outcome.kept {
        Keep::Best => "of that epoch",
        Keep::Last => "after the last step",
    };
    format!("{early}{best}; {} holds the weights {which}", names::WEIGHTS)
}

/// Trains without checkpoints and writes what a training leaves behind.
pub fn train_into(
    folder: &RunFolder,
    config: &Config,
    network: &Network,
    training: &Dataset,
    validation: &Dataset,
) -> anyhow::Result<(Weights, History)> {
    let mut bar = TrainingBar::new(config.training.epochs, training.len());
    let result = train(network, &config.training, training, validation, &mut bar);
    bar.finish();
    let (weights, history) = result?;
    write(folder, config, network, &training.labels, (&weights, &history))?;
    Ok((weights, history))
}

pub fn write(
    folder: &RunFolder,
    config: &Config,
    network: &Network,
    labels: &[String],
    (weights, history): (&Weights, &History),
) -> anyhow::Result<()> {
    folder.write_trained(network, weights, labels, config)?;
    history.write_csv(&folder.file(names::HISTORY))?;
    curves_png(&folder.file(names::CURVES), &history.rows)
}

fn print_history(history: &History) {
    let rows = history.rows.iter().map(|row| {
        vec![
            row.epoch.to_string(),
            format!("{:.4}", row.loss),
            percent(row.accuracy),
            format!("{:.4}", row.val_loss),
            percent(row.val_accuracy),
            format!("{:.2e}", row.learning_rate),
            format!("{:.1}", row.seconds),
        ]
    });
    let header = ["epoch", "loss", "accuracy", "val loss", "val accuracy", "rate", "seconds"];
    println!("{}", table(&header, rows, 0));
}

impl Args {
    /// The configuration file, or that of the training that is resumed, or defaults, with the flags over it.
    fn config(&self, resumed: Option<&Resumed>) -> anyhow::Result<Config> {
        let mut config = match (&self.config, resumed) {
            (Some(path), _) => Config::read(path)?,
            (None, Some(resumed)) => resumed.config.clone(),
            (None, None) => Config::default(),
        };
        set(&mut config.dataset.path, self.data.as_ref());
        set(&mut config.network.file, self.network.as_ref());
        self.flags.apply(&mut config);
        config.validate()?;
        Ok(config)
    }
}
