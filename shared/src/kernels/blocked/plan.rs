//! Where the values that an output row reads lie: the input rows are copied to scratch memory once, with their padding.

use super::layout::{BLOCK, Layout};
use crate::kernels::{Rows, WindowParams};

/// Values of a prepared row beyond its last column, which a load may read and a piece may overwrite.
pub(super) const SLACK: usize = 64;

/// The geometry of some rows of a convolution, in values of the prepared input rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Rows of the output.
    pub out_rows: usize,
    /// Columns of the output.
    pub out_width: usize,
    /// Output channels.
    pub c_out: usize,
    /// Kernel rows.
    pub kernel_rows: usize,
    /// Input rows that are prepared.
    prepared_rows: usize,
    /// Values from the first prepared row of an output row to that of the next.
    pub row_step: usize,
    /// Whether output rows share prepared rows: those are then neighbours in the input.
    shared: bool,
    /// Values from one prepared row to the next.
    pub row_len: usize,
    /// Values from one output pixel's window to the next.
    pub pixel_step: usize,
    /// Segments of a kernel row.
    pub segments: usize,
    /// Values from one segment's input to the next.
    pub segment_step: usize,
    /// Groups of a segment.
    pub segment_groups: usize,
    /// Groups of a block of weights.
    pub groups: usize,
}

impl Plan {
    /// Plans `out_rows` rows of `out_width` pixels.
    #[inline]
    pub fn new(p: &WindowParams, out_width: usize, out_rows: usize) -> Self {
        let layout = Layout::new(p.c_out, p.kernel, p.c_in, p.dilation[1]);
        let row_len = columns(p, out_width) * p.c_in + SLACK;
        let (kernel_rows, stride) = (p.kernel[0], p.stride[0]);
        let shared = out_rows > 1 && p.dilation[0] == 1 && stride <= kernel_rows;
        let first_rows = if shared { stride } else { kernel_rows };
        Self {
            out_rows,
            out_width,
            c_out: p.c_out,
            kernel_rows,
            prepared_rows: out_rows.saturating_sub(1) * first_rows + kernel_rows,
            row_step: first_rows * row_len,
            shared,
            row_len,
            pixel_step: p.stride[1] * p.c_in,
            segments: layout.segments(),
            segment_step: p.dilation[1] * p.c_in,
            segment_groups: layout.segment_groups(),
            groups: layout.groups(),
        }
    }

    /// Values of all prepared rows.
    #[inline]
    pub fn prepared_len(&self) -> usize {
        self.prepared_rows * self.row_len
    }

    /// Blocks of output channels.
    #[inline]
    pub fn blocks(&self) -> usize {
        self.c_out.div_ceil(BLOCK)
    }
}

/// Input columns that the windows of an output row cover, padding included.
#[inline]
fn columns(p: &WindowParams, out_width: usize) -> usize {
    out_width.saturating_sub(1) * p.stride[1] + p.kernel[1].saturating_sub(1) * p.dilation[1] + 1
}

/// What is known of a prepared row's values: a run of zero points, or a run of an input row.
pub(super) enum Piece<'a> {
    /// So many values are the zero point.
    Zero(usize),
    /// These values.
    Values(&'a [i8]),
}

/// Calls `place(index, piece)` for each piece of the prepared rows of output rows `y` and following; `index` counts values.
///
/// Pieces come in ascending order: one may overwrite up to [`SLACK`] values after its own.
#[inline(always)]
pub(super) fn prepare(p: &WindowParams, plan: &Plan, rows: Rows<'_>, y: u32, mut place: impl FnMut(usize, Piece<'_>)) {
    let len = plan.row_len - SLACK;
    let left = (p.pad[1] * p.c_in).min(len);
    let middle = (len - left).min(p.width * p.c_in);
    let mut next = (y, 0);
    for start in (0..plan.prepared_rows).map(|index| index * plan.row_len) {
        let (y, ky) = next;
        next = if plan.shared || ky + 1 < plan.kernel_rows { (y, ky + 1) } else { (y + 1, 0) };
        match rows.get(p.input_row(y, ky)).and_then(|row| row.get(..middle)) {
            None => place(start, Piece::Zero(len)),
            Some(row) => {
                if left > 0 {
                    place(start, Piece::Zero(left));
                }
                place(start + left, Piece::Values(row));
                if len > left + middle {
                    place(start + left + middle, Piece::Zero(len - left - middle));
                }
            }
        }
    }
}

