//! The programs that write to chips through a debug probe or a serial loader: probe-rs and espflash. They are called as they are installed;
//! where they are not, the error says how to install them and what to run by hand.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// How to install probe-rs.
const INSTALL_PROBE_RS: &str =
    "cargo install probe-rs-tools --locked (or see https://probe.rs/docs/getting-started/installation)";
/// How to install espflash.
const INSTALL_ESPFLASH: &str = "cargo install espflash --locked";

/// The programs, by name or path, and which of several boards they are to use. Where that is not said and there are several, they ask on a
/// terminal, and fail elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// probe-rs.
    pub probe_rs: PathBuf,
    /// espflash.
    pub espflash: PathBuf,
    /// The debug probe, as probe-rs has it: `VID:PID` or `VID:PID:SERIAL`.
    pub probe: Option<String>,
    /// The serial port, for espflash.
    pub port: Option<String>,
}

impl Default for Programs {
    /// Those on the search path.
    fn default() -> Self {
        Self { probe_rs: "probe-rs".into(), espflash: "espflash".into(), probe: None, port: None }
    }
}

/// Why a program did not do its work. What it said itself stands above.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not installed.
    #[error("{program} is not installed; to install it: {install}; then, by hand: {by_hand}")]
    Missing {
        /// The program.
        program: String,
        /// What installs it.
        install: &'static str,
        /// What it was to be called with.
        by_hand: String,
    },
    /// It could not be started.
    #[error("cannot start {program}: {error}")]
    Start {
        /// The program.
        program: String,
        /// The reason.
        error: io::Error,
    },
    /// It failed.
    #[error(
        "`{command}` failed ({status}): is the board plugged in, is its probe free? `{list}` lists what is connected"
    )]
    Failed {
        /// How it was called.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What shows the probes or ports.
        list: &'static str,
    },
}

impl Programs {
    /// Writes an ELF file to a chip through a debug probe and restarts it. The program's own words and bars are seen.
    ///
    /// # Errors
    /// When probe-rs is missing or fails.
    pub fn probe_rs_flash(&self, chip: &str, elf: &Path) -> Result<(), ProgramError> {
        let target = self.target(chip);
        // the download leaves the core halted
        let reset = [&[OsStr::new("reset")], &target[..]].concat();
        let download = self.probe_rs().run(&[&[OsStr::new("download")], &target[..], &[elf.as_os_str()]].concat());
        if let Err(ProgramError::Missing { program, install, by_hand }) = download {
            let by_hand = format!("{by_hand}; {}", in_words(&self.probe_rs, &reset));
            return Err(ProgramError::Missing { program, install, by_hand });
        }
        download?;
        self.probe_rs().run(&reset)
    }

    /// Writes an ELF file to a chip through a debug probe, starts it, and shows what it logs (defmt over RTT) until the program is ended.
    ///
    /// # Errors
    /// When probe-rs is missing or fails.
    pub fn probe_rs_run(&self, chip: &str, elf: &Path) -> Result<(), ProgramError> {
        self.probe_rs().run(&[&[OsStr::new("run")], &self.target(chip)[..], &[elf.as_os_str()]].concat())
    }

    /// Writes an ELF file to an ESP chip over its serial port and restarts it.
    ///
    /// # Errors
    /// When espflash is missing or fails.
    pub fn espflash(&self, chip: &str, elf: &Path) -> Result<(), ProgramError> {
        let mut arguments: Vec<&OsStr> = ["flash", "--chip", chip].map(OsStr::new).to_vec();
        if let Some(port) = &self.port {
            arguments.extend(["--port", port].map(OsStr::new));
        }
        arguments.push(elf.as_os_str());
        Call { program: &self.espflash, install: INSTALL_ESPFLASH, list: "espflash list-ports" }.run(&arguments)
    }

    /// What tells probe-rs the chip and the probe.
    fn target<'a>(&'a self, chip: &'a str) -> Vec<&'a OsStr> {
        let mut arguments = ["--chip", chip].map(OsStr::new).to_vec();
        if let Some(probe) = &self.probe {
            arguments.extend(["--probe", probe].map(OsStr::new));
        }
        arguments
    }

    fn probe_rs(&self) -> Call<'_> {
        Call { program: &self.probe_rs, install: INSTALL_PROBE_RS, list: "probe-rs list" }
    }
}

/// A program that is to be called.
struct Call<'c> {
    program: &'c Path,
    install: &'static str,
    list: &'static str,
}

