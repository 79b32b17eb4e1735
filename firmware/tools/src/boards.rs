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
    /// Features of the firmware's package that the core needs.
    pub features: &'static [&'static str],
    /// Flags of rustc that the core needs.
    pub rustflags: &'static [&'static str],
    /// What programs are optimized for unless one asks for something else.
    pub optimize: Optimize,
    /// QEMU's program.
    pub qemu: &'static str,
    /// QEMU's machine, and what else it needs to start.
    pub machine: &'static [&'static str],
    /// QEMU's `-icount shift`: an instruction takes `2^shift` ns of the emulated time. With 6 the counters of the Arm boards tick
    /// at least once an instruction; RISC-V's `minstret` counts instructions at 0.
    pub icount_shift: u8,
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

/// Several times the deepest stack that was measured with the log in the program (1,312 bytes).
const ROOMY_STACK: u32 = 8 << 10;

/// What the boards from Arm's MPS2 have in common, and all but the processor of `qemu-m4`.
const MPS2: Board = Board {
    name: "qemu-m4",
    core: "Cortex-M4F",
    target: "thumbv7em-none-eabihf",
    features: &[],
    rustflags: &[],
    optimize: Optimize::Speed,
    qemu: "qemu-system-arm",
    machine: &["-machine", "mps2-an386"],
    icount_shift: 6,
    flash_bytes: 4 << 20,
    ram_bytes: 4 << 20,
    stack_bytes: ROOMY_STACK,
    row_bytes: 2048,
    cores: 1,
};

/// All boards. Each has a memory map in `firmware/boards/qemu/memory` and runs in CI.
pub const BOARDS: &[Board] = &[
    // QEMU has no machine with a Cortex-M0+ and this much memory: a Cortex-M3 runs the code, and faults where an M0+ would.
    Board {
        name: "qemu-m0plus",
        core: "Cortex-M0+",
        target: "thumbv6m-none-eabi",
        optimize: Optimize::Size,
        machine: &["-machine", "mps2-an385"],
        ..MPS2
    },
    Board {
        name: "qemu-m3",
        core: "Cortex-M3",
        target: "thumbv7m-none-eabi",
        machine: &["-machine", "mps2-an385"],
        ..MPS2
    },
    MPS2,
    Board { name: "qemu-m7", core: "Cortex-M7F", machine: &["-machine", "mps2-an500"], ..MPS2 },
    Board {
        name: "qemu-m33",
        core: "Cortex-M33F",
        target: "thumbv8m.main-none-eabihf",
        features: &["dsp"],
        rustflags: &["-Ctarget-cpu=cortex-m33"],
        machine: &["-machine", "mps2-an505"],
        ..MPS2
    },
    // The chip's first core has no DSP extension and no floating point by default: with them both cores are the same.
    Board {
        name: "qemu-m33-duo",
        core: "two Cortex-M33F",
        target: "thumbv8m.main-none-eabihf",
        features: &["dsp", "two-cores"],
        rustflags: &["-Ctarget-cpu=cortex-m33"],
        machine: &["-machine", "mps2-an521", "-global", "sse-200.CPU0_DSP=on", "-global", "sse-200.CPU0_FPU=on"],
        cores: 2,
        ..MPS2
    },
    Board {
        name: "qemu-rv32",
        core: "RV32IMC",
        target: "riscv32imc-unknown-none-elf",
        qemu: "qemu-system-riscv32",
        machine: &["-machine", "virt", "-bios", "none"],
        icount_shift: 0,
        ..MPS2
    },
    Board {
        name: "qemu-microbit",
        core: "Cortex-M0",
        target: "thumbv6m-none-eabi",
        optimize: Optimize::Size,
        machine: &["-machine", "microbit"],
        flash_bytes: 256 << 10,
        ram_bytes: 16 << 10,
        stack_bytes: 1280, // 1,132 were measured with mnist-cnn
        row_bytes: 384,
        ..MPS2
    },
];

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
    use std::path::Path;

    #[test]
    fn an_unknown_board_is_refused_with_the_names_there_are() {
        assert_eq!(find("qemu-m4").unwrap().machine, ["-machine", "mps2-an386"]);
        assert_eq!(
            find("arduino").unwrap_err().to_string(),
            "no board is called `arduino`; the boards are: qemu-m0plus, qemu-m3, qemu-m4, qemu-m7, qemu-m33, \
             qemu-m33-duo, qemu-rv32, qemu-microbit"
        );
    }

    #[test]
    fn every_board_has_a_memory_map_with_its_own_sizes() {
        for board in BOARDS {
            let map = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../boards/qemu/memory/{}.x", board.name));
            let text = std::fs::read_to_string(&map).unwrap();
            for (memory, bytes) in [("FLASH", board.flash_bytes), ("RAM", board.ram_bytes)] {
                let line = text.lines().find(|line| line.trim().starts_with(&format!("{memory} :"))).unwrap();
                let length = line.rsplit(' ').next().unwrap();
                let unit = if length.ends_with('M') { 1 << 20 } else { 1 << 10 };
                let count: u32 = length.trim_end_matches(['K', 'M']).parse().unwrap();
                assert_eq!(count * unit, bytes, "{}: {line}", board.name);
            }
        }
    }
}
