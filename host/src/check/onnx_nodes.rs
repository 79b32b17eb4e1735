//! ONNX's backend node tests: one operator each, with inputs and outputs. Every case whose operators are read is run in float by the
//! path that `eval --float` takes.

use crate::interchange::onnx_import::fragment::{self, Known, Layout, Output};
use crate::train::{device, run_fragment};
use anyhow::{Context, ensure};
use burn::tensor::Device;
use prost::Message;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tract_onnx::pb::{ModelProto, TensorProto};

/// Largest difference of a value, relative where it is above 1.
pub const TOLERANCE: f64 = 1e-4;

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Every value is as recorded.
    Passed,
    /// As [`Passed`](Self::Passed), by the arithmetic on constants that importing does.
    PassedAsConstant,
    /// Some value differs.
    Failed(String),
    /// Holds an operator that is not read.
    OtherOperator(String),
    /// Its operators are read, but not with these attributes, shapes or types.
    OtherForm(String),
}

/// All cases of a folder, by name.
///
/// # Errors
/// When there are none, or one cannot be read.
pub fn run_all(folder: &Path, progress: &mut dyn FnMut(usize, usize)) -> anyhow::Result<BTreeMap<String, Outcome>> {
    let list = |path: &Path| -> anyhow::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    let cases: Vec<PathBuf> = list(folder)?.into_iter().filter(|path| path.join("model.onnx").is_file()).collect();
    ensure!(
        !cases.is_empty(),
        "{} holds no folder with a model.onnx: the cases are in the Python package onnx, backend/test/data/node",
        folder.display()
    );
    let device = device("flex")?;
    let mut outcomes = BTreeMap::new();
    for (done, case) in cases.iter().enumerate() {
        progress(done, cases.len());
        let name = case.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let sets: Vec<PathBuf> = list(case)?.into_iter().filter(|path| path.is_dir()).collect();
        let outcome = run(case, &sets, &device).with_context(|| case.display().to_string())?;
        outcomes.insert(name, outcome);
    }
    Ok(outcomes)
}

/// One case, on all its sets of values.
fn run(case: &Path, sets: &[PathBuf], device: &Device) -> anyhow::Result<Outcome> {
    let file = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let model = ModelProto::decode(file(&case.join("model.onnx"))?.as_slice()).context("model.onnx")?;
    if let Some(name) = fragment::unknown_operator(&model) {
        return Ok(Outcome::OtherOperator(name));
    }
    let mut outcome = Outcome::OtherForm("has no values".to_owned());
    for set in sets {
        let (inputs, outputs) = match (tensors(set, "input")?, tensors(set, "output")?) {
            (Some(inputs), Some(outputs)) => (inputs, outputs),
            _ => return Ok(Outcome::OtherForm("holds a value that is no tensor".to_owned())),
        };
        let [expected] = outputs.as_slice() else {
            let nodes = model.graph.iter().flat_map(|graph| &graph.node).map(|node| node.op_type.as_str());
            let names = nodes.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
            let what = if names.contains(',') { "is a graph".to_owned() } else { names };
            return Ok(Outcome::OtherForm(format!("{what} with {} outputs: one is supported", outputs.len())));
        };
        let expected = match fragment::output(expected) {
            Ok(expected) => expected,
            Err(error) => return Ok(Outcome::OtherForm(format!("its output: {error:#}"))),
        };
        outcome = run_set(&model, &inputs, &expected, device);
        if !matches!(outcome, Outcome::Passed | Outcome::PassedAsConstant) {
            break;
        }
    }
    Ok(outcome)
}

fn run_set(model: &ModelProto, inputs: &[TensorProto], expected: &Output, device: &Device) -> Outcome {
    // weights are inputs in these tests; a sum has two that are computed; arithmetic on shapes has none. Nor does a node alone say
    // which dimension is the channels: files of both orders are read
    let mut refused = None;
    let all = [Known::Others, Known::Integers, Known::Everything];
    for (known, layout) in all.into_iter().flat_map(|known| Layout::ALL.map(|layout| (known, layout))) {
        match fragment::read(model, inputs, known, layout) {
            Err(error) => {
                let reason = format!("{error:#}");
                // what cannot be run at all says less than why its constants cannot be computed
                let says_less = |reason: &String| reason.contains("in whole networks only");
                refused = refused.filter(|first| !says_less(first)).or(Some(reason));
            }
            Ok(read) => {
                let ran = read
                    .run(|inputs, batch, layers, weights| Ok(run_fragment(inputs, batch, layers, weights, device)?));
                return match ran {
                    Err(error) => Outcome::Failed(format!("{error:#}")),
                    Ok(found) => match compare(&found, expected) {
                        Outcome::Passed if read.is_constant() => Outcome::PassedAsConstant,
                        outcome => outcome,
                    },
                };
            }
        }
    }
    let refused = refused.unwrap_or_default();
    let reason = refused.lines().find_map(|line| line.strip_prefix("- ")).unwrap_or(&refused);
    Outcome::OtherForm(reason.split(" (").next().unwrap_or_default().to_owned())
}

fn compare(found: &Output, expected: &Output) -> Outcome {
    if found.dims != expected.dims {
        return Outcome::Failed(format!("its output has the shape {:?}, expected {:?}", found.dims, expected.dims));
    }
    let differs = |a: f64, b: f64| {
        let equal = a == b || (a.is_nan() && b.is_nan());
        !equal && (a - b).abs().partial_cmp(&(TOLERANCE * b.abs().max(1.0))) != Some(std::cmp::Ordering::Less)
    };
    let mut pairs = found.values.iter().zip(&expected.values);
    match pairs.position(|(&a, &b)| differs(a, b)) {
        None if found.values.len() == expected.values.len() => Outcome::Passed,
        None => Outcome::Failed(format!("it has {} values, expected {}", found.values.len(), expected.values.len())),
        Some(at) => Outcome::Failed(format!("element {at} is {}, expected {}", found.values[at], expected.values[at])),
    }
}

/// The tensors `<what>_0.pb`, `<what>_1.pb` and so on of a folder; `None` where one is another thing.
fn tensors(set: &Path, what: &str) -> anyhow::Result<Option<Vec<TensorProto>>> {
    let mut tensors = Vec::new();
    loop {
        let path = set.join(format!("{what}_{}.pb", tensors.len()));
        if !path.is_file() {
            return Ok(Some(tensors));
        }
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        match TensorProto::decode(bytes.as_slice()) {
            Ok(tensor) if tensor.data_type != 0 => tensors.push(tensor),
            _ => return Ok(None),
        }
    }
}
