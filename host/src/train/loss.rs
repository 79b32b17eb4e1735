//! The loss: cross-entropy against a distribution over the classes for each image.
//!
//! Labels, smoothing, mixed images and class weights all become that distribution, on the host, so that there is one formula. For two
//! classes it is binary cross-entropy: `softmax([a, b])[1] = sigmoid(b - a)`. A network therefore ends in a softmax over two where
//! Keras has one unit and a sigmoid, and runs on the device as every other one.

use super::config::{TrainingConfig, in_range};
use super::source::Batch;
use anyhow::{bail, ensure};
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much the images of each class count.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum ClassWeights {
    /// `"balanced"`: images / (classes * images of the class), as scikit-learn has it.
    Named(String),
    /// By label; others weigh 1.
    ByLabel(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// Refuses what cannot weigh.
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        match self {
            Self::Named(name) => ensure!(
                name == "balanced",
                "[training] class_weights = \"{name}\" must be \"balanced\" or a table of weights by label"
            ),
            Self::ByLabel(table) => {
                for (label, &weight) in table {
                    in_range(&format!("class_weights.{label}"), weight, weight > 0.0, "above 0")?;
                }
            }
        }
        Ok(())
    }

    /// The weight of each class.
    fn of(&self, labels: &[String], counts: &[usize]) -> anyhow::Result<Vec<f64>> {
        match self {
            Self::Named(_) => {
                let (images, classes) = (counts.iter().sum::<usize>() as f64, counts.len() as f64);
                Ok(counts.iter().map(|&n| if n == 0 { 1.0 } else { images / (classes * n as f64) }).collect())
            }
            Self::ByLabel(table) => {
                if let Some((label, weight)) = table.iter().find(|(label, _)| !labels.contains(label)) {
                    let known = labels.join(", ");
                    bail!("[training] class_weights.{label} = {weight}: the dataset has no such label, only {known}");
                }
                Ok(labels.iter().map(|label| table.get(label).copied().unwrap_or(1.0)).collect())
            }
        }
    }
}

/// What the network is trained towards.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Criterion {
    smoothing: f64,
    weights: Vec<f64>,
}

impl Criterion {
    /// The criterion for a set with these labels and images of each.
    pub fn new(config: &TrainingConfig, labels: &[String], counts: &[usize]) -> anyhow::Result<Self> {
        ensure!(
            config.loss != "binary" || labels.len() == 2,
            "[training] loss = \"binary\" is for two classes, the dataset has {}: use \"categorical\"",
            labels.len()
        );
        let weights = match &config.class_weights {
            Some(weights) => weights.of(labels, counts)?,
            None => vec![1.0; labels.len()],
        };
        Ok(Self { smoothing: config.label_smoothing, weights })
    }

    /// A row for each image: its distribution over the classes, times its weight.
    ///
    /// # Arithmetic
    /// `label * (1 - smoothing) + smoothing / classes`; a mixed image's label is `share` of its partner's and the rest of its own.
    pub fn targets(&self, batch: &Batch) -> Vec<f32> {
        let classes = self.weights.len();
        let floor = self.smoothing / classes as f64;
        let mut rows = Vec::with_capacity(batch.targets.len() * classes);
        for (i, &target) in batch.targets.iter().enumerate() {
            let (partner, share) = batch.mixed.get(i).copied().unwrap_or((target, 0.0));
            let label = |class: usize| {
                let own = if class == target { 1.0 - f64::from(share) } else { 0.0 };
                own + if class == partner { f64::from(share) } else { 0.0 }
            };
            let weight: f64 = (0..classes).map(|class| label(class) * self.weights[class]).sum();
            rows.extend((0..classes).map(|class| (weight * (label(class) * (1.0 - self.smoothing) + floor)) as f32));
        }
        rows
    }
}

/// Mean cross-entropy of logits against distributions, both `[n, classes]`.
pub(super) fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let images = logits.dims()[0] as f64;
    (log_softmax(logits, 1) * targets).sum().mul_scalar(-1.0 / images)
}

#[cfg(test)]
mod tests {
    use super::super::source::Inputs;
    use super::*;
    use burn::nn::loss::CrossEntropyLossConfig;
    use burn::tensor::{Device, Int, TensorData};

