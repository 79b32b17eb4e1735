//! For the build scripts of the crates in `firmware/boards`: puts the model, the sizes of its memory and the board's memory map where the
//! firmware and the linker look for them.
//!
//! Environment: `OCELLI_MODEL` (the model file), `OCELLI_ROW_BYTES` (longest camera row), `OCELLI_LED_LABEL` (the label that lights the
//! board's LED, by default the first). With the package's feature `update` also `OCELLI_SLOTS_FIRST`, `OCELLI_SLOT_BYTES` (where in the flash
//! memory, and how long, the two slots are that models are kept in which come over a line), `OCELLI_ARENA_BYTES` (working memory for them).
//! With its feature `sleep` `OCELLI_EVERY_MS` (milliseconds from one turn to the next) and `OCELLI_WAKE_PIN` (1: a pin wakes the board).
#![forbid(unsafe_code)]

mod config;

use config::{Config, Rest, Slots};
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

/// Gives the linker `memory.x`: a copy of the file `map` of the package, whose `FLASH` ends before the slots, if there are any.
///
/// # Errors
/// When it cannot be read or copied.
pub fn write_memory_map(out_dir: &Path, map: &Path) -> Result<(), Box<dyn Error>> {
    let mut text = fs::read_to_string(map).map_err(|error| format!("{}: {error}", map.display()))?;
    if let Some(slots) = slots()? {
        text = without_slots(&text, slots).map_err(|refusal| format!("{}: {refusal}", map.display()))?;
    }
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
    let mut config =
        Config::of(&file, row_bytes, label.as_deref()).map_err(|refusal| format!("OCELLI_MODEL={path}: {refusal}"))?;
    if let Some(slots) = slots()? {
        config = config.with_slots(slots);
    }
    config = config.with_rest(rest()?);
    println!("cargo::rerun-if-env-changed=OCELLI_MODEL_KEY");
    fs::write(out_dir.join("model.ocelli"), &file)?;
    fs::write(out_dir.join("config.rs"), config.to_string())?;
    Ok(())
}

/// When the firmware wakes, if the package is built with its feature `sleep`.
fn rest() -> Result<Rest, String> {
    if env::var_os("CARGO_FEATURE_SLEEP").is_none() {
        return Ok(Rest::default());
    }
    let ms = parsed("OCELLI_EVERY_MS", 0)?;
    let every_ms = u32::try_from(ms).map_err(|error| describe("OCELLI_EVERY_MS", &ms.to_string(), &error))?;
    let by_pin = parsed("OCELLI_WAKE_PIN", 0)? != 0;
    if every_ms == 0 && !by_pin {
        return Err("the feature `sleep` needs OCELLI_EVERY_MS in milliseconds, or OCELLI_WAKE_PIN=1".to_owned());
    }
    Ok(Rest { every_ms, by_pin })
}

/// The slots for models that come over a line, if the package is built with its feature `update`.
fn slots() -> Result<Option<Slots>, String> {
    if env::var_os("CARGO_FEATURE_UPDATE").is_none() {
        return Ok(None);
    }
    let needed = |name: &str| match parsed(name, 0)? {
        0 => Err(format!("the feature `update` needs {name} in bytes (`ocelli flash --updatable` sets it)")),
        bytes => Ok(bytes),
    };
    let bytes = |name: &str| u32::try_from(needed(name)?).map_err(|error| describe(name, "", &error));
    let (first, slot_bytes) = (bytes("OCELLI_SLOTS_FIRST")?, bytes("OCELLI_SLOT_BYTES")?);
    Ok(Some(Slots { first, slot_bytes, arena_bytes: needed("OCELLI_ARENA_BYTES")? }))
}

/// A memory map whose `FLASH` is shorter by the slots, which lie at the flash memory's end.
fn without_slots(map: &str, slots: Slots) -> Result<String, &'static str> {
    let is_flash = |line: &&str| line.trim_start().starts_with("FLASH :");
    let line = map.lines().find(is_flash).ok_or("it has no line that begins with `FLASH :`")?;
    Ok(map.replace(line, &format!("{line} - 2 * {}", slots.slot_bytes)))
}

/// The number in a variable, or what it is where there is none.
fn parsed(name: &str, default: usize) -> Result<usize, String> {
    let parse = |text: String| text.parse().map_err(|error: std::num::ParseIntError| describe(name, &text, &error));
    variable(name).map_or(Ok(default), parse)
}

fn describe(name: &str, text: &str, reason: &dyn Display) -> String {
    format!("{name}={text}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flash_of_the_map_ends_before_the_slots() {
        let slots = Slots { first: 3 << 19, slot_bytes: 1 << 18, arena_bytes: 1 };
        let map = "MEMORY\n{\n  FLASH : ORIGIN = 0x10000100, LENGTH = 2048K - 0x100\n  RAM : ORIGIN = 0x20000000, LENGTH = 256K\n}\n";
        let expected = map.replace("- 0x100\n", "- 0x100 - 2 * 262144\n");
        assert_eq!(without_slots(map, slots).unwrap(), expected);
        assert!(without_slots("MEMORY { ROM : ORIGIN = 0, LENGTH = 1K }", slots).is_err());
    }
}
