//! Networks against tract: what agrees, and that planted faults are found.

use crate::support::{
    EVERY_OPERATOR, OpFields, digits, every_operator, quantized_network, repository, reseal, shipped_model, write_run,
};
use ocelli::model::records::Header;
use ocelli_host::check::{self, CheckReport, Status};
use ocelli_host::config::Config;
use ocelli_host::data::{Dataset, Split};
use ocelli_host::model::ModelBytes;
use ocelli_host::run::Bundle;
use ocelli_host::train::{device, evaluate};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::PathBuf;

fn check(bundle: &Bundle, images: usize) -> CheckReport {
    let data = digits(&bundle.network, Split::Test, images);
    check::run(bundle, &data, None, &mut |_| {}).unwrap()
}

fn failed(report: &CheckReport) -> Vec<String> {
    report.rows().into_iter().filter(|row| row.status == Status::Failed).map(|row| row.what).collect()
}

/// A network with fresh weights as a run folder, read back.
fn bundle_of(net: &str) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let (network, weights, quantized) = quantized_network(net);
    write_run(folder.path(), &network, &weights, &quantized);
    Bundle::open(folder.path()).unwrap()
}

/// The network with every operator as a run folder, read back.
fn bundle() -> Bundle {
    bundle_of(EVERY_OPERATOR)
}

#[test]
fn the_shipped_model_passes_on_all_test_digits_and_is_accurate() {
    let bundle = Bundle::open(&shipped_model()).unwrap();
    let report = check(&bundle, 1000);
    assert_eq!(failed(&report), Vec::<String>::new());
    assert!(report.float.burn_accuracy >= 0.975, "{}", report.float.burn_accuracy);
    let lost = report.float.burn_accuracy - report.network.runtime_accuracy;
    assert!(lost <= 0.005, "int8 loses {lost}");
}

/// Pictures of noise for a network, with any labels.
fn noise(bundle: &Bundle, images: usize) -> Dataset {
    let spec = bundle.network.input;
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut pixels = vec![0; images * [spec.shape.h, spec.shape.w, spec.shape.c].iter().product::<u32>() as usize];
    rng.fill_bytes(&mut pixels);
    Dataset {
        labels: bundle.model.model().unwrap().labels().map(str::to_owned).collect(),
        shape: spec.shape,
        pixels,
        targets: vec![0; images],
        names: (0..images).map(|i| i.to_string()).collect(),
        skipped: Vec::new(),
    }
}

#[test]
fn every_shipped_model_is_one_network_in_all_its_files() {
    let folders = std::fs::read_dir(repository("models")).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<PathBuf> = folders.filter(|folder| folder.join("model.ocelli").is_file()).collect();
    assert!(folders.len() >= 2, "{folders:?}");
    for folder in folders {
        let bundle = Bundle::open(&folder).unwrap();
        let report = check::run(&bundle, &noise(&bundle, 20), None, &mut |_| {}).unwrap();
        assert_eq!(failed(&report), Vec::<String>::new(), "{}", folder.display());
        Config::read(&folder.join("config.toml")).unwrap().validate().unwrap();
    }
}

#[test]
fn every_operator_passes() {
    let report = check(&bundle(), 50);
    assert_eq!(failed(&report), Vec::<String>::new());
    assert_eq!(report.layers.len(), 8, "flatten is folded into dense, dropout is gone");
    assert!(report.layers.iter().all(|layer| layer.values > 0));
}

/// Checks the network with every operator after `damage` was done to its model file, which stays a valid file.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> CheckReport {
    let mut bundle = bundle();
    let mut file = bundle.model.as_slice().to_vec();
    damage(&mut file);
    reseal(&mut file);
    bundle.model = ModelBytes::new(&file);
    bundle.model.model().unwrap();
    check(&bundle, 20)
}

#[test]
fn one_wrong_weight_is_found_in_its_layer() {
    for op in [0, 2] {
        let report = damaged(|file| {
            let at = OpFields::of(file, op).weights(file) + 3;
            file[at] ^= 0x40;
        });
        assert!(report.layers[op].max_steps > 1, "layer {op} in tract");
        assert!(
            report.constants.compiled.as_ref().is_some_and(|c| c.contains("weights, element 3")),
            "{:?}",
            report.constants.compiled
        );
        assert!(!report.passed());
        let others = report.layers.iter().enumerate().filter(|(i, layer)| *i != op && layer.max_steps > 1);
        assert_eq!(others.count(), 0, "each layer is judged on its own inputs");
    }
}

#[test]
fn a_weight_wrong_by_the_smallest_step_is_found() {
    let report = damaged(|file| {
        let at = OpFields::of(file, 5).weights(file) + 100;
        file[at] = (file[at] as i8).wrapping_add(if file[at] as i8 == 127 { -1 } else { 1 }) as u8;
    });
    assert!(report.constants.compiled.as_ref().is_some_and(|c| c.contains("layer 'dense', weights, element 100")));
    assert!(!report.passed());
}

#[test]
fn one_wrong_shift_is_found_in_its_layer() {
    let report = damaged(|file| {
        let at = OpFields::of(file, 2).shifts(file);
        file[at] = (file[at] as i8 - 1) as u8;
    });
    assert!(report.layers[2].max_steps > 1);
    assert!(report.constants.compiled.as_ref().is_some_and(|c| c.contains("layer 'conv2d_1', shifts, element 0")));
    assert!(failed(&report).iter().any(|row| row.contains("conv2d_1")));
}

