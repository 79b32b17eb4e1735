//! How a model lies in a slot of flash: records that say what it is, and the file. `docs/update.md` has the byte offsets.
//!
//! A slot starts with room for [`RECORDS`] records. A record is a header with a checksum, then a *seal*: a word that is written when
//! everything before it is there and checked, and that makes the model count; then a second word, the *witness*. Both are zeros. Flash
//! memory whose power fails while it writes a word may read that word either way from then on, so a seal that can be read proves only
//! that its writing was begun, which is all that is asked of it. A witness that can be read proves more: header and seal were written to
//! their end before, so that they will read the same for ever. A record is never written twice; where one is in doubt the next is used.

use super::Signature;
use ocelli::model::crc32;

/// Records of a slot.
pub const RECORDS: u32 = 4;
/// Bytes of a record: header, seal, witness.
pub const RECORD_BYTES: u32 = 192;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 128;
/// Offset of the seal in a record.
pub const SEAL: u32 = 128;
/// Offset of the witness in a record.
pub const WITNESS: u32 = 160;
/// Bytes that are kept for a seal or a witness: the largest unit that a flash memory may be written in.
pub const MARK_BYTES: usize = 32;
/// Offset of the model file in a slot.
pub const CONTENT: u32 = RECORDS * RECORD_BYTES;

const MAGIC: [u8; 8] = *b"OCSLOT\r\n";
const VERSION: u16 = 1;
/// The record has a signature.
const SIGNED: u16 = 1;

/// What a record says of a slot's model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Grows with every record that is written; the newest model is the active one. Wraps.
    pub sequence: u32,
    /// Bytes of the model file.
    pub length: u32,
    /// [`model_crc`](super::model_crc) of the file.
    pub crc: u32,
    /// The file's signature, if it came with one.
    pub signature: Option<Signature>,
}

impl Header {
    /// The bytes of the header.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0xFF; HEADER_BYTES];
        let flags = if self.signature.is_some() { SIGNED } else { 0 };
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &flags.to_le_bytes());
        put(&mut bytes, 12, &self.sequence.to_le_bytes());
        put(&mut bytes, 16, &self.length.to_le_bytes());
        put(&mut bytes, 20, &self.crc.to_le_bytes());
        if let Some(signature) = &self.signature {
            put(&mut bytes, 24, signature);
        }
        let crc = bytes.split_last_chunk::<4>().map_or(0, |(body, _)| crc32(body));
        put(&mut bytes, HEADER_BYTES - 4, &crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` when it is none of this version, or damaged.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.get(..HEADER_BYTES)?.split_last_chunk::<4>()?;
        if body.get(..8)? != MAGIC || half(body, 8)? != VERSION || crc32(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let signature: Signature = body.get(24..88)?.try_into().ok()?;
        Some(Self {
            sequence: word(body, 12)?,
            length: word(body, 16)?,
            crc: word(body, 20)?,
            signature: (half(body, 10)? & SIGNED != 0).then_some(signature),
        })
    }
}

/// A record as it reads now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The header, if it is whole.
    pub header: Option<Header>,
    /// Whether the writing of the seal was begun: the model counts.
    pub is_sealed: bool,
    /// Whether header and seal are known to be written to their end.
    pub is_firm: bool,
    /// Whether nothing of it seems to be written.
    pub is_blank: bool,
}

impl Record {
    /// Reads record `index` of a slot's bytes.
    #[must_use]
    pub fn read(slot: &[u8], index: u32) -> Self {
        let start = usize::try_from(index.saturating_mul(RECORD_BYTES)).unwrap_or(usize::MAX);
        let bytes = slot.get(start..).and_then(|rest| rest.get(..RECORD_BYTES as usize)).unwrap_or(&[]);
        let mark = |offset: u32| bytes.get(offset as usize..offset as usize + MARK_BYTES).unwrap_or(&[]);
        let header = Header::parse(bytes);
        let is_sealed = header.is_some() && !is_blank(mark(SEAL));
        Self { header, is_sealed, is_firm: is_sealed && !is_blank(mark(WITNESS)), is_blank: is_blank(bytes) }
    }
}

/// Whether sequence number `a` came after `b`: fewer than 2^31 records apart.
#[must_use]
pub const fn is_newer(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0xFF)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let places = bytes.get_mut(at..).unwrap_or_default();
    places.iter_mut().zip(value).for_each(|(to, &from)| *to = from);
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { sequence: 0x0102_0304, length: 0x0506_0708, crc: 0x090A_0B0C, signature: Some([0x5A; 64]) };

    #[test]
    fn a_header_lies_as_documented() {
        let bytes = HEADER.to_bytes();
        assert_eq!(bytes[..12], *b"OCSLOT\r\n\x01\0\x01\0");
        assert_eq!(bytes[12..24], [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9]);
        assert_eq!((&bytes[24..88], &bytes[88..124]), (&[0x5A; 64][..], &[0xFF; 36][..]));
        assert_eq!(Header::parse(&bytes), Some(HEADER));
        let unsigned = Header { signature: None, ..HEADER };
        assert_eq!(Header::parse(&unsigned.to_bytes()), Some(unsigned));
        assert_eq!(unsigned.to_bytes()[24..88], [0xFF; 64]);
    }

    #[test]
    fn a_header_with_any_bit_turned_is_none() {
        for bit in 0..8 * HEADER_BYTES {
            let mut bytes = HEADER.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&bytes), None, "bit {bit}");
        }
        assert_eq!(Header::parse(&HEADER.to_bytes()[..127]), None);
        assert_eq!(Header::parse(&[]), None);
    }

    #[test]
    fn a_seal_counts_with_its_first_bit_and_only_after_a_whole_header() {
        let mut slot = [0xFF; RECORD_BYTES as usize];
        assert!(Record::read(&slot, 0).is_blank);
        slot[..HEADER_BYTES].copy_from_slice(&HEADER.to_bytes());
        let read = Record::read(&slot, 0);
        assert_eq!((read.header, read.is_sealed, read.is_firm, read.is_blank), (Some(HEADER), false, false, false));
        slot[SEAL as usize + 3] = 0x7F;
        let read = Record::read(&slot, 0);
        assert_eq!((read.is_sealed, read.is_firm), (true, false));
        slot[WITNESS as usize] = 0xFE;
        assert!(Record::read(&slot, 0).is_firm);
        slot[0] = 0;
        let read = Record::read(&slot, 0);
        assert_eq!((read.header, read.is_sealed, read.is_firm), (None, false, false));
        assert_eq!(Record::read(&slot, 1).header, None, "beyond the slot");
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert!(is_newer(1, 0) && !is_newer(0, 1) && !is_newer(7, 7));
        assert!(is_newer(0, u32::MAX) && !is_newer(u32::MAX, 0));
        assert!(is_newer(5, u32::MAX - 5) && !is_newer(u32::MAX - 5, 5));
    }
}
