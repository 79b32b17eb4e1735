//! How near a quantized network is to its float self, and which way of quantizing keeps it nearest: all are tried.

use crate::compile::{Options, Target, assemble, planned};
use crate::data::Dataset;
use crate::model::{ModelBytes, probabilities, quantize_pixels, run_observing};
use crate::network::{Network, Weights};
use crate::quantize::{
    Adjustments, Calibrator, Equalize, Int4, Observation, Prepared, QuantParams, QuantizationConfig, QuantizedNetwork,
    Recipe, Rounding, quantize,
};
use crate::train::{argmax, device, evaluate};
use anyhow::{Context, ensure};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a way of quantizing made of a network.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Trial {
    /// The way.
    #[serde(flatten)]
    pub recipe: Recipe,
    /// What became of the network.
    #[serde(flatten)]
    pub judgement: Judgement,
}

/// What became of a network when it was quantized.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Judgement {
    /// Mean Kullback-Leibler divergence of the quantized network's probabilities from the float network's, in nats. With more than
    /// 128 classes, whose scores are mostly rounded to zero, the quantized logits' probabilities are taken.
    pub divergence: f64,
    /// Share of images on which both name the same class.
    pub agreement: f64,
    /// Share of images of which the quantized network names the class; nothing where the images' classes are others.
    pub accuracy: f64,
    /// Signal-to-noise ratio of the logits in decibels; `None` when there is no noise, or the logits are no tensor of the model.
    pub snr_db: Option<f64>,
}

/// Classes above which scores in steps of 1/256 say too little of most of them.
const MANY_CLASSES: usize = 128;

/// Images, and what the float network makes of them.
#[derive(Debug)]
pub struct Judge<'a> {
    images: &'a Dataset,
    logits: Vec<f32>,
    float: Vec<Vec<f32>>,
}

/// What the quantized network makes of an image.
struct Output {
    scores: Vec<i8>,
    logits: Vec<f32>,
}

impl<'a> Judge<'a> {
    /// Runs the float network.
    ///
    /// # Errors
    /// When it cannot be run, or there are no images.
    pub fn new(network: &Network, weights: &Weights, images: &'a Dataset) -> anyhow::Result<Self> {
        ensure!(!images.is_empty(), "there are no images to judge a quantization by");
        let logits = evaluate(network, weights, images, &device("flex")?)?.logits;
        let float = logits.chunks_exact(images.labels.len()).map(softmax).collect();
        Ok(Self { images, logits, float })
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
        let outputs = self.run(quantized)?;
        let has_logits = outputs.iter().all(|output| output.logits.len() == self.images.labels.len());
        let by_logits = has_logits && self.images.labels.len() > MANY_CLASSES;
        let divergences = self.float.iter().zip(&outputs).map(|(float, output)| {
            if by_logits {
                exact_divergence(float, &softmax(&output.logits))
            } else {
                divergence(float, &probabilities(&output.scores))
            }
        });
        let mean = |sum: f64| sum / self.images.len() as f64;
        let agree = self.float.iter().zip(&outputs).filter(|(float, output)| argmax(float) == argmax(&output.scores));
        let right =
            outputs.iter().zip(&self.images.targets).filter(|(output, target)| argmax(&output.scores) == **target);
        let (mut signal, mut noise) = (0.0, 0.0);
        for (&float, int8) in self.logits.iter().zip(outputs.iter().flat_map(|output| &output.logits)) {
            signal += f64::from(float).powi(2);
            noise += f64::from(int8 - float).powi(2);
        }
        Ok(Judgement {
            divergence: mean(divergences.sum()),
            agreement: mean(agree.count() as f64),
            accuracy: mean(right.count() as f64),
            snr_db: (has_logits && signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10()),
        })
    }

