//! Convolutions by tiles: four pixels of an output row at a time, over an instruction set's inner loops.
//!
//! A tile's windows are gathered into a column, as much of them at a time as the scratch memory has room for, and the products
//! are added to `[channels][4]` accumulators. Both sizes are the compiler's choice ([`Tile`]) and change no result.

use super::isa::{Isa, PIXELS};
use super::{Rows, WindowParams};
use crate::model::Constants;
use crate::model::records::padded;

/// Most cells of a depthwise window that is computed by tiles; a larger one takes the reference kernel.
pub const MAX_CELLS: usize = 25;

/// How much of a convolution is computed at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Values of a pixel's window, a multiple of 4: a part of a kernel row (padded), or some whole rows.
    pub values: usize,
    /// Output channels.
    pub channels: usize,
}

impl Tile {
    /// Scratch bytes of a conv2d for values widened to `lane_bytes`.
    #[must_use]
    pub const fn scratch_bytes(self, lane_bytes: usize) -> usize {
        size_of::<[i32; PIXELS]>() * self.channels + PIXELS * lane_bytes * self.values
    }
}

/// Computes output row `y` of a convolution without groups, without dilation along columns and with symmetric weights.
///
/// # Shapes
/// As the reference's; `scratch`: [`Tile::scratch_bytes`], aligned to 4. Does nothing when it is shorter.
///
/// # Arithmetic
/// That of [`reference::conv2d_row`](super::reference::conv2d_row).
pub fn conv2d_row<I: Isa>(
    p: &WindowParams,
    tile: Tile,
    rows: Rows<'_>,
    y: u32,
    constants: &Constants<'_>,
    scratch: &mut [u8],
    out: &mut [i8],
) {
    let [kh, kw] = p.kernel;
    let kernel_row = padded(kw * p.c_in);
    let stride = kh * kernel_row;
    let (Some(accumulators), Some(column)) = split::<I>(scratch, tile) else { return };
    let width = out.len() / p.c_out.max(1);
    let parts = Parts::new(kh, kernel_row, tile.values);
    for x in (0..width).step_by(PIXELS) {
        let pixels = PIXELS.min(width - x);
        let mut gathered = false;
        for first in (0..p.c_out).step_by(tile.channels) {
            let channels = tile.channels.min(p.c_out - first);
            let (Some(acc), Some(bias)) =
                (accumulators.get_mut(..channels), constants.bias.get(first..first + channels))
            else {
                return;
            };
            for (acc, &bias) in acc.iter_mut().zip(bias) {
                *acc = [bias; PIXELS];
            }
            for part in parts {
                let len = part.values();
                let Some(column) = column.get_mut(..PIXELS * len) else { return };
                if !gathered {
                    for pixel in 0..pixels {
                        gather::<I>(p, part, rows, [x + pixel, y as usize], pixel, column);
                    }
                }
                let Some(weights) = constants.weights.get(first * stride + part.weight(kernel_row)..) else { return };
                I::accumulate(column, weights, stride, acc);
            }
            gathered = parts.single(); // the column serves the other channels
            let factors = constants.requantization(first..first + channels, p.output);
            if let Some(out) = out.get_mut(x * p.c_out + first..) {
                I::requantize(acc, &factors, out, p.c_out, pixels);
            }
        }
    }
}

/// Accumulators and column in the scratch memory.
fn split<I: Isa>(scratch: &mut [u8], tile: Tile) -> (Option<&mut [[i32; PIXELS]]>, Option<&mut [I::Lane]>) {
    let at = size_of::<[i32; PIXELS]>() * tile.channels;
    let Some((accumulators, column)) = scratch.split_at_mut_checked(at) else { return (None, None) };
    let column = column.get_mut(..PIXELS * size_of::<I::Lane>() * tile.values);
    (
        bytemuck::try_cast_slice_mut(accumulators).ok(),
        column.and_then(|column| bytemuck::try_cast_slice_mut(column).ok()),
    )
}

/// A part of a window: `rows` whole kernel rows from `row`, or values `from..to` of one.
#[derive(Clone, Copy, Debug)]
struct Part {
    row: usize,
    rows: usize,
    from: usize,
    to: usize,
}

impl Part {
    const fn values(self) -> usize {
        self.rows * (self.to - self.from)
    }

    /// Index of the part's first weight in a filter.
    const fn weight(self, kernel_row: usize) -> usize {
        self.row * kernel_row + self.from
    }
}

