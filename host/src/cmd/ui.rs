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
use ocelli_host::report::figures::Figures;
use ocelli_host::report::html;
pub use ocelli_host::report::words::{percent, thousands};
use ocelli_host::run::names;
use ocelli_host::train::BatchReport;
use std::cell::Cell;
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

/// A spinner for work whose length is not known.
pub fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// Loads a set, with a bar; files that could not be read are named as warnings.
pub fn load(source: &DataSource, split: Split, spec: &InputSpec) -> anyhow::Result<Dataset> {
    let bar = bar("loading pictures", 0);
    let set = source.load(split, spec, &mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    warn_of(set.skipped.iter());
    Ok(set)
}

/// The set that a network is judged on.
pub struct Evaluation {
    /// The pictures.
    pub set: Dataset,
    /// Whether the network may have been trained on some of them.
    pub may_include_training: bool,
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
    let set = load(&source, split, spec)?;
    if split != Split::Train {
        return Ok(Evaluation { set, may_include_training: false });
    }
    if let Some(config) = config {
        let (training, held_out) = set.split_off(config.dataset.holdout(config.training.seed));
        eprintln!(
            "note: {} has neither a test nor a validation set: the {} pictures are used that the training set aside, not the {} \
             that it saw",
            data.display(),
            held_out.len(),
            training.len()
        );
        return Ok(Evaluation { set: held_out, may_include_training: false });
    }
    eprintln!(
        "note: {} has neither a test nor a validation set: all its pictures are used; if the network was trained on them, this is \
         no measure of how it does on new ones",
        data.display()
    );
    Ok(Evaluation { set, may_include_training: true })
}

/// Loads training and validation images: the dataset's own validation or test set, or a share of the training images.
pub fn load_training(config: &DatasetConfig, network: &Network, seed: u64) -> anyhow::Result<(Dataset, Dataset)> {
    let source = config.open()?;
    network.check_labels(source.labels())?;
    let training = load(&source, Split::Train, &network.input)?;
    let held_out = config.holdout(seed);
    let (training, validation) = match (held_out, source.validation_split()) {
        (Holdout::Last(_), _) | (_, None) => training.split_off(held_out),
        (_, Some(held_out)) => (training, load(&source, held_out, &network.input)?),
    };
    check_sizes(training.len(), validation.len())?;
    Ok((training, validation))
}

/// As [`load_training`], but what would take more memory than `[dataset] memory` is decoded as it is used.
pub fn load_images(config: &DatasetConfig, network: &Network, seed: u64) -> anyhow::Result<(ImageSet, ImageSet)> {
    let source = config.open()?;
    network.check_labels(source.labels())?;
    let (memory, held_out) = (config.memory_bytes()?, config.holdout(seed));
    let bar = bar("loading pictures", 0);
    let (training, validation) = source.training_images(&network.input, memory, held_out, &mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    warn_of(training.skipped().iter().chain(validation.skipped()));
    check_sizes(training.len(), validation.len())?;
    Ok((training, validation))
}

fn check_sizes(training: usize, validation: usize) -> anyhow::Result<()> {
    ensure!(
        training > 0 && validation > 0,
        "{training} images to train on and {validation} to validate on: both need some; add pictures, or change validation_fraction or \
         validation_split in [dataset]"
    );
    Ok(())
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
        eprintln!("warning: skipped {} more files that could not be read", skipped.len() - NAMED_FILES);
    }
}

/// Shows a training: a bar over the images of all epochs, and a line an epoch where there is no terminal; both with images a second
/// and the time that is left.
pub struct TrainingBar {
    bar: ProgressBar,
    epochs: usize,
    /// When the first batch was done, and how many images were done then.
    began: Cell<Option<(Instant, usize)>>,
}

impl TrainingBar {
    /// A bar for `epochs` epochs of `images` images.
    pub fn new(epochs: usize, images: usize) -> Self {
        let bar = ProgressBar::new((epochs as u64).saturating_mul(images as u64)).with_message("training");
        let style = ProgressStyle::with_template("{wide_bar} {percent} %  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, epochs, began: Cell::new(None) }
    }

    /// Shows a batch.
    pub fn update(&self, report: BatchReport) {
        let BatchReport { epoch, images, of, running_loss, running_accuracy, .. } = report;
        let done = (epoch - 1) * of + images;
        self.bar.set_position(done as u64);
        let (began, first) = self.began.get().unwrap_or_else(|| (Instant::now(), done));
        self.began.set(Some((began, first)));
        let rate = (done - first) as f64 / began.elapsed().as_secs_f64().max(1e-3);
        let left = (self.epochs * of).saturating_sub(done) as f64 / rate.max(1e-3);
        let time = if done == first {
            String::new()
        } else {
            format!(", {rate:.0} images/s, {} left", HumanDuration(Duration::from_secs(left.min(1e9) as u64)))
        };
        let line = format!(
            "epoch {epoch}/{}: loss {running_loss:.4}, accuracy {:.2} %{time}",
            self.epochs,
            100.0 * running_accuracy
        );
        if self.bar.is_hidden() && images == of {
            eprintln!("{line}");
        }
        self.bar.set_message(line);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
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
