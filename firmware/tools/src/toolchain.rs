//! Finds a Rust toolchain for a bare-metal target, and QEMU. `cargo xtask setup` installs what is missing.

use crate::boards::{Board, Emulator, NotEmulated};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A tool that is needed and not there. The message is one line; where something can be installed it ends with the command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingTool {
    /// No Rust toolchain has the core library of a target.
    #[error("the Rust target {target} is not installed; to install it: cargo xtask setup")]
    Target {
        /// The target.
        target: String,
    },
    /// The emulator is not on the search path.
    #[error("{program} (QEMU) is not installed; to install it: cargo xtask setup")]
    Qemu {
        /// The program.
        program: String,
    },
    /// There is no emulator for the board.
    #[error(transparent)]
    Emulator(#[from] NotEmulated),
    /// `OCELLI_TOOLCHAIN` has a value that means nothing.
    #[error("OCELLI_TOOLCHAIN={value} is not known; unset it, or: OCELLI_TOOLCHAIN=debian cargo xtask setup")]
    Choice {
        /// The value.
        value: String,
    },
}

/// A Rust toolchain that can build for bare metal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The user's own cargo and rustc.
    Installed,
    /// The sysroot that `cargo xtask setup` makes of Debian's packages.
    Debian {
        /// Where it is.
        sysroot: PathBuf,
    },
}

impl Toolchain {
    /// A toolchain that has `target`: the user's own, else the one made of Debian's packages; only that one where the
    /// environment says `OCELLI_TOOLCHAIN=debian`.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(target: &str) -> Result<Self, MissingTool> {
        let candidates = match Choice::from_env()? {
            Choice::Debian => vec![Self::debian()],
            Choice::Any => vec![Self::Installed, Self::debian()],
        };
        let missing = MissingTool::Target { target: target.to_owned() };
        candidates.into_iter().find(|toolchain| toolchain.has_target(target)).ok_or(missing)
    }

    /// The toolchain made of Debian's packages, whether it is there or not.
    #[must_use]
    pub fn debian() -> Self {
        Self::Debian { sysroot: debian_sysroot() }
    }

    /// Whether the core library of `target` is there, made by the compiler that would use it.
    #[must_use]
    pub fn has_target(&self, target: &str) -> bool {
        let lib_dir = match self {
            Self::Installed => {
                let output = clean("rustc").args(["--print", "target-libdir", "--target", target]).output();
                output
                    .ok()
                    .filter(|out| out.status.success())
                    .map(|out| PathBuf::from(String::from_utf8_lossy(&out.stdout).trim_end()))
            }
            Self::Debian { sysroot } => {
                let usable = sysroot.join("bin/cargo").exists() && is_current(sysroot);
                usable.then(|| target_lib_dir(sysroot, target))
            }
        };
        lib_dir.is_some_and(|dir| has_core(&dir))
    }

    /// A cargo command of this toolchain, free of what an outer cargo has set.
    #[must_use]
    pub fn cargo(&self) -> Command {
        match self {
            Self::Installed => clean("cargo"),
            Self::Debian { sysroot } => {
                let mut command = clean(sysroot.join("bin/cargo"));
                command.env("RUSTC", sysroot.join("bin/rustc")).env("RUSTDOC", sysroot.join("bin/rustdoc"));
                command
            }
        }
    }

    /// A `cargo clippy` command of this toolchain; `None` when it has no clippy.
    #[must_use]
    pub fn clippy(&self) -> Option<Command> {
        let mut command = match self {
            Self::Installed => self.cargo(),
            Self::Debian { sysroot } => {
                // By its path, for cargo would look for it in rustup's folder first; it does not pass through our rustc.
                let program = sysroot.join("bin/cargo-clippy");
                if !program.exists() {
                    return None;
                }
                let mut command = clean(program);
                command.env("CARGO", sysroot.join("bin/cargo")).env("RUSTC", sysroot.join("bin/rustc"));
                command.env("SYSROOT", sysroot);
                command
            }
        };
        command.arg("clippy");
        Some(command)
    }
}

/// What `OCELLI_TOOLCHAIN` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Whatever there is.
    Any,
    /// Debian's packages only.
    Debian,
}

impl Choice {
    /// Reads the environment.
    ///
    /// # Errors
    /// When the value is neither empty nor `debian`.
    pub fn from_env() -> Result<Self, MissingTool> {
        match env::var_os("OCELLI_TOOLCHAIN") {
            Some(value) if value == "debian" => Ok(Self::Debian),
            Some(value) if !value.is_empty() => {
                Err(MissingTool::Choice { value: value.to_string_lossy().into_owned() })
            }
            _ => Ok(Self::Any),
        }
    }
}

