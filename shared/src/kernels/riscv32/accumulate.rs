//! Products of weights with a column of pixel pairs (see [`pairs`](super::super::pairs)).

use super::reach;
use crate::kernels::isa::PIXELS;
use crate::kernels::pairs::{self, BIAS, Words};
use core::arch::naked_asm;

/// Channels that are computed together.
const BLOCK: usize = 4;

/// See [`Isa::accumulate`](crate::kernels::isa::Isa::accumulate).
pub fn accumulate(column: &[i16], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
    let (k, count) = (pairs::room(column) & !3, accumulators.len());
    if k == 0 || reach(count, stride, k) > weights.len() {
        return;
    }
    let start = column.as_ptr().cast::<Words>();
    let end = start.wrapping_add(k);
    let (fours, rest) = accumulators.as_chunks_mut::<BLOCK>();
    let fours = fours.as_mut_ptr_range();
    if fours.start != fours.end {
        // SAFETY: the column has `k` values, a multiple of 4 and not 0, and is aligned as words must be; each channel has `k` weights.
        unsafe { blocks(start, end, weights.as_ptr(), stride, fours.start, fours.end) };
    }
    for (c, acc) in (count - rest.len()..).zip(rest) {
        // Alone, as four channels with the same weights.
        let mut four = [*acc; BLOCK];
        let fours = (&raw mut four).cast();
        // SAFETY: as above; `c` is a channel, all four weights of a place are its own.
        unsafe { blocks(start, end, weights.as_ptr().wrapping_add(c * stride), 0, fours, fours.wrapping_add(1)) };
        [*acc, ..] = four;
    }
}

/// The products of two values with a channel's weights, at `a7` plus `$first` and `$second`: 16 instructions for 8 products. `a2`, `a3`
/// and `a4`, `a5` are the words; in and out: sum of words and high sum of pixels 0 and 1, and those of pixels 2 and 3.
#[rustfmt::skip] // a line an instruction
macro_rules! channel {
    ($first:literal, $second:literal, $low:literal, $low_high:literal, $up:literal, $up_high:literal) => {
        concat!(
            "lb a1, ", $first, "(a7)\n",
            "lb a6, ", $second, "(a7)\n",
            "mul s0, a2, a1\n",
            "mul s1, a4, a6\n",
            "mul a1, a3, a1\n",
            "mul a6, a5, a6\n",
            "add s0, s0, s1\n",
            "add a1, a1, a6\n",
            "add ", $low, ", ", $low, ", s0\n",
            "add ", $up, ", ", $up, ", a1\n",
            "add s0, s0, t1\n",
            "add a1, a1, t1\n",
            "srai s0, s0, 16\n",
            "srai a1, a1, 16\n",
            "add ", $low_high, ", ", $low_high, ", s0\n",
            "add ", $up_high, ", ", $up_high, ", a1\n",
        )
    };
}

/// Sum of words and high sum from the two accumulators at `s0` plus `$at`; `a1` is the number of pairs of values.
#[rustfmt::skip] // a line an instruction
macro_rules! begin {
    ($at:literal, $sum:literal, $high:literal) => {
        concat!(
            "lw ", $sum, ", ", $at, "(s0)\n",
            "lw ", $high, ", 4+", $at, "(s0)\n",
            "slli s1, ", $high, ", 16\n",
            "add ", $sum, ", ", $sum, ", s1\n",
            "add ", $high, ", ", $high, ", a1\n",
        )
    };
}

/// The two accumulators from sum of words and high sum.
#[rustfmt::skip] // a line an instruction
macro_rules! finish {
    ($at:literal, $sum:literal, $high:literal) => {
        concat!(
            "slli s1, ", $high, ", 16\n",
            "sub ", $sum, ", ", $sum, ", s1\n",
            "sw ", $sum, ", ", $at, "(s0)\n",
            "sw ", $high, ", 4+", $at, "(s0)\n",
        )
    };
}

/// The assembler does not know the target's extensions in a naked function.
#[cfg(target_feature = "c")]
macro_rules! extensions {
    () => {
        ".option arch, +m, +c"
    };
}
#[cfg(not(target_feature = "c"))]
macro_rules! extensions {
    () => {
        ".option arch, +m"
    };
}