    fn run(&self, quantized: &QuantizedNetwork) -> anyhow::Result<Vec<Output>> {
        let plan = planned(quantized, Options::for_target(Target::HOST))?;
        let model = ModelBytes::new(&assemble(&plan.file)?);
        let logits = logits_of(quantized);
        let part = self.images.len().div_ceil(rayon::current_num_threads()).max(1);
        let all: Vec<usize> = (0..self.images.len()).collect();
        let parts = all.par_chunks(part).map(|part| {
            model.with_session(|session| {
                let layer =
                    logits.and_then(|(name, params)| Some((session.model().names().position(|n| n == name)?, params)));
                let run = |&image: &usize| {
                    let frame = quantize_pixels(session.model(), self.images.input(image))?;
                    let mut logits = Vec::new();
                    run_observing(session, &frame, |op, row| {
                        if let Some((_, params)) = layer.filter(|(wanted, _)| *wanted == op) {
                            let real = |&q: &i8| params.scale * (i32::from(q) - params.zero_point) as f32;
                            logits.extend(row.iter().map(real));
                        }
                    })?;
                    Ok(Output { scores: session.output().to_vec(), logits })
                };
                part.iter().map(run).collect::<anyhow::Result<Vec<_>>>()
            })
        });
        Ok(parts.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

/// The layer before the softmax, and its quantization.
fn logits_of(quantized: &QuantizedNetwork) -> Option<(&str, QuantParams)> {
    let tensor = *quantized.layers.last()?.node.inputs.first()?;
    let layer = quantized.layers.get(tensor.checked_sub(1)?)?;
    Some((&layer.node.name, layer.output))
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
        let recipe = Recipe { calibrator, equalize: Equalize::Off, bias_correction: false, fitted: false };
        Ok(Trial { recipe, judgement: judge.judge(&quantized)? })
    };
    let trials = Calibrator::ALL.into_iter().map(trial).collect::<anyhow::Result<Vec<_>>>()?;
    Ok((best(&trials).context("no calibrator was tried")?.recipe.calibrator, trials))
}

/// A quantized network, and how it came about.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// In int8.
    pub int8: QuantizedNetwork,
    /// The same with weights of four bits where some are wanted.
    pub int4: Option<QuantizedNetwork>,
    /// What was done to the weights.
    pub adjustments: Adjustments,
    /// The way it was quantized.
    pub recipe: Recipe,
    /// What it was made from by that way.
    pub prepared: Prepared<'a>,
    /// What became of each way that was tried; none when there was but one.
    pub trials: Vec<Trial>,
}

/// Whether a configuration leaves open how to quantize a network, so that [`quantize_best`] needs a judge.
///
/// # Errors
/// When the network's shapes do not fit.
pub fn leaves_open(network: &Network, config: &QuantizationConfig) -> anyhow::Result<bool> {
    let one = config.equalize.candidates(network)?.len() == 1 && config.bias_correction.candidates().len() == 1;
    let one = one && config.rounding != Rounding::Auto;
    Ok(!one || config.calibrator.is_none())
}

/// Quantizes a network in the way that is asked for; what is left open is decided by trials on the images of a judge: the calibrator and
/// the equalization of least divergence, biases corrected where that is not ruled out, and with these whether they had better stay as they are.
///
/// # Errors
/// When the network cannot be quantized or run, or a judge is needed and missing.
pub fn quantize_best<'a>(
    network: &Network,
    weights: &Weights,
    images: &'a Dataset,
    config: &QuantizationConfig,
    judge: Option<&Judge<'_>>,
) -> anyhow::Result<Chosen<'a>> {
    let device = device("flex")?;
    let calibrators = config.calibrator.map_or_else(|| Calibrator::ALL.to_vec(), |one| vec![one]);
    let (equalizations, biases) = (config.equalize.candidates(network)?, config.bias_correction.candidates());
    let int8 = Int4::default();
    let prepared =
        equalizations.iter().map(|&by| Ok((by, Prepared::new(network, weights, by, config.widen, images, &device)?)));
    let mut prepared = prepared.collect::<anyhow::Result<BTreeMap<Equalize, Prepared<'_>>>>()?;
    let of = "an equalization was not prepared";
    let only_fitted = config.rounding == Rounding::Fitted;
    let (recipe, trials) = if let (false, [calibrator], [equalize], [bias_correction]) =
        (leaves_open(network, config)?, &calibrators[..], &equalizations[..], biases)
    {
        let (calibrator, equalize, bias_correction) = (*calibrator, *equalize, *bias_correction);
        (Recipe { calibrator, equalize, bias_correction, fitted: only_fitted }, Vec::new())
    } else {
        let judge = judge.context("there is nothing to judge the ways to quantize by")?;
        let mut trials = Vec::new();
        let attempt = |prepared: &Prepared<'_>, recipe: Recipe| -> anyhow::Result<Trial> {
            let (quantized, _) = prepared.quantize(recipe, &int8)?;
            Ok(Trial { recipe, judgement: judge.judge(&quantized)? })
        };
        // what rounded weights do to means hides the rest: it is taken away first
        let bias_correction = biases.last().copied().unwrap_or_default();
        for (&equalize, prepared) in &prepared {
            for &calibrator in &calibrators {
                trials.push(attempt(prepared, Recipe { calibrator, equalize, bias_correction, fitted: false })?);
            }
        }
        let nearest = best(&trials).context("no way was tried")?.recipe;
        let prepared = prepared.get(&nearest.equalize).context(of)?;
        if biases.len() > 1 {
            trials.push(attempt(prepared, Recipe { bias_correction: false, ..nearest })?);
        }
        let fitted = Recipe { fitted: true, ..nearest };
        if !config.rounding.is_nearest() {
            trials.push(attempt(prepared, fitted)?);
        }
        (if only_fitted { fitted } else { best(&trials).context("no way was tried")?.recipe }, trials)
    };
    let prepared = prepared.remove(&recipe.equalize).context(of)?;
    let (quantized, adjustments) = prepared.quantize(recipe, &int8)?;
    if config.int4.is_empty() {
        return Ok(Chosen { int8: quantized, int4: None, adjustments, recipe, prepared, trials });
    }
    let (int4, adjustments) = prepared.quantize(recipe, &config.int4)?;
    Ok(Chosen { int8: quantized, int4: Some(int4), adjustments, recipe, prepared, trials })
}

