//! Time of an inference on this computer: ours by threads and instruction sets, tract on the same network where there is an ONNX file.
//!
//! `cargo xtask bench host` runs it and adds XNNPACK's time. `OCELLI_BENCH_MODEL` names another model: .tflite (quantized) or .ocelli.
#![allow(missing_docs, reason = "the macros' functions")]

use anyhow::Context;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
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
use std::path::{Path, PathBuf};
use std::time::Duration;
use tract_onnx::pb::ModelProto;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn bench(criterion: &mut Criterion) {
    if let Err(error) = try_bench(criterion) {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn try_bench(criterion: &mut Criterion) -> anyhow::Result<()> {
    let given = std::env::var_os("OCELLI_BENCH_MODEL").map(PathBuf::from);
    let model = given.clone().unwrap_or_else(|| repository("tests/models/resnet8_made_int8.tflite"));
    let compiled = if model.extension().is_some_and(|extension| extension == "ocelli") {
        ModelBytes::read(&model)?
    } else {
        ModelBytes::new(&compile(&read_network(&model)?, Options::for_target(Target::HOST))?)
    };
    let name = model.file_stem().and_then(|stem| stem.to_str()).context("the model has no name")?;
    let mut group = group(criterion, name);
    ours(&mut group, &compiled, &[1, 2], &InstructionSet::ALL)?;
    group.finish();
    if given.is_none() {
        beside_tract(criterion)?;
    }
    Ok(())
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).sample_size(50);
    group
}

/// Our time: the fastest instructions by threads, then one thread by instruction sets.
fn ours(group: &mut Group<'_>, bytes: &ModelBytes, threads: &[usize], sets: &[InstructionSet]) -> anyhow::Result<()> {
    let model = bytes.model()?;
    let frame = vec![3_i8; model.input_shape().elements().unwrap_or(0) as usize];
    let best = Level::detect();
    let by_threads = threads.iter().map(|&threads| (format!("ocelli, threads {threads}"), threads, best));
    let others = sets.iter().filter_map(|&set| Level::new(set)).filter(|&level| level != best);
    let by_set = others.map(|level| (format!("ocelli, {}", level.instruction_set().name()), 1, level));
    for (name, threads, level) in by_threads.chain(by_set) {
        with_threads(model, threads, level, |team| {
            group.bench_function(&name, |bencher| bencher.iter(|| team.run_frame(&frame).map(<[i8]>::len)));
        })?;
    }
    Ok(())
}

/// Networks that are there as ONNX files too: MLPerf Tiny's ResNet-8 with random weights, and the shipped digits network.
fn beside_tract(criterion: &mut Criterion) -> anyhow::Result<()> {
    let network = Network::open("resnet8")?;
    let weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(7))?;
    let labels: Vec<String> = (0..network.classes()?).map(|class| class.to_string()).collect();
    let calibration = Calibration::constant(&network, Range { min: -4.0, max: 4.0 })?;
    let quantized = quantize(&network, &weights, &calibration, &labels)?;
    let float = onnx::export(&network, &weights, &labels)?;
    compare(criterion, &network, &float, &qdq::export(&quantized)?, &labels)?;

    let folder = repository("models/mnist-cnn");
    let network = Network::open(&folder.join("net.toml").to_string_lossy())?;
    let labels = read_labels(&folder.join("labels.txt"))?;
    let [float, quantized] = [read_onnx(&folder.join("model.onnx"))?, read_onnx(&folder.join("model.qdq.onnx"))?];
    compare(criterion, &network, &float, &quantized, &labels)
}

fn compare(
    criterion: &mut Criterion,
    network: &Network,
    float: &ModelProto,
    quantized: &ModelProto,
    labels: &[String],
) -> anyhow::Result<()> {
    let ours_of_it = compile(&qdq::import(network, quantized, labels)?, Options::for_target(Target::HOST))?;
    let mut group = group(criterion, &network.name);
    ours(&mut group, &ModelBytes::new(&ours_of_it), &[1, 2], &[])?;
    let image = vec![0.5_f32; network.input.shape.elements().unwrap_or(0) as usize];
    for (name, proto) in [("tract, float", float), ("tract, int8 (QDQ, as written)", quantized)] {
        let output =
            proto.graph.as_ref().and_then(|graph| graph.output.first()).context("the ONNX file has no output")?;
        let model = TractModel::new(proto, INPUT, &output.name)?;
        group.bench_function(name, |bencher| bencher.iter(|| model.run_f32(&image).map(|scores| scores.len())));
    }
    group.finish();
    Ok(())
}

criterion_group!(benches, bench);
criterion_main!(benches);
