//! Training a new head on a network that is trained already, and then, if asked, what lies below it.

use super::checkpoint::{Checkpoint, Past, Phase};
use super::config::{TrainingConfig, in_range};
use super::evaluate::Features;
use super::fit::{Disk, End, Held, Hooks, Job, Outcome, fit};
use super::graft::{Freeze, Grafted};
use super::module::Classifier;
use super::monitor::Keep;
use super::source::{Batch, Epoch, Inputs, Source, shuffled};
use crate::base::PictureConfig;
use crate::data::ImageSource;
use crate::network::{Network, Weights};
use anyhow::ensure;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Instant;

/// Bytes of features that are kept in memory at most.
const MAX_FEATURE_BYTES: usize = 2 << 30;

/// `[finetune]` of a `config.toml`: how a network was made from another.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FinetuneConfig {
    /// The base: a run folder, or a float .onnx or .tflite file.
    pub base: PathBuf,
    /// The new head.
    pub head: String,
    /// `"base"`, `"all-but-K"` or `"none"`.
    pub freeze: String,
    /// The last layer of the base that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
    /// Rows and columns of the pictures, where they are not those of the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<[u32; 2]>,
    /// Epochs after the others in which all layers are trained.
    #[serde(default)]
    pub unfreeze_epochs: usize,
    /// Their learning rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfreeze_rate: Option<f64>,
    /// How a base from elsewhere wants its pictures.
    #[serde(default, skip_serializing_if = "PictureConfig::is_none")]
    pub picture: PictureConfig,
}

impl FinetuneConfig {
    /// Refuses values that cannot train.
    ///
    /// # Errors
    /// Names key, value and what is allowed.
    pub fn validate(&self) -> anyhow::Result<Freeze> {
        let freeze: Freeze = self.freeze.parse().map_err(|message| anyhow::anyhow!("[finetune] freeze = {message}"))?;
        ensure!(
            (self.unfreeze_epochs > 0) == self.unfreeze_rate.is_some(),
            "[finetune] unfreeze_epochs and unfreeze_rate belong together: give both or none"
        );
        if let Some(rate) = self.unfreeze_rate {
            in_range("unfreeze_rate", rate, rate > 0.0, "above 0")?;
        }
        self.picture.validate()?;
        Ok(freeze)
    }
}

/// The training images of a fine-tuning.
pub struct Material<'a> {
    /// The batches.
    pub source: &'a dyn Source,
    /// The images themselves, where no batch changes them: what frozen layers make of them is then computed once.
    pub plain: Option<&'a dyn ImageSource>,
    /// The classes of the training images.
    pub targets: &'a [usize],
    /// The validation images.
    pub validation: &'a dyn ImageSource,
}

/// What the frozen layers cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cached {
    /// Seconds in which they were run once over the training and the validation images.
    pub once: f64,
    /// Seconds of an epoch without them, validation among them.
    pub epoch: f64,
    /// Bytes of what they make of all images.
    pub bytes: usize,
}

impl Cached {
    /// How many times as fast an epoch is as one that runs the frozen layers over all images.
    #[must_use]
    pub fn times(&self) -> f64 {
        (self.once + self.epoch) / self.epoch.max(1e-9)
    }
}

/// What a fine-tuning leaves.
#[derive(Clone, Debug)]
pub struct Finetuned {
    /// Weights and history, of both parts.
    pub outcome: Outcome,
    /// What the cache was worth, where there was one.
    pub cached: Option<Cached>,
    /// Bytes of what the frozen layers make of all images, where that was too much to be kept.
    pub too_large: Option<usize>,
}

