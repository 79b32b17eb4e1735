//! Puts the model, the sizes of its memory and the board's memory map where the firmware and the linker look for them.
//!
//! Environment: `OCELLI_MODEL` (model file, required by all programs but `ocelli-qemu-cases`), `OCELLI_BOARD` (default
//! qemu-m4), `OCELLI_ROW_BYTES` (longest camera row, default 2048). To the programs it says `cfg(ocelli_board = "...")` and,
//! by the board's counter, `cfg(ocelli_clock = "...")`.

use ocelli_build_support::{link_scripts, out_dir, variable, write_memory_map, write_model};
use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = out_dir()?;
    let board = variable("OCELLI_BOARD").unwrap_or_else(|| "qemu-m4".into());
    let is_riscv = env::var("CARGO_CFG_TARGET_ARCH")?.starts_with("riscv");
    write_memory_map(&out_dir, &Path::new("memory").join(format!("{board}.x")))
        .map_err(|error| format!("OCELLI_BOARD={board}: {error}"))?;
    // cortex-m-rt's script includes the names of a device's interrupts: there are none here.
    fs::write(out_dir.join("device.x"), "")?;
    write_model(&out_dir, 2048)?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=OCELLI_MODEL_KEY");

    println!("cargo::rustc-check-cfg=cfg(ocelli_board, values(any()))");
    println!("cargo::rustc-check-cfg=cfg(ocelli_clock, values(\"cmsdk\", \"timer0\", \"minstret\"))");
    let clock = match board.as_str() {
        _ if is_riscv => "minstret",
        "qemu-microbit" => "timer0",
        _ => "cmsdk",
    };
    println!("cargo::rustc-env=OCELLI_BOARD={board}");
    println!("cargo::rustc-cfg=ocelli_board=\"{board}\"");
    println!("cargo::rustc-cfg=ocelli_clock=\"{clock}\"");

    // riscv-rt's script does not include the memory map, cortex-m-rt's does.
    link_scripts(if is_riscv { &["memory.x", "link.x", "defmt.x"] } else { &["link.x", "defmt.x"] });
    Ok(())
}
