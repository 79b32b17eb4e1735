//! What distillation is worth, judged by the runtime on images that it was not trained on.

use super::super::tests::crowded;
use super::*;
use crate::check::Judge;
use crate::quantize::{plain, quantize};
use burn::tensor::Device;

const SETTINGS: Distillation = Distillation { epochs: 40, rate: 0.1, seed: 1 };

#[test]
fn the_int8_network_comes_nearer_to_its_float_self_whatever_the_classes() {
    for seed in 1..=3 {
        let (network, weights, training, validation) = crowded(seed);
        let (network, weights) = (plain(&network).unwrap(), weights.folded(&network).unwrap());
        // what the pictures show is not told
        let training = Dataset { targets: vec![0; training.len()], ..training };
        let calibration = Calibration::observe(&network, &weights, &training, &Device::flex()).unwrap();
        let judge = Judge::new(&network, &weights, &validation).unwrap();
        let divergence = |weights: &Weights, calibration: &Calibration| {
            let quantized = quantize(&network, weights, calibration, &validation.labels).unwrap();
            judge.judge(&quantized).unwrap().divergence
        };
        let before = divergence(&weights, &calibration);
        let mut steps = Vec::new();
        let mut run = || {
            let mut done = |step: DistillStep| steps.push(step);
            distill(&network, &weights, &weights, &calibration, &training, &SETTINGS, &mut done).unwrap()
        };
        let (tuned, moved) = run();
        let after = divergence(&tuned, &moved);
        println!("seed {seed}: {before:.4} nats before, {after:.4} after");
        assert!(before > 0.1, "there is something to win back: {before}");
        assert!(after < before / 3.0, "seed {seed}: {after} of {before}");
        assert_eq!(run(), (tuned, moved), "the same seed, the same weights");
        let of = SETTINGS.epochs * training.len().div_ceil(BATCH);
        assert_eq!((steps.len(), steps[of - 1].steps, steps[of - 1].of), (2 * of, of, of));
        assert!(steps[of - 1].divergence < steps[0].divergence);
    }
}

#[test]
fn the_rate_rises_and_falls() {
    let rates: Vec<f64> = (0..200).map(|step| rate(2.0, step, 200)).collect();
    assert!(rates[0] <= 0.1 && rates[199] < 0.001);
    let top = rates.iter().copied().fold(0.0, f64::max);
    assert!(top > 1.9 && top <= 2.0, "{top}");
}

#[test]
fn a_weight_moves_by_its_own_filters_step_and_a_bias_by_the_outputs() {
    let (network, weights, training, _) = crowded(1);
    let (network, weights) = (plain(&network).unwrap(), weights.folded(&network).unwrap());
    let calibration = Calibration::observe(&network, &weights, &training, &Device::flex()).unwrap();
    let quantized = quantize(&network, &weights, &calibration, &training.labels).unwrap();
    let mut after = weights.clone();
    for (name, layer) in weights.iter() {
        let mut layer = layer.clone();
        layer.kernel.iter_mut().chain(&mut layer.bias).for_each(|weight| *weight += 1.0);
        after.insert(name, layer);
    }
    let moved = moved(&weights, &after, &quantized, 0.25);
    let layer = quantized.layers.iter().find(|layer| layer.node.name == "end").unwrap();
    let (int8, before, after) = (layer.weights.as_ref().unwrap(), weights.layer("end"), moved.layer("end"));
    let (before, after) = (before.unwrap(), after.unwrap());
    let near = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
    let inputs = before.kernel.len() / before.bias.len();
    for (at, (before, after)) in before.kernel.iter().zip(&after.kernel).enumerate() {
        near(after - before, 0.25 * int8.scale(at / inputs));
    }
    near(after.bias[1] - before.bias[1], 0.25 * layer.output.scale);
}
