//! `cargo xtask interop`: exported networks in the runtimes of others, which must compute what ours does.
//!
//! A Python of its own, in `target/interop`, gets ONNX Runtime, LiteRT and tflite-micro in fixed versions; `tools/interop.py` runs every
//! file in them and prints how far they are from what `ocelli export --with-outputs` says. Then ONNX's node tests run here.

use crate::apt;
use crate::process::{self, cargo, root};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What Python gets.
const REQUIREMENTS: &str = "tools/interop-requirements.txt";
/// ONNX with the node tests of its backends, which newer wheels have no longer.
const ONNX_WITH_TESTS: &str = "onnx==1.17.0";
/// The program that compares.
const SCRIPT: &str = "tools/interop.py";
/// Pictures for the networks that were trained on digits, and for those with random weights of their size.
const DIGITS: &str = "data/mnist-10k";
/// Pictures, and inputs of noise, for each file.
const INPUTS: &str = "8";
/// Inputs for a network whose pictures take longer.
const FEW: &str = "2";

/// A network that is exported, how, and to which formats.
struct Case {
    name: &'static str,
    source: &'static str,
    arguments: &'static [&'static str],
    formats: &'static [&'static str],
}

const ALL: &[&str] = &["onnx", "onnx-qdq", "tflite"];
const QUANTIZED: &[&str] = &["onnx-qdq", "tflite"];
const WITH_DIGITS: &[&str] = &["--with-outputs", INPUTS, "--data", DIGITS];
const WITH_NOISE: &[&str] = &["--with-outputs", INPUTS];
const WITH_FEW: &[&str] = &["--with-outputs", FEW];
const RANDOM: &[&str] = &["--random-weights", "--with-outputs", INPUTS];
const RANDOM_WITH_DIGITS: &[&str] = &["--random-weights", "--with-outputs", INPUTS, "--data", DIGITS];

const fn case(
    name: &'static str,
    source: &'static str,
    arguments: &'static [&'static str],
    formats: &'static [&'static str],
) -> Case {
    Case { name, source, arguments, formats }
}

/// The shipped models, every layer that there is, networks of the zoo, and networks of others.
const CASES: &[Case] = &[
    case("mnist-cnn", "models/mnist-cnn", WITH_DIGITS, ALL),
    case("mnist-cnn-60k", "models/mnist-cnn-60k", WITH_DIGITS, ALL),
    case("cifar-cnn", "models/cifar-cnn", WITH_NOISE, ALL),
    case("ocellus", "models/ocellus", WITH_NOISE, ALL),
    case("resnet8", "models/resnet8", WITH_NOISE, ALL),
    case("every-layer", "tests/data/every-layer.toml", RANDOM_WITH_DIGITS, ALL),
    case("paddings", "tests/data/paddings.toml", RANDOM_WITH_DIGITS, ALL),
    case("ds-cnn", "ds-cnn", RANDOM, ALL),
    case("branches", "tests/models/branches_int8.tflite", WITH_NOISE, QUANTIZED),
    case("gated", "tests/models/gated_int8.tflite", WITH_NOISE, QUANTIZED),
    case("keras-digits", "tests/models/mnist_cnn_int8.tflite", WITH_NOISE, QUANTIZED),
    case("mlperf-resnet8", "tests/models/resnet8_made_int8.tflite", WITH_NOISE, QUANTIZED),
    case("mlperf-mobilenet", "tests/models/mobilenet_v1_025_96_made_int8.tflite", WITH_FEW, QUANTIZED),
    case("torch", "tests/models/torch_small.onnx", WITH_NOISE, &["onnx"]),
    case("onnx-quantizer", "tests/models/ort_qdq_small.onnx", WITH_NOISE, QUANTIZED),
];

/// Arguments of `interop`.
#[derive(Default, clap::Args)]
pub struct Args {
    /// Keep the exported files in this folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Exports networks and runs them in the runtimes of others.
pub fn run(args: &Args) -> Result<()> {
    let python = ensure_python()?;
    process::run(cargo().args(["build", "--release", "--quiet", "--package", "ocelli-host"]))?;
    let ocelli = target().join("release").join(format!("ocelli{}", std::env::consts::EXE_SUFFIX));
    let temporary = tempfile::Builder::new().prefix("ocelli-interop-").tempdir()?;
    let folder = args.keep.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let folder = folder.canonicalize()?;
    println!("interop: exports {} networks", CASES.len());
    for Case { name, source, arguments, formats } in CASES {
        for format in *formats {
            let ending = if *format == "onnx-qdq" { "qdq.onnx" } else { format };
            export(&ocelli, source, format, &folder.join(format!("{name}.{ending}")), arguments)?;
        }
    }
    for of in ["ocelli", "tflite"] {
        let (array, held) = (folder.join(format!("{of}-array.c")), folder.join(format!("{of}-array.c.bytes")));
        export(&ocelli, CASES[0].source, of, &held, &[])?;
        export(&ocelli, CASES[0].source, "c-array", &array, &["--of", of])?;
    }
    process::run(Command::new(&python).current_dir(root()).arg(SCRIPT).arg(&folder))?;
    let cases = target().join("interop/onnx-tests/onnx/backend/test/data/node");
    process::run(Command::new(&ocelli).current_dir(root()).args(["check", "--onnx-node-tests"]).arg(cases))
}

fn export(ocelli: &Path, source: &str, format: &str, out: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(ocelli);
    command.current_dir(root()).args(["export", source, "--format", format, "--out"]).arg(out).args(arguments);
    process::output(&mut command).map(drop)
}

/// The folder that cargo builds in.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Makes a Python with the runtimes, where it is missing or its list is another; returns the program.
pub fn ensure_python() -> Result<PathBuf> {
    let folder = target().join("interop");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let wanted = root().join(REQUIREMENTS);
    let wanted = std::fs::read_to_string(&wanted).with_context(|| wanted.display().to_string())?;
    let done = folder.join("requirements.txt");
    if python.exists() && std::fs::read_to_string(&done).is_ok_and(|there| there == wanted) {
        return Ok(python);
    }
    println!("interop: installs ONNX Runtime, LiteRT and tflite-micro into {} (80 MB)", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&folder);
    if !quietly(&mut make) {
        // Debian has the module in a package of its own
        if !apt::is_available() {
            bail!("`python3 -m venv` does not work here: install Python 3.11 with its module venv");
        }
        apt::update()?;
        apt::install(&["python3".to_owned(), "python3-venv".to_owned()])?;
        process::run(&mut make)?;
    }
    let mut install = Command::new(&python);
    install.current_dir(root()).args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "-r", REQUIREMENTS]);
    process::run(&mut install)?;
    let mut tests = Command::new(&python);
    tests.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--no-deps", ONNX_WITH_TESTS, "--target"]);
    process::run(tests.arg(folder.join("onnx-tests")))?;
    std::fs::write(&done, wanted).with_context(|| done.display().to_string())?;
    Ok(python)
}

/// Whether a command works.
fn quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
