//! The order of a tensor's values in the three schemes, turned to ours.

use super::super::onnx_import::half_to_f32;
use super::super::proto::oihw_to_ohwi;
use super::names::Scheme;
use ocelli::ir::Shape;
use safetensors::tensor::{Dtype, TensorView};

/// What a tensor is to its layer; shapes are ours.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// One value a channel.
    List(usize),
    /// `[o, kh, kw, i]`.
    Convolution([usize; 4]),
    /// `[1, kh, kw, channels * multiplier]`.
    Depthwise {
        /// The shape.
        shape: [usize; 4],
        /// Channels of the input.
        channels: usize,
    },
    /// `[out, 1, 1, in]`.
    Dense {
        /// The shape.
        shape: [usize; 4],
        /// The picture that a flatten made its input.
        picture: Option<Shape>,
    },
    /// A convolution of volumes, which only our own files hold.
    Volume([usize; 4]),
}

impl Layout {
    /// Our shape; of a list its length and ones.
    pub const fn shape(self) -> [usize; 4] {
        match self {
            Self::List(length) => [length, 1, 1, 1],
            Self::Convolution(shape)
            | Self::Depthwise { shape, .. }
            | Self::Dense { shape, .. }
            | Self::Volume(shape) => shape,
        }
    }

    /// The dimensions that a file of that scheme has.
    pub fn dims(self, scheme: Scheme) -> Vec<usize> {
        let [o, h, w, i] = self.shape();
        match (self, scheme) {
            (Self::List(length), _) => vec![length],
            (_, Scheme::Ocelli) | (Self::Volume(_), _) => vec![o, h, w, i],
            (Self::Convolution(_), Scheme::Keras) => vec![h, w, i, o],
            (Self::Convolution(_), Scheme::Torchvision) => vec![o, i, h, w],
            (Self::Depthwise { channels, .. }, Scheme::Keras) => vec![h, w, channels, i / channels.max(1)],
            (Self::Depthwise { .. }, Scheme::Torchvision) => vec![i, 1, h, w],
            (Self::Dense { .. }, Scheme::Keras) => vec![i, o],
            (Self::Dense { .. }, Scheme::Torchvision) => vec![o, i],
        }
    }

    /// Values of a file in our order.
    pub fn ours(self, scheme: Scheme, values: Vec<f32>) -> Vec<f32> {
        let shape @ [o, h, w, i] = self.shape();
        match (self, scheme) {
            // Keras' depthwise kernels have our order: rows, columns, channels
            (Self::List(_) | Self::Volume(_), _) | (_, Scheme::Ocelli) | (Self::Depthwise { .. }, Scheme::Keras) => {
                values
            }
            // [h * w * i, o] to [o, h * w * i]
            (Self::Convolution(_) | Self::Dense { .. }, Scheme::Keras) => oihw_to_ohwi(&values, [1, o, 1, h * w * i]),
            (Self::Convolution(_) | Self::Depthwise { .. }, Scheme::Torchvision) => oihw_to_ohwi(&values, shape),
            (Self::Dense { picture: Some(picture), .. }, Scheme::Torchvision) => {
                let [h, w, c] = [picture.h, picture.w, picture.c].map(|n| n as usize);
                oihw_to_ohwi(&values, [o, h, w, c])
            }
            (Self::Dense { .. }, Scheme::Torchvision) => values,
        }
    }
}

/// A tensor's values as single-precision floats; `None` for other types.
pub fn floats(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = tensor.data();
    Some(match tensor.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => data.chunks_exact(2).map(|b| half_to_f32(u16::from_le_bytes([b[0], b[1]]))).collect(),
        Dtype::BF16 => {
            data.chunks_exact(2).map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)).collect()
        }
        Dtype::F64 => data
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
        _ => return None,
    })
}
