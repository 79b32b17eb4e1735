//! Crop, resize and colours of a frame, row by row, exact in integers.

use super::shrink::shrink;
use super::{ColorOrder, InputSpec, PixelFormat, Resize};
use crate::ir::Shape;
use core::fmt;

/// Why a frame cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FrameError {
    /// A side of the frame or of the network's input is zero or above 65,535.
    Size,
    /// The scratch memory is too short.
    Scratch {
        /// Words that there are.
        found: usize,
        /// Words that are needed.
        needed: usize,
    },
    /// The frame is so much larger than the network's input that sums would not fit.
    TooLarge,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => f.write_str("the frame's sides must be 1 to 65535 pixels"),
            Self::Scratch { found, needed } => {
                write!(f, "frame conversion needs {needed} words of scratch, got {found}")
            }
            Self::TooLarge => f.write_str("the frame is too large for so small a network input: make it smaller first"),
        }
    }
}

impl core::error::Error for FrameError {}

/// One axis of the resampling: triangle filter, as wide as the larger of the two pixel pitches.
///
/// # Arithmetic
/// In units where a source pixel is `2 out` wide: `weight(i, o) = max(0, 2 max(n, out) - |(2 i + 1) out - (2 o + 1) n|)`, exact in
/// integers. Enlarging it is bilinear interpolation; shrinking it averages over the pixels that an output pixel covers and its
/// neighbours (what Pillow calls bilinear); at equal size it is the identity.
#[derive(Clone, Copy, Debug)]
struct Axis {
    n: i64,
    out: i64,
}

impl Axis {
    fn weight(self, i: i64, o: i64) -> u32 {
        let distance = ((2 * i + 1) * self.out - (2 * o + 1) * self.n).abs();
        u32::try_from((2 * self.n.max(self.out) - distance).max(0)).unwrap_or(0)
    }

    /// Source pixels `first..end` that have a weight for `o`.
    fn support(self, o: i64) -> (i64, i64) {
        let center = (2 * o + 1) * self.n;
        let reach = 2 * self.n.max(self.out);
        let first = (center - reach - self.out).div_euclid(2 * self.out) + 1;
        let end = (center + reach - self.out + 2 * self.out - 1).div_euclid(2 * self.out);
        (first.max(0), end.min(self.n))
    }

    /// Whether sums of weights times 255, and half a weight more for rounding, fit 32 bits: the weights of one output sum to at
    /// most `2 n^2 / out + 4 n`.
    fn fits(self) -> bool {
        let largest = self.n.max(self.out);
        256 * (2 * largest * largest / self.out + 4 * largest) <= i64::from(u32::MAX)
    }
}

/// Converts a frame row by row; each finished row of the network's input is handed out as bytes in the network's colour order.
#[derive(Debug)]
pub struct FrameConverter<'b> {
    format: PixelFormat,
    color: ColorOrder,
    crop: [u32; 4],
    rows: Axis,
    columns: Axis,
    line: &'b mut [u32],
    sums: [&'b mut [u32]; 2],
    weights: [u32; 2],
    next_row: u32,
    next_out: u32,
}

impl<'b> FrameConverter<'b> {
    /// Words of scratch that a network's input needs.
    #[must_use]
    pub fn scratch_words(shape: Shape) -> usize {
        3 * crate::to_usize(shape.row_len().unwrap_or(u32::MAX / 3))
    }

