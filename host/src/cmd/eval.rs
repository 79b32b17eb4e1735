//! `ocelli eval`

use super::Verdict;
use super::ui::{self, load_evaluation, percent, spinner, table};
use ocelli::image::InputSpec;
use ocelli_host::check::scores;
use ocelli_host::files::check_writable;
use ocelli_host::model::ModelBytes;
use ocelli_host::report::evaluation::{Evaluation, write_predictions};
use ocelli_host::report::metrics::{Average, ClassMetrics, Metrics, Predictions};
use ocelli_host::report::plots::confusion_png;
use ocelli_host::report::reliability::reliability_png;
use ocelli_host::report::sheet::mistakes_png;
use ocelli_host::run::{Trained, model_path};
use ocelli_host::train::{device, evaluate};
use std::path::{Path, PathBuf};

/// Above this many classes the pairs that are confused most are printed in place of the confusion matrix.
const MAX_MATRIX: usize = 25;
/// Pairs of classes that are printed.
const PAIRS: usize = 10;

/// Accuracy, precision, recall, confusion, calibration and mistakes on a dataset
///
/// Judges the compiled int8 model on a dataset: loss, accuracy, top-5, precision, recall and F1 of each class, the confusion matrix,
/// the expected calibration error (15 bins), and on request the worst mistakes as a picture and every prediction as CSV. Pictures are
/// shared out to all cores (RAYON_NUM_THREADS limits them).
///
/// With --float the trained float network of the run folder is judged instead. An int8 probability is a step of 1/256; one of 0
/// counts as half a step in the loss. The first line says which images were judged. A report.html in the run folder is brought up to
/// date.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model.ocelli, or a run folder.
    model: PathBuf,
    /// Folder of the dataset; its test set is used, else its validation set, else what the training set aside.
    data: PathBuf,
    /// Text file with one label a line, in place of the dataset's own names.
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Evaluate the float network of the run folder.
    #[arg(long)]
    float: bool,
    /// Write the confusion matrix as a PNG.
    #[arg(long, value_name = "PNG")]
    confusion: Option<PathBuf>,
    /// Write the reliability diagram (accuracy against confidence) as a PNG.
    #[arg(long, value_name = "PNG")]
    reliability: Option<PathBuf>,
    /// Write the surest mistakes and the highest losses as a PNG: picture, class, guess, confidence.
    #[arg(long, value_name = "PNG")]
    mistakes: Option<PathBuf>,
    /// Write a row an image as CSV: class, guess, confidence, loss, and the probability of each class.
    #[arg(long, value_name = "CSV")]
    predictions: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let outputs = [&args.confusion, &args.reliability, &args.mistakes, &args.predictions];
    // an evaluation may take minutes: what cannot be written is found out before
    outputs.into_iter().flatten().try_for_each(|path| check_writable(path))?;
    let run = if args.model.is_file() { args.model.parent().unwrap_or(&args.model) } else { &args.model };
    let source = Source { data: &args.data, labels: args.labels.as_deref(), run };
    let (loaded, color, judged) = if args.float {
        let trained = Trained::open(run)?;
        let loaded = source.load(&trained.network.input)?;
        let judged = source.float(&trained, &loaded)?;
        (loaded, trained.network.input.color, judged)
    } else {
        let model = ModelBytes::read(&model_path(&args.model)?)?;
        let spec = model.input_spec()?;
        let loaded = source.load(&spec)?;
        let judged = source.int8(&model, &loaded)?;
        (loaded, spec.color, judged)
    };
    let Judged { predictions, evaluation } = judged;
    let set = &loaded.set;
    if let Some(path) = &args.confusion {
        confusion_png(path, &set.labels, &evaluation.metrics.confusion)?;
    }
    if let Some(path) = &args.reliability {
        reliability_png(path, &evaluation.metrics.calibration)?;
    }
    if let Some(path) = &args.mistakes {
        mistakes_png(path, &evaluation, set, color)?;
    }
    if let Some(path) = &args.predictions {
        write_predictions(path, set, &predictions)?;
    }
    // before anything is printed: whoever reads it may stop reading, and the process ends then
    ui::update_page(run, |figures| {
        let evaluation = Some(evaluation.clone().with_pictures(set, color)?);
        *(if args.float { &mut figures.float } else { &mut figures.int8 }) = evaluation;
        Ok(())
    });
    if args.json {
        println!("{}", serde_json::to_string_pretty(&flat(&evaluation)?)?);
    } else {
        print(&evaluation);
    }
    Ok(Verdict::Done)
}

/// What is judged on what.
pub struct Source<'a> {
    /// Folder of the dataset.
    pub data: &'a Path,
    /// Names in place of its own.
    pub labels: Option<&'a Path>,
    /// Folder of the training.
    pub run: &'a Path,
}

