//! Hostile model files: whatever their bytes, loading and running them does not panic, index outside a slice or overflow.
//!
//! CI runs these with overflow checks and debug assertions on (`cargo test -p ocelli`, the development profile).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ocelli::model::records::{ALIGN, MAGIC, VERSION};
use ocelli::model::{Model, crc32};
use ocelli::runtime::Session;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Models that hold every kind of operator between them, in int8 and in what was uint8, and where it can be run one with its weights in
/// blocks; `tests/model_file.rs` writes them.
const FILES: &[&[u8]] = &[
    include_bytes!("../../tests/golden/every-operator-v2.ocelli"),
    include_bytes!("../../tests/golden/mobile-uint8-v2.ocelli"),
    include_bytes!("../../tests/golden/int4-v2.ocelli"),
    #[cfg(feature = "blocked")]
    include_bytes!("../../tests/golden/blocks-v2.ocelli"),
];
/// Most working memory that a file is granted here, as a board would.
const ARENA_BYTES: usize = 1 << 22;
/// Cases of each property; fewer under Miri, which takes a thousand times as long.
const CASES: u32 = if cfg!(miri) { 5 } else { 2000 };

/// Bytes of the header and the tables of records at the head of a file.
fn tables_bytes(file: &[u8]) -> usize {
    let ops = usize::from(u16::from_le_bytes([file[10], file[11]]));
    88 + (ops + 1) * 32 + ops * 56
}

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
fn the_undamaged_files_are_let_in_and_their_tables_end_where_the_tests_think() {
    for file in FILES {
        assert!(survive(file));
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let text = word(40).min(word(48)); // labels, where there are some, and names
        assert_eq!(usize::try_from(text).unwrap(), tables_bytes(file), "the texts follow the records");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]
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
        file in prop::sample::select(FILES),
    ) {
        let mut bytes = file.to_vec();
        let end = if in_tables { tables_bytes(file) } else { bytes.len() - 4 };
        for (index, value) in edits {
            bytes[index.index(end)] = value;
        }
        reseal(&mut bytes);
        survive(&bytes);
    }

    #[test]
    fn wrong_words_in_the_tables_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            Just(0_u32), Just(1), Just(2), Just(u32::MAX), Just(u32::MAX - 3), Just(1 << 31), Just(0xffff),
            Just(0x1_0001), any::<u32>(), 0_u32..64, (0_u32..2048).prop_map(|n| 4 * n),
        ]), 1..4),
        file in prop::sample::select(FILES),
    ) {
        let mut bytes = file.to_vec();
        for (index, value) in edits {
            let word = 4 + index.index(tables_bytes(file) / 4 - 4); // behind magic, version and length
            bytes[4 * word..4 * word + 4].copy_from_slice(&value.to_le_bytes());
        }
        reseal(&mut bytes);
        survive(&bytes);
    }
}
