use super::*;
use crate::check::tract::TractModel;
use crate::data::{Dataset, ImageSource};
use crate::interchange::onnx::{self, INPUT};
use crate::quantize::{Adjustments, Calibrator, Int4, Prepared, Recipe, quantize};
use crate::train::device;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A convolution, a depthwise one behind zeros around it, a pool, a pointwise one, and two dense layers.
const NET: &str = r#"
name = "t"
[input]
height = 8
width = 8
color = "rgb"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[[layer]]
type = "conv2d"
name = "first"
filters = 8
kernel = 3
bias = false
[[layer]]
type = "batch_norm"
name = "norm"
[[layer]]
type = "ACTIVATION"
name = "active"
[[layer]]
type = "zero_padding2d"
name = "pad"
padding = 1
[[layer]]
type = "depthwise_conv2d"
name = "depthwise"
kernel = 3
activation = "ACTIVATION"
[[layer]]
type = "max_pool2d"
name = "pool"
kernel = 2
[[layer]]
type = "conv2d"
name = "point"
filters = 6
kernel = 1
activation = "relu"
[[layer]]
type = "flatten"
name = "flat"
[[layer]]
type = "dense"
name = "hidden"
units = 5
activation = "relu"
[[layer]]
type = "dense"
name = "end"
units = 3
activation = "softmax"
"#;

const SEED: u64 = 7;

pub(in crate::quantize) fn network(activation: &str) -> Network {
    Network::from_toml(&NET.replace("ACTIVATION", activation), "net.toml").unwrap()
}

/// Weights whose channels are of very unlike sizes: each output channel is up to a hundred times the next one's, and what reads it makes
/// up for that, as trained depthwise networks have it.
pub(in crate::quantize) fn unlike_weights(network: &Network, rng: &mut ChaCha8Rng) -> Weights {
    let mut weights = Weights::initial(network, rng).unwrap();
    let channels: Vec<f32> = (0..8).map(|c| 10.0_f32.powf(c as f32 / 3.5 - 1.5)).collect();
    let mut first = weights.layer("first").unwrap().clone();
    for (at, weight) in first.kernel.iter_mut().enumerate() {
        *weight *= channels[at / 27];
    }
    weights.insert("first", first);
    let mut norm = weights.norm("norm").unwrap().clone();
    norm.beta = (0..8).map(|c| channels[c] * rng.random_range(0.0..0.4)).collect();
    weights.insert_norm("norm", norm);
    let mut depthwise = weights.layer("depthwise").unwrap().clone();
    for (at, weight) in depthwise.kernel.iter_mut().enumerate() {
        *weight = (weight.abs() + 0.05) * (1.0 + 0.5 * channels[7 - at % 8]) / channels[at % 8];
    }
    weights.insert("depthwise", depthwise);
    let mut point = weights.layer("point").unwrap().clone();
    for (at, weight) in point.kernel.iter_mut().enumerate() {
        *weight /= 1.0 + 0.5 * channels[7 - at % 8];
    }
    weights.insert("point", point);
    weights
}

pub(in crate::quantize) fn images(network: &Network, count: usize, rng: &mut ChaCha8Rng) -> Dataset {
    let size = network.input.shape.elements().unwrap() as usize;
    Dataset {
        labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
        shape: network.input.shape,
        pixels: (0..count * size).map(|_| rng.random()).collect(),
        targets: vec![0; count],
        names: (0..count).map(|i| i.to_string()).collect(),
        skipped: Vec::new(),
    }
}

/// The logits in tract, image after image.
pub(in crate::quantize) fn in_tract(network: &Network, weights: &Weights, images: &Dataset) -> Vec<f32> {
    let model = onnx::export(network, weights, &images.labels).unwrap();
    let tract = TractModel::new(&model, INPUT, "end").unwrap();
    let normalized = |i: usize| -> Vec<f32> {
        images.input(i).iter().enumerate().map(|(at, &v)| network.input.normalize(at % 3, v)).collect()
    };
    (0..images.len()).flat_map(|i| tract.run_f32(&normalized(i)).unwrap()).collect()
}

