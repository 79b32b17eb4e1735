//! Whether a firmware can run a model, and whether it may.

use super::{Judge, ModelRefusal, Refusal, Signature};
use ocelli::image::FrameConverter;
use ocelli::model::records::Tensor;
use ocelli::runtime::SessionOf;

/// Checks signatures by a key that is part of the firmware.
pub trait Verifier {
    /// The first bytes of the key, by which people know it.
    fn key_id(&self) -> [u8; 8];

    /// Whether `signature` is one of this file by the key.
    fn verify(&self, file: &[u8], signature: &Signature) -> bool;
}

/// Accepts models that the firmware has the kernels (the set `KINDS`) and the memory for, and, if there is a key, whose signature is by
/// that key.
pub struct ModelJudge<'b, const KINDS: u32> {
    /// The memory that models work in; a check overwrites it. It must be aligned to 4 (see `ocelli::runtime::Arena`).
    pub arena: &'b mut [u8],
    /// Words of the frame converter's memory. 0: the board takes models whose input is no picture, too.
    pub scratch_words: usize,
    /// Classes that there is room for behind the network, four bytes each. 0: any number.
    pub classes: usize,
    /// The key, if models must be signed.
    pub key: Option<&'b dyn Verifier>,
}

impl<const KINDS: u32> Judge for ModelJudge<'_, KINDS> {
    fn judge(&mut self, model: &[u8], signature: Option<&Signature>) -> Result<(), Refusal> {
        if let Some(key) = self.key
            && !key.verify(model, signature.ok_or(Refusal::Unsigned)?)
        {
            return Err(Refusal::Signature);
        }
        let session = SessionOf::<KINDS>::load(model, self.arena)?;
        let model = session.model();
        if self.classes != 0 {
            check_words(model.graph().tensors.last().map_or(0, classes), self.classes)?;
        }
        if self.scratch_words != 0 {
            let spec = model.input_spec().ok_or(Refusal::Model(ModelRefusal::NotAPicture))?;
            check_words(FrameConverter::scratch_words(spec.shape), self.scratch_words)?;
        }
        Ok(())
    }
}

/// Scores of an output.
fn classes(output: &Tensor) -> usize {
    let product = output.h.saturating_mul(output.w).saturating_mul(output.c);
    usize::try_from(product).unwrap_or(usize::MAX)
}

/// Refuses a model that needs more words of some memory than there are.
fn check_words(needed: usize, available: usize) -> Result<(), Refusal> {
    if needed <= available {
        return Ok(());
    }
    let bytes = |words: usize| u32::try_from(words.saturating_mul(4)).unwrap_or(u32::MAX);
    Err(Refusal::Model(ModelRefusal::Ram { needed: bytes(needed), available: bytes(available) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli::model::Aligned;
    use ocelli::runtime::{Arena, EVERY_KIND};

    static TINY: Aligned<[u8; 824]> = Aligned(*include_bytes!("../../../../tests/golden/tiny-v2.ocelli"));

    struct OneSignature;

    impl Verifier for OneSignature {
        fn key_id(&self) -> [u8; 8] {
            [1; 8]
        }

        fn verify(&self, file: &[u8], signature: &Signature) -> bool {
            file == TINY.0 && *signature == [7; 64]
        }
    }

    fn judge<const KINDS: u32>(
        arena: &mut [u8],
        scratch_words: usize,
        key: Option<&dyn Verifier>,
    ) -> Result<(), Refusal> {
        ModelJudge::<KINDS> { arena, scratch_words, classes: 0, key }.judge(&TINY.0, Some(&[7; 64]))
    }

    #[test]
    fn a_model_needs_kernels_and_memory() {
        let mut arena = Arena::<4096>::new();
        assert_eq!(judge::<EVERY_KIND>(arena.bytes_mut(), 0, None), Ok(()));
        assert_eq!(judge::<EVERY_KIND>(arena.bytes_mut(), 64, None), Ok(()));
        let needed = u32::from_le_bytes(*TINY.0[16..].first_chunk().unwrap());
        let refused = |refusal| Err(Refusal::Model(refusal));
        let ram = |needed, available| refused(ModelRefusal::Ram { needed, available });
        assert_eq!(judge::<EVERY_KIND>(&mut arena.bytes_mut()[..16], 0, None), ram(needed, 16));
        let input = ocelli::model::Model::parse(&TINY.0).unwrap().input_shape();
        let words = u32::try_from(4 * FrameConverter::scratch_words(input)).unwrap();
        assert_eq!(judge::<EVERY_KIND>(arena.bytes_mut(), 1, None), ram(words, 4));
        assert!(matches!(judge::<0>(arena.bytes_mut(), 0, None), Err(Refusal::Model(ModelRefusal::Operator { .. }))));
    }

    #[test]
    fn a_model_may_have_no_more_classes_than_there_is_room_for() {
        let mut arena = Arena::<4096>::new();
        let mut judge = |classes| {
            ModelJudge::<EVERY_KIND> { arena: arena.bytes_mut(), scratch_words: 0, classes, key: None }
                .judge(&TINY.0, None)
        };
        assert_eq!((judge(0), judge(2)), (Ok(()), Ok(()))); // it has two
        assert_eq!(judge(1), Err(Refusal::Model(ModelRefusal::Ram { needed: 8, available: 4 })));
    }

    #[test]
    fn with_a_key_a_model_needs_its_signature() {
        let mut arena = Arena::<4096>::new();
        let mut judge = ModelJudge::<EVERY_KIND> {
            arena: arena.bytes_mut(),
            scratch_words: 0,
            classes: 0,
            key: Some(&OneSignature),
        };
        assert_eq!(judge.judge(&TINY.0, Some(&[7; 64])), Ok(()));
        assert_eq!(judge.judge(&TINY.0, Some(&[8; 64])), Err(Refusal::Signature));
        assert_eq!(judge.judge(&TINY.0, None), Err(Refusal::Unsigned));
    }
}
