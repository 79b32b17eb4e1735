//! `cargo xtask setup`: Rust targets and QEMU.

use crate::process::{is_installed, run};
use crate::{apt, debian};
use anyhow::{Context, Result, bail};
use ocelli_firmware_tools::boards::{BOARDS, Board};
use ocelli_firmware_tools::toolchain::{Choice, MissingTool, Toolchain, find_qemu};
use std::process::Command;

/// The bare-metal targets that the project supports.
pub const TARGETS: [&str; 5] = [
    "thumbv6m-none-eabi",
    "thumbv7m-none-eabi",
    "thumbv7em-none-eabihf",
    "thumbv8m.main-none-eabihf",
    "riscv32imc-unknown-none-elf",
];

/// What some task needs.
#[derive(Debug)]
pub struct Needs {
    targets: Vec<&'static str>,
    boards: Vec<&'static Board>,
}

impl Needs {
    /// All targets and all boards.
    pub fn everything() -> Self {
        Self { targets: TARGETS.to_vec(), boards: BOARDS.iter().collect() }
    }

    /// What running on one board needs.
    pub fn board(board: &'static Board) -> Self {
        Self { targets: vec![board.target], boards: vec![board] }
    }

    fn missing_targets(&self) -> Vec<&'static str> {
        self.targets.iter().copied().filter(|target| Toolchain::find(target).is_err()).collect()
    }

    fn missing_emulators(&self) -> Vec<&'static str> {
        let mut programs: Vec<_> = self.boards.iter().filter_map(|board| Some(board.emulator?.program)).collect();
        programs.sort_unstable();
        programs.dedup();
        programs.retain(|program| find_qemu(program).is_err());
        programs
    }
}

/// Installs what is missing of `needs`, after saying what that is.
pub fn ensure(needs: &Needs) -> Result<()> {
    let choice = Choice::from_env().map_err(|error: MissingTool| anyhow::anyhow!("{error}"))?;
    match choice {
        Choice::Debian => debian::ensure_packages(&needs.missing_emulators())?,
        Choice::Any => ensure_emulators(&needs.missing_emulators())?,
    }
    match choice {
        // One sysroot for all targets: it is built once.
        Choice::Debian => debian::ensure_sysroot(&TARGETS)?,
        Choice::Any => ensure_rustup_targets(&needs.missing_targets())?,
    }
    for target in &needs.targets {
        Toolchain::find(target).context("setup ended, but")?;
    }
    for emulator in needs.boards.iter().filter_map(|board| board.emulator) {
        find_qemu(emulator.program).context("setup ended, but")?;
    }
    println!("setup: everything is there ({})", there(needs));
    Ok(())
}

/// The targets and emulators, for a line.
fn there(needs: &Needs) -> String {
    let mut names: Vec<_> = needs.boards.iter().filter_map(|board| Some(board.emulator?.program)).collect();
    names.sort_unstable();
    names.dedup();
    let names = names.join(", ");
    let lists = [needs.targets.join(", "), names];
    lists.into_iter().filter(|list| !list.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Installs targets through rustup.
pub fn ensure_rustup_targets(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup: installs the Rust targets {} (through rustup)", missing.join(", "));
    if !is_installed("rustup") {
        bail!(
            "rustup is not installed: get it from https://rustup.rs, or on Debian run: OCELLI_TOOLCHAIN=debian cargo xtask setup"
        );
    }
    // The toolchain that firmware is built with: the user's default one, not a `+toolchain` of this command.
    let mut rustup = Command::new("rustup");
    rustup.env_remove("RUSTUP_TOOLCHAIN").current_dir(crate::process::root());
    run(rustup.args(["target", "add"]).args(missing))
}

/// Installs QEMU with the system's own package manager.
fn ensure_emulators(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup: installs QEMU: {}", missing.join(", "));
    if apt::is_available() {
        let packages: Vec<String> = missing.iter().map(|program| debian::qemu_package(program).to_owned()).collect();
        apt::update()?;
        return apt::install(&packages);
    }
    if is_installed("brew") {
        return run(Command::new("brew").args(["install", "qemu"]));
    }
    let programs = missing.join(" ");
    // Fedora names its packages as the programs are named, but for RISC-V of both widths; Arch has one for all.
    let packages = programs.replace("qemu-system-riscv32", "qemu-system-riscv");
    let by_hand = [("dnf", format!("sudo dnf install {packages}")), ("pacman", "sudo pacman -S qemu-full".into())];
    if let Some((_, install)) = by_hand.iter().find(|(manager, _)| is_installed(manager)) {
        bail!("QEMU is missing; run: {install}; then: cargo xtask setup");
    }
    bail!(
        "QEMU is missing: install {} (https://www.qemu.org/download), then run: cargo xtask setup",
        missing.join(", ")
    )
}
