//! `ocelli eval`

use super::Verdict;
use super::ui::{Evaluation, load_evaluation, percent, spinner, table};
use ocelli_host::check::scores;
use ocelli_host::model::ModelBytes;
use ocelli_host::report::confusion;
use ocelli_host::report::plots::confusion_png;
use ocelli_host::run::{Trained, model_path};
use ocelli_host::train::{argmax, device, evaluate};
use std::path::PathBuf;

/// Accuracy and confusion matrix on a dataset
///
/// Accuracy of the compiled model on a dataset, and the confusion matrix. Pictures are shared out to all cores (RAYON_NUM_THREADS
/// limits them).
///
/// With --float the trained float network of the run folder is evaluated instead, with its loss.
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
    #[arg(long)]
    confusion: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let run = if args.model.is_file() { args.model.parent().unwrap_or(&args.model) } else { &args.model };
    let load = |spec| load_evaluation(&args.data, args.labels.as_deref(), spec, Some(run));
    let (data, guesses, loss, may_include_training) = if args.float {
        let trained = Trained::open(run)?;
        let Evaluation { set: data, may_include_training } = load(&trained.network.input)?;
        trained.check_labels(&data.labels)?;
        let spinner = spinner("evaluating");
        let evaluation = evaluate(&trained.network, &trained.weights, &data, &device("flex")?)?;
        spinner.finish_and_clear();
        let guesses = guesses(&evaluation.logits, data.labels.len());
        (data, guesses, Some(evaluation.score.loss), may_include_training)
    } else {
        let model = ModelBytes::read(&model_path(&args.model)?)?;
        let Evaluation { set: data, may_include_training } = load(&model.input_spec()?)?;
        let labels: Vec<&str> = model.model()?.labels().collect();
        anyhow::ensure!(
            labels == data.labels,
            "the model's labels ({}) are not the dataset's ({}): give --labels FILE, or the data that it was trained on",
            labels.join(", "),
            data.labels.join(", ")
        );
        let spinner = spinner("evaluating");
        let scores = scores(&model, &data)?;
        spinner.finish_and_clear();
        let guesses = guesses(&scores, data.labels.len());
        (data, guesses, None, may_include_training)
    };
    let matrix = confusion(data.labels.len(), &data.targets, &guesses);
    let right: usize = matrix.iter().enumerate().map(|(class, row)| row[class]).sum();
    let accuracy = right as f64 / data.len() as f64;
    if let Some(path) = &args.confusion {
        confusion_png(path, &data.labels, &matrix)?;
    }
    if args.json {
        let report = serde_json::json!({
            "images": data.len(), "accuracy": accuracy, "loss": loss, "labels": data.labels, "confusion": matrix,
            "may_include_training_images": may_include_training,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(Verdict::Done);
    }
    let header: Vec<&str> = std::iter::once("true \\ guess").chain(data.labels.iter().map(String::as_str)).collect();
    let rows = matrix
        .iter()
        .zip(&data.labels)
        .map(|(row, label)| std::iter::once(label.clone()).chain(row.iter().map(usize::to_string)).collect());
    println!("{}", table(&header, rows, 1));
    println!("accuracy {} ({right} of {} images)", percent(accuracy), data.len());
    if let Some(loss) = loss {
        println!("loss {loss:.4}");
    }
    Ok(Verdict::Done)
}

fn guesses<T: PartialOrd>(scores: &[T], classes: usize) -> Vec<usize> {
    scores.chunks_exact(classes).map(argmax).collect()
}
