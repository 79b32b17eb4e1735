//! The part of commands that quantizes: which way was taken, and what it costs, in words.

use super::ui::{bar, percent, spinner, thousands};
use ocelli::model::records::{packed_nibbles, padded};
use ocelli_host::check::{Chosen, Judge, Judgement, Trial, choose, leaves_open, quantize_best};
use ocelli_host::data::{Dataset, Holdout, ImageSet, ImageSource};
use ocelli_host::network::{Network, Weights};
use ocelli_host::quantize::{
    Adjustments, Calibration, Calibrator, Int4, LARGE_WEIGHTS, Observation, Prepared, QuantizationConfig,
    QuantizedNetwork, Recipe, quantize, quantize_int4,
};
use ocelli_host::train::{DistillStep, Distillation, device};

/// Most images that calibrators are judged by.
const JUDGED: usize = 512;

/// A quantized network, and what was done to its weights before.
pub struct Made {
    /// The network.
    pub quantized: QuantizedNetwork,
    /// What was done.
    pub adjustments: Adjustments,
}

/// Calibrates on training images and quantizes; says which way was taken.
pub fn quantize_with(
    network: &Network,
    weights: &Weights,
    training: &ImageSet,
    config: &QuantizationConfig,
) -> anyhow::Result<Made> {
    let spinner = spinner("calibrating");
    let distillation = config.distillation();
    let (images, judged) = match distillation {
        None => (
            training.take(config.calibration_images, config.seed)?,
            training.take(JUDGED, config.seed.wrapping_add(1))?,
        ),
        Some(_) => apart(training, config)?,
    };
    let needs_judge = leaves_open(network, config)? || !config.int4.is_empty() || distillation.is_some();
    let judge = if needs_judge { Some(Judge::new(network, weights, &judged)?) } else { None };
    let chosen = quantize_best(network, weights, &images, config, judge.as_ref());
    spinner.finish_and_clear();
    let Chosen { int8, int4, adjustments, recipe, prepared, trials } = chosen?;
    for trial in &trials {
        print_trial(trial, trial.recipe == recipe);
    }
    if let (Some(settings), Some(judge)) = (distillation, &judge) {
        let before = judge.judge(&int8)?;
        let (quantized, tuned) = distilled(&prepared, recipe, &settings)?;
        let after = judge.judge(&quantized)?;
        let better = after.divergence < before.divergence * (1.0 - GAIN);
        for (what, Judgement { divergence, agreement, .. }, taken) in
            [("as it was", before, !better), ("distilled", after, better)]
        {
            let mark = if taken { " (taken)" } else { "" };
            eprintln!("{what}: divergence {divergence:.5} nats, same class {}{mark}", percent(agreement));
        }
        if better {
            return Ok(Made { quantized, adjustments: tuned });
        }
        eprintln!(
            "warning: the epochs in int8 brought it no nearer by {:.0} %: give --distill 0, or lower distill_rate ({}) in config.toml",
            100.0 * GAIN,
            settings.rate
        );
    }
    let Some(int4) = int4 else { return Ok(Made { quantized: int8, adjustments }) };
    if let Some(judge) = judge {
        print_int4(&int4, &config.int4, judge.images(), &[judge.judge(&int8)?, judge.judge(&int4)?]);
    }
    Ok(Made { quantized: int4, adjustments })
}

/// Images to distil on, and others to judge it by: a fifth at the most.
fn apart(training: &ImageSet, config: &QuantizationConfig) -> anyhow::Result<(Dataset, Dataset)> {
    let drawn = training.take(config.calibration_images.saturating_add(JUDGED), config.seed)?;
    let fraction = (JUDGED as f64 / drawn.len().max(1) as f64).min(0.2);
    let (images, judged) = drawn.split_off(Holdout::Drawn { fraction, seed: config.seed.wrapping_add(1) });
    let judged = if judged.is_empty() { images.clone() } else { judged };
    Ok((images.take(config.calibration_images, config.seed), judged))
}

/// Share of the divergence that a distillation must take off to be kept.
const GAIN: f64 = 0.02;

