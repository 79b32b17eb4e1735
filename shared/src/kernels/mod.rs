//! Operators as row kernels: the rows a window covers in, one output row out.

pub mod blocked;
#[cfg(ocelli_isa = "armv7em")]
mod armv7em;
#[cfg(ocelli_isa = "armv6m")]
pub mod armv6m;
pub mod isa;
mod native;
#[cfg(any(test, ocelli_isa = "armv6m", ocelli_isa = "riscv32"))]
mod pairs;
pub mod portable;
pub mod reference;
pub mod tiled;

pub use native::Native;

use crate::quant::OutputStage;
use crate::to_usize;

/// The rows of a tensor that a step may read: a ring, or the whole tensor when the ring is as tall.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [i8],
    row_len: usize,
    slots: usize,
    height: i64,
}

impl<'a> Rows<'a> {
    /// Views `data` as `slots` rows of `row_len` values, holding a tensor of `height` rows; row `y` lies in slot `y % slots`.
    #[must_use]
    pub fn new(data: &'a [i8], row_len: usize, slots: u32, height: u32) -> Self {
        Self { data, row_len, slots: to_usize(slots.max(1)), height: i64::from(height) }
    }

    /// Row `y`, or `None` above and below the image.
    #[inline]
    #[must_use]
    pub fn get(&self, y: i64) -> Option<&'a [i8]> {
        if y >= self.height {
            return None;
        }
        let start = usize::try_from(y).ok()? % self.slots * self.row_len;
        self.data.get(start..start + self.row_len)
    }
}

/// Geometry of a windowed operator, worked out for the input at hand.
#[derive(Clone, Copy, Debug)]
pub struct WindowParams {
    /// Kernel `[kh, kw]`.
    pub kernel: [usize; 2],
    /// Stride `[rows, columns]`.
    pub stride: [usize; 2],
    /// Dilation `[rows, columns]`.
    pub dilation: [usize; 2],
    /// Padding cells at the top and left.
    pub pad: [usize; 2],
    /// Input columns.
    pub width: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Groups of a conv2d; output channels an input channel of a depthwise one.
    pub groups: usize,
    /// The input's zero point.
    pub input_zero_point: i32,
    /// What every weight is short of its real value.
    pub weight_zero_point: i32,
    /// What follows the sum.
    pub output: OutputStage,
}

impl WindowParams {
    /// The input row that kernel row `ky` meets for output row `y`; may lie outside the image.
    #[inline]
    #[must_use]
    pub fn input_row(&self, y: u32, ky: usize) -> i64 {
        i64::from(y) * self.stride[0] as i64 + (ky * self.dilation[0]) as i64 - self.pad[0] as i64
    }

    /// The channels of the input pixel that kernel cell `[ky, kx]` meets for output pixel `[y, x]`; `None` outside the image.
    #[inline]
    #[must_use]
    pub fn input_pixel<'a>(&self, rows: Rows<'a>, y: u32, x: usize, ky: usize, kx: usize) -> Option<&'a [i8]> {
        let row = rows.get(self.input_row(y, ky))?;
        let column = (x * self.stride[1] + kx * self.dilation[1]).checked_sub(self.pad[1])?;
        row.get(column * self.c_in..(column + 1) * self.c_in)
    }
}