/// The plainest way to quantize what is prepared.
const PLAIN: Recipe =
    Recipe { calibrator: Calibrator::MinMax, equalize: Equalize::Off, bias_correction: false, fitted: false };

/// The largest ratio of two output channels' peaks.
fn disparity(peaks: &[f32]) -> f32 {
    let live = || peaks.iter().copied().filter(|&peak| peak > 0.0);
    live().fold(0.0, f32::max) / live().fold(f32::INFINITY, f32::min)
}

#[test]
fn equalization_leaves_the_float_function_as_it_was() {
    for activation in ["relu", "relu6"] {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let network = network(activation);
        let weights = unlike_weights(&network, &mut rng);
        let images = images(&network, 12, &mut rng);
        let device = device("flex").unwrap();
        let before = in_tract(&network, &weights, &images);
        let seen = span(&network, &weights, &images, &device).unwrap().peaks;
        for by in [Equalize::Weights, Equalize::Activations] {
            let factors = factors(&network, &weights, &seen, &Shifts::new(), by).unwrap();
            let names: Vec<&str> = factors.keys().map(String::as_str).collect();
            assert_eq!(names, ["depthwise", "first", "hidden", "point"], "{activation}, {by}");
            let adjustments = Adjustments { factors, ..Adjustments::default() };
            let (plain, equalized) = adjustments.equalized(&network, &weights).unwrap();
            assert_eq!(plain.nodes().unwrap(), network.nodes().unwrap());
            let after = in_tract(&plain, &equalized, &images);
            let largest = before.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
            for (a, b) in before.iter().zip(&after) {
                assert!((a - b).abs() <= 2e-5 * largest, "{activation}, {by}: {a} {b}");
            }
        }
    }
}

#[test]
fn a_channel_that_reaches_the_cap_keeps_its_range() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let network = network("relu6");
    let mut weights = unlike_weights(&network, &mut rng);
    let mut norm = weights.norm("norm").unwrap().clone();
    norm.gamma.iter_mut().chain(&mut norm.beta).for_each(|value| *value *= 3.0);
    weights.insert_norm("norm", norm);
    let images = images(&network, 12, &mut rng);
    let seen = span(&network, &weights, &images, &device("flex").unwrap()).unwrap().peaks;
    let peak = &seen["first"];
    let capped = (0..8).filter(|&c| peak[c] == 6.0).count();
    assert!((1..8).contains(&capped), "{peak:?}");
    for by in [Equalize::Weights, Equalize::Activations] {
        let factors = &factors(&network, &weights, &seen, &Shifts::new(), by).unwrap()["first"];
        for (factor, peak) in factors.iter().zip(peak) {
            if *peak == 6.0 {
                assert_eq!(*factor, 1.0, "{by}");
            }
            assert!(peak / factor <= 6.0, "{by}: {peak} / {factor}");
        }
    }
}

/// The network with channels of the depthwise layer, the first four, that stay high: with relu6 one of them reaches the cap, by more than a factor can make up for.
fn with_high_channels(activation: &str, rng: &mut ChaCha8Rng) -> (Network, Weights, Dataset) {
    let network = network(activation);
    let mut weights = unlike_weights(&network, rng);
    let images = images(&network, 12, rng);
    let mut depthwise = weights.layer("depthwise").unwrap().clone();
    for (at, weight) in depthwise.kernel.iter_mut().enumerate().filter(|(at, _)| at % 8 < 4) {
        *weight *= [0.2, 0.1, 0.4, 0.05][at % 8];
    }
    depthwise.bias[..4].copy_from_slice(&[3.0, 2.5, 4.0, 5.9]);
    weights.insert("depthwise", depthwise);
    let mut point = weights.layer("point").unwrap().clone();
    point.kernel.iter_mut().enumerate().filter(|(at, _)| at % 8 < 4).for_each(|(_, weight)| *weight *= 20.0);
    weights.insert("point", point);
    (network, weights, images)
}

