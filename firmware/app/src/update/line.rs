//! A board that classifies what its camera sees, and takes a model when one comes over its line.
//!
//! It does one or the other: while a sender talks nothing is classified, so that a model is checked in the memory that the models work
//! in, and no model runs while flash memory is written. Its frames are cut short when bytes come ([`UntilAsked`](crate::camera::UntilAsked)), then [`serve`] answers.

use super::judge::{ModelJudge, Verifier};
use super::receiver::{About, Best};
use super::{Device, Judge, ModelFlash, Receiver, Refusal, Signature};
use crate::classify::Memory;

/// Bytes of a block: two pages of the flash memories that have the largest.
pub const BLOCK_BYTES: u32 = 512;
/// How long a request may take to come whole after its first bytes: it has 540 bytes at most, 47 ms at 115,200 bits a second.
const WHOLE_MS: u64 = 200;
/// How long the next request is waited for: longer than a sender waits before it repeats one.
const NEXT_MS: u64 = 3000;

/// A serial line, as a board has it. Bytes that come while nobody looks are kept, a frame's worth at least.
pub trait Line {
    /// Whether a byte has come.
    fn has_byte(&mut self) -> bool;

    /// The next byte, if one has come.
    fn receive(&mut self) -> Option<u8>;

    /// Sends all these bytes, or as many as the line takes when it is broken.
    fn send(&mut self, bytes: &[u8]);
}

/// Answers requests until none comes any more; whether there were any. After it the model may be another: [`Receiver::parts`].
pub fn serve<F, D, B>(receiver: &mut Receiver<F, D, B>, line: &mut impl Line, now_ms: impl Fn() -> u64) -> bool
where
    F: ModelFlash,
    D: Device,
    B: AsRef<[u8]> + AsMut<[u8]>,
{
    let (mut since, mut patience_ms, mut has_answered) = (now_ms(), WHOLE_MS, false);
    // Noise counts for nothing: a line that is not connected must not keep the board from its work.
    while now_ms().saturating_sub(since) < patience_ms {
        let Some(byte) = line.receive() else { continue };
        let Some(reply) = receiver.push(byte) else { continue };
        line.send(reply);
        // No model runs now. Another update may follow at once.
        if receiver.must_restart() {
            receiver.restarted();
        }
        (since, patience_ms, has_answered) = (now_ms(), NEXT_MS, true);
    }
    has_answered
}

/// What a classifying board has for models: the [`Device`] of its receiver. It has no picture of its own to run on request.
pub struct Kit<'b, const KINDS: u32> {
    /// The board's name.
    pub board: &'static str,
    /// The model that the firmware was built with.
    pub built_in: &'static [u8],
    /// The memory that models work in.
    pub memory: Memory<'b>,
    /// Most classes of a model.
    pub classes: usize,
    /// The key, if models must be signed.
    pub key: Option<&'static dyn Verifier>,
}

impl<const KINDS: u32> Kit<'_, KINDS> {
    /// The memory, for as long as a model runs.
    pub const fn memory(&mut self) -> Memory<'_> {
        let Memory { arena, scratch, row } = &mut self.memory;
        Memory { arena, scratch, row }
    }
}

impl<const KINDS: u32> Judge for Kit<'_, KINDS> {
    fn judge(&mut self, model: &[u8], signature: Option<&Signature>) -> Result<(), Refusal> {
        let Self { memory: Memory { arena, scratch, .. }, classes, key, .. } = self;
        ModelJudge::<KINDS> { arena, scratch_words: scratch.len(), classes: *classes, key: *key }
            .judge(model, signature)
    }
}

impl<const KINDS: u32> Device for Kit<'_, KINDS> {
    fn about(&self) -> About<'_> {
        let arena_bytes = u32::try_from(self.memory.arena.len()).unwrap_or(u32::MAX);
        About { board: self.board, arena_bytes, kinds: KINDS, key_id: self.key.map(Verifier::key_id) }
    }

    fn built_in(&self) -> &'static [u8] {
        self.built_in
    }

    fn run<'m>(&mut self, _model: &'m [u8]) -> Result<Best<'m>, Refusal> {
        Err(Refusal::NotSupported)
    }
}

#[cfg(test)]
mod tests;
