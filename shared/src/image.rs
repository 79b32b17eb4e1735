//! From a camera frame to the network's input: crop, resize, colour order, quantization. Training and the board share this code.
//!
//! Frames are taken row by row and never held: [`FrameConverter`] keeps one line and two accumulators.

mod convert;
mod shrink;

pub use convert::{FrameConverter, FrameError, crop_rectangle};

use crate::ir::Shape;

/// The channels that a network expects, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ColorOrder {
    /// One channel of luma: `0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601), in 1/256.
    #[default]
    Gray,
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

impl ColorOrder {
    /// The code in a model file.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Gray => 0,
            Self::Rgb => 1,
            Self::Bgr => 2,
        }
    }

    /// The order that a code in a model file stands for.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Gray),
            1 => Some(Self::Rgb),
            2 => Some(Self::Bgr),
            _ => None,
        }
    }

    /// Number of channels.
    #[must_use]
    pub const fn channels(self) -> u32 {
        match self {
            Self::Gray => 1,
            Self::Rgb | Self::Bgr => 3,
        }
    }
}

/// How a frame of another size or aspect becomes the network's input size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Resize {
    /// The whole frame, its aspect changed where it must be.
    #[default]
    Stretch,
    /// The largest centred part that has the network's aspect.
    CenterCrop,
    /// Of that part the middle, seven eighths of each side: what classifiers of ImageNet are judged on, 224 pixels of a side of 256.
    ImagenetCrop,
}

impl Resize {
    /// All rules.
    pub const ALL: [Self; 3] = [Self::Stretch, Self::CenterCrop, Self::ImagenetCrop];

    /// The code in a model file.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Stretch => 0,
            Self::CenterCrop => 1,
            Self::ImagenetCrop => 2,
        }
    }

    /// The rule that a code in a model file stands for.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Stretch),
            1 => Some(Self::CenterCrop),
            2 => Some(Self::ImagenetCrop),
            _ => None,
        }
    }
}

/// What a network expects of a picture: `input = (pixel / 255 - mean) / std` for each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputSpec {
    /// Rows, columns and channels.
    pub shape: Shape,
    /// Channels and their order.
    pub color: ColorOrder,
    /// What happens to a frame of another size.
    pub resize: Resize,
    /// Subtracted from a pixel in `0..=1`; gray uses the first.
    pub mean: [f32; 3],
    /// What the difference is then divided by.
    pub std: [f32; 3],
}

impl InputSpec {
    /// The real input value of a pixel value in `channel`.
    #[must_use]
    pub fn normalize(&self, channel: usize, pixel: u8) -> f32 {
        let at = |table: [f32; 3]| table.get(channel).copied().unwrap_or(1.0);
        (f32::from(pixel) / 255.0 - at(self.mean)) / at(self.std)
    }
}

/// Layout of a camera frame's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// One byte of luma.
    Gray8,
    /// Red, green, blue bytes.
    Rgb888,
    /// Two bytes, little-endian, `rrrrrggg gggbbbbb`.
    Rgb565,
    /// Luma and chroma in turn, `Y0 U Y1 V`: two pixels in four bytes (BT.601 in full range, as JFIF 1.02 has it).
    Yuyv,
}

impl PixelFormat {
    /// Bytes of a row of `width` pixels.
    #[must_use]
    pub const fn row_bytes(self, width: u32) -> u64 {
        let width = width as u64;
        match self {
            Self::Gray8 => width,
            Self::Rgb888 => 3 * width,
            Self::Rgb565 => 2 * width,
            Self::Yuyv => 4 * width.div_ceil(2),
        }
    }

    /// Red, green and blue of pixel `x` (at most 65,535); bytes that `row` does not have count as 0.
    #[inline]
    #[must_use]
    pub fn rgb(self, row: &[u8], x: usize) -> [u8; 3] {
        let byte = |i: usize| row.get(i).copied().unwrap_or(0);
        match self {
            Self::Gray8 => [byte(x); 3],
            Self::Rgb888 => [byte(3 * x), byte(3 * x + 1), byte(3 * x + 2)],
            Self::Rgb565 => {
                let v = u16::from_le_bytes([byte(2 * x), byte(2 * x + 1)]);
                let [r5, g6, b5] = [(v >> 11) as u8, (v >> 5) as u8 & 63, v as u8 & 31];
                [(r5 << 3) | (r5 >> 2), (g6 << 2) | (g6 >> 4), (b5 << 3) | (b5 >> 2)]
            }
            Self::Yuyv => {
                let pair = 4 * (x / 2);
                let y = i32::from(byte(pair + 2 * (x % 2)));
                let (u, v) = (i32::from(byte(pair + 1)) - 128, i32::from(byte(pair + 3)) - 128);
                let rounded = |value: i32| ((y * 256 + value + 128) >> 8).clamp(0, 255) as u8;
                [rounded(359 * v), rounded(-88 * u - 183 * v), rounded(454 * u)] // 1.402, 0.344, 0.714, 1.772 in 1/256
            }
        }
    }

    /// The network's channels of pixel `x`.
    #[inline]
    fn channels(self, row: &[u8], x: usize, color: ColorOrder) -> [u8; 3] {
        let [r, g, b] = self.rgb(row, x);
        match color {
            ColorOrder::Rgb => [r, g, b],
            ColorOrder::Bgr => [b, g, r],
            // one luma byte is passed on as it is: the weights sum to 256
            ColorOrder::Gray => [((77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b) + 128) >> 8) as u8, 0, 0],
        }
    }
}

/// Quantizes a row of pixel values by a model's table (see [`Model::pixel_lut`](crate::model::Model::pixel_lut)).
///
/// # Shapes
/// `pixels` and `output`: `[w, c]`; `lut`: `[c, 256]`.
pub fn quantize_row(lut: &[i8], pixels: &[u32], output: &mut [i8]) {
    let channels = (lut.len() / 256).max(1);
    for (pixel_out, pixel) in output.chunks_mut(channels).zip(pixels.chunks(channels)) {
        for ((out, &value), table) in pixel_out.iter_mut().zip(pixel).zip(lut.chunks_exact(256)) {
            *out = table.get(crate::to_usize(value)).copied().unwrap_or(0);
        }
    }
}
