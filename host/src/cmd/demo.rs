//! `ocelli demo`

use super::Verdict;
use super::compile::{Chip, Limits, write_checked};
use super::quantize::quantize_with;
use super::train::train_into;
use super::ui::{TrainingSets, bar, load_training, percent, spinner, table, thousands};
use anyhow::Context;
use ocelli_firmware_tools::boards::find;
use ocelli_host::augment::AugmentationConfig;
use ocelli_host::check::{self, CheckReport, DeviceOutcome, Status, run_device};
use ocelli_host::config::{Config, DatasetConfig, NetworkConfig, TargetConfig};
use ocelli_host::data::{Dataset, ImageSource};
use ocelli_host::files::{relative_to, write_atomically};
use ocelli_host::network::Network;
use ocelli_host::quantize::QuantizationConfig;
use ocelli_host::report::evaluation::{Evaluation, Part};
use ocelli_host::report::figures::{Checked, Figures};
use ocelli_host::report::metrics::Predictions;
use ocelli_host::report::plots::confusion_png;
use ocelli_host::report::quantization::quantization_error;
use ocelli_host::report::{confusion, html, screen_png};
use ocelli_host::run::{Bundle, RunFolder, names};
use ocelli_host::train::{History, TrainingConfig, argmax};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The digits that ship with Ocelli.
const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/mnist-10k");
/// The network of the demo.
const NETWORK: &str = "mnist-cnn";
/// Test digits that are run on the emulated chip.
const DEVICE_IMAGES: usize = 100;

/// Run the whole way on handwritten digits: train, quantize, compile, check, emulate
///
/// Trains a CNN on 9,000 of the 10,000 digits that ship with Ocelli, quantizes and compiles it, checks it against tract, and runs it
/// on an emulated Cortex-M4, whose every output byte is compared with the host's. Writes a run folder. Where QEMU or the chip's Rust target is missing, that row says 'not run' and how to install them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write.
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// Folder of the digits (MNIST idx files).
    #[arg(long, default_value = DIGITS, hide_default_value = true)]
    data: PathBuf,
    /// Passes over the 9,000 training digits.
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Seed of weights, order and dropout.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let began = Instant::now();
    let config = config(args);
    config.validate()?;
    let network = Network::open(NETWORK)?;
    let board = find(&config.target.board)?;
    let folder = RunFolder::create(&args.out)?;

    let here = std::env::current_dir()?;
    println!("1. data     {}", relative_to(&config.dataset.path, &here)?.display());
    let TrainingSets { training, validation, .. } =
        load_training(&config.dataset, &config.dataset.open()?, &network, config.training.seed)?;
    let test = validation.take(validation.len(), 0)?;
    println!(
        "            {} digits to train on, {} to test on",
        thousands(training.len() as u64),
        thousands(test.len() as u64)
    );

    println!("2. train    {NETWORK}, {} epochs, seed {}", config.training.epochs, config.training.seed);
    let (weights, history) = train_into(&folder, &config, &network, &training.take(training.len(), 0)?, &test)?;
    println!("            {:.0} s", history.rows.last().map_or(0.0, |row| row.seconds));

    println!("3. quantize {} training digits for calibration, compile", config.quantization.calibration_images);
    let made = quantize_with(&network, &weights, &training, &config.quantization)?;
    write_checked(&folder, &made, &Chip::find(board.name, &Limits::default())?)?;

    println!("4. check    Burn, tract, the int8 runtime, and {} emulated by QEMU", board.name);
    let bundle = Bundle::open(folder.path())?;
    let report = check_all(&bundle, &test, board)?;

    let summary = Summary { images: test.len(), report: &report, bundle: &bundle };
    write_reports(&folder, &config, &history, &report, &test)?;
    figures(&bundle, &config, &report, &test)?.write(folder.path())?;
    html::refresh(folder.path())?;
    println!("\n{}", table(&["", "result", "allowed", ""], summary.rows()?, 4));
    println!("run folder {}: {}", folder.path().display(), files_of(folder.path())?.join(", "));
    println!("{} s in all", began.elapsed().as_secs());
    Ok(if report.passed() { Verdict::Done } else { Verdict::Differs })
}

/// Names of a folder's files, sorted.
fn files_of(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files =
        entries.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect::<std::io::Result<Vec<String>>>()?;
    files.sort();
    Ok(files)
}

fn config(args: &Args) -> Config {
    Config {
        dataset: DatasetConfig { path: args.data.clone(), ..DatasetConfig::default() },
        network: NetworkConfig { file: NETWORK.to_owned() },
        training: TrainingConfig {
            epochs: args.epochs,
            learning_rate: 3e-3,
            schedule: "cosine".to_owned(),
            seed: args.seed,
            ..TrainingConfig::default()
        },
        augmentation: AugmentationConfig::default(),
        quantization: QuantizationConfig::default(),
        target: TargetConfig::default(),
        finetune: None,
    }
}