#[test]
fn channels_that_stay_high_are_shifted_and_the_float_function_stays() {
    for activation in ["relu", "relu6"] {
        let (network, weights, images) = with_high_channels(activation, &mut ChaCha8Rng::seed_from_u64(SEED));
        let device = device("flex").unwrap();
        let span = span(&network, &weights, &images, &device).unwrap();
        let shifts = shifts(&network, &span).unwrap();
        // what a layer with cells beyond the border reads is left alone, what a pool passes on is not
        assert!(!shifts.contains_key("first"), "{shifts:?}");
        assert!(shifts["depthwise"][..4].iter().all(|&shift| shift > 1.0), "{shifts:?}");
        let at_cap = span.peaks["depthwise"].iter().filter(|&&peak| peak == 6.0).count();
        assert_eq!(at_cap > 0, activation == "relu6", "{span:?}");
        let factors = factors(&network, &weights, &span.peaks, &shifts, Equalize::Activations).unwrap();
        let adjustments = Adjustments { shifts, factors, ..Adjustments::default() };
        let before = in_tract(&network, &weights, &images);
        let (plain, equalized) = adjustments.equalized(&network, &weights).unwrap();
        let after = in_tract(&plain, &equalized, &images);
        let largest = before.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
        for (a, b) in before.iter().zip(&after) {
            assert!((a - b).abs() <= 2e-5 * largest, "{activation}: {a} {b}");
        }
        // each channel has the whole range, and what a layer's output stands for is told
        let seen = super::span(&plain, &equalized, &images, &device).unwrap();
        assert!(seen.lows["depthwise"][..3].iter().all(|&low| low.abs() < 1e-4), "{seen:?}");
        let (of, channels) = &adjustments.channels(&network).unwrap()["pool"];
        assert_eq!((*of, channels.len()), (8, 8));
        for (c, channel) in channels.iter().enumerate() {
            let peak = seen.peaks["depthwise"][c] * channel.factor + channel.shift;
            assert!(channel.of == c && (peak - span.peaks["depthwise"][c]).abs() < 1e-4, "{c}: {peak} {span:?}");
        }
    }
}

#[test]
fn shifted_channels_lose_less() {
    let (network, weights, images) = with_high_channels("relu6", &mut ChaCha8Rng::seed_from_u64(SEED));
    let device = device("flex").unwrap();
    let judge = crate::check::Judge::new(&network, &weights, &images).unwrap();
    let seen = span(&network, &weights, &images, &device).unwrap();
    let snr = |shifts: &Shifts| {
        let factors = factors(&network, &weights, &seen.peaks, shifts, Equalize::Activations).unwrap();
        let adjustments = Adjustments { shifts: shifts.clone(), factors, ..Adjustments::default() };
        let (network, weights) = adjustments.equalized(&network, &weights).unwrap();
        let calibration = super::super::Calibration::observe(&network, &weights, &images, &device).unwrap();
        judge.judge(&quantize(&network, &weights, &calibration, &images.labels).unwrap()).unwrap().snr_db.unwrap()
    };
    let (without, with) = (snr(&Shifts::new()), snr(&shifts(&network, &seen).unwrap()));
    assert!(with > without + 2.0, "{without} {with}");
}

#[test]
fn shifts_of_other_networks_are_refused() {
    let (network, weights, _) = with_high_channels("relu6", &mut ChaCha8Rng::seed_from_u64(SEED));
    let refused = |name: &str, shifts: &[f32]| {
        let shifts = Shifts::from([(name.to_owned(), shifts.to_vec())]);
        equalized(&network, &weights, &shifts, &Factors::new()).unwrap_err().to_string()
    };
    assert!(refused("other", &[0.0]).contains("'other'"));
    assert!(refused("first", &[0.0; 8]).contains("'first' cannot be shifted"));
    assert!(refused("depthwise", &[0.0; 7]).contains("one a channel, 0 or above"));
    assert!(refused("depthwise", &[-1.0; 8]).contains("one a channel, 0 or above"));
}

