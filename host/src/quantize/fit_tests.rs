use super::super::equalize::{plain, tests as nets};
use super::super::{Calibration, quantize};
use super::*;
use crate::train::device;
use ocelli::ir::{Activation, Padding, Window};

/// `e^T C e`.
fn energy(weights: &[f64], rounded: &[f64], covariance: &[f64]) -> f64 {
    let errors: Vec<f64> = rounded.iter().zip(weights).map(|(q, w)| q - w).collect();
    let row = |(row, error): (&[f64], &f64)| error * row.iter().zip(&errors).map(|(c, e)| c * e).sum::<f64>();
    covariance.chunks_exact(weights.len()).zip(&errors).map(row).sum()
}

#[test]
fn roundings_are_neighbours_and_none_of_them_alone_is_better_the_other_way() {
    const N: usize = 9;
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let (mut least, mut found, mut nearest) = (0.0, 0.0, 0.0);
    for _ in 0..50 {
        let weights: Vec<f64> = (0..N).map(|_| rng.random_range(-127.0..127.0)).collect();
        // inputs that are much alike, as neighbouring pixels are
        let covariance: Vec<f64> = (0..N * N).map(|at| if at / N == at % N { 1.05 } else { 1.0 }).collect();
        let rounded = descend(&weights, &covariance);
        assert!(rounded.iter().zip(&weights).all(|(q, w)| q.fract() == 0.0 && (q - w).abs() < 1.0));
        let now = energy(&weights, &rounded, &covariance);
        for at in 0..N {
            let mut other = rounded.clone();
            other[at] = if rounded[at] > weights[at] { weights[at].floor() } else { weights[at].ceil() };
            assert!(energy(&weights, &other, &covariance) >= now - 1e-9);
        }
        let of_bits = |bits: usize| -> Vec<f64> {
            (0..N).map(|at| if bits >> at & 1 == 1 { weights[at].ceil() } else { weights[at].floor() }).collect()
        };
        least += (0..1 << N).map(|bits| energy(&weights, &of_bits(bits), &covariance)).fold(f64::INFINITY, f64::min);
        found += now;
        nearest += energy(&weights, &weights.iter().map(|w| w.round()).collect::<Vec<_>>(), &covariance);
    }
    assert!(least <= found && found < 0.4 * nearest, "{least} {found} {nearest}");
}

#[test]
fn places_are_what_the_kernel_lies_on() {
    // 3x3 pixels of two channels, 1 to 9 and ten times as much; zeros around
    let image: Vec<f32> = (1..=9).flat_map(|v| [v as f32, 10.0 * v as f32]).collect();
    let window = Window::new([3, 3], [2, 2], Padding::Explicit([0, 0, 1, 1]));
    let node = |op: Op| {
        let input = Shape::new(3, 3, 2);
        Node {
            name: "a".to_owned(),
            op,
            inputs: vec![0],
            input_shapes: vec![input],
            output: op.infer_shape(&[input]).unwrap(),
        }
    };
    let conv = node(Op::Conv2d { c_out: 1, window, groups: 1, activation: Activation::None });
    let depthwise = node(Op::DepthwiseConv2d { multiplier: 1, window, activation: Activation::None });
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let seen = places(&conv, &image, &mut rng);
    assert!(seen.len().is_multiple_of(18) && !seen.is_empty());
    for place in seen.chunks_exact(18) {
        assert_eq!(
            (place[0] * 10.0, place[8], place[9]),
            (place[1], place[0] + if place[8] > 0.0 { 4.0 } else { -place[0] }, 10.0 * place[8])
        );
    }
    for place in places(&depthwise, &image, &mut rng).chunks_exact(18) {
        assert!(place[..9].iter().zip(&place[9..]).all(|(a, b)| a * 10.0 == *b) && place[0] > 0.0, "{place:?}");
    }
}

