//! Networks against tract: what agrees, and that planted faults are found.

use crate::support::{OpFields, digits, every_operator, reseal, shipped_model, write_run};
use ocelli_host::check::{self, CheckReport, Status};
use ocelli_host::data::Split;
use ocelli_host::model::ModelBytes;
use ocelli_host::run::Bundle;
use ocelli_host::train::{device, evaluate};

fn check(bundle: &Bundle, images: usize) -> CheckReport {
    let data = digits(&bundle.network, Split::Test, images);
    check::run(bundle, &data, None, &mut |_| {}).unwrap()
}

fn failed(report: &CheckReport) -> Vec<String> {
    report.rows().into_iter().filter(|row| row.status == Status::Failed).map(|row| row.what).collect()
}

/// The network with every operator as a run folder, read back.
fn bundle() -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let (network, weights, quantized) = every_operator();
    write_run(folder.path(), &network, &weights, &quantized);
    Bundle::open(folder.path()).unwrap()
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
        let shift = i32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        file[at..at + 4].copy_from_slice(&(shift - 1).to_le_bytes());
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
    assert_eq!(failed(&report), ["float logits, Burn vs tract"]);
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
