//! What the start code needs of an Arm board.
//!
//! A Cortex-M3 that stands for a Cortex-M0+ must fault where that one does: at every access that is not aligned.

// Sets `CCR.UNALIGN_TRP`, which on ARMv6-M reads as one (ARMv6-M Architecture Reference Manual, B3.2.8). cortex-m-rt calls this
// before there is a Rust environment.
#[cfg(ocelli_board = "qemu-m0plus")]
core::arch::global_asm!(
    ".section .text.__pre_init, \"ax\"",
    ".global __pre_init",
    ".type __pre_init,%function",
    ".thumb_func",
    "__pre_init:",
    "ldr r0, =0xE000ED14", // CCR
    "ldr r1, [r0]",
    "movs r2, #8", // UNALIGN_TRP
    "orrs r1, r2",
    "str r1, [r0]",
    "bx lr",
    ".ltorg",
);

/// The interrupts' vectors. No interrupt is ever enabled: one entry, the fewest that cortex-m-rt's script takes, instead of up to 240.
#[cfg(target_arch = "arm")]
// SAFETY: cortex-m-rt's script expects a table of vectors by this name in this section.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
#[used]
static __INTERRUPTS: [usize; 1] = [0];
