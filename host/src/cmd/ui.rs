//! Progress bars, warnings and tables. Progress goes to standard error; results go to standard output.

use anyhow::ensure;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use ocelli::image::InputSpec;
use ocelli_host::augment::Augmenter;
use ocelli_host::config::{Config, DatasetConfig};
use ocelli_host::data::{
    DataSource, Dataset, Feed, FeedOptions, Holdout, ImageSet, ImageSource, OpenOptions, Skipped, Split,
};
use ocelli_host::network::Network;
use ocelli_host::report::evaluation::Part;
use ocelli_host::report::figures::Figures;
use ocelli_host::report::html;
pub use ocelli_host::report::words::{percent, thousands};
use ocelli_host::run::names;
use ocelli_host::train::{BatchReport, HistoryRow, Keep, Observer, TrainingConfig};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most files that are named when some could not be read.
const NAMED_FILES: usize = 5;

/// A bar over `length` things.
pub fn bar(what: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length).with_message(what.to_owned());
    let style = ProgressStyle::with_template("{msg:<32} {wide_bar} {pos}/{len} eta {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// A bar over things whose number is not known yet, with how many are done a second.
pub fn rate_bar(what: &str, things: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(what.to_owned());
    let template = format!("{{msg:<32}} {{wide_bar}} {{pos}}/{{len}} {things}, {{per_sec}}, eta {{eta}}");
    bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// A bar over the bytes of a file.
pub fn bytes_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<32} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, eta {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A spinner for work whose length is not known.
pub fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// Loads a set, with a bar; files that could not be read are named as warnings.
pub fn load(source: &DataSource, split: Split, spec: &InputSpec) -> anyhow::Result<Dataset> {
    let set = with_bar(|progress| Ok(source.load(split, spec, progress)?))?;
    warn_of(set.skipped.iter());
    Ok(set)
}

/// The set that a network is judged on.
pub struct Evaluation {
    /// The pictures.
    pub set: Dataset,
    /// Which of the dataset's they are.
    pub part: Part,
}

/// Loads the set that a network is judged on: the dataset's test or validation set; else, where `run` was trained on this dataset,
/// the pictures that it set aside; else all pictures, and says so.
pub fn load_evaluation(
    data: &Path,
    labels: Option<&Path>,
    spec: &InputSpec,
    run: Option<&Path>,
) -> anyhow::Result<Evaluation> {
    let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    let config = run.and_then(|run| Config::read(&run.join(names::CONFIG)).ok());
    let config = config.filter(|config| same(&config.dataset.path, data));
    let coarse_labels = config.as_ref().is_some_and(|config| config.dataset.coarse_labels);
    let source = DataSource::open_with(data, &OpenOptions { labels: labels.map(Path::to_owned), coarse_labels })?;
    let split = source.evaluation_split();
    match split {
        Split::Test => return Ok(Evaluation { set: load(&source, split, spec)?, part: Part::Test }),
        Split::Validation => return Ok(Evaluation { set: load(&source, split, spec)?, part: Part::Validation }),
        Split::Train => {}
    }
    if let Some(config) = config {
        let set = with_bar(|progress| Ok(source.images(split, spec, config.dataset.memory_bytes()?, progress)?))?;
        warn_of(set.skipped().iter());
        let (training, held_out) = set.split_off(config.dataset.holdout(&source, config.training.seed));
        eprintln!(
            "note: {} has neither a test nor a validation set: the {} pictures are used that the training set aside, not the {} \
             that it saw",
            data.display(),
            held_out.len(),
            training.len()
        );
        let all = held_out.len();
        return Ok(Evaluation { set: held_out.take(all, 0)?, part: Part::SetAside });
    }
    let set = load(&source, split, spec)?;
    eprintln!(
        "note: {} has neither a test nor a validation set: all its pictures are used; if the network was trained on them, this is \
         no measure of how it does on new ones",
        data.display()
    );
    Ok(Evaluation { set, part: Part::All })
}

/// Images to train on, and images to watch the training by.
pub struct TrainingSets {
    /// The former.
    pub training: ImageSet,
    /// The latter.
    pub validation: ImageSet,
    /// What the latter are, in words.
    pub watched_by: String,
    /// Whether they are the dataset's test set.
    pub by_test_set: bool,
}

/// Loads training and validation images: the last training images where the configuration says so, else the dataset's own validation or
/// test set, else a share of the training images. What would take more memory than `[dataset] memory` is decoded as it is used.
pub fn load_training(
    config: &DatasetConfig,
    source: &DataSource,
    network: &Network,
    seed: u64,
) -> anyhow::Result<TrainingSets> {
    network.check_labels(source.labels())?;
    let held_out = config.holdout(source, seed);
    let (training, validation) = load_any(config, source, network, seed)?;
    let own = source.validation_split();
    let watched_by = match (held_out, own) {
        (Holdout::Last(_), _) => "the last of the training set",
        (Holdout::LastOfEach(_), _) => "the last of each class of the training set",
        (Holdout::Drawn { .. }, None) => "drawn from the training set",
        (Holdout::Drawn { .. }, Some(Split::Test)) => "the test set",
        (Holdout::Drawn { .. }, Some(_)) => "the validation set",
    };
    let by_test_set = own == Some(Split::Test) && matches!(held_out, Holdout::Drawn { .. });
    Ok(TrainingSets { training, validation, watched_by: watched_by.to_owned(), by_test_set })
}

/// As [`load_training`], whatever the classes of the images are.
pub fn load_any(
    config: &DatasetConfig,
    source: &DataSource,
    network: &Network,
    seed: u64,
) -> anyhow::Result<(ImageSet, ImageSet)> {
    let (memory, held_out) = (config.memory_bytes()?, config.holdout(source, seed));
    let (training, validation) =
        with_bar(|progress| Ok(source.training_images(&network.input, memory, held_out, progress)?))?;
    warn_of(training.skipped().iter().chain(validation.skipped()));
    ensure!(
        !training.is_empty() && !validation.is_empty(),
        "{} images to train on and {} to validate on: both need some; add pictures, or change validation_fraction or validation_split in \
         [dataset]",
        training.len(),
        validation.len()
    );
    Ok((training, validation))
}

/// Says what is trained on and what the training is watched by.
pub fn announce(sets: &TrainingSets, config: &TrainingConfig) {
    let TrainingSets { training, validation, watched_by, by_test_set } = sets;
    eprintln!(
        "{} images of {} classes to train on, {} to validate on ({watched_by})",
        thousands(training.len() as u64),
        training.labels().len(),
        thousands(validation.len() as u64)
    );
    let chooses = config.kept() == Keep::Best || config.schedule == "plateau";
    if *by_test_set && chooses {
        eprintln!(
            "note: this training chooses by the test set (keep = \"best\", early stopping or plateau), which is then no honest measure: \
             set validation_split in [dataset], or give the dataset a validation set"
        );
    }
}

/// Loads pictures under a progress bar.
fn with_bar<T>(work: impl FnOnce(&mut dyn FnMut(usize, usize)) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let bar = bar("loading pictures", 0);
    let loaded = work(&mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    loaded
}

/// The batches of a training.
pub fn feed(config: &Config, network: &Network, images: &Arc<dyn ImageSource>) -> anyhow::Result<Feed> {
    let options = FeedOptions {
        batch_size: config.training.batch_size,
        seed: config.training.seed,
        augmenter: Some(Augmenter::new(&config.augmentation, &network.input)?),
        ..FeedOptions::default()
    };
    Ok(Feed::new(Arc::clone(images), options))
}

/// Names files that could not be read.
fn warn_of<'a>(skipped: impl Iterator<Item = &'a Skipped>) {
    let skipped: Vec<&Skipped> = skipped.collect();
    for skipped in skipped.iter().take(NAMED_FILES) {
        eprintln!("warning: skipped {}: {}", skipped.path.display(), skipped.reason);
    }
    if skipped.len() > NAMED_FILES {
        eprintln!("warning: skipped {} more files", skipped.len() - NAMED_FILES);
    }
}

/// Shows a training: a bar over the images of all epochs, and a line an epoch; both with images a second and the time that is left.
pub struct TrainingBar {
    bar: ProgressBar,
    epochs: usize,
    /// When the first batch was done, and how many images were done then.
    began: Option<(Instant, usize)>,
    /// Images a second and the time that is left, as the last batch had them.
    time: String,
}

impl TrainingBar {
    /// A bar for `epochs` epochs of `images` images.
    pub fn new(epochs: usize, images: usize) -> Self {
        let bar = ProgressBar::new((epochs as u64).saturating_mul(images as u64)).with_message("training");
        let style = ProgressStyle::with_template("{wide_bar} {percent} %  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, epochs, began: None, time: String::new() }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for TrainingBar {
    fn batch(&mut self, report: BatchReport) {
        let BatchReport { epoch, images, of, running_loss, running_accuracy, .. } = report;
        let done = (epoch - 1) * of + images;
        self.bar.set_position(done as u64);
        let (began, first) = self.began.unwrap_or_else(|| (Instant::now(), done));
        self.began = Some((began, first));
        let rate = (done - first) as f64 / began.elapsed().as_secs_f64().max(1e-3);
        let left = (self.epochs * of).saturating_sub(done) as f64 / rate.max(1e-3);
        let time = if done == first {
            String::new()
        } else {
            format!(", {rate:.0} images/s, {} left", HumanDuration(Duration::from_secs(left.min(1e9) as u64)))
        };
        self.bar.set_message(format!(
            "epoch {epoch}/{}: loss {running_loss:.4}, accuracy {}{time}",
            self.epochs,
            percent(running_accuracy)
        ));
        self.time = time;
    }

    fn epoch(&mut self, row: &HistoryRow) {
        let HistoryRow { epoch, loss, accuracy, val_loss, val_accuracy, .. } = *row;
        let line = format!(
            "epoch {epoch}/{}: loss {loss:.4}, accuracy {}, val loss {val_loss:.4}, val accuracy {}{}",
            self.epochs,
            percent(accuracy),
            percent(val_accuracy),
            self.time
        );
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}

/// A table with a header; columns from `right` on are numbers.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>, right: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(right) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Changes the figures of a run folder that has a report page, and brings the page up to date. A page that cannot be written is a
/// warning: the command has done its work.
pub fn update_page(run: &Path, change: impl FnOnce(&mut Figures) -> anyhow::Result<()>) {
    if !run.join(names::PAGE).is_file() {
        return;
    }
    let update = || -> anyhow::Result<()> {
        let mut figures = Figures::read(run)?;
        change(&mut figures)?;
        figures.write(run)
    };
    if let Err(error) = update().and_then(|()| html::refresh(run).map(drop)) {
        eprintln!("warning: {} is not up to date: {error:#}", run.join(names::PAGE).display());
    }
}

/// Writes the report page of a run folder; failing is a warning.
pub fn write_page(run: &Path) {
    if let Err(error) = html::refresh(run) {
        eprintln!("warning: cannot write {}: {error:#}", run.join(names::PAGE).display());
    }
}
