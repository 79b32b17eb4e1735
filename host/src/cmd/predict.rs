//! `ocelli predict`

use super::Verdict;
use super::ui::percent;
use anyhow::{Context, ensure};
use ocelli::kernels::blocked::Level;
use ocelli::runtime::threads::with_threads;
use ocelli_host::data::{RawImage, to_input};
use ocelli_host::model::{ModelBytes, probabilities, quantize_pixels};
use ocelli_host::run::model_path;
use serde::Serialize;
use std::path::PathBuf;

/// Classify pictures
///
/// Classify pictures with the int8 runtime that runs on the device: top labels with probabilities.
///
/// Takes PNG, JPEG, GIF, BMP, WebP, TIFF and PNM of any size. Size, colours and normalization come from the model. Pictures that
/// cannot be read are named, the others are classified, and the exit code is 2.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model.ocelli, or a run folder.
    #[arg(long, short)]
    model: PathBuf,
    /// How many labels to print.
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Threads that share the rows of every picture, for a model compiled with --board host. A model for a chip holds a few rows of a
    /// picture at a time: one thread runs it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The pictures.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Prediction {
    image: PathBuf,
    top: Vec<Guess>,
}

#[derive(Serialize)]
struct Guess {
    label: String,
    probability: f32,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    ensure!(args.top > 0, "--top must be at least 1");
    let bytes = ModelBytes::read(&model_path(&args.model)?)?;
    let (model, spec) = (bytes.model()?, bytes.input_spec()?);
    let mut unreadable = 0;
    let predictions = with_threads(model, usize::from(args.threads), Level::detect(), |team| {
        if team.threads() < usize::from(args.threads) {
            eprintln!("note: one thread runs this model: compile it with --board host to share its rows");
        }
        let mut predictions = Vec::new();
        for image in &args.images {
            let pixels = RawImage::open(image)
                .map_err(anyhow::Error::from)
                .and_then(|raw| to_input(&raw, &spec).with_context(|| image.display().to_string()));
            match pixels {
                Ok(pixels) => {
                    let frame = quantize_pixels(&model, &pixels)?;
                    let scores = team.run_frame(&frame).context("the frame has the wrong size")?;
                    predictions.push(Prediction { image: image.clone(), top: top(&model, scores, args.top) });
                }
                Err(error) => {
                    unreadable += 1;
                    eprintln!("error: {error:#}");
                }
            }
        }
        anyhow::Ok(predictions)
    })??;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&predictions)?);
    } else {
        for prediction in &predictions {
            let guesses = prediction.top.iter().map(|g| format!("{} {}", g.label, percent(f64::from(g.probability))));
            println!("{}: {}", prediction.image.display(), guesses.collect::<Vec<_>>().join(", "));
        }
    }
    ensure!(unreadable == 0, "{unreadable} of {} pictures could not be read", args.images.len());
    Ok(Verdict::Done)
}

/// The most probable labels, most probable first; equal ones in the model's order.
fn top(model: &ocelli::model::Model<'_>, scores: &[i8], count: usize) -> Vec<Guess> {
    let mut guesses: Vec<Guess> = probabilities(scores)
        .into_iter()
        .enumerate()
        .map(|(class, probability)| {
            let label = model.label(class).map_or_else(|| class.to_string(), str::to_owned);
            Guess { label, probability }
        })
        .collect();
    guesses.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    guesses.truncate(count);
    guesses
}
