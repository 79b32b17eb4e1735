//! The files of a .zip, .tar or .tar.gz archive, which is read as it is: nothing is unpacked to the disk, and names in it are names, not
//! paths.

use super::DataError;
use super::blob::Blob;
use super::image::MAX_FILE_BYTES;
use flate2::read::MultiGzDecoder;
use rawzip::{RECOMMENDED_BUFFER_SIZE, ZipArchive};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Files of an archive.
const MAX_FILES: usize = 5_000_000;
/// Bytes that a .tar.gz may have unpacked: it is held in memory, as it cannot be entered in its middle.
const MAX_UNPACKED_BYTES: u64 = 4 << 30;
/// Bytes of a tar archive's first block that tell what it is.
const TAR_MAGIC: std::ops::Range<usize> = 257..262;

/// Packings that are not read, by the bytes with which they begin.
const OTHERS: [(&[u8], &str); 6] = [
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
];

/// A file of an archive: the parts of its name, and its bytes.
pub(super) type Entry = (Vec<String>, Blob);

/// What an archive holds.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) files: Vec<Entry>,
    /// Names that lead out of the archive.
    pub(super) outside: Vec<String>,
}

/// Lists an archive's files, without what is hidden; `None` when it is no archive.
pub(super) fn list(path: &Path) -> Result<Option<Listing>, DataError> {
    let failed = |reason: String| DataError::Archive { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(|source| DataError::Unreadable { path: path.to_owned(), source })?;
    let mut start = Vec::new();
    let rewound = file.by_ref().take(512).read_to_end(&mut start).and_then(|_| file.rewind());
    rewound.map_err(|source| DataError::Unreadable { path: path.to_owned(), source })?;
    let is_tar = |block: &[u8]| block.get(TAR_MAGIC).is_some_and(|magic| magic == b"ustar");
    if let Some((_, packing)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(failed(format!("it is packed with {packing}, which is not supported: use .tar.gz, .tar or .zip")));
    }
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return list_zip(path, file).map(Some).map_err(failed);
    }
    if is_tar(&start) {
        return list_tar(path, file).map(Some).map_err(failed);
    }
    if start.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = MultiGzDecoder::new(BufReader::new(file));
        let mut block = Vec::new();
        let read = unpacked.by_ref().take(512).read_to_end(&mut block);
        read.map_err(|e| DataError::Gzip { path: path.to_owned(), reason: e.to_string() })?;
        if is_tar(&block) {
            return list_tar_gz(path, io::Cursor::new(block).chain(unpacked)).map(Some).map_err(failed);
        }
    }
    Ok(None)
}

fn list_zip(path: &Path, file: File) -> Result<Listing, String> {
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive = Arc::new(ZipArchive::from_file(file, &mut buffer).map_err(|e| e.to_string())?);
    // a record of the directory has three parts of at most 65,535 bytes
    let mut buffer = vec![0; 4 * RECOMMENDED_BUFFER_SIZE];
    let mut listing = Listing::default();
    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry().map_err(|e| e.to_string())? {
        let name = String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned();
        let Some(parts) = listing.parts(&name, !entry.is_dir()) else { continue };
        if entry.flags().is_encrypted() {
            return Err(format!("{name} is encrypted: make an archive without a password"));
        }
        let (method, size) = (entry.compression_method(), entry.uncompressed_size_hint());
        let blob = Blob::zip(inside(path, &parts), Arc::clone(&archive), entry.wayfinder(), method, size);
        listing.push((parts, blob))?;
    }
    Ok(listing)
}

fn list_tar(path: &Path, file: File) -> Result<Listing, String> {
    let shared = Arc::new(Mutex::new(file.try_clone().map_err(|e| e.to_string())?));
    let mut listing = Listing::default();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(parts) = listing.parts(&name, entry.header().entry_type().is_file()) else { continue };
        let blob = Blob::tar(inside(path, &parts), Arc::clone(&shared), entry.raw_file_position(), entry.size());
        listing.push((parts, blob))?;
    }
    Ok(listing)
}

fn list_tar_gz(path: &Path, stream: impl Read) -> Result<Listing, String> {
    let (mut listing, mut total) = (Listing::default(), 0);
    // an entry of long names is read without asking: it too has to end
    let mut archive = tar::Archive::new(stream.take(MAX_UNPACKED_BYTES + MAX_FILE_BYTES));
    for entry in archive.entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| e.to_string())?;
        let size = entry.size();
        total = size.saturating_add(total);
        if size > MAX_FILE_BYTES || total > MAX_UNPACKED_BYTES {
            return Err(format!(
                "holds more than {} MiB in a file or {} MiB in all, too much for memory: unpack it, or pack it as .zip or .tar",
                MAX_FILE_BYTES >> 20,
                MAX_UNPACKED_BYTES >> 20
            ));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(parts) = listing.parts(&name, entry.header().entry_type().is_file()) else { continue };
        let mut bytes = Vec::new();
        let found = entry.by_ref().take(size).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if found as u64 != size {
            return Err(format!("ends in the middle of {name}: download it again"));
        }
        let blob = Blob::memory(inside(path, &parts), bytes);
        listing.push((parts, blob))?;
    }
    // the checksum stands at the end, after what an archive needs
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|e| e.to_string())?;
    Ok(listing)
}

impl Listing {
    fn push(&mut self, entry: Entry) -> Result<(), String> {
        if self.files.len() >= MAX_FILES {
            return Err(format!("holds more than {MAX_FILES} files"));
        }
        self.files.push(entry);
        Ok(())
    }

    /// The parts of a name; `None` for what is no file, hidden, made by an archiver, or leads out of the archive, which is noted.
    fn parts(&mut self, name: &str, is_file: bool) -> Option<Vec<String>> {
        if !is_file || name.ends_with('/') {
            return None;
        }
        let parts: Vec<&str> = name.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect();
        let drive = |part: &&str| part.len() == 2 && part.ends_with(':');
        if name.starts_with(['/', '\\']) || parts.first().is_some_and(drive) || parts.contains(&"..") {
            if self.outside.len() < MAX_FILES {
                self.outside.push(name.to_owned());
            }
            return None;
        }
        let hidden = |part: &&str| part.starts_with('.') || ["__MACOSX", "Thumbs.db", "desktop.ini"].contains(part);
        let seen = !parts.is_empty() && !parts.iter().any(hidden);
        seen.then(|| parts.into_iter().map(str::to_owned).collect())
    }
}

/// What to call a file of an archive.
fn inside(archive: &Path, parts: &[String]) -> PathBuf {
    archive.join(parts.join("/"))
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