/// Trains the head, and the layers that are not frozen; then, if asked, all layers. Batch norms of the base keep their statistics
/// throughout. The same base, plan, data and seed give the same weights, however often it is interrupted and taken up; what frozen
/// layers make of the images is then computed again.
///
/// # Errors
/// When the configuration is wrong, the labels are not the data's, a checkpoint is that of another training, a file cannot be written, or
/// the loss stops being a number.
pub fn finetune(
    grafted: &Grafted,
    base: &Weights,
    plan: &FinetuneConfig,
    config: &TrainingConfig,
    material: &Material<'_>,
    hooks: Hooks<'_>,
) -> anyhow::Result<Finetuned> {
    let freeze = plan.validate()?;
    config.validate()?;
    let network = &grafted.network;
    network.check_labels(material.validation.labels())?;
    let Hooks { observer, stop, disk } = hooks;
    let folder = disk.as_ref().map(|disk| (disk.folder, disk.config));
    let resume = disk.and_then(|disk| disk.resume);
    if let Some(checkpoint) = &resume {
        checkpoint.check_network(network)?;
    }
    let resumes = resume.is_some();
    let on_disk = |resume| folder.map(|(folder, config)| Disk { folder, config, resume });
    // the base may have been trained anew since
    let start = resume.as_ref().map_or_else(|| grafted.weights(base, config.seed), |last| Ok(last.weights.clone()))?;
    let trained = grafted.first_trained(freeze)?;
    let first = grafted.neck(grafted.steady(trained)?)?;
    let in_base = |count: usize| move |name: &str| network.layers.iter().take(count).any(|layer| layer.name == name);
    let (frozen, still, none) = (in_base(trained), in_base(grafted.base_layers), |_: &str| false);

    let is_over = resume.as_ref().is_some_and(|last| last.state.is_over(config.epochs));
    let (mut cache, mut too_large) = (None, None);
    if let Some(plain) = material.plain.filter(|_| first > 0 && !is_over) {
        let bytes = feature_bytes(network, first, plain.len() + material.validation.len())?;
        if bytes <= MAX_FEATURE_BYTES {
            cache = Some(Cache::compute(network, &start, plain, material, config, first)?);
        } else {
            too_large = Some(bytes);
        }
    }
    let (source, features) = match &cache {
        Some(cache) => (cache as &dyn Source, Some(&cache.validation)),
        None => (material.source, None),
    };
    let job = Job {
        network,
        config,
        start,
        first,
        frozen: &frozen,
        still: &still,
        targets: material.targets,
        phase: Phase::First,
        past: Past::default(),
    };
    let held = Held { set: material.validation, features };
    let hooks = Hooks { observer: &mut *observer, stop, disk: on_disk(resume) };
    let mut outcome = fit(job, source, &held, hooks)?;
    let epochs = outcome.history.rows.len();
    let cached = cache.map(|cache| Cached {
        bytes: size_of::<f32>() * (cache.training.values.len() + cache.validation.values.len()),
        once: cache.seconds,
        epoch: outcome.history.rows.last().map_or(0.0, |row| row.seconds) / epochs.max(1) as f64,
    });
    if let (Some(rate), false) = (plan.unfreeze_rate, matches!(outcome.end, End::Interrupted { .. })) {
        let whole = TrainingConfig { epochs: plan.unfreeze_epochs, learning_rate: rate, ..config.clone() };
        whole.validate()?;
        let resume = match folder {
            Some((folder, _)) if resumes => Checkpoint::find(folder, Phase::Unfrozen)?,
            _ => None,
        };
        if let Some(then) = resume.as_ref().map(|last| last.state.training.learning_rate) {
            ensure!(
                then == rate,
                "--resume: [finetune] unfreeze_rate = {rate}, but the training was begun with {then}: give the same, or another --out"
            );
        }
        let job = Job {
            network,
            config: &whole,
            start: outcome.weights.clone(),
            first: 0,
            frozen: &none,
            still: &still,
            targets: material.targets,
            phase: Phase::Unfrozen,
            past: Past { steps: outcome.steps, history: outcome.history.clone() },
        };
        let held = Held { set: material.validation, features: None };
        let second = fit(job, material.source, &held, Hooks { observer, stop, disk: on_disk(resume) })?;
        outcome = joined(outcome, second, &whole);
    }
    Ok(Finetuned { outcome, cached, too_large })
}

/// Two parts of a training as one.
fn joined(first: Outcome, second: Outcome, config: &TrainingConfig) -> Outcome {
    let past = Past { steps: first.steps, history: first.history };
    let (epochs, history) = (past.epochs(), past.then(&second.history.rows));
    let end = match second.end {
        End::Interrupted { epochs: done, batches } => End::Interrupted { epochs: epochs + done, batches },
        end => end,
    };
    let later = second.best.map(|mut best| {
        best.epoch += epochs;
        best
    });
    // the best of both, where the best is kept; else what came last
    let first_is_best = match (first.best, later) {
        (Some(first), Some(later)) => !config.monitor.better(later.value, first.value, 0.0),
        (Some(_), None) => true,
        (None, _) => false,
    };
    let best = if first_is_best { first.best } else { later };
    let weights = if first_is_best && config.kept() == Keep::Best { first.weights } else { second.weights };
    Outcome { weights, kept: config.kept(), best, history, steps: past.steps + second.steps, end }
}