/// Trains the int8 network towards its float self, with a bar.
fn distilled(
    prepared: &Prepared<'_>,
    recipe: Recipe,
    settings: &Distillation,
) -> anyhow::Result<(QuantizedNetwork, Adjustments)> {
    let bar = bar("distilling", 0);
    let mut epoch = |step: DistillStep| {
        bar.set_length(step.of as u64);
        bar.set_position(step.steps as u64);
        bar.set_message(format!("distilling: divergence {:.5} nats", step.divergence));
    };
    let made = prepared.distill(recipe, settings, &mut epoch);
    bar.finish_and_clear();
    made
}

/// Says what became of a way to quantize.
fn print_trial(Trial { recipe, judgement }: &Trial, taken: bool) {
    let mark = if taken { " (taken)" } else { "" };
    let Judgement { divergence, agreement, .. } = judgement;
    eprintln!("{recipe}: divergence {divergence:.5} nats, same class {}{mark}", percent(*agreement));
}

/// Quantizes with known intervals; says what weights of four bits cost, where some are wanted.
pub fn quantize_by(
    network: &Network,
    weights: &Weights,
    calibration: &Calibration,
    training: &ImageSet,
    config: &QuantizationConfig,
) -> anyhow::Result<QuantizedNetwork> {
    let int8 = quantize(network, weights, calibration, training.labels())?;
    if config.int4.is_empty() {
        return Ok(int8);
    }
    let int4 = quantize_int4(network, weights, calibration, training.labels(), &config.int4)?;
    let judged = training.take(JUDGED, config.seed.wrapping_add(1))?;
    let judge = Judge::new(network, weights, &judged)?;
    print_int4(&int4, &config.int4, judge.images(), &[judge.judge(&int8)?, judge.judge(&int4)?]);
    Ok(int4)
}

/// The intervals of activations on training images, and what made them; says which calibrator was taken.
pub fn calibrate(
    network: &Network,
    weights: &Weights,
    training: &ImageSet,
    config: &QuantizationConfig,
) -> anyhow::Result<(Calibration, Calibrator)> {
    let spinner = spinner("calibrating");
    let images = training.take(config.calibration_images, config.seed)?;
    let observation = Observation::collect(network, weights, &images, &device("flex")?)?;
    if let Some(calibrator) = config.calibrator {
        spinner.finish_and_clear();
        return Ok((observation.calibration(calibrator), calibrator));
    }
    let judged = training.take(JUDGED, config.seed.wrapping_add(1))?;
    let (taken, trials) = choose(network, weights, &observation, &Judge::new(network, weights, &judged)?)?;
    spinner.finish_and_clear();
    for trial in &trials {
        print_trial(trial, trial.recipe.calibrator == taken);
    }
    Ok((observation.calibration(taken), taken))
}

/// Says which layers have weights of four bits, what that saves, and what it costs on images of the training set.
fn print_int4(network: &QuantizedNetwork, int4: &Int4, images: usize, [int8, with_int4]: &[Judgement; 2]) {
    let layers = network.layers.iter().filter(|layer| int4.takes(&layer.node));
    let packed: Vec<_> = layers.filter_map(|layer| Some((&layer.node.name, layer.weights.as_ref()?))).collect();
    if packed.is_empty() {
        eprintln!("int4: no dense layer has more than {} weights: all stay int8", thousands(LARGE_WEIGHTS as u64));
        return;
    }
    let bytes = |row: fn(usize) -> usize| -> usize {
        packed.iter().map(|(_, weights)| weights.shape[0] * row(weights.shape[3])).sum()
    };
    let (before, after) = (bytes(padded), bytes(packed_nibbles));
    let names: Vec<&str> = packed.iter().map(|(name, _)| name.as_str()).collect();
    eprintln!(
        "int4: {}: {} bytes of weights in place of {}, {} saved",
        names.join(", "),
        thousands(after as u64),
        thousands(before as u64),
        thousands(before.saturating_sub(after) as u64)
    );
    for (name, judgement) in [("int8", int8), ("int4", with_int4)] {
        let Judgement { divergence, agreement, accuracy, .. } = judgement;
        eprintln!(
            "  {name}: accuracy {} on {images} training images, divergence from float {divergence:.5} nats, same class {}",
            percent(*accuracy),
            percent(*agreement)
        );
    }
    eprintln!("  int4 moves the accuracy by {:+.2} points", 100.0 * (with_int4.accuracy - int8.accuracy));
}
