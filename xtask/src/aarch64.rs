//! The kernels of 64-bit Arm (NEON and its dot products) on computers of another kind: the runtime's tests under QEMU.

use crate::linux::AARCH64;
use crate::process::{self, root};
use anyhow::Result;

/// Runs the tests of the block kernels.
pub fn test() -> Result<()> {
    if cfg!(target_arch = "aarch64") {
        println!("this computer is one: `test` has run them");
        return Ok(());
    }
    AARCH64.ensure_packages()?;
    let mut test = AARCH64.cargo()?;
    test.current_dir(root()).args(["test", "--release", "--locked", "--package", "ocelli", "--features", "threads"]);
    test.args(["--test", "blocked", "--target", AARCH64.target, "--target-dir", "target/aarch64"]);
    process::run(test.env("OCELLI_REQUIRE_LEVEL", "neon-dot"))
}