/// What the frozen layers make of the images, in memory.
struct Cache<'a> {
    training: Features,
    validation: Features,
    targets: &'a [usize],
    batch_size: usize,
    seed: u64,
    seconds: f64,
}

/// Bytes of what the layers before stage `first` make of so many images.
fn feature_bytes(network: &Network, first: usize, images: usize) -> anyhow::Result<usize> {
    let shape = network.wired()?.get(first - 1).map(|layer| layer.output);
    let size = shape.and_then(ocelli::ir::Shape::elements).unwrap_or(u32::MAX) as usize;
    Ok(size.saturating_mul(images).saturating_mul(size_of::<f32>()))
}

impl<'a> Cache<'a> {
    /// Runs the frozen layers over both sets.
    fn compute(
        network: &Network,
        start: &Weights,
        plain: &dyn ImageSource,
        material: &Material<'a>,
        config: &TrainingConfig,
        first: usize,
    ) -> anyhow::Result<Self> {
        let device = config.main_device()?;
        let module = Classifier::new(network, start, &device)?;
        let began = Instant::now();
        let training = Features::compute(&module, network, plain, first, &device)?;
        let validation = Features::compute(&module, network, material.validation, first, &device)?;
        let seconds = began.elapsed().as_secs_f64();
        let (batch_size, seed) = (config.batch_size, config.seed);
        Ok(Self { training, validation, targets: material.targets, batch_size, seed, seconds })
    }
}

