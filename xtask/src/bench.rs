//! `cargo xtask bench`: what a model takes on an emulated board; on this computer see `bench_host` and `bench_train`.

mod duo;

use crate::bench_host::{self, Host};
use crate::bench_train::{self, Train};
use crate::process::cargo;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use ocelli_firmware_tools::bench::{BenchOptions, BenchReport, bench, noise};
use ocelli_firmware_tools::boards::{Board, Optimize, find};
use ocelli_firmware_tools::toolchain::Toolchain;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fmt, fs};
use tempfile::TempDir;

/// What to measure.
#[derive(Subcommand)]
pub enum Task {
    /// Build a network for a board, run it in QEMU, and print instructions, flash and RAM; for a board with two cores also the
    /// instructions of each when they share the work.
    ///
    /// Instructions, not cycles: what a core waits for is not in them. The figures are the same for every run.
    Device(Device),
    /// Time networks on this computer: ours by threads and instructions, tract, and XNNPACK where it is installed.
    Host(Host),
    /// Time training on this computer: our operators, Burn's own, and Keras and PyTorch where they are installed.
    Train(Train),
}

/// Arguments of `bench device`.
#[derive(Args)]
pub struct Device {
    /// A compiled model (.ocelli), or a .tflite file, which `ocelli import` compiles first.
    #[arg(long)]
    model: PathBuf,
    /// The board.
    #[arg(long)]
    board: String,
    /// Also write the figures to this file, as JSON.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Frames of noise to run; the figures are means over them.
    #[arg(long, default_value_t = 1)]
    frames: usize,
    /// What the firmware is optimized for [default: size for qemu-m0plus and qemu-microbit, speed for the others].
    #[arg(long)]
    optimize: Option<OptimizeFor>,
}

/// [`Optimize`] as an argument.
#[derive(Clone, Copy, ValueEnum)]
enum OptimizeFor {
    /// Fewest bytes.
    Size,
    /// Fewest instructions.
    Speed,
}

/// Measures, prints the table and writes the JSON.
pub fn run(task: &Task) -> Result<ExitCode> {
    let args = match task {
        Task::Device(args) => args,
        Task::Host(args) => return bench_host::run(args),
        Task::Train(args) => return bench_train::run(args),
    };
    let board = find(&args.board)?;
    let model = CompiledModel::of(&args.model, board)?;
    let optimize = args.optimize.map(|optimize| match optimize {
        OptimizeFor::Size => Optimize::Size,
        OptimizeFor::Speed => Optimize::Speed,
    });
    let report = measure(model.path(), board, args.frames, optimize)?;
    print!("{}", table(&report));
    let two_cores = duo::measure(model.path(), board, args.frames, optimize)?;
    if let Some(report) = &two_cores {
        print!("{}", duo::table(report));
    }
    if let Some(path) = &args.json {
        let mut json = to_json(&report, &args.model, model.path());
        if let Some(report) = &two_cores {
            json["two_cores"] = duo::to_json(report);
        }
        let text = serde_json::to_string_pretty(&json)? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures a compiled model over `frames` frames of noise.
pub fn measure(model: &Path, board: &'static Board, frames: usize, optimize: Option<Optimize>) -> Result<BenchReport> {
    ensure!(frames > 0, "--frames must be at least 1");
    let toolchain = Toolchain::find(board.target)?;
    let options = BenchOptions { optimize, ..BenchOptions::default() };
    Ok(bench(board, &toolchain, model, &noise(model, frames)?, &options)?)
}

/// A board cannot hold a model; in the words of the import.
#[derive(Debug)]
pub struct DoesNotFit(String);

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DoesNotFit {}

/// A compiled model: the file given, or one made of it.
pub enum CompiledModel {
    /// A file that was compiled before.
    Given(PathBuf),
    /// One that lives as long as this value.
    Imported { path: PathBuf, _dir: TempDir },
}

impl CompiledModel {
    /// The model as it is, or imported for `board`.
    pub fn of(path: &Path, board: &Board) -> Result<Self> {
        // Tasks run at the root, but a path is one of the caller's.
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        if path.extension().is_none_or(|extension| extension != "tflite") {
            return Ok(Self::Given(path));
        }
        let dir = tempfile::Builder::new().prefix("ocelli-import-").tempdir()?;
        let out = dir.path().join("model.ocelli");
        // A process of its own: this task does not compile Burn for a model that needs no import.
        let mut import = cargo();
        import.args(["run", "--release", "--quiet", "--package", "ocelli-host", "--", "import"]).arg(path);
        let output = import.args(["--board", board.name, "--out"]).arg(&out).output().context("cargo")?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(if words.contains("does not fit") { DoesNotFit(words).into() } else { anyhow::anyhow!(words) });
        }
        Ok(Self::Imported { path: out, _dir: dir })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Given(path) | Self::Imported { path, .. } => path,
        }
    }
}

/// Instructions a multiply-accumulate; `None` where there is none.
fn per_mac(instructions: u64, macs: u64) -> Option<f64> {
    // Both are far below 2^53.
    (macs > 0).then(|| instructions as f64 / macs as f64)
}