    const LOGITS: [f32; 12] = [2.0, -1.0, 0.5, 0.25, 0.5, -2.0, -1.5, 1.0, 3.0, 0.0, 0.0, 0.0];
    const TARGETS: [usize; 4] = [0, 2, 1, 1];

    fn loss(config: &str, logits: &[f32], targets: &[usize], mixed: Vec<(usize, f32)>) -> f64 {
        let classes = logits.len() / targets.len();
        let labels: Vec<String> = ["a", "b", "c"].iter().take(classes).map(|&s| s.to_owned()).collect();
        let counts: Vec<usize> = (0..classes).map(|c| targets.iter().filter(|&&t| t == c).count()).collect();
        let criterion = Criterion::new(&toml::from_str(config).unwrap(), &labels, &counts).unwrap();
        let batch = Batch { inputs: Inputs::Pixels(vec![]), targets: targets.to_vec(), mixed, indices: vec![] };
        let rows = criterion.targets(&batch);
        let tensor = |values: Vec<f32>| {
            Tensor::<2>::from_data(TensorData::new(values, [targets.len(), classes]), &Device::flex())
        };
        f64::from(cross_entropy(tensor(logits.to_vec()), tensor(rows)).into_scalar::<f32>())
    }

    #[track_caller]
    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }

    #[test]
    fn losses_are_those_of_keras() {
        // keras.losses 3.15.1, from_logits = True
        assert_near(loss("", &LOGITS, &TARGETS, vec![]), 1.649_410_4);
        assert_near(loss("loss = \"sparse\"", &LOGITS, &TARGETS, vec![]), 1.649_410_4);
        assert_near(loss("label_smoothing = 0.1", &LOGITS, &TARGETS, vec![]), 1.651_493_7);
        let weights = "[class_weights]\na = 0.5\nb = 2.0\nc = 1.25";
        assert_near(loss(weights, &LOGITS, &TARGETS, vec![]), 2.623_131_5);
        let mixed = [1, 1, 2, 0].map(|partner| (partner, 0.25)).to_vec();
        assert_near(loss("", &LOGITS, &TARGETS, mixed), 1.555_660_4);
        // BinaryCrossentropy on the difference of the two logits
        let logits = [1.0, -0.5, 0.25, 2.0, -3.0, 0.5];
        assert_near(loss("loss = \"binary\"", &logits, &[0, 1, 0], vec![]), 1.297_129_3);
        assert_near(loss("loss = \"binary\"\nlabel_smoothing = 0.2", &logits, &[0, 1, 0], vec![]), 1.288_796);
    }

    #[test]
    fn the_loss_is_burns_cross_entropy() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_data(TensorData::new(LOGITS.to_vec(), [4, 3]), &device);
        let targets = TARGETS.map(|t| t as i64);
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets.to_vec(), [4]), &device);
        let burns: f32 = CrossEntropyLossConfig::new().init(&device).forward(logits, targets).into_scalar();
        assert_near(loss("", &LOGITS, &TARGETS, vec![]), f64::from(burns));
    }

    #[test]
    fn balanced_classes_weigh_the_same_together() {
        // 4 images, 3 classes of 1, 2 and 1: weights 4/3, 2/3, 4/3
        let balanced = loss("class_weights = \"balanced\"", &LOGITS, &TARGETS, vec![]);
        let table = format!("[class_weights]\na = {0}\nb = {1}\nc = {0}", 4.0 / 3.0, 2.0 / 3.0);
        assert_near(balanced, loss(&table, &LOGITS, &TARGETS, vec![]));
    }

    #[test]
    fn labels_and_classes_that_do_not_fit_are_refused() {
        let labels = ["cat", "dog", "cow"].map(str::to_owned);
        let refused =
            |text: &str| Criterion::new(&toml::from_str(text).unwrap(), &labels, &[1, 1, 1]).unwrap_err().to_string();
        let message = refused("[class_weights]\nbird = 2.0");
        assert!(message.contains("class_weights.bird = 2") && message.contains("cat, dog, cow"), "{message}");
        let message = refused("loss = \"binary\"");
        assert!(message.contains("loss = \"binary\"") && message.contains("has 3"), "{message}");
    }
}
