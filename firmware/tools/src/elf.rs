//! What the firmware's ELF file says: bytes of flash and RAM, and where the model lies.

use object::elf::{PT_LOAD, SHF_ALLOC, SHF_WRITE, SHT_NOBITS};
use object::read::elf::{ElfFile32, FileHeader, ProgramHeader, SectionHeader};
use object::{Object, ObjectSection, ObjectSymbol};
use std::ops::Range;

/// Name of the symbol that the firmware gives the model.
const MODEL_SYMBOL: &str = "ocelli_model";

/// Bytes of memory that an ELF file takes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Code, constants and the initial values of variables.
    pub flash_bytes: u64,
    /// Variables, without the stack.
    pub ram_static_bytes: u64,
    /// The sections that take flash, by name.
    pub flash_sections: Vec<(String, u64)>,
}

/// Sections by which riscv-rt's linker script gives names to memory that no variable takes.
const FREE: [&str; 2] = [".heap", ".stack"];

/// Sections by which esp-hal's linker script keeps memory for code that lies in RAM: writable in fact, though the section is not.
const CODE_IN_RAM: [&str; 1] = [".rwdata_dummy"];

/// Adds up the sections that are loaded.
///
/// # Errors
/// When the bytes are no 32-bit ELF file.
pub fn sizes(elf: &[u8]) -> Result<Sizes, object::Error> {
    let file = parse(elf)?;
    let mut sizes = Sizes::default();
    let mut in_ram = Vec::new();
    for section in file.sections() {
        let header = section.elf_section_header();
        let flags = header.sh_flags(object::Endianness::Little);
        let name = section.name()?;
        if flags & SHF_ALLOC == 0 || section.size() == 0 || FREE.contains(&name) {
            continue;
        }
        if header.sh_type(object::Endianness::Little) != SHT_NOBITS {
            sizes.flash_bytes += section.size();
            sizes.flash_sections.push((name.to_owned(), section.size()));
        }
        if flags & SHF_WRITE != 0 || CODE_IN_RAM.contains(&name) {
            in_ram.push(Place { start: section.address(), bytes: section.size(), align: section.align() });
        }
    }
    sizes.ram_static_bytes = taken(in_ram);
    Ok(sizes)
}

/// Where a section lies.
struct Place {
    start: u64,
    bytes: u64,
    align: u64,
}

/// Bytes that sections take, with the gaps before those that begin at a multiple of some number.
fn taken(mut places: Vec<Place>) -> u64 {
    places.sort_by_key(|place| place.start);
    let (mut taken, mut end) = (0, None);
    for Place { start, bytes, align } in places {
        let gap = end.map_or(0, |end| start.saturating_sub(end));
        // A wider gap is another memory's, or was left on purpose.
        taken += bytes + if gap < align { gap } else { 0 };
        end = Some(start + bytes);
    }
    taken
}

/// The model's place in the ELF file; `None` when the file has none.
#[must_use]
pub fn model_range(elf: &[u8], model_len: usize) -> Option<Range<usize>> {
    let file = parse(elf).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(MODEL_SYMBOL))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let (offset, _) = section.file_range()?;
    let start = usize::try_from(offset.checked_add(symbol.address().checked_sub(section.address())?)?).ok()?;
    let end = start.checked_add(model_len)?;
    (end <= elf.len()).then_some(start..end)
}

/// Addresses of a function, by the name of its symbol; `None` when the file has none.
#[must_use]
pub fn function(elf: &[u8], name: &str) -> Option<Range<u64>> {
    let file = parse(elf).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name))?;
    let start = symbol.address() & !1; // the lowest bit says that it is Thumb code
    Some(start..start + symbol.size())
}

/// What of an ELF file is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<'e> {
    /// Where the program starts.
    pub entry: u32,
    /// The parts: the address that each is written to, and its bytes.
    pub parts: Vec<(u32, &'e [u8])>,
}

/// The parts of an ELF file that are loaded.
///
/// # Errors
/// Says why the bytes are no 32-bit ELF file.
pub fn loaded(elf: &[u8]) -> Result<Loaded<'_>, String> {
    let file = parse(elf).map_err(|error| error.to_string())?;
    let endian = file.endian();
    let entry = file.elf_header().e_entry(endian);
    let parts = file.elf_program_headers().iter().filter(|header| header.p_type(endian) == PT_LOAD);
    let bytes = |header: &object::elf::ProgramHeader32<_>| {
        let bytes = header.data(endian, elf).map_err(|()| "its end is missing")?;
        Ok::<_, String>((header.p_paddr(endian), bytes))
    };
    Ok(Loaded { entry, parts: parts.map(bytes).collect::<Result<_, _>>()? })
}

fn parse(elf: &[u8]) -> Result<ElfFile32<'_>, object::Error> {
    ElfFile32::parse(elf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_before_aligned_sections_are_taken_too() {
        let place = |start, bytes, align| Place { start, bytes, align };
        // a ring of 4 KB, aligned to its size, behind a few initialized variables: the RAM between is lost
        let places =
            vec![place(0x2000_1000, 0x3000, 0x1000), place(0x2000_0000, 0x38, 4), place(0x2000_4000, 0x400, 4)];
        assert_eq!(taken(places), 0x4400);
        // another memory
        assert_eq!(taken(vec![place(0x2000_0000, 16, 4), place(0x2004_0000, 16, 8)]), 32);
        assert_eq!(taken(vec![]), 0);
    }
}
