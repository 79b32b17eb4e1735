use super::*;
use crate::compile::{Options, Passes, Target, compile};
use crate::model::{ModelBytes, quantize_pixels, run_observed};
use crate::quantize::{Calibrator, Observation};
use crate::train::{device, evaluate};
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

#[test]
fn the_mean_error_of_the_int8_logits_gets_small() {
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
    let float = evaluate(&network, &weights, &images, &device).unwrap().logits;
    // the runtime's logits, not the formula that the corrections come from
    let error = |weights_now: &Weights| {
        let quantized = quantize_int4(&network, weights_now, &calibration, &images.labels, &Int4::default()).unwrap();
        let file = compile(&quantized, Options { target: Target::HOST, passes: Passes::NONE }).unwrap();
        let index = quantized.layers.iter().position(|layer| layer.node.name == "end").unwrap();
        let params = quantized.layers[index].output;
        let mut sums = [0.0_f64; 2];
        ModelBytes::new(&file)
            .with_session(|session| {
                for image in 0..images.len() {
                    let frame = quantize_pixels(session.model(), images.input(image))?;
                    for (class, &q) in run_observed(session, &frame)?[index].iter().enumerate() {
                        let real = params.scale * (i32::from(q) - params.zero_point) as f32;
                        sums[class] += f64::from(real - float[image * 2 + class]) / images.len() as f64;
                    }
                }
                Ok(())
            })
            .unwrap();
        sums.iter().map(|sum| sum.abs()).fold(0.0, f64::max)
    };
    let found = corrections(&network, &weights, &weights, &calibration, &Int4::default(), &images, &device).unwrap();
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "end"]);
    let (before, after) = (error(&weights), error(&corrected(&weights, &found).unwrap()));
    assert!(after < 0.25 * before, "{before} {after}");
    // a second time: the same numbers
    let again = corrections(&network, &weights, &weights, &calibration, &Int4::default(), &images, &device).unwrap();
    assert_eq!(found, again);
}
