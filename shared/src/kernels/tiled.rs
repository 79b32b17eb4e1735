//! Convolutions by tiles: four pixels of an output row at a time, over an instruction set's inner loops.
//!
//! A tile's windows are gathered into a column, as much of them at a time as the scratch memory has room for, and the products
//! are added to `[channels][4]` accumulators. Both sizes are the compiler's choice ([`Tile`]) and change no result.

use super::isa::{Isa, PIXELS};
use super::{Rows, WindowParams};
use crate::model::Constants;
use crate::model::records::padded;
use crate::to_usize;
use core::num::NonZero;
use core::ops::Range;

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

/// Computes pixels of an output row, from `[x, y]` on, of a convolution without groups, without dilation along columns and with
/// symmetric weights.
///
/// # Shapes
/// As the reference's, but `out` holds as many pixels as are to be computed; `scratch`: [`Tile::scratch_bytes`], aligned to 4. Does nothing when it is shorter.
///
/// # Arithmetic
/// That of [`reference::conv2d_row`](super::reference::conv2d_row).
pub fn conv2d_row<I: Isa>(
    p: &WindowParams,
    tile: Tile,
    rows: Rows<'_>,
    [x, y]: [u32; 2],
    constants: &Constants<'_>,
    scratch: &mut [u8],
    out: &mut [i8],
) {
    let [kh, kw] = p.kernel;
    let kernel_row = padded(kw * p.c_in);
    let stride = kh * kernel_row;
    let (Some(accumulators), Some(column)) = split::<I>(scratch, tile) else { return };
    let Some(c_out) = NonZero::new(p.c_out) else { return }; // which the divisions need not look at then
    let parts = Parts::new(kh, kernel_row, tile.values);
    let window = Window::new(p, &rows, y);
    let (mut x, mut out) = (to_usize(x), out);
    while !out.is_empty() {
        let pixels = PIXELS.min(out.len() / c_out);
        let (mut first, mut gathered) = (0, false);
        while first < p.c_out {
            let channels = tile.channels.min(p.c_out - first);
            let (Some(acc), Some(bias)) =
                (accumulators.get_mut(..channels), constants.bias.get(first..first + channels))
            else {
                return;
            };
            for (acc, &bias) in acc.iter_mut().zip(bias) {
                *acc = [bias, bias, bias, bias]; // not a loop, whatever the code is optimized for
            }
            for part in parts {
                let Some(column) = column.get_mut(..PIXELS * part.values()) else { return };
                if !gathered {
                    window.gather::<I>(part, x, pixels, column);
                }
                let Some(weights) = constants.weights.get(first * stride + part.weight(kernel_row)..) else { return };
                if pixels <= 2 {
                    I::accumulate_two(column, weights, stride, acc);
                } else {
                    I::accumulate(column, weights, stride, acc);
                }
            }
            gathered = parts.single(); // the column serves the other channels
            let factors = constants.requantization(first..first + channels, p.output);
            let Some(out) = out.get_mut(first..) else { return };
            I::requantize(acc, &factors, out, p.c_out, pixels);
            first += channels;
        }
        x += pixels;
        out = out.get_mut(pixels * p.c_out..).unwrap_or_default();
    }
}

/// Accumulators and column, where there is room for them.
type Parted<'a, Lane> = (Option<&'a mut [[i32; PIXELS]]>, Option<&'a mut [Lane]>);

/// Accumulators and column in the scratch memory.
fn split<I: Isa>(scratch: &mut [u8], tile: Tile) -> Parted<'_, I::Lane> {
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
    /// Whole rows of a part; 0 when it is a part of one.
    rows: usize,
    row: usize,
    from: usize,
}

impl Parts {
    const fn new(kh: usize, kernel_row: usize, values: usize) -> Self {
        let rows = match values.checked_div(kernel_row) {
            Some(rows) => rows,
            None => 0,
        };
        Self { kh, kernel_row, values, rows, row: 0, from: 0 }
    }

    /// Whether there is one part only.
    const fn single(self) -> bool {
        self.rows >= self.kh
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
        if self.rows != 0 {
            let rows = self.rows.min(self.kh - row);
            self.row += rows;
            return Some(Part { row, rows, from: 0, to: self.kernel_row });
        }
        let to = (from + self.values).min(self.kernel_row);
        (self.row, self.from) = if to == self.kernel_row { (row + 1, 0) } else { (row, to) };
        Some(Part { row, rows: 1, from, to })
    }
}

