//! The boards that firmware is built for: some of QEMU's, on which CI runs it, and real ones.

mod table;

pub use table::BOARDS;

use std::fmt;

/// A board: what its firmware is compiled for, what fits on it, what is connected to it, and how the firmware gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// The name that every command uses.
    pub name: &'static str,
    /// The folder of its crate in `firmware/boards`; its classifier is the program `ocelli-` and this name.
    pub folder: &'static str,
    /// The processor core.
    pub core: &'static str,
    /// The Rust target.
    pub target: &'static str,
    /// Features of the firmware's package that the board needs.
    pub features: &'static [&'static str],
    /// Flags of rustc that the core needs.
    pub rustflags: &'static [&'static str],
    /// What programs are optimized for unless one asks for something else.
    pub optimize: Optimize,
    /// What emulates it; `None` for a real board.
    pub emulator: Option<Emulator>,
    /// How firmware gets onto it.
    pub flashing: Flashing,
    /// Where the flash memory that programs run from begins.
    pub flash_address: u32,
    /// Flash memory.
    pub flash_bytes: u32,
    /// RAM.
    pub ram_bytes: u32,
    /// RAM that must be left to the stack.
    pub stack_bytes: u32,
    /// Longest camera row that the firmware has memory for.
    pub row_bytes: u32,
    /// Cores that can share a step: a model compiled for the board has scratch memory for each.
    pub cores: u8,
    /// The camera, in words for a table.
    pub camera: &'static str,
    /// The screen, in words for a table.
    pub screen: &'static str,
    /// How its firmware can take other models over a line; `None`: it cannot.
    pub updates: Option<Updates>,
    /// Whether its firmware can sleep between frames.
    pub sleeps: bool,
}

/// How a board's firmware can take other models over a line (`docs/update.md`). They are kept in two slots at the end of its flash memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Updates {
    /// Bytes of a slot.
    pub slot_bytes: u32,
    /// Bytes that the flash memory is erased by there.
    pub erase_bytes: u32,
    /// Bytes that it is written by.
    pub write_bytes: u32,
    /// Working memory that such a firmware has for models, unless the built-in one needs more.
    pub arena_bytes: u32,
    /// The line, in words for a table.
    pub line: &'static str,
}

impl Board {
    /// The board as a firmware sees it that takes models over a line: its flash memory ends where the slots begin.
    ///
    /// # Errors
    /// When the board takes none; the message lists those that do.
    pub fn updatable(&self) -> Result<(Self, Updates), NotUpdatable> {
        let updates = self.updates.ok_or(NotUpdatable { board: self.name })?;
        Ok((Self { flash_bytes: self.flash_bytes - 2 * updates.slot_bytes, ..*self }, updates))
    }

    /// Refuses a board whose firmware cannot sleep between frames.
    ///
    /// # Errors
    /// Lists those whose firmware can.
    pub const fn check_sleeps(&self) -> Result<(), NeverSleeps> {
        if self.sleeps { Ok(()) } else { Err(NeverSleeps { board: self.name }) }
    }

    /// What emulates the board.
    ///
    /// # Errors
    /// When nothing does; the message lists the boards that are emulated.
    pub fn emulator(&self) -> Result<&Emulator, NotEmulated> {
        self.emulator.as_ref().ok_or(NotEmulated { board: self.name })
    }
}

/// A machine that QEMU emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// QEMU's program.
    pub program: &'static str,
    /// QEMU's machine, and what else it needs to start.
    pub machine: &'static [&'static str],
    /// QEMU's `-icount shift`: an instruction takes `2^shift` ns of the emulated time. With 6 the counters of the Arm boards tick
    /// at least once an instruction; RISC-V's `minstret` counts instructions at 0.
    pub icount_shift: u8,
}

