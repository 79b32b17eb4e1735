//! `cargo xtask gpu` and `cargo xtask remote`: what needs more than the one feature set of the workspace.
//!
//! Both build the command with all of [`FEATURES`], so that there is one build, in a target folder of its own.

use crate::apt;
use crate::process::{cargo, line, root, run};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const FEATURES: &str = "wgpu,remote";
/// Below the repository's root.
const TARGET: &str = "target/gpu";
/// Debian's software Vulkan (llvmpipe), and the loader with it.
const PACKAGE: &str = "mesa-vulkan-drivers";
/// Where Vulkan's drivers are listed.
const DRIVERS: [&str; 2] = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
const DATA: &str = "data/mnist-10k";
/// Steps whose losses must be those of the CPU.
const STEPS: usize = 10;
/// How far the first may be off, as a share of the loss, and the last of them: rounding adds up from step to step.
const TOLERANCES: [f64; 2] = [1e-5, 1e-2];

/// Without dropout, whose random numbers differ from device to device.
const NETWORK: &str = r#"
name = "gpu-cnn"
[input]
height = 28
width = 28
color = "gray"
mean = [0.1307]
std = [0.3081]
[[layer]]
type = "conv2d"
filters = 16
kernel = 3
[[layer]]
type = "batch_norm"
[[layer]]
type = "relu"
[[layer]]
type = "max_pool2d"
kernel = 2
[[layer]]
type = "conv2d"
filters = 32
kernel = 3
activation = "relu"
[[layer]]
type = "max_pool2d"
kernel = 2
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
units = 10
[[layer]]
type = "softmax"
"#;

/// Trains on the GPU (or on Mesa's software Vulkan) and on the CPU, and compares.
pub fn gpu() -> Result<()> {
    install()?;
    let program = build()?;
    let folder = tempfile::Builder::new().prefix("ocelli-gpu-").tempdir()?;
    let network = folder.path().join("net.toml");
    std::fs::write(&network, NETWORK)?;
    let train = |backend: &str| -> Result<Training> {
        let out = folder.path().join(backend);
        let mut command = Command::new(&program);
        command.current_dir(root()).args(["train", "--data", DATA, "--epochs", "1", "--batch-size", "64"]);
        command.args(["--optimizer", "sgd", "--momentum", "0.9", "--learning-rate", "0.02"]);
        command.args(["--backend", backend, "--network"]).arg(&network).arg("--out").arg(&out);
        run(&mut command)?;
        Training::read(&out)
    };
    let (flex, wgpu) = (train("flex")?, train("wgpu")?);
    println!("\nstep  loss on flex  loss on wgpu");
    for (step, (a, b)) in flex.losses.iter().zip(&wgpu.losses).enumerate().take(STEPS) {
        println!("{:>4}  {a:>12.6}  {b:>12.6}", step + 1);
    }
    println!("\nimages a second of the epoch, validation included: flex {:.0}, wgpu {:.0}", flex.rate, wgpu.rate);
    judge(&flex.losses, &wgpu.losses)?;
    println!("gpu: wgpu trains as flex does");
    Ok(())
}

/// Runs the tests of remote devices.
pub fn remote() -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--release", "--package", "ocelli-host", "--features", FEATURES, "--target-dir", TARGET]);
    // the smallest program that shows what Burn cannot do is built, so that it stays one
    run(test.args(["--test", "remote", "--example", "remote_fusion"]))
}

/// Installs software Vulkan where there is no driver at all.
fn install() -> Result<()> {
    let listed = |folder: &&str| std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
    if DRIVERS.iter().any(listed) {
        return Ok(());
    }
    ensure!(apt::is_available(), "there is no Vulkan driver here: install one (Debian: {PACKAGE})");
    println!("setup: installs {PACKAGE}: Vulkan in software, for there is no driver of a GPU");
    apt::update()?;
    apt::install(&[PACKAGE.to_owned()])
}

/// Builds the command and gives its path.
fn build() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "ocelli-host", "--features", FEATURES, "--target-dir", TARGET]);
    run(&mut build)?;
    let program = root().join(TARGET).join("release/ocelli");
    ensure!(program.is_file(), "{} built no {}", line(&build), program.display());
    Ok(program)
}

/// What a training left.
struct Training {
    /// Of each step.
    losses: Vec<f64>,
    /// Images a second.
    rate: f64,
}

impl Training {
    fn read(folder: &Path) -> Result<Self> {
        let table = |name: &str| -> Result<String> {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let (batches, history) = (table("batches.csv")?, table("history.csv")?);
        let images = last(&column(&batches, "images")?)?;
        Ok(Self { losses: column(&batches, "batch_loss")?, rate: images / last(&column(&history, "seconds")?)? })
    }
}

fn last(values: &[f64]) -> Result<f64> {
    values.last().copied().context("a table without rows")
}

/// A column of a CSV file by its name.
fn column(text: &str, name: &str) -> Result<Vec<f64>> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let index = header.split(',').position(|column| column == name).with_context(|| format!("no column {name}"))?;
    let cell = |line: &str| line.split(',').nth(index).and_then(|cell| cell.parse().ok());
    lines.map(|line| cell(line).with_context(|| format!("no number {name} in: {line}"))).collect()
}

/// Refuses losses that are not those of the CPU at first, or do not fall.
fn judge(flex: &[f64], wgpu: &[f64]) -> Result<()> {
    ensure!(flex.len() == wgpu.len() && flex.len() > 4 * STEPS, "{} and {} steps", flex.len(), wgpu.len());
    for (step, (a, b)) in flex.iter().zip(wgpu).enumerate().take(STEPS) {
        if (a - b).abs() > TOLERANCES[usize::from(step > 0)] * a.abs() {
            bail!("step {}: the loss is {b} on wgpu and {a} on flex", step + 1);
        }
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, end) = (mean(&wgpu[..STEPS]), mean(&wgpu[wgpu.len() - STEPS..]));
    ensure!(end < first / 2.0, "the loss does not fall on wgpu: {first} in the first {STEPS} steps, {end} in the last");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_that_differ_or_stay_are_refused() {
        let falling: Vec<f64> = (0..60).map(|step| 2.3 - f64::from(step) * 0.03).collect();
        judge(&falling, &falling).unwrap();
        let mut other = falling.clone();
        other[3] *= 1.02;
        assert!(judge(&falling, &other).unwrap_err().to_string().contains("step 4"));
        let level = vec![2.3; 60];
        assert!(judge(&level, &level).unwrap_err().to_string().contains("does not fall"));
        assert!(judge(&falling, &falling[..50]).is_err());
    }

    #[test]
    fn columns_are_found_by_name() {
        assert_eq!(column("a,b\n1,2\n3,4.5\n", "b").unwrap(), [2.0, 4.5]);
        assert!(column("a,b\n1,2\n", "c").is_err());
        assert!(column("a,b\n1\n", "b").is_err());
    }
}
