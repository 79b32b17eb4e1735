//! Widening of the values of all pixels of a tile into a column.

use super::column::{BLOCK, gather};
use crate::kernels::isa::PIXELS;
use crate::kernels::thumb2::ends_within;
use core::arch::naked_asm;

/// See [`Isa::gather_tile`](crate::kernels::isa::Isa::gather_tile).
pub(super) fn gather_tile(
    column: &mut [i16],
    first: usize,
    source: &[i8],
    step: usize,
    len: usize,
    pixels: usize,
) {
    let k = column.len() / BLOCK * 4;
    let Some(last) = pixels.min(PIXELS).checked_sub(1) else { return };
    if (first | len) % 4 != 0 || len == 0 || first > k || len > k - first || !ends_within(last, step, len, source.len())
    {
        return;
    }
    if column.as_ptr().addr() % 4 != 0 {
        return any_alignment(column, first, source, step, len, last);
    }
    let start = column.as_mut_ptr().wrapping_add(first * PIXELS);
    let next = |values: *const i8, pixel: usize| values.wrapping_add(if pixel <= last { step } else { 0 });
    let second = next(source.as_ptr(), 1);
    let third = next(second, 2);
    // SAFETY: there are as many blocks as `len` needs from `first` on, aligned, and `len` values of each pixel; the last pixel's
    // stand for those that are missing.
    unsafe {
        widen(start, start.wrapping_add(len * PIXELS), source.as_ptr(), second, third, next(third, 3));
    }
}

/// The same where words cannot be written.
#[cold]
fn any_alignment(column: &mut [i16], first: usize, source: &[i8], step: usize, len: usize, last: usize) {
    for pixel in 0..=last {
        gather(column, first, pixel, source.get(pixel * step..pixel * step + len).unwrap_or_default());
    }
}

/// Widens values of four pixels into whole blocks: 15 instructions for 16 values.
///
/// # Safety
/// From `block` to `end` are blocks, at least one, at a multiple of 4, and as many values are readable for each pixel.
#[unsafe(naked)]
unsafe extern "C" fn widen(
    block: *mut i16,
    end: *const i16,
    first: *const i8,
    second: *const i8,
    third: *const i8,
    fourth: *const i8,
) {
    naked_asm!(
        dsp!(),
        "push {r4-r11, lr}",
        "ldrd r12, lr, [sp, #36]",
        ".p2align 2",
        "1:",
        "ldr r4, [r2], #4", // singly: they need no alignment
        "ldr r6, [r3], #4",
        "ldr r8, [r12], #4",
        "ldr r10, [lr], #4",
        "sxtb16 r5, r4, ror #8",
        "sxtb16 r4, r4",
        "sxtb16 r7, r6, ror #8",
        "sxtb16 r6, r6",
        "sxtb16 r9, r8, ror #8",
        "sxtb16 r8, r8",
        "sxtb16 r11, r10, ror #8",
        "sxtb16 r10, r10",
        "stm r0!, {r4-r11}",
        "cmp r0, r1",
        "bne 1b",
        "pop {r4-r11, pc}",
        options(raw)
    )
}