/// The report as the table that is printed.
fn table(report: &BenchReport) -> String {
    let BenchReport { board, .. } = report;
    let line = |name: &str, instructions: u64, macs: u64| {
        let ratio = per_mac(instructions, macs).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        format!("{name:<32} {instructions:>14} {macs:>12} {ratio:>8}\n")
    };
    let mut text = format!(
        "{} ({}), optimized for {}, {} frame(s); instructions, not cycles\n\n{:<32} {:>14} {:>12} {:>8}\n",
        board.name,
        board.core,
        optimize_name(report.optimize),
        report.frames,
        "layer",
        "instructions",
        "macs",
        "per mac"
    );
    for layer in &report.layers {
        text += &line(&layer.name, layer.instructions, layer.macs);
    }
    text += &line("total", report.instructions, report.macs);
    text += &line("checks at load, once", report.load_instructions, 0);
    let tables = report.flash_model_bytes.saturating_sub(report.flash_weight_bytes);
    let sections: Vec<String> = report.flash_sections.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    text += &format!(
        "\nflash: code {}, model {} (weights {}, tables {tables}); sections: {}\n\
         RAM: arena {} (of it scratch {}), other variables {}, deepest stack {}\n",
        report.flash_code_bytes,
        report.flash_model_bytes,
        report.flash_weight_bytes,
        sections.join(", "),
        report.arena_bytes,
        report.scratch_bytes,
        report.static_bytes,
        report.stack_bytes,
    );
    text
}

const fn optimize_name(optimize: Optimize) -> &'static str {
    match optimize {
        Optimize::Size => "size",
        Optimize::Speed => "speed",
    }
}

/// The checksum at the end of a model file, by which a report page knows whose figures these are.
fn model_crc32(model: &Path) -> Option<u32> {
    fs::read(model).ok()?.last_chunk().copied().map(u32::from_le_bytes)
}

/// The report as JSON: `model` as it was given, `measured` the file that was run. `ram_bytes` is what a session holds.
fn to_json(report: &BenchReport, model: &Path, measured: &Path) -> Value {
    let layers: Vec<Value> = report
        .layers
        .iter()
        .map(|layer| {
            json!({
                "name": layer.name,
                "instructions": layer.instructions,
                "macs": layer.macs,
                "instructions_per_mac": per_mac(layer.instructions, layer.macs),
                "weight_bytes": layer.weight_bytes,
            })
        })
        .collect();
    let sections: serde_json::Map<String, Value> =
        report.flash_sections.iter().map(|(name, bytes)| (name.clone(), json!(bytes))).collect();
    json!({
        "model": model.display().to_string(),
        "model_crc32": model_crc32(measured),
        "board": report.board.name,
        "core": report.board.core,
        "optimized_for": optimize_name(report.optimize),
        "frames": report.frames,
        "instructions": report.instructions,
        "instructions_per_mac": per_mac(report.instructions, report.macs),
        "load_instructions": report.load_instructions,
        "macs": report.macs,
        "ram_bytes": report.arena_bytes,
        "ram_scratch_bytes": report.scratch_bytes,
        "ram_static_bytes": report.static_bytes,
        "stack_bytes": report.stack_bytes,
        "flash_code_bytes": report.flash_code_bytes,
        "flash_model_bytes": report.flash_model_bytes,
        "flash_weight_bytes": report.flash_weight_bytes,
        "flash_sections": sections,
        "layers": layers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli_firmware_tools::LayerReport;

    fn report() -> BenchReport {
        let layer = |name: &str, instructions, macs| LayerReport {
            name: name.to_owned(),
            instructions,
            macs,
            weight_bytes: 36,
        };
        BenchReport {
            board: find("qemu-m0plus").unwrap(),
            optimize: Optimize::Size,
            frames: 2,
            instructions: 1_000,
            load_instructions: 77,
            macs: 400,
            layers: vec![layer("input", 10, 0), layer("conv1", 990, 400)],
            flash_code_bytes: 9_000,
            flash_model_bytes: 500,
            flash_weight_bytes: 72,
            flash_sections: vec![(".text".to_owned(), 9_500)],
            arena_bytes: 4_000,
            scratch_bytes: 40,
            static_bytes: 12,
            stack_bytes: 800,
            outputs: vec![],
        }
    }

    #[test]
    fn the_json_has_the_keys_that_are_promised() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.ocelli");
        fs::write(&model, [9, 9, 0x78, 0x56, 0x34, 0x12]).unwrap();
        let json = to_json(&report(), Path::new("m.ocelli"), &model);
        assert_eq!(json["model_crc32"], 0x1234_5678);
        for (key, value) in [
            ("instructions", 1_000),
            ("macs", 400),
            ("ram_bytes", 4_000),
            ("stack_bytes", 800),
            ("flash_code_bytes", 9_000),
            ("flash_model_bytes", 500),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
        assert_eq!(json["layers"][0]["instructions_per_mac"], Value::Null, "no division by zero");
        assert_eq!(json["layers"][1]["name"], "conv1");
        assert_eq!(json["layers"][1]["instructions_per_mac"], 2.475);
    }

    #[test]
    fn the_table_has_a_line_a_layer_and_the_total() {
        let text = table(&report());
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert_eq!(line("conv1").split_whitespace().collect::<Vec<_>>(), ["conv1", "990", "400", "2.48"]);
        assert_eq!(line("total").split_whitespace().collect::<Vec<_>>(), ["total", "1000", "400", "2.50"]);
        assert!(line("flash").contains("code 9000, model 500 (weights 72, tables 428)"));
        assert!(line("RAM").contains("arena 4000 (of it scratch 40), other variables 12, deepest stack 800"));
    }
}
