//! Operators as row kernels: the rows a window covers in, one output row out.

#[cfg(ocelli_isa = "armv6m")]
pub mod armv6m;
pub mod isa;
mod native;
#[cfg(any(ocelli_isa = "armv6m", all(ocelli_isa = "riscv32", target_feature = "m", not(target_feature = "e"))))]
mod pairs;
pub mod portable;
pub mod reference;
#[cfg(all(ocelli_isa = "riscv32", target_feature = "m", not(target_feature = "e")))]
pub mod riscv32;

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

    /// The kernel columns that meet the image for output column `x`, as runs of neighbouring values: where a run begins in an input
    /// row, where in a row of the kernel, and how many values it has. Without dilation there is at most one run.
    #[inline]
    pub fn runs(&self, x: usize) -> impl Iterator<Item = Run> + Clone + use<> {
        let [_, kw] = self.kernel;
        let [_, dilation] = self.dilation;
        let (origin, pad, c_in) = (x * self.stride[1], self.pad[1], self.c_in);
        let first = pad.saturating_sub(origin).div_ceil(dilation);
        let end = (self.width + pad).saturating_sub(origin).div_ceil(dilation).min(kw);
        let cells = if dilation == 1 { end.saturating_sub(first).max(1) } else { 1 };
        (first..end).step_by(cells).map(move |kx| Run {
            input: (origin + kx * dilation - pad) * c_in,
            kernel: kx * c_in,
            len: cells * c_in,
        })
    }
}

/// Neighbouring values of an input row and of a kernel row that meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the first value in the input row.
    pub input: usize,
    /// Index of the first value in the row of the kernel.
    pub kernel: usize,
    /// Number of values, a multiple of the channels.
    pub len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn runs_meet_every_cell_inside_the_image_and_no_other() {
        let output = OutputStage { zero_point: 0, act_min: -128, act_max: 127 };
        for (width, kw, stride, dilation, pad) in
            [(7, 3, 1, 1, 1), (7, 3, 2, 1, 0), (5, 4, 1, 2, 3), (1, 5, 1, 1, 4), (6, 2, 3, 3, 1), (2, 2, 1, 5, 5)]
        {
            let p = WindowParams {
                kernel: [1, kw],
                stride: [1, stride],
                dilation: [1, dilation],
                pad: [0, pad],
                width,
                c_in: 3,
                c_out: 1,
                output,
            };
            for x in 0..4 {
                let cells: Vec<(usize, usize)> =
                    p.runs(x).flat_map(|run| (0..run.len).map(move |i| (run.input + i, run.kernel + i))).collect();
                let expected: Vec<(usize, usize)> = (0..kw)
                    .filter_map(|kx| Some((kx, (x * stride + kx * dilation).checked_sub(pad).filter(|c| *c < width)?)))
                    .flat_map(|(kx, column)| (0..3).map(move |c| (column * 3 + c, kx * 3 + c)))
                    .collect();
                assert_eq!(
                    cells, expected,
                    "width {width}, kernel {kw}, stride {stride}, dilation {dilation}, pad {pad}"
                );
            }
        }
    }
}
