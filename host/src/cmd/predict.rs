//! `ocelli predict`

use super::Verdict;
use super::import::{Preprocess, size};
use super::ui::{percent, table};
use anyhow::{Context, ensure};
use ocelli::image::{InputSpec, Resize};
use ocelli::kernels::blocked::Level;
use ocelli::runtime::threads::with_threads;
use ocelli_host::base::ResizeRule;
use ocelli_host::data::RawImage;
use ocelli_host::imagenet::{Classifier, Crop, Engine, Request, Style, labels, prepare, softmax};
use ocelli_host::model::{ModelBytes, probabilities, quantize_pixels};
use ocelli_host::report::caption::captioned_png;
use ocelli_host::run::model_path;
use serde::Serialize;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Classify pictures
///
/// Classify pictures: top labels with probabilities. A compiled model runs in the int8 runtime that runs on the device. Networks of other
/// programs are taken as they are: .onnx and .tflite files, float (by tract) or quantized (compiled in memory).
///
/// Takes PNG, JPEG, GIF, BMP, WebP, TIFF and PNM of any size. Size, colours and normalization come from the model, or are what is
/// usual for such a file: a note says what was taken. Of a classifier of ImageNet (1,000 or 1,001 classes) the middle of a picture is shown,
/// as it is judged: the shorter side at 256 pixels where the network takes 224. Pictures that cannot be read are named, the others are
/// classified, and the exit code is 2. With --draw each picture is also written with its labels and probabilities on it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model.ocelli, a run folder, or an .onnx or .tflite file.
    #[arg(long, short)]
    model: PathBuf,
    /// How many labels to print.
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Run the float network of a run folder.
    #[arg(long)]
    float: bool,
    /// Labels, one a line, or Keras' imagenet_class_index.json (default: those of the model, or labels.txt beside the file).
    #[arg(long)]
    labels: Option<PathBuf>,
    /// What the network of an .onnx or .tflite file takes pixels as (default: what the file says; for ImageNet's networks tf
    /// of .tflite, torch of .onnx; else 0 to 1).
    #[arg(long, value_name = "STYLE")]
    preprocess: Option<Preprocess>,
    /// What becomes of a picture that is not of the input's shape (default: what the file says; for ImageNet's networks imagenet-crop, else
    /// stretch).
    #[arg(long)]
    resize: Option<ResizeRule>,
    /// Bring a picture's shorter side to this many pixels, then cut the input's size out of the middle, for instance 256 for 224.
    #[arg(long, value_name = "PX", conflicts_with = "resize")]
    resize_to: Option<u32>,
    /// Size of the input, for instance 224x224, where an .onnx file leaves it open.
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = size)]
    size: Option<[u32; 2]>,
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
    /// Its number, where it is one of a long list.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<usize>,
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
    let request = Request {
        labels: args.labels.clone(),
        style: args.preprocess.map(Style::from),
        resize: args.resize.map(Resize::from),
        resize_to: args.resize_to,
        size: args.size,
    };
    let is_network = is_network(&args.model);
    let classifier = if args.float && args.model.is_dir() {
        Classifier::of_run(&args.model, &request)?
    } else if is_network {
        Classifier::open(&args.model, &request)?
    } else {
        ensure!(!args.float, "{}: --float takes the folder of a run", args.model.display());
        compiled(&args.model, &request)?
    };
    classifier.notes.iter().for_each(|note| eprintln!("note: {note}"));
    let drawings = args.draw.as_deref().map(Drawings::new).transpose()?;
    let mut work = Work { args, classifier: &classifier, numbered: is_network, drawings, unreadable: 0 };
    let predictions = match &classifier.engine {
        Engine::Float(model) => {
            ensure!(args.threads == 1, "--threads is for quantized networks: tract runs a float one, by one thread");
            let channels = classifier.spec.color.channels() as usize;
            work.all(|pixels| {
                let values = pixels.iter().enumerate().map(|(at, &v)| classifier.spec.normalize(at % channels, v));
                model.probabilities(&values.collect::<Vec<f32>>())
            })?
        }
        Engine::Int8 { model: bytes, logits, .. } => {
            ensure!(!args.float, "{} holds a quantized network: there is no float one", args.model.display());
            let model = bytes.model()?;
            with_threads(model, usize::from(args.threads), Level::detect(), |team| {
                if team.threads() < usize::from(args.threads) {
                    eprintln!("note: one thread runs this model: compile it with --board host to share its rows");
                }
                work.all(|pixels| {
                    let frame = quantize_pixels(&model, pixels)?;
                    let scores = team.run_frame(&frame).context("the frame has the wrong size")?;
                    Ok(match logits {
                        None => probabilities(scores),
                        Some(params) => {
                            let real = |&q: &i8| params.scale * (f32::from(q) - params.zero_point as f32);
                            softmax(&scores.iter().map(real).collect::<Vec<f32>>())
                        }
                    })
                })
            })??
        }
    };
    let Work { unreadable, .. } = work;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&predictions)?);
    } else {
        for prediction in &predictions {
            if is_network { print_table(prediction) } else { print_line(prediction) }
        }
        if let Some(folder) = &args.draw {
            println!("{} pictures drawn in {}", predictions.len(), folder.display());
        }
    }
    ensure!(unreadable == 0, "{unreadable} of {} pictures could not be read", args.images.len());
    Ok(Verdict::Done)
}

