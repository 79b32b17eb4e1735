//! The deepest point that the stack has reached. The free stack is painted before `main`: by cortex-m-rt (feature
//! `paint-stack`), on RISC-V by the code below.

/// What the free stack is painted with.
const PAINT: u32 = 0xCCCC_CCCC;

unsafe extern "C" {
    // Placed by the linker script; only their addresses mean something.
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
    while word < top && unsafe { word.read_volatile() } == PAINT {
        word = word.wrapping_add(1);
    }
    if word == bottom {
        return None;
    }
    u32::try_from(top.addr() - word.addr()).ok()
}

#[cfg(target_arch = "arm")]
const _: () = assert!(PAINT == cortex_m_rt::STACK_PAINT_VALUE);

// riscv-rt calls this before there is a Rust environment, with nothing on the stack yet.
#[cfg(target_arch = "riscv32")]
core::arch::global_asm!(
    ".section .text.__pre_init, \"ax\"",
    ".global __pre_init",
    "__pre_init:",
    "la t0, _stack_end",
    "li t1, {paint}",
    "1:",
    "sw t1, 0(t0)",
    "addi t0, t0, 4",
    "bltu t0, sp, 1b",
    "ret",
    paint = const PAINT,
);
