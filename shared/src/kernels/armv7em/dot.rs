//! The sum of products of two slices.

use core::arch::naked_asm;

/// See [`Isa::dot`](crate::kernels::isa::Isa::dot).
#[inline]
pub(super) fn dot(a: &[i8], b: &[i8]) -> i32 {
    // SAFETY: both slices have as many values as the shorter one.
    unsafe { multiply(a.as_ptr(), b.as_ptr(), a.len().min(b.len())) }
}

/// 8 instructions for four products, 2 for each eight.
///
/// # Safety
/// `count` values are readable at both places.
#[unsafe(naked)]
unsafe extern "C" fn multiply(a: *const i8, b: *const i8, count: usize) -> i32 {
    // r0 r1 values, r2 count, r3 sum, r4 r5 and r6 r12 four values each
    naked_asm!(
        "push {r4-r6, lr}",
        "mov r3, #0",
        "subs r2, r2, #8",
        "blo 2f",
        "1:",
        ".rept 2",
        "ldr r4, [r0], #4", // singly: they need no alignment
        "ldr r5, [r1], #4",
        "sxtb16 r6, r4",
        "sxtb16 r4, r4, ror #8",
        "sxtb16 r12, r5",
        "sxtb16 r5, r5, ror #8",
        "smlad r3, r6, r12, r3",
        "smlad r3, r4, r5, r3",
        ".endr",
        "subs r2, r2, #8",
        "bhs 1b",
        "2:",
        "adds r2, r2, #8",
        "beq 4f",
        "3:",
        "ldrsb r4, [r0], #1",
        "ldrsb r5, [r1], #1",
        "smlabb r3, r4, r5, r3",
        "subs r2, r2, #1",
        "bne 3b",
        "4:",
        "mov r0, r3",
        "pop {r4-r6, pc}",
        options(raw)
    )
}