/// How firmware gets onto a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flashing {
    /// It does not: QEMU loads the ELF file.
    Emulator,
    /// As a UF2 file that is copied to the drive which the board shows when it starts with BOOTSEL pressed; or by a debug probe.
    Uf2 {
        /// The family of chips that the file says it is for.
        family_id: u32,
        /// `Board-ID` in the drive's `INFO_UF2.TXT`.
        board_id: &'static str,
        /// probe-rs' name of the chip.
        chip: &'static str,
    },
    /// By a debug probe, with probe-rs.
    Probe {
        /// probe-rs' name of the chip.
        chip: &'static str,
    },
    /// Over the chip's USB serial port, with espflash, which makes the image that the boot loader takes; or by the debug probe that the same USB
    /// is.
    Esp {
        /// espflash's and probe-rs' name of the chip.
        chip: &'static str,
    },
}

impl fmt::Display for Flashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Emulator => "runs in QEMU",
            Self::Uf2 { .. } => "UF2 drive or debug probe",
            Self::Probe { .. } => "debug probe",
            Self::Esp { .. } => "espflash over USB",
        })
    }
}

/// What the compiler optimizes a program for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimize {
    /// Fewest bytes (`opt-level = "z"`).
    Size,
    /// Few instructions (`opt-level = "s"`: the inner loops are assembly; 2 gives a fifth more code for 2 % fewer instructions).
    Speed,
}

impl Optimize {
    /// The value for cargo's `opt-level`.
    #[must_use]
    pub const fn opt_level(self) -> &'static str {
        match self {
            Self::Size => "z",
            Self::Speed => "s",
        }
    }
}

/// No board has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBoard {
    /// The name asked for.
    pub name: String,
}

impl fmt::Display for UnknownBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = BOARDS.iter().map(|board| board.name).collect();
        write!(f, "no board is called `{}`; the boards are: {}", self.name, names.join(", "))
    }
}

impl std::error::Error for UnknownBoard {}

/// The board of this name.
///
/// # Errors
/// When there is none; the message lists the names.
pub fn find(name: &str) -> Result<&'static Board, UnknownBoard> {
    BOARDS.iter().find(|board| board.name == name).ok_or_else(|| UnknownBoard { name: name.to_owned() })
}

/// The boards that QEMU emulates.
pub fn emulated() -> impl Iterator<Item = &'static Board> {
    BOARDS.iter().filter(|board| board.emulator.is_some())
}

/// The real boards.
pub fn real() -> impl Iterator<Item = &'static Board> {
    BOARDS.iter().filter(|board| board.emulator.is_none())
}

/// A real board was to be run in QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotEmulated {
    /// Its name.
    pub board: &'static str,
}

impl fmt::Display for NotEmulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = emulated().map(|board| board.name).collect();
        write!(f, "{} is a real board: it cannot be run here; QEMU runs {}", self.board, names.join(", "))
    }
}

impl std::error::Error for NotEmulated {}

/// A board's firmware cannot sleep between frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeverSleeps {
    /// Its name.
    pub board: &'static str,
}

impl fmt::Display for NeverSleeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = BOARDS.iter().filter(|board| board.sleeps).map(|board| board.name).collect();
        write!(f, "the firmware of {} does not sleep between frames; of these it can: {}", self.board, names.join(", "))
    }
}

impl std::error::Error for NeverSleeps {}

/// A board's firmware takes no models over a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUpdatable {
    /// Its name.
    pub board: &'static str,
}

impl fmt::Display for NotUpdatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = BOARDS.iter().filter(|board| board.updates.is_some()).map(|board| board.name).collect();
        write!(
            f,
            "the firmware of {} takes no models over a line; the boards that do: {}",
            self.board,
            names.join(", ")
        )
    }
}

impl std::error::Error for NotUpdatable {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::path::Path;

    #[test]
    fn an_unknown_board_is_refused_with_the_names_there_are() {
        assert_eq!(find("qemu-m4").unwrap().emulator().unwrap().machine, ["-machine", "mps2-an386"]);
        assert_eq!(
            find("arduino").unwrap_err().to_string(),
            "no board is called `arduino`; the boards are: qemu-m0plus, qemu-m3, qemu-m4, qemu-m7, qemu-m33, \
             qemu-m33-duo, qemu-rv32, qemu-microbit, pico, pico2, nrf52840-dk, nucleo-h743zi, esp32-c3"
        );
    }

