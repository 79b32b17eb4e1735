//! Where the values that an output row reads lie: the input rows are copied to scratch memory once, with their padding.

use super::layout::{BLOCK, Layout};
use crate::kernels::{Rows, WindowParams};

/// Values that a load may read beyond the last column.
const SLACK: usize = 16;

/// The geometry of a convolution's row, in values of the prepared input rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Columns of the output.
    pub out_width: usize,
    /// Output channels.
    pub c_out: usize,
    /// Kernel rows.
    pub kernel_rows: usize,
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
    /// Plans a row of `out_len` values.
    #[inline]
    pub fn new(p: &WindowParams, out_len: usize) -> Self {
        let layout = Layout::new(p.c_out, p.kernel, p.c_in, p.dilation[1]);
        let out_width = out_len / p.c_out.max(1);
        let columns = columns(p, out_width);
        Self {
            out_width,
            c_out: p.c_out,
            kernel_rows: p.kernel[0],
            row_len: columns * p.c_in + SLACK,
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
        self.kernel_rows * self.row_len
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

/// Calls `place(index, piece)` for each piece of the prepared rows of output row `y`; `index` counts values.
#[inline(always)]
pub(super) fn prepare(p: &WindowParams, plan: &Plan, rows: Rows<'_>, y: u32, mut place: impl FnMut(usize, Piece<'_>)) {
    let len = plan.row_len - SLACK;
    let left = (p.pad[1] * p.c_in).min(len);
    let middle = (len - left).min(p.width * p.c_in);
    for ky in 0..plan.kernel_rows {
        let start = ky * plan.row_len;
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
    let stride = p.stride[1];
    let lines = scratch.chunks_exact_mut(plan.row_bytes.max(1));
    for (line, to) in lines.enumerate().take(plan.channels.div_ceil(BLOCK) * p.kernel[0]) {
        let (first, ky) = (line / p.kernel[0] * BLOCK, line % p.kernel[0]);
        let row = rows.get(p.input_row(y, ky)).unwrap_or_default();
        for (phase, to) in to.chunks_exact_mut(plan.phase_bytes).enumerate() {
            // the column of unit `i` is `i * stride + phase - pad`
            let before = p.pad[1].saturating_sub(phase).div_ceil(stride);
            let (left, rest) = to.as_chunks_mut::<BLOCK>().0.split_at_mut(before.min(plan.phase_bytes / BLOCK));
            left.fill(zero);
            let start = (before * stride + phase - p.pad[1].min(before * stride + phase)) * p.c_in + first;
            let inside = (row.len() + first).saturating_sub(start).div_ceil(stride * p.c_in).min(rest.len());
            let (middle, right) = rest.split_at_mut(inside);
            right.fill(zero);
            for (i, to) in middle.iter_mut().enumerate() {
                let from = row.get(start + i * stride * p.c_in..).unwrap_or_default();
                if let Some(from) = from.first_chunk::<BLOCK>() {
                    *to = from.map(|v| v.cast_unsigned() ^ flip);
                } else {
                    for (to, &from) in to.iter_mut().zip(from) {
                        *to = from.cast_unsigned() ^ flip;
                    }
                }
            }
        }
    }
}
