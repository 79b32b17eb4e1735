//! `ocelli predict`

use super::Verdict;
use super::ui::percent;
use anyhow::{Context, ensure};
use ocelli::kernels::blocked::Level;
use ocelli::runtime::threads::with_threads;
use ocelli_host::data::{RawImage, to_input};
use ocelli_host::model::{ModelBytes, probabilities, quantize_pixels};
use ocelli_host::report::caption::captioned_png;
use ocelli_host::run::model_path;
use serde::Serialize;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Classify pictures
///
/// Classify pictures with the int8 runtime that runs on the device: top labels with probabilities.
///
/// Takes PNG, JPEG, GIF, BMP, WebP, TIFF and PNM of any size. Size, colours and normalization come from the model. Pictures that
/// cannot be read are named, the others are classified, and the exit code is 2. With --draw each picture is also written with its
/// labels and probabilities on it.
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
    /// Write each picture, as PNG, with the labels and probabilities drawn on it, into this folder (made where it is missing).
    #[arg(long, value_name = "DIR")]
    draw: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The pictures: files.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Prediction {
    image: PathBuf,
    top: Vec<Guess>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drawn: Option<PathBuf>,
}

/// A label and how probable it is.
#[derive(Serialize)]
pub struct Guess {
    label: String,
    probability: f32,
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.label, percent(f64::from(self.probability)))
    }
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    ensure!(args.top > 0, "--top must be at least 1");
    let bytes = ModelBytes::read(&model_path(&args.model)?)?;
    let (model, spec) = (bytes.model()?, bytes.input_spec()?);
    let mut drawings = args.draw.as_deref().map(Drawings::new).transpose()?;
    let mut unreadable = 0;
    let predictions = with_threads(model, usize::from(args.threads), Level::detect(), |team| {
        if team.threads() < usize::from(args.threads) {
            eprintln!("note: one thread runs this model: compile it with --board host to share its rows");
        }
        let mut predictions = Vec::new();
        for image in &args.images {
            let pixels = RawImage::open(image)
                .map_err(anyhow::Error::from)
                .and_then(|raw| Ok((to_input(&raw, &spec).with_context(|| image.display().to_string())?, raw)));
            match pixels {
                Ok((pixels, raw)) => {
                    let frame = quantize_pixels(&model, &pixels)?;
                    let scores = team.run_frame(&frame).context("the frame has the wrong size")?;
                    let top = top(&model, scores, args.top);
                    let drawn = drawings.as_mut().map(|drawings| drawings.draw(image, &raw, &top)).transpose()?;
                    predictions.push(Prediction { image: image.clone(), top, drawn });
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
            let guesses = prediction.top.iter().map(Guess::to_string);
            let drawn = prediction.drawn.as_ref().map(|path| format!(" (drawn: {})", path.display()));
            println!(
                "{}: {}{}",
                prediction.image.display(),
                guesses.collect::<Vec<_>>().join(", "),
                drawn.unwrap_or_default()
            );
        }
        if let Some(folder) = &args.draw {
            println!("{} pictures drawn in {}", predictions.len(), folder.display());
        }
    }
    ensure!(unreadable == 0, "{unreadable} of {} pictures could not be read", args.images.len());
    Ok(Verdict::Done)
}

/// The folder that pictures are drawn into.
struct Drawings<'a> {
    folder: &'a Path,
    names: HashSet<String>,
}

impl<'a> Drawings<'a> {
    fn new(folder: &'a Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}: choose another with --draw", folder.display()))?;
        Ok(Self { folder, names: HashSet::new() })
    }

    /// Draws a picture under its own name; a second one of that name gets a number.
    fn draw(&mut self, image: &Path, raw: &RawImage, top: &[Guess]) -> anyhow::Result<PathBuf> {
        let stem = image.file_stem().map_or_else(|| "picture".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let name = std::iter::once(stem.clone()).chain(numbered).find(|name| !self.names.contains(name));
        let name = name.unwrap_or(stem);
        let path = self.folder.join(format!("{name}.png"));
        self.names.insert(name);
        let guesses: Vec<_> = top.iter().map(|guess| (guess.label.clone(), f64::from(guess.probability))).collect();
        captioned_png(&path, raw, &guesses)?;
        Ok(path)
    }
}

/// The most probable labels, most probable first; equal ones in the model's order.
pub fn top(model: &ocelli::model::Model<'_>, scores: &[i8], count: usize) -> Vec<Guess> {
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
