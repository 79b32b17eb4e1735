//! `ocelli train`

use super::Verdict;
use super::ui::{TrainingBar, load_training, percent, table};
use ocelli_host::config::Config;
use ocelli_host::data::Dataset;
use ocelli_host::network::{Network, Weights};
use ocelli_host::report::plots::curves_png;
use ocelli_host::run::{RunFolder, names};
use ocelli_host::train::{History, train};
use std::path::PathBuf;

/// Train a network and write a run folder
///
/// Train a network from fresh weights and write a run folder: net.toml, config.toml, weights.safetensors, model.onnx,
/// history.csv, curves.png.
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
    /// Passes over the training images [default: 10].
    #[arg(long)]
    epochs: Option<usize>,
    /// Images a step [default: 32].
    #[arg(long)]
    batch_size: Option<usize>,
    /// adam or sgd [default: adam].
    #[arg(long)]
    optimizer: Option<String>,
    /// Step size [default: 0.001].
    #[arg(long)]
    learning_rate: Option<f64>,
    /// constant, or cosine (down to zero) [default: constant].
    #[arg(long)]
    schedule: Option<String>,
    /// Seed of weights, order and dropout [default: 1].
    #[arg(long)]
    seed: Option<u64>,
    /// flex, or ndarray (slow; for comparison) [default: flex].
    #[arg(long)]
    backend: Option<String>,
    /// Training images observed for calibration when the network is compiled [default: 512].
    #[arg(long)]
    calibration_images: Option<usize>,
    /// The board that it is for [default: qemu-m4].
    #[arg(long)]
    board: Option<String>,
    /// Folder to write.
    #[arg(long, default_value = "runs/latest")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let config = args.config()?;
    let network = Network::open(&config.network.file)?;
    let folder = RunFolder::create(&args.out)?;
    let (training, validation) = load_training(&config.dataset, &network, config.training.seed)?;
    let (weights, history) = train_into(&folder, &config, &network, &training, &validation)?;
    print_history(&history);
    let guessing = (training.labels.len() as f64).ln();
    if let Some(last) = history.rows.last().filter(|row| row.loss > guessing) {
        eprintln!(
            "warning: the network has learned nothing: a loss of {:.4}, guessing gives {guessing:.4}; train longer or lower \
             learning_rate ({})",
            last.loss, config.training.learning_rate
        );
    }
    println!(
        "{} parameters trained on {} images; run folder: {}",
        super::ui::thousands(weights.parameters() as u64),
        training.len(),
        folder.path().display()
    );
    println!("next: ocelli compile {}", folder.path().display());
    Ok(Verdict::Done)
}

/// Trains and writes what a training leaves behind.
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
    folder.write_trained(network, &weights, &training.labels, config)?;
    history.write_csv(&folder.file(names::HISTORY))?;
    curves_png(&folder.file(names::CURVES), &history.rows)?;
    Ok((weights, history))
}

fn print_history(history: &History) {
    let rows = history.rows.iter().map(|row| {
        vec![
            row.epoch.to_string(),
            format!("{:.4}", row.loss),
            percent(row.accuracy),
            format!("{:.4}", row.val_loss),
            percent(row.val_accuracy),
            format!("{:.1}", row.seconds),
        ]
    });
    println!("{}", table(&["epoch", "loss", "accuracy", "val loss", "val accuracy", "seconds"], rows, 0));
}

impl Args {
    /// The configuration file, or defaults, with the flags over it.
    fn config(&self) -> anyhow::Result<Config> {
        let mut config = self.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        let Config { dataset, network, training, quantization, target, .. } = &mut config;
        set(&mut dataset.path, self.data.as_ref());
        dataset.labels = self.labels.clone().or(dataset.labels.take());
        set(&mut dataset.validation_fraction, self.validation_fraction.as_ref());
        set(&mut network.file, self.network.as_ref());
        set(&mut training.epochs, self.epochs.as_ref());
        set(&mut training.batch_size, self.batch_size.as_ref());
        set(&mut training.optimizer, self.optimizer.as_ref());
        set(&mut training.learning_rate, self.learning_rate.as_ref());
        set(&mut training.schedule, self.schedule.as_ref());
        set(&mut training.seed, self.seed.as_ref());
        set(&mut training.backend, self.backend.as_ref());
        set(&mut quantization.calibration_images, self.calibration_images.as_ref());
        set(&mut target.board, self.board.as_ref());
        config.validate()?;
        Ok(config)
    }
}

fn set<T: Clone>(value: &mut T, flag: Option<&T>) {
    if let Some(flag) = flag {
        value.clone_from(flag);
    }
}
