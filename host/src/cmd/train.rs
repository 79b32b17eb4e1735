//! `ocelli train`

use super::Verdict;
use super::ui::{TrainingBar, feed, load_images, percent, table};
use anyhow::{Context, ensure};
use ocelli_host::config::Config;
use ocelli_host::data::{Dataset, ImageSet, ImageSource};
use ocelli_host::network::{Network, Weights, zoo};
use ocelli_host::quantize::{Method, RangeRule};
use ocelli_host::report::plots::curves_png;
use ocelli_host::run::{RunFolder, names};
use ocelli_host::train::{
    Checkpoint, Disk, EarlyStopping, End, History, Hooks, Keep, Material, Monitor, Outcome, TrainingConfig, train,
    train_from,
};
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::path::{Path, PathBuf};
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
/// pictures (optionally below train/ and validation/ or test/). The same seed gives the same weights. A model compiled from an
/// earlier training in the same folder is removed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A config.toml; flags override what it says.
    config: Option<PathBuf>,
    /// Folder of the dataset.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Text file with one label a line, in place of the dataset's own names.
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Share of the training images set aside when the dataset has no validation or test set [default: 0.1].
    #[arg(long)]
    validation_fraction: Option<f64>,
    /// A net.toml, or the name of a built-in network (a wrong name lists them).
    #[arg(long)]
    network: Option<String>,
    /// Rows and columns of the pictures that the network takes, for instance 96x96, in place of its own.
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    input: Option<(u32, u32)>,
    /// Passes over the training images [default: 10].
    #[arg(long)]
    epochs: Option<usize>,
    /// Images a step [default: 32].
    #[arg(long)]
    batch_size: Option<usize>,
    /// adam, adamw, nadam, rmsprop or sgd, with Keras' defaults [default: adam].
    #[arg(long)]
    optimizer: Option<String>,
    /// Of sgd and rmsprop [default: 0].
    #[arg(long)]
    momentum: Option<f64>,
    /// Share of the kernels that a step takes away, times the rate [default: 0.004 for adamw, else 0].
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Step size [default: 0.001].
    #[arg(long)]
    learning_rate: Option<f64>,
    /// constant, cosine (down to zero), one-cycle, plateau, or step (with [training.step] in a config.toml) [default: constant].
    #[arg(long)]
    schedule: Option<String>,
    /// Epochs in which the rate rises to its height [default: 0].
    #[arg(long)]
    warmup_epochs: Option<usize>,
    /// categorical, sparse (the same), or binary (two classes) [default: categorical].
    #[arg(long)]
    loss: Option<String>,
    /// Share of each label that is spread over all classes [default: 0].
    #[arg(long)]
    label_smoothing: Option<f64>,
    /// What the best epoch is chosen by: val_loss, val_accuracy, loss or accuracy [default: val_loss].
    #[arg(long, value_parser = parse_monitor)]
    monitor: Option<Monitor>,
    /// Stop after so many epochs without gain, and keep the best.
    #[arg(long)]
    patience: Option<usize>,
    /// Keep the weights of the best epoch, or those of the last: best or last [default: last; best with early stopping].
    #[arg(long, value_parser = parse_keep)]
    keep: Option<Keep>,
    /// Write a checkpoint every so many steps too, not only after each epoch.
    #[arg(long)]
    checkpoint_steps: Option<usize>,
    /// Write a checkpoint every so many minutes too.
    #[arg(long)]
    checkpoint_minutes: Option<f64>,
    /// Seed of weights, order and dropout [default: 1].
    #[arg(long)]
    seed: Option<u64>,
    /// flex, or ndarray (slow; for comparison) [default: flex].
    #[arg(long)]
    backend: Option<String>,
    /// Training images observed for calibration when the network is compiled [default: 512].
    #[arg(long)]
    calibration_images: Option<usize>,
    /// ptq, or qat: after the float training, train on in int8 [default: ptq].
    #[arg(long, value_parser = parse_method)]
    quantize: Option<Method>,
    /// Epochs in int8, with --quantize qat [default: 2].
    #[arg(long)]
    qat_epochs: Option<usize>,
    /// Their first learning rate, which falls to zero [default: a tenth of --learning-rate].
    #[arg(long)]
    qat_learning_rate: Option<f64>,
    /// How intervals of activations move meanwhile: averaged or learned [default: learned].
    #[arg(long, value_parser = parse_ranges)]
    ranges: Option<RangeRule>,
    /// The board that it is for [default: qemu-m4].
    #[arg(long)]
    board: Option<String>,
    /// Folder to write.
    #[arg(long, default_value = "runs/latest")]
    out: PathBuf,
    /// Go on with the training in this folder (in that of --out when none is given).
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    resume: Option<Option<PathBuf>>,
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

