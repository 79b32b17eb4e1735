//! Hostile model files: whatever their bytes, loading and running them does not panic, index outside a slice or overflow.
//!
//! CI runs these with overflow checks and debug assertions on (`cargo test -p ocelli`, the development profile).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ocelli::model::records::{ALIGN, MAGIC, VERSION};
use ocelli::model::{Model, crc32};
use ocelli::runtime::Session;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// A model with every operator (28x28 gray, ten classes); `tests/model_file.rs` writes it.
const EVERY_OPERATOR: &[u8] = include_bytes!("../../tests/golden/every-operator-v1.ocelli");
/// Most working memory that a file is granted here, as a board would.
const ARENA_BYTES: usize = 1 << 22;
/// Bytes of the header and the tables of records at the head of the file.
const TABLES_BYTES: usize = 80 + 9 * 32 + 8 * 48;

/// Makes the checksum of a changed file right.
fn reseal(file: &mut Vec<u8>) {
    file.truncate(file.len().saturating_sub(4));
    let crc = crc32(file);
    file.extend(crc.to_le_bytes());
}

/// The part of `memory` that is aligned as models and arenas must be.
fn aligned(memory: &mut [u8], len: usize) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(ALIGN);
    &mut memory[start..start + len]
}

/// Loads a file and, if it is let in, runs it on three frames; returns whether it was let in.
fn survive(file: &[u8]) -> bool {
    let mut memory = vec![0; file.len() + ALIGN];
    let copy = aligned(&mut memory, file.len());
    copy.copy_from_slice(file);
    let Ok(model) = Model::parse(copy) else { return false };
    let needed = usize::try_from(model.arena_bytes()).unwrap();
    let work: u64 = model.graph().tensors.iter().filter_map(|t| t.shape().elements()).map(u64::from).sum();
    if needed > ARENA_BYTES || work > 1 << 20 {
        return true; // a board would say no to the memory; the time is bounded, but not for thousands of cases
    }
    let mut arena = vec![0; needed + ALIGN];
    let Ok(mut session) = Session::with_model(model, aligned(&mut arena, needed)) else { return false };
    for noise in [0_u8, 0x55, 0xff] {
        let scores = session.run(|y, row| row.fill((u8::try_from(y % 256).unwrap() ^ noise).cast_signed()));
        assert!(!scores.is_empty());
    }
    true
}

#[test]
fn the_undamaged_file_is_let_in_and_its_tables_end_where_the_tests_think() {
    assert!(survive(EVERY_OPERATOR));
    let word = |at: usize| u32::from_le_bytes(EVERY_OPERATOR[at..at + 4].try_into().unwrap());
    assert_eq!(usize::try_from(word(32)).unwrap(), TABLES_BYTES, "the labels follow the records");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]
    #[test]
    fn noise_is_no_model(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), dressed in any::<bool>()) {
        if dressed && bytes.len() > 16 {
            let len = u32::try_from(bytes.len()).unwrap();
            bytes[..8].copy_from_slice(&MAGIC);
            bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
            bytes[12..16].copy_from_slice(&len.to_le_bytes());
        }
        reseal(&mut bytes);
        survive(&bytes);
    }

    #[test]
    fn damage_with_a_right_checksum_never_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        in_tables in any::<bool>(),
    ) {
        let mut bytes = EVERY_OPERATOR.to_vec();
        let end = if in_tables { TABLES_BYTES } else { bytes.len() - 4 };
        for (index, value) in edits {
            bytes[index.index(end)] = value;
        }
        reseal(&mut bytes);
        survive(&bytes);
    }

    #[test]
    fn wrong_words_in_the_tables_never_panic(
        edits in proptest::collection::vec((4_usize..TABLES_BYTES / 4, prop_oneof![
            Just(0_u32), Just(1), Just(2), Just(u32::MAX), Just(u32::MAX - 3), Just(1 << 31), Just(0xffff),
            Just(0x1_0001), any::<u32>(), 0_u32..64, (0_u32..2048).prop_map(|n| 4 * n),
        ]), 1..4),
    ) {
        let mut bytes = EVERY_OPERATOR.to_vec();
        for (word, value) in edits {
            bytes[4 * word..4 * word + 4].copy_from_slice(&value.to_le_bytes());
        }
        reseal(&mut bytes);
        survive(&bytes);
    }
}
