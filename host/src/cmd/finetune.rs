//! `ocelli finetune`

use super::Verdict;
use super::flags::{Flags, Resumed, set};
use super::qat::{self, Place};
use super::train::{finish, stop_on_ctrl_c};
use super::ui::{TrainingBar, TrainingSets, announce, feed, load_training};
use anyhow::Context;
use ocelli_host::augment::AugmentationConfig;
use ocelli_host::config::Config;
use ocelli_host::data::{ImageSet, ImageSource};
use ocelli_host::quantize::Method;
use ocelli_host::run::{RunFolder, Trained};
use ocelli_host::train::{Disk, FinetuneConfig, Freeze, Grafted, Hooks, Material, TrainingConfig, finetune};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a head is where none is given.
const HEAD: &str = "gap, dense 64 relu, dense N";

/// Train a new head on a network that is trained already
///
/// Takes the layers of a run's network up to its head, puts a new head on them, and trains that on other data; the run folder is like
/// that of `ocelli train`. What frozen layers make of the pictures is computed once and kept in memory. With --unfreeze-epochs all
/// layers are trained afterwards, at --unfreeze-rate. Batch norms of the base keep their statistics.
///
/// Ctrl-C ends it after the running batch, with exit code 130; `ocelli finetune --resume RUN` goes on from the last checkpoint, after a
/// crash too, to the same result as an unbroken run. What frozen layers make of the pictures is then computed again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run folder of the base.
    #[arg(long, required_unless_present = "resume")]
    base: Option<PathBuf>,
    /// The new head: gap, gmp, flatten, batch-norm, dropout RATE, dense UNITS [ACTIVATION]; the last is dense N, one unit a class
    /// [default: "gap, dense 64 relu, dense N"].
    #[arg(long)]
    head: Option<String>,
    /// base, all-but-K (the last K layers with weights are trained too) or none [default: base].
    #[arg(long)]
    freeze: Option<Freeze>,
    /// The last layer of the base that stays [default: the one before its flatten, global pool or dense].
    #[arg(long)]
    cut: Option<String>,
    /// Epochs after the others in which all layers are trained [default: 0].
    #[arg(long, requires = "unfreeze_rate")]
    unfreeze_epochs: Option<usize>,
    /// Their learning rate.
    #[arg(long, requires = "unfreeze_epochs")]
    unfreeze_rate: Option<f64>,
    /// Folder of the dataset.
    #[arg(required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// A config.toml whose [training] and [augmentation] are taken; flags override it.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// Folder to write.
    #[arg(long, default_value = "runs/finetuned")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let (out, resumed) = args.flags.resumed(&args.out)?;
    let then = resumed.as_ref().map(|resumed| plan_of(&resumed.config, &out)).transpose()?;
    let path =
        args.base.clone().or_else(|| Some(then.as_ref()?.base.clone())).context("which base? give --base RUN")?;
    let base = Trained::open(&path)?;
    let config = args.config(&base, path, resumed.as_ref(), then)?;
    let plan = plan_of(&config, &out)?;
    let source = config.dataset.open()?;
    let grafted = Grafted::new(&base.network, plan.cut.as_deref(), &plan.head, source.labels().len())?;
    grafted.first_trained(plan.validate()?)?;
    if config.quantization.quantize == Method::Qat {
        grafted.network.check_device()?;
    }
    // before anything is written: a device may not be there
    config.training.open_devices()?;
    let folder = RunFolder::create(&out)?;
    args.flags.check_folder(&folder)?;
    let text = folder.config_text(&config)?;
    if let Some(resumed) = &resumed {
        resumed.first.check_augmentation(&config.augmentation)?;
        resumed.first.check_finetune(&text)?;
    }
    let sets = load_training(&config.dataset, &source, &grafted.network, config.training.seed)?;
    announce(&sets, &config.training);
    let TrainingSets { training, validation, .. } = sets;
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
    let resumes = resumed.is_some();
    let resume = resumed.map(Resumed::begin);
    let stop = stop_on_ctrl_c()?;
    let mut bar = TrainingBar::new(config.training.epochs + plan.unfreeze_epochs, training.len());
    let disk = Some(Disk { folder: folder.path(), config: &text, resume });
    let hooks = Hooks { observer: &mut bar, stop: &stop, disk };
    args.flags.begin(&folder)?;
    folder.write_begun(&grafted.network, training.labels(), &config)?;
    let result = finetune(&grafted, &base.weights, &plan, &config.training, &material, hooks);
    bar.finish();
    let mut result = result?;
    let (network, place) = (&grafted.network, Place { folder: &folder, resumes });
    let outcome = &mut result.outcome;
    let ranges = qat::train_on(&config, network, &training, &material, outcome, &place, &stop)?;
    let verdict = finish(&folder, &config, network, training.labels(), &result.outcome)?;
    qat::keep(&folder, ranges.as_ref())?;
    println!("{} layers of {}, freeze = {}", grafted.base_layers, plan.base.display(), plan.freeze);
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

/// The `[finetune]` of a configuration.
fn plan_of(config: &Config, run: &Path) -> anyhow::Result<FinetuneConfig> {
    let run = run.display();
    config.finetune.clone().with_context(|| {
        format!("{run} holds a training from fresh weights: go on with it by `ocelli train --resume {run}`")
    })
}

impl Args {
    /// The configuration of a new fine-tuning, or of the one that is resumed (whose plan is `then`), with the flags over it.
    fn config(
        &self,
        base: &Trained,
        path: PathBuf,
        resumed: Option<&Resumed>,
        then: Option<FinetuneConfig>,
    ) -> anyhow::Result<Config> {
        let mut config = match (&self.config, resumed) {
            (Some(path), _) => Config::read(path)?,
            (None, Some(resumed)) => resumed.config.clone(),
            (None, None) => Config {
                training: TrainingConfig::default(),
                augmentation: AugmentationConfig::default(),
                ..base.config.clone()
            },
        };
        match resumed {
            Some(resumed) => config.dataset.clone_from(&resumed.config.dataset),
            None => config.dataset.labels = None, // those of the base
        }
        set(&mut config.dataset.path, self.data.as_ref());
        "base".clone_into(&mut config.network.file);
        self.flags.apply(&mut config);
        let mut plan = then.unwrap_or_else(|| FinetuneConfig {
            base: path.clone(),
            head: HEAD.to_owned(),
            freeze: Freeze::Base.to_string(),
            cut: None,
            unfreeze_epochs: 0,
            unfreeze_rate: None,
        });
        plan.base = path;
        set(&mut plan.head, self.head.as_ref());
        set(&mut plan.freeze, self.freeze.map(|freeze| freeze.to_string()).as_ref());
        plan.cut = self.cut.clone().or(plan.cut);
        set(&mut plan.unfreeze_epochs, self.unfreeze_epochs.as_ref());
        plan.unfreeze_rate = self.unfreeze_rate.or(plan.unfreeze_rate);
        plan.validate()?;
        config.finetune = Some(plan);
        config.validate()?;
        Ok(config)
    }
}