/// A judgement, and what it was made from.
pub struct Judged {
    /// What was predicted for each image.
    pub predictions: Predictions,
    /// What that amounts to.
    pub evaluation: Evaluation,
}

impl Source<'_> {
    /// The images that networks with this input are judged on.
    pub fn load(&self, spec: &InputSpec) -> anyhow::Result<ui::Evaluation> {
        load_evaluation(self.data, self.labels, spec, Some(self.run))
    }

    /// Judges the trained float network.
    pub fn float(&self, trained: &Trained, loaded: &ui::Evaluation) -> anyhow::Result<Judged> {
        let set = &loaded.set;
        trained.check_labels(&set.labels)?;
        let spinner = spinner("evaluating");
        let logits = evaluate(&trained.network, &trained.weights, set, &device("flex")?)?.logits;
        spinner.finish_and_clear();
        self.judged(loaded, Predictions::from_logits(&logits, &set.targets, set.labels.len())?)
    }

    /// Judges the compiled model.
    pub fn int8(&self, model: &ModelBytes, loaded: &ui::Evaluation) -> anyhow::Result<Judged> {
        let set = &loaded.set;
        let labels: Vec<&str> = model.model()?.labels().collect();
        anyhow::ensure!(
            labels == set.labels,
            "the model's labels ({}) are not the dataset's ({}): give --labels FILE, or the data that it was trained on",
            labels.join(", "),
            set.labels.join(", ")
        );
        let spinner = spinner("evaluating");
        let scores = scores(model, set)?;
        spinner.finish_and_clear();
        self.judged(loaded, Predictions::from_scores(&scores, &set.targets, set.labels.len())?)
    }

    fn judged(&self, loaded: &ui::Evaluation, predictions: Predictions) -> anyhow::Result<Judged> {
        let evaluation = Evaluation::new(self.data, loaded.part, &loaded.set, &predictions);
        Ok(Judged { predictions, evaluation })
    }
}

/// The evaluation as JSON, the figures beside the rest.
fn flat(evaluation: &Evaluation) -> anyhow::Result<serde_json::Value> {
    let mut json = serde_json::to_value(evaluation)?;
    if let Some(fields) = json.as_object_mut()
        && let Some(serde_json::Value::Object(metrics)) = fields.remove("metrics")
    {
        fields.extend(metrics);
    }
    Ok(json)
}

fn print(evaluation: &Evaluation) {
    let Evaluation { labels, metrics, .. } = evaluation;
    println!("{}\n", evaluation.on());
    if labels.len() <= MAX_MATRIX {
        println!("{}\n", matrix(labels, &metrics.confusion));
    }
    println!("{}\n", classes(labels, metrics));
    if labels.len() > MAX_MATRIX {
        let name = |class: usize| labels.get(class).cloned().unwrap_or_default();
        let pairs = metrics.most_confused(PAIRS).into_iter();
        let rows = pairs.map(|pair| vec![name(pair.target), name(pair.guess), pair.count.to_string()]);
        println!("{}\n", table(&["true", "guess", "images"], rows, 2));
    }
    println!("accuracy {} ({} of {} images)", percent(metrics.accuracy), metrics.right, metrics.images);
    if metrics.top_k.k > 1 {
        println!("top-{} accuracy {}", metrics.top_k.k, percent(metrics.top_k.accuracy));
    }
    println!("loss {:.4}", metrics.loss);
    let calibration = &metrics.calibration;
    println!(
        "expected calibration error {} (largest of a bin {})",
        percent(calibration.expected_error),
        percent(calibration.largest_error)
    );
}

fn matrix(labels: &[String], confusion: &[Vec<usize>]) -> comfy_table::Table {
    let header: Vec<&str> = std::iter::once("true \\ guess").chain(labels.iter().map(String::as_str)).collect();
    let rows = confusion
        .iter()
        .zip(labels)
        .map(|(row, label)| std::iter::once(label.clone()).chain(row.iter().map(usize::to_string)).collect());
    table(&header, rows, 1)
}

fn classes(labels: &[String], metrics: &Metrics) -> comfy_table::Table {
    let row = |name: &str, [precision, recall, f1]: [f64; 3], images: usize| {
        let shares = [precision, recall, f1].map(percent);
        std::iter::once(name.to_owned()).chain(shares).chain([images.to_string()]).collect()
    };
    let of_class =
        |(label, class): (&String, &ClassMetrics)| row(label, [class.precision, class.recall, class.f1], class.support);
    let Average { precision, recall, f1 } = metrics.macro_average;
    let mean = row("macro average", [precision, recall, f1], metrics.images);
    let rows = labels.iter().zip(&metrics.classes).map(of_class).chain([mean]);
    table(&["class", "precision", "recall", "F1", "images"], rows, 1)
}
