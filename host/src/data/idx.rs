//! MNIST's idx files, plain or gzip (told by content: browsers unpack files and keep the name).
//!
//! # Source
//! Y. LeCun's description of the format: big-endian magic number (`0x0000_08dd`: unsigned bytes, `dd` dimensions), one size
//! for each dimension, then the bytes.

use super::blob::Blob;
use super::image::RawImage;
use super::place::Place;
use super::{DataError, Found, Split};
use flate2::read::MultiGzDecoder;
use ocelli::image::PixelFormat;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

const LABELS_MAGIC: u32 = 0x801;
const IMAGES_MAGIC: u32 = 0x803;
/// Labels that are held in memory, a byte each.
const MAX_LABELS: u64 = 10_000_000;
/// Bytes of one image.
const MAX_IMAGE_BYTES: u64 = 64 << 20;
/// Fashion-MNIST's classes (<https://github.com/zalandoresearch/fashion-mnist>): its files are called as MNIST's are, so that only the
/// folder can tell.
const FASHION: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];
const PREFIXES: [(Split, &[&str]); 3] = [
    (Split::Train, &["train"]),
    (Split::Validation, &["validation", "valid", "val"]),
    (Split::Test, &["t10k", "test"]),
];

/// An image file and the labels that belong to it.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) split: Split,
    images: Blob,
    pub(super) targets: Vec<u8>,
}

/// Looks for idx files and reads their labels; `None` when there are none.
pub(super) fn find(place: &Place) -> Found<Set> {
    let mut sets = Vec::new();
    for (split, prefixes) in PREFIXES {
        let Some((prefix, images)) =
            prefixes.iter().find_map(|prefix| Some((prefix, existing(place, prefix, "images", 3)?)))
        else {
            continue;
        };
        let labels = existing(place, prefix, "labels", 1).ok_or_else(|| DataError::Missing {
            path: place.root().join(format!("{prefix}-labels-idx1-ubyte")),
            needed_by: images.path().to_owned(),
        })?;
        sets.push(read_set(split, images, &labels)?);
    }
    let Some(first) = sets.first() else { return Ok(None) };
    let classes = first.targets.iter().max().map_or(0, |&label| usize::from(label) + 1);
    for set in &sets {
        if let Some(index) = set.targets.iter().position(|&label| usize::from(label) >= classes) {
            return Err(DataError::LabelOutside {
                path: set.images.path().to_owned(),
                index,
                label: set.targets[index],
                classes,
            });
        }
    }
    let fashion =
        place.root().file_name().is_some_and(|name| name.to_string_lossy().to_lowercase().contains("fashion"));
    let labels = match fashion && classes == FASHION.len() {
        true => FASHION.iter().map(|&name| name.to_owned()).collect(),
        false => (0..classes).map(|class| class.to_string()).collect(),
    };
    Ok(Some((labels, sets)))
}

/// Reads the images of a set, one after the other.
pub(super) fn read(set: &Set, each: &mut dyn FnMut(RawImage, usize) -> Result<(), DataError>) -> Result<(), DataError> {
    let path = || set.images.path().to_owned();
    let (mut file, [count, height, width]) = IdxFile::open(&set.images, "images", IMAGES_MAGIC)?;
    let image_bytes = u64::from(height) * u64::from(width);
    let too_large = || DataError::TooLarge { path: path(), bytes: image_bytes, limit: MAX_IMAGE_BYTES };
    let image_bytes = usize::try_from(image_bytes.min(MAX_IMAGE_BYTES + 1)).map_err(|_| too_large())?;
    if image_bytes as u64 > MAX_IMAGE_BYTES {
        return Err(too_large());
    }
    if count as usize != set.targets.len() {
        return Err(DataError::Image { path: path(), reason: "changed while it was read".to_owned() });
    }
    for &target in &set.targets {
        let pixels = file.bytes(image_bytes)?;
        each(RawImage { width, height, format: PixelFormat::Gray8, pixels }, usize::from(target))?;
    }
    file.finish()
}

