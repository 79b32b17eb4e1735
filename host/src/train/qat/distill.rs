//! Distillation: the int8 network is trained towards the scores of its float self, on images whose classes do not matter.
//!
//! # Source
//! Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, with the network itself as the teacher, as in Liu et al.,
//! "LLM-QAT: Data-Free Quantization Aware Training for Large Language Models", arXiv:2305.17888. The student is run as in the rest of
//! this module, in the integers of the runtime.

use super::simulate::Simulation;
use super::state::Intervals;
use crate::data::Dataset;
use crate::network::{Network, Weights, channel_of};
use crate::quantize::{Calibration, Calibrator, QuantizedNetwork, RangeRule};
use crate::train::config::{TrainingConfig, device};
use crate::train::evaluate::evaluate;
use crate::train::loss::cross_entropy;
use crate::train::module::Classifier;
use crate::train::optimizer::{Optimizer, numbered};
use anyhow::{Context, ensure};
use burn::optim::GradientsParams;
use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::sync::PoisonError;

/// Images in a batch.
const BATCH: usize = 16;
/// How far a step moves the logarithm of an interval's width, for each step of int8 that it moves a weight.
const INTERVALS: f64 = 0.2;
/// Steps over which the rate rises.
const WARMUP: usize = 20;

/// How long, and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distillation {
    /// Passes over the images.
    pub epochs: usize,
    /// Largest learning rate: how far a step moves a weight, in steps of int8. It falls along half a cosine.
    pub rate: f64,
    /// Seed of the images' order.
    pub seed: u64,
}

/// Where a distillation is.
#[derive(Clone, Copy, Debug)]
pub struct DistillStep {
    /// Steps taken.
    pub steps: usize,
    /// Steps in all.
    pub of: usize,
    /// Mean divergence from the float network in nats over the last epoch, the running one until its end.
    pub divergence: f64,
}

/// Trains weights so that, in int8, they come near to what they do in float. `network` has no batch norms
/// ([`plain`](crate::quantize::plain)); `start` are its weights, which may have been corrected for int8, `teacher` those of the float network.
///
/// # Errors
/// When the network cannot be quantized or run, or the loss stops being a number.
pub fn distill(
    network: &Network,
    teacher: &Weights,
    start: &Weights,
    calibration: &Calibration,
    images: &Dataset,
    settings: &Distillation,
    done: &mut dyn FnMut(DistillStep),
) -> anyhow::Result<(Weights, Calibration)> {
    ensure!(!images.is_empty(), "distillation needs at least one image");
    let device = device("flex")?;
    let classes = images.labels.len();
    let logits = evaluate(network, teacher, images, &device)?.logits;
    let training_device = device.autodiff();
    let nodes = network.folded_nodes()?;
    let mut intervals = Intervals::new(calibration.clone(), Calibrator::MinMax, RangeRule::Learned);
    let mut module = numbered(Classifier::new(network, start, &training_device)?);
    let config = TrainingConfig { optimizer: "adam".to_owned(), ..TrainingConfig::default() };
    let mut optimizer = Optimizer::new(&config, BTreeMap::new())?;
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut order: Vec<usize> = (0..images.len()).collect();
    let of = settings.epochs * images.len().div_ceil(BATCH);
    let mut steps = 0;
    for _ in 0..settings.epochs {
        order.shuffle(&mut rng);
        let (mut sum, mut seen) = (0.0, 0);
        for batch in order.chunks(BATCH) {
            let pixels: Vec<u8> = batch.iter().flat_map(|&image| images.input(image)).copied().collect();
            let rows =
                batch.iter().flat_map(|&image| &logits[image * classes..(image + 1) * classes]).copied().collect();
            let data = TensorData::new::<f32, _>(rows, [batch.len(), classes]);
            let targets = softmax(Tensor::<2>::from_data(data, &training_device), 1);
            let weights = module.to_weights();
            let lower = || format!("step {}: lower [quantization] distill_rate ({})", steps + 1, settings.rate);
            let simulation = Simulation::new(network, &nodes, &weights, &intervals, &images.labels, &training_device)
                .with_context(lower)?;
            let student = simulation.forward(&module, &pixels, None)?;
            let entropy: f32 = entropy(targets.clone());
            let loss = cross_entropy(student, targets);
            let value = f64::from(loss.clone().into_scalar::<f32>() - entropy);
            ensure!(value.is_finite(), "the divergence became {value} in {}", lower());
            let gradients = GradientsParams::from_grads(loss.backward(), &module);
            let rate = rate(settings.rate, steps, of);
            let stepped = optimizer.step(1.0, module, gradients).to_weights();
            let next = moved(&weights, &stepped, simulation.quantized(), rate);
            module = numbered(Classifier::new(network, &next, &training_device)?);
            let found = simulation.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            intervals.step(&found, rate * INTERVALS);
            steps += 1;
            sum += value * batch.len() as f64;
            seen += batch.len();
            done(DistillStep { steps, of, divergence: sum / seen as f64 });
        }
    }
    Ok((module.to_weights(), intervals.calibration))
}

/// The rate of a step: it rises, then falls along half a cosine.
fn rate(largest: f64, step: usize, of: usize) -> f64 {
    let falling = 0.5 * (1.0 + (PI * step as f64 / of.max(1) as f64).cos());
    largest * falling * ((step + 1) as f64 / WARMUP as f64).min(1.0)
}

/// Mean entropy of distributions: the cross-entropy of a student that gives the same.
fn entropy(targets: Tensor<2>) -> f32 {
    let images = targets.dims()[0] as f64;
    let terms = targets.clone() * targets.clamp_min(1e-30).log();
    terms.sum().mul_scalar(-1.0 / images).into_scalar()
}

/// Weights between two others: each moved by the way that Adam took it, which is 1 at most or little more, times the rate and the size of
/// an int8 step: a filter's own for its weights, the output's for biases.
fn moved(before: &Weights, after: &Weights, quantized: &QuantizedNetwork, rate: f64) -> Weights {
    let mut moved = before.clone();
    for layer in &quantized.layers {
        let (name, Some(int8)) = (&layer.node.name, &layer.weights) else { continue };
        let (Some(from), Some(to)) = (before.layer(name), after.layer(name)) else { continue };
        let mut weights = from.clone();
        let axis = layer.node.op.channel_axis();
        let toward = |from: &mut f32, to: f32, step: f32| *from += (f64::from(to - *from) * rate) as f32 * step;
        for (at, (from, &to)) in weights.kernel.iter_mut().zip(&to.kernel).enumerate() {
            toward(from, to, int8.scale(channel_of(int8.shape, axis, at)));
        }
        weights.bias.iter_mut().zip(&to.bias).for_each(|(from, &to)| toward(from, to, layer.output.scale));
        moved.insert(name, weights);
    }
    moved
}

#[cfg(test)]
#[path = "distill_tests.rs"]
mod tests;
