//! Puts the model, the sizes of its memory and the board's memory map where the firmware and the linker look for them.
//!
//! Environment: `OCELLI_MODEL` (model file, required by all programs but `ocelli-qemu-cases`), `OCELLI_BOARD` (default
//! qemu-m4), `OCELLI_ROW_BYTES` (longest camera row, default 2048).

use ocelli::image::FrameConverter;
use ocelli::model::Model;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    write_memory_map(&out_dir)?;
    write_model(&out_dir)?;
    println!("cargo::rerun-if-changed=build.rs");
    for script in ["link.x", "defmt.x"] {
        println!("cargo::rustc-link-arg-bins=-T{script}");
    }
    // Without it the linker rounds sections up to 64 KiB pages.
    println!("cargo::rustc-link-arg-bins=--nmagic");
    Ok(())
}

fn write_memory_map(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let board = variable("OCELLI_BOARD").unwrap_or_else(|| "qemu-m4".into());
    let map = Path::new("memory").join(format!("{board}.x"));
    let text = fs::read(&map).map_err(|error| format!("OCELLI_BOARD={board}: {}: {error}", map.display()))?;
    fs::write(out_dir.join("memory.x"), text)?;
    println!("cargo::rustc-link-search={}", out_dir.display());
    println!("cargo::rerun-if-changed={}", map.display());
    Ok(())
}

/// What a program without a model says when it needs one.
const NO_MODEL: &str = "compile_error!(\"set OCELLI_MODEL to the model file, by its full path (or use \
                        `ocelli check MODEL DATA --board qemu-m4`)\");\n";

fn write_model(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let Some(path) = variable("OCELLI_MODEL") else {
        // Only the programs that include the configuration need a model, and they alone do not compile.
        fs::write(out_dir.join("model.ocelli"), [])?;
        fs::write(out_dir.join("config.rs"), NO_MODEL.to_owned() + &config([0; 4]))?;
        return Ok(());
    };
    println!("cargo::rerun-if-changed={path}");
    let refuse = |error: &dyn std::fmt::Display| format!("OCELLI_MODEL={path}: {error}");
    let file = fs::read(&path).map_err(|error| refuse(&error))?;
    fs::write(out_dir.join("model.ocelli"), &file)?;

    // A model is read in place, at a multiple of four bytes.
    let mut padded = vec![0_u8; file.len() + 4];
    let start = padded.as_ptr().align_offset(4);
    let aligned = padded.get_mut(start..start + file.len()).ok_or("out of memory")?;
    aligned.copy_from_slice(&file);
    let model = Model::parse(aligned).map_err(|error| refuse(&error))?;
    let row_bytes: usize = match variable("OCELLI_ROW_BYTES") {
        Some(text) => text.parse().map_err(|error| format!("OCELLI_ROW_BYTES={text}: {error}"))?,
        None => 2048,
    };
    let arena_bytes = usize::try_from(model.arena_bytes())?;
    let scratch_words = FrameConverter::scratch_words(model.input_shape());
    fs::write(out_dir.join("config.rs"), config([file.len(), arena_bytes, scratch_words, row_bytes]))?;
    Ok(())
}

fn config([model_bytes, arena_bytes, scratch_words, row_bytes]: [usize; 4]) -> String {
    format!(
        "/// Bytes of the model file.\npub const MODEL_BYTES: usize = {model_bytes};\n\
         /// Bytes of the model's working memory.\npub const ARENA_BYTES: usize = {arena_bytes};\n\
         /// Words of the frame converter's memory.\npub const SCRATCH_WORDS: usize = {scratch_words};\n\
         /// Bytes of the longest camera row.\npub const ROW_BYTES: usize = {row_bytes};\n"
    )
}

fn variable(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}