/// The geometry of a depthwise row: the input is turned to `[blocks][kh][stride][phase columns][16]`, so that what neighbouring
/// output pixels read lies side by side at any stride.
#[derive(Clone, Copy, Debug)]
pub(super) struct DepthwisePlan {
    /// Columns of the output.
    pub out_width: usize,
    /// Channels.
    pub channels: usize,
    /// Cells of the kernel.
    pub cells: usize,
    /// Bytes of a column phase.
    pub phase_bytes: usize,
    /// Bytes of a prepared row of one block.
    pub row_bytes: usize,
    /// Bytes of a block.
    pub block_bytes: usize,
}

impl DepthwisePlan {
    /// Pixels that a step may compute together: a row is prepared for a multiple of it.
    pub const PIXELS: usize = 4;

    /// Plans a row of `out_len` values.
    #[inline]
    pub fn new(p: &WindowParams, out_len: usize) -> Self {
        let out_width = out_len / p.c_out.max(1);
        let columns = columns(p, out_width.next_multiple_of(Self::PIXELS));
        let phase_bytes = columns.div_ceil(p.stride[1].max(1)) * BLOCK;
        let row_bytes = phase_bytes * p.stride[1];
        Self {
            out_width,
            channels: p.c_out,
            cells: p.kernel[0] * p.kernel[1],
            phase_bytes,
            row_bytes,
            block_bytes: row_bytes * p.kernel[0],
        }
    }

    /// Bytes of all prepared rows.
    #[inline]
    pub fn prepared_bytes(&self) -> usize {
        self.channels.div_ceil(BLOCK) * self.block_bytes
    }

    /// Where output pixel 0 reads kernel cell `(ky, kx)`, from the start of a block; pixel `x` reads `x * 16` bytes further.
    #[inline]
    pub fn cell_offset(&self, p: &WindowParams, ky: usize, kx: usize) -> usize {
        let column = kx * p.dilation[1];
        ky * self.row_bytes + column % p.stride[1] * self.phase_bytes + column / p.stride[1] * BLOCK
    }
}

/// Fills the prepared rows of output row `y`, `flip` exclusive-ored to every byte.
///
/// Lanes beyond the last channel hold whatever follows: their outputs are not kept.
#[inline(always)]
pub(super) fn prepare_depthwise(
    p: &WindowParams,
    plan: &DepthwisePlan,
    zero: i8,
    rows: Rows<'_>,
    y: u32,
    flip: u8,
    scratch: &mut [u8],
) {
    let zero = [zero.cast_unsigned() ^ flip; BLOCK];
    let (stride, pad, step) = (p.stride[1], p.pad[1], p.stride[1] * p.c_in);
    let units = plan.phase_bytes / BLOCK;
    for phase in 0..stride {
        // the column of unit `i` is `i * stride + phase - pad`
        let before = pad.saturating_sub(phase).div_ceil(stride).min(units);
        let column = (before * stride + phase).saturating_sub(pad);
        let inside = p.width.saturating_sub(column).div_ceil(stride).min(units - before);
        for ky in 0..p.kernel[0] {
            let row = rows.get(p.input_row(y, ky));
            for first in (0..plan.channels).step_by(BLOCK) {
                let start = first / BLOCK * plan.block_bytes + ky * plan.row_bytes + phase * plan.phase_bytes;
                let to = scratch[start..start + plan.phase_bytes].as_chunks_mut().0;
                let Some(row) = row else {
                    to.fill(zero);
                    continue;
                };
                to[..before].fill(zero);
                let (to, right) = to[before..].split_at_mut(inside);
                copy_units(to, row.get(column * p.c_in + first..).unwrap_or_default(), step, flip);
                right.fill(zero);
            }
        }
    }
}

/// Copies sixteen bytes, or as many as there are, from each multiple of `step`.
#[inline(always)]
fn copy_units(to: &mut [[u8; BLOCK]], mut from: &[i8], step: usize, flip: u8) {
    if step == BLOCK {
        for (to, &from) in to.as_flattened_mut().iter_mut().zip(from) {
            *to = from.cast_unsigned() ^ flip;
        }
        return;
    }
    for to in to {
        if let Some(from) = from.first_chunk::<BLOCK>() {
            *to = from.map(|v| v.cast_unsigned() ^ flip);
        } else {
            for (to, &from) in to.iter_mut().zip(from) {
                *to = from.cast_unsigned() ^ flip;
            }
        }
        from = from.get(step..).unwrap_or_default();
    }
}
