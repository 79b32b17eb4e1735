//! Brightness, contrast, saturation and hue as one linear map of a pixel's channels.

use ocelli::image::ColorOrder;

/// Shares of red, green and blue in luma (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// `out = matrix in + offset` for red, green and blue, rounded and clamped to `0..=255` once, at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorTransform {
    matrix: [[f32; 3]; 3],
    offset: [f32; 3],
}

impl ColorTransform {
    /// Every colour stays.
    pub const IDENTITY: Self = Self { matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], offset: [0.0; 3] };

    /// All channels times `factor`.
    #[must_use]
    pub fn brightness(factor: f32) -> Self {
        let mut result = Self::IDENTITY;
        (0..3).for_each(|c| result.matrix[c][c] = factor);
        result
    }

    /// The distance of each channel to its mean times `factor` (`tf.image.adjust_contrast`).
    #[must_use]
    pub fn contrast(factor: f32, mean: [f32; 3]) -> Self {
        Self { offset: mean.map(|mean| mean * (1.0 - factor)), ..Self::brightness(factor) }
    }

    /// The distance of each channel to the pixel's luma times `factor`: 0 is gray, as Pillow's `ImageEnhance.Color` has it.
    #[must_use]
    pub fn saturation(factor: f32) -> Self {
        let mut result = Self::brightness(factor);
        for row in &mut result.matrix {
            (0..3).for_each(|c| row[c] += (1.0 - factor) * LUMA[c]);
        }
        result
    }

    /// Turns the colour circle by a share of a full turn, red towards green: a rotation in the plane of YIQ's chroma, luma kept.
    ///
    /// # Source
    /// FCC NTSC, 1953: `I = 0.5959 R - 0.2746 G - 0.3213 B`, `Q = 0.2115 R - 0.5227 G + 0.3112 B`.
    #[must_use]
    pub fn hue(turn: f32) -> Self {
        const TO_YIQ: [[f32; 3]; 3] = [LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]];
        const FROM_YIQ: [[f32; 3]; 3] = [[1.0, 0.956, 0.619], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]];
        if turn == 0.0 {
            return Self::IDENTITY; // not the product of two rounded matrices
        }
        let (sin, cos) = (std::f32::consts::TAU * turn).sin_cos();
        // from red over green to blue, which lie at 20, 242 and 136 degrees of the plane
        let rotation = [[1.0, 0.0, 0.0], [0.0, cos, sin], [0.0, -sin, cos]];
        Self { matrix: product(FROM_YIQ, product(rotation, TO_YIQ)), offset: [0.0; 3] }
    }

    /// First `first`, then `self`.
    #[must_use]
    pub fn after(self, first: Self) -> Self {
        let offset =
            std::array::from_fn(|r| (0..3).map(|c| self.matrix[r][c] * first.offset[c]).sum::<f32>() + self.offset[r]);
        Self { matrix: product(self.matrix, first.matrix), offset }
    }

    /// Changes all pixels of an image; of a gray image, by what the map does to the first channel alone.
    pub fn apply(&self, pixels: &mut [u8], color: ColorOrder) {
        let diagonal = (0..3).all(|r| (0..3).all(|c| r == c || self.matrix[r][c] == 0.0));
        let table =
            |c: usize| -> [u8; 256] { std::array::from_fn(|v| byte(self.matrix[c][c] * v as f32 + self.offset[c])) };
        match color {
            ColorOrder::Gray => {
                let table = table(0);
                pixels.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
            }
            ColorOrder::Rgb | ColorOrder::Bgr if diagonal => {
                let mut tables = [table(0), table(1), table(2)];
                if color == ColorOrder::Bgr {
                    tables.reverse();
                }
                for pixel in pixels.chunks_exact_mut(3) {
                    pixel.iter_mut().zip(&tables).for_each(|(v, table)| *v = table[usize::from(*v)]);
                }
            }
            ColorOrder::Rgb => self.mix([0, 1, 2], pixels),
            ColorOrder::Bgr => self.mix([2, 1, 0], pixels),
        }
    }

    /// `order` says where a pixel has its red, green and blue.
    fn mix(&self, order: [usize; 3], pixels: &mut [u8]) {
        for pixel in pixels.chunks_exact_mut(3) {
            let [r, g, b] = order.map(|c| f32::from(pixel[c]));
            for ((row, offset), at) in self.matrix.iter().zip(self.offset).zip(order) {
                pixel[at] = byte(row[0] * r + row[1] * g + row[2] * b + offset);
            }
        }
    }
}

/// Rounds half up, saturating.
fn byte(value: f32) -> u8 {
    (value + 0.5) as u8
}

fn product(a: [[f32; 3]; 3], b: [[f32; 3]; 3]) -> [[f32; 3]; 3] {
    std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| a[r][k] * b[k][c]).sum()))
}

#[cfg(test)]
#[path = "color_tests.rs"]
mod tests;
