//! Other computers with Linux: how programs are built for them here, and run under QEMU.

use crate::process::is_installed;
use crate::{apt, debian, setup};
use anyhow::{Result, bail};
use ocelli_firmware_tools::toolchain::{Choice, Toolchain, clean};
use std::path::Path;
use std::process::Command;

/// A kind of computer.
#[derive(Debug)]
pub struct Computer {
    /// Rust's name for it.
    pub target: &'static str,
    /// The cross compiler's program that links.
    pub linker: &'static str,
    /// QEMU's program for it.
    pub qemu: &'static str,
    /// Where Debian's cross compiler has its C library.
    pub libraries: &'static str,
    /// Debian's packages of the linker, the C library and QEMU.
    pub packages: [&'static str; 3],
    /// Folder of what is built for it, in `target`.
    pub folder: &'static str,
}

/// 64-bit Arm: a Raspberry Pi 3 or newer with a 64-bit system.
pub const AARCH64: Computer = Computer {
    target: "aarch64-unknown-linux-gnu",
    linker: "aarch64-linux-gnu-gcc",
    qemu: "qemu-aarch64-static",
    libraries: "/usr/aarch64-linux-gnu",
    packages: ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static"],
    folder: "aarch64",
};

/// 32-bit Arm with a floating-point unit: a Raspberry Pi 2 or newer with a 32-bit system.
pub const ARMV7: Computer = Computer {
    target: "armv7-unknown-linux-gnueabihf",
    linker: "arm-linux-gnueabihf-gcc",
    qemu: "qemu-arm-static",
    libraries: "/usr/arm-linux-gnueabihf",
    packages: ["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross", "qemu-user-static"],
    folder: "armv7",
};

/// Builds the parts of the standard library that a program or a test needs.
const BUILD_STD: &str = "-Zbuild-std=std,panic_unwind,test";

impl Computer {
    /// Installs the linker, the C library and QEMU, where they are missing.
    pub fn ensure_packages(&self) -> Result<()> {
        let Self { target, linker, qemu, libraries, packages, .. } = self;
        if [linker, qemu].into_iter().all(|program| is_installed(program))
            && Path::new(libraries).join("lib/libc.so").exists()
        {
            return Ok(());
        }
        if !apt::is_available() {
            bail!(
                "programs for {target} need {linker} with its C library in {libraries}, and {qemu}: on Debian the packages {}",
                packages.join(", ")
            );
        }
        apt::update()?;
        apt::install(&packages.map(str::to_owned))
    }

    /// A cargo that can build for it: the user's own, else Debian's, which builds the standard library from its source. Linker and runner
    /// are set; the command is still to be given.
    pub fn cargo(&self) -> Result<Command> {
        let mut cargo = self.bare_cargo()?;
        let variable = format!("CARGO_TARGET_{}", self.target.to_uppercase().replace('-', "_"));
        cargo.env(format!("{variable}_LINKER"), self.linker);
        cargo.env(format!("{variable}_RUNNER"), format!("{} -cpu max -L {}", self.qemu, self.libraries));
        Ok(cargo)
    }

    fn bare_cargo(&self) -> Result<Command> {
        let any = Choice::from_env()? == Choice::Any;
        if any && Toolchain::Installed.has_target(self.target) {
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
        setup::ensure_rustup_targets(&[self.target])?;
        Ok(Toolchain::Installed.cargo())
    }

    /// A program of it, run under QEMU.
    pub fn emulated(&self, program: &Path) -> Command {
        let mut command = Command::new(self.qemu);
        command.args(["-cpu", "max", "-L", self.libraries]).arg(program);
        command
    }
}
