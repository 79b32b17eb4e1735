//! Writes a firmware's images into a folder.

use super::image::{FlashImage, ImageError};
use super::{hex, uf2};
use crate::boards::{Board, Flashing};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Where a firmware's images lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The ELF file: with symbols, for debuggers and for decoding the log.
    pub elf: PathBuf,
    /// The flat image, and the address that it belongs to.
    pub bin: Option<(PathBuf, u32)>,
    /// Intel HEX.
    pub hex: Option<PathBuf>,
    /// The file for a boot drive.
    pub uf2: Option<PathBuf>,
}

impl Written {
    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let bin = self.bin.as_ref().map(|(path, _)| path);
        [Some(&self.elf), bin, self.hex.as_ref(), self.uf2.as_ref()].into_iter().flatten().map(PathBuf::as_path)
    }
}

/// Why images were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file could not be read or written.
    #[error("cannot write {}: {error}: choose a folder that can be written", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The ELF file is no image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Finds out whether images can be written into a folder, before anything is compiled for them; makes the folder where it is missing.
///
/// # Errors
/// Names the folder that cannot be made or written.
pub fn check_folder(folder: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    NamedTempFile::new_in(folder).map(drop).map_err(at(folder))
}

/// Writes the ELF file of a board's firmware, and the images made of it that the board takes, as `folder/BOARD.elf`, `.bin`, `.hex` and
/// `.uf2`. The folder is made where it is missing. Each file is complete or not there. Nothing is written of a firmware that does not lie in the
/// board's flash.
///
/// A board that espflash writes to takes the ELF file only: what lies in its flash is made of it there.
///
/// # Errors
/// When the ELF file is no image for the board, or a file cannot be written.
pub fn write(elf: &[u8], board: &Board, folder: &Path) -> Result<Written, WriteError> {
    let image = match board.flashing {
        Flashing::Esp { .. } => None,
        Flashing::Emulator | Flashing::Uf2 { .. } | Flashing::Probe { .. } => {
            let start = u64::from(board.flash_address);
            let image = FlashImage::of_elf(elf)?;
            image.check_within(start..start + u64::from(board.flash_bytes))?;
            Some(image)
        }
    };
    let bin = image.as_ref().map(FlashImage::to_bin).transpose()?;
    fs::create_dir_all(folder).map_err(at(folder))?;
    let file = |extension: &str, bytes: &[u8]| {
        let path = folder.join(format!("{}.{extension}", board.name));
        write_atomically(folder, &path, bytes).map_err(at(&path))?;
        Ok::<_, WriteError>(path)
    };
    let mut written = Written { elf: file("elf", elf)?, bin: None, hex: None, uf2: None };
    if let (Some(image), Some(bin)) = (image, bin) {
        let address = image.segments().first().map_or(0, |segment| segment.address);
        written.bin = Some((file("bin", &bin)?, address));
        written.hex = Some(file("hex", hex::encode(&image).as_bytes())?);
        if let Flashing::Uf2 { family_id, .. } = board.flashing {
            // The models of an updatable firmware, at the flash memory's end, are not to be touched.
            let firmware_bytes = board.updatable().map_or(board.flash_bytes, |(without, _)| without.flash_bytes);
            let free_end = board.flash_address + firmware_bytes;
            written.uf2 = Some(file("uf2", &uf2::encode(&image, family_id, free_end))?);
        }
    }
    Ok(written)
}

/// Writes beside the place, then renames.
fn write_atomically(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // a temporary file is private; this one is for whoever may read the folder
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |error| WriteError::File { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards::find;
    use crate::flash::image::tests::elf;

    #[test]
    fn a_board_gets_the_files_that_it_takes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        for (name, address, extensions) in [
            ("pico2", 0x1000_0000, &["elf", "bin", "hex", "uf2"][..]),
            ("nrf52840-dk", 0, &["elf", "bin", "hex"]),
            ("qemu-m4", 0, &["elf", "bin", "hex"]),
            ("esp32-c3", 0x4200_0020, &["elf"]),
        ] {
            let elf = elf(address + 1, &[(address, address, b"code")]);
            // the second time over what is there
            write(&elf, find(name).unwrap(), &folder).unwrap();
            let written = write(&elf, find(name).unwrap(), &folder).unwrap();
            let expected: Vec<_> =
                extensions.iter().map(|extension| folder.join(format!("{name}.{extension}"))).collect();
            assert_eq!(written.files().collect::<Vec<_>>(), expected);
            assert_eq!(fs::read(&written.elf).unwrap(), elf);
            if let (Some((bin, at)), Some(hex)) = (&written.bin, &written.hex) {
                assert_eq!((fs::read(bin).unwrap(), *at), (b"code".to_vec(), address));
                assert!(fs::read_to_string(hex).unwrap().ends_with(":00000001FF\n"));
            }
            if let Some(uf2) = &written.uf2 {
                let uf2 = fs::read(uf2).unwrap();
                assert_eq!(
                    uf2[12..16],
                    0x101F_FF00_u32.to_le_bytes(),
                    "before the slots, which are the second half of 4 MB"
                );
                assert_eq!(uf2[512..][28..32], 0xE48B_FF59_u32.to_le_bytes(), "rp2350-arm-s");
            }
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4 + 3 + 3 + 1, "and nothing else");
    }

    #[test]
    fn a_firmware_of_another_board_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let error = write(&elf(0, &[(0, 0, b"code")]), find("pico").unwrap(), dir.path()).unwrap_err();
        assert!(matches!(error, WriteError::Image(ImageError::Outside { .. })), "{error}");
        let error = write(b"text", find("pico").unwrap(), dir.path()).unwrap_err();
        assert!(matches!(error, WriteError::Image(ImageError::Elf { .. })), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let said = format!("cannot write {}", file.display());
        let error = write(&elf(0, &[(0, 0, b"code")]), find("qemu-m4").unwrap(), &file).unwrap_err().to_string();
        assert!(error.contains(&said), "{error}");
        // and before anything is built
        assert!(check_folder(&file).unwrap_err().to_string().contains(&said));
        let folder = dir.path().join("a/b");
        check_folder(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing stays there");
    }
}
