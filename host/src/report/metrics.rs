//! How well a classifier does on a set: accuracy, precision, recall and F1 of each class, confusion, and how honest its confidence is.

use super::confusion;
use crate::train::argmax;
use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// Bins of the calibration error.
pub const CALIBRATION_BINS: usize = 15;
/// Most guesses of the top-k accuracy.
const TOP_K: usize = 5;
/// What an int8 probability of 0 counts as in a loss: half a step of 1/256, the most that is rounded to 0.
const INT8_FLOOR: f64 = 1.0 / 512.0;

/// What a classifier made of a set.
#[derive(Clone, Debug)]
pub struct Predictions {
    /// Number of classes.
    pub classes: usize,
    /// Probabilities, `[n, classes]`. Those of an int8 softmax are steps of 1/256 and need not add up to 1.
    pub probabilities: Vec<f64>,
    /// Cross-entropy of each image.
    pub losses: Vec<f64>,
    /// The right class of each image.
    pub targets: Vec<usize>,
}

impl Predictions {
    /// From logits, `[n, classes]`.
    ///
    /// # Errors
    /// When there are no images, or the logits are not `classes` an image.
    pub fn from_logits(logits: &[f32], targets: &[usize], classes: usize) -> anyhow::Result<Self> {
        let mut losses = Vec::with_capacity(targets.len());
        let mut probabilities = Vec::with_capacity(logits.len());
        for (row, &target) in logits.chunks_exact(classes.max(1)).zip(targets) {
            let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let sum: f64 = row.iter().map(|&v| (f64::from(v) - largest).exp()).sum();
            probabilities.extend(row.iter().map(|&v| (f64::from(v) - largest).exp() / sum));
            let of_target = row.get(target).map_or(f64::NEG_INFINITY, |&v| f64::from(v));
            losses.push(sum.ln() - (of_target - largest));
        }
        Self { classes, probabilities, losses, targets: targets.to_vec() }.checked()
    }

    /// From int8 softmax scores, `[n, classes]`: steps of 1/256 from -128. A probability of 0 counts as half a step in the loss.
    ///
    /// # Errors
    /// When there are no images, or the scores are not `classes` an image.
    pub fn from_scores(scores: &[i8], targets: &[usize], classes: usize) -> anyhow::Result<Self> {
        let probabilities: Vec<f64> = scores.iter().map(|&q| (f64::from(q) + 128.0) / 256.0).collect();
        let rows = probabilities.chunks_exact(classes.max(1)).zip(targets);
        let losses = rows.map(|(row, &t)| -row.get(t).copied().unwrap_or(0.0).max(INT8_FLOOR).ln()).collect();
        Self { classes, probabilities, losses, targets: targets.to_vec() }.checked()
    }

    fn checked(self) -> anyhow::Result<Self> {
        let Self { classes, probabilities, targets, .. } = &self;
        ensure!(!targets.is_empty(), "there are no images to evaluate on");
        ensure!(
            *classes > 0 && probabilities.len() == classes * targets.len(),
            "{} scores for {} images of {classes} classes",
            probabilities.len(),
            targets.len()
        );
        let wrong = targets.iter().find(|&&target| target >= *classes);
        ensure!(wrong.is_none(), "class {} is none of {classes}", wrong.unwrap_or(&0));
        ensure!(probabilities.iter().all(|p| !p.is_nan()), "a score is not a number: train again");
        Ok(self)
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The probabilities of an image, one a class.
    ///
    /// # Panics
    /// When there is no such image.
    #[must_use]
    pub fn row(&self, image: usize) -> &[f64] {
        &self.probabilities[image * self.classes..(image + 1) * self.classes]
    }

    /// The class that an image is taken for: the first of the most probable.
    ///
    /// # Panics
    /// When there is no such image.
    #[must_use]
    pub fn guess(&self, image: usize) -> usize {
        argmax(self.row(image))
    }

    /// The probability of the guess.
    ///
    /// # Panics
    /// When there is no such image.
    #[must_use]
    pub fn confidence(&self, image: usize) -> f64 {
        self.row(image)[self.guess(image)]
    }

    /// Classes that come before the right one when an image's are sorted by probability; equal ones keep their order.
    fn rank(&self, image: usize) -> usize {
        let (row, target) = (self.row(image), self.targets[image]);
        let before = |(class, &p): (usize, &f64)| p > row[target] || (p == row[target] && class < target);
        row.iter().enumerate().filter(|&entry| before(entry)).count()
    }

    /// Wrong guesses, the surest first; equally sure ones by loss.
    #[must_use]
    pub fn surest_mistakes(&self, count: usize) -> Vec<usize> {
        let wrong = (0..self.len()).filter(|&i| self.guess(i) != self.targets[i]).collect();
        self.sorted(wrong, |i| (self.confidence(i), self.losses[i]), count)
    }

    /// Images by loss, the highest first; equal ones by the confidence of the guess.
    #[must_use]
    pub fn highest_losses(&self, count: usize) -> Vec<usize> {
        self.sorted((0..self.len()).collect(), |i| (self.losses[i], self.confidence(i)), count)
    }

    fn sorted(&self, mut images: Vec<usize>, key: impl Fn(usize) -> (f64, f64), count: usize) -> Vec<usize> {
        images.sort_by(|&a, &b| {
            let (a, b) = (key(a), key(b));
            b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        images.truncate(count);
        images
    }

    /// All figures.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let n = self.len() as f64;
        let guesses: Vec<usize> = (0..self.len()).map(|i| self.guess(i)).collect();
        let confusion = confusion(self.classes, &self.targets, &guesses);
        let right: usize = confusion.iter().enumerate().map(|(class, row)| row[class]).sum();
        let k = TOP_K.min(self.classes - 1).max(1);
        let in_top = (0..self.len()).filter(|&i| self.rank(i) < k).count();
        let classes = class_metrics(&confusion);
        Metrics {
            images: self.len(),
            right,
            accuracy: right as f64 / n,
            loss: self.losses.iter().sum::<f64>() / n,
            top_k: TopK { k, accuracy: in_top as f64 / n },
            macro_average: macro_average(&classes),
            classes,
            calibration: self.calibration(),
            confusion,
        }
    }

    /// Confidence against accuracy, in bins of equal width.
    ///
    /// # Source
    /// Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 2: bin `m` of `M` holds the
    /// confidences in `((m - 1) / M, m / M]`.
    fn calibration(&self) -> Calibration {
        let edge = |bin: usize| bin as f64 / CALIBRATION_BINS as f64;
        let mut sums = [(0_usize, 0.0, 0_usize); CALIBRATION_BINS];
        for i in 0..self.len() {
            let confidence = self.confidence(i);
            // saturates below the first bin
            let bin = ((confidence * CALIBRATION_BINS as f64).ceil() as usize).clamp(1, CALIBRATION_BINS) - 1;
            let (count, sum, right) = &mut sums[bin];
            *count += 1;
            *sum += confidence;
            *right += usize::from(self.guess(i) == self.targets[i]);
        }
        let bins: Vec<CalibrationBin> = sums
            .iter()
            .enumerate()
            .map(|(bin, &(images, confidence, right))| CalibrationBin {
                from: edge(bin),
                to: edge(bin + 1),
                images,
                confidence: mean(confidence, images),
                accuracy: mean(right as f64, images),
            })
            .collect();
        let gaps = || bins.iter().map(|bin| (bin.images as f64, (bin.accuracy - bin.confidence).abs()));
        Calibration {
            expected_error: gaps().map(|(images, gap)| images / self.len() as f64 * gap).sum(),
            largest_error: gaps().fold(0.0, |largest, (_, gap)| gap.max(largest)),
            bins,
        }
    }
}

/// All figures of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Images evaluated.
    pub images: usize,
    /// Images whose class was guessed.
    pub right: usize,
    /// Their share.
    pub accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// The right class among the first guesses.
    pub top_k: TopK,
    /// One a class.
    pub classes: Vec<ClassMetrics>,
    /// The mean over the classes that occur.
    pub macro_average: Average,
    /// Whether confidence is honest.
    pub calibration: Calibration,
    /// Counts of true class (rows) and guessed class (columns).
    pub confusion: Vec<Vec<usize>>,
}

/// Share of images whose class is among the first `k` guesses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopK {
    /// Five, or one less than there are classes.
    pub k: usize,
    /// The share.
    pub accuracy: f64,
}

