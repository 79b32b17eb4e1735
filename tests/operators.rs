//! Every operator case on every runtime: ours bit for bit, tract within one step.

use crate::support::{device_toolchain, repository};
use ocelli_firmware_tools::{Case, run_cases};
use ocelli_host::check::tract::TractModel;
use ocelli_host::check::vectors::{self, Outcome};
use ocelli_host::check::{STEP_TOLERANCE, largest_difference};
use ocelli_host::compile::{Options, Target, compile};
use ocelli_host::interchange::onnx::INPUT;
use ocelli_host::interchange::qdq::{self, int8_name};
use std::path::PathBuf;

/// Operators that have cases in tests/vectors, and how many at least.
const OPERATORS: [(&str, usize); 23] = [
    ("add", 24),
    ("average_pool2d", 16),
    ("concat", 16),
    ("conv1d", 8),
    ("conv2d", 32),
    ("dense", 24),
    ("depthwise_conv2d", 16),
    ("hard_swish", 8),
    ("leaky_relu", 8),
    ("logistic", 16),
    ("max_pool2d", 16),
    ("mean", 16),
    ("min_pool2d", 8),
    ("mul", 16),
    ("pad", 16),
    ("quantize", 8),
    ("reduce_max", 8),
    ("relu", 8),
    ("relu6", 8),
    ("softmax", 16),
    ("tanh", 8),
    ("uint8", 80),
    ("", 472),
];

fn cases() -> Vec<PathBuf> {
    vectors::list(&repository("tests/vectors")).unwrap()
}

#[test]
fn every_operator_has_its_cases() {
    for (operator, count) in OPERATORS {
        let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(operator);
        let found = cases().iter().filter(|path| named(path)).count();
        assert!(found >= count, "{operator}: {found} of {count}");
    }
}

#[test]
fn the_row_pipeline_gives_every_expected_byte() {
    for path in cases() {
        assert_eq!(vectors::run(&path), Outcome::Passed, "{}", path.display());
    }
}

#[test]
fn every_board_gives_every_expected_byte() {
    let paths = cases();
    let cases: Vec<_> = paths.iter().map(|path| vectors::read(path).unwrap()).collect();
    // the micro:bit has no room for the program that runs cases
    for name in ["qemu-m0plus", "qemu-m3", "qemu-m4", "qemu-m7", "qemu-m33", "qemu-rv32"] {
        let Some((board, toolchain)) = device_toolchain(name) else { continue };
        let options = Options::for_target(Target::of(board));
        let model = |case: &vectors::Case| compile(&case.network().unwrap(), options).unwrap();
        let on_board: Vec<Case> =
            cases.iter().map(|case| Case { model: model(case), frame: case.input().unwrap() }).collect();
        let outputs = run_cases(board, &toolchain, &on_board, None).unwrap();
        assert_eq!(outputs.len(), paths.len());
        for ((path, case), output) in paths.iter().zip(&cases).zip(outputs) {
            let difference = vectors::first_difference(&output.unwrap(), &case.expected().unwrap());
            assert_eq!(difference, None, "{name}: {}", path.display());
        }
    }
}

/// tract rounds otherwise (half to even, once); more than a step would be another number. uint8 networks have weights with zero
/// points, which the export does not write.
#[test]
fn tract_agrees_within_one_step() {
    for path in cases() {
        let case = vectors::read(&path).unwrap();
        let network = case.network().unwrap();
        if network.unsigned {
            continue;
        }
        let last = &network.layers.last().unwrap().node.name;
        let tract = TractModel::new(&qdq::export(&network).unwrap(), &int8_name(INPUT), &int8_name(last)).unwrap();
        let output = tract.run_i8(&case.input().unwrap()).unwrap();
        let (steps, _) = largest_difference(&output, &case.expected().unwrap());
        assert!(steps <= STEP_TOLERANCE, "{}: {steps} steps", path.display());
    }
}

#[test]
fn a_wrong_expectation_is_reported_with_the_element() {
    let folder = tempfile::tempdir().unwrap();
    let mut case: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(repository("tests/vectors/conv2d_00.json")).unwrap()).unwrap();
    let value = case["output"]["data"][3].as_i64().unwrap();
    case["output"]["data"][3] = (if value > 0 { value - 1 } else { value + 1 }).into();
    let path = folder.path().join("wrong.json");
    std::fs::write(&path, case.to_string()).unwrap();
    let Outcome::Failed(why) = vectors::run(&path) else { panic!("passed") };
    assert!(why.starts_with("element 3 is "), "{why}");
}
