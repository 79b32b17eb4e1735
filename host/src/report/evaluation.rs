//! An evaluation as a run folder keeps it: the figures, and the worst mistakes with small pictures.

use super::metrics::{Metrics, Predictions};
use super::pictures::{picture, thumbnail};
use super::words::thousands;
use crate::data::Dataset;
use crate::files::write_atomically;
use ocelli::image::ColorOrder;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// Images in each list of an evaluation.
pub const EXAMPLES: usize = 24;

/// Which images of a dataset are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Its test set.
    Test,
    /// Its validation set.
    Validation,
    /// Those of its training images that the training set aside.
    SetAside,
    /// All images of a dataset that is not divided.
    #[default]
    All,
}

impl Part {
    /// `count` of these images of a dataset in words: "1,000 test images of data/mnist-10k".
    #[must_use]
    pub fn in_words(self, count: usize, data: &str) -> String {
        let count = thousands(count as u64);
        match self {
            Self::Test => format!("{count} test images of {data}"),
            Self::Validation => format!("{count} validation images of {data}"),
            Self::SetAside => format!("{count} images of {data} that the training set aside"),
            Self::All => format!("all {count} images of {data}"),
        }
    }
}

/// An image whose guess is worth a look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Its number in the set.
    pub index: usize,
    /// Its name in the set.
    pub name: String,
    /// Its class.
    pub label: String,
    /// The class that it is taken for.
    pub guess: String,
    /// Probability of the guess.
    pub confidence: f64,
    /// Probability of its class.
    pub label_probability: f64,
    /// Cross-entropy.
    pub loss: f64,
    /// A small picture (`data:image/...`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

/// What a network was found to do on a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The dataset, as it was given.
    pub data: String,
    /// Which of its images were judged.
    #[serde(default)]
    pub part: Part,
    /// The hash of the judged images' pixels and classes, to tell whether two evaluations are of the same ones.
    #[serde(default)]
    pub images_hash: String,
    /// Whether the network may have been trained on some of the images.
    pub may_include_training_images: bool,
    /// Class names.
    pub labels: Vec<String>,
    /// The figures.
    pub metrics: Metrics,
    /// Wrong guesses, the surest first.
    pub surest_mistakes: Vec<Example>,
    /// Images by loss, the highest first.
    pub highest_losses: Vec<Example>,
}

impl Evaluation {
    /// Judges predictions for a set, which is a part of the dataset `data`.
    #[must_use]
    pub fn new(data: &Path, part: Part, set: &Dataset, predictions: &Predictions) -> Self {
        let example = |image: usize| example(set, predictions, image);
        let mut hasher = DefaultHasher::new();
        (&set.targets, &set.pixels).hash(&mut hasher);
        Self {
            data: data.display().to_string(),
            part,
            images_hash: format!("{:016x}", hasher.finish()),
            may_include_training_images: part == Part::All,
            labels: set.labels.clone(),
            metrics: predictions.metrics(),
            surest_mistakes: predictions.surest_mistakes(EXAMPLES).into_iter().map(example).collect(),
            highest_losses: predictions.highest_losses(EXAMPLES).into_iter().map(example).collect(),
        }
    }

    /// The judged images in words, with the dataset as it was given.
    #[must_use]
    pub fn on(&self) -> String {
        self.part.in_words(self.metrics.images, &self.data)
    }

    /// The judged images in words, with the last part of the dataset's path.
    #[must_use]
    pub fn on_name(&self) -> String {
        let name = Path::new(&self.data).file_name().map(|name| name.to_string_lossy().into_owned());
        self.part.in_words(self.metrics.images, &name.unwrap_or_else(|| self.data.clone()))
    }

    /// Whether another evaluation is of the same images, so that their figures can be compared.
    #[must_use]
    pub fn is_of_the_images_of(&self, other: &Self) -> bool {
        !self.images_hash.is_empty() && self.images_hash == other.images_hash
    }

    /// The same with small pictures of its examples, whose channels lie in `color`'s order.
    ///
    /// # Errors
    /// When a picture has no pixels.
    pub fn with_pictures(mut self, set: &Dataset, color: ColorOrder) -> anyhow::Result<Self> {
        for example in self.surest_mistakes.iter_mut().chain(&mut self.highest_losses) {
            example.picture = Some(thumbnail(&picture(set, color, example.index))?);
        }
        Ok(self)
    }
}

fn label(labels: &[String], class: usize) -> String {
    labels.get(class).cloned().unwrap_or_else(|| class.to_string())
}

fn example(set: &Dataset, predictions: &Predictions, image: usize) -> Example {
    let target = predictions.targets[image];
    Example {
        index: image,
        name: set.names.get(image).cloned().unwrap_or_default(),
        label: label(&set.labels, target),
        guess: label(&set.labels, predictions.guess(image)),
        confidence: predictions.confidence(image),
        label_probability: predictions.row(image)[target],
        loss: predictions.losses[image],
        picture: None,
    }
}