    /// A converter for frames of `width` x `height` pixels.
    ///
    /// # Errors
    /// When a side is zero or above 65,535, the scratch is short, or the frame is too large for the input's size.
    pub fn new(
        spec: &InputSpec,
        format: PixelFormat,
        [width, height]: [u32; 2],
        scratch: &'b mut [u32],
    ) -> Result<Self, FrameError> {
        let Shape { h, w, .. } = spec.shape;
        if [width, height, w, h].iter().any(|&side| side == 0 || side > u32::from(u16::MAX)) {
            return Err(FrameError::Size);
        }
        let crop = crop_rectangle(spec, [width, height]);
        let rows = Axis { n: i64::from(crop[3]), out: i64::from(h) };
        let columns = Axis { n: i64::from(crop[2]), out: i64::from(w) };
        if !rows.fits() || !columns.fits() {
            return Err(FrameError::TooLarge);
        }
        let needed = Self::scratch_words(spec.shape);
        let found = scratch.len();
        let scratch = scratch.get_mut(..needed).ok_or(FrameError::Scratch { found, needed })?;
        let (line, sums) = scratch.split_at_mut(needed / 3);
        let (first, second) = sums.split_at_mut(needed / 3);
        let mut converter = Self {
            format,
            color: spec.color,
            crop,
            rows,
            columns,
            line,
            sums: [first, second],
            weights: [0; 2],
            next_row: 0,
            next_out: 0,
        };
        converter.restart();
        Ok(converter)
    }

    /// Begins the next frame.
    pub fn restart(&mut self) {
        self.next_row = 0;
        self.next_out = 0;
        self.weights = [0; 2];
        for sum in &mut self.sums {
            sum.fill(0);
        }
    }

    /// Takes the next row of the frame; `emit` is called with each finished row of the input and its number. A row shorter than the
    /// frame is read as black beyond its end.
    ///
    /// # Shapes
    /// `row`: [`PixelFormat::row_bytes`] of the frame's width; `emit`'s pixels: `[w, c]`, 0 to 255, one value a word.
    pub fn push_row(&mut self, row: &[u8], mut emit: impl FnMut(u32, &[u32])) {
        let [_, top, _, height] = self.crop;
        let y = self.next_row;
        self.next_row = self.next_row.saturating_add(1);
        let Some(i) = y.checked_sub(top).filter(|&i| i < height) else { return };
        self.resample_line(row);
        let last = i + 1 == height;
        if self.rows.n == self.rows.out {
            return emit(i, self.line);
        }
        let i = i64::from(i);
        if self.rows.n > self.rows.out {
            self.shrink(i, last, &mut emit);
        } else {
            self.enlarge(i, last, &mut emit);
        }
    }

    /// Adds the line to the (at most two) outputs that it has a weight for; hands out those that are complete.
    fn shrink(&mut self, i: i64, last: bool, emit: &mut impl FnMut(u32, &[u32])) {
        for (k, (sum, total)) in (0_i64..).zip(self.sums.iter_mut().zip(&mut self.weights)) {
            let weight = self.rows.weight(i, i64::from(self.next_out) + k);
            if weight > 0 {
                *total += weight;
                for (s, &v) in sum.iter_mut().zip(self.line.iter()) {
                    *s += weight * v;
                }
            }
        }
        while i64::from(self.next_out) < self.rows.out
            && (last || self.rows.weight(i + 1, i64::from(self.next_out)) == 0)
        {
            let total = self.weights[0].max(1);
            for s in self.sums[0].iter_mut() {
                *s = (*s + total / 2) / total;
            }
            emit(self.next_out, self.sums[0]);
            self.sums[0].fill(0);
            self.sums.swap(0, 1);
            self.weights = [self.weights[1], 0];
            self.next_out += 1;
        }
    }

    /// Hands out the rows between the line before and this one.
    fn enlarge(&mut self, i: i64, last: bool, emit: &mut impl FnMut(u32, &[u32])) {
        while i64::from(self.next_out) < self.rows.out
            && (last || self.rows.weight(i + 1, i64::from(self.next_out)) == 0)
        {
            let o = i64::from(self.next_out);
            let before = if i > 0 { self.rows.weight(i - 1, o) } else { 0 };
            let here = self.rows.weight(i, o);
            let total = (before + here).max(1);
            let [previous, out] = &mut self.sums;
            for ((out, &p), &v) in out.iter_mut().zip(previous.iter()).zip(self.line.iter()) {
                *out = (before * p + here * v + total / 2) / total;
            }
            emit(self.next_out, out);
            self.next_out += 1;
        }
        self.sums[0].copy_from_slice(self.line);
    }

