//! Time of an inference on this computer: ours by threads and instruction sets, tract on the same network where there is an ONNX file.
//!
//! `cargo xtask bench host` runs it and adds XNNPACK's time. `OCELLI_BENCH_MODEL` names another model: .tflite (quantized) or .ocelli.

use anyhow::Context;
use divan::Bencher;
use ocelli::kernels::blocked::{InstructionSet, Level};
use ocelli::runtime::threads::with_threads;
use ocelli_host::check::golden::read_network;
use ocelli_host::check::tract::{TractModel, read_onnx};
use ocelli_host::compile::{Options, Target, compile};
use ocelli_host::interchange::onnx::{self, INPUT};
use ocelli_host::interchange::qdq;
use ocelli_host::model::ModelBytes;
use ocelli_host::network::{Network, Weights};
use ocelli_host::quantize::{Calibration, Range, quantize};
use ocelli_host::run::read_labels;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::fmt;
use std::path::{Path, PathBuf};
use tract_onnx::pb::ModelProto;

/// A row of the table.
struct Case {
    /// The network.
    network: String,
    /// What runs it.
    name: String,
    runner: Runner,
}

enum Runner {
    Ours { model: ModelBytes, threads: usize, level: Level },
    Tract { model: TractModel, image: Vec<f32> },
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.name)
    }
}

fn main() {
    divan::main();
}

/// As many samples as two seconds hold.
#[divan::bench(args = cases().unwrap_or_else(|error| stop(&error)), sample_count = 50, min_time = 2, max_time = 5)]
fn inference(bencher: Bencher<'_, '_>, case: &Case) {
    let done = match &case.runner {
        Runner::Ours { model, threads, level } => ours(bencher, model, *threads, *level),
        Runner::Tract { model, image } => {
            bencher.bench_local(|| model.run_f32(image).map(|scores| scores.len()));
            Ok(())
        }
    };
    done.unwrap_or_else(|error| stop(&error));
}

fn ours(bencher: Bencher<'_, '_>, model: &ModelBytes, threads: usize, level: Level) -> anyhow::Result<()> {
    let model = model.model()?;
    let frame = vec![3_i8; model.input_shape().elements().unwrap_or(0) as usize];
    with_threads(model, threads, level, |team| bencher.bench_local(|| team.run_frame(&frame).map(<[i8]>::len)))?;
    Ok(())
}

fn stop(error: &anyhow::Error) -> ! {
    eprintln!("error: {error:#}");
    std::process::exit(1);
}

fn cases() -> anyhow::Result<Vec<Case>> {
    let given = std::env::var_os("OCELLI_BENCH_MODEL").map(PathBuf::from);
    let model = given.clone().unwrap_or_else(|| repository("tests/models/resnet8_made_int8.tflite"));
    let compiled = if model.extension().is_some_and(|extension| extension == "ocelli") {
        ModelBytes::read(&model)?
    } else {
        ModelBytes::new(&compile(&read_network(&model)?, Options::for_target(Target::HOST))?)
    };
    let name = model.file_stem().and_then(|stem| stem.to_str()).context("the model has no name")?;
    let mut cases = cases_of_ours(name, &compiled, &InstructionSet::ALL);
    if given.is_none() {
        cases.extend(beside_tract()?);
    }
    Ok(cases)
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The fastest instructions on one thread and on two, then one thread by instruction sets.
fn cases_of_ours(network: &str, model: &ModelBytes, sets: &[InstructionSet]) -> Vec<Case> {
    let best = Level::detect();
    let by_threads = [1, 2].map(|threads| (format!("ocelli, threads {threads}"), threads, best));
    let others = sets.iter().filter_map(|&set| Level::new(set)).filter(|&level| level != best);
    let by_set = others.map(|level| (format!("ocelli, {}", level.instruction_set().name()), 1, level));
    let case = |(name, threads, level)| Case {
        network: network.to_owned(),
        name,
        runner: Runner::Ours { model: model.clone(), threads, level },
    };
    by_threads.into_iter().chain(by_set).map(case).collect()
}

/// Networks that are there as ONNX files too: MLPerf Tiny's ResNet-8 with random weights, and the shipped digits network.
fn beside_tract() -> anyhow::Result<Vec<Case>> {
    let network = Network::open("resnet8")?;
    let weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(7))?;
    let labels: Vec<String> = (0..network.classes()?).map(|class| class.to_string()).collect();
    let calibration = Calibration::constant(&network, Range { min: -4.0, max: 4.0 })?;
    let quantized = quantize(&network, &weights, &calibration, &labels)?;
    let float = onnx::export(&network, &weights, &labels)?;
    let mut cases = compared(&network, &float, &qdq::export(&quantized)?, &labels)?;

    let folder = repository("models/mnist-cnn");
    let network = Network::open(&folder.join("net.toml").to_string_lossy())?;
    let labels = read_labels(&folder.join("labels.txt"))?;
    let [float, quantized] = [read_onnx(&folder.join("model.onnx"))?, read_onnx(&folder.join("model.qdq.onnx"))?];
    cases.extend(compared(&network, &float, &quantized, &labels)?);
    Ok(cases)
}

fn compared(
    network: &Network,
    float: &ModelProto,
    quantized: &ModelProto,
    labels: &[String],
) -> anyhow::Result<Vec<Case>> {
    let compiled = compile(&qdq::import(network, quantized, labels)?, Options::for_target(Target::HOST))?;
    let mut cases = cases_of_ours(&network.name, &ModelBytes::new(&compiled), &[]);
    let elements = network.input.shape.elements().unwrap_or(0) as usize;
    for (name, proto) in [("tract, float", float), ("tract, int8 (QDQ, as written)", quantized)] {
        let output =
            proto.graph.as_ref().and_then(|graph| graph.output.first()).context("the ONNX file has no output")?;
        let model = TractModel::new(proto, INPUT, &output.name)?;
        let runner = Runner::Tract { model, image: vec![0.5; elements] };
        cases.push(Case { network: network.name.clone(), name: name.to_owned(), runner });
    }
    Ok(cases)
}
