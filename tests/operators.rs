//! Every operator case on every runtime: ours bit for bit, tract within one step.

use crate::support::{device_toolchain, repository};
use ocelli_host::check::tract::TractModel;
use ocelli_host::check::vectors::{self, Outcome};
use ocelli_host::check::{STEP_TOLERANCE, largest_difference};
use ocelli_host::interchange::onnx::INPUT;
use ocelli_host::interchange::qdq::{self, int8_name};
use std::path::PathBuf;

/// Operators that have cases in tests/vectors, and how many at least.
const OPERATORS: [(&str, usize); 24] = [
    ("add", 24),
    ("average_pool2d", 16),
    ("concat", 16),
    ("conv1d", 8),
    ("conv2d", 32),
    ("dense", 36),
    ("dense_int4", 12),
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
    ("uint8", 192),
    ("", 580),
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
    // the micro:bit has no room for the program that runs cases
    for name in ["qemu-m0plus", "qemu-m3", "qemu-m4", "qemu-m7", "qemu-m33", "qemu-rv32"] {
        let Some((board, _)) = device_toolchain(name) else { continue };
        let outcomes = vectors::run_on_board(board, &paths).unwrap();
        assert_eq!(outcomes.len(), paths.len());
        for (path, outcome) in paths.iter().zip(outcomes) {
            assert_eq!(outcome, Outcome::Passed, "{name}: {}", path.display());
        }
    }
}

#[test]
fn cases_that_cannot_be_run_do_not_keep_others_from_the_board() {
    let Some((board, _)) = device_toolchain("qemu-m4") else { return };
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(repository("tests/vectors/softmax_00.json")).unwrap();
    let files = [
        (
            "1-empty.json",
            r#"{"op": "relu", "source": "", "attrs": {}, "output": {"shape": [1, 4], "dtype": "int8", "data": []}}"#,
        ),
        ("2-good.json", &good),
        ("3-no-case.json", "{}"),
        ("4-bad.json", &good.replacen("[-128, -128,", "[-127, -128,", 1)),
    ];
    files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
    let outcomes = vectors::run_on_board(board, &vectors::list(folder.path()).unwrap()).unwrap();
    let is_as_expected = matches!(
        &outcomes[..],
        [Outcome::NotRun(empty), Outcome::Passed, Outcome::NotRun(_), Outcome::Failed(_)] if empty.contains("no input")
    );
    assert!(is_as_expected, "{outcomes:?}");
}

#[test]
fn a_case_without_inputs_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.json");
    let case = r#"{"op": "relu", "source": "", "attrs": {}, "output": {"shape": [1, 4], "dtype": "int8", "data": []}}"#;
    std::fs::write(&path, case).unwrap();
    assert_eq!(vectors::run(&path), Outcome::NotRun("the case has no input".to_owned()));
}

/// tract rounds otherwise (half to even, once); more than a step would be another number. uint8 networks have weights with zero
/// points, which the export does not write.
#[test]
fn tract_agrees_within_one_step() {
    for path in cases() {
        let case = vectors::read(&path).unwrap();
        let network = case.network().unwrap();
        if network.has_unsigned() {
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