    /// Resamples the columns of a frame row into `line`.
    fn resample_line(&mut self, row: &[u8]) {
        if self.columns.n >= self.columns.out {
            self.shrink_line(row);
        } else {
            self.enlarge_line(row);
        }
    }

    fn shrink_line(&mut self, row: &[u8]) {
        let (format, color) = (self.format, self.color);
        let [left, _, width, _] = self.crop.map(crate::to_usize);
        let n = self.crop[2];
        // the layouts that need no arithmetic, where the row is whole
        let bytes = |size: usize| row.get(size * left..size * (left + width));
        match (format, color) {
            (PixelFormat::Gray8, ColorOrder::Gray) => {
                if let Some(row) = bytes(1) {
                    return shrink(n, self.line, row.iter().map(|&value| [value]));
                }
            }
            (PixelFormat::Rgb888, ColorOrder::Rgb | ColorOrder::Bgr) => {
                if let Some(row) = bytes(3) {
                    let (pixels, _) = row.as_chunks();
                    shrink::<3>(n, self.line, pixels.iter().copied());
                    if color == ColorOrder::Bgr {
                        self.line.chunks_exact_mut(3).for_each(<[u32]>::reverse);
                    }
                    return;
                }
            }
            _ => {}
        }
        let pixels = (left..left + width).map(|x| format.channels(row, x, color));
        if color == ColorOrder::Gray {
            shrink(n, self.line, pixels.map(|[luma, ..]| [luma]));
        } else {
            shrink(n, self.line, pixels);
        }
    }

    fn enlarge_line(&mut self, row: &[u8]) {
        let channels = crate::to_usize(self.color.channels());
        let left = i64::from(self.crop[0]);
        for (o, pixel_out) in (0_i64..).zip(self.line.chunks_exact_mut(channels)) {
            let (first, end) = self.columns.support(o);
            let (mut sums, mut total) = ([0_u32; 3], 0_u32);
            for i in first..end {
                let weight = self.columns.weight(i, o);
                let x = usize::try_from(left + i).unwrap_or(0);
                let pixel = self.format.channels(row, x, self.color);
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * u32::from(value);
                }
                total += weight;
            }
            let total = total.max(1);
            for (out, sum) in pixel_out.iter_mut().zip(sums) {
                *out = (sum + total / 2) / total;
            }
        }
    }
}

