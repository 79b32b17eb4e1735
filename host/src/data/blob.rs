//! A file's bytes, wherever they are: in a folder, in an archive that stays packed, or in memory.

use super::image::MAX_FILE_BYTES;
use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, FileReader, ZipArchive, ZipArchiveEntryWayfinder};
use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A file that can be read again and again, from any thread.
#[derive(Clone)]
pub(super) struct Blob {
    path: PathBuf,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Folder,
    /// An entry of a zip archive, found by its directory.
    Zip {
        archive: Arc<ZipArchive<FileReader>>,
        entry: ZipArchiveEntryWayfinder,
        method: CompressionMethod,
        size: u64,
    },
    /// A stretch of a tar archive.
    Tar {
        archive: Arc<Mutex<File>>,
        offset: u64,
        size: u64,
    },
    /// What was unpacked from a stream that cannot be entered in its middle.
    Memory(Arc<[u8]>),
}

impl Blob {
    /// A file in a folder.
    pub(super) fn file(path: PathBuf) -> Self {
        Self { path, place: Place::Folder }
    }

    /// An entry of a zip archive; `path` is what to call it.
    pub(super) fn zip(
        path: PathBuf,
        archive: Arc<ZipArchive<FileReader>>,
        entry: ZipArchiveEntryWayfinder,
        method: CompressionMethod,
        size: u64,
    ) -> Self {
        Self { path, place: Place::Zip { archive, entry, method, size } }
    }

    /// `size` bytes of a tar archive from `offset` on; `path` is what to call them.
    pub(super) fn tar(path: PathBuf, archive: Arc<Mutex<File>>, offset: u64, size: u64) -> Self {
        Self { path, place: Place::Tar { archive, offset, size } }
    }

    /// Bytes in memory; `path` is what to call them.
    pub(super) fn memory(path: PathBuf, bytes: Vec<u8>) -> Self {
        Self { path, place: Place::Memory(bytes.into()) }
    }

    /// What to call it: in an archive, the archive's path with the entry's name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it lies on the disk, if as a file of its own.
    pub(super) fn on_disk(&self) -> Option<&Path> {
        matches!(self.place, Place::Folder).then_some(&*self.path)
    }

    /// Bytes, as the file system or the archive's directory states them.
    pub(super) fn len(&self) -> io::Result<u64> {
        match &self.place {
            Place::Folder => Ok(std::fs::metadata(&self.path)?.len()),
            Place::Zip { size, .. } | Place::Tar { size, .. } => Ok(*size),
            Place::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// All bytes, or one more than a file may have.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match &self.place {
            Place::Folder => File::open(&self.path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?,
            Place::Zip { archive, entry, method, .. } => {
                let entry = archive.get_entry(*entry).map_err(io::Error::other)?;
                // checks length and checksum when the end is reached
                match *method {
                    CompressionMethod::STORE => {
                        entry.verifying_reader(entry.reader()).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?
                    }
                    CompressionMethod::DEFLATE => entry
                        .verifying_reader(DeflateDecoder::new(entry.reader()))
                        .take(MAX_FILE_BYTES + 1)
                        .read_to_end(&mut bytes)?,
                    other => {
                        let what =
                            format!("packed by a method that is not read ({other:?}): pack it again with Deflate");
                        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
                    }
                }
            }
            Place::Tar { archive, offset, size } => {
                let mut file = archive.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(*offset))?;
                let found = file.by_ref().take((*size).min(MAX_FILE_BYTES + 1)).read_to_end(&mut bytes)?;
                if (found as u64) < (*size).min(MAX_FILE_BYTES + 1) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                found
            }
            Place::Memory(all) => {
                bytes.extend_from_slice(all);
                all.len()
            }
        };
        Ok(bytes)
    }

    /// For reading from the beginning on; what is packed is unpacked at once.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read>> {
        match &self.place {
            Place::Folder => Ok(Box::new(File::open(&self.path)?)),
            _ => Ok(Box::new(Cursor::new(self.read()?))),
        }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({})", self.path.display())
    }
}