/// Kernel rows whose input rows are looked up once for an output row. A taller kernel's others are looked up again and again, and all of
/// them on the smallest chips, where the table's code and stack count more.
const NEAR: usize = if cfg!(ocelli_isa = "armv6m") { 0 } else { 5 };

/// The input rows of an output row.
struct Window<'w, 'a> {
    p: &'w WindowParams,
    rows: &'w Rows<'a>,
    y: u32,
    /// Where the near rows begin, or [`OUTSIDE`].
    near: [usize; NEAR],
}

/// The start of a row outside the image.
const OUTSIDE: usize = usize::MAX;

impl<'w, 'a> Window<'w, 'a> {
    #[inline]
    fn new(p: &'w WindowParams, rows: &'w Rows<'a>, y: u32) -> Self {
        let mut window = Self { p, rows, y, near: [OUTSIDE; NEAR] };
        window.look_up_near();
        window
    }

    /// Looks up the near rows: apart from [`new`](Self::new), so that no second window is on the stack.
    #[inline(never)]
    fn look_up_near(&mut self) {
        for ky in 0..self.p.kernel[0].min(NEAR) {
            self.near[ky] = self.look_up(ky);
        }
    }

    #[inline(never)]
    fn look_up(&self, ky: usize) -> usize {
        self.rows.start(self.p.input_row(self.y, ky)).unwrap_or(OUTSIDE)
    }

    /// The input row that a kernel row meets; empty outside the image.
    #[inline]
    fn row(&self, ky: usize) -> &'a [i8] {
        let start = self.near.get(ky).copied().unwrap_or_else(|| self.look_up(ky));
        self.rows.at(start).unwrap_or(&[])
    }

    /// Gathers a part of the windows of `pixels` output pixels from column `x` on; cells outside the image hold the zero point.
    #[inline(never)]
    fn gather<I: Isa>(&self, part: Part, x: usize, pixels: usize, column: &mut [I::Lane]) {
        let p = self.p;
        let (step, before) = (p.stride[1] * p.c_in, p.pad[1] * p.c_in);
        let origin = x * step;
        // Kernel value `k` of a pixel meets value `its origin + k - before` of the input row. All pixels have values from `start` to
        // `end` in the row; what lies beyond the kernel row's own meets weights of zero.
        let to = part.to.min(p.kernel[1] * p.c_in);
        let available = (p.width * p.c_in + before).saturating_sub(origin + (pixels - 1) * step);
        let start = part.from.max(padded(before.saturating_sub(origin))).min(to);
        let end = part.to.min(available & !3).max(start);
        let has_edges = start > part.from || end < to;
        for row in 0..part.rows {
            let input = self.row(part.row + row);
            let at = row * (part.to - part.from);
            if input.is_empty() {
                fill_tile::<I>(column, at, to - part.from, pixels, p.input_zero_point as i8);
                continue;
            }
            if let (true, Some(source)) = (start < end, input.get((origin + start).wrapping_sub(before)..)) {
                I::gather_tile(column, at + start - part.from, source, step, end - start, pixels);
            }
            if has_edges {
                for pixel in 0..pixels {
                    let (origin, at) = (origin + pixel * step, at.wrapping_sub(part.from));
                    self.gather_edge::<I>(input, origin, part.from..start, pixel, at, column);
                    self.gather_edge::<I>(input, origin, end.min(to)..to, pixel, at, column);
                }
            }
        }
    }

    /// Gathers kernel values `span` of one pixel, some of which may lie outside the image; value 0 has place `at`, modulo 2^32.
    #[inline(never)]
    fn gather_edge<I: Isa>(
        &self,
        input: &[i8],
        origin: usize,
        span: Range<usize>,
        pixel: usize,
        at: usize,
        column: &mut [I::Lane],
    ) {
        let before = self.p.pad[1] * self.p.c_in;
        let zero_point = self.p.input_zero_point as i8;
        let Range { start: from, end: to } = span;
        let start = from.max(before.saturating_sub(origin)).min(to);
        let end = to.min((input.len() + before).saturating_sub(origin)).max(start);
        if start > from {
            I::fill(column, at.wrapping_add(from), start - from, pixel, zero_point);
        }
        if let Some(values) = input.get((origin + start).wrapping_sub(before)..(origin + end).wrapping_sub(before)) {
            I::gather(column, at.wrapping_add(start), pixel, values);
        }
        if to > end {
            I::fill(column, at.wrapping_add(end), to - end, pixel, zero_point);
        }
    }
}