fn check_all(
    bundle: &Bundle,
    test: &Dataset,
    board: &'static ocelli_firmware_tools::Board,
) -> anyhow::Result<CheckReport> {
    let spinner = spinner("checking");
    let digits = bar(&format!("{}: building the firmware", board.name), DEVICE_IMAGES as u64);
    let mut device = |data: &Dataset| {
        spinner.finish_and_clear();
        let result = run_device(board, &bundle.path, data, DEVICE_IMAGES, &mut |done| {
            digits.set_message(format!("{}: running digits", board.name));
            digits.set_position(done as u64);
        });
        digits.finish_and_clear();
        result
    };
    let report = check::run(bundle, test, Some(&mut device), &mut |what| spinner.set_message(what.to_owned()));
    spinner.finish_and_clear();
    report
}

/// The figures of the final table.
struct Summary<'a> {
    images: usize,
    report: &'a CheckReport,
    bundle: &'a Bundle,
}

impl Summary<'_> {
    fn rows(&self) -> anyhow::Result<Vec<Vec<String>>> {
        let row = |what: &str, result: String| vec![what.to_owned(), result, String::new(), String::new()];
        let CheckReport { float, network, device, .. } = self.report;
        let digits = thousands(self.images as u64);
        let mut rows = vec![
            row(&format!("accuracy, float, {digits} test digits"), percent(float.burn_accuracy)),
            row(&format!("accuracy, int8, {digits} test digits"), percent(network.runtime_accuracy)),
        ];
        if let Some(DeviceOutcome::Ran(check)) = device {
            rows.push(row(
                &format!("accuracy, {}, test digits 0 to {}", check.board, check.images.len() - 1),
                percent(check.accuracy),
            ));
        }
        rows.extend(
            self.report.rows().into_iter().map(|r| vec![r.what, r.found, r.allowed, r.status.word().to_owned()]),
        );
        let model = self.bundle.model.model()?;
        rows.push(row("flash, model", format!("{} bytes", thousands(self.bundle.model.as_slice().len() as u64))));
        rows.push(row("peak RAM, model", format!("{} bytes", thousands(u64::from(model.arena_bytes())))));
        if let Some(DeviceOutcome::Ran(check)) = device {
            rows.push(row("flash, firmware with model", format!("{} bytes", thousands(check.flash_bytes))));
            rows.push(row(
                "peak RAM, firmware with model and stack",
                format!("{} bytes ({} of them stack)", thousands(check.ram_bytes()), thousands(check.stack_bytes)),
            ));
            rows.push(row("instructions an inference", thousands(check.instructions)));
        } else {
            let not_run =
                |what: &str| vec![what.to_owned(), String::new(), String::new(), Status::NotRun.word().to_owned()];
            rows.push(not_run("firmware's flash, RAM and instructions"));
        }
        Ok(rows)
    }
}

/// What the check found, as the report page shows it.
fn figures(bundle: &Bundle, config: &Config, report: &CheckReport, test: &Dataset) -> anyhow::Result<Figures> {
    let classes = test.labels.len();
    let evaluation = |predictions: &Predictions| {
        Evaluation::new(&config.dataset.path, Part::Test, test, predictions)
            .with_pictures(test, bundle.network.input.color)
    };
    let int8 = evaluation(&Predictions::from_scores(&report.network.scores, &test.targets, classes)?)?;
    let on = int8.on_name();
    Ok(Figures {
        int8: Some(int8),
        float: Some(evaluation(&Predictions::from_logits(&report.float.logits, &test.targets, classes)?)?),
        quantization: Some(quantization_error(bundle, test, on.clone())?),
        check: Some(Checked::new(report, on)),
    })
}

fn write_reports(
    folder: &RunFolder,
    config: &Config,
    history: &History,
    report: &CheckReport,
    test: &Dataset,
) -> anyhow::Result<()> {
    let classes = test.labels.len();
    let guesses: Vec<usize> = report.network.scores.chunks_exact(classes).map(argmax).collect();
    let matrix = confusion(classes, &test.targets, &guesses);
    confusion_png(&folder.file(names::CONFUSION), &test.labels, &matrix)?;
    let scores = report.network.scores.get(..classes).context("there are no scores")?;
    screen_png(&folder.file(names::SCREEN), test, 0, scores)?;
    let json = serde_json::json!({
        "config": config, "history": history, "check": report, "rows": report.rows(), "passed": report.passed(),
        "labels": test.labels, "confusion": matrix,
    });
    write_atomically(&folder.file(names::REPORT), serde_json::to_string_pretty(&json)?.as_bytes())
}
