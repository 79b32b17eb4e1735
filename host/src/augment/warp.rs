//! One pass over an image: every output pixel is fetched from where a matrix says.

use super::{Affine, Fill};

/// Bits of a bilinear weight: 8 bits of pixel and two weights fill 30 of 32 bits.
const WEIGHT_BITS: u32 = 11;
const ONE: u32 = 1 << WEIGHT_BITS;

/// Fetches every output pixel from its place in `source` by bilinear interpolation; pixels outside of the image are those that
/// `fill` says (`value` for [`Fill::Constant`], which is mixed in at the border as everything is).
///
/// Flips and shifts by whole pixels are copies, exact to the bit.
///
/// # Shapes
/// `source` and `out` are `[h, w, c]` with the sizes in `shape`, none of them zero.
///
/// # Panics
/// When a slice has another length.
pub fn warp(source: &[u8], shape: [usize; 3], affine: &Affine, fill: Fill, value: u8, out: &mut [u8]) {
    let [height, width, channels] = shape;
    assert_eq!(source.len(), height * width * channels, "the source is not of the shape {shape:?}");
    assert_eq!(out.len(), source.len(), "the output is not of the shape {shape:?}");
    if let Some(map) = affine.as_whole_pixels() {
        return match map {
            [1, 0, 1, 0] => out.copy_from_slice(source),
            _ => copy(source, shape, map, fill, value, out),
        };
    }
    match channels {
        1 => bilinear::<1>(source, [height, width], affine, fill, value, out),
        3 => bilinear::<3>(source, [height, width], affine, fill, value, out),
        4 => bilinear::<4>(source, [height, width], affine, fill, value, out),
        _ => {
            // any other number of channels: one at a time
            for channel in 0..channels {
                let plane: Vec<u8> = source.iter().copied().skip(channel).step_by(channels).collect();
                let mut warped = vec![0; plane.len()];
                bilinear::<1>(&plane, [height, width], affine, fill, value, &mut warped);
                out.iter_mut().skip(channel).step_by(channels).zip(warped).for_each(|(out, value)| *out = value);
            }
        }
    }
}

impl Fill {
    /// The pixel of `0..length` that stands at `at`; `None` for the fill value.
    fn index(self, at: i64, length: usize) -> Option<usize> {
        let n = i64::try_from(length).unwrap_or(i64::MAX);
        let inside = match self {
            _ if (0..n).contains(&at) => at,
            Self::Nearest => at.clamp(0, n - 1),
            Self::Reflect => {
                let turn = at.rem_euclid(2 * n);
                turn.min(2 * n - 1 - turn)
            }
            Self::Wrap => at.rem_euclid(n),
            Self::Constant => return None,
        };
        usize::try_from(inside).ok()
    }
}

fn copy(source: &[u8], [height, width, c]: [usize; 3], map: [i64; 4], fill: Fill, value: u8, out: &mut [u8]) {
    let [sign_x, x0, sign_y, y0] = map;
    let places = |sign: i64, start: i64, length: usize| -> Vec<Option<usize>> {
        (0_i64..).take(length).map(|i| fill.index(sign * i + start, length)).collect()
    };
    let (columns, rows) = (places(sign_x, x0, width), places(sign_y, y0, height));
    for (out, row) in out.chunks_exact_mut(width * c).zip(rows) {
        let Some(row) = row else {
            out.fill(value);
            continue;
        };
        let from = &source[row * width * c..(row + 1) * width * c];
        for (out, column) in out.chunks_exact_mut(c).zip(&columns) {
            match column {
                Some(column) => out.copy_from_slice(&from[column * c..(column + 1) * c]),
                None => out.fill(value),
            }
        }
    }
}

fn bilinear<const C: usize>(
    source: &[u8],
    [height, width]: [usize; 2],
    affine: &Affine,
    fill: Fill,
    value: u8,
    out: &mut [u8],
) {
    let line = width * C;
    // places in 1/2^32 of a pixel, so that a row's sum of steps is exact enough for any image
    let (step_x, step_y) = (fixed(affine.xx), fixed(affine.yx));
    for (y, out) in out.chunks_exact_mut(line).enumerate() {
        let y = y as f64;
        let (mut at_x, mut at_y) = (fixed(affine.xy * y + affine.x0), fixed(affine.yy * y + affine.y0));
        for out in out.chunks_exact_mut(C) {
            let (x, y) = (at_x >> 32, at_y >> 32);
            let (wx, wy) = (weight(at_x), weight(at_y));
            let inside = |at: i64, length: usize| usize::try_from(at).ok().filter(|&at| at + 1 < length);
            if let (Some(x), Some(y)) = (inside(x, width), inside(y, height)) {
                let top = &source[y * line + x * C..][..2 * C];
                let bottom = &source[(y + 1) * line + x * C..][..2 * C];
                for c in 0..C {
                    out[c] = blend([top[c], top[c + C], bottom[c], bottom[c + C]], wx, wy);
                }
            } else {
                let columns = [fill.index(x, width), fill.index(x + 1, width)];
                let rows = [fill.index(y, height), fill.index(y + 1, height)];
                for (c, out) in out.iter_mut().enumerate() {
                    let tap = |row: usize, column: usize| match (rows[row], columns[column]) {
                        (Some(y), Some(x)) => source[y * line + x * C + c],
                        _ => value,
                    };
                    *out = blend([tap(0, 0), tap(0, 1), tap(1, 0), tap(1, 1)], wx, wy);
                }
            }
            at_x = at_x.wrapping_add(step_x);
            at_y = at_y.wrapping_add(step_y);
        }
    }
}

/// In 1/2^32; the conversion saturates.
fn fixed(value: f64) -> i64 {
    (value * 4_294_967_296.0).round() as i64
}

/// The fraction's upper bits.
fn weight(at: i64) -> u32 {
    (at as u32) >> (32 - WEIGHT_BITS)
}

/// The mean of top left, top right, bottom left and bottom right by the weights of right and bottom.
fn blend(taps: [u8; 4], right: u32, bottom: u32) -> u8 {
    let [a, b, c, d] = taps.map(u32::from);
    let top = a * (ONE - right) + b * right;
    let low = c * (ONE - right) + d * right;
    // below 2^30: 255 times the square of ONE
    ((top * (ONE - bottom) + low * bottom + (1 << (2 * WEIGHT_BITS - 1))) >> (2 * WEIGHT_BITS)) as u8
}

#[cfg(test)]
#[path = "warp_tests.rs"]
mod tests;
