//! Small models for the tests, each with a checksum of its own.

use super::judge::Verifier;
use super::{Judge, ModelJudge, Refusal, Signature};
use ocelli::model::{Model, crc32};
use ocelli::runtime::{Arena, EVERY_KIND};
use std::vec::Vec;

/// The smallest model there is, under another label for each `name`.
pub fn tiny(name: u8) -> Vec<u8> {
    relabeled(include_bytes!("../../../../tests/golden/tiny-v2.ocelli"), name)
}

/// A model whose first label starts with another letter.
pub fn relabeled(file: &[u8], name: u8) -> Vec<u8> {
    let mut file = file.to_vec();
    let labels = u32::from_le_bytes(*file[40..].first_chunk().unwrap());
    file[labels as usize] = b'a' + name % 26;
    let (body, crc) = file.split_last_chunk_mut::<4>().unwrap();
    *crc = crc32(body).to_le_bytes();
    file
}

/// Takes every model that is one.
pub struct TakesModels {
    arena: Arena<65_536>,
    /// The key, if models must be signed.
    pub key: Option<&'static dyn Verifier>,
}

impl TakesModels {
    pub const fn new() -> Self {
        Self { arena: Arena::new(), key: None }
    }
}

impl Judge for TakesModels {
    fn judge(&mut self, model: &[u8], signature: Option<&Signature>) -> Result<(), Refusal> {
        ModelJudge::<EVERY_KIND> { arena: self.arena.bytes_mut(), scratch_words: 0, classes: 0, key: self.key }
            .judge(model, signature)
    }
}

#[test]
fn the_samples_are_models_and_differ() {
    struct Aligned(Vec<u32>);
    let aligned =
        |file: &[u8]| Aligned(file.chunks(4).map(|word| u32::from_le_bytes(*word.first_chunk().unwrap())).collect());
    for name in 0..26 {
        assert_ne!(tiny(name), tiny(name + 1));
        let Aligned(words) = aligned(&tiny(name));
        assert!(Model::parse(bytemuck::cast_slice(&words)).is_ok());
    }
}
