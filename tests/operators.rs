//! Every operator case on every runtime: ours bit for bit, tract within one step.

use crate::support::{device_toolchain, repository};
use ocelli_firmware_tools::{Case, run_cases};
use ocelli_host::check::tract::TractModel;
use ocelli_host::check::vectors::{self, Outcome};
use ocelli_host::check::{STEP_TOLERANCE, largest_difference};
use ocelli_host::compile::compile;
use ocelli_host::interchange::onnx::INPUT;
use ocelli_host::interchange::qdq::{self, int8_name};
use std::path::PathBuf;

/// Operators that have cases in tests/vectors, sixteen each.
const OPERATORS: [&str; 5] = ["average_pool2d", "conv2d", "dense", "max_pool2d", "softmax"];

fn cases() -> Vec<PathBuf> {
    vectors::list(&repository("tests/vectors")).unwrap()
}

#[test]
fn there_are_sixteen_cases_an_operator() {
    for operator in OPERATORS {
        let count = cases().iter().filter(|path| vectors::read(path).unwrap().op == operator).count();
        assert_eq!(count, 16, "{operator}");
    }
}

#[test]
fn the_row_pipeline_gives_every_expected_byte() {
    for path in cases() {
        assert_eq!(vectors::run(&path), Outcome::Passed, "{}", path.display());
    }
}

#[test]
fn the_board_gives_every_expected_byte() {
    let Some((board, toolchain)) = device_toolchain() else { return };
    let paths = cases();
    let cases: Vec<_> = paths.iter().map(|path| vectors::read(path).unwrap()).collect();
    let on_board: Vec<Case> = cases
        .iter()
        .map(|case| Case { model: compile(&case.network().unwrap()).unwrap(), frame: case.input().unwrap() })
        .collect();
    let outputs = run_cases(board, &toolchain, &on_board, None).unwrap();
    assert_eq!(outputs.len(), paths.len());
    for ((path, case), output) in paths.iter().zip(&cases).zip(outputs) {
        let difference = vectors::first_difference(&output.unwrap(), &case.expected().unwrap());
        assert_eq!(difference, None, "{}", path.display());
    }
}

#[test]
fn tract_agrees_within_one_step() {
    for path in cases() {
        let case = vectors::read(&path).unwrap();
        let network = case.network().unwrap();
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
