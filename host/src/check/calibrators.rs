//! How near a quantized network is to its float self, and which calibrator keeps it nearest: all are tried.

use super::scores;
use crate::compile::{Options, Target, assemble, planned};
use crate::data::Dataset;
use crate::model::{ModelBytes, probabilities};
use crate::network::{Network, Weights};
use crate::quantize::{Calibrator, Observation, QuantizedNetwork, quantize};
use crate::train::{argmax, device, evaluate};
use anyhow::ensure;
use serde::Serialize;

/// What a calibrator made of a network.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Trial {
    /// The calibrator.
    pub calibrator: Calibrator,
    /// Mean Kullback-Leibler divergence of the int8 network's probabilities from the float network's, in nats.
    pub divergence: f64,
    /// Share of images on which both name the same class.
    pub agreement: f64,
}

/// What became of a network when it was quantized.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Judgement {
    /// Mean Kullback-Leibler divergence of the quantized network's probabilities from the float network's, in nats.
    pub divergence: f64,
    /// Share of images on which both name the same class.
    pub agreement: f64,
    /// Share of images of which the quantized network names the class.
    pub accuracy: f64,
}

/// Images, and what the float network makes of them.
#[derive(Debug)]
pub struct Judge<'a> {
    images: &'a Dataset,
    float: Vec<Vec<f32>>,
}

impl<'a> Judge<'a> {
    /// Runs the float network.
    ///
    /// # Errors
    /// When it cannot be run, or there are no images.
    pub fn new(network: &Network, weights: &Weights, images: &'a Dataset) -> anyhow::Result<Self> {
        ensure!(!images.is_empty(), "there are no images to judge a quantization by");
        let logits = evaluate(network, weights, images, &device("flex")?)?.logits;
        Ok(Self { images, float: logits.chunks_exact(images.labels.len()).map(softmax).collect() })
    }

    /// Images that it judges by.
    #[must_use]
    pub const fn images(&self) -> usize {
        self.float.len()
    }

    /// Runs the quantized network on this computer, and compares.
    ///
    /// # Errors
    /// When it cannot be compiled or run.
    pub fn judge(&self, quantized: &QuantizedNetwork) -> anyhow::Result<Judgement> {
        let plan = planned(quantized, Options::for_target(Target::HOST))?;
        let scores = scores(&ModelBytes::new(&assemble(&plan.file)?), self.images)?;
        let quantized: Vec<Vec<f32>> = scores.chunks_exact(self.images.labels.len()).map(probabilities).collect();
        let pairs = || self.float.iter().zip(&quantized);
        let mean = |sum: f64| sum / self.images.len() as f64;
        let right = quantized.iter().zip(&self.images.targets).filter(|(scores, target)| argmax(scores) == **target);
        Ok(Judgement {
            divergence: mean(pairs().map(|(float, int8)| divergence(float, int8)).sum()),
            agreement: mean(pairs().filter(|(float, int8)| argmax(float) == argmax(int8)).count() as f64),
            accuracy: mean(right.count() as f64),
        })
    }
}

/// Quantizes a network with every calibrator: the one of least divergence, the first among equals, and what became of each.
///
/// # Errors
/// When the network cannot be quantized or run.
pub fn choose(
    network: &Network,
    weights: &Weights,
    observation: &Observation,
    judge: &Judge<'_>,
) -> anyhow::Result<(Calibrator, Vec<Trial>)> {
    let trial = |calibrator| -> anyhow::Result<Trial> {
        let quantized = quantize(network, weights, &observation.calibration(calibrator), &judge.images.labels)?;
        let Judgement { divergence, agreement, .. } = judge.judge(&quantized)?;
        Ok(Trial { calibrator, divergence, agreement })
    };
    let trials = Calibrator::ALL.into_iter().map(trial).collect::<anyhow::Result<Vec<_>>>()?;
    let least = trials.iter().min_by(|a, b| a.divergence.total_cmp(&b.divergence));
    let taken = least.map(|trial| trial.calibrator).ok_or_else(|| anyhow::anyhow!("no calibrator was tried"))?;
    Ok((taken, trials))
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|v| (v - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|v| v / sum).collect()
}

/// `sum p ln(p / q)`, at least zero: a probability that int8 rounds to zero counts as half a step, and rounded ones are scaled to sum to
/// one.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let floor = |q: f32| f64::from(q.max(1.0 / 512.0));
    let sum: f64 = q.iter().map(|&q| floor(q)).sum();
    let terms = p.iter().zip(q).filter(|(p, _)| **p > 0.0);
    terms.map(|(&p, &q)| f64::from(p) * (f64::from(p) * sum / floor(q)).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_zero_for_equals_and_grows_with_the_difference() {
        let p = softmax(&[2.0, 1.0, 0.0]);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(divergence(&p, &p).abs() < 1e-7);
        let near = divergence(&p, &[0.6, 0.3, 0.1]);
        assert!(0.0 < near && near < divergence(&p, &[0.1, 0.3, 0.6]));
        // ln 2 when half of a certain class's probability is lost
        assert!((divergence(&[1.0, 0.0], &[0.5, 0.5]) - 2.0_f64.ln()).abs() < 1e-7);
        // a row that int8 rounded to a sum above one is no nearer for it
        assert!(divergence(&[0.5, 0.5], &[0.503, 0.501]) > 0.0);
    }
}
