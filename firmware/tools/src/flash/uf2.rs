//! UF2, the file that a boot drive takes: blocks of 512 bytes, each with its own address, in any order.
//!
//! The boot ROMs of the RP2040 and the RP2350 want payloads of 256 bytes at multiples of 256, the number of all blocks in each, and the
//! family that the chip belongs to. Two of their errors are worked around:
//!
//! - RP2040-E14: of a sector of flash (4 KB) that the file has only some pages of, and that is not the last one, pages may be left
//!   unwritten. So the pages that are missing in such sectors are filled in, as erased flash has them.
//! - RP2350-E10: what the boot ROM of the first chips does with a file depends on what was there before. A file that begins with a block of the
//!   family "absolute" is safe. That block writes a page, and erases its sector, on the chips with the error; on others it is ignored, for it says so.
//!
//! # Source
//! <https://github.com/microsoft/uf2>; data sheet of the RP2040, section 2.8.4.2 and its appendix of errata; data sheet of the RP2350, section
//! 5.5.3 and its appendix of errata; for the bytes of the block Raspberry Pi's picotool, `elf2uf2.cpp`, which puts it into files too.

use super::image::{ERASED, FlashImage};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 512;
/// Bytes of flash that a block brings.
pub const PAYLOAD_BYTES: usize = 256;

const MAGIC_START: [u32; 2] = [0x0A32_4655, 0x9E5D_5157];
const MAGIC_END: u32 = 0x0AB1_6F30;
/// The last word of a block's head is the family.
const FAMILY_PRESENT: u32 = 0x2000;
/// Where the last word lies.
const END: usize = BLOCK_BYTES - 4;

/// The family of blocks that are written wherever they say.
const ABSOLUTE: u32 = 0xE48B_FF57;
/// RP2350-E10 concerns the chips of these families: Arm secure, RISC-V, Arm non-secure.
const RP2350: std::ops::RangeInclusive<u32> = 0xE48B_FF59..=0xE48B_FF5B;
/// The payload is followed by extensions.
const EXTENSIONS_PRESENT: u32 = 0x8000;
/// The extension that asks an RP2350 to ignore the block.
const IGNORE_BLOCK: u32 = 0x9957_E304;
/// Where picotool puts the block's page: the end of the largest flash memory.
const FAR_PAGE: u32 = 0x10FF_FF00;
/// Pages of a sector.
const SECTOR_PAGES: u64 = 16;

/// A block.
struct Block<'b> {
    flags: u32,
    address: u32,
    number: u32,
    count: u32,
    family: u32,
    payload: &'b [u8; PAYLOAD_BYTES],
    extension: Option<u32>,
}

/// The image as blocks for chips of a family. What lies between segments in a block, and in sectors but the last one, stays erased.
///
/// For an RP2350 the file begins with a block of the family "absolute", whose page is the one before `free_end` (an address behind which
/// the firmware has nothing, at a sector's end): its sector may be erased.
#[must_use]
pub fn encode(image: &FlashImage, family: u32, free_end: u32) -> Vec<u8> {
    let page_bytes = PAYLOAD_BYTES as u64;
    let mut pages: BTreeMap<u64, [u8; PAYLOAD_BYTES]> = BTreeMap::new();
    for segment in image.segments() {
        for (address, &byte) in segment.addresses().zip(&segment.bytes) {
            let page = pages.entry(address / page_bytes).or_insert([ERASED; PAYLOAD_BYTES]);
            if let Some(place) = usize::try_from(address % page_bytes).ok().and_then(|at| page.get_mut(at)) {
                *place = byte;
            }
        }
    }
    let sectors: BTreeSet<u64> = pages.keys().map(|page| page / SECTOR_PAGES).collect();
    let last = sectors.last().copied();
    for sector in sectors.into_iter().filter(|&sector| Some(sector) != last) {
        for page in sector * SECTOR_PAGES..(sector + 1) * SECTOR_PAGES {
            pages.entry(page).or_insert([ERASED; PAYLOAD_BYTES]);
        }
    }
    // 2^24 pages at most, so that all fit their fields
    let count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    let mut file = Vec::with_capacity((pages.len() + 1) * BLOCK_BYTES);
    if RP2350.contains(&family) {
        let page = u64::from(free_end) / page_bytes - 1;
        let is_free = last.is_some_and(|last| last < page / SECTOR_PAGES);
        let address = if is_free { free_end - PAYLOAD_BYTES as u32 } else { FAR_PAGE };
        let flags = FAMILY_PRESENT | EXTENSIONS_PRESENT;
        // As if it were one of two, so that the transfer is not over with it.
        let (number, count) = (0, 2);
        let payload = &[0xEF; PAYLOAD_BYTES];
        let extension = Some(IGNORE_BLOCK);
        Block { flags, address, number, count, family: ABSOLUTE, payload, extension }.write(&mut file);
    }
    for (number, (page, payload)) in (0..count).zip(&pages) {
        let address = u32::try_from(page * page_bytes).unwrap_or(u32::MAX);
        Block { flags: FAMILY_PRESENT, address, number, count, family, payload, extension: None }.write(&mut file);
    }
    file
}

