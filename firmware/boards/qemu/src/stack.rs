//! The deepest point that the stack has reached. cortex-m-rt paints the free stack before `main` (feature `paint-stack`).

use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    // Placed by cortex-m-rt's linker script; only their addresses mean something.
    static mut _stack_start: u32;
    static mut _stack_end: u32;
}

/// Bytes of stack that have been written to since the start; `None` when no word was left unused: the stack may have grown
/// into the variables below it.
pub fn deepest_bytes() -> Option<u32> {
    let (bottom, top) = (&raw const _stack_end, &raw const _stack_start);
    let mut word = bottom;
    // SAFETY: `_stack_end..top` is RAM that holds the stack and nothing else, aligned to words; it is read as volatile
    // because the compiler knows of no object there.
    while word < top && unsafe { word.read_volatile() } == STACK_PAINT_VALUE {
        word = word.wrapping_add(1);
    }
    if word == bottom {
        return None;
    }
    u32::try_from(top.addr() - word.addr()).ok()
}
