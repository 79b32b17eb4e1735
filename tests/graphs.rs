//! Networks with branches and every operator: Burn against tract in float, and what folding, quantizing and exchange must keep.

use crate::support::{digits, quantized_network, shipped_model, write_run};
use ocelli::ir::{Activation, Op, Unary};
use ocelli_host::check::tract::TractModel;
use ocelli_host::check::{self, Status};
use ocelli_host::data::{Dataset, Split};
use ocelli_host::interchange::onnx::{self, INPUT};
use ocelli_host::interchange::qdq::{self, int8_name};
use ocelli_host::network::{Network, NormWeights, Weights, layer_name, op_name};
use ocelli_host::quantize::{Calibration, QuantizedNetwork, quantize};
use ocelli_host::run::Bundle;
use ocelli_host::train::{BatchReport, Classifier, TrainingConfig, device, input_tensor, train};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeSet;

/// Every layer type there is, with branches; a dropout and batch norms that fold and that stand alone.
const EVERY_LAYER: &str = include_str!("data/every-layer.toml");

/// The network with random weights, biases and statistics.
pub fn every_layer() -> (Network, Weights) {
    let network = Network::from_toml(EVERY_LAYER, "net.toml").unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut weights = Weights::initial(&network, &mut rng).unwrap();
    for layer in &network.layers {
        if let Some(mut numbers) = weights.layer(&layer.name).cloned() {
            numbers.bias.iter_mut().for_each(|bias| *bias = rng.random_range(-0.3..0.3));
            weights.insert(&layer.name, numbers);
        }
        if let Some(norm) = weights.norm(&layer.name) {
            let mut random = |low: f32, high: f32| norm.gamma.iter().map(|_| rng.random_range(low..high)).collect();
            let norm = NormWeights {
                gamma: random(-1.5, 1.5),
                beta: random(-0.5, 0.5),
                mean: random(-0.5, 0.5),
                variance: random(0.2, 2.0),
            };
            weights.insert_norm(&layer.name, norm);
        }
    }
    (network, weights)
}

fn quantized() -> (Network, Weights, QuantizedNetwork) {
    let (network, weights) = every_layer();
    let images = digits(&network, Split::Train, 64);
    let calibration = Calibration::observe(&network, &weights, &images, &device("flex").unwrap()).unwrap();
    let quantized = quantize(&network, &weights, &calibration, &images.labels).unwrap();
    (network, weights, quantized)
}

/// The network with every layer, quantized on digits.
pub fn quantized_every_layer() -> QuantizedNetwork {
    quantized().2
}

/// Image `i` as the float network takes it, `[h, w, c]`.
fn normalized(network: &Network, images: &Dataset, i: usize) -> Vec<f32> {
    images.input(i).iter().map(|&v| network.input.normalize(0, v)).collect()
}

/// The largest difference, relative to the largest value.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let differences = a.iter().zip(b).map(|(x, y)| (x - y).abs());
    differences.fold(0.0, |m: f32, d| if d.is_nan() { f32::INFINITY } else { m.max(d) }) / largest.max(1e-6)
}

#[test]
fn the_network_holds_every_operator() {
    let (network, _) = every_layer();
    let used: BTreeSet<&str> = network.wired().unwrap().iter().map(|l| layer_name(&l.layer.kind, l.input())).collect();
    for name in [
        "conv2d",
        "depthwise_conv2d",
        "conv1d",
        "dense",
        "max_pool2d",
        "min_pool2d",
        "average_pool2d",
        "global_average_pool2d",
        "global_max_pool2d",
        "add",
        "mul",
        "concat",
        "zero_padding2d",
        "flatten",
        "reshape",
        "batch_norm",
        "relu",
        "relu6",
        "relu_n1_to_1",
        "leaky_relu",
        "sigmoid",
        "tanh",
        "hard_swish",
        "hard_sigmoid",
        "swish",
        "clip",
        "softmax",
        "dropout",
    ] {
        assert!(used.contains(name), "{name}");
    }
    assert_eq!(Network::from_toml(&network.to_toml(), "again").unwrap(), network);
}