#[test]
fn fitted_weights_move_the_scores_less_and_biases_match_the_means() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let network = nets::network("relu6");
    let weights = nets::unlike_weights(&network, &mut rng).folded(&network).unwrap();
    let network = plain(&network).unwrap();
    let mut images = nets::images(&network, 96, &mut rng);
    // plain but for a little: neighbouring pixels are alike, as photos have them
    for image in images.pixels.chunks_exact_mut(8 * 8 * 3) {
        let color: [u8; 3] = rng.random();
        image.iter_mut().enumerate().for_each(|(at, v)| *v = color[at % 3].saturating_add(*v / 16));
    }
    let (device, int4) = (device("flex").unwrap(), Int4::default());
    let calibration = Calibration::observe(&network, &weights, &images, &device).unwrap();
    let fitted = fitted(&network, &weights, &images, &device).unwrap();
    let quantized = |weights: &Weights| quantize(&network, weights, &calibration, &images.labels).unwrap();
    // every weight moves by less than a step, some by more than half of one, and scales stay
    let (plainly, fitting) = (quantized(&weights), quantized(&fitted));
    let mut otherwise = 0;
    for (a, b) in plainly.layers.iter().zip(&fitting.layers) {
        let (Some(a), Some(b)) = (&a.weights, &b.weights) else { continue };
        assert!(a.scales.iter().zip(&b.scales).all(|(a, b)| (a - b).abs() < 1e-6 * a));
        assert!(a.kernel.iter().zip(&b.kernel).all(|(a, b)| a.abs_diff(*b) <= 1));
        otherwise += a.kernel.iter().zip(&b.kernel).filter(|(a, b)| a != b).count();
    }
    assert!(otherwise > 20, "{otherwise}");
    // what the roundings move the logits by in tract, means aside
    let before = nets::in_tract(&network, &weights, &images);
    let moved = |quantized: &QuantizedNetwork| {
        let mut rounded = weights.clone();
        for layer in &quantized.layers {
            let (name, Some(int8)) = (&layer.node.name, &layer.weights) else { continue };
            let (mut of_layer, axis) = (weights.layer(name).unwrap().clone(), layer.node.op.channel_axis());
            for (at, &q) in int8.kernel.iter().enumerate() {
                of_layer.kernel[at] = f32::from(q) * int8.scale(of_layer.channel_of(axis, at));
            }
            rounded.insert(name, of_layer);
        }
        let after = nets::in_tract(&network, &rounded, &images);
        let errors: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        let of_class = |class: usize| errors.iter().skip(class).step_by(3);
        let variance = |class: usize| {
            let mean = of_class(class).sum::<f32>() / images.len() as f32;
            of_class(class).map(|error| (error - mean).powi(2)).sum::<f32>()
        };
        (0..3).map(variance).sum::<f32>()
    };
    let (nearest, better) = (moved(&plainly), moved(&fitting));
    assert!(better < 0.6 * nearest, "{nearest} {better}");
    let of_int8 = matched(&network, &weights, &fitted, &calibration, &int4, &images, &device).unwrap();
    // the means of the int8 network are the float one's, but for rounding; they were not before, behind a flatten neither
    let images = images.head(MEAN_IMAGES);
    let means = float_means(&network, &network.nodes().unwrap(), &weights, &images, &device).unwrap();
    let largest_error = |quantized: &QuantizedNetwork, name: &str| {
        let at = quantized.layers.iter().position(|layer| layer.node.name == name).unwrap();
        let (layer, int8) = (&quantized.layers[at], int8_means(quantized, at, &images).unwrap().unwrap());
        let input = quantized.params_of(layer.node.inputs[0]);
        let errors = mean_error(layer, input, weights.layer(name).unwrap(), (&means[name], &int8)).unwrap();
        errors.iter().fold(0.0_f64, |largest, error| largest.max(error.abs()))
    };
    let matching = quantized(&corrected(&fitted, &of_int8).unwrap());
    for name in ["depthwise", "point", "hidden", "end"] {
        let (before, after) = (largest_error(&fitting, name), largest_error(&matching, name));
        assert!(after < 0.2 * before, "{name}: {before} {after}");
    }
}
