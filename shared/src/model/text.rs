//! The file's strings, each ended by a zero byte.

/// Strings of the file, in order.
#[derive(Clone, Debug)]
pub struct Strings<'m>(pub(super) &'m [u8]);

impl<'m> Iterator for Strings<'m> {
    type Item = &'m str;

    fn next(&mut self) -> Option<&'m str> {
        let end = self.0.iter().position(|&b| b == 0)?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..)?;
        core::str::from_utf8(text).ok()
    }
}

/// How many strings there are; `None` when they are not UTF-8 or the last one has no end.
///
/// `core::str::from_utf8` would do, but is several times as long: a program that shows no labels does without it.
///
/// # Source
/// The Unicode Standard, table 3-7 (well-formed UTF-8 byte sequences).
pub(super) fn count(text: &[u8]) -> Option<usize> {
    let mut strings = 0;
    let mut last = 0;
    // bytes that the character still needs, and what the next of them may be
    let (mut needed, mut low, mut high) = (0, CONTINUED.0, CONTINUED.1);
    for &byte in text {
        last = byte;
        if needed > 0 {
            if byte < low || byte > high {
                return None;
            }
            (needed, low, high) = (needed - 1, CONTINUED.0, CONTINUED.1);
            continue;
        }
        strings += usize::from(byte == 0);
        (needed, low, high) = FIRST.iter().find(|first| byte <= first.0)?.1;
    }
    (last == 0).then_some(strings)
}

/// What a byte that continues a character may be.
const CONTINUED: (u8, u8) = (0x80, 0xBF);

/// First bytes up to a value that those before do not reach: how many bytes follow, and from where to where the next of them may be. One
/// that nothing may follow stands for bytes that begin no character. The shortest form only, no surrogates, at most U+10FFFF.
static FIRST: [(u8, (u8, u8, u8)); 10] = [
    (0x7F, (0, 0x80, 0xBF)),
    (0xC1, (1, 0xFF, 0x00)),
    (0xDF, (1, 0x80, 0xBF)),
    (0xE0, (2, 0xA0, 0xBF)),
    (0xEC, (2, 0x80, 0xBF)),
    (0xED, (2, 0x80, 0x9F)),
    (0xEF, (2, 0x80, 0xBF)),
    (0xF0, (3, 0x90, 0xBF)),
    (0xF3, (3, 0x80, 0xBF)),
    (0xF4, (3, 0x80, 0x8F)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use std::string::ToString;
    use std::vec::Vec;

    /// What `count` must say, by the standard library.
    fn by_the_library(text: &[u8]) -> Option<usize> {
        let text = core::str::from_utf8(text).ok()?;
        (text.is_empty() || text.ends_with('\0')).then(|| text.matches('\0').count())
    }

    #[test]
    fn every_sequence_of_three_bytes_is_judged_as_the_library_does() {
        for word in 0..1_u32 << 24 {
            let [a, b, c, _] = word.to_le_bytes();
            let text = [a, b, c, 0];
            assert_eq!(count(&text), by_the_library(&text), "{text:x?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]
        #[test]
        fn longer_texts_are_judged_as_the_library_does(
            text in proptest::collection::vec(prop_oneof![
                any::<char>().prop_map(|c| c.to_string().into_bytes()),
                any::<u8>().prop_map(|b| std::vec![b]),
                (0xEF_u8..=0xF5, 0x7F_u8..=0xC0, 0x7F_u8..=0xC0, 0x7F_u8..=0xC0).prop_map(|(a, b, c, d)| std::vec![a, b, c, d]),
                Just(std::vec![0]),
            ], 0..4),
        ) {
            let text: Vec<u8> = text.concat();
            prop_assert_eq!(count(&text), by_the_library(&text));
        }
    }
}
