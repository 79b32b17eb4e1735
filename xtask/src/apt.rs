//! Debian's packages.

use crate::platform::is_root;
use crate::process::{is_installed, output, run};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Whether this system has apt.
pub fn is_available() -> bool {
    is_installed("apt-get")
}

/// Whether a package is installed.
pub fn has(package: &str) -> bool {
    installed(package).is_some()
}

/// The version of a package that is installed.
pub fn installed(package: &str) -> Option<String> {
    let status = output(Command::new("dpkg-query").args(["-W", "-f=${Status} ${Version}\\n", package])).ok()?;
    status.lines().find_map(installed_version)
}

/// The version in a line such as `install ok installed 1.96.0+dfsg1-1`.
fn installed_version(status: &str) -> Option<String> {
    Some(status.split_once(" ok installed ")?.1.to_owned())
}

/// Fetches the lists of packages.
pub fn update() -> Result<()> {
    run(as_root("apt-get").args(["update", "-q"]))
}

/// The version that would be installed; `None` when no source offers the package.
pub fn candidate(package: &str) -> Option<String> {
    let policy = output(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package])).ok()?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// Names of the packages that match a regular expression.
pub fn search(pattern: &str) -> Vec<String> {
    let found = output(Command::new("apt-cache").args(["search", "--names-only", pattern])).unwrap_or_default();
    found.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Installs packages, as root.
pub fn install(packages: &[String]) -> Result<()> {
    for package in packages {
        if candidate(package).is_none() {
            bail!("apt offers no package {package}: add a source that has it, then run: cargo xtask setup");
        }
    }
    let mut command = as_root("apt-get");
    command.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    run(&mut command).context("installing packages failed; install them by hand, then run: cargo xtask setup")
}

/// A command that runs with root's rights: through sudo, unless we have them.
fn as_root(program: &str) -> Command {
    let mut command = if is_root() { Command::new("env") } else { Command::new("sudo") };
    // Behind `env` on both ways, so that no package asks questions.
    if !is_root() {
        command.arg("env");
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_installed_package_has_a_version() {
        assert_eq!(installed_version("install ok installed 1.63.0+dfsg1-2").as_deref(), Some("1.63.0+dfsg1-2"));
        assert_eq!(installed_version("hold ok installed 1:22.1.8-1").as_deref(), Some("1:22.1.8-1"));
        for status in ["unknown ok not-installed ", "deinstall ok config-files 1.63.0", "install ok unpacked 1.63.0"] {
            assert_eq!(installed_version(status), None);
        }
    }
}