    #[test]
    fn a_real_board_has_no_emulator() {
        assert_eq!(
            find("pico2").unwrap().emulator().unwrap_err().to_string(),
            "pico2 is a real board: it cannot be run here; QEMU runs qemu-m0plus, qemu-m3, qemu-m4, qemu-m7, qemu-m33, \
             qemu-m33-duo, qemu-rv32, qemu-microbit"
        );
        assert!(real().all(|board| board.flashing != Flashing::Emulator));
        assert!(emulated().all(|board| board.flashing == Flashing::Emulator));
        let names: HashSet<&str> = BOARDS.iter().map(|board| board.name).collect();
        assert_eq!(names.len(), BOARDS.len());
    }

    #[test]
    fn every_emulated_board_has_a_memory_map_with_its_own_sizes() {
        for board in emulated() {
            let map = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../boards/qemu/memory/{}.x", board.name));
            let text = std::fs::read_to_string(&map).unwrap();
            for (memory, bytes) in [("FLASH", board.flash_bytes), ("RAM", board.ram_bytes)] {
                let line = text.lines().find(|line| line.trim().starts_with(&format!("{memory} :"))).unwrap();
                let length = line.rsplit(' ').next().unwrap();
                let unit = if length.ends_with('M') { 1 << 20 } else { 1 << 10 };
                let count: u32 = length.trim_end_matches(['K', 'M']).parse().unwrap();
                assert_eq!(count * unit, bytes, "{}: {line}", board.name);
            }
            let flash = format!("FLASH : ORIGIN = {:#010x},", board.flash_address);
            assert!(text.contains(&flash), "{}: {flash}", board.name);
        }
    }

    /// Each crate compiles only where the table's number is that of its camera; without the table its `build.rs` has the number.
    #[test]
    fn the_rows_of_the_table_are_those_of_the_crates() {
        for board in real() {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards").join(board.folder).join("build.rs");
            let text = std::fs::read_to_string(script).unwrap();
            assert!(text.contains("write_model(&out_dir"), "{}: {text}", board.name);
            assert!(text.contains(&format!(", {})?;", board.row_bytes)), "{}: {} bytes", board.name, board.row_bytes);
        }
    }

    #[test]
    fn a_board_that_never_sleeps_is_refused_with_those_that_do() {
        assert_eq!(find("nrf52840-dk").unwrap().check_sleeps(), Ok(()));
        assert_eq!(
            find("pico").unwrap().check_sleeps().unwrap_err().to_string(),
            "the firmware of pico does not sleep between frames; of these it can: nrf52840-dk"
        );
        // each has the feature, and no other
        for board in real() {
            let manifest =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards").join(board.folder).join("Cargo.toml");
            let text = std::fs::read_to_string(manifest).unwrap();
            assert_eq!(text.lines().any(|line| line.starts_with("sleep =")), board.sleeps, "{}", board.name);
        }
    }

    #[test]
    fn slots_lie_in_the_flash_memory_as_they_can_be_erased() {
        for board in BOARDS {
            let Ok((without, updates)) = board.updatable() else { continue };
            let Updates { slot_bytes, erase_bytes, write_bytes, arena_bytes, .. } = updates;
            assert!(slot_bytes.is_multiple_of(erase_bytes) && slot_bytes > 0, "{}", board.name);
            assert!(without.flash_bytes.is_multiple_of(erase_bytes), "{}: the first slot", board.name);
            assert_eq!(without.flash_bytes + 2 * slot_bytes, board.flash_bytes, "{}", board.name);
            assert!(write_bytes.is_power_of_two() && write_bytes <= 32, "{}", board.name);
            assert!(without.flash_bytes >= 256 << 10, "{}: room for the firmware", board.name);
            assert!(arena_bytes + board.stack_bytes < board.ram_bytes, "{}", board.name);
        }
        assert_eq!(
            find("esp32-c3").unwrap().updatable().unwrap_err().to_string(),
            "the firmware of esp32-c3 takes no models over a line; the boards that do: pico, pico2, nrf52840-dk, nucleo-h743zi"
        );
    }
}
