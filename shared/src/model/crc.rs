//! The file's checksum.

/// What four more bits do to a checksum: `TABLE[n]` is `n` after four steps of the polynomial EDB88320 (04C11DB7 reflected).
///
/// A table for whole bytes would be twice as fast and sixteen times as long: 1 KB of flash for something done once.
static TABLE: [u32; 16] = table();

const fn table() -> [u32; 16] {
    let mut table = [0; 16];
    let mut n = 0;
    while n < 16 {
        table[n] = by_bits(n as u32, 4);
        n += 1;
    }
    table
}

/// What some more bits do to a checksum.
const fn by_bits(mut crc: u32, bits: u32) -> u32 {
    let mut bit = 0;
    while bit < bits {
        crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        bit += 1;
    }
    crc
}

/// CRC-32 as in zip and PNG (polynomial 04C11DB7 reflected, ISO 3309).
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    if cfg!(ocelli_isa = "armv6m") {
        return !bytes.iter().fold(!0, |crc, &byte| by_bits(crc ^ u32::from(byte), 8)); // the smallest chips: no table at all
    }
    let step = |crc: u32| (crc >> 4) ^ TABLE[(crc & 15) as usize];
    !bytes.iter().fold(!0, |crc, &byte| step(step(crc ^ u32::from(byte))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_checksums_hold() {
        // the check value of CRC-32/ISO-HDLC, and PNG's empty IEND chunk
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b"IEND"), 0xAE42_6082);
        assert_eq!(crc32(b""), 0);
    }
}