/// Whether a file is a network of another program, by its ending.
fn is_network(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    ["onnx", "tflite"].iter().any(|known| extension.eq_ignore_ascii_case(known)) && !path.is_dir()
}

/// A compiled model.
fn compiled(path: &Path, request: &Request) -> anyhow::Result<Classifier> {
    let path = model_path(path)?;
    ensure!(
        request.style.is_none() && request.size.is_none(),
        "{} says how its pictures are taken: --preprocess and --size are for .onnx and .tflite files",
        path.display()
    );
    let bytes = ModelBytes::read(&path)?;
    let spec = bytes.input_spec()?;
    let model = bytes.model()?;
    let classes = model.labels().count();
    let labels = match &request.labels {
        None => model.labels().map(str::to_owned).collect(),
        Some(file) => {
            let read = labels::read(file)?;
            ensure!(
                classes == 0 || read.len() == classes,
                "{} has {} labels, the model {classes} classes",
                file.display(),
                read.len()
            );
            read
        }
    };
    let crop = match request.resize_to {
        Some(resize_to) => Crop::from_resize(resize_to, &spec)?,
        None => Crop::AsStated,
    };
    let spec = InputSpec { resize: request.resize.unwrap_or(spec.resize), ..spec };
    let engine = Engine::Int8 { model: bytes, logits: None, classes };
    Ok(Classifier { engine, spec, crop, labels, notes: Vec::new() })
}

/// The pictures to classify.
struct Work<'a> {
    args: &'a Args,
    classifier: &'a Classifier,
    /// Whether a class is shown with its number.
    numbered: bool,
    drawings: Option<Drawings<'a>>,
    unreadable: usize,
}

impl Work<'_> {
    /// Classifies the pictures by `run`, which takes the input before normalization; names those that cannot be read.
    fn all(&mut self, mut run: impl FnMut(&[u8]) -> anyhow::Result<Vec<f32>>) -> anyhow::Result<Vec<Prediction>> {
        let Classifier { spec, crop, labels, .. } = self.classifier;
        let mut predictions = Vec::new();
        for image in &self.args.images {
            let prepared = |raw: RawImage| {
                let pixels = prepare(&raw, spec, *crop).with_context(|| image.display().to_string())?;
                anyhow::Ok((pixels, raw))
            };
            match RawImage::open(image).map_err(anyhow::Error::from).and_then(prepared) {
                Ok((pixels, raw)) => {
                    let label = |class: usize| labels.get(class).cloned().unwrap_or_else(|| class.to_string());
                    let mut top = ranked(run(&pixels)?, label, self.args.top);
                    if !self.numbered {
                        top.iter_mut().for_each(|guess| guess.class = None);
                    }
                    let drawings = self.drawings.as_mut();
                    let drawn = drawings.map(|drawings| drawings.draw(image, &raw, &top)).transpose()?;
                    predictions.push(Prediction { image: image.clone(), top, drawn });
                }
                Err(error) => {
                    self.unreadable += 1;
                    eprintln!("error: {error:#}");
                }
            }
        }
        Ok(predictions)
    }
}

fn print_line(prediction: &Prediction) {
    let guesses = prediction.top.iter().map(Guess::to_string);
    let drawn = prediction.drawn.as_ref().map(|path| format!(" (drawn: {})", path.display()));
    println!("{}: {}{}", prediction.image.display(), guesses.collect::<Vec<_>>().join(", "), drawn.unwrap_or_default());
}

/// As Keras' `decode_predictions` lists them.
fn print_table(prediction: &Prediction) {
    let rows = (1..).zip(&prediction.top).map(|(rank, guess): (usize, _)| {
        let class = guess.class.map_or_else(String::new, |class| class.to_string());
        vec![rank.to_string(), class, guess.label.clone(), format!("{:.4}", guess.probability)]
    });
    println!("{}", prediction.image.display());
    println!("{}\n", table(&["rank", "class", "label", "probability"], rows, 3));
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
    let label = |class| model.label(class).map_or_else(|| class.to_string(), str::to_owned);
    let mut guesses = ranked(probabilities(scores), label, count);
    guesses.iter_mut().for_each(|guess| guess.class = None);
    guesses
}

/// The most probable classes, as [`top`] has them.
fn ranked(probabilities: Vec<f32>, label: impl Fn(usize) -> String, count: usize) -> Vec<Guess> {
    let mut classes: Vec<(usize, f32)> = probabilities.into_iter().enumerate().collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    classes.truncate(count);
    let guess = |(class, probability)| Guess { class: Some(class), label: label(class), probability };
    classes.into_iter().map(guess).collect()
}
