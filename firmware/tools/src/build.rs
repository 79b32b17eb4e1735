//! Builds the firmware's programs: the classifier and the benchmark with a model in them, and the one that runs operator cases.

use crate::boards::{Board, NeverSleeps, NotUpdatable, Optimize, Updates};
use crate::elf::{self, Sizes};
use crate::fit::{self, Memory, ModelNeeds, TooLarge};
use crate::toolchain::Toolchain;
use ocelli::model::LoadError;
use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

/// The program that runs operator cases.
pub(crate) const CASES: &str = "ocelli-qemu-cases";
/// The program that compares inner loops.
pub(crate) const KERNELS: &str = "ocelli-qemu-kernels";
/// The program that measures the model in it.
pub(crate) const BENCH: &str = "ocelli-qemu-bench";
/// The program that runs the model in it on one core and on two.
pub(crate) const DUO: &str = "ocelli-qemu-duo";

/// The program that takes models over its UART.
pub(crate) const UPDATE: &str = "ocelli-qemu-update";

/// A program to compile.
struct Program<'p> {
    board: &'static Board,
    toolchain: &'p Toolchain,
    /// Its name; `None`: the classifier, whose name is `ocelli-` and that of the board's folder.
    name: Option<&'static str>,
    /// The model in it, if it has one.
    model: Option<&'p Path>,
    /// What it is optimized for; `None`: what the firmware's manifest says.
    optimize: Option<Optimize>,
    /// The least severe messages that it logs.
    log: Level,
    /// The public key that models must be signed by which come over the UART.
    key: Option<&'p [u8; 32]>,
    /// How the classifier takes models over a line, if it does.
    updates: Option<Updates>,
    /// When the classifier wakes, if it sleeps between frames.
    rest: Option<Rest>,
    /// Cargo's target folder, if not the default.
    target_dir: Option<&'p Path>,
}

/// Which messages a program logs with defmt: the others are not compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// What matters.
    Info,
    /// What each frame gave too.
    Debug,
}

/// When a firmware wakes that sleeps between frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Milliseconds from one turn to the next, or with the pin at the latest until one; 0: no such time.
    pub every_ms: u32,
    /// Whether the board's pin wakes it.
    pub by_pin: bool,
}

/// A firmware image. The file lives as long as this value.
#[derive(Debug)]
pub struct Firmware {
    /// The ELF file.
    pub elf: PathBuf,
    /// Flash taken by everything but the model.
    pub flash_code_bytes: u64,
    /// Flash taken by the model.
    pub flash_model_bytes: u64,
    /// Flash taken by both.
    pub flash_bytes: u64,
    /// RAM taken by variables: the model's arena, the converter's lines, a camera row. The stack comes on top.
    pub ram_static_bytes: u64,
    model_len: usize,
    image: Image,
}