/// The parts of a window, in order.
#[derive(Clone, Copy, Debug)]
struct Parts {
    kh: usize,
    kernel_row: usize,
    values: usize,
    row: usize,
    from: usize,
}

impl Parts {
    const fn new(kh: usize, kernel_row: usize, values: usize) -> Self {
        Self { kh, kernel_row, values, row: 0, from: 0 }
    }

    /// Whether there is one part only.
    const fn single(self) -> bool {
        self.values >= self.kh * self.kernel_row
    }
}

impl Iterator for Parts {
    type Item = Part;

    #[inline]
    fn next(&mut self) -> Option<Part> {
        if self.row >= self.kh || self.values == 0 {
            return None;
        }
        let Self { row, from, .. } = *self;
        if self.values >= self.kernel_row {
            let rows = (self.values / self.kernel_row).min(self.kh - row);
            self.row += rows;
            return Some(Part { row, rows, from: 0, to: self.kernel_row });
        }
        let to = (from + self.values).min(self.kernel_row);
        (self.row, self.from) = if to == self.kernel_row { (row + 1, 0) } else { (row, to) };
        Some(Part { row, rows: 1, from, to })
    }
}

/// Gathers a part of the window of output pixel `[x, y]`; cells outside the image hold the zero point.
fn gather<I: Isa>(
    p: &WindowParams,
    part: Part,
    rows: Rows<'_>,
    [x, y]: [usize; 2],
    pixel: usize,
    column: &mut [I::Lane],
) {
    let zero_point = p.input_zero_point as i8;
    let to = part.to.min(p.kernel[1] * p.c_in); // the padding of a kernel row meets weights of zero
    let row_len = p.width * p.c_in;
    // kernel value `k` meets value `origin + k - before` of the input row
    let (origin, before) = (x * p.stride[1] * p.c_in, p.pad[1] * p.c_in);
    let start = part.from.max(before.saturating_sub(origin)).min(to);
    let end = to.min((row_len + before).saturating_sub(origin)).max(start);
    for row in 0..part.rows {
        let at = row * (part.to - part.from);
        let input = rows.get(p.input_row(y as u32, part.row + row));
        match input
            .and_then(|input| input.get((origin + start).wrapping_sub(before)..(origin + end).wrapping_sub(before)))
        {
            Some(values) => {
                if start > part.from {
                    I::fill(column, at, start - part.from, pixel, zero_point);
                }
                I::gather(column, at + start - part.from, pixel, values);
                if to > end {
                    I::fill(column, at + end - part.from, to - end, pixel, zero_point);
                }
            }
            None => I::fill(column, at, to - part.from, pixel, zero_point),
        }
    }
}

/// Computes output row `y` of a depthwise convolution with a multiplier of 1, symmetric weights and at most [`MAX_CELLS`] cells.
///
/// # Shapes
/// As the reference's; `scratch`: one byte a channel.
///
/// # Arithmetic
/// That of [`reference::depthwise_conv2d_row`](super::reference::depthwise_conv2d_row).
pub fn depthwise_conv2d_row<I: Isa>(
    p: &WindowParams,
    rows: Rows<'_>,
    y: u32,
    constants: &Constants<'_>,
    scratch: &mut [u8],
    out: &mut [i8],
) {
    let [kh, kw] = p.kernel;
    let Some(outside) = scratch.get_mut(..p.c_in) else { return };
    outside.fill(p.input_zero_point as i8 as u8);
    let outside: &[i8] = bytemuck::cast_slice(outside);
    let mut cells: [&[i8]; MAX_CELLS] = [&[]; MAX_CELLS];
    let Some(cells) = cells.get_mut(..kh * kw) else { return };
    let factors = constants.requantization(0..p.c_out, p.output);
    for (x, pixel) in out.chunks_exact_mut(p.c_out).enumerate() {
        for (ky, cells) in cells.chunks_exact_mut(kw).enumerate() {
            let row = rows.get(p.input_row(y, ky)).unwrap_or(&[]);
            for (kx, cell) in cells.iter_mut().enumerate() {
                let at = (x * p.stride[1] + kx * p.dilation[1]).wrapping_sub(p.pad[1]).wrapping_mul(p.c_in);
                *cell = row.get(at..at.wrapping_add(p.c_in)).unwrap_or(outside);
            }
        }
        I::depthwise(cells, constants.weights, padded(p.c_out), constants.bias, &factors, pixel);
    }
}