#[test]
fn folding_joins_what_it_can_and_no_more() {
    let (network, _) = every_layer();
    let nodes = network.nodes().unwrap();
    let op =
        |name: &str| nodes.iter().find(|node| node.name == name).map(|node| (op_name(&node.op), node.op.activation()));
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    for folded in ["stem.norm", "stem.relu", "dropout", "hidden.norm", "relu6", "relu_n1_to_1"] {
        assert!(!names.contains(&folded), "{folded}: {names:?}");
    }
    assert_eq!(op("stem"), Some(("conv2d", Activation::Relu)));
    assert_eq!(op("narrow"), Some(("conv2d", Activation::Relu6)));
    assert_eq!(op("product"), Some(("mul", Activation::ReluN1To1)));
    assert_eq!(
        op("pools.norm"),
        Some(("depthwise_conv2d", Activation::None)),
        "a concatenation has no weights to fold into"
    );
    assert_eq!(op("late"), Some(("relu", Activation::None)));
    let residual = nodes.iter().find(|node| node.name == "residual").unwrap();
    let read: Vec<&str> = residual.inputs.iter().map(|&tensor| names[tensor - 1]).collect();
    assert_eq!(read, ["stem", "grouped.leaky_relu"]);
}

#[test]
fn burn_and_tract_agree_on_every_tensor() {
    let (network, weights) = every_layer();
    let images = digits(&network, Split::Test, 4);
    let flex = device("flex").unwrap();
    let folded = Classifier::folded(&network, &weights, &flex).unwrap();
    let proto = onnx::export(&network, &weights, &images.labels).unwrap();
    for i in 0..images.len() {
        let mut compared = 0;
        let _ = folded.forward_observed(input_tensor(&network, &images, &[i], &flex), |layer| {
            let tract = TractModel::new(&proto, INPUT, &layer.name).unwrap();
            let theirs = tract.run_f32(&normalized(&network, &images, i)).unwrap();
            let largest = difference(&layer.values, &theirs);
            assert!(largest < 1e-4, "{}: {largest}", layer.name);
            compared += 1;
        });
        assert_eq!(compared, network.nodes().unwrap().len() - 1, "all but the softmax");
    }
}

#[test]
fn a_conv3d_is_exported_as_the_conv2d_that_computes_the_same() {
    // columns by turns from four slices
    let text = "name = \"volumes\"\n[input]\nheight = 28\nwidth = 28\ncolor = \"gray\"\nmean = [0.13]\nstd = [0.31]\n\
        [[layer]]\ntype = \"reshape\"\nshape = [28, 7, 4]\n\
        [[layer]]\ntype = \"conv3d\"\nname = \"a\"\ndepth = 4\nfilters = 3\nkernel = [2, 3, 3]\nstride = [1, 2, 1]\n\
        [[layer]]\ntype = \"batch_norm\"\n[[layer]]\ntype = \"relu\"\n\
        [[layer]]\ntype = \"conv3d\"\nname = \"b\"\ndepth = 3\nfilters = 2\nkernel = 3\npadding = \"same\"\nbias = false\n\
        activation = \"tanh\"\n\
        [[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 10\nactivation = \"softmax\"\n";
    let network = Network::from_toml(text, "net.toml").unwrap();
    let weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(5)).unwrap();
    let images = digits(&network, Split::Test, 3);
    let flex = device("flex").unwrap();
    let proto = onnx::export(&network, &weights, &images.labels).unwrap();
    let volumes = Classifier::new(&network, &weights, &flex).unwrap();
    for i in 0..images.len() {
        let logits = volumes.forward(input_tensor(&network, &images, &[i], &flex)).into_data();
        let tract = TractModel::new(&proto, INPUT, "dense").unwrap();
        let theirs = tract.run_f32(&normalized(&network, &images, i)).unwrap();
        assert!(difference(&logits.iter::<f32>().collect::<Vec<_>>(), &theirs) < 1e-4);
    }
    let calibration = Calibration::observe(&network, &weights, &images, &flex).unwrap();
    let error = quantize(&network, &weights, &calibration, &images.labels).unwrap_err().to_string();
    assert!(error.contains("layer 'a' is a conv3d, which runs on the host only"), "{error}");
}

#[test]
fn folded_and_unfolded_networks_compute_the_same() {
    let (network, weights) = every_layer();
    let images = digits(&network, Split::Test, 20);
    for backend in ["flex", "ndarray"] {
        let device = device(backend).unwrap();
        let batch: Vec<usize> = (0..images.len()).collect();
        let x = input_tensor(&network, &images, &batch, &device);
        let values = |module: Classifier| module.forward(x.clone()).into_data().iter::<f32>().collect::<Vec<f32>>();
        let trained = values(Classifier::new(&network, &weights, &device).unwrap());
        let folded = values(Classifier::folded(&network, &weights, &device).unwrap());
        let largest = difference(&trained, &folded);
        assert!(largest < 1e-4, "{backend}: {largest}");
    }
}

