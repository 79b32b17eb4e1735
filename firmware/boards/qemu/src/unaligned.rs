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