/// The first spelling of a file's name that exists.
fn existing(place: &Place, prefix: &str, what: &str, dimensions: u8) -> Option<Blob> {
    ["-", "."]
        .iter()
        .flat_map(|dash| ["", ".gz"].map(|end| format!("{prefix}-{what}{dash}idx{dimensions}-ubyte{end}")))
        .find_map(|name| place.file(&name))
}

fn read_set(split: Split, images: Blob, labels: &Blob) -> Result<Set, DataError> {
    let (mut label_file, [label_count]) = IdxFile::open(labels, "labels", LABELS_MAGIC)?;
    let (_, [image_count, _, _]) = IdxFile::open(&images, "images", IMAGES_MAGIC)?;
    if image_count != label_count {
        return Err(DataError::CountMismatch {
            path: images.path().to_owned(),
            images: u64::from(image_count),
            labels_path: labels.path().to_owned(),
            labels: u64::from(label_count),
        });
    }
    if label_count == 0 {
        return Err(DataError::Empty { path: images.path().to_owned() });
    }
    if u64::from(label_count) > MAX_LABELS {
        return Err(DataError::TooLarge {
            path: images.path().to_owned(),
            bytes: u64::from(label_count),
            limit: MAX_LABELS,
        });
    }
    let targets = label_file.bytes(label_count as usize)?;
    label_file.finish()?;
    Ok(Set { split, images, targets })
}

/// An idx file whose header has been read. Never reads more than one byte beyond what the header promises.
struct IdxFile {
    path: PathBuf,
    input: Box<dyn Read>,
    found: u64,
    expected: u64,
}

impl IdxFile {
    /// Opens a file of `N` dimensions and returns their sizes.
    fn open<const N: usize>(file: &Blob, what: &'static str, magic: u32) -> Result<(Self, [u32; N]), DataError> {
        let path = file.path().to_owned();
        let unreadable = |source| DataError::Unreadable { path: file.path().to_owned(), source };
        let mut input = BufReader::with_capacity(64 << 10, file.open().map_err(unreadable)?);
        let gzip = input.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]);
        let input: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(input)) } else { Box::new(input) };
        let mut file = Self { path, input, found: 0, expected: 4 + 4 * N as u64 };
        let found = file.word()?;
        if found != magic {
            return Err(DataError::Magic { path: file.path, what, found, expected: magic });
        }
        let mut sizes = [0; N];
        let mut bytes = 1_u64;
        for size in &mut sizes {
            *size = file.word()?;
            bytes = bytes.saturating_mul(u64::from(*size));
        }
        file.expected = file.expected.saturating_add(bytes);
        Ok((file, sizes))
    }

    fn word(&mut self) -> Result<u32, DataError> {
        let bytes = self.bytes(4)?;
        Ok(bytes.iter().fold(0, |word, &byte| (word << 8) | u32::from(byte)))
    }

    /// The next `count` bytes; memory grows with what is there, not with what is promised.
    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let result = self.input.by_ref().take(count as u64).read_to_end(&mut bytes);
        self.found += bytes.len() as u64;
        match result {
            Ok(_) if bytes.len() == count => Ok(bytes),
            Ok(_) => Err(self.truncated()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Checks that the file ends here (for gzip: with the right checksum).
    fn finish(mut self) -> Result<(), DataError> {
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(DataError::TooLong { path: self.path.clone(), expected: self.expected }),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn truncated(&self) -> DataError {
        DataError::Truncated { path: self.path.clone(), expected: self.expected, found: self.found }
    }

    fn failed(&self, error: io::Error) -> DataError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated(),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                DataError::Gzip { path, reason: error.to_string() }
            }
            _ => DataError::Unreadable { path, source: error },
        }
    }
}

#[cfg(test)]
#[path = "idx_tests.rs"]
mod tests;
