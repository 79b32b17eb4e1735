//! Whether a firmware fits a board: first by its model alone, for a linker's refusal says nothing of the network, and then by
//! the sizes of the whole image.

use crate::aligned::Aligned;
use crate::boards::{Board, Updates};
use crate::elf::Sizes;
use ocelli::image::FrameConverter;
use ocelli::model::records::layout;
use ocelli::model::{LoadError, Model};
use std::fmt;

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Where code and model lie.
    Flash,
    /// Where variables and the stack lie.
    Ram,
}

/// A firmware needs more memory than its board has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the firmware needs {needed} bytes of {memory} ({parts}), {board} has {available}: {}", memory.remedy())]
pub struct TooLarge {
    /// The board's name.
    pub board: &'static str,
    /// The memory that is too small.
    pub memory: Memory,
    /// Bytes needed.
    pub needed: u64,
    /// What they are needed for.
    pub parts: String,
    /// Bytes that there are.
    pub available: u64,
}

/// Refuses a model file that a board's classifier has no room for, the code not counted: what is known before anything is compiled.
///
/// # Errors
/// When the file is no model for a board ([`LoadError`]), or too large.
pub fn check_model(file: &[u8], board: &Board) -> Result<Result<(), TooLarge>, LoadError> {
    Ok(ModelNeeds::of(file)?.check(board))
}

/// Bytes of memory that a model takes on every board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModelNeeds {
    file: u64,
    arena: u64,
    converter: u64,
}

impl ModelNeeds {
    /// Reads them from a model file; refuses one that was compiled for a PC, which no board could run.
    pub(crate) fn of(file: &[u8]) -> Result<Self, LoadError> {
        let aligned = Aligned::copy(file);
        let model = Model::parse(aligned.as_slice())?;
        if model.header().layout == layout::BLOCKS {
            return Err(LoadError::Layout);
        }
        let scratch_words = FrameConverter::scratch_words(model.input_shape());
        Ok(Self { file: bytes(file.len()), arena: model.arena_bytes().into(), converter: 4 * bytes(scratch_words) })
    }

    /// The same for a firmware that takes other models too.
    pub(crate) fn for_updates(self, updates: Updates) -> Self {
        Self { arena: self.arena.max(updates.arena_bytes.into()), ..self }
    }

    /// Refuses a model that leaves the classifier on the board no room for the stack, or for the model itself.
    pub(crate) fn check(self, board: &Board) -> Result<(), TooLarge> {
        let Self { file, arena, converter } = self;
        let (row, stack) = (u64::from(board.row_bytes), u64::from(board.stack_bytes));
        check(board, Memory::Flash, file, || "for the model alone, without the code".into())?;
        check(board, Memory::Ram, arena + converter + row + stack, || {
            format!("working memory {arena}, picture converter {converter}, camera row {row}, stack {stack}")
        })
    }

    /// As [`check`](Self::check), for a program that has neither camera nor converter.
    pub(crate) fn check_bare(self, board: &Board) -> Result<(), TooLarge> {
        let (arena, stack) = (self.arena, u64::from(board.stack_bytes));
        check(board, Memory::Flash, self.file, || "for the model alone, without the code".into())?;
        check(board, Memory::Ram, arena + stack, || format!("working memory {arena}, stack {stack}"))
    }
}

/// Refuses an image that is larger than the board's memory, the stack included.
pub(crate) fn check_image(board: &Board, sizes: &Sizes) -> Result<(), TooLarge> {
    let &Sizes { flash_bytes, ram_static_bytes, .. } = sizes;
    let stack = u64::from(board.stack_bytes);
    check(board, Memory::Flash, flash_bytes, || "code and model".into())?;
    check(board, Memory::Ram, ram_static_bytes + stack, || format!("variables {ram_static_bytes}, stack {stack}"))
}

/// Names of the memories in the boards' linker scripts: `RAM` and `FLASH`, and esp-hal's.
const REGIONS: [(Memory, &str); 5] = [
    (Memory::Flash, "FLASH"),
    (Memory::Flash, "DROM"),
    (Memory::Flash, "IROM"),
    (Memory::Ram, "RAM"),
    (Memory::Ram, "DRAM"),
];

