//! Puts the model, the sizes of its memory and the chip's memory map where the firmware and the linker look for them.

use ocelli_build_support::{link_scripts, out_dir, write_memory_map, write_model};
use std::env;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = out_dir()?;
    let is_rp2040 = env::var_os("CARGO_FEATURE_RP2040").is_some();
    let map = if is_rp2040 { "memory/rp2040.x" } else { "memory/rp2350.x" };
    write_memory_map(&out_dir, Path::new(map))?;
    write_model(&out_dir, 320)?;
    println!("cargo::rerun-if-changed=build.rs");
    // The RP2040's boot ROM wants a second boot loader before the program.
    link_scripts(if is_rp2040 { &["link.x", "link-rp.x", "defmt.x"] } else { &["link.x", "defmt.x"] });
    Ok(())
}
