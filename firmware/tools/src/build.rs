//! Builds the firmware's programs: the classifier with a model in it, and the one that runs operator cases.

use crate::boards::Board;
use crate::elf::{self, Sizes};
use crate::fit::{self, TooLarge};
use crate::toolchain::Toolchain;
use ocelli::model::LoadError;
use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

/// The program that classifies with the model in it.
const CLASSIFIER: &str = "ocelli-qemu";
/// The program that runs operator cases.
const CASES: &str = "ocelli-qemu-cases";

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
    #[error("the firmware's sources are not in {}: set OCELLI_FIRMWARE_DIR to the folder firmware/boards/qemu", dir.display())]
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
    let model = model.canonicalize().map_err(at(model))?;
    let file = fs::read(&model).map_err(at(&model))?;
    let needs = fit::ModelNeeds::of(&file).map_err(|error| BuildError::Model { path: model.clone(), error })?;
    needs.check(board)?;
    let (path, elf) = compile(board, toolchain, CLASSIFIER, Some(&model), target_dir)?;
    let firmware = Firmware::new(&elf, file.len(), &path)?;
    fit::check_image(board, firmware.image.sizes)?;
    Ok(firmware)
}

/// Builds the program that runs operator cases, by the rules of [`build`].
pub(crate) fn build_cases(
    board: &'static Board,
    toolchain: &Toolchain,
    target_dir: Option<&Path>,
) -> Result<Image, BuildError> {
    let (path, elf) = compile(board, toolchain, CASES, None, target_dir)?;
    let image = Image::new(&elf, &path)?;
    fit::check_image(board, image.sizes)?;
    Ok(image)
}

/// Flags that keep the places of sources and registry out of the image: panic messages name files, and the image's size and bytes
/// must not depend on where the repository lies.
fn remapped_paths(sources: &Path) -> String {
    let root = sources.join("../../..").canonicalize().unwrap_or_else(|_| sources.to_owned());
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let maps = [(Some(root), "ocelli"), (home, "cargo")].into_iter().filter_map(|(from, to)| Some((from?, to)));
    let flags: Vec<String> = maps.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
    flags.join("\u{1f}") // cargo's separator
}

/// Compiles a program of the firmware's package: where cargo puts the ELF file, and its bytes.
fn compile(
    board: &'static Board,
    toolchain: &Toolchain,
    program: &str,
    model: Option<&Path>,
    target_dir: Option<&Path>,
) -> Result<(PathBuf, Vec<u8>), BuildError> {
    let sources = sources_dir()?;
    let target_dir = match target_dir {
        Some(dir) => dir.to_owned(),
        None => sources.join("../../../target/firmware"),
    };
    fs::create_dir_all(&target_dir).map_err(at(&target_dir))?;
    let target_dir = target_dir.canonicalize().map_err(at(&target_dir))?;

    // Cargo's own lock ends with the build; ours lasts until the image is read.
    let lock_path = target_dir.join(".ocelli-build.lock");
    let lock = File::create(&lock_path).map_err(at(&lock_path))?;
    lock.lock().map_err(at(&lock_path))?;
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(&sources)
        .args(["build", "--release", "--locked", "--bin", program, "--target", board.target, "--target-dir"])
        .arg(&target_dir)
        .env_remove("OCELLI_MODEL")
        .env("OCELLI_BOARD", board.name)
        .env("OCELLI_ROW_BYTES", board.row_bytes.to_string())
        .env("DEFMT_LOG", "info")
        .env("CARGO_ENCODED_RUSTFLAGS", remapped_paths(&sources))
        .stdin(Stdio::null());
    if let Some(model) = model {
        cargo.env("OCELLI_MODEL", model);
    }
    let output = cargo.output().map_err(at(&sources))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Cargo { board: board.name, dir: sources, stderr });
    }
    let built = target_dir.join(board.target).join("release").join(program);
    let elf = fs::read(&built).map_err(at(&built))?;
    drop(lock);
    Ok((built, elf))
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

    fn new(elf: &[u8], model_len: usize, from: &Path) -> Result<Self, BuildError> {
        let image = Image::new(elf, from)?;
        if elf::model_range(elf, model_len).is_none() {
            return Err(BuildError::Elf { path: from.to_owned(), reason: "it has no model".into() });
        }
        let Sizes { flash_bytes, ram_static_bytes } = image.sizes;
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

/// The firmware's sources: `OCELLI_FIRMWARE_DIR`, or where they lay when this program was built.
fn sources_dir() -> Result<PathBuf, BuildError> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards/qemu");
    let dir = env::var_os("OCELLI_FIRMWARE_DIR").filter(|dir| !dir.is_empty()).map_or_else(default, PathBuf::from);
    dir.canonicalize().ok().filter(|path| path.join("Cargo.toml").exists()).ok_or(BuildError::Sources { dir })
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |error| BuildError::File { path, error }
}
