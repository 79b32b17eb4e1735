//! Operators as row kernels: the rows a window covers in, one output row out.

#[cfg(ocelli_isa = "armv6m")]
mod armv6m;
#[cfg(ocelli_isa = "armv7em")]
mod armv7em;
#[cfg(ocelli_isa = "armv7m")]
mod armv7m;
pub mod blocked;
pub mod isa;
mod native;
#[cfg(any(ocelli_isa = "armv6m", all(ocelli_isa = "riscv32", target_feature = "m", not(target_feature = "e"))))]
mod pairs;
pub mod portable;
pub mod reference;
#[cfg(all(ocelli_isa = "riscv32", target_feature = "m", not(target_feature = "e")))]
mod riscv32;
#[cfg(any(ocelli_isa = "armv7em", ocelli_isa = "armv7m"))]
mod thumb2;
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
    height: u32,
}

impl<'a> Rows<'a> {
    /// Views `data` as `slots` rows of `row_len` values, holding a tensor of `height` rows; row `y` lies in slot `y % slots`.
    #[must_use]
    pub fn new(data: &'a [i8], row_len: usize, slots: u32, height: u32) -> Self {
        Self { data, row_len, slots: to_usize(slots.max(1)), height }
    }

    /// Row `y`, or `None` below the image, and above it, where `y` has wrapped ([`WindowParams::input_row`]).
    #[inline]
    #[must_use]
    pub fn get(&self, y: u32) -> Option<&'a [i8]> {
        self.at(self.start(y)?)
    }

    /// Where row `y` begins in the data.
    #[inline]
    pub(crate) fn start(&self, y: u32) -> Option<usize> {
        let y = Some(y).filter(|&y| y < self.height)?;
        Some(to_usize(y).checked_rem(self.slots)?.wrapping_mul(self.row_len))
    }

    /// The row that begins at `start`.
    #[inline]
    pub(crate) fn at(&self, start: usize) -> Option<&'a [i8]> {
        self.data.get(start..start.wrapping_add(self.row_len))
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
    /// The input row that kernel row `ky` meets for output row `y`; may lie below the image, and above it wraps below 0 to numbers that no
    /// height reaches: the last row of the padded image fits 32 bits (checked when a model is loaded), and padding is below 2^16.
    #[inline]
    #[must_use]
    pub const fn input_row(&self, y: u32, ky: usize) -> u32 {
        let row = y.wrapping_mul(self.stride[0] as u32).wrapping_add((ky * self.dilation[0]) as u32);
        row.wrapping_sub(self.pad[0] as u32)
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
