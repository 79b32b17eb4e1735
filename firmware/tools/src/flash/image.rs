//! What of a firmware's ELF file comes into flash memory, and where.

use crate::elf::{self, Loaded};
use std::ops::Range;

/// A byte of flash memory that nothing was written to.
pub(super) const ERASED: u8 = 0xFF;
/// Longest flat image: more than any board's flash, so that two far apart addresses do not make a file of gigabytes.
const MAX_BIN_BYTES: u32 = 64 << 20;

/// Bytes that lie together in flash memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Address of the first.
    pub address: u32,
    /// The bytes, at least one.
    pub bytes: Vec<u8>,
}

/// A flash memory's content: segments in the order of their addresses, without overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlashImage {
    segments: Vec<Segment>,
    entry: u32,
}

/// Why an ELF file is no flash image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It cannot be read.
    #[error("not a 32-bit ELF file: {reason}")]
    Elf {
        /// Why.
        reason: String,
    },
    /// Nothing in it is loaded.
    #[error("the ELF file has nothing to write to flash: was it linked for the board?")]
    Empty,
    /// Two segments want the same place.
    #[error("the ELF file wants two things at address {address:#010x}: its linker script is wrong")]
    Overlap {
        /// The place.
        address: u32,
    },
    /// Something lies where the board has no flash.
    #[error(
        "the ELF file has bytes at {start:#010x} to {end:#010x}, the board's flash is from {flash_start:#010x} to {flash_end:#010x}: it was \
         linked for another board"
    )]
    Outside {
        /// The first of the segment's addresses.
        start: u64,
        /// Behind its last.
        end: u64,
        /// The flash memory's first address.
        flash_start: u64,
        /// Behind its last.
        flash_end: u64,
    },
    /// The segments lie too far apart for a file without addresses.
    #[error("a flat image would have {bytes} bytes, for its parts lie far apart: use the ELF or HEX file")]
    Sparse {
        /// How many.
        bytes: u64,
    },
}

impl FlashImage {
    /// Takes the loaded parts of an ELF file, at the addresses that they are written to (and not those where variables are copied to).
    ///
    /// # Errors
    /// When it is no ELF file for a 32-bit chip, or loads nothing, or two things at one address.
    pub fn of_elf(elf: &[u8]) -> Result<Self, ImageError> {
        let Loaded { entry, parts } = elf::loaded(elf).map_err(|reason| ImageError::Elf { reason })?;
        let segments = parts.into_iter().map(|(address, bytes)| Segment { address, bytes: bytes.to_vec() });
        Self::new(entry, segments.collect())
    }

    fn new(entry: u32, mut segments: Vec<Segment>) -> Result<Self, ImageError> {
        segments.retain(|segment| !segment.bytes.is_empty());
        segments.sort_by_key(|segment| segment.address);
        if segments.is_empty() {
            return Err(ImageError::Empty);
        }
        for pair in segments.windows(2) {
            if let [before, after] = pair
                && before.addresses().end > u64::from(after.address)
            {
                return Err(ImageError::Overlap { address: after.address });
            }
        }
        Ok(Self { segments, entry })
    }

    /// Refuses an image that does not lie within a board's flash memory.
    ///
    /// # Errors
    /// Names the first segment that lies outside.
    pub fn check_within(&self, flash: Range<u64>) -> Result<(), ImageError> {
        let outside = |segment: &&Segment| {
            let Range { start, end } = segment.addresses();
            start < flash.start || end > flash.end
        };
        match self.segments.iter().find(outside).map(Segment::addresses) {
            None => Ok(()),
            Some(Range { start, end }) => {
                Err(ImageError::Outside { start, end, flash_start: flash.start, flash_end: flash.end })
            }
        }
    }

    /// The parts, in the order of their addresses.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Where the program starts.
    #[must_use]
    pub const fn entry(&self) -> u32 {
        self.entry
    }

