//! The table of boards.

use super::{Board, Emulator, Flashing, Optimize, Updates};

/// Several times the deepest stack that was measured with the log in the program (1,312 bytes).
const ROOMY_STACK: u32 = 8 << 10;

/// What the boards from Arm's MPS2 have in common, and all but the processor of `qemu-m4`.
const MPS2: Board = Board {
    name: "qemu-m4",
    folder: "qemu",
    core: "Cortex-M4F",
    target: "thumbv7em-none-eabihf",
    features: &[],
    rustflags: &[],
    optimize: Optimize::Speed,
    emulator: Some(arm(&["-machine", "mps2-an386"])),
    flashing: Flashing::Emulator,
    flash_address: 0,
    flash_bytes: 4 << 20,
    ram_bytes: 4 << 20,
    stack_bytes: ROOMY_STACK,
    row_bytes: 2048,
    cores: 1,
    camera: "a file",
    screen: "none",
    updates: None,
    sleeps: false,
};

/// QEMU's Arm machines.
const fn arm(machine: &'static [&'static str]) -> Emulator {
    Emulator { program: "qemu-system-arm", machine, icount_shift: 6 }
}

/// What the real boards have in common, as `nrf52840-dk` has it.
const NRF52840_DK: Board = Board {
    name: "nrf52840-dk",
    folder: "nrf52840-dk",
    core: "Cortex-M4F",
    target: "thumbv7em-none-eabihf",
    features: &[],
    rustflags: &[],
    optimize: Optimize::Speed,
    emulator: None,
    flashing: Flashing::Probe { chip: "nRF52840_xxAA" },
    flash_address: 0,
    flash_bytes: 1 << 20,
    ram_bytes: 256 << 10,
    stack_bytes: ROOMY_STACK,
    row_bytes: 320, // 160 pixels of two bytes; the crates hold their cameras to it when they are compiled
    cores: 1,
    camera: "Arducam Mini 2MP (OV2640, SPI)",
    screen: "ST7789 (SPI)",
    // nRF52840 product specification 1.7, 4.3: pages of 4 KB, written in words
    updates: Some(Updates {
        slot_bytes: 256 << 10,
        erase_bytes: 4 << 10,
        write_bytes: 4,
        arena_bytes: 128 << 10,
        line: "UART (the debugger's USB serial port)",
    }),
    sleeps: true,
};

/// What both Picos have in common where models are kept, as the first one has it. The chip writes pages of 256 bytes; the HAL leaves the
/// rest of a page as it is (W25Q16JV data sheet).
const PICO_UPDATES: Updates =
    Updates { slot_bytes: 512 << 10, erase_bytes: 4 << 10, write_bytes: 1, arena_bytes: 128 << 10, line: "USB serial" };

/// What both Picos have in common, and the first one's chip.
const PICO: Board = Board {
    name: "pico",
    folder: "rp",
    core: "Cortex-M0+",
    target: "thumbv6m-none-eabi",
    features: &["rp2040"],
    optimize: Optimize::Size,
    flashing: Flashing::Uf2 { family_id: 0xe48b_ff56, board_id: "RPI-RP2", chip: "RP2040" },
    flash_address: 0x1000_0000,
    flash_bytes: 2 << 20,
    camera: "OV7670 (parallel, PIO)",
    updates: Some(PICO_UPDATES),
    sleeps: false,
    ..NRF52840_DK
};