/// Why a firmware image was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The firmware's sources are not there.
    #[error("the firmware's sources are not in {}: set OCELLI_FIRMWARE_DIR to the folder firmware/boards", dir.display())]
    Sources {
        /// Where they were looked for.
        dir: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// Cargo failed.
    #[error("building the firmware for {board} failed ({}):\n{stderr}", dir.display())]
    Cargo {
        /// The board's name.
        board: &'static str,
        /// The firmware's sources.
        dir: PathBuf,
        /// What cargo said.
        stderr: String,
    },
    /// The ELF file is not as it should be.
    #[error("{}: not a firmware image: {reason}", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The model file was refused.
    #[error("{}: {error}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: LoadError,
    },
    /// The board's firmware takes no models over a line.
    #[error(transparent)]
    NotUpdatable(#[from] NotUpdatable),
    /// The board's firmware does not sleep.
    #[error(transparent)]
    NeverSleeps(#[from] NeverSleeps),
    /// The firmware needs more memory than the board has.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// Builds the firmware for `board` with the model at `model` in it.
///
/// `target_dir` is cargo's target folder for firmware, by default `target/firmware` of the repository. Several processes may
/// build at the same time; they take turns, and each gets a copy of its own.
///
/// # Errors
/// When the sources or the model are missing, the model is refused or does not fit the board, or cargo fails.
pub fn build(
    board: &'static Board,
    toolchain: &Toolchain,
    model: &Path,
    target_dir: Option<&Path>,
) -> Result<Firmware, BuildError> {
    let program = Program { model: Some(model), ..Program::new(board, toolchain, target_dir) };
    build_with_model(&program, model, ModelNeeds::check)
}

/// As [`build`], for a firmware that takes other models over a line; with a public key those only that are signed by it. It has every
/// kernel, and memory for larger models ([`Updates::arena_bytes`]), and must leave the slots free in which models are kept.
///
/// # Errors
/// As [`build`], and when the board has no such firmware.
pub fn build_updatable(
    board: &'static Board,
    toolchain: &Toolchain,
    model: &Path,
    key: Option<&[u8; 32]>,
    target_dir: Option<&Path>,
) -> Result<Firmware, BuildError> {
    let (_, updates) = board.updatable()?;
    let program =
        Program { model: Some(model), key, updates: Some(updates), ..Program::new(board, toolchain, target_dir) };
    build_with_model(&program, model, |needs, board| needs.for_updates(updates).check(board))
}

/// As [`build`], for a firmware that sleeps between frames (`docs/power.md`).
///
/// # Errors
/// As [`build`], and when the board's firmware cannot sleep.
pub fn build_sleeping(
    board: &'static Board,
    toolchain: &Toolchain,
    model: &Path,
    rest: Rest,
    target_dir: Option<&Path>,
) -> Result<Firmware, BuildError> {
    board.check_sleeps()?;
    let program = Program { model: Some(model), rest: Some(rest), ..Program::new(board, toolchain, target_dir) };
    build_with_model(&program, model, ModelNeeds::check)
}

/// As [`build`], for a firmware that also logs what it finds in each frame.
///
/// # Errors
/// As [`build`].
pub fn build_chatty(
    board: &'static Board,
    toolchain: &Toolchain,
    model: &Path,
    target_dir: Option<&Path>,
) -> Result<Firmware, BuildError> {
    let log = Level::Debug;
    let program = Program { model: Some(model), log, ..Program::new(board, toolchain, target_dir) };
    build_with_model(&program, model, ModelNeeds::check)
}

/// Builds a program that measures the model at `model` ([`BENCH`] or [`DUO`]), by the rules of [`build`].
pub(crate) fn build_bench(
    name: &'static str,
    board: &'static Board,
    toolchain: &Toolchain,
    model: &Path,
    optimize: Optimize,
    target_dir: Option<&Path>,
) -> Result<Firmware, BuildError> {
    let program = Program {
        name: Some(name),
        model: Some(model),
        optimize: Some(optimize),
        ..Program::new(board, toolchain, target_dir)
    };
    build_with_model(&program, model, ModelNeeds::check_bare)
}

/// Builds the program that takes models over its UART, with the model at `model` built in; with a key it takes models only that are signed
/// by it. By the rules of [`build`].
pub(crate) fn build_update(
    board: &'static Board,
    toolchain: &Toolchain,
    model: &Path,
    key: Option<&[u8; 32]>,
    target_dir: Option<&Path>,
) -> Result<Firmware, BuildError> {
    let program = Program { name: Some(UPDATE), model: Some(model), key, ..Program::new(board, toolchain, target_dir) };
    build_with_model(&program, model, ModelNeeds::check_bare)
}

/// Builds QEMU's plugin that counts the instructions of each core, by the rules of [`build`]: where it lies.
pub(crate) fn build_plugin(target_dir: Option<&Path>) -> Result<PathBuf, BuildError> {
    let sources = boards_dir()?.join("../tools/plugin");
    let target_dir = made_dir(target_dir)?.join("plugin");
    // QEMU runs on this computer: cargo's own lock is enough, for the result is the same whoever builds it.
    let mut cargo = Toolchain::Installed.cargo();
    cargo.current_dir(&sources).args(["build", "--release", "--locked", "--target-dir"]).arg(&target_dir);
    let output = cargo.stdin(Stdio::null()).output().map_err(at(&sources))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Cargo { board: "QEMU's plugin", dir: sources, stderr });
    }
    let name = format!("{}ocelli_qemu_plugin{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    Ok(target_dir.join("release").join(name))
}

/// Cargo's target folder for firmware.
fn made_dir(target_dir: Option<&Path>) -> Result<PathBuf, BuildError> {
    let target_dir = match target_dir {
        Some(dir) => dir.to_owned(),
        None => boards_dir()?.join("../../target/firmware"),
    };
    fs::create_dir_all(&target_dir).map_err(at(&target_dir))?;
    target_dir.canonicalize().map_err(at(&target_dir))
}

/// Compiles a program with a model in it, if `check` finds that the model may fit.
fn build_with_model(
    program: &Program<'_>,
    model: &Path,
    check: impl FnOnce(ModelNeeds, &Board) -> Result<(), TooLarge>,
) -> Result<Firmware, BuildError> {
    let model = model.canonicalize().map_err(at(model))?;
    let file = fs::read(&model).map_err(at(&model))?;
    let needs = ModelNeeds::of(&file).map_err(|error| BuildError::Model { path: model.clone(), error })?;
    check(needs, &program.memory()).map_err(|refusal| program.explain(refusal))?;
    let (path, elf) = Program { model: Some(&model), ..*program }.compile()?;
    let firmware = Firmware::new(&elf, file.len(), &path)?;
    fit::check_image(&program.memory(), &firmware.image.sizes).map_err(|refusal| program.explain(refusal))?;
    Ok(firmware)
}

/// Builds a program that has no model in it ([`CASES`] or [`KERNELS`]), by the rules of [`build`].
pub(crate) fn build_program(
    name: &'static str,
    board: &'static Board,
    toolchain: &Toolchain,
    target_dir: Option<&Path>,
) -> Result<Image, BuildError> {
    let program = Program { name: Some(name), ..Program::new(board, toolchain, target_dir) };
    let (path, elf) = program.compile()?;
    let image = Image::new(&elf, &path)?;
    fit::check_image(board, &image.sizes)?;
    Ok(image)
}

/// The board's flags of rustc, and those that keep the places of sources and registry out of the image: panic messages name files,
/// and the image's size and bytes must not depend on where the repository lies.
fn rustflags(board: &Board, sources: &Path) -> String {
    let root = sources.join("../../..").canonicalize().unwrap_or_else(|_| sources.to_owned());
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let maps = [(Some(root), "ocelli"), (home, "cargo")].into_iter().filter_map(|(from, to)| Some((from?, to)));
    let maps = maps.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let flags: Vec<String> = board.rustflags.iter().map(|&flag| flag.to_owned()).chain(maps).collect();
    flags.join("\u{1f}") // cargo's separator
}

impl<'p> Program<'p> {
    /// A program that is as the board's table has it.
    const fn new(board: &'static Board, toolchain: &'p Toolchain, target_dir: Option<&'p Path>) -> Self {
        Self {
            board,
            toolchain,
            name: None,
            model: None,
            optimize: None,
            log: Level::Info,
            key: None,
            updates: None,
            rest: None,
            target_dir,
        }
    }

    /// The board with the memory that the program may take.
    fn memory(&self) -> Board {
        let slots = self.updates.map_or(0, |updates| 2 * updates.slot_bytes);
        Board { flash_bytes: self.board.flash_bytes - slots, ..*self.board }
    }

    /// Says of a refusal for want of flash memory what the board's other flash memory is for.
    fn explain(&self, refusal: TooLarge) -> TooLarge {
        match self.updates {
            Some(Updates { slot_bytes, .. }) if refusal.memory == Memory::Flash => TooLarge {
                parts: format!("{}; 2 * {slot_bytes} bytes are kept for models that are pushed", refusal.parts),
                ..refusal
            },
            _ => refusal,
        }
    }

    /// Compiles it: where cargo puts the ELF file, and its bytes.
    fn compile(&self) -> Result<(PathBuf, Vec<u8>), BuildError> {
        let sources = sources_dir(self.board)?;
        let name = self.name.map_or_else(|| format!("ocelli-{}", self.board.folder), str::to_owned);
        let target_dir = made_dir(self.target_dir)?;

        // Cargo's own lock ends with the build; ours lasts until the image is read.
        let lock_path = target_dir.join(".ocelli-build.lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;
        let mut cargo = self.toolchain.cargo();
        cargo
            .current_dir(&sources)
            .args(["build", "--release", "--locked", "--bin", &name, "--target", self.board.target, "--target-dir"])
            .arg(&target_dir)
            .env_remove("OCELLI_MODEL")
            .env_remove("OCELLI_MODEL_KEY")
            .env_remove("OCELLI_SLOTS_FIRST")
            .env_remove("OCELLI_SLOT_BYTES")
            .env_remove("OCELLI_ARENA_BYTES")
            .env_remove("OCELLI_EVERY_MS")
            .env_remove("OCELLI_WAKE_PIN")
            .env("OCELLI_BOARD", self.board.name)
            .env("OCELLI_ROW_BYTES", self.board.row_bytes.to_string())
            .env("DEFMT_LOG", if self.log == Level::Debug { "debug" } else { "info" })
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags(self.board, &sources))
            .stdin(Stdio::null());
        let mut features = self.board.features.to_vec();
        if let Some(updates) = self.updates {
            features.push("update");
            cargo
                .env("OCELLI_SLOTS_FIRST", self.memory().flash_bytes.to_string())
                .env("OCELLI_SLOT_BYTES", updates.slot_bytes.to_string())
                .env("OCELLI_ARENA_BYTES", updates.arena_bytes.to_string());
        }
        if let Some(Rest { every_ms, by_pin }) = self.rest {
            features.push("sleep");
            cargo.env("OCELLI_EVERY_MS", every_ms.to_string()).env("OCELLI_WAKE_PIN", u8::from(by_pin).to_string());
        }
        if let Some(key) = self.key {
            features.push("signed");
            cargo.env("OCELLI_MODEL_KEY", key.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
        cargo.args(["--features", &features.join(",")]);
        if let Some(model) = self.model {
            cargo.env("OCELLI_MODEL", model);
        }
        if let Some(optimize) = self.optimize {
            cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", optimize.opt_level());
        }
        let output = cargo.output().map_err(at(&sources))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            fit::check_linker(&self.memory(), &stderr).map_err(|refusal| self.explain(refusal))?;
            return Err(BuildError::Cargo { board: self.board.name, dir: sources, stderr });
        }
        let built = target_dir.join(self.board.target).join("release").join(name);
        let elf = fs::read(&built).map_err(at(&built))?;
        drop(lock);
        Ok((built, elf))
    }
}

impl Firmware {
    /// The same firmware with another model of the same size: what a board sees when its flash is written anew.
    ///
    /// The bytes are not checked: the board does that.
    ///
    /// # Errors
    /// When the size is another or the image cannot be written.
    pub fn with_model(&self, model: &[u8]) -> Result<Self, BuildError> {
        let mut image = fs::read(&self.elf).map_err(at(&self.elf))?;
        let found = model.len();
        let place = elf::model_range(&image, self.model_len).filter(|_| found == self.model_len);
        match place.and_then(|range| image.get_mut(range)) {
            Some(place) => place.copy_from_slice(model),
            None => {
                let reason = format!("it has room for a model of {} bytes, not of {found}", self.model_len);
                return Err(BuildError::Elf { path: self.elf.clone(), reason });
            }
        }
        Self::new(&image, self.model_len, &self.elf)
    }

    /// The sections that take flash, by name.
    #[must_use]
    pub fn flash_sections(&self) -> &[(String, u64)] {
        &self.image.sizes.flash_sections
    }

    fn new(elf: &[u8], model_len: usize, from: &Path) -> Result<Self, BuildError> {
        let image = Image::new(elf, from)?;
        if elf::model_range(elf, model_len).is_none() {
            return Err(BuildError::Elf { path: from.to_owned(), reason: "it has no model".into() });
        }
        let Sizes { flash_bytes, ram_static_bytes, .. } = image.sizes;
        let flash_model_bytes = u64::try_from(model_len).unwrap_or(u64::MAX);
        Ok(Self {
            elf: image.elf.clone(),
            flash_code_bytes: flash_bytes.saturating_sub(flash_model_bytes),
            flash_model_bytes,
            flash_bytes,
            ram_static_bytes,
            model_len,
            image,
        })
    }
}

/// A program's ELF file, which lives as long as this value.
#[derive(Debug)]
pub(crate) struct Image {
    /// The file.
    pub(crate) elf: PathBuf,
    sizes: Sizes,
    _dir: TempDir,
}

impl Image {
    fn new(elf: &[u8], from: &Path) -> Result<Self, BuildError> {
        let sizes =
            elf::sizes(elf).map_err(|error| BuildError::Elf { path: from.to_owned(), reason: error.to_string() })?;
        let dir = tempfile::Builder::new().prefix("ocelli-firmware-").tempdir().map_err(at(&env::temp_dir()))?;
        let path = dir.path().join("firmware.elf");
        fs::write(&path, elf).map_err(at(&path))?;
        Ok(Self { elf: path, sizes, _dir: dir })
    }
}

/// The folder of the boards' crates: `OCELLI_FIRMWARE_DIR`, or where it lay when this program was built.
fn boards_dir() -> Result<PathBuf, BuildError> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards");
    let dir = env::var_os("OCELLI_FIRMWARE_DIR").filter(|dir| !dir.is_empty()).map_or_else(default, PathBuf::from);
    dir.canonicalize().map_err(|_| BuildError::Sources { dir })
}

/// The folder of a board's crate.
fn sources_dir(board: &Board) -> Result<PathBuf, BuildError> {
    let dir = boards_dir()?.join(board.folder);
    if dir.join("Cargo.toml").exists() { Ok(dir) } else { Err(BuildError::Sources { dir }) }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |error| BuildError::File { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards::find;

    #[test]
    fn a_firmware_that_takes_models_ends_before_their_slots() {
        let board = find("pico").unwrap();
        let toolchain = Toolchain::Installed;
        let program = Program { updates: board.updates, ..Program::new(board, &toolchain, None) };
        let sizes = |flash_bytes| Sizes { flash_bytes, ..Sizes::default() };
        assert_eq!(fit::check_image(&program.memory(), &sizes(1 << 20)), Ok(()));
        // what the linker says of an image that reaches into them
        let linker = "rust-lld: error: section '.rodata' will not fit in region 'FLASH': overflowed by 10 bytes\n";
        let refusal = fit::check_linker(&program.memory(), linker).unwrap_err();
        assert_eq!(
            program.explain(refusal).to_string(),
            "the firmware needs 1048586 bytes of flash (the whole image, without the stack; 2 * 524288 bytes are kept for models that are \
             pushed), pico has 1048576: use a network with fewer weights or a board with more flash"
        );
        let ram =
            fit::check_image(&program.memory(), &Sizes { ram_static_bytes: 1 << 20, ..Sizes::default() }).unwrap_err();
        assert!(!program.explain(ram).to_string().contains("pushed"));
        let other = Program { updates: None, ..program };
        assert_eq!(fit::check_image(&other.memory(), &sizes(2 << 20)), Ok(()));
    }
}