    /// Bytes that are written, without gaps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.bytes.len()).sum()
    }

    /// Whether there is nothing to write: never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The flat image: the byte at the lowest address first, gaps as erased flash has them. A tool that writes it must be told the address.
    ///
    /// # Errors
    /// When the gaps are so wide that nobody can want it.
    pub fn to_bin(&self) -> Result<Vec<u8>, ImageError> {
        let start = self.segments.first().map_or(0, |segment| u64::from(segment.address));
        let end = self.segments.last().map_or(0, |segment| segment.addresses().end);
        let bytes = end - start;
        if bytes > u64::from(MAX_BIN_BYTES) {
            return Err(ImageError::Sparse { bytes });
        }
        let mut bin = Vec::new();
        for segment in &self.segments {
            let at = usize::try_from(u64::from(segment.address) - start).unwrap_or(usize::MAX);
            bin.resize(at, ERASED);
            bin.extend(&segment.bytes);
        }
        Ok(bin)
    }
}

impl Segment {
    /// Its addresses. Their end may be 2^32.
    #[must_use]
    pub fn addresses(&self) -> Range<u64> {
        let start = u64::from(self.address);
        start..start + self.bytes.len() as u64
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An ELF file for a 32-bit Arm chip, byte by byte as the System V ABI has it, with these segments to load: the address in flash, the
    /// address while running, and the bytes.
    pub(crate) fn elf(entry: u32, segments: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = b"\x7fELF\x01\x01\x01".to_vec();
        file.resize(16, 0);
        let half = |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
        let word = |file: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
        half(&mut file, &[2, 40]); // an executable, for Arm
        word(&mut file, &[1, entry, 52, 0, 0x0500_0000]);
        half(&mut file, &[52, 32, segments.len() as u16, 40, 0, 0]);
        let mut offset = 52 + 32 * segments.len();
        for (flash, running, bytes) in segments {
            let len = bytes.len() as u32;
            word(&mut file, &[1, offset as u32, *running, *flash, len, len, 5, 4]);
            offset += bytes.len();
        }
        segments.iter().for_each(|(_, _, bytes)| file.extend(*bytes));
        file
    }

    fn image(segments: &[(u32, &[u8])]) -> Result<FlashImage, ImageError> {
        let segments: Vec<_> = segments.iter().map(|&(at, bytes)| (at, at, bytes)).collect();
        FlashImage::of_elf(&elf(0x100, &segments))
    }

    #[test]
    fn segments_come_to_their_place_in_flash() {
        // variables lie behind the code in flash and are copied to RAM
        let elf = elf(0x1000_0101, &[(0x1000_0108, 0x2000_0000, b"data"), (0x1000_0100, 0x1000_0100, b"code")]);
        let image = FlashImage::of_elf(&elf).unwrap();
        assert_eq!((image.entry(), image.len()), (0x1000_0101, 8));
        assert_eq!(image.segments()[0], Segment { address: 0x1000_0100, bytes: b"code".to_vec() });
        assert_eq!(image.to_bin().unwrap(), b"code\xff\xff\xff\xffdata");
        let flash = 0x1000_0000..0x1000_010C;
        assert_eq!(image.check_within(flash.clone()), Ok(()));
        assert_eq!(
            image.check_within(flash.start..flash.end - 1).unwrap_err().to_string(),
            "the ELF file has bytes at 0x10000108 to 0x1000010c, the board's flash is from 0x10000000 to 0x1000010b: it was linked for \
             another board"
        );
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        assert_eq!(image(&[]), Err(ImageError::Empty));
        assert_eq!(image(&[(0, b"")]), Err(ImageError::Empty));
        assert_eq!(image(&[(0, b"abcd"), (3, b"e")]), Err(ImageError::Overlap { address: 3 }));
        assert!(image(&[(0, b"abcd"), (4, b"e")]).is_ok());
        let sparse = image(&[(0, b"abcd"), (0x1000_0000, b"e")]).unwrap();
        assert_eq!(sparse.to_bin(), Err(ImageError::Sparse { bytes: 0x1000_0001 }));
        let top = image(&[(0xFFFF_FFFC, b"last")]).unwrap();
        assert_eq!(top.to_bin().unwrap(), b"last");
    }

    #[test]
    fn a_file_that_is_cut_or_none_is_refused() {
        let file = elf(0, &[(0, 0, b"code")]);
        for bytes in [&b"hello"[..], &[], &file[..40], &file[..60], &file[..file.len() - 1]] {
            assert!(matches!(FlashImage::of_elf(bytes), Err(ImageError::Elf { .. })), "{} bytes", bytes.len());
        }
    }
}