/// Writes a row an image: name, label, guess, confidence, whether it is right, loss, and the probability of each class.
///
/// # Errors
/// When the file cannot be written; the error names it.
pub fn write_predictions(path: &Path, set: &Dataset, predictions: &Predictions) -> anyhow::Result<()> {
    let mut text = String::from("image,label,guess,confidence,right,loss");
    for label in &set.labels {
        write!(text, ",{}", quoted(&format!("p {label}")))?;
    }
    text.push('\n');
    for image in 0..predictions.len() {
        let Example { name, label, guess, confidence, loss, .. } = example(set, predictions, image);
        let right = u8::from(predictions.guess(image) == predictions.targets[image]);
        let names = [name, label, guess].map(|field| quoted(&field)).join(",");
        write!(text, "{names},{confidence:.6},{right},{loss:.6}")?;
        for p in predictions.row(image) {
            write!(text, ",{p:.6}")?;
        }
        text.push('\n');
    }
    write_atomically(path, text.as_bytes())
}

/// A field of a CSV file, in quotes where it must be.
///
/// # Source
/// RFC 4180, section 2.
pub(crate) fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli::ir::Shape;

    fn set() -> Dataset {
        Dataset {
            labels: vec!["cat, tabby".to_owned(), "\"dog\"".to_owned()],
            shape: Shape::new(2, 2, 1),
            pixels: vec![0; 8],
            targets: vec![0, 1],
            names: vec!["a.png".to_owned(), "b,b.png".to_owned()],
            skipped: Vec::new(),
        }
    }

    #[test]
    fn predictions_are_rows_that_any_reader_of_csv_takes_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        let predictions = Predictions::from_scores(&[64, -64, 64, -64], &[0, 1], 2).unwrap();
        write_predictions(&path, &set(), &predictions).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "image,label,guess,confidence,right,loss,\"p cat, tabby\",\"p \"\"dog\"\"\"\n\
            a.png,\"cat, tabby\",\"cat, tabby\",0.750000,1,0.287682,0.750000,0.250000\n\
            \"b,b.png\",\"\"\"dog\"\"\",\"cat, tabby\",0.750000,0,1.386294,0.750000,0.250000\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_evaluation_is_read_back_as_it_was_written() {
        let predictions = Predictions::from_scores(&[64, -64, 64, -64], &[0, 1], 2).unwrap();
        let evaluation = Evaluation::new(Path::new("photos/d"), Part::Test, &set(), &predictions);
        assert_eq!(
            (evaluation.on(), evaluation.on_name()),
            ("2 test images of photos/d".into(), "2 test images of d".into())
        );
        assert_eq!(evaluation.surest_mistakes.len(), 1);
        assert_eq!(evaluation.highest_losses.iter().map(|e| e.index).collect::<Vec<_>>(), [1, 0]);
        let evaluation = evaluation.with_pictures(&set(), ColorOrder::Gray).unwrap();
        assert!(evaluation.surest_mistakes[0].picture.as_ref().unwrap().starts_with("data:image/png;base64,"));
        let json = serde_json::to_string(&evaluation).unwrap();
        let read: Evaluation = serde_json::from_str(&json).unwrap();
        assert_eq!((&read.labels, &read.metrics.confusion), (&evaluation.labels, &evaluation.metrics.confusion));
        assert_eq!(read.surest_mistakes[0].picture, evaluation.surest_mistakes[0].picture);
        // a number may be read as its neighbour
        assert!((read.metrics.loss - evaluation.metrics.loss).abs() < 1e-12);
    }

    #[test]
    fn evaluations_of_other_images_are_not_compared() {
        let predictions = Predictions::from_scores(&[64, -64, 64, -64], &[0, 1], 2).unwrap();
        let of = |set: &Dataset| Evaluation::new(Path::new("d"), Part::All, set, &predictions);
        assert!(of(&set()).is_of_the_images_of(&of(&set())));
        // another folder of the same name, with as many images
        let mut other = set();
        other.pixels[5] = 1;
        assert!(!of(&set()).is_of_the_images_of(&of(&other)));
        assert!(of(&set()).may_include_training_images);
    }

    #[test]
    fn the_part_of_a_dataset_is_said_in_words() {
        let words = |part: Part| part.in_words(1000, "photos");
        assert_eq!(words(Part::Test), "1,000 test images of photos");
        assert_eq!(words(Part::Validation), "1,000 validation images of photos");
        assert_eq!(words(Part::SetAside), "1,000 images of photos that the training set aside");
        assert_eq!(words(Part::All), "all 1,000 images of photos");
    }
}
