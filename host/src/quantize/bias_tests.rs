use super::*;
use crate::quantize::{Calibrator, Observation};
use crate::train::device;
use ocelli::ir::Padding;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const NET: &str = r#"
name = "t"
[input]
height = 6
width = 6
color = "gray"
[[layer]]
type = "conv2d"
name = "a"
filters = 4
kernel = 3
stride = 2
padding = "same"
activation = "relu"
[[layer]]
type = "depthwise_conv2d"
name = "b"
kernel = 3
padding = "same"
activation = "relu"
[[layer]]
type = "flatten"
name = "flat"
[[layer]]
type = "dense"
name = "end"
units = 2
activation = "softmax"
"#;

#[test]
fn a_window_counts_what_it_passes_over() {
    // 1 2 3 / 4 5 6 / 7 8 9 with zeros around it: the window's corner sees 1, 2, 4 and 5, its centre all, its last cell 5, 6, 8 and 9
    let window = Window::new([3, 3], [1, 1], Padding::Same);
    let image: Vec<f32> = (1..=9).map(|v| v as f32).collect();
    let mut means = vec![0.0; 9];
    add_windows(Some(&window), Shape::new(3, 3, 1), &image, 1.0, &mut means);
    assert_eq!(means, [12.0, 21.0, 16.0, 27.0, 45.0, 33.0, 24.0, 39.0, 28.0]);
    // two channels, every second column: columns 0 and 2
    let window = Window::new([1, 1], [1, 2], Padding::Valid);
    let mut means = vec![0.0; 2];
    add_windows(Some(&window), Shape::new(1, 3, 2), &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0], 0.5, &mut means);
    assert_eq!(means, [2.0, 20.0]);
}

/// Mean of each logit in float, and by the int8 network.
fn mean_logits(float: &Means, own: &Means, quantized: &QuantizedNetwork, weights: &Weights) -> Vec<f64> {
    let index = quantized.layers.iter().position(|layer| layer.node.name == "end").unwrap();
    let layer = &quantized.layers[index];
    let input = quantized.params_of(layer.node.inputs[0]);
    mean_error(layer, input, weights.layer("end").unwrap(), &float["end"], &own["end"]).unwrap()
}

#[test]
fn the_mean_error_of_the_logits_gets_small() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let network = Network::from_toml(NET, "net.toml").unwrap();
    let mut weights = Weights::initial(&network, &mut rng).unwrap();
    // weights that all lie 0.4 of a step off their int8 value, on the same side: one of 127 steps sets the scale
    for name in ["a", "b", "end"] {
        let mut layer = weights.layer(name).unwrap().clone();
        let (axis, shape) = (if name == "b" { 3 } else { 0 }, layer.shape);
        let mut largest_set = vec![false; layer.bias.len()];
        for (at, weight) in layer.kernel.iter_mut().enumerate() {
            let first = !std::mem::replace(&mut largest_set[channel_of(shape, axis, at)], true);
            *weight = if first { 127.0 } else { f32::from(rng.random_range(-30_i16..50)) + 0.4 } / 400.0;
        }
        weights.insert(name, layer);
    }
    let images = Dataset {
        labels: ["x", "y"].map(str::to_owned).to_vec(),
        shape: network.input.shape,
        pixels: (0..40 * 36).map(|_| rng.random()).collect(),
        targets: vec![0; 40],
        names: vec![String::new(); 40],
        skipped: Vec::new(),
    };
    let device = device("flex").unwrap();
    let calibration = Observation::collect(&network, &weights, &images, &device).unwrap();
    let calibration = calibration.calibration(Calibrator::MinMax);
    let nodes = network.nodes().unwrap();
    let float = float_means(&network, &nodes, &weights, &images, &device).unwrap();
    let error = |weights_now: &Weights| {
        let quantized = quantize_int4(&network, weights_now, &calibration, &images.labels, &Int4::default()).unwrap();
        let own = int8_means(&quantized, &images).unwrap();
        let errors = mean_logits(&float, &own, &quantized, &weights);
        errors.iter().map(|error| error.abs()).fold(0.0, f64::max)
    };
    let found = corrections(&network, &weights, &calibration, &Int4::default(), &images, &device).unwrap();
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "end"]);
    let (before, after) = (error(&weights), error(&corrected(&weights, &found).unwrap()));
    assert!(after < 0.1 * before, "{before} {after}");
    // a second time: the same numbers
    let again = corrections(&network, &weights, &calibration, &Int4::default(), &images, &device).unwrap();
    assert_eq!(found, again);
}