pub fn parse_monitor(text: &str) -> Result<Monitor, String> {
    let known = [Monitor::ValLoss, Monitor::ValAccuracy, Monitor::Loss, Monitor::Accuracy];
    let found = known.into_iter().find(|monitor| monitor.to_string() == text);
    found.ok_or_else(|| format!("it is not one of {}", known.map(|monitor| monitor.to_string()).join(", ")))
}

pub fn parse_keep(text: &str) -> Result<Keep, String> {
    match text {
        "best" => Ok(Keep::Best),
        "last" => Ok(Keep::Last),
        _ => Err("it is not one of best, last".to_owned()),
    }
}

fn parse_method(text: &str) -> Result<Method, String> {
    match text {
        "ptq" => Ok(Method::Ptq),
        "qat" => Ok(Method::Qat),
        _ => Err("it is not one of ptq, qat".to_owned()),
    }
}

fn parse_ranges(text: &str) -> Result<RangeRule, String> {
    match text {
        "averaged" => Ok(RangeRule::Averaged),
        "learned" => Ok(RangeRule::Learned),
        _ => Err("it is not one of averaged, learned".to_owned()),
    }
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
    let out = args.resume.clone().flatten().unwrap_or_else(|| args.out.clone());
    let resume = match &args.resume {
        Some(_) => Some(Checkpoint::read(&out.join(names::CHECKPOINTS).join(names::LAST))?),
        None => None,
    };
    let config = args.config(resume.as_ref(), &out)?;
    ensure!(
        config.finetune.is_none(),
        "this configuration is that of a fine-tuned network: use `ocelli finetune`, or take out [finetune] to train from fresh weights"
    );
    let network = match &resume {
        Some(checkpoint) if args.config.is_none() && args.network.is_none() => checkpoint.network()?,
        _ => {
            let network = Network::open(&config.network.file)?;
            match args.input {
                Some((height, width)) => network.with_input(height, width)?,
                None => network,
            }
        }
    };
    let folder = RunFolder::create(&out)?;
    if let Some(checkpoint) = &resume {
        checkpoint.check_augmentation(&config.augmentation)?;
    }
    let (training, validation) = load_images(&config.dataset, &network, config.training.seed)?;
    let training = Arc::new(training);
    let images: Arc<dyn ImageSource> = Arc::<ImageSet>::clone(&training);
    let network = for_classes(network, &config, training.labels().len())?;
    if let Some((epochs, batches)) = resume.as_ref().map(Checkpoint::position) {
        eprintln!("going on after {epochs} epochs and {batches} batches");
    }
    let source = feed(&config, &network, &images)?;
    let stop = stop_on_ctrl_c()?;
    let bar = TrainingBar::new(config.training.epochs, training.len());
    let hooks = Hooks {
        on_batch: &mut |report| bar.update(report),
        stop: &stop,
        disk: Some(Disk { folder: folder.path(), config: &folder.config_text(&config)?, resume }),
    };
    let outcome = train_from(&network, &config.training, &source, training.targets(), &validation, hooks);
    bar.finish();
    let mut outcome = outcome?;
    if config.quantization.quantize == Method::Qat && !outcome.history.rows.is_empty() {
        // what is there when the epochs in int8 are cut short
        write(&folder, &config, &network, training.labels(), (&outcome.weights, &outcome.history))?;
    }
    let material = Material { source: &source, plain: None, targets: training.targets(), validation: &validation };
    let ranges = super::qat::train_on(&config, &network, training.in_memory_set(), &material, &mut outcome, &stop)?;
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
        match config.finetune {
            Some(_) => eprintln!("; a fine-tuning cannot be gone on with"),
            None => eprintln!("; go on with: ocelli train --resume {path}"),
        }
        return Ok(Verdict::Interrupted);
    }
    let guessing = (labels.len() as f64).ln();
    if let Some(last) = history.rows.last().filter(|row| row.loss > guessing) {
        eprintln!(
            "warning: the network has learned nothing: a loss of {:.4}, guessing gives {guessing:.4}; train longer or lower \
             learning_rate ({})",
            last.loss, config.training.learning_rate
        );
    }
    println!("{} parameters; run folder: {path}", super::ui::thousands(weights.parameters() as u64));
    println!("next: ocelli compile {path}");
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
    let bar = TrainingBar::new(config.training.epochs, training.len());
    let result = train(network, &config.training, training, validation, &mut |report| bar.update(report));
    bar.finish();
    let (weights, history) = result?;
    write(folder, config, network, &training.labels, (&weights, &history))?;
    Ok((weights, history))
}

