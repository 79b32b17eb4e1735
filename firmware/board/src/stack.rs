//! The deepest point that the stack has reached.
#![allow(unsafe_code, reason = "reads the free stack")]

/// What the free stack is painted with, by cortex-m-rt (feature `paint-stack`) or [`paint`].
const PAINT: u32 = 0xCCCC_CCCC;
/// Bytes at the stack's end that are not its own: esp-hal keeps a guard there, and watches it.
const GUARD_BYTES: usize = if cfg!(target_arch = "riscv32") { 128 } else { 0 };
/// Bytes below the stack pointer that [`paint`] leaves alone: its own frame.
const OWN_BYTES: usize = 256;

unsafe extern "C" {
    // Placed by the linker script; only their addresses mean something.
    static mut _stack_start: u32;
    static mut _stack_end: u32;
}

/// Bytes of stack that have been written to since it was painted; `None` when no word was left unused: the stack may have grown into the
/// variables below it.
#[must_use]
pub fn deepest_bytes() -> Option<u32> {
    let (bottom, top) = ((&raw const _stack_end).wrapping_byte_add(GUARD_BYTES), &raw const _stack_start);
    let mut word = bottom;
    // SAFETY: `_stack_end..top` is RAM that holds the stack and nothing else, aligned to words; it is read as volatile
    // because the compiler knows of no object there.
    while word < top && unsafe { word.read_volatile() } == PAINT {
        word = word.wrapping_add(1);
    }
    if word == bottom {
        return None;
    }
    u32::try_from(top.addr() - word.addr()).ok()
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