/// Where the toolchain made of Debian's packages lies: `$XDG_DATA_HOME/ocelli/debian-sysroot`, by default below
/// `~/.local/share`.
#[must_use]
pub fn debian_sysroot() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(set("HOME")?.join(".local/share")));
    data.unwrap_or_else(env::temp_dir).join("ocelli/debian-sysroot")
}

/// The folder of a target's libraries in a sysroot.
#[must_use]
pub fn target_lib_dir(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}

/// Whether a folder of libraries has the core library.
#[must_use]
pub fn has_core(lib_dir: &Path) -> bool {
    let is_core = |name: &OsStr| name.to_str().is_some_and(|n| n.starts_with("libcore-") && n.ends_with(".rlib"));
    let Ok(entries) = lib_dir.read_dir() else { return false };
    entries.flatten().any(|entry| is_core(&entry.file_name()))
}

/// Whether the libraries of Debian's sysroot are of the compiler that is installed now: an update leaves them behind, and no
/// other version reads them. The sysroot's stamp is a line of `cargo xtask setup`'s own and then the compiler's version.
fn is_current(sysroot: &Path) -> bool {
    let stamp = fs::read_to_string(sysroot.join("stamp")).unwrap_or_default();
    let Some((_, made_by)) = stamp.split_once('\n') else { return false };
    let version = clean(sysroot.join("bin/rustc")).arg("-vV").output();
    version.is_ok_and(|out| out.status.success() && out.stdout.trim_ascii() == made_by.trim().as_bytes())
}

/// The emulator of a board, which is on the search path.
///
/// # Errors
/// When nothing emulates the board, or QEMU is not there.
pub fn find_emulator(board: &Board) -> Result<&Emulator, MissingTool> {
    let emulator = board.emulator()?;
    find_qemu(emulator.program)?;
    Ok(emulator)
}

/// Looks for one of QEMU's programs on the search path.
///
/// # Errors
/// When it is not there.
pub fn find_qemu(program: &str) -> Result<(), MissingTool> {
    let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(MissingTool::Qemu { program: program.to_owned() }),
    }
}

/// A command without the variables by which an outer cargo or rustup would steer an inner one.
#[must_use]
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(steers_cargo) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether a variable chooses compiler, flags, profile or folders; the user's settings for the registry, the network and the
/// number of jobs do not.
fn steers_cargo(name: &str) -> bool {
    const KEPT: [&str; 6] =
        ["CARGO_BUILD_JOBS", "CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_TERM_"];
    let cargo = name == "CARGO" || name.starts_with("CARGO_");
    let rust = ["RUSTC", "RUSTDOC", "RUSTFLAGS", "RUST_RECURSION_COUNT", "RUSTUP_TOOLCHAIN"];
    (cargo && !KEPT.iter().any(|kept| name.starts_with(kept))) || rust.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_cargo_keeps_the_registry_and_loses_the_flags() {
        for name in [
            "CARGO",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_MANIFEST_DIR",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_DIR",
        ] {
            assert!(steers_cargo(name), "{name}");
        }
        for name in ["RUSTC", "RUSTC_WRAPPER", "RUSTDOCFLAGS", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
            assert!(steers_cargo(name), "{name}");
        }
        for name in [
            "CARGO_BUILD_JOBS",
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_MINE_INDEX",
            "RUSTUP_HOME",
            "PATH",
            "RUST_BACKTRACE",
        ] {
            assert!(!steers_cargo(name), "{name}");
        }
    }

    #[test]
    fn every_missing_tool_is_one_line_that_ends_with_the_command() {
        let missing = [
            MissingTool::Target { target: "thumbv6m-none-eabi".into() },
            MissingTool::Qemu { program: "qemu-system-arm".into() },
            MissingTool::Choice { value: "fedora".into() },
        ];
        for tool in missing {
            let text = tool.to_string();
            assert!(text.ends_with("cargo xtask setup") && !text.contains('\n'), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_sysroot_counts_with_the_core_library_of_its_own_compiler_only() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let toolchain = Toolchain::Debian { sysroot: dir.path().to_owned() };
        let is_usable = || toolchain.has_target("thumbv6m-none-eabi");
        assert!(!is_usable());
        let lib = target_lib_dir(dir.path(), "thumbv6m-none-eabi");
        fs::create_dir_all(&lib).unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("cargo"), "").unwrap();
        fs::write(bin.join("rustc"), "#!/bin/sh\necho rustc 1.96.0\necho host: here\n").unwrap();
        fs::set_permissions(bin.join("rustc"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("stamp"), "recipe 1\nrustc 1.96.0\nhost: here").unwrap();
        assert!(!is_usable());
        fs::write(lib.join("libcore-0123.rlib"), "").unwrap();
        assert!(is_usable());
        for stamp in ["recipe 1\nrustc 1.95.0\nhost: here", "recipe 1\n", ""] {
            fs::write(dir.path().join("stamp"), stamp).unwrap();
            assert!(!is_usable(), "{stamp}");
        }
    }
}