#[test]
fn ranges_come_nearer_to_each_other() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let network = network("relu");
    let weights = unlike_weights(&network, &mut rng);
    let images = images(&network, 12, &mut rng);
    let device = device("flex").unwrap();
    let seen = span(&network, &weights, &images, &device).unwrap().peaks;
    let nodes = network.nodes().unwrap();
    let first = nodes.iter().find(|node| node.name == "first").unwrap();
    let plainly = disparity(&output_ranges(first, weights.folded(&network).unwrap().layer("first").unwrap()));
    let by_weights = factors(&network, &weights, &seen, &Shifts::new(), Equalize::Weights).unwrap();
    let equal = equalized(&network, &weights, &Shifts::new(), &by_weights).unwrap();
    let balanced = disparity(&output_ranges(first, equal.layer("first").unwrap()));
    assert!(plainly > 50.0 && balanced < 0.5 * plainly, "{plainly} {balanced}");
    // what a depthwise convolution reads is made wholly alike, but for channels that would need a factor beyond the largest
    let by_values = factors(&network, &weights, &seen, &Shifts::new(), Equalize::Activations).unwrap();
    let peak: Vec<f32> = seen["first"].iter().zip(&by_values["first"]).map(|(peak, factor)| peak / factor).collect();
    assert!(disparity(&peak) < 0.05 * disparity(&seen["first"]), "{:?} {peak:?}", seen["first"]);
}

#[test]
fn without_factors_the_same_bytes_are_made() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let network = network("relu6");
    let weights = unlike_weights(&network, &mut rng);
    let images = images(&network, 12, &mut rng);
    let device = device("flex").unwrap();
    let calibration = super::super::Observation::collect(&network, &weights, &images, &device).unwrap();
    let calibration = calibration.calibration(Calibrator::MinMax);
    let expected = quantize(&network, &weights, &calibration, &images.labels).unwrap();
    let prepared = Prepared::new(&network, &weights, Equalize::Off, 0.0, &images, &device).unwrap();
    let (made, adjustments) = prepared.quantize(PLAIN, &Int4::default()).unwrap();
    assert!(adjustments.is_empty());
    assert_eq!(made, expected);
}

#[test]
fn channels_of_unlike_ranges_lose_far_less() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let network = network("relu");
    let weights = unlike_weights(&network, &mut rng);
    let images = images(&network, 24, &mut rng);
    let device = device("flex").unwrap();
    let judge = crate::check::Judge::new(&network, &weights, &images).unwrap();
    let snr = |by: Equalize| {
        let prepared = Prepared::new(&network, &weights, by, 0.0, &images, &device).unwrap();
        let (quantized, _) = prepared.quantize(PLAIN, &Int4::default()).unwrap();
        judge.judge(&quantized).unwrap().snr_db.unwrap()
    };
    let (off, by_weights, by_values) = (snr(Equalize::Off), snr(Equalize::Weights), snr(Equalize::Activations));
    assert!(by_weights > off + 6.0, "{off} {by_weights}");
    assert!(by_values > off + 6.0, "{off} {by_values}");
    assert_eq!(images.targets().len(), 24);
}

#[test]
fn a_residual_is_left_alone() {
    let text = NET.replace("ACTIVATION", "relu").replace(
        "[[layer]]\ntype = \"flatten\"",
        "[[layer]]\ntype = \"conv2d\"\nname = \"branch\"\nfilters = 6\nkernel = 1\n\
         [[layer]]\ntype = \"add\"\nname = \"sum\"\ninputs = [\"point\", \"branch\"]\n[[layer]]\ntype = \"flatten\"",
    );
    let network = Network::from_toml(&text, "net.toml").unwrap();
    let nodes = network.nodes().unwrap();
    let named: Vec<(&str, &str)> =
        pairs(&nodes).iter().map(|p| (nodes[p.first].name.as_str(), nodes[p.second].name.as_str())).collect();
    assert_eq!(named, [("first", "depthwise"), ("depthwise", "point"), ("hidden", "end")]);
}
