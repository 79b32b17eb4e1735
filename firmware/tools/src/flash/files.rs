//! Writes a firmware's images into a folder.

use super::image::{FlashImage, ImageError};
use super::{hex, uf2};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Where a firmware's images lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The ELF file: with symbols, for debuggers and for decoding the log.
    pub elf: PathBuf,
    /// The flat image.
    pub bin: PathBuf,
    /// The address that the flat image belongs to.
    pub bin_address: u32,
    /// Intel HEX.
    pub hex: PathBuf,
    /// The file for a boot drive, where the board has one.
    pub uf2: Option<PathBuf>,
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

/// Writes `elf` and the images made of it as `folder/name.elf`, `.bin` and `.hex`, and with a family as `.uf2`. The folder is made where it
/// is missing. Each file is complete or not there.
///
/// # Errors
/// When the ELF file is no flash image, or a file cannot be written.
pub fn write(
    elf: &[u8],
    image: &FlashImage,
    uf2_family: Option<u32>,
    folder: &Path,
    name: &str,
) -> Result<Written, WriteError> {
    let bin = image.to_bin()?;
    fs::create_dir_all(folder).map_err(at(folder))?;
    let file = |extension: &str, bytes: &[u8]| {
        let path = folder.join(format!("{name}.{extension}"));
        write_atomically(folder, &path, bytes).map_err(at(&path))?;
        Ok::<_, WriteError>(path)
    };
    Ok(Written {
        elf: file("elf", elf)?,
        bin: file("bin", &bin)?,
        bin_address: image.segments().first().map_or(0, |segment| segment.address),
        hex: file("hex", hex::encode(image).as_bytes())?,
        uf2: uf2_family.map(|family| file("uf2", &uf2::encode(image, family))).transpose()?,
    })
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
    use crate::flash::image::tests::elf;

    #[test]
    fn every_form_is_written_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let elf = elf(0x1000_0001, &[(0x1000_0000, 0x1000_0000, b"code")]);
        let image = FlashImage::of_elf(&elf).unwrap();
        let written = write(&elf, &image, Some(1), &folder, "pico").unwrap();
        assert_eq!(fs::read(&written.elf).unwrap(), elf);
        assert_eq!((fs::read(&written.bin).unwrap(), written.bin_address), (b"code".to_vec(), 0x1000_0000));
        assert!(fs::read_to_string(&written.hex).unwrap().ends_with(":00000001FF\n"));
        assert_eq!(fs::read(written.uf2.unwrap()).unwrap().len(), 512);
        // again, over what is there; a board without a boot drive has three
        assert_eq!(write(&elf, &image, None, &folder, "pico").unwrap().uf2, None);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let elf = elf(0, &[(0, 0, b"code")]);
        let error = write(&elf, &FlashImage::of_elf(&elf).unwrap(), None, &file, "pico").unwrap_err().to_string();
        assert!(error.contains(&format!("cannot write {}", file.display())), "{error}");
    }
}
