//! Writes a firmware's images onto a board, in the way that the board wants.

use super::drive::{self, Copied, Drive, DriveError};
use super::files::Written;
use super::mounts::mount_points;
use super::program::{ProgramError, Programs};
use crate::boards::{Board, Flashing};
use std::io;
use std::path::{Path, PathBuf};

/// How a firmware gets onto a board, with all that is needed for it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its UF2 file is copied to this drive.
    Drive(Drive),
    /// probe-rs writes it to this chip.
    Probe {
        /// probe-rs' name of the chip.
        chip: &'static str,
    },
    /// espflash writes it to this chip.
    Esp {
        /// espflash's name of the chip.
        chip: &'static str,
    },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flashed {
    /// A UF2 file was copied.
    Copied(Copied),
    /// A program wrote it.
    By(&'static str),
}

/// Why a firmware did not get onto a board.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    /// The board is emulated.
    #[error(
        "{board} is emulated: there is nothing to flash; run it with `ocelli run --board {board}`, or leave it at --build-only"
    )]
    Emulated {
        /// Its name.
        board: &'static str,
    },
    /// A way was asked for that the board has not.
    #[error("{board} has no boot drive (it is flashed by {flashing}): leave out --drive")]
    NoDrive {
        /// Its name.
        board: &'static str,
        /// How it is flashed.
        flashing: Flashing,
    },
    /// As [`NoDrive`](Self::NoDrive).
    #[error("{board} is not flashed over a serial port here (but by {flashing}): leave out --port")]
    NoPort {
        /// Its name.
        board: &'static str,
        /// How it is flashed.
        flashing: Flashing,
    },
    /// The board's drive.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The program that was to do it.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// An image could not be read back.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// The way onto a board: the drive in `drive` or the one that is mounted, or with `probe` a debug probe; `port` says whether a serial port was
/// named for it. It is asked for before anything is compiled, so that a board that is not plugged in is known at once.
///
/// # Errors
/// When the board has no such way, or its drive is not there.
pub fn way(board: &Board, drive: Option<&Path>, probe: bool, port: bool) -> Result<Way, FlashError> {
    let (name, flashing) = (board.name, board.flashing);
    if port && !matches!(flashing, Flashing::Esp { .. } | Flashing::Emulator) {
        return Err(FlashError::NoPort { board: name, flashing });
    }
    if drive.is_some() && !matches!(flashing, Flashing::Uf2 { .. } | Flashing::Emulator) {
        return Err(FlashError::NoDrive { board: name, flashing });
    }
    match flashing {
        Flashing::Emulator => Err(FlashError::Emulated { board: name }),
        Flashing::Uf2 { chip, .. } if probe => Ok(Way::Probe { chip }),
        Flashing::Uf2 { board_id, .. } => Ok(Way::Drive(match drive {
            Some(folder) => drive::open(folder, board_id)?,
            None => drive::find(&mount_points(), board_id)?,
        })),
        Flashing::Probe { chip } => Ok(Way::Probe { chip }),
        // The chip's USB is a debug probe too.
        Flashing::Esp { chip } if probe => Ok(Way::Probe { chip }),
        Flashing::Esp { chip } => Ok(Way::Esp { chip }),
    }
}

/// Writes a board's images onto it.
///
/// # Errors
/// When the drive or the program fails.
pub fn flash(board: &Board, images: &Written, way: &Way, programs: &Programs) -> Result<Flashed, FlashError> {
    match way {
        Way::Drive(drive) => {
            let path =
                images.uf2.as_ref().ok_or(FlashError::NoDrive { board: board.name, flashing: board.flashing })?;
            let uf2 = std::fs::read(path).map_err(|error| FlashError::File { path: path.clone(), error })?;
            Ok(Flashed::Copied(drive::copy(&uf2, drive, "ocelli.uf2")?))
        }
        Way::Probe { chip } => {
            programs.probe_rs_flash(chip, &images.elf)?;
            Ok(Flashed::By("probe-rs"))
        }
        Way::Esp { chip } => {
            programs.espflash(chip, &images.elf)?;
            Ok(Flashed::By("espflash"))
        }
    }
}

