use super::*;
use crate::compile::Target;
use crate::explain::page::tests::{Small, run, small};

/// A convolution, its mean over the picture, a dense layer: here Grad-CAM is the class activation map, the dense weights over the maps.
const GAP: &str = r#"
name = "gap"
[input]
height = 9
width = 11
color = "rgb"
[[layer]]
type = "conv2d"
name = "maps"
filters = 5
kernel = 3
activation = "relu"
[[layer]]
type = "global_average_pool2d"
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
name = "end"
units = 3
[[layer]]
type = "softmax"
"#;

fn cams(small: &Small, layers: &[&str], classes: &[usize]) -> Vec<GradCam> {
    let layers: Vec<String> = layers.iter().map(|&name| name.to_owned()).collect();
    grad_cam(&small.side, &small.observed, &small.pixels, &layers, classes).unwrap()
}

#[test]
fn before_a_mean_and_a_dense_layer_it_is_the_class_activation_map() {
    // Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016; Selvaraju et al., appendix A: equal up to 1 / cells
    let small = run(GAP, Target::HOST);
    let [cam] = &cams(&small, &["maps"], &[0, 1, 2])[..] else { panic!("one layer was asked about") };
    assert_eq!(cam.size, [7, 9]);
    let dense = small.observed.weights.layer("end").unwrap();
    let maps = &small.observed.tensors["maps"];
    for class in 0..3 {
        let weights = &dense.kernel[5 * class..][..5];
        for (ours, theirs) in cam.weights[class].iter().zip(weights) {
            assert!((ours - theirs / 63.0).abs() < 1e-6, "class {class}: {ours}, {theirs}");
        }
        for (cell, ours) in maps.chunks_exact(5).zip(&cam.maps[class]) {
            let activation: f32 = cell.iter().zip(weights).map(|(a, w)| a * w).sum();
            assert!((ours - activation.max(0.0) / 63.0).abs() < 1e-5, "{ours} {activation}");
        }
    }
    assert!(cam.maps.iter().flatten().any(|&v| v > 0.0));
}

/// The logit of a class with `shift` added to one channel of a layer's maps.
fn shifted(small: &Small, layer: &str, channel: usize, class: usize, shift: f32) -> f64 {
    let nodes = candidates(&small.side.network).unwrap();
    let node: Vec<&Node> = nodes.iter().filter(|node| node.name == layer).collect();
    let (network, mut weights, _) = probed(&small.side.network, &small.observed, &node);
    let name = format!("{layer}{PROBE}");
    let mut probe = weights.layer(&name).unwrap().clone();
    probe.bias[channel] = shift;
    weights.insert(&name, probe);
    let device = device("flex").unwrap();
    let module = Classifier::new(&network, &weights, &device).unwrap();
    let logits: Vec<f32> =
        logits(&module, &small.side.network, &small.pixels, &device).into_data().iter::<f32>().collect();
    f64::from(logits[class])
}

#[test]
fn the_weights_are_the_slopes_of_the_logit_at_branches_too() {
    let small = small();
    // `residual` is read by three pools, `stem` by a convolution and a sum
    for (layer, class) in [("residual", 3), ("stem", 0), ("twin", 7)] {
        let [cam] = &cams(&small, &[layer], &[class])[..] else { panic!("one layer was asked about") };
        let cells = (cam.size[0] * cam.size[1]) as f64;
        for (channel, &weight) in cam.weights[0].iter().enumerate() {
            // a step small enough not to cross many corners of relu and pools, large enough for float32
            let step = 2e-4_f32;
            let slope = (shifted(&small, layer, channel, class, step) - shifted(&small, layer, channel, class, -step))
                / (2.0 * f64::from(step));
            let gradient = f64::from(weight) * cells;
            assert!((gradient - slope).abs() < 0.02 * slope.abs().max(0.2), "{layer} {channel}: {gradient}, {slope}");
        }
    }
}

#[test]
fn the_identities_change_no_logit() {
    let small = small();
    let nodes = candidates(&small.side.network).unwrap();
    let all: Vec<&Node> = nodes.iter().collect();
    let (network, weights, _) = probed(&small.side.network, &small.observed, &all);
    let device = device("flex").unwrap();
    let of = |network: &Network, weights: &Weights| -> Vec<f32> {
        let module = Classifier::new(network, weights, &device).unwrap();
        logits(&module, &small.side.network, &small.pixels, &device).into_data().iter::<f32>().collect()
    };
    let plain = Classifier::folded(&small.side.network, &small.side.weights, &device).unwrap();
    let plain: Vec<f32> =
        logits(&plain, &small.side.network, &small.pixels, &device).into_data().iter::<f32>().collect();
    for (ours, theirs) in of(&network, &weights).iter().zip(&plain) {
        assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
    }
}

#[test]
fn layers_and_classes_that_there_are_not_are_named() {
    let small = run(GAP, Target::HOST);
    let error = |layer: &str, class: usize| {
        format!(
            "{:#}",
            grad_cam(&small.side, &small.observed, &small.pixels, &[layer.to_owned()], &[class]).unwrap_err()
        )
    };
    assert!(error("end", 0).contains("choose of maps"), "{}", error("end", 0));
    assert!(error("maps", 3).contains("no class 3"), "{}", error("maps", 3));
}

#[test]
fn the_last_maps_are_those_after_the_last_sum_and_before_the_pools() {
    let last = |name: &str| last_maps(&Network::open(name).unwrap()).unwrap().unwrap();
    assert_eq!(last("mnist-cnn"), "conv2d_1");
    let network = Network::open("resnet8").unwrap();
    let nodes = network.nodes().unwrap();
    let node = nodes.iter().find(|node| node.name == last("resnet8")).unwrap();
    assert!(matches!(node.op, Op::Add { activation: Activation::Relu }), "{node:?}");
}