/// Quantizes a network in every way there is and judges each.
///
/// # Errors
/// When the network cannot be quantized or run.
pub fn compare(
    network: &Network,
    weights: &Weights,
    images: &Dataset,
    judge: &Judge<'_>,
    done: &mut dyn FnMut(&Trial),
) -> anyhow::Result<Vec<Trial>> {
    let device = device("flex")?;
    let mut trials = Vec::new();
    for equalize in Equalize::ALL {
        let prepared = Prepared::new(network, weights, equalize, 0.0, images, &device)?;
        let ways = [(false, false), (true, false), (true, true)];
        for (calibrator, (bias_correction, fitted)) in
            Calibrator::ALL.into_iter().flat_map(|c| ways.map(|way| (c, way)))
        {
            let recipe = Recipe { calibrator, equalize, bias_correction, fitted };
            let (quantized, _) = prepared.quantize(recipe, &Int4::default())?;
            let trial = Trial { recipe, judgement: judge.judge(&quantized)? };
            done(&trial);
            trials.push(trial);
        }
    }
    Ok(trials)
}

/// The trial of least divergence, the first among equals.
#[must_use]
pub fn best(trials: &[Trial]) -> Option<&Trial> {
    trials.iter().min_by(|a, b| a.judgement.divergence.total_cmp(&b.judgement.divergence))
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

/// `sum p ln(p / q)` for probabilities that are not rounded.
fn exact_divergence(p: &[f32], q: &[f32]) -> f64 {
    let terms = p.iter().zip(q).filter(|(p, _)| **p > 0.0);
    terms.map(|(&p, &q)| f64::from(p) * (f64::from(p) / f64::from(q).max(1e-30)).ln()).sum()
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