/// Writes an ELF file onto a real board and shows what it logs, until the program that does so is ended. The log comes by RTT, so that
/// probe-rs is needed for every board; it knows the ESP32-C3's own USB for a probe, and makes what the boot loader wants of the file.
///
/// # Errors
/// When the board is emulated, or the program fails.
pub fn watch(board: &Board, elf: &Path, programs: &Programs) -> Result<(), FlashError> {
    match board.flashing {
        Flashing::Emulator => return Err(FlashError::Emulated { board: board.name }),
        Flashing::Uf2 { chip, .. } | Flashing::Probe { chip } | Flashing::Esp { chip } => {
            programs.probe_rs_run(chip, elf)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards::find;
    use crate::flash::files::write;
    use crate::flash::image::tests::elf;
    use std::fs;

    #[test]
    fn a_board_is_flashed_in_its_own_way_only() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |board: &str, drive: Option<&Path>, port| {
            way(find(board).unwrap(), drive, false, port).unwrap_err().to_string()
        };
        assert_eq!(
            refused("qemu-m4", None, false),
            "qemu-m4 is emulated: there is nothing to flash; run it with `ocelli run --board qemu-m4`, or leave it at --build-only"
        );
        assert_eq!(
            refused("nrf52840-dk", Some(dir.path()), false),
            "nrf52840-dk has no boot drive (it is flashed by debug probe): leave out --drive"
        );
        assert_eq!(
            refused("nrf52840-dk", None, true),
            "nrf52840-dk is not flashed over a serial port here (but by debug probe): leave out --port"
        );
        assert!(refused("pico", Some(dir.path()), false).contains("is no boot drive"));
        let of = |board: &str, probe| way(find(board).unwrap(), None, probe, false).unwrap();
        assert_eq!(of("pico", true), Way::Probe { chip: "RP2040" });
        assert_eq!(of("nrf52840-dk", false), Way::Probe { chip: "nRF52840_xxAA" });
        assert_eq!(of("esp32-c3", false), Way::Esp { chip: "esp32c3" });
        assert_eq!(of("esp32-c3", true), Way::Probe { chip: "esp32c3" });
        let esp = find("esp32-c3").unwrap();
        assert_eq!(way(esp, None, false, true).unwrap(), Way::Esp { chip: "esp32c3" });
    }

    #[cfg(unix)]
    #[test]
    fn the_log_of_every_real_board_is_shown_by_the_program_that_reads_rtt() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (program, calls) = (dir.path().join("fake"), dir.path().join("calls"));
        fs::write(&program, format!("#!/bin/sh\necho \"$@\" >> {}\n", calls.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let programs = Programs { probe_rs: program, espflash: "no-espflash".into(), ..Programs::default() };
        for board in crate::boards::real() {
            watch(board, Path::new("a.elf"), &programs).unwrap();
        }
        let calls = fs::read_to_string(calls).unwrap();
        let chips = ["RP2040", "RP235x", "nRF52840_xxAA", "STM32H743ZITx", "esp32c3"];
        assert_eq!(calls.lines().collect::<Vec<_>>(), chips.map(|chip| format!("run --chip {chip} a.elf")));
        assert!(watch(find("qemu-m4").unwrap(), Path::new("a.elf"), &programs).is_err());
    }

    #[test]
    fn the_uf2_file_lands_on_the_drive() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(drive::INFO_FILE), "Model: Raspberry Pi RP2350\nBoard-ID: RP2350\n").unwrap();
        let board = find("pico2").unwrap();
        let images = write(&elf(0, &[(0x1000_0000, 0, b"code")]), board, &dir.path().join("out")).unwrap();
        let way = way(board, Some(dir.path()), false, false).unwrap();
        let Flashed::Copied(copied) = flash(board, &images, &way, &Programs::default()).unwrap() else { panic!() };
        assert_eq!(copied.file, dir.path().join("ocelli.uf2"));
        assert_eq!(fs::read(&copied.file).unwrap(), fs::read(images.uf2.unwrap()).unwrap());
    }
}
