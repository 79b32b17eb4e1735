//! The boards that firmware is built and run for.

use std::fmt;

/// A board: what its firmware is compiled for, what fits on it, and the machine that QEMU emulates it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// The name that every command uses.
    pub name: &'static str,
    /// The processor core.
    pub core: &'static str,
    /// The Rust target.
    pub target: &'static str,
    /// QEMU's program.
    pub qemu: &'static str,
    /// QEMU's machine.
    pub machine: &'static str,
    /// Flash memory.
    pub flash_bytes: u32,
    /// RAM.
    pub ram_bytes: u32,
    /// Longest camera row that the firmware has memory for.
    pub row_bytes: u32,
}

/// All boards. Each has a memory map in `firmware/boards/qemu/memory` and runs in CI.
pub const BOARDS: &[Board] = &[Board {
    name: "qemu-m4",
    core: "Cortex-M4F",
    target: "thumbv7em-none-eabihf",
    qemu: "qemu-system-arm",
    machine: "mps2-an386",
    flash_bytes: 4 << 20,
    ram_bytes: 4 << 20,
    row_bytes: 2048,
}];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_board_is_refused_with_the_names_there_are() {
        assert_eq!(find("qemu-m4").unwrap().machine, "mps2-an386");
        assert_eq!(find("arduino").unwrap_err().to_string(), "no board is called `arduino`; the boards are: qemu-m4");
    }
}
