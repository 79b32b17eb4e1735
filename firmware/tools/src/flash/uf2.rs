//! UF2, the file that a boot drive takes: blocks of 512 bytes, each with its own address, in any order.
//!
//! The boot ROMs of the RP2040 and the RP2350 want payloads of 256 bytes at multiples of 256, the number of all blocks in each, and the
//! family that the chip belongs to.
//!
//! # Source
//! <https://github.com/microsoft/uf2>; data sheet of the RP2040, section 2.8.4.2.

use super::image::{ERASED, FlashImage};
use std::collections::BTreeMap;

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

/// The image as blocks for chips of a family. What lies between segments in a block stays erased.
#[must_use]
pub fn encode(image: &FlashImage, family: u32) -> Vec<u8> {
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
    // 2^24 pages at most, so that all fit their fields
    let count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    let mut file = Vec::with_capacity(pages.len() * BLOCK_BYTES);
    for (number, (page, payload)) in (0..count).zip(&pages) {
        let address = u32::try_from(page * page_bytes).unwrap_or(u32::MAX);
        let payload_bytes = PAYLOAD_BYTES as u32;
        let start = file.len();
        let head = [MAGIC_START[0], MAGIC_START[1], FAMILY_PRESENT, address, payload_bytes, number, count, family];
        head.iter().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(payload);
        file.resize(start + END, 0);
        file.extend(MAGIC_END.to_le_bytes());
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::image::tests::elf;

    /// RP2040, from the list of families beside the specification.
    const RP2040: u32 = 0xE48B_FF56;

    /// A block, read as the specification's table has it.
    #[derive(Debug, PartialEq)]
    struct Block {
        flags: u32,
        address: u32,
        number: u32,
        count: u32,
        family: u32,
        data: Vec<u8>,
    }

    fn decode(file: &[u8]) -> Vec<Block> {
        assert_eq!(file.len() % 512, 0);
        let block = |block: &[u8]| {
            let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
            assert_eq!((&block[..4], word(4), word(508)), (&b"UF2\n"[..], 0x9E5D_5157, 0x0AB1_6F30));
            let data = block[32..32 + word(16) as usize].to_vec();
            assert!(block[32 + data.len()..508].iter().all(|&byte| byte == 0));
            Block { flags: word(8), address: word(12), number: word(20), count: word(24), family: word(28), data }
        };
        file.chunks(512).map(block).collect()
    }

    #[test]
    fn a_block_is_as_the_specification_has_it() {
        let payload: Vec<u8> = (0..=255).collect();
        let image = FlashImage::of_elf(&elf(0, &[(0x1000_0000, 0, &payload)])).unwrap();
        let file = encode(&image, RP2040);
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
    fn pages_are_aligned_whole_and_written_once() {
        // begins within a page, goes on into the next; a second segment in that page too; one far away
        let first = [1; 300];
        let elf = elf(0, &[(0x1000_00F0, 0, &first), (0x1000_0220, 0, b"ab"), (0x1004_0000, 0, b"far")]);
        let image = FlashImage::of_elf(&elf).unwrap();
        let blocks = decode(&encode(&image, RP2040));
        assert_eq!(
            blocks.iter().map(|block| (block.address, block.number, block.count)).collect::<Vec<_>>(),
            [(0x1000_0000, 0, 4), (0x1000_0100, 1, 4), (0x1000_0200, 2, 4), (0x1004_0000, 3, 4)]
        );
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
}