/// Fills places of all pixels.
#[inline(never)]
fn fill_tile<I: Isa>(column: &mut [I::Lane], first: usize, count: usize, pixels: usize, value: i8) {
    for pixel in 0..pixels {
        I::fill(column, first, count, pixel, value);
    }
}

/// Computes pixels of an output row, from `[x, y]` on, of a depthwise convolution with a multiplier of 1, symmetric weights and at most
/// [`MAX_CELLS`] cells.
///
/// # Shapes
/// As the reference's, but `out` holds as many pixels as are to be computed; `scratch`: one byte a channel.
///
/// # Arithmetic
/// That of [`reference::depthwise_conv2d_row`](super::reference::depthwise_conv2d_row).
pub fn depthwise_conv2d_row<I: Isa, const CELLS: usize>(
    p: &WindowParams,
    rows: Rows<'_>,
    [x, y]: [u32; 2],
    constants: &Constants<'_>,
    scratch: &mut [u8],
    out: &mut [i8],
) {
    let Some(outside) = scratch.get_mut(..p.c_in) else { return };
    outside.fill(p.input_zero_point as i8 as u8);
    let window = Window::new(p, &rows, y);
    let outside = bytemuck::cast_slice(outside);
    let count = p.kernel[0] * p.kernel[1];
    let mut cells: [&[i8]; CELLS] = [&[]; CELLS];
    if let Some(cells) = cells.get_mut(..count) {
        depthwise_cells::<I>(&window, to_usize(x), cells, constants, outside, out);
    }
}

/// Cells of the windows that most networks have; larger ones take more of the stack.
pub const FEW_CELLS: usize = 9;

/// A row from pixel `first`; a cell outside the image reads from `outside`. In line with the cells: it needs no stack of its own.
#[inline(always)]
fn depthwise_cells<'a, I: Isa>(
    window: &Window<'_, 'a>,
    first: usize,
    cells: &mut [&'a [i8]],
    constants: &Constants<'_>,
    outside: &'a [i8],
    out: &mut [i8],
) {
    let p = window.p;
    let factors = constants.requantization(0..p.c_out, p.output);
    let step = p.stride[1] * p.c_in;
    let stride = padded(p.c_out);
    let inside = window.inside(first + out.len() / p.c_out);
    let (mut x, mut out) = (first, out);
    while !out.is_empty() {
        let pixels = if x < inside.start { 1 } else { inside.end.saturating_sub(x).max(1) };
        window.place_cells(cells, (x * step).wrapping_sub(p.pad[1] * p.c_in), (pixels - 1) * step + p.c_in, outside);
        let Some((pixels_out, others)) = out.split_at_mut_checked(pixels * p.c_out) else { return };
        if pixels == 1 {
            I::depthwise(cells, constants.weights, stride, constants.bias, &factors, pixels_out);
        } else {
            I::depthwise_run(cells, step, constants.weights, stride, constants.bias, &factors, pixels_out);
        }
        x += pixels;
        out = others;
    }
}

impl<'a> Window<'_, 'a> {
    /// Finds `len` values for each cell of the window whose first column begins at value `origin` of a row.
    #[inline(never)]
    fn place_cells(&self, cells: &mut [&'a [i8]], origin: usize, len: usize, outside: &'a [i8]) {
        let p = self.p;
        for (ky, cells) in cells.chunks_exact_mut(p.kernel[1].max(1)).enumerate() {
            let row = self.row(ky);
            let mut at = origin;
            for cell in cells {
                *cell = row.get(at..at.wrapping_add(len)).unwrap_or(outside);
                at = at.wrapping_add(p.dilation[1] * p.c_in);
            }
        }
    }

    /// The output columns, of `width`, whose windows lie inside the image; none where a row of the window does not.
    #[inline(never)]
    fn inside(&self, width: usize) -> Range<usize> {
        let p = self.p;
        if (0..p.kernel[0]).any(|ky| self.row(ky).is_empty()) {
            return 0..0;
        }
        let first = p.pad[1].div_ceil(p.stride[1]);
        let reach = (p.kernel[1] - 1) * p.dilation[1];
        let end = (p.width + p.pad[1]).checked_sub(reach + 1).map_or(0, |last| last / p.stride[1] + 1);
        first..end.min(width)
    }
}
