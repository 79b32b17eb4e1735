//! The kernels of 64-bit Arm (NEON and its dot products) on computers of another kind: the runtime's tests under QEMU.

use crate::process::{self, is_installed, root};
use crate::{apt, debian, setup};
use anyhow::{Result, bail};
use ocelli_firmware_tools::toolchain::{Choice, Toolchain, clean};
use std::path::Path;
use std::process::Command;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const QEMU: &str = "qemu-aarch64-static";
/// Where Debian's cross compiler has its C library.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";
/// Debian's packages of the linker, the C library and QEMU.
const PACKAGES: [&str; 3] = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static"];
/// Builds the parts of the standard library that a test needs.
const BUILD_STD: &str = "-Zbuild-std=std,panic_unwind,test";

/// Runs the tests of the block kernels.
pub fn test() -> Result<()> {
    if cfg!(target_arch = "aarch64") {
        println!("this computer is one: `test` has run them");
        return Ok(());
    }
    ensure_packages()?;
    let mut test = cargo()?;
    test.current_dir(root()).args(["test", "--release", "--locked", "--package", "ocelli", "--features", "threads"]);
    test.args(["--test", "blocked", "--target", TARGET, "--target-dir", "target/aarch64"]);
    test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", format!("{QEMU} -cpu max -L {LIBRARIES}"));
    process::run(test.env("OCELLI_REQUIRE_LEVEL", "neon-dot"))
}

fn ensure_packages() -> Result<()> {
    if [LINKER, QEMU].into_iter().all(is_installed) && Path::new(LIBRARIES).join("lib/libc.so").exists() {
        return Ok(());
    }
    if !apt::is_available() {
        bail!(
            "tests for 64-bit Arm need {LINKER} with its C library in {LIBRARIES}, and {QEMU}: on Debian the packages {}",
            PACKAGES.join(", ")
        );
    }
    apt::update()?;
    apt::install(&PACKAGES.map(str::to_owned))
}

/// A cargo that can build for [`TARGET`]: the user's own, else Debian's, which builds the standard library from its source.
fn cargo() -> Result<Command> {
    let any = Choice::from_env()? == Choice::Any;
    if any && Toolchain::Installed.has_target(TARGET) {
        return Ok(Toolchain::Installed.cargo());
    }
    if debian::has_library_source() {
        let mut cargo = clean(debian::CARGO);
        // a -Z option on a stable compiler, as for the firmware's core library
        cargo.env("RUSTC", debian::RUSTC).env("RUSTC_BOOTSTRAP", "1").arg(BUILD_STD);
        return Ok(cargo);
    }
    if !any {
        bail!("Debian's library source is missing; to install it: OCELLI_TOOLCHAIN=debian cargo xtask setup");
    }
    setup::ensure_rustup_targets(&[TARGET])?;
    Ok(Toolchain::Installed.cargo())
}