impl Source for Cache<'_> {
    fn images(&self) -> usize {
        self.targets.len()
    }

    fn batches(&self) -> usize {
        self.targets.len().div_ceil(self.batch_size)
    }

    fn epoch(&self, epoch: usize, skip: usize) -> Epoch<'_> {
        let batches = shuffled(self.targets.len(), self.batch_size, self.seed, epoch).into_iter().skip(skip);
        Box::new(batches.map(|indices| {
            let inputs = Inputs::Features(self.training.of(&indices), self.training.shape);
            let targets = indices.iter().map(|&i| self.targets[i]).collect();
            Ok(Batch { inputs, targets, mixed: Vec::new(), indices })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::halves;
    use super::super::{BatchReport, History, HistoryRow, train};
    use super::*;
    use crate::data::Dataset;
    use crate::run::names;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    const NETWORK: &str = "name = \"base\"\n[input]\nheight = 6\nwidth = 6\ncolor = \"gray\"\nmean = [0.5]\nstd = [0.25]\n\
        [[layer]]\ntype = \"conv2d\"\nname = \"a\"\nfilters = 4\nkernel = 3\n\
        [[layer]]\ntype = \"batch_norm\"\nname = \"norm\"\n[[layer]]\ntype = \"relu\"\n\
        [[layer]]\ntype = \"conv2d\"\nname = \"b\"\nfilters = 4\nkernel = 3\nactivation = \"relu\"\n\
        [[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nname = \"own\"\nunits = 2\n[[layer]]\ntype = \"softmax\"\n";

    /// The images in the order that the cache gives their features.
    struct InCacheOrder<'a>(&'a Dataset, &'a TrainingConfig);

    impl Source for InCacheOrder<'_> {
        fn images(&self) -> usize {
            self.0.len()
        }

        fn batches(&self) -> usize {
            self.0.len().div_ceil(self.1.batch_size)
        }

        fn epoch(&self, epoch: usize, skip: usize) -> Epoch<'_> {
            let batches = shuffled(self.0.len(), self.1.batch_size, self.1.seed, epoch).into_iter().skip(skip);
            Box::new(batches.map(|indices| {
                let pixels = indices.iter().flat_map(|&i| self.0.input(i)).copied().collect();
                let targets = indices.iter().map(|&i| self.0.targets[i]).collect();
                Ok(Batch { inputs: Inputs::Pixels(pixels), targets, mixed: Vec::new(), indices })
            }))
        }
    }

    fn base() -> (Network, Weights) {
        let network = Network::from_toml(NETWORK, "test").unwrap();
        let config = TrainingConfig { epochs: 2, batch_size: 8, ..TrainingConfig::default() };
        let (weights, _) = train(&network, &config, &halves(60, 1), &halves(24, 2), &mut |_: BatchReport| {}).unwrap();
        (network, weights)
    }

    fn plan(freeze: &str, unfreeze: Option<(usize, f64)>) -> FinetuneConfig {
        FinetuneConfig {
            base: PathBuf::new(),
            head: "flatten, dense 8 relu, dense N".to_owned(),
            freeze: freeze.to_owned(),
            cut: None,
            input: None,
            unfreeze_epochs: unfreeze.map_or(0, |(epochs, _)| epochs),
            unfreeze_rate: unfreeze.map(|(_, rate)| rate),
            picture: PictureConfig::default(),
        }
    }

    fn run(plan: &FinetuneConfig, cached: bool) -> (Grafted, Weights, Finetuned) {
        let (network, weights) = base();
        let grafted = Grafted::new(&network, None, &plan.head, 2, None).unwrap();
        let config = TrainingConfig { epochs: 4, batch_size: 8, learning_rate: 0.01, ..TrainingConfig::default() };
        let (training, validation) = (halves(90, 3), halves(48, 4));
        let source = InCacheOrder(&training, &config);
        let material = Material {
            source: &source,
            plain: if cached { Some(&training) } else { None },
            targets: &training.targets,
            validation: &validation,
        };
        let hooks = Hooks { observer: &mut |_: BatchReport| {}, stop: &AtomicBool::new(false), disk: None };
        let result = finetune(&grafted, &weights, plan, &config, &material, hooks).unwrap();
        (grafted, weights, result)
    }

    /// Fine-tunes in a folder; stops after `stop` steps. 12 steps an epoch.
    fn run_in(folder: &Path, plan: &FinetuneConfig, config: &TrainingConfig, resume: bool, stop: usize) -> Outcome {
        let (network, weights) = base();
        let grafted = Grafted::new(&network, None, &plan.head, 2, None).unwrap();
        let (training, validation) = (halves(90, 3), halves(48, 4));
        let source = InCacheOrder(&training, config);
        let material =
            Material { source: &source, plain: Some(&training), targets: &training.targets, validation: &validation };
        let flag = AtomicBool::new(false);
        let resume = if resume { Checkpoint::find(folder, Phase::First).unwrap() } else { None };
        let mut on_batch = |report: BatchReport| flag.store(report.step >= stop, Ordering::Relaxed);
        let disk = Some(Disk { folder, config: "", resume });
        let hooks = Hooks { observer: &mut on_batch, stop: &flag, disk };
        finetune(&grafted, &weights, plan, config, &material, hooks).unwrap().outcome
    }

    #[test]
    fn a_fine_tuning_that_is_taken_up_ends_like_an_unbroken_one() {
        // broken in mid-epoch, between epochs, at the end of the frozen epochs, and among those in which all layers are trained
        for (freeze, text, stops) in [
            ("base", "", vec![5, 24, 48, 55]),
            ("all-but-1", "keep = \"best\"\noptimizer = \"nadam\"\nschedule = \"cosine\"", vec![49, 70]),
            ("none", "[early_stopping]\npatience = 1\nmin_delta = 10.0", vec![30]),
        ] {
            let plan = plan(freeze, Some((2, 1e-3)));
            let config: TrainingConfig =
                toml::from_str(&format!("epochs = 4\nbatch_size = 8\nlearning_rate = 0.01\n{text}")).unwrap();
            let [unbroken, broken] = [(); 2].map(|()| tempfile::tempdir().unwrap());
            let whole = run_in(unbroken.path(), &plan, &config, false, usize::MAX);
            for (i, &stop) in stops.iter().enumerate() {
                let part = run_in(broken.path(), &plan, &config, i > 0, stop);
                assert!(matches!(part.end, End::Interrupted { .. }), "{freeze}, {stop}: {:?}", part.end);
                assert_eq!(Phase::Unfrozen.file(broken.path()).exists(), stop > 48 || freeze == "none");
            }
            let rest = run_in(broken.path(), &plan, &config, true, usize::MAX);
            assert_eq!(rest.weights, whole.weights, "{freeze}");
            let rows = |outcome: &Outcome| {
                let rows = outcome.history.rows.iter();
                rows.map(|row| HistoryRow { seconds: 0.0, ..*row }).collect::<Vec<_>>()
            };
            assert_eq!(
                (rest.best, rest.end, rest.steps, rows(&rest)),
                (whole.best, whole.end, whole.steps, rows(&whole))
            );
            let log = |folder: &Path| std::fs::read_to_string(folder.join(names::BATCHES)).unwrap();
            assert_eq!(log(broken.path()), log(unbroken.path()), "{freeze}");
            assert_eq!(log(broken.path()).lines().count(), 1 + whole.steps);
            // once more: nothing is left to do, and nothing is touched
            assert_eq!(run_in(broken.path(), &plan, &config, true, usize::MAX).weights, whole.weights);
            assert_eq!(log(broken.path()), log(unbroken.path()));
        }
    }

    #[test]
    fn later_epochs_begin_anew_where_earlier_ones_are_trained_for_longer() {
        let plan = plan("base", Some((1, 1e-3)));
        let config = TrainingConfig { epochs: 2, batch_size: 8, learning_rate: 0.01, ..TrainingConfig::default() };
        let longer = TrainingConfig { epochs: 3, ..config.clone() };
        let [whole, parts] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        run_in(parts.path(), &plan, &config, false, usize::MAX);
        let after = run_in(parts.path(), &plan, &longer, true, usize::MAX);
        let whole = run_in(whole.path(), &plan, &longer, false, usize::MAX);
        assert_eq!((after.weights, after.history.rows.len()), (whole.weights, 4));
    }

    fn losses(history: &History) -> Vec<(f64, f64)> {
        history.rows.iter().map(|row| (row.loss, row.val_loss)).collect()
    }

    #[test]
    fn cached_outputs_of_frozen_layers_train_the_head_as_the_layers_do() {
        let (_, before, cached) = run(&plan("base", None), true);
        let (_, _, run_each_time) = run(&plan("base", None), false);
        assert!(cached.cached.unwrap().times() > 1.0 && run_each_time.cached.is_none());
        for (a, b) in losses(&cached.outcome.history).iter().zip(losses(&run_each_time.outcome.history)) {
            assert!((a.0 - b.0).abs() < 1e-4 && (a.1 - b.1).abs() < 1e-4, "{a:?} {b:?}");
        }
        let after = &cached.outcome.weights;
        for name in ["a", "b"] {
            assert_eq!(after.layer(name), before.layer(name), "{name} is frozen");
        }
        assert_eq!(after.norm("norm"), before.norm("norm"));
        let rows = &cached.outcome.history.rows;
        assert!(rows[3].loss < rows[0].loss && rows[3].val_loss < rows[0].val_loss, "{rows:?}");
    }

    #[test]
    fn only_what_is_not_frozen_is_trained() {
        for (freeze, changed) in [("base", [false, false]), ("all-but-1", [false, true]), ("none", [true, true])] {
            let (_, before, result) = run(&plan(freeze, None), true);
            let after = &result.outcome.weights;
            for (name, changed) in ["a", "b"].into_iter().zip(changed) {
                assert_eq!(after.layer(name) != before.layer(name), changed, "{freeze}: {name}");
            }
            let (before, after) = (before.norm("norm").unwrap(), after.norm("norm").unwrap());
            assert_eq!((&before.mean, &before.variance), (&after.mean, &after.variance), "{freeze}");
            assert_eq!(before.gamma != after.gamma, freeze == "none", "{freeze}");
        }
    }

    #[test]
    fn after_the_head_all_layers_are_trained_at_a_rate_of_their_own() {
        let (_, before, result) = run(&plan("base", Some((2, 1e-3))), true);
        let rows = &result.outcome.history.rows;
        assert_eq!(rows.iter().map(|row| row.epoch).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!((rows[3].learning_rate, rows[4].learning_rate), (0.01, 1e-3));
        let after = &result.outcome.weights;
        assert_ne!(after.layer("a"), before.layer("a"));
        assert_eq!(after.norm("norm").unwrap().mean, before.norm("norm").unwrap().mean);
        let frozen = run(&plan("base", None), true).2;
        assert_eq!(losses(&frozen.outcome.history)[..], losses(&result.outcome.history)[..4]);
    }

    #[test]
    fn a_plan_that_cannot_be_is_refused() {
        let message = |plan: &FinetuneConfig| plan.validate().unwrap_err().to_string();
        assert!(message(&plan("half", None)).contains("\"half\" is not one of base"));
        assert!(message(&FinetuneConfig { unfreeze_epochs: 2, ..plan("base", None) }).contains("belong together"));
        assert!(message(&plan("base", Some((1, -1.0)))).contains("unfreeze_rate = -1"));
    }
}
