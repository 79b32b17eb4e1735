//! Puts the model, the sizes of its memory and the memory map where the firmware and the linker look for them.

use ocelli_build_support::{link_scripts, out_dir, write_memory_map, write_model};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = out_dir()?;
    write_memory_map(&out_dir, Path::new("memory.x"))?;
    write_model(&out_dir, 320)?;
    println!("cargo::rerun-if-changed=build.rs");
    link_scripts(&["link.x", "defmt.x"]);
    Ok(())
}