impl Block<'_> {
    fn write(&self, file: &mut Vec<u8>) {
        let &Self { flags, address, number, count, family, payload, extension } = self;
        let start = file.len();
        let head = [MAGIC_START[0], MAGIC_START[1], flags, address, PAYLOAD_BYTES as u32, number, count, family];
        head.iter().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(payload);
        file.extend(extension.into_iter().flat_map(u32::to_le_bytes));
        file.resize(start + END, 0);
        file.extend(MAGIC_END.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::image::tests::elf;

    /// RP2040, from the list of families beside the specification.
    const RP2040: u32 = 0xE48B_FF56;

    /// Behind the first 2 MB.
    const FREE_END: u32 = 0x1020_0000;

    /// A block, read as the specification's table has it.
    #[derive(Debug, PartialEq)]
    struct Read {
        flags: u32,
        address: u32,
        number: u32,
        count: u32,
        family: u32,
        data: Vec<u8>,
    }

    fn decode(file: &[u8]) -> Vec<Read> {
        assert_eq!(file.len() % 512, 0);
        let block = |block: &[u8]| {
            let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
            assert_eq!((&block[..4], word(4), word(508)), (&b"UF2\n"[..], 0x9E5D_5157, 0x0AB1_6F30));
            let data = block[32..32 + word(16) as usize].to_vec();
            let rest = if word(8) & 0x8000 == 0 { 32 + data.len() } else { 36 + data.len() };
            assert!(block[rest..508].iter().all(|&byte| byte == 0));
            Read { flags: word(8), address: word(12), number: word(20), count: word(24), family: word(28), data }
        };
        file.chunks(512).map(block).collect()
    }

    #[test]
    fn a_block_is_as_the_specification_has_it() {
        let payload: Vec<u8> = (0..=255).collect();
        let image = FlashImage::of_elf(&elf(0, &[(0x1000_0000, 0, &payload)])).unwrap();
        let file = encode(&image, RP2040, FREE_END);
        #[rustfmt::skip]
        let head = [
            0x55, 0x46, 0x32, 0x0A, 0x57, 0x51, 0x5D, 0x9E, 0x00, 0x20, 0, 0, 0, 0, 0, 0x10, // magic, magic, flags, address
            0x00, 0x01, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x56, 0xFF, 0x8B, 0xE4, // payload, number, count, family
        ];
        assert_eq!(file.len(), 512);
        assert_eq!(file[..32], head);
        assert_eq!(file[32..288], payload);
        assert_eq!(file[288..508], [0; 220]);
        assert_eq!(file[508..], [0x30, 0x6F, 0xB1, 0x0A]);
    }

    #[test]
    fn pages_are_aligned_and_sectors_whole_but_the_last() {
        // begins within a page, goes on into the next; a second segment in that page too; one far away, and one farther
        let first = [1; 300];
        let segments: [(u32, u32, &[u8]); 4] =
            [(0x1000_00F0, 0, &first), (0x1000_0220, 0, b"ab"), (0x1002_1F00, 0, b"far"), (0x1004_0000, 0, b"farther")];
        let image = FlashImage::of_elf(&elf(0, &segments)).unwrap();
        let blocks = decode(&encode(&image, RP2040, FREE_END));
        // RP2040-E14: 16 pages of the first sector, 16 of that of "far", and of the last one that which there is
        let sector = |start: u32| (0..16).map(move |page| start + 0x100 * page);
        let expected: Vec<u32> = sector(0x1000_0000).chain(sector(0x1002_1000)).chain([0x1004_0000]).collect();
        assert_eq!(blocks.iter().map(|block| block.address).collect::<Vec<_>>(), expected);
        assert!(blocks.iter().zip(0..).all(|(block, number)| (block.number, block.count) == (number, 33)));
        assert!(blocks.iter().all(|block| (block.flags, block.family, block.data.len()) == (0x2000, RP2040, 256)));
        // put together again, over erased flash, it is the flat image
        let mut flash = vec![0xFF; 0x4_0100];
        for block in &blocks {
            let at = (block.address - 0x1000_0000) as usize;
            flash[at..at + 256].copy_from_slice(&block.data);
        }
        let bin = image.to_bin().unwrap();
        assert_eq!(flash[0xF0..0xF0 + bin.len()], bin);
        assert!(flash[..0xF0].iter().chain(&flash[0xF0 + bin.len()..]).all(|&byte| byte == 0xFF));
    }

    #[test]
    fn a_file_for_an_rp2350_begins_with_a_block_that_harms_nothing() {
        let rp2350 = 0xE48B_FF59; // rp2350-arm-s: data sheet, 5.5.3
        let image = FlashImage::of_elf(&elf(0, &[(0x1000_0000, 0, &[7; 300])])).unwrap();
        let file = encode(&image, rp2350, FREE_END);
        // As picotool's gen_abs_block makes it: family "absolute", block 0 of 2, 256 bytes of 0xEF, the extension that it is to be ignored.
        #[rustfmt::skip]
        let head = [
            0x55, 0x46, 0x32, 0x0A, 0x57, 0x51, 0x5D, 0x9E, 0x00, 0xA0, 0, 0, 0x00, 0xFF, 0x1F, 0x10,
            0x00, 0x01, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0x57, 0xFF, 0x8B, 0xE4,
        ];
        assert_eq!(file[..32], head);
        assert_eq!(file[32..288], [0xEF; 256]);
        assert_eq!(file[288..292], [0x04, 0xE3, 0x57, 0x99]);
        let blocks = decode(&file);
        assert_eq!(blocks.len(), 3);
        assert!(blocks[1..].iter().zip(0..).all(|(block, number)| {
            (block.flags, block.number, block.count, block.family) == (0x2000, number, 2, rp2350)
        }));
        // a firmware that reaches into that sector is not written over
        let full = FlashImage::of_elf(&elf(0, &[(0x101F_F000, 0, b"end")])).unwrap();
        assert_eq!(decode(&encode(&full, rp2350, FREE_END))[0].address, 0x10FF_FF00);
    }
}
