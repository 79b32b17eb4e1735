//! `cargo xtask bench host`: what a model takes on this computer, beside tract and XNNPACK.

use crate::process::{self, cargo, root};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Arguments of `bench host`.
#[derive(Args)]
pub struct Host {
    /// A quantized .tflite file, or a compiled model (.ocelli) [default: ResNet-8, and two networks that tract runs too].
    #[arg(long)]
    model: Option<PathBuf>,
}

/// The model that is measured when none is given.
const MODEL: &str = "tests/models/resnet8_made_int8.tflite";
/// How XNNPACK is installed.
const INSTALL: &str = "pip install ai-edge-litert";
/// Prints the microseconds of an inference by XNNPACK with one thread and with two: the median of many.
const XNNPACK: &str = "
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
for threads in (1, 2):
    interpreter = Interpreter(model_path=sys.argv[1], num_threads=threads)
    interpreter.allocate_tensors()
    detail = interpreter.get_input_details()[0]
    interpreter.set_tensor(detail['index'], np.full(detail['shape'], 3, detail['dtype']))
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        interpreter.invoke()
    times = []
    end = time.perf_counter() + 2
    while time.perf_counter() < end:
        start = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - start)
    print(sorted(times)[len(times) // 2] * 1e6)
";

/// Measures and prints the table.
pub fn run(args: &Host) -> Result<ExitCode> {
    let given = args.model.as_deref();
    // tasks run at the root, but a path is one of the caller's
    let model = match given {
        Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
        None => root().join(MODEL),
    };
    let results = target_folder().join("criterion");
    let mut bench = cargo();
    bench.args(["bench", "--package", "ocelli-host", "--bench", "host"]);
    if given.is_some() {
        bench.env("OCELLI_BENCH_MODEL", &model);
    }
    let _ = fs::remove_dir_all(&results); // what is left of an earlier run is not of this one
    process::run(&mut bench)?;

    let mut rows = medians(&results)?;
    let name = model.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let note = match xnnpack(&model) {
        Ok(times) => {
            let threads = (1..).zip(times).map(|(n, us)| (name.clone(), format!("XNNPACK, threads {n}"), us));
            rows.extend(threads);
            None
        }
        Err(why) => Some(format!("XNNPACK: not run ({why})")),
    };
    println!("\n{}: microseconds an inference, the median of many; times are of this run alone\n", cpu());
    print!("{}", table(&rows));
    if let Some(note) = note {
        println!("{note}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where cargo writes.
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// A network, what ran it, and its time.
type Row = (String, String, f64);

/// Group, name and median (in microseconds) of every benchmark below a folder.
fn medians(folder: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for group in folders(folder)? {
        for bench in folders(&group)? {
            let (Ok(name), Ok(estimates)) =
                (read(&bench.join("new/benchmark.json")), read(&bench.join("new/estimates.json")))
            else {
                continue; // a report's folder
            };
            let text = |key: &str| name[key].as_str().unwrap_or_default().to_owned();
            let nanoseconds = estimates["median"]["point_estimate"].as_f64().context("no median")?;
            rows.push((text("group_id"), text("function_id"), nanoseconds / 1e3));
        }
    }
    Ok(rows)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    Ok(folders)
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

/// XNNPACK's times by threads, or why there are none.
fn xnnpack(model: &Path) -> std::result::Result<Vec<f64>, String> {
    if model.extension().is_none_or(|extension| extension != "tflite") {
        return Err("it takes .tflite files".to_owned());
    }
    let output = Command::new("python3").args(["-c", XNNPACK]).arg(model).output();
    let output = output.map_err(|_| format!("python3 is missing; then {INSTALL}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let times: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    if output.status.success() && !times.is_empty() {
        return Ok(times);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let missing = error.contains("ModuleNotFoundError");
    Err(if missing { format!("to have it: {INSTALL}") } else { error.lines().last().unwrap_or("it failed").to_owned() })
}

/// The table: networks in order, each time next to that of one thread of ours.
fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<24} {:<32} {:>10} {:>14}\n", "network", "", "us", "of ocelli's");
    for (network, what, us) in rows {
        let ours = rows.iter().find(|(other, what, _)| other == network && what == "ocelli, threads 1");
        let ratio = ours.map_or_else(|| "-".to_owned(), |(_, _, ours)| format!("{:.2}", us / ours));
        text += &format!("{network:<24} {what:<32} {us:>10.1} {ratio:>14}\n");
    }
    text
}

/// The CPU's name.
pub fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = ["model name", "Model"].iter();
    let line = names.filter_map(|name| text.lines().find(|line| line.starts_with(name))).next();
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| format!("a CPU without a name ({})", std::env::consts::ARCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_each_time_to_one_thread_of_ours() {
        let row = |what: &str, us| ("n".to_owned(), what.to_owned(), us);
        let text = table(&[row("ocelli, threads 1", 50.0), row("XNNPACK, threads 1", 40.0)]);
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last, ["n", "XNNPACK,", "threads", "1", "40.0", "0.80"]);
    }
}
