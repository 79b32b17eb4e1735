//! Values of all pixels of a tile into a column, in which `k` values of the four pixels take `4 * k` lanes.

use super::ends_within;
use crate::kernels::isa::PIXELS;

/// The loop of an instruction set: from the first lane to the end, given each pixel's first value.
///
/// # Safety
/// The lanes start at a multiple of 4 bytes and are 16 or a multiple of it; a fourth of as many values are readable for each pixel.
pub(in crate::kernels) type Run =
    unsafe extern "C" fn(*mut i16, *const i16, *const i8, *const i8, *const i8, *const i8);

/// Puts values of one pixel in their places.
pub(in crate::kernels) type Gather = fn(&mut [i16], usize, usize, &[i8]);

/// See [`Isa::gather_tile`](crate::kernels::isa::Isa::gather_tile). `gather` does for a column of any alignment.
#[inline(always)]
pub(in crate::kernels) fn gather_tile(
    column: &mut [i16],
    first: usize,
    source: &[i8],
    [step, len, pixels]: [usize; 3],
    run: Run,
    gather: Gather,
) {
    let k = column.len() / (4 * PIXELS) * 4;
    let Some(last) = pixels.min(PIXELS).checked_sub(1) else { return };
    if (first | len) % 4 != 0 || len == 0 || first > k || len > k - first || !ends_within(last, step, len, source.len())
    {
        return;
    }
    if column.as_ptr().addr() % 4 != 0 {
        return any_alignment(column, first, source, [step, len, last], gather);
    }
    let start = column.as_mut_ptr().wrapping_add(first * PIXELS);
    let next = |values: *const i8, pixel: usize| values.wrapping_add(if pixel <= last { step } else { 0 });
    let second = next(source.as_ptr(), 1);
    let third = next(second, 2);
    // SAFETY: the lanes from `first` on are in the column, aligned, and `len` is a multiple of 4 and not 0; every pixel has as many
    // values; the last pixel's stand for those that are missing.
    unsafe { run(start, start.wrapping_add(len * PIXELS), source.as_ptr(), second, third, next(third, 3)) };
}

/// The same where words cannot be written.
#[cold]
fn any_alignment(column: &mut [i16], first: usize, source: &[i8], [step, len, last]: [usize; 3], gather: Gather) {
    for pixel in 0..=last {
        gather(column, first, pixel, source.get(pixel * step..pixel * step + len).unwrap_or_default());
    }
}
