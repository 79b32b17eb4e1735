//! `cargo xtask bench host`: what a model takes on this computer, beside tract and XNNPACK.

use crate::process::{self, cargo, root};
use anyhow::{Context, Result, ensure};
use clap::Args;
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
    let mut bench = cargo();
    bench.args(["bench", "--package", "ocelli-host", "--bench", "host"]);
    if given.is_some() {
        bench.env("OCELLI_BENCH_MODEL", &model);
    }
    let mut rows = medians(&process::shown_output(&mut bench)?)?;
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

/// Network, name and median (in microseconds) of every row that divan printed.
fn medians(text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in text.lines() {
        // the tree's branches, then name and fastest time, slowest, median, mean, samples, iterations
        let line = line.trim_start_matches([' ', '│', '├', '╰', '─']);
        let columns: Vec<&str> = line.split('│').map(str::trim).collect();
        let [first, _, median, ..] = columns[..] else { continue };
        let Some((network, first)) = first.split_once('/') else { continue }; // a heading
        let row = || {
            let (name, _) = first.rsplit_once(' ')?.0.rsplit_once(' ')?;
            Some((network.to_owned(), name.trim_end().to_owned(), microseconds(median)?))
        };
        rows.push(row().with_context(|| format!("not a row of divan's table: {line}"))?);
    }
    ensure!(!rows.is_empty(), "the benchmark printed no table of divan's");
    Ok(rows)
}

/// A time as divan writes it, such as `51.98 µs`, in microseconds.
fn microseconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let scale = match unit {
        "ns" => 1e-3,
        "µs" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
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
    fn the_medians_of_divans_table_are_read() {
        let text = "\
Timer precision: 20 ns
host                                fastest       │ slowest       │ median        │ mean          │ samples │ iters
╰─ inference                                      │               │               │               │         │
   ├─ resnet8/ocelli, threads 1     51.2 µs       │ 99.1 µs       │ 52.45 µs      │ 53 µs         │ 9000    │ 9000
   ╰─ resnet8/tract, int8 (as is)   2.1 ms        │ 3.1 ms        │ 2.184 ms      │ 2.2 ms        │ 900     │ 900
";
        let row = |name: &str, us| ("resnet8".to_owned(), name.to_owned(), us);
        assert_eq!(medians(text).unwrap(), [row("ocelli, threads 1", 52.45), row("tract, int8 (as is)", 2184.0)]);
        assert!(medians("error").is_err());
        assert!(medians("├─ a/b   1 µs  │ 2 µs  │ 3 parsecs  │").is_err(), "a unit that is not known");
    }

    #[test]
    fn the_table_holds_each_time_to_one_thread_of_ours() {
        let row = |what: &str, us| ("n".to_owned(), what.to_owned(), us);
        let text = table(&[row("ocelli, threads 1", 50.0), row("XNNPACK, threads 1", 40.0)]);
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last, ["n", "XNNPACK,", "threads", "1", "40.0", "0.80"]);
    }
}
