//! Depthwise convolution, four channels at a time.

use super::{reach, requantize};
use crate::kernels::isa::Requantization;
use core::arch::naked_asm;

/// Channels whose sums are held on the stack.
const BLOCK: usize = 16;

// `fast` reads a slice as its address and its length, in this order. The second word of a slice is its length, or this does not compile.
const _: () = {
    // SAFETY: a slice is two words, and a length is any number; an address as a number stops the compiler.
    let words: [core::mem::MaybeUninit<usize>; 2] = unsafe { core::mem::transmute(&[0_i8; 3] as &[i8]) };
    // SAFETY: as above.
    assert!(unsafe { words[1].assume_init() } == 3);
};

/// See [`Isa::depthwise_run`](crate::kernels::isa::Isa::depthwise_run); as many pixels as there is room for in `out`.
#[inline(never)]
pub fn depthwise(
    cells: &[&[i8]],
    step: usize,
    weights: &[i8],
    stride: usize,
    bias: &[i32],
    factors: &Requantization<'_>,
    out: &mut [i8],
) {
    let channels = bias.len();
    if channels == 0 {
        return;
    }
    let block = BLOCK.min(channels & !3);
    let pixels = out.len() / channels;
    let needed = reach(pixels, step, channels);
    if cells.iter().any(|cell| cell.len() < needed) || reach(cells.len(), stride, channels) > weights.len() {
        return;
    }
    let ends = cells.as_ptr_range();
    let mut sums = [0; BLOCK];
    let mut at = 0;
    for out in out.chunks_exact_mut(channels) {
        if block == 0 || cells.is_empty() {
            one_by_one(cells, at, weights, stride, bias, factors, out);
        }
        let mut first = 0;
        while block != 0 && first < channels && !cells.is_empty() {
            // The last block ends with the last channel: what it shares with the one before is computed twice.
            let start = first.min(channels - block);
            // The pixel's place in the cells counts for the channels: weights and bias begin as far before their own.
            let weights = weights.as_ptr().wrapping_sub(at);
            let bias = bias.as_ptr().wrapping_sub(at);
            // SAFETY: there is at least one cell; `at + channels` values lie in every cell, and `channels` in the weights of every cell
            // and in the bias; `block` is a multiple of 4, not 0, and at most `BLOCK`.
            unsafe {
                products(ends.start, ends.end, weights, stride, bias, at + start, at + start + block, &mut sums);
            }
            if let (Some(sums), Some(out)) = (sums.get(..block), out.get_mut(start..)) {
                requantize::pixel(sums, factors, start, out);
            }
            first += block;
        }
        at += step;
    }
}

/// Fewer than four channels, or no cells.
#[cold]
#[inline(never)]
fn one_by_one(
    cells: &[&[i8]],
    first: usize,
    weights: &[i8],
    stride: usize,
    bias: &[i32],
    factors: &Requantization<'_>,
    out: &mut [i8],
) {
    for (c, (out, &bias)) in out.chunks_mut(1).zip(bias).enumerate() {
        let mut sum = bias;
        for (at, cell) in cells.iter().enumerate() {
            if let (Some(&value), Some(&weight)) = (cell.get(first + c), weights.get(at * stride + c)) {
                sum += i32::from(value) * i32::from(weight);
            }
        }
        requantize::pixel(&[sum], factors, c, out);
    }
}

/// Bias and products of channels `first..end`, into `sums`: 23 instructions for 4 products.
///
/// # Safety
/// `cells..cells_end` is not empty; `end - first` is a multiple of 4, not 0, and at most [`BLOCK`]; `end` channels lie in every cell, in
/// the weights of every cell and in `bias`, all counted from where the pointers point.
#[unsafe(naked)]
unsafe extern "C" fn products(
    cells: *const &[i8],
    cells_end: *const &[i8],
    weights: *const i8,
    stride: usize,
    bias: *const i32,
    first: usize,
    end: usize,
    sums: &mut [i32; BLOCK],
) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4, r5, r6, r7}}",
        "mov r12, r3",
        "push {{r0, r1, r2}}", // cells, their end, weights; above them 36 bytes, then bias, first, end, sums
        "ldr r4, [sp, #52]",
        "2:", // four channels
        "ldr r0, [sp, #48]",
        "lsls r1, r4, #2",
        "adds r0, r0, r1",
        "ldmia r0!, {{r1, r2, r5, r6}}",
        "mov r8, r1",
        "mov r9, r2",
        "mov r10, r5",
        "mov r11, r6",
        "adds r5, r4, #1",
        "adds r6, r4, #2",
        "adds r7, r4, #3",
        "ldr r0, [sp, #0]",
        "ldr r3, [sp, #8]",
        "3:",                    // a cell
        "ldmia r0!, {{r1, r2}}", // address and length
        "mov lr, r0",
        "ldrsb r0, [r1, r4]",
        "ldrsb r2, [r3, r4]",
        "muls r0, r2, r0",
        "add r8, r0",
        "ldrsb r0, [r1, r5]",
        "ldrsb r2, [r3, r5]",
        "muls r0, r2, r0",
        "add r9, r0",
        "ldrsb r0, [r1, r6]",
        "ldrsb r2, [r3, r6]",
        "muls r0, r2, r0",
        "add r10, r0",
        "ldrsb r0, [r1, r7]",
        "ldrsb r2, [r3, r7]",
        "muls r0, r2, r0",
        "add r11, r0",
        "add r3, r12",
        "mov r0, lr",
        "ldr r1, [sp, #4]",
        "cmp r0, r1",
        "bne 3b",
        "ldr r0, [sp, #60]",
        "mov r1, r8",
        "mov r2, r9",
        "mov r3, r10",
        "mov r5, r11",
        "stmia r0!, {{r1, r2, r3, r5}}",
        "str r0, [sp, #60]",
        "adds r4, r4, #4",
        "ldr r0, [sp, #56]",
        "cmp r4, r0",
        "bne 2b",
        "add sp, #12",
        "pop {{r4, r5, r6, r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4, r5, r6, r7, pc}}",
    )
}
