//! For the build scripts of the crates in `firmware/boards`: puts the model, the sizes of its memory and the board's memory map where the
//! firmware and the linker look for them.
//!
//! Environment: `OCELLI_MODEL` (the model file), `OCELLI_ROW_BYTES` (longest camera row), `OCELLI_LED_LABEL` (the label that lights the
//! board's LED, by default the first).
#![forbid(unsafe_code)]

mod config;

use config::Config;
use std::error::Error;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What a program without a model says when it needs one.
const NO_MODEL: &str = "compile_error!(\"set OCELLI_MODEL to the model file, by its full path (or use \
                        `ocelli check MODEL DATA --board qemu-m4`, `ocelli flash --board pico --model MODEL`)\");\n";

/// Where cargo wants what a build script makes.
///
/// # Errors
/// Outside of a build script.
pub fn out_dir() -> Result<PathBuf, Box<dyn Error>> {
    Ok(PathBuf::from(env::var("OUT_DIR")?))
}

/// A variable of the environment that is set and not empty; cargo runs the script again when it changes.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Gives the linker `memory.x`: a copy of the file `map` of the package.
///
/// # Errors
/// When it cannot be read or copied.
pub fn write_memory_map(out_dir: &Path, map: &Path) -> Result<(), Box<dyn Error>> {
    let text = fs::read(map).map_err(|error| format!("{}: {error}", map.display()))?;
    fs::write(out_dir.join("memory.x"), text)?;
    println!("cargo::rustc-link-search={}", out_dir.display());
    println!("cargo::rerun-if-changed={}", map.display());
    Ok(())
}

/// The linker scripts of the programs, in their order.
pub fn link_scripts(scripts: &[&str]) {
    for script in scripts {
        println!("cargo::rustc-link-arg-bins=-T{script}");
    }
    // Without it the linker rounds sections up to 64 KiB pages.
    println!("cargo::rustc-link-arg-bins=--nmagic");
}

/// Writes `model.ocelli`, a copy of the model, and `config.rs`, what a program must know of it when it is compiled. Without `OCELLI_MODEL`
/// only the programs that include the configuration do not compile.
///
/// # Errors
/// When the model or a variable is refused, or a file cannot be written.
pub fn write_model(out_dir: &Path, default_row_bytes: usize) -> Result<(), Box<dyn Error>> {
    let Some(path) = variable("OCELLI_MODEL") else {
        fs::write(out_dir.join("model.ocelli"), [])?;
        fs::write(out_dir.join("config.rs"), NO_MODEL.to_owned() + &Config::default().to_string())?;
        return Ok(());
    };
    println!("cargo::rerun-if-changed={path}");
    let file = fs::read(&path).map_err(|error| format!("OCELLI_MODEL={path}: {error}"))?;
    let row_bytes = parsed("OCELLI_ROW_BYTES", default_row_bytes)?;
    let label = variable("OCELLI_LED_LABEL");
    let config =
        Config::of(&file, row_bytes, label.as_deref()).map_err(|refusal| format!("OCELLI_MODEL={path}: {refusal}"))?;
    fs::write(out_dir.join("model.ocelli"), &file)?;
    fs::write(out_dir.join("config.rs"), config.to_string())?;
    Ok(())
}

/// The number in a variable, or what it is where there is none.
fn parsed(name: &str, default: usize) -> Result<usize, String> {
    let parse = |text: String| text.parse().map_err(|error: std::num::ParseIntError| describe(name, &text, &error));
    variable(name).map_or(Ok(default), parse)
}

fn describe(name: &str, text: &str, reason: &dyn Display) -> String {
    format!("{name}={text}: {reason}")
}