#[test]
fn the_quantized_network_follows_the_float_one() {
    let (network, weights, quantized) = quantized();
    let images = digits(&network, Split::Test, 16);
    let flex = device("flex").unwrap();
    let folded = Classifier::folded(&network, &weights, &flex).unwrap();
    let proto = qdq::export(&quantized).unwrap();
    for (index, layer) in quantized.layers.iter().enumerate().rev().skip(1) {
        let tract = TractModel::new(&proto, INPUT, &int8_name(&layer.node.name)).unwrap();
        let (mut error, mut signal) = (0.0_f64, 0.0_f64);
        for i in 0..images.len() {
            let theirs = tract.run_f32_to_i8(&normalized(&network, &images, i)).unwrap();
            let mut ours = Vec::new();
            let _ = folded.forward_observed(input_tensor(&network, &images, &[i], &flex), |output| {
                if output.name == layer.node.name {
                    ours = output.values;
                }
            });
            let params = quantized.params_of(index + 1);
            assert_eq!(ours.len(), theirs.len(), "{}", layer.node.name);
            for (real, q) in ours.iter().zip(theirs) {
                let step = f64::from(params.scale) * f64::from(i32::from(q) - params.zero_point);
                error += (f64::from(*real) - step).powi(2);
                signal += f64::from(*real).powi(2);
            }
        }
        let relative = (error / signal).sqrt();
        assert!(relative < 0.06, "{}: {relative}", layer.node.name);
    }
}

#[test]
fn every_operator_cut_out_of_the_quantized_graph_computes_what_it_does_inside() {
    let (network, _, quantized) = quantized();
    let images = digits(&network, Split::Test, 1);
    let proto = qdq::export(&quantized).unwrap();
    let name = |tensor: usize| tensor.checked_sub(1).map_or(INPUT, |layer| quantized.layers[layer].node.name.as_str());
    let picture = normalized(&network, &images, 0);
    let tensors: Vec<Vec<i8>> = (0..=quantized.layers.len())
        .map(|tensor| {
            TractModel::new(&proto, INPUT, &int8_name(name(tensor))).unwrap().run_f32_to_i8(&picture).unwrap()
        })
        .collect();
    for (index, layer) in quantized.layers.iter().enumerate() {
        let sources: BTreeSet<usize> = layer.node.inputs.iter().copied().collect();
        let names: Vec<String> = sources.iter().map(|&tensor| int8_name(name(tensor))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let values: Vec<&[i8]> = sources.iter().map(|&tensor| tensors[tensor].as_slice()).collect();
        let tract = TractModel::with_inputs(&proto, &names, &int8_name(&layer.node.name)).unwrap();
        assert_eq!(tract.run_i8s(&values).unwrap(), tensors[index + 1], "{}", layer.node.name);
    }
}

#[test]
fn the_compiled_graph_passes_its_check() {
    let (network, weights, quantized) = quantized();
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), &network, &weights, &quantized);
    let bundle = Bundle::open(folder.path()).unwrap();
    let report = check::run(&bundle, &digits(&network, Split::Test, 20), None, &mut |_| {}).unwrap();
    let failed = report.rows().into_iter().filter(|row| row.status == Status::Failed);
    let failed: Vec<String> = failed.map(|row| format!("{}: {}", row.what, row.found)).collect();
    assert_eq!(failed, Vec::<String>::new());
    let judged: BTreeSet<&str> = report
        .layers
        .iter()
        .flat_map(|layer| std::iter::once(&layer.name).chain(&layer.with))
        .map(String::as_str)
        .collect();
    let nodes: BTreeSet<&str> = quantized.layers.iter().map(|layer| layer.node.name.as_str()).collect();
    assert_eq!(judged, nodes);
}

#[test]
fn parameters_are_shared_where_values_are_only_moved() {
    let (_, _, quantized) = quantized();
    let params = |name: &str| {
        let at = quantized.layers.iter().position(|layer| layer.node.name == name).unwrap();
        (quantized.params_of(at + 1), quantized.params_of(quantized.layers[at].node.inputs[0]))
    };
    for name in ["large", "small", "mean", "zero_padding2d", "line", "all"] {
        let (output, input) = params(name);
        assert_eq!(output, input, "{name}");
    }
    for layer in &quantized.layers {
        let expected = match layer.node.op {
            Op::Unary(Unary::Sigmoid) | Op::Softmax => (1.0 / 256.0, -128),
            Op::Unary(Unary::Tanh) => (1.0 / 128.0, 0),
            _ => continue,
        };
        assert_eq!((layer.output.scale, layer.output.zero_point), expected, "{}", layer.node.name);
    }
    // "peak" is a maximum over "leaky", which others read: it keeps its own; "sigmoid" has a fixed output
    assert_ne!(params("peak").0, params("both").0);
}