impl Call<'_> {
    fn run(&self, arguments: &[&OsStr]) -> Result<(), ProgramError> {
        let program = self.program.display().to_string();
        let command = in_words(self.program, arguments);
        // A program that has a question may ask the user; elsewhere it must not wait for an answer.
        let input = if io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::null() };
        match Command::new(self.program).args(arguments).stdin(input).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(ProgramError::Failed { command, status, list: self.list }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(ProgramError::Missing { program, install: self.install, by_hand: command })
            }
            Err(error) => Err(ProgramError::Start { program, error }),
        }
    }
}

/// A command line that can be given to a shell.
fn in_words(program: &Path, arguments: &[&OsStr]) -> String {
    let word = |word: &OsStr| {
        let text = word.to_string_lossy();
        let is_plain = |c: char| c.is_alphanumeric() || "-_./:=+,@".contains(c);
        if !text.is_empty() && text.chars().all(is_plain) { text.into_owned() } else { format!("'{text}'") }
    };
    let words: Vec<OsString> =
        std::iter::once(program.as_os_str()).chain(arguments.iter().copied()).map(OsStr::to_owned).collect();
    words.iter().map(|each| word(each)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A program that takes note of how it is called, and ends with a code.
    fn fake(folder: &Path, code: u8) -> PathBuf {
        let path = folder.join("fake");
        let text = format!(
            "#!/bin/sh\nfor a in \"$@\"; do printf '%s|' \"$a\"; done >> {0}.calls\necho >> {0}.calls\nexit {code}\n",
            path.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn calls(program: &Path) -> Vec<String> {
        let text = fs::read_to_string(program.with_extension("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn programs(path: &Path) -> Programs {
        Programs { probe_rs: path.to_owned(), espflash: path.to_owned(), ..Programs::default() }
    }

    #[test]
    fn the_programs_are_called_as_they_want_it() {
        let dir = tempfile::tempdir().unwrap();
        let program = fake(dir.path(), 0);
        let elf = Path::new("/tmp/a b.elf");
        programs(&program).probe_rs_flash("RP2350", elf).unwrap();
        programs(&program).probe_rs_run("nRF52840_xxAA", elf).unwrap();
        programs(&program).espflash("esp32c3", elf).unwrap();
        let one = Programs { probe: Some("0d28:0204:1234".into()), port: Some("COM3".into()), ..programs(&program) };
        one.probe_rs_flash("RP2350", elf).unwrap();
        one.probe_rs_run("esp32c3", elf).unwrap();
        one.espflash("esp32c3", elf).unwrap();
        let expected = [
            "download|--chip|RP2350|/tmp/a b.elf|",
            "reset|--chip|RP2350|",
            "run|--chip|nRF52840_xxAA|/tmp/a b.elf|",
            "flash|--chip|esp32c3|/tmp/a b.elf|",
            "download|--chip|RP2350|--probe|0d28:0204:1234|/tmp/a b.elf|",
            "reset|--chip|RP2350|--probe|0d28:0204:1234|",
            "run|--chip|esp32c3|--probe|0d28:0204:1234|/tmp/a b.elf|",
            "flash|--chip|esp32c3|--port|COM3|/tmp/a b.elf|",
        ];
        assert_eq!(calls(&program), expected);
    }

    #[test]
    fn a_failure_is_told_and_nothing_is_restarted() {
        let dir = tempfile::tempdir().unwrap();
        let program = fake(dir.path(), 3);
        let error = programs(&program).probe_rs_flash("RP2350", Path::new("a.elf")).unwrap_err().to_string();
        let expected = format!(
            "`{} download --chip RP2350 a.elf` failed (exit status: 3): is the board plugged in, is its probe free? `probe-rs list` lists \
             what is connected",
            program.display()
        );
        assert_eq!(error, expected);
        assert_eq!(calls(&program).len(), 1);
    }

    #[test]
    fn a_missing_program_is_named_with_what_to_do() {
        let nothing =
            Programs { probe_rs: "no-probe-rs".into(), espflash: "no-espflash".into(), ..Programs::default() };
        let error = nothing.probe_rs_flash("RP2350", Path::new("my model/a.elf")).unwrap_err().to_string();
        assert_eq!(
            error,
            "no-probe-rs is not installed; to install it: cargo install probe-rs-tools --locked (or see \
             https://probe.rs/docs/getting-started/installation); then, by hand: no-probe-rs download --chip RP2350 'my model/a.elf'; \
             no-probe-rs reset --chip RP2350"
        );
        let error = nothing.espflash("esp32c3", Path::new("a.elf")).unwrap_err().to_string();
        assert!(
            error.ends_with("cargo install espflash --locked; then, by hand: no-espflash flash --chip esp32c3 a.elf"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_cannot_be_started_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let program = fake(dir.path(), 0);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        let error = programs(&program).probe_rs_run("x", Path::new("a.elf")).unwrap_err();
        assert!(matches!(error, ProgramError::Start { .. }), "{error}");
    }
}
