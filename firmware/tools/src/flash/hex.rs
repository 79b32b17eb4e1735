//! Intel HEX: the text file that most other tools for chips take.

use super::image::FlashImage;
use ihex::{Record, create_object_file_representation};

/// Bytes of a line.
const LINE_BYTES: u64 = 16;
/// Bytes that one upper half of an address stands for.
const BANK_BYTES: u64 = 1 << 16;

/// The image as lines of text.
#[must_use]
pub fn encode(image: &FlashImage) -> String {
    let mut records = Vec::new();
    let mut bank = None;
    for segment in image.segments() {
        let (mut address, mut rest) = (u64::from(segment.address), segment.bytes.as_slice());
        while !rest.is_empty() {
            // a line ends at a multiple of its length, and so at a bank's end
            let room = usize::try_from(LINE_BYTES - address % LINE_BYTES).unwrap_or(1);
            let (value, left) = rest.split_at(room.min(rest.len()));
            let upper = u16::try_from(address / BANK_BYTES).unwrap_or(u16::MAX);
            if bank != Some(upper) {
                records.push(Record::ExtendedLinearAddress(upper));
                bank = Some(upper);
            }
            let offset = u16::try_from(address % BANK_BYTES).unwrap_or(u16::MAX);
            records.push(Record::Data { offset, value: value.to_vec() });
            (address, rest) = (address + value.len() as u64, left);
        }
    }
    records.push(Record::StartLinearAddress(image.entry()));
    records.push(Record::EndOfFile);
    // Lines of at most 255 bytes and one end of file: it has nothing to refuse.
    create_object_file_representation(&records).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::image::tests::elf;

    #[test]
    fn lines_are_those_of_the_format() {
        let elf = elf(0x1000_0101, &[(0x1000_FFF8, 0, b"0123456789"), (0x2000_0000, 0, b"a")]);
        let text = encode(&FlashImage::of_elf(&elf).unwrap());
        // the checksums were computed apart from this code: minus the sum of the line's bytes
        let expected = "\
            :020000041000EA\n\
            :08FFF800303132333435363765\n\
            :020000041001E9\n\
            :0200000038398D\n\
            :020000042000DA\n\
            :01000000619E\n\
            :0400000510000101E5\n\
            :00000001FF\n";
        assert_eq!(text, expected);
    }
}
