//! `ocelli finetune`

use super::Verdict;
use super::qat;
use super::train::{finish, parse_keep, parse_monitor, set, stop_on_ctrl_c};
use super::ui::{TrainingBar, feed, load_images};
use ocelli_host::augment::AugmentationConfig;
use ocelli_host::config::Config;
use ocelli_host::data::{ImageSet, ImageSource};
use ocelli_host::run::{RunFolder, Trained};
use ocelli_host::train::{
    EarlyStopping, FinetuneConfig, Freeze, Grafted, Hooks, Keep, Material, Monitor, TrainingConfig, finetune,
};
use std::path::PathBuf;
use std::sync::Arc;

/// Train a new head on a network that is trained already
///
/// Takes the layers of a run's network up to its head, puts a new head on them, and trains that on other data; the run folder is like
/// that of `ocelli train`. What frozen layers make of the pictures is computed once and kept in memory. With --unfreeze-epochs all
/// layers are trained afterwards, at --unfreeze-rate. Batch norms of the base keep their statistics.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run folder of the base.
    #[arg(long)]
    base: PathBuf,
    /// The new head: gap, gmp, flatten, batch-norm, dropout RATE, dense UNITS [ACTIVATION]; the last is dense N, one unit a class.
    #[arg(long, default_value = "gap, dense 64 relu, dense N")]
    head: String,
    /// base, all-but-K (the last K layers with weights are trained too) or none.
    #[arg(long, default_value_t = Freeze::Base)]
    freeze: Freeze,
    /// The last layer of the base that stays [default: the one before its flatten, global pool or dense].
    #[arg(long)]
    cut: Option<String>,
    /// Epochs after the others in which all layers are trained.
    #[arg(long, default_value_t = 0, requires = "unfreeze_rate")]
    unfreeze_epochs: usize,
    /// Their learning rate.
    #[arg(long, requires = "unfreeze_epochs")]
    unfreeze_rate: Option<f64>,
    /// Folder of the dataset.
    data: PathBuf,
    /// Text file with one label a line, in place of the dataset's own names.
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Share of the training images set aside when the dataset has no validation or test set [default: 0.1].
    #[arg(long)]
    validation_fraction: Option<f64>,
    /// A config.toml whose [training] and [augmentation] are taken; flags override it.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Passes over the training images [default: 10].
    #[arg(long)]
    epochs: Option<usize>,
    /// Images a step [default: 32].
    #[arg(long)]
    batch_size: Option<usize>,
    /// adam, adamw, nadam, rmsprop or sgd [default: adam].
    #[arg(long)]
    optimizer: Option<String>,
    /// Step size [default: 0.001].
    #[arg(long)]
    learning_rate: Option<f64>,
    /// constant, cosine, one-cycle or plateau [default: constant].
    #[arg(long)]
    schedule: Option<String>,
    /// What the best epoch is chosen by: val_loss, val_accuracy, loss or accuracy [default: val_loss].
    #[arg(long, value_parser = parse_monitor)]
    monitor: Option<Monitor>,
    /// Stop after so many epochs without gain, and keep the best.
    #[arg(long)]
    patience: Option<usize>,
    /// Keep the weights of the best epoch, or those of the last: best or last [default: last; best with early stopping].
    #[arg(long, value_parser = parse_keep)]
    keep: Option<Keep>,
    /// Seed of the head's weights, order and dropout [default: 1].
    #[arg(long)]
    seed: Option<u64>,
    /// The board that it is for [default: the base's].
    #[arg(long)]
    board: Option<String>,
    /// Folder to write.
    #[arg(long, default_value = "runs/finetuned")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let base = Trained::open(&args.base)?;
    let config = args.config(&base)?;
    let Some(plan) = &config.finetune else { anyhow::bail!("there is nothing to fine-tune") };
    let source = config.dataset.open()?;
    let grafted = Grafted::new(&base.network, args.cut.as_deref(), &args.head, source.labels().len())?;
    grafted.first_trained(args.freeze)?;
    let folder = RunFolder::create(&args.out)?;
    let (training, validation) = load_images(&config.dataset, &grafted.network, config.training.seed)?;
    let training = Arc::new(training);
    let images: Arc<dyn ImageSource> = Arc::<ImageSet>::clone(&training);
    let source = feed(&config, &grafted.network, &images)?;
    let material = Material {
        source: &source,
        // augmented images change from epoch to epoch
        plain: if config.augmentation.is_none() { Some(&images) } else { None },
        targets: training.targets(),
        validation: &validation,
    };
    let stop = stop_on_ctrl_c()?;
    let bar = TrainingBar::new(config.training.epochs + plan.unfreeze_epochs, training.len());
    let hooks = Hooks { on_batch: &mut |report| bar.update(report), stop: &stop, disk: None };
    let result = finetune(&grafted, &base.weights, plan, &config.training, &material, hooks);
    bar.finish();
    let mut result = result?;
    let ranges =
        qat::train_on(&config, &grafted.network, training.in_memory_set(), &material, &mut result.outcome, &stop)?;
    let verdict = finish(&folder, &config, &grafted.network, training.labels(), &result.outcome)?;
    qat::keep(&folder, ranges.as_ref())?;
    println!("{} layers of {}, freeze = {}", grafted.base_layers, args.base.display(), args.freeze);
    if let Some(cached) = result.cached {
        println!(
            "frozen layers were run once ({:.2} s), an epoch without them takes {:.2} s: {:.1} times as fast",
            cached.once,
            cached.epoch,
            cached.times()
        );
    }
    Ok(verdict)
}

impl Args {
    fn config(&self, base: &Trained) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config {
                training: TrainingConfig::default(),
                augmentation: AugmentationConfig::default(),
                ..base.config.clone()
            },
        };
        config.dataset.path.clone_from(&self.data);
        config.dataset.labels.clone_from(&self.labels);
        set(&mut config.dataset.validation_fraction, self.validation_fraction.as_ref());
        "base".clone_into(&mut config.network.file);
        let training = &mut config.training;
        set(&mut training.epochs, self.epochs.as_ref());
        set(&mut training.batch_size, self.batch_size.as_ref());
        set(&mut training.optimizer, self.optimizer.as_ref());
        set(&mut training.learning_rate, self.learning_rate.as_ref());
        set(&mut training.schedule, self.schedule.as_ref());
        set(&mut training.monitor, self.monitor.as_ref());
        training.keep = self.keep.or(training.keep);
        if let Some(patience) = self.patience {
            training.early_stopping = Some(EarlyStopping { patience, min_delta: 0.0 });
        }
        set(&mut training.seed, self.seed.as_ref());
        set(&mut config.target.board, self.board.as_ref());
        let plan = FinetuneConfig {
            base: self.base.clone(),
            head: self.head.clone(),
            freeze: self.freeze.to_string(),
            cut: self.cut.clone(),
            unfreeze_epochs: self.unfreeze_epochs,
            unfreeze_rate: self.unfreeze_rate,
        };
        plan.validate()?;
        config.finetune = Some(plan);
        config.validate()?;
        Ok(config)
    }
}
