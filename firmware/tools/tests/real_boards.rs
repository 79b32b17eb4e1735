//! Firmware for real boards: what their boot ROMs and cores ask of an image is in it. Where a target is missing the tests say so and pass,
//! unless `OCELLI_REQUIRE_DEVICE` is set, as `cargo xtask ci` does. Nothing is run: there is no such board here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use object::read::elf::ElfFile32;
use object::{Object, ObjectSegment, ObjectSymbol};
use ocelli_firmware_tools::flash::{FlashImage, ImageError};
use ocelli_firmware_tools::{Board, Firmware, Toolchain, build, build_updatable, find};
use std::path::{Path, PathBuf};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mnist-cnn/model.ocelli")
}

/// What builds the board's firmware; `None` where nothing does.
fn toolchain(board: &Board) -> Option<Toolchain> {
    match Toolchain::find(board.target) {
        Ok(toolchain) => Some(toolchain),
        Err(missing) => {
            assert!(std::env::var_os("OCELLI_REQUIRE_DEVICE").is_none(), "{missing}");
            eprintln!("not run: {missing}");
            None
        }
    }
}

/// The board and its firmware's ELF file; `None` where it cannot be built.
fn firmware(name: &str) -> Option<(&'static Board, Firmware, Vec<u8>)> {
    let board = find(name).unwrap();
    let toolchain = toolchain(board)?;
    let firmware = build(board, &toolchain, &model(), None).unwrap();
    let elf = std::fs::read(&firmware.elf).unwrap();
    Some((board, firmware, elf))
}

/// Bytes of the image at an address, of the segments as they lie before the program runs.
fn bytes_at(elf: &[u8], address: u32, len: usize) -> Vec<u8> {
    let file: ElfFile32<'_> = ElfFile32::parse(elf).unwrap();
    let (data, start) = file
        .segments()
        .map(|segment| (segment.data().unwrap(), u32::try_from(segment.address()).unwrap()))
        .find(|(data, start)| address >= *start && (address - start) as usize + len <= data.len())
        .unwrap();
    data[(address - start) as usize..][..len].to_vec()
}

fn word_at(elf: &[u8], address: u32) -> u32 {
    u32::from_le_bytes(bytes_at(elf, address, 4).try_into().unwrap())
}

fn has_the_model_and_fits(board: &Board, firmware: &Firmware, elf: &[u8]) {
    let expected = std::fs::read(model()).unwrap();
    let file: ElfFile32<'_> = ElfFile32::parse(elf).unwrap();
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok("ocelli_model")).unwrap();
    let address = u32::try_from(symbol.address()).unwrap();
    assert!(address >= board.flash_address && address < board.flash_address + board.flash_bytes, "{address:#x}");
    assert_eq!(bytes_at(elf, address, expected.len()), expected);
    assert_eq!(firmware.flash_model_bytes, expected.len() as u64);
    // the model's arena (7,352 bytes, docs/sizes.md) and little else; code of some ten kilobytes
    assert!((8_000..32_000).contains(&firmware.ram_static_bytes), "{}", firmware.ram_static_bytes);
    assert!((20_000..120_000).contains(&firmware.flash_code_bytes), "{}", firmware.flash_code_bytes);
}

/// The vector table of an Arm core: the stack's top in RAM, the entry in flash with the Thumb bit.
fn starts(board: &Board, elf: &[u8], vectors: u32, ram: u32) {
    let (stack, entry) = (word_at(elf, vectors), word_at(elf, vectors + 4));
    assert!(stack > ram && stack <= ram + board.ram_bytes && stack.is_multiple_of(8), "{stack:#x}");
    assert!(entry & 1 == 1 && entry > board.flash_address && entry < board.flash_address + board.flash_bytes);
}

/// CRC-32 with the polynomial 0x04c11db7, not reflected, as the RP2040 data sheet (2.8.1.3.1) gives it.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xffff_ffff, |crc, &byte| {
        (0..8).fold(crc ^ (u32::from(byte) << 24), |crc: u32, _| (crc << 1) ^ (0x04c1_1db7 * (crc >> 31)))
    })
}

#[test]
fn a_pico_starts_with_a_boot_loader_whose_checksum_its_rom_takes() {
    let Some((board, firmware, elf)) = firmware("pico") else { return };
    has_the_model_and_fits(board, &firmware, &elf);
    let boot = bytes_at(&elf, board.flash_address, 256);
    assert_eq!(word_at(&elf, board.flash_address + 252), crc(&boot[..252]));
    starts(board, &elf, board.flash_address + 256, 0x2000_0000);
}

#[test]
fn a_pico_2_has_an_image_definition_that_its_rom_finds_and_code_for_its_second_core() {
    let Some((board, firmware, elf)) = firmware("pico2") else { return };
    has_the_model_and_fits(board, &firmware, &elf);
    starts(board, &elf, board.flash_address, 0x2000_0000);
    // RP2350 data sheet, 5.9: a block begins with 0xffffded3 in the first 4 KB and ends with 0xab123579; item 0x42 is the image's type,
    // 0x1021 in its upper half a program for an Arm core in its secure state
    let first = bytes_at(&elf, board.flash_address, 0x128);
    let words: Vec<u32> = first.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    let start = words.iter().position(|&word| word == 0xffff_ded3).unwrap();
    assert_eq!(words[start + 1], 0x1021_0142);
    assert_eq!(words[start + 4], 0xab12_3579);
    let file: ElfFile32<'_> = ElfFile32::parse(elf.as_slice()).unwrap();
    assert!(file.symbols().any(|symbol| symbol.name() == Ok("ocelli_fork")), "the second core has nothing to do");
}

#[test]
fn an_nrf52840_starts_at_the_beginning_of_its_flash() {
    let Some((board, firmware, elf)) = firmware("nrf52840-dk") else { return };
    has_the_model_and_fits(board, &firmware, &elf);
    starts(board, &elf, 0, 0x2000_0000);
}

#[test]
fn a_firmware_that_takes_models_leaves_their_slots_free_and_has_every_kernel() {
    let board = find("nrf52840-dk").unwrap();
    let Some(toolchain) = toolchain(board) else { return };
    let (before, updates) = board.updatable().unwrap();
    let key = [0x5A; 32];
    let firmware = build_updatable(board, &toolchain, &model(), Some(&key), None).unwrap();
    let elf = std::fs::read(&firmware.elf).unwrap();
    let flash = u64::from(board.flash_address)..u64::from(board.flash_address + before.flash_bytes);
    let image = FlashImage::of_elf(&elf).unwrap();
    assert_eq!(image.check_within(flash.clone()), Ok(()));
    let end = image.segments().last().unwrap().addresses().end;
    assert!(matches!(image.check_within(flash.start..end - 1), Err(ImageError::Outside { .. })), "the check sees it");
    assert!(firmware.ram_static_bytes > updates.arena_bytes.into());
    assert!(elf.windows(32).any(|bytes| bytes == key), "the key is in it");
    // docs/sizes.md: every kernel and a signature's check take some tens of kilobytes more than one model's
    assert!((60_000..200_000).contains(&firmware.flash_code_bytes), "{}", firmware.flash_code_bytes);
}
