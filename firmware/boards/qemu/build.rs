//! Puts the model, the sizes of its memory and the board's memory map where the firmware and the linker look for them.
//!
//! Environment: `OCELLI_MODEL` (model file, required by all programs but `ocelli-qemu-cases`), `OCELLI_BOARD` (default
//! qemu-m4), `OCELLI_ROW_BYTES` (longest camera row, default 2048). To the programs it says `cfg(ocelli_board = "...")` and,
//! by the board's counter, `cfg(ocelli_clock = "...")`.

use ocelli::image::FrameConverter;
use ocelli::model::Model;
use ocelli::runtime::kinds_of;
use std::error::Error;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let board = variable("OCELLI_BOARD").unwrap_or_else(|| "qemu-m4".into());
    let is_riscv = env::var("CARGO_CFG_TARGET_ARCH")?.starts_with("riscv");
    write_memory_map(&out_dir, &board)?;
    write_model(&out_dir)?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=OCELLI_MODEL_KEY");

    println!("cargo::rustc-check-cfg=cfg(ocelli_board, values(any()))");
    println!("cargo::rustc-check-cfg=cfg(ocelli_clock, values(\"cmsdk\", \"timer0\", \"minstret\"))");
    let clock = match board.as_str() {
        _ if is_riscv => "minstret",
        "qemu-microbit" => "timer0",
        _ => "cmsdk",
    };
    println!("cargo::rustc-cfg=ocelli_board=\"{board}\"");
    println!("cargo::rustc-cfg=ocelli_clock=\"{clock}\"");

    // riscv-rt's script does not include the memory map, cortex-m-rt's does.
    for script in ["memory.x"].into_iter().filter(|_| is_riscv).chain(["link.x", "defmt.x"]) {
        println!("cargo::rustc-link-arg-bins=-T{script}");
    }
    // Without it the linker rounds sections up to 64 KiB pages.
    println!("cargo::rustc-link-arg-bins=--nmagic");
    Ok(())
}

fn write_memory_map(out_dir: &Path, board: &str) -> Result<(), Box<dyn Error>> {
    let map = Path::new("memory").join(format!("{board}.x"));
    let text = fs::read(&map).map_err(|error| format!("OCELLI_BOARD={board}: {}: {error}", map.display()))?;
    fs::write(out_dir.join("memory.x"), text)?;
    // cortex-m-rt's script includes the names of a device's interrupts: there are none here.
    fs::write(out_dir.join("device.x"), "")?;
    println!("cargo::rustc-link-search={}", out_dir.display());
    println!("cargo::rerun-if-changed={}", map.display());
    Ok(())
}

/// What a program without a model says when it needs one.
const NO_MODEL: &str = "compile_error!(\"set OCELLI_MODEL to the model file, by its full path (or use \
                        `ocelli check MODEL DATA --board qemu-m4`)\");\n";

/// What the programs must know of a model when they are compiled.
#[derive(Default)]
struct Config {
    model_bytes: usize,
    arena_bytes: usize,
    scratch_words: usize,
    row_bytes: usize,
    ops: usize,
    kinds: u32,
}

fn write_model(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let Some(path) = variable("OCELLI_MODEL") else {
        // Only the programs that include the configuration need a model, and they alone do not compile.
        fs::write(out_dir.join("model.ocelli"), [])?;
        fs::write(out_dir.join("config.rs"), NO_MODEL.to_owned() + &Config::default().to_string())?;
        return Ok(());
    };
    println!("cargo::rerun-if-changed={path}");
    let refuse = |error: &dyn Display| format!("OCELLI_MODEL={path}: {error}");
    let file = fs::read(&path).map_err(|error| refuse(&error))?;
    fs::write(out_dir.join("model.ocelli"), &file)?;

    // A model is read in place, at a multiple of four bytes.
    let mut padded = vec![0_u8; file.len() + 4];
    let start = padded.as_ptr().align_offset(4);
    let aligned = padded.get_mut(start..start + file.len()).ok_or("out of memory")?;
    aligned.copy_from_slice(&file);
    let model = Model::parse(aligned).map_err(|error| refuse(&error))?;
    let row_bytes = match variable("OCELLI_ROW_BYTES") {
        Some(text) => text.parse().map_err(|error| format!("OCELLI_ROW_BYTES={text}: {error}"))?,
        None => 2048,
    };
    let config = Config {
        model_bytes: file.len(),
        arena_bytes: usize::try_from(model.arena_bytes())?,
        scratch_words: FrameConverter::scratch_words(model.input_shape()),
        row_bytes,
        ops: model.graph().ops.len(),
        kinds: kinds_of(&model),
    };
    fs::write(out_dir.join("config.rs"), config.to_string())?;
    Ok(())
}

impl Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |doc: &str, name: &str, kind: &str, value: &dyn Display| {
            writeln!(f, "/// {doc}.\npub const {name}: {kind} = {value};")
        };
        line("Bytes of the model file", "MODEL_BYTES", "usize", &self.model_bytes)?;
        line("Bytes of the model's working memory", "ARENA_BYTES", "usize", &self.arena_bytes)?;
        line("Words of the frame converter's memory", "SCRATCH_WORDS", "usize", &self.scratch_words)?;
        line("Bytes of the longest camera row", "ROW_BYTES", "usize", &self.row_bytes)?;
        line("Operators of the model", "OPS", "usize", &self.ops)?;
        line(
            "The kernels that the model needs (`ocelli::runtime::kinds_of`)",
            "KINDS",
            "u32",
            &format!("{:#b}", self.kinds),
        )
    }
}

fn variable(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}
