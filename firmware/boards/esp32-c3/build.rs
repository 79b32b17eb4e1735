//! Puts the model and the sizes of its memory where the firmware looks for them. The memory map is esp-hal's.

use ocelli_build_support::{link_scripts, out_dir, write_model};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    write_model(&out_dir()?, 320)?;
    println!("cargo::rerun-if-changed=build.rs");
    link_scripts(&["linkall.x", "defmt.x"]);
    Ok(())
}
