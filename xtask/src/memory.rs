//! `cargo xtask sanitize` and `cargo xtask miri`: the tests of untrusted models where a read outside a slice, or undefined behaviour of
//! another sort, does not go unnoticed.

use crate::process::{self, cargo, is_installed, root};
use anyhow::{Context, Result};
use std::process::{Command, ExitCode, Stdio};

/// What the runtime's tests need to reach all of its kernels.
const TESTS: [&str; 9] =
    ["test", "--release", "--package", "ocelli", "--features", "threads", "--lib", "--test", "blocked"];
/// The tests of damaged model files.
const HOSTILE: [&str; 2] = ["--test", "hostile"];
/// The flag is not stable: the compiler takes it all the same when it is told so.
const ADDRESS: &str = "-Zsanitizer=address -Cdebug-assertions";

/// Runs the runtime's unit tests, the hostile model files and the fuzz targets' corpus under AddressSanitizer, or the hostile files under
/// valgrind where the compiler has no AddressSanitizer.
pub fn sanitize() -> Result<ExitCode> {
    let target = host_target()?;
    if has_address_sanitizer(&target)? {
        for (folder, tests) in [("", [&TESTS[..], &HOSTILE].concat()), ("fuzz", CORPUS.to_vec())] {
            let mut test = cargo();
            test.current_dir(root().join(folder)).args(tests).args(["--target", &target, "--target-dir"]);
            test.arg(root().join("target/sanitize")).env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", ADDRESS);
            // proptest keeps its strategies until the end
            process::run(test.env("ASAN_OPTIONS", "detect_leaks=0"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!("not run: AddressSanitizer: this compiler comes without its library for {target}");
    if !is_installed("valgrind") {
        println!("not run: valgrind is not installed; to install it: sudo apt-get install valgrind");
        return Ok(ExitCode::SUCCESS);
    }
    let mut test = cargo();
    test.args(["test", "--release", "--package", "ocelli", "--features", "threads"]).args(HOSTILE);
    let runner = format!("CARGO_TARGET_{}_RUNNER", target.to_uppercase().replace('-', "_"));
    process::run(test.env(runner, "valgrind --quiet --error-exitcode=1"))?;
    Ok(ExitCode::SUCCESS)
}

/// The committed corpus through the fuzz targets, without libFuzzer.
const CORPUS: [&str; 6] = ["test", "--release", "--no-default-features", "--locked", "--test", "corpus"];

/// Runs the committed corpus and changed model files through the fuzz targets.
pub fn corpus() -> Result<()> {
    let mut test = cargo();
    test.current_dir(root().join("fuzz")).args(CORPUS).arg("--target-dir").arg(root().join("target/fuzz"));
    process::run(&mut test)
}

/// Runs the runtime's unit tests and some hostile model files under Miri.
pub fn miri() -> Result<ExitCode> {
    let mut found = Command::new("cargo");
    found.args(["+nightly", "miri", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !found.status().is_ok_and(|status| status.success()) {
        println!(
            "not run: Miri is not installed; to install it: rustup toolchain install nightly --component miri,rust-src"
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut miri = Command::new("cargo");
    miri.current_dir(root()).args(["+nightly", "miri", "test", "--package", "ocelli", "--lib"]).args(HOSTILE);
    miri.args(["--target-dir", "target/miri"]);
    // a few cases of each property: Miri takes a thousand times as long; proptest looks for its files of regressions
    process::run(miri.env("PROPTEST_CASES", "4").env("MIRIFLAGS", "-Zmiri-disable-isolation"))?;
    Ok(ExitCode::SUCCESS)
}

/// The triple of this machine.
fn host_target() -> Result<String> {
    let version = process::output(Command::new(rustc()).args(["--version", "--verbose"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say which machine it is for")?.to_owned())
}

/// Whether the compiler comes with the sanitizer's library.
fn has_address_sanitizer(target: &str) -> Result<bool> {
    let libraries = process::output(Command::new(rustc()).args(["--print", "target-libdir", "--target", target]))?;
    // it lies beside the folder of the standard library
    let folder = std::path::Path::new(libraries.trim()).to_owned();
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let is_library = |name: &str| name.starts_with("librustc") && name.contains("rt.asan");
    Ok(entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_library)))
}

fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}