/// The figures of a class. Where one is not defined (a class that is never guessed has no precision) it is 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Share of the guesses of this class that are right.
    pub precision: f64,
    /// Share of this class's images that are guessed.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Images of this class.
    pub support: usize,
    /// Guesses of this class.
    pub guessed: usize,
}

/// Means over classes, each counting the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// Mean precision.
    pub precision: f64,
    /// Mean recall.
    pub recall: f64,
    /// Mean F1.
    pub f1: f64,
}

/// Confidence against accuracy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Mean distance of accuracy and confidence, each bin by its share of the images (ECE).
    pub expected_error: f64,
    /// The largest distance of a bin (MCE).
    pub largest_error: f64,
    /// The bins, in order.
    pub bins: Vec<CalibrationBin>,
}

/// The images whose confidence lies in `(from, to]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Lower edge, excluded.
    pub from: f64,
    /// Upper edge, included.
    pub to: f64,
    /// Images in it.
    pub images: usize,
    /// Their mean confidence; 0 without images.
    pub confidence: f64,
    /// Share of them that is right; 0 without images.
    pub accuracy: f64,
}

/// A pair of classes of which one is taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confused {
    /// The right class.
    pub target: usize,
    /// What it is taken for.
    pub guess: usize,
    /// How often.
    pub count: usize,
}

impl Metrics {
    /// The pairs of classes that are confused most, most often first.
    #[must_use]
    pub fn most_confused(&self, count: usize) -> Vec<Confused> {
        let pairs = self.confusion.iter().enumerate().flat_map(|(target, row)| {
            row.iter().enumerate().map(move |(guess, &count)| Confused { target, guess, count })
        });
        let mut pairs: Vec<Confused> = pairs.filter(|pair| pair.target != pair.guess && pair.count > 0).collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.count));
        pairs.truncate(count);
        pairs
    }
}

fn class_metrics(confusion: &[Vec<usize>]) -> Vec<ClassMetrics> {
    let of_class = |(class, row): (usize, &Vec<usize>)| {
        let right = row[class] as f64;
        let support: usize = row.iter().sum();
        let guessed: usize = confusion.iter().map(|row| row[class]).sum();
        ClassMetrics {
            precision: mean(right, guessed),
            recall: mean(right, support),
            f1: mean(2.0 * right, support + guessed),
            support,
            guessed,
        }
    };
    confusion.iter().enumerate().map(of_class).collect()
}

fn macro_average(classes: &[ClassMetrics]) -> Average {
    let occurring: Vec<&ClassMetrics> = classes.iter().filter(|class| class.support + class.guessed > 0).collect();
    let mean_of =
        |value: fn(&ClassMetrics) -> f64| mean(occurring.iter().map(|class| value(class)).sum(), occurring.len());
    Average { precision: mean_of(|c| c.precision), recall: mean_of(|c| c.recall), f1: mean_of(|c| c.f1) }
}

/// `sum / count`, 0 for a count of 0.
fn mean(sum: f64, count: usize) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