/// Refuses an image that the linker has refused: `messages` is what cargo printed.
pub(crate) fn check_linker(board: &Board, messages: &str) -> Result<(), TooLarge> {
    for (memory, region) in REGIONS {
        let available = size(board, memory);
        let refusal = format!("will not fit in region '{region}': overflowed by ");
        let overflows = messages.match_indices(&refusal).filter_map(|(at, _)| {
            let number: String = messages[at + refusal.len()..].chars().take_while(char::is_ascii_digit).collect();
            number.parse::<u64>().ok()
        });
        if let Some(overflow) = overflows.max() {
            check(board, memory, u64::from(available) + overflow, || "the whole image, without the stack".into())?;
        }
    }
    Ok(())
}

fn check(board: &Board, memory: Memory, needed: u64, parts: impl FnOnce() -> String) -> Result<(), TooLarge> {
    let available = u64::from(size(board, memory));
    if needed <= available {
        return Ok(());
    }
    Err(TooLarge { board: board.name, memory, needed, parts: parts(), available })
}

/// Bytes of a board's memory.
const fn size(board: &Board, memory: Memory) -> u32 {
    match memory {
        Memory::Flash => board.flash_bytes,
        Memory::Ram => board.ram_bytes,
    }
}

fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl Memory {
    const fn remedy(self) -> &'static str {
        match self {
            Self::Flash => "use a network with fewer weights or a board with more flash",
            Self::Ram => "use a smaller input picture, fewer channels or a board with more RAM",
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flash => "flash",
            Self::Ram => "RAM",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards::find;
    use crate::build::{BuildError, build};
    use crate::toolchain::Toolchain;

    /// The golden model, 4x4 gray to two scores, that asks for `arena_bytes` of working memory.
    fn golden(arena_bytes: u32) -> Vec<u8> {
        let mut file =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tiny-v2.ocelli")).unwrap();
        file[16..20].copy_from_slice(&arena_bytes.to_le_bytes());
        let body = file.len() - 4;
        let checksum = ocelli::model::crc32(&file[..body]);
        file[body..].copy_from_slice(&checksum.to_le_bytes());
        file
    }

    #[test]
    fn a_model_must_leave_room_for_the_stack() {
        let board = find("qemu-m4").unwrap();
        let needs = ModelNeeds::of(&golden(1 << 20)).unwrap();
        let rest = (needs.converter + u64::from(board.row_bytes + board.stack_bytes)) as u32;
        let arena = board.ram_bytes - rest;
        assert_eq!(ModelNeeds::of(&golden(arena)).unwrap().check(board), Ok(()));
        let error = ModelNeeds::of(&golden(arena + 4)).unwrap().check(board).unwrap_err();
        let expected = format!(
            "the firmware needs 4194308 bytes of RAM (working memory {}, picture converter {}, camera row 2048, stack \
             8192), qemu-m4 has 4194304: use a smaller input picture, fewer channels or a board with more RAM",
            arena + 4,
            needs.converter
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn without_camera_and_converter_more_is_left_to_the_model() {
        let board = find("qemu-microbit").unwrap();
        let arena = board.ram_bytes - board.stack_bytes;
        let needs = |arena| ModelNeeds::of(&golden(arena)).unwrap();
        assert_eq!(needs(arena).check_bare(board), Ok(()));
        assert!(needs(arena).check(board).is_err());
        assert_eq!(
            needs(arena + 4).check_bare(board).unwrap_err().to_string(),
            "the firmware needs 16388 bytes of RAM (working memory 15108, stack 1280), qemu-microbit has 16384: use a \
             smaller input picture, fewer channels or a board with more RAM"
        );
    }

    #[test]
    fn a_model_must_fit_the_flash() {
        let needs = ModelNeeds::of(&golden(1 << 20)).unwrap();
        let small = Board { flash_bytes: needs.file as u32 - 1, ..*find("qemu-m4").unwrap() };
        let error = needs.check(&small).unwrap_err();
        assert_eq!((error.memory, error.needed, error.available), (Memory::Flash, needs.file, needs.file - 1));
        assert_eq!(needs.check(&Board { flash_bytes: needs.file as u32, ..small }), Ok(()));
    }

    #[test]
    fn an_image_must_leave_room_for_the_stack() {
        let board = find("qemu-m4").unwrap();
        let free = u64::from(board.ram_bytes - board.stack_bytes);
        let image =
            |ram_static_bytes| check_image(board, &Sizes { flash_bytes: 1, ram_static_bytes, ..Sizes::default() });
        assert_eq!(image(free), Ok(()));
        assert_eq!(
            image(free + 1).unwrap_err().to_string(),
            "the firmware needs 4194305 bytes of RAM (variables 4186113, stack 8192), qemu-m4 has 4194304: use a smaller \
             input picture, fewer channels or a board with more RAM"
        );
        let code = check_image(board, &Sizes { flash_bytes: (4 << 20) + 1, ..Sizes::default() }).unwrap_err();
        assert_eq!((code.memory, code.needed), (Memory::Flash, 4_194_305));
    }

    #[test]
    fn a_firmware_that_takes_models_needs_the_memory_that_they_may_need() {
        let board = find("pico").unwrap();
        let (_, updates) = board.updatable().unwrap();
        let needs = ModelNeeds::of(&golden(64)).unwrap().for_updates(updates);
        assert_eq!((needs.arena, needs.check(board)), (updates.arena_bytes.into(), Ok(())));
        let larger = ModelNeeds::of(&golden(1 << 20)).unwrap().for_updates(updates);
        assert!(larger.check(board).unwrap_err().parts.contains("working memory 1048576"));
    }

    #[test]
    fn what_the_linker_refuses_is_too_large() {
        let board = find("qemu-microbit").unwrap();
        assert_eq!(check_linker(board, "error: undefined symbol: 'RAM'"), Ok(()));
        let messages = "rust-lld: error: section '.text' will not fit in region 'FLASH': overflowed by 12 bytes\n\
                        rust-lld: error: section '.rodata' will not fit in region 'FLASH': overflowed by 345 bytes\n";
        let error = check_linker(board, messages).unwrap_err();
        assert_eq!((error.memory, error.needed, error.available), (Memory::Flash, (256 << 10) + 345, 256 << 10));
        let error =
            check_linker(board, "section '.bss' will not fit in region 'RAM': overflowed by 7 bytes").unwrap_err();
        assert_eq!((error.memory, error.needed), (Memory::Ram, (16 << 10) + 7));
        let chip = find("esp32-c3").unwrap();
        let error =
            check_linker(chip, "section '.bss' will not fit in region 'DRAM': overflowed by 9 bytes").unwrap_err();
        assert_eq!((error.memory, error.needed), (Memory::Ram, (313 << 10) + 9));
    }

    #[test]
    fn a_model_for_a_pc_fits_no_board() {
        let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/blocks-v2.ocelli")).unwrap();
        assert_eq!(ModelNeeds::of(&file).unwrap_err(), LoadError::Layout);
    }

    #[test]
    fn a_model_is_refused_before_anything_is_compiled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.ocelli");
        let refusal = |file: &[u8]| {
            std::fs::write(&path, file).unwrap();
            // There is no such toolchain: cargo could not be called.
            let toolchain = Toolchain::Debian { sysroot: dir.path().to_owned() };
            build(find("qemu-m4").unwrap(), &toolchain, &path, None).unwrap_err()
        };
        assert!(matches!(refusal(&golden(4 << 20)), BuildError::TooLarge(TooLarge { memory: Memory::Ram, .. })));
        let mut damaged = golden(4096);
        damaged[40] ^= 1;
        assert!(matches!(refusal(&damaged), BuildError::Model { error: LoadError::Checksum { .. }, .. }));
    }
}
