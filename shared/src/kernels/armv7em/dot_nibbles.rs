//! The sum of products of a slice with weights of four bits.

use core::arch::naked_asm;

/// See [`Isa::dot_nibbles`](crate::kernels::isa::Isa::dot_nibbles).
#[inline]
pub(super) fn dot_nibbles(values: &[i8], packed: &[i8]) -> i32 {
    // SAFETY: both slices have as many groups as the shorter one.
    unsafe { multiply(values.as_ptr(), packed.as_ptr(), (values.len() / 8).min(packed.len() / 4)) }
}

/// Eight products.
macro_rules! group {
    () => {
        concat!(
            "ldr r6, [r1], #4\n",
            "ldr r4, [r0], #4\n", // singly: they need no alignment
            "ldr r5, [r0], #4\n",
            "sxtb16 r7, r4\n", // values 0 and 2
            "and lr, r12, r6\n",
            "smlad r3, r7, lr, r3\n",
            "sxtb16 r4, r4, ror #8\n", // 1 and 3
            "and lr, r12, r6, lsr #8\n",
            "smlad r3, r4, lr, r3\n",
            "sxtb16 r7, r5\n", // 4 and 6
            "and lr, r12, r6, lsr #4\n",
            "smlad r3, r7, lr, r3\n",
            "sxtb16 r5, r5, ror #8\n", // 5 and 7
            "and lr, r12, r6, lsr #12\n",
            "smlad r3, r5, lr, r3\n",
        )
    };
}

/// 15 instructions for eight products, 2 for each sixteen: two fewer than for weights of eight bits, for a mask takes two weights out of a
/// word, in the order in which SXTB16 widens the values, and no weight has a sign.
///
/// # Safety
/// `groups` times eight values and four bytes of weights are readable.
#[unsafe(naked)]
unsafe extern "C" fn multiply(values: *const i8, packed: *const i8, groups: usize) -> i32 {
    // r0 values, r1 weights, r2 groups, r3 sum, r4 r5 four values each, r6 eight weights, r7 two values, lr two weights, r12 mask
    naked_asm!(
        dsp!(),
        "push {r4-r7, lr}",
        "mov r3, #0",
        "mov r12, #0x000f000f",
        "subs r2, r2, #2",
        "blo 2f",
        "1:",
        group!(),
        group!(),
        "subs r2, r2, #2",
        "bhs 1b",
        "2:",
        "adds r2, r2, #2",
        "beq 3f",
        group!(),
        "3:",
        "mov r0, r3",
        "pop {r4-r7, pc}",
        options(raw)
    )
}