fn write(
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
    fn config(&self, resume: Option<&Checkpoint>, out: &Path) -> anyhow::Result<Config> {
        let mut config = match (&self.config, resume) {
            (Some(path), _) => Config::read(path)?,
            (None, Some(checkpoint)) => Config::parse(checkpoint.config(), &out.join(names::CONFIG))?,
            (None, None) => Config::default(),
        };
        let Config { dataset, network, training, quantization, target, .. } = &mut config;
        set(&mut dataset.path, self.data.as_ref());
        dataset.labels = self.labels.clone().or(dataset.labels.take());
        set(&mut dataset.validation_fraction, self.validation_fraction.as_ref());
        set(&mut network.file, self.network.as_ref());
        set(&mut training.epochs, self.epochs.as_ref());
        set(&mut training.batch_size, self.batch_size.as_ref());
        set(&mut training.optimizer, self.optimizer.as_ref());
        training.momentum = self.momentum.or(training.momentum);
        training.weight_decay = self.weight_decay.or(training.weight_decay);
        set(&mut training.learning_rate, self.learning_rate.as_ref());
        set(&mut training.schedule, self.schedule.as_ref());
        set(&mut training.warmup_epochs, self.warmup_epochs.as_ref());
        set(&mut training.loss, self.loss.as_ref());
        set(&mut training.label_smoothing, self.label_smoothing.as_ref());
        set(&mut training.monitor, self.monitor.as_ref());
        training.keep = self.keep.or(training.keep);
        if let Some(patience) = self.patience {
            let min_delta = training.early_stopping.map_or(0.0, |stopping| stopping.min_delta);
            training.early_stopping = Some(EarlyStopping { patience, min_delta });
        }
        set(&mut training.checkpoint_steps, self.checkpoint_steps.as_ref());
        set(&mut training.checkpoint_minutes, self.checkpoint_minutes.as_ref());
        set(&mut training.seed, self.seed.as_ref());
        set(&mut training.backend, self.backend.as_ref());
        set(&mut quantization.calibration_images, self.calibration_images.as_ref());
        set(&mut quantization.quantize, self.quantize.as_ref());
        set(&mut quantization.qat_epochs, self.qat_epochs.as_ref());
        quantization.qat_learning_rate = self.qat_learning_rate.or(quantization.qat_learning_rate);
        set(&mut quantization.ranges, self.ranges.as_ref());
        set(&mut target.board, self.board.as_ref());
        config.validate()?;
        Ok(config)
    }
}

pub fn set<T: Clone>(value: &mut T, flag: Option<&T>) {
    if let Some(flag) = flag {
        value.clone_from(flag);
    }
}