/// Four channels at a time, four values a turn: 146 instructions for 64 products.
///
/// # Safety
/// `column..end` holds a multiple of 4 values, not none; channel `c` has as many weights at `weights + c * stride`;
/// `accumulators..accumulators_end` is not empty.
#[unsafe(naked)]
unsafe extern "C" fn blocks(
    column: *const Words,
    end: *const Words,
    weights: *const i8,
    stride: usize,
    accumulators: *mut [[i32; PIXELS]; BLOCK],
    accumulators_end: *mut [[i32; PIXELS]; BLOCK],
) {
    naked_asm!(
        ".option push",
        extensions!(),
        "addi sp, sp, -80",
        "sw s0, 24(sp)",
        "sw s1, 28(sp)",
        "sw s2, 32(sp)",
        "sw s3, 36(sp)",
        "sw s4, 40(sp)",
        "sw s5, 44(sp)",
        "sw s6, 48(sp)",
        "sw s7, 52(sp)",
        "sw s8, 56(sp)",
        "sw s9, 60(sp)",
        "sw s10, 64(sp)",
        "sw s11, 68(sp)",
        "sw ra, 72(sp)",
        "sub t0, a1, a0",
        "srli t0, t0, 4", // pairs of values: as often the bias takes 1 from a high sum
        "sw a0, 0(sp)",
        "sw a1, 4(sp)",
        "sw t0, 8(sp)",
        "sw a4, 12(sp)",
        "sw a5, 16(sp)",
        "mv a7, a2",
        "mv t0, a3",
        "li t1, {bias}",
        "2:", // four channels
        "lw s0, 12(sp)",
        "lw a1, 8(sp)",
        begin!("0", "t2", "t3"),
        begin!("8", "t4", "t5"),
        begin!("16", "t6", "ra"),
        begin!("24", "s2", "s3"),
        begin!("32", "s4", "s5"),
        begin!("40", "s6", "s7"),
        begin!("48", "s8", "s9"),
        begin!("56", "s10", "s11"),
        "lw a0, 0(sp)",
        "3:", // four values
        "lw a2, 0(a0)",
        "lw a3, 4(a0)",
        "lw a4, 8(a0)",
        "lw a5, 12(a0)",
        channel!("0", "1", "t2", "t3", "t4", "t5"),
        "add a7, a7, t0",
        channel!("0", "1", "t6", "ra", "s2", "s3"),
        "add a7, a7, t0",
        channel!("0", "1", "s4", "s5", "s6", "s7"),
        "add a7, a7, t0",
        channel!("0", "1", "s8", "s9", "s10", "s11"),
        "lw a2, 16(a0)",
        "lw a3, 20(a0)",
        "lw a4, 24(a0)",
        "lw a5, 28(a0)",
        channel!("2", "3", "s8", "s9", "s10", "s11"),
        "sub a7, a7, t0",
        channel!("2", "3", "s4", "s5", "s6", "s7"),
        "sub a7, a7, t0",
        channel!("2", "3", "t6", "ra", "s2", "s3"),
        "sub a7, a7, t0",
        channel!("2", "3", "t2", "t3", "t4", "t5"),
        "lw s1, 4(sp)",
        "addi a0, a0, 32",
        "addi a7, a7, 4",
        "bne a0, s1, 3b",
        "lw s0, 12(sp)",
        finish!("0", "t2", "t3"),
        finish!("8", "t4", "t5"),
        finish!("16", "t6", "ra"),
        finish!("24", "s2", "s3"),
        finish!("32", "s4", "s5"),
        finish!("40", "s6", "s7"),
        finish!("48", "s8", "s9"),
        finish!("56", "s10", "s11"),
        "lw a0, 8(sp)",
        "lw a1, 16(sp)",
        "addi s0, s0, 64",
        "sw s0, 12(sp)",
        "slli a0, a0, 1", // back to the block's first weight, and on by four channels
        "sub a7, a7, a0",
        "slli a2, t0, 2",
        "add a7, a7, a2",
        "bne s0, a1, 2b",
        "lw s0, 24(sp)",
        "lw s1, 28(sp)",
        "lw s2, 32(sp)",
        "lw s3, 36(sp)",
        "lw s4, 40(sp)",
        "lw s5, 44(sp)",
        "lw s6, 48(sp)",
        "lw s7, 52(sp)",
        "lw s8, 56(sp)",
        "lw s9, 60(sp)",
        "lw s10, 64(sp)",
        "lw s11, 68(sp)",
        "lw ra, 72(sp)",
        "addi sp, sp, 80",
        "ret",
        ".option pop",
        bias = const BIAS,
    )
}