/// Left, top, width and height of the part of a frame (`[width, height]`) that is used.
#[must_use]
pub fn crop_rectangle(spec: &InputSpec, [width, height]: [u32; 2]) -> [u32; 4] {
    let Shape { h, w, .. } = spec.shape;
    match spec.resize {
        Resize::Stretch => [0, 0, width, height],
        Resize::CenterCrop | Resize::ImagenetCrop => {
            let scaled = |side: u32, numerator: u32, denominator: u32| {
                let exact = u64::from(side) * u64::from(numerator) / u64::from(denominator);
                u32::try_from(exact).unwrap_or(u32::MAX).max(1)
            };
            let crop_w = width.min(scaled(height, w, h));
            let crop_h = height.min(scaled(width, h, w));
            let part = |side: u32| match spec.resize {
                // rounded; at least a pixel of a pixel
                Resize::ImagenetCrop => side - side / 8 - u32::from(side % 8 > 4),
                _ => side,
            };
            let (crop_w, crop_h) = (part(crop_w), part(crop_h));
            [(width - crop_w) / 2, (height - crop_h) / 2, crop_w, crop_h]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    fn spec(h: u32, w: u32, color: ColorOrder, resize: Resize) -> InputSpec {
        InputSpec { shape: Shape::new(h, w, color.channels()), color, resize, mean: [0.0; 3], std: [1.0; 3] }
    }

    /// Converts a whole frame; rows of the result in order.
    fn convert(spec: &InputSpec, format: PixelFormat, [w, h]: [u32; 2], frame: &[u8]) -> Vec<u32> {
        let mut scratch = vec![0; FrameConverter::scratch_words(spec.shape)];
        let mut converter = FrameConverter::new(spec, format, [w, h], &mut scratch).unwrap();
        let mut out = Vec::new();
        let row = usize::try_from(format.row_bytes(w)).unwrap();
        frame.chunks_exact(row).for_each(|row| {
            converter.push_row(row, |y, pixels| {
                assert_eq!(out.len(), crate::to_usize(y) * pixels.len());
                out.extend_from_slice(pixels);
            });
        });
        out
    }

    #[test]
    fn a_frame_of_the_right_size_is_left_alone() {
        let frame: Vec<u8> = (0..28 * 28).map(|i| (i % 251) as u8).collect();
        let out = convert(&spec(28, 28, ColorOrder::Gray, Resize::Stretch), PixelFormat::Gray8, [28, 28], &frame);
        assert!(out.iter().zip(&frame).all(|(&a, &b)| a == u32::from(b)));
    }

    #[test]
    fn white_stays_white_at_every_size_that_is_taken() {
        // the last four are the largest frames that were once taken and summed beyond 32 bits
        for (n, out) in [(1, 1), (1, 9), (9, 1), (7, 5), (5, 7), (640, 96), (5023, 3), (5799, 4), (6484, 5), (7102, 6)]
        {
            for [w, h] in [[n, 2], [2, n]] {
                let [out_w, out_h] = if w == n { [out, 2] } else { [2, out] };
                let spec = spec(out_h, out_w, ColorOrder::Gray, Resize::Stretch);
                let mut scratch = vec![0; FrameConverter::scratch_words(spec.shape)];
                match FrameConverter::new(&spec, PixelFormat::Gray8, [w, h], &mut scratch) {
                    Err(error) => assert_eq!(error, FrameError::TooLarge),
                    Ok(_) => {
                        let white = vec![255; crate::to_usize(w * h)];
                        let result = convert(&spec, PixelFormat::Gray8, [w, h], &white);
                        assert_eq!(result, vec![255; crate::to_usize(out_w * out_h)], "{w}x{h}");
                    }
                }
            }
        }
    }

    /// A pixel of the result by the definition: the weighted mean of a row, rounded.
    fn defined(axis: Axis, o: i64, value: impl Fn(i64) -> u32) -> u32 {
        let (mut sum, mut total) = (0_u64, 0_u64);
        for i in 0..axis.n {
            let weight = u64::from(axis.weight(i, o));
            sum += weight * u64::from(value(i));
            total += weight;
        }
        u32::try_from((sum + total / 2) / total).unwrap()
    }

    #[test]
    fn every_pixel_is_the_weighted_mean_of_the_definition() {
        let formats = [PixelFormat::Gray8, PixelFormat::Rgb888, PixelFormat::Rgb565, PixelFormat::Yuyv];
        let sizes = [(1, 1), (2, 1), (3, 2), (7, 5), (28, 28), (33, 32), (61, 30), (64, 32), (100, 7), (9, 40)];
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let others = sizes.iter().cycle().skip(3); // every width with another height
        for (&(w, out_w), &(h, out_h)) in sizes.iter().zip(others) {
            for (format, color) in
                formats.into_iter().flat_map(|f| [ColorOrder::Gray, ColorOrder::Rgb, ColorOrder::Bgr].map(|c| (f, c)))
            {
                let bytes = usize::try_from(format.row_bytes(w)).unwrap();
                let frame: Vec<u8> = (0..bytes * crate::to_usize(h)).map(|_| noise()).collect();
                let result = convert(&spec(out_h, out_w, color, Resize::Stretch), format, [w, h], &frame);
                let columns = Axis { n: i64::from(w), out: i64::from(out_w) };
                let rows = Axis { n: i64::from(h), out: i64::from(out_h) };
                for c in 0..crate::to_usize(color.channels()) {
                    // columns first, rounded, as the converter does
                    let lines: Vec<Vec<u32>> = frame
                        .chunks(bytes)
                        .map(|row| {
                            let value = |i| u32::from(format.channels(row, usize::try_from(i).unwrap(), color)[c]);
                            (0..columns.out).map(|o| defined(columns, o, value)).collect()
                        })
                        .collect();
                    for (o, y) in (0..rows.out).flat_map(|o| (0..columns.out).map(move |x| (x, o))) {
                        let x = usize::try_from(o).unwrap();
                        let expected = defined(rows, y, |i| lines[usize::try_from(i).unwrap()][x]);
                        let at =
                            (usize::try_from(y * columns.out).unwrap() + x) * crate::to_usize(color.channels()) + c;
                        assert_eq!(result[at], expected, "{w}x{h} to {out_w}x{out_h}, {format:?}, {color:?}: {x}, {y}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_that_is_too_short_is_black_beyond_its_end() {
        let spec = spec(1, 2, ColorOrder::Rgb, Resize::Stretch);
        let mut scratch = vec![0; FrameConverter::scratch_words(spec.shape)];
        let mut converter = FrameConverter::new(&spec, PixelFormat::Rgb888, [4, 1], &mut scratch).unwrap();
        let mut out = Vec::new();
        converter.push_row(&[255; 3], |_, pixels| out.extend_from_slice(pixels));
        // weights 3 and 1 of 3 + 3 + 1: see `Axis::weight`
        assert_eq!(out, [109, 109, 109, 0, 0, 0]);
    }

    #[test]
    fn center_crop_takes_the_middle() {
        // every column holds its number; a square input of a frame twice as wide as high sees the middle half
        let frame: Vec<u8> = (0..4 * 8).map(|i| (i % 8) as u8).collect();
        let out = convert(&spec(4, 4, ColorOrder::Gray, Resize::CenterCrop), PixelFormat::Gray8, [8, 4], &frame);
        assert_eq!(out[..4], [2, 3, 4, 5]);
    }

    #[test]
    fn a_classifier_of_imagenet_sees_seven_eighths_of_the_middle() {
        // the middle 16 columns of 20 are 2 to 17, of these the middle 14 are 3 to 16; of 16 rows 1 to 14
        let frame: Vec<u8> = (0..16 * 20).map(|i| (i % 20 + 10 * (i / 20)) as u8).collect();
        let spec = spec(14, 14, ColorOrder::Gray, Resize::ImagenetCrop);
        let out = convert(&spec, PixelFormat::Gray8, [20, 16], &frame);
        assert_eq!((out[0], out[13], out[14 * 13]), (13, 26, 143));
        for side in 1..40 {
            let [left, top, width, height] = crop_rectangle(&spec, [side, side]);
            assert_eq!(width, (f64::from(side) * 0.875).round() as u32, "{side}");
            assert_eq!(([left, top], height), ([(side - width) / 2; 2], width));
        }
    }

    #[test]
    fn colours_are_ordered_and_decoded() {
        let one = |format, frame: &[u8], color| convert(&spec(1, 1, color, Resize::Stretch), format, [1, 1], frame);
        assert_eq!(one(PixelFormat::Rgb888, &[1, 2, 3], ColorOrder::Rgb), [1, 2, 3]);
        assert_eq!(one(PixelFormat::Rgb888, &[1, 2, 3], ColorOrder::Bgr), [3, 2, 1]);
        assert_eq!(one(PixelFormat::Rgb888, &[255, 255, 255], ColorOrder::Gray), [255]);
        assert_eq!(one(PixelFormat::Rgb565, &[0x00, 0xf8], ColorOrder::Rgb), [255, 0, 0]);
        assert_eq!(one(PixelFormat::Rgb565, &[0xe0, 0x07], ColorOrder::Rgb), [0, 255, 0]);
        // BT.601 full range: pure red is Y 76, U 85, V 255 (JFIF 1.02)
        let red = one(PixelFormat::Yuyv, &[76, 85, 0, 255], ColorOrder::Rgb);
        assert!(red[0] >= 253 && red[1] <= 2 && red[2] <= 2, "{red:?}");
        assert_eq!(one(PixelFormat::Yuyv, &[128, 128, 0, 128], ColorOrder::Rgb), [128; 3]);
    }
}