/// All boards: first QEMU's, each with a memory map in `firmware/boards/qemu/memory`, which run in CI; then the real ones, which only build there.
pub const BOARDS: &[Board] = &[
    // QEMU has no machine with a Cortex-M0+ and this much memory: a Cortex-M3 runs the code, and faults where an M0+ would.
    Board {
        name: "qemu-m0plus",
        core: "Cortex-M0+",
        target: "thumbv6m-none-eabi",
        optimize: Optimize::Size,
        emulator: Some(arm(&["-machine", "mps2-an385"])),
        ..MPS2
    },
    Board {
        name: "qemu-m3",
        core: "Cortex-M3",
        target: "thumbv7m-none-eabi",
        emulator: Some(arm(&["-machine", "mps2-an385"])),
        ..MPS2
    },
    MPS2,
    Board { name: "qemu-m7", core: "Cortex-M7F", emulator: Some(arm(&["-machine", "mps2-an500"])), ..MPS2 },
    Board {
        name: "qemu-m33",
        core: "Cortex-M33F",
        target: "thumbv8m.main-none-eabihf",
        features: &["dsp"],
        rustflags: &["-Ctarget-cpu=cortex-m33"],
        emulator: Some(arm(&["-machine", "mps2-an505"])),
        flash_address: 0x1000_0000,
        ..MPS2
    },
    // The chip's first core has no DSP extension and no floating point by default: with them both cores are the same.
    Board {
        name: "qemu-m33-duo",
        core: "two Cortex-M33F",
        target: "thumbv8m.main-none-eabihf",
        features: &["dsp", "two-cores"],
        rustflags: &["-Ctarget-cpu=cortex-m33"],
        emulator: Some(arm(&[
            "-machine",
            "mps2-an521",
            "-global",
            "sse-200.CPU0_DSP=on",
            "-global",
            "sse-200.CPU0_FPU=on",
        ])),
        flash_address: 0x1000_0000,
        cores: 2,
        ..MPS2
    },
    Board {
        name: "qemu-rv32",
        core: "RV32IMC",
        target: "riscv32imc-unknown-none-elf",
        emulator: Some(Emulator {
            program: "qemu-system-riscv32",
            machine: &["-machine", "virt", "-bios", "none"],
            icount_shift: 0,
        }),
        flash_address: 0x8000_0000,
        ..MPS2
    },
    Board {
        name: "qemu-microbit",
        core: "Cortex-M0",
        target: "thumbv6m-none-eabi",
        optimize: Optimize::Size,
        emulator: Some(arm(&["-machine", "microbit"])),
        flash_bytes: 256 << 10,
        ram_bytes: 16 << 10,
        stack_bytes: 1280, // 1,132 were measured with mnist-cnn
        row_bytes: 384,
        ..MPS2
    },
    PICO,
    Board {
        name: "pico2",
        core: "two Cortex-M33F",
        target: "thumbv8m.main-none-eabihf",
        features: &["rp2350"],
        rustflags: &["-Ctarget-cpu=cortex-m33"],
        optimize: Optimize::Speed,
        flashing: Flashing::Uf2 { family_id: 0xe48b_ff59, board_id: "RP2350", chip: "RP235x" },
        flash_bytes: 4 << 20,
        ram_bytes: 512 << 10,
        cores: 2,
        updates: Some(Updates { slot_bytes: 1 << 20, arena_bytes: 256 << 10, ..PICO_UPDATES }),
        ..PICO
    },
    NRF52840_DK,
    Board {
        name: "nucleo-h743zi",
        folder: "nucleo-h743zi",
        core: "Cortex-M7F",
        flashing: Flashing::Probe { chip: "STM32H743ZITx" },
        flash_address: 0x0800_0000,
        flash_bytes: 2 << 20,
        ram_bytes: 512 << 10, // the part that DMA reaches and that is in one piece: AXI SRAM
        camera: "OV2640 (parallel, DCMI)",
        // RM0433, 4.3: sectors of 128 KB, words of 32 bytes. The slots are the second bank, so that the first can be read while they are written.
        updates: Some(Updates {
            slot_bytes: 512 << 10,
            erase_bytes: 128 << 10,
            write_bytes: 32,
            arena_bytes: 256 << 10,
            line: "UART (the debugger's USB serial port)",
        }),
        sleeps: false,
        ..NRF52840_DK
    },
    Board {
        name: "esp32-c3",
        folder: "esp32-c3",
        core: "RV32IMC",
        target: "riscv32imc-unknown-none-elf",
        flashing: Flashing::Esp { chip: "esp32c3" },
        flash_address: 0x4200_0000, // where the chip shows its flash to programs; the image lies at 0x10000 of it
        flash_bytes: 4 << 20,
        ram_bytes: 313 << 10, // of 400 KB the boot loader, the cache and the ROM's variables have the rest
        updates: None, // the chip shows its programs only those pages of its flash that the boot loader has mapped
        sleeps: false,
        ..NRF52840_DK
    },
];