#[test]
fn a_concatenation_gives_its_scale_to_inputs_that_nobody_else_reads() {
    let net = "name = \"c\"\n[input]\nheight = 28\nwidth = 28\ncolor = \"gray\"\n\
        [[layer]]\ntype = \"conv2d\"\nname = \"a\"\nfilters = 2\nkernel = 3\n\
        [[layer]]\ntype = \"max_pool2d\"\nname = \"b\"\nkernel = 2\n\
        [[layer]]\ntype = \"conv2d\"\nname = \"c\"\ninputs = [\"input\"]\nfilters = 2\nkernel = 4\nstride = 2\nactivation = \"relu\"\n\
        [[layer]]\ntype = \"concat\"\nname = \"d\"\ninputs = [\"b\", \"c\"]\n\
        [[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 10\n[[layer]]\ntype = \"softmax\"\n";
    let (_, _, quantized) = quantized_network(net);
    let output = |name: &str| quantized.layers.iter().find(|layer| layer.node.name == name).unwrap().output;
    for name in ["a", "b", "c"] {
        assert_eq!(output(name), output("d"), "{name}");
    }
}

#[test]
fn quantized_networks_and_weights_survive_their_files() {
    let (network, weights, quantized) = quantized();
    let again = qdq::import(&network, &qdq::export(&quantized).unwrap(), &quantized.labels).unwrap();
    assert_eq!(again, quantized);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    weights.write(&path).unwrap();
    assert_eq!(Weights::read(&path, &network).unwrap(), weights);
}

#[test]
fn training_moves_every_weight_and_lowers_the_loss() {
    let network = Network::from_toml(EVERY_LAYER, "net.toml").unwrap();
    let images = digits(&network, Split::Train, 512);
    let config = TrainingConfig { epochs: 10, batch_size: 32, learning_rate: 3e-3, ..TrainingConfig::default() };
    let (trained, history) = train(&network, &config, &images, &images.head(64), &mut |_: BatchReport| {}).unwrap();
    let start = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(config.seed)).unwrap();
    for layer in &network.layers {
        if let (Some(before), Some(after)) = (start.layer(&layer.name), trained.layer(&layer.name)) {
            assert_ne!(before.kernel, after.kernel, "{}", layer.name);
        }
        if let (Some(before), Some(after)) = (start.norm(&layer.name), trained.norm(&layer.name)) {
            assert!(before.gamma != after.gamma && before.beta != after.beta, "{}", layer.name);
            assert!(before.mean != after.mean && before.variance != after.variance, "{}", layer.name);
        }
    }
    let (first, last) = (history.rows[0].loss, history.rows[config.epochs - 1].loss);
    assert!(last < 0.8 * first, "loss {first} -> {last}");
}

#[test]
fn built_in_networks_have_the_published_sizes() {
    // MLPerf Tiny's reference models: parameters as Keras counts them, multiply-accumulates of the convolutions and dense layers
    for (name, parameters, macs) in [("resnet8", 78_666, 12_501_632), ("mobilenet-v1-0.25", 221_794, 7_489_664)] {
        let network = Network::open(name).unwrap();
        let nodes = network.nodes().unwrap();
        let counted: u64 = nodes.iter().map(|node| node.op.macs(node.input(), node.output)).sum();
        assert_eq!(counted, macs, "{name}");
        let weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        assert_eq!(weights.parameters(), parameters, "{name}");
        let alone = nodes.iter().filter(|node| matches!(node.op, Op::Unary(_))).count();
        assert_eq!(alone, 0, "{name}: every activation is fused");
    }
}

#[test]
fn the_shipped_float_network_is_exported_to_the_same_bytes() {
    use prost::Message;
    let folder = shipped_model();
    let network = Network::open(&folder.join("net.toml").display().to_string()).unwrap();
    let weights = Weights::read(&folder.join("weights.safetensors"), &network).unwrap();
    let labels = ocelli_host::run::read_labels(&folder.join("labels.txt")).unwrap();
    let bytes = onnx::export(&network, &weights, &labels).unwrap().encode_to_vec();
    assert_eq!(bytes, std::fs::read(folder.join("model.onnx")).unwrap());
}