#[test]
fn one_wrong_padding_is_found_in_its_layer() {
    let report = damaged(|file| {
        let at = OpFields::of(file, 0).pads();
        file[at] = 2; // top 1 -> 2, bottom 1 -> 0: the output keeps its shape
        file[at + 4] = 0;
    });
    assert!(report.layers[0].max_steps > 1);
    assert!(
        report
            .constants
            .compiled
            .as_ref()
            .is_some_and(|c| c.contains("layer 'conv2d'") && c.contains("pads [2, 2, 0, 2]"))
    );
    assert!(failed(&report).iter().any(|row| row.contains("layer conv2d,")));
}

#[test]
fn a_wrong_float_weight_in_the_onnx_file_is_found() {
    let mut bundle = bundle();
    let graph = bundle.onnx.graph.as_mut().unwrap();
    let kernel = graph.initializer.iter_mut().find(|t| t.name == "conv2d.kernel").unwrap();
    let value = f32::from_le_bytes(kernel.raw_data[..4].try_into().unwrap());
    kernel.raw_data[..4].copy_from_slice(&(value + 0.01).to_le_bytes());
    let report = check(&bundle, 20);
    assert!(report.float.max_difference > check::FLOAT_TOLERANCE);
    assert_eq!(failed(&report), ["float logits, Burn vs tract", "float probabilities, Burn vs tract"]);
}

/// Networks that end or begin in other ways than flatten, dense, softmax.
const OTHER_ENDS: [&str; 3] = [
    // a global average pool in place of flatten and dense
    "[[layer]]\ntype = \"conv2d\"\nfilters = 10\nkernel = 5\nstride = 4\n[[layer]]\ntype = \"average_pool2d\"\nkernel = 6\n",
    // a convolution down to one pixel, dense without a flatten, flatten twice
    "[[layer]]\ntype = \"conv2d\"\nfilters = 4\nkernel = 28\n[[layer]]\ntype = \"dense\"\nunits = 10\n[[layer]]\ntype = \"flatten\"\n",
    // a flatten of a picture that is flattened again
    "[[layer]]\ntype = \"max_pool2d\"\nkernel = 7\n[[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"flatten\"\n\
     [[layer]]\ntype = \"dense\"\nunits = 10\n",
];

#[test]
fn other_ends_pass_in_float_and_in_int8() {
    for layers in OTHER_ENDS {
        let head = "name = \"other\"\n[input]\nheight = 28\nwidth = 28\ncolor = \"gray\"\n";
        let bundle = bundle_of(&format!("{head}{layers}[[layer]]\ntype = \"softmax\"\n"));
        assert_eq!(failed(&check(&bundle, 30)), Vec::<String>::new(), "{layers}");
    }
}

#[test]
fn a_quantizer_that_loses_a_layer_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (network, weights, mut quantized) = every_operator();
    let layer = quantized.layers[2].weights.as_mut().unwrap();
    layer.kernel.fill(0);
    write_run(folder.path(), &network, &weights, &quantized);
    let report = check(&Bundle::open(folder.path()).unwrap(), 20);
    assert_eq!(failed(&report), ["weights, quantized network vs float"]);
}

#[test]
fn faults_outside_the_layers_are_found() {
    // missing logits
    let mut short = bundle();
    let graph = short.onnx.graph.as_mut().unwrap();
    for name in ["dense_1.kernel", "dense_1.bias"] {
        let tensor = graph.initializer.iter_mut().find(|t| t.name == name).unwrap();
        tensor.raw_data.truncate(tensor.raw_data.len() / 5);
        tensor.dims[0] = 2;
    }
    graph.output[0].r#type = None;
    assert!(check(&short, 10).float.max_difference.is_infinite());
    // another last operator
    let mut relu = bundle();
    let last = relu.onnx.graph.as_mut().unwrap().node.last_mut().unwrap();
    last.op_type = "Relu".to_owned();
    last.attribute.clear();
    assert_eq!(failed(&check(&relu, 10)), ["float probabilities, Burn vs tract"]);
    // other labels in the float file
    let mut labels = bundle();
    labels.onnx.metadata_props[0].value.insert(0, 'x');
    assert_eq!(failed(&check(&labels, 10)), ["labels and normalization, model.onnx"]);
    // another input scale in the quantized file
    let mut scale = bundle();
    let graph = scale.qdq.graph.as_mut().unwrap();
    let node = graph.node.iter_mut().find(|node| node.op_type == "QuantizeLinear").unwrap();
    node.input[1] = "softmax.scale".to_owned();
    assert_eq!(failed(&check(&scale, 10)), ["float ends of model.qdq.onnx"]);
    // more memory than is needed
    let mut memory = bundle();
    let mut file = memory.model.as_slice().to_vec();
    let arena = std::mem::offset_of!(Header, arena_bytes);
    file[arena + 2] += 1;
    reseal(&mut file);
    memory.model = ModelBytes::new(&file);
    assert_eq!(failed(&check(&memory, 10)), ["constants, model file vs quantized network"]);
}

#[test]
fn weights_of_another_training_are_found() {
    let mut bundle = bundle();
    let mut layer = bundle.weights.layer("dense").unwrap().clone();
    layer.kernel[7] += 0.02;
    bundle.weights.insert("dense", layer);
    let report = check(&bundle, 20);
    assert!(report.constants.quantized.is_some_and(|c| c.contains("layer 'dense', weight 7")));
}

#[test]
fn ndarray_gives_the_outputs_of_flex() {
    let (network, weights, _) = every_operator();
    let images = digits(&network, Split::Test, 20);
    let run = |backend| evaluate(&network, &weights, &images, &device(backend).unwrap()).unwrap().logits;
    let (flex, ndarray) = (run("flex"), run("ndarray"));
    let largest = flex.iter().zip(&ndarray).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert_eq!(flex.len(), 200);
    assert!(largest < 1e-4, "{largest}");
}
