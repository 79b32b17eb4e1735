//! `ocelli finetune`

use super::Verdict;
use super::flags::{Flags, Resumed, set};
use super::import::{Preprocess, Range, range};
use super::qat::{self, Place};
use super::train::{finish, stop_on_ctrl_c};
use super::ui::{TrainingBar, TrainingSets, announce, feed, load_training, thousands};
use anyhow::Context;
use ocelli_host::augment::AugmentationConfig;
use ocelli_host::base::{Base, PictureConfig, ResizeRule};
use ocelli_host::config::{Config, DatasetConfig};
use ocelli_host::data::{ImageSet, ImageSource};
use ocelli_host::quantize::Method;
use ocelli_host::run::RunFolder;
use ocelli_host::train::{Disk, FinetuneConfig, Freeze, Grafted, Hooks, Material, TrainingConfig, finetune};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a head is where none is given.
const HEAD: &str = "gap, dense 64 relu, dense N";

/// Train a new head on a network that is trained already
///
/// Takes the layers of a network up to its head, puts a new head on them, and trains that on other data; the run folder is like
/// that of `ocelli train`. What frozen layers make of the pictures is computed once and kept in memory. With --unfreeze-epochs all
/// layers are trained afterwards, at --unfreeze-rate. Batch norms of the base keep their statistics.
///
/// The base is a run folder, or a float network from elsewhere (.onnx or .tflite; what `ocelli import` reads). How that wants its pictures
/// is mostly not in the file: MobileNets want --preprocess tf.
///
/// Ctrl-C ends it after the running batch, with exit code 130; `ocelli finetune --resume RUN` goes on from the last checkpoint, after a
/// crash too, to the same result as an unbroken run. What frozen layers make of the pictures is then computed again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The base: a run folder, or a float .onnx or .tflite file.
    #[arg(long, required_unless_present_any = ["resume", "config"])]
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
    /// Rows and columns of the pictures, for instance 160x160, in place of the base's own.
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    input: Option<(u32, u32)>,
    /// How a base from elsewhere wants its pictures.
    #[arg(long, value_name = "STYLE")]
    preprocess: Option<Preprocess>,
    /// In its place what the base takes for black and white, for instance -1,1 [default: what an .onnx file says, or 0,1].
    #[arg(long, value_name = "BLACK,WHITE", value_parser = range, allow_hyphen_values = true, conflicts_with = "preprocess")]
    range: Option<Range>,
    /// What becomes of a picture of another shape [default: the base's way, or stretch].
    #[arg(long)]
    resize: Option<ResizeRule>,
    /// Epochs after the others in which all layers are trained [default: 0].
    #[arg(long, requires = "unfreeze_rate")]
    unfreeze_epochs: Option<usize>,
    /// Their learning rate.
    #[arg(long, requires = "unfreeze_epochs")]
    unfreeze_rate: Option<f64>,
    /// Folder of the dataset.
    #[arg(required_unless_present_any = ["resume", "config"])]
    data: Option<PathBuf>,
    /// The config.toml of a fine-tuning, to be repeated, or of any training, whose [training] and [augmentation] are taken; what else is
    /// given here overrides it.
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
    let given = args.config.as_deref().map(Config::read).transpose()?;
    let then = match &resumed {
        Some(resumed) => Some(plan_of(&resumed.config, &out)?),
        None => given.as_ref().and_then(|config| config.finetune.clone()),
    };
    let plan = args.plan(then)?;
    let base = Base::open(&plan)?;
    base.notes.iter().for_each(|note| eprintln!("note: {note}"));
    let config = args.config(&base, given, resumed.as_ref(), plan.clone())?;
    let source = config.dataset.open()?;
    let grafted = Grafted::new(&base.network, plan.cut.as_deref(), &plan.head, source.labels().len(), plan.input)?;
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
            "frozen layers were run once ({:.2} s, {} bytes are kept), an epoch without them takes {:.2} s: {:.1} times as fast",
            cached.once,
            thousands(cached.bytes as u64),
            cached.epoch,
            cached.times()
        );
    } else if let Some(bytes) = result.too_large {
        println!(
            "what the frozen layers make of the pictures, {} bytes, was too much to be kept: they were run in every epoch (a head that \
             begins with gap keeps a few numbers of each picture)",
            thousands(bytes as u64)
        );
    }
    Ok(verdict)
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sizes = text.split_once('x').and_then(|(h, w)| Some((h.parse().ok()?, w.parse().ok()?)));
    sizes
        .filter(|&(h, w)| h > 0 && w > 0)
        .ok_or_else(|| format!("'{text}' is no size: write rows x columns, for instance 160x160"))
}

/// The `[finetune]` of a configuration.
fn plan_of(config: &Config, run: &Path) -> anyhow::Result<FinetuneConfig> {
    let run = run.display();
    config.finetune.clone().with_context(|| {
        format!("{run} holds a training from fresh weights: go on with it by `ocelli train --resume {run}`")
    })
}

impl Args {
    /// What is made of which base: that of `then`, of a configuration or a training that is resumed, with the flags over it.
    fn plan(&self, then: Option<FinetuneConfig>) -> anyhow::Result<FinetuneConfig> {
        let mut plan = match (then, &self.base) {
            (Some(then), _) => then,
            (None, base) => FinetuneConfig {
                base: base.clone().context("which base? give --base, a run folder or a float .onnx or .tflite file")?,
                head: HEAD.to_owned(),
                freeze: Freeze::Base.to_string(),
                cut: None,
                input: None,
                unfreeze_epochs: 0,
                unfreeze_rate: None,
                picture: PictureConfig::default(),
            },
        };
        set(&mut plan.base, self.base.as_ref());
        set(&mut plan.head, self.head.as_ref());
        set(&mut plan.freeze, self.freeze.map(|freeze| freeze.to_string()).as_ref());
        plan.cut = self.cut.clone().or(plan.cut);
        plan.input = self.input.map(|(rows, columns)| [rows, columns]).or(plan.input);
        set(&mut plan.unfreeze_epochs, self.unfreeze_epochs.as_ref());
        plan.unfreeze_rate = self.unfreeze_rate.or(plan.unfreeze_rate);
        let picture = &mut plan.picture;
        if self.preprocess.is_some() || self.range.is_some() {
            (picture.preprocess, picture.range) = (self.preprocess.map(Into::into), self.range.map(|range| range.0));
        }
        picture.resize = self.resize.or(picture.resize);
        plan.validate()?;
        Ok(plan)
    }

    /// The configuration of a new fine-tuning, or of the one that is resumed, with the flags over it; `given` is that of --config.
    fn config(
        &self,
        base: &Base,
        given: Option<Config>,
        resumed: Option<&Resumed>,
        plan: FinetuneConfig,
    ) -> anyhow::Result<Config> {
        let mut config = match (given, resumed) {
            (Some(mut given), _) => {
                if self.data.is_some() {
                    given.dataset.labels = None; // those of its own dataset
                }
                given
            }
            (None, Some(resumed)) => resumed.config.clone(),
            (None, None) => {
                // the base's dataset was another, and its training too
                Config {
                    dataset: DatasetConfig::default(),
                    training: TrainingConfig::default(),
                    augmentation: AugmentationConfig::default(),
                    ..base.config.clone()
                }
            }
        };
        if let Some(resumed) = resumed {
            config.dataset.labels.clone_from(&resumed.config.dataset.labels);
        }
        set(&mut config.dataset.path, self.data.as_ref());
        "base".clone_into(&mut config.network.file);
        self.flags.apply(&mut config);
        config.finetune = Some(plan);
        config.validate()?;
        Ok(config)
    }
}
