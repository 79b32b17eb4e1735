//! The deepest point that the stack has reached.
#![allow(unsafe_code, reason = "reads the free stack")]

use crate::depth::{PAINT, deepest_words};

/// Bytes at the stack's end that are not its own: esp-hal keeps a guard there, and watches it.
const GUARD_BYTES: usize = if cfg!(target_arch = "riscv32") { 128 } else { 0 };
/// Bytes below the stack pointer that [`paint`] leaves alone: its own frame.
const OWN_BYTES: usize = 256;
/// Bytes of a word.
const WORD_BYTES: usize = 4;

unsafe extern "C" {
    // Placed by the linker script; only their addresses mean something.
    static mut _stack_start: u32;
    static mut _stack_end: u32;
}

/// Bytes of stack that have been written to since it was painted; `None` when no word was left unused: the stack may have grown into the
/// variables below it. `known` is what this returned before, or 0: then only what lies just below that is looked at.
#[must_use]
pub fn deepest_bytes(known: u32) -> Option<u32> {
    let (bottom, top) = ((&raw const _stack_end).wrapping_byte_add(GUARD_BYTES), &raw const _stack_start);
    let words = top.addr().saturating_sub(bottom.addr()) / WORD_BYTES;
    let word = |depth: usize| {
        // SAFETY: `depth` is less than `words`, so that the word lies in `bottom..top`, which is RAM that holds the stack and nothing else,
        // aligned to words; it is read as volatile because the compiler knows of no object there.
        unsafe { top.wrapping_sub(depth + 1).read_volatile() }
    };
    let known = usize::try_from(known).unwrap_or(usize::MAX) / WORD_BYTES;
    u32::try_from(WORD_BYTES * deepest_words(words, known, word)?).ok()
}

/// Paints what is free of the stack: where the start code does not.
#[inline(never)]
pub fn paint() {
    let here = 0_u32;
    let end = (&raw const here).wrapping_byte_sub(OWN_BYTES);
    let mut word = (&raw mut _stack_end).wrapping_byte_add(GUARD_BYTES);
    while word.cast_const() < end {
        // SAFETY: the word lies in the stack's memory and below all that is in use; nothing else has it.
        unsafe { word.write_volatile(PAINT) };
        word = word.wrapping_add(1);
    }
}
