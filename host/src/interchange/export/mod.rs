//! Networks out: from a run folder, a model file or a network of others to the formats of other programs.

mod c_array;
mod outputs;
mod source;

pub use c_array::{c_array, c_name};
pub use outputs::Outputs;
pub use source::Source;

use super::{onnx, qdq, tflite};
use crate::quantize::QuantizedNetwork;
use prost::Message;
use std::fmt;

/// A format that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ONNX, float.
    Onnx,
    /// ONNX with QuantizeLinear and DequantizeLinear around float operators.
    OnnxQdq,
    /// TensorFlow Lite, int8.
    Tflite,
    /// The compiled model.
    Ocelli,
    /// A file as C source.
    CArray,
}

impl Format {
    /// How the name of a file in this format ends.
    #[must_use]
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::OnnxQdq => "qdq.onnx",
            Self::Tflite => "tflite",
            Self::Ocelli => "ocelli",
            Self::CArray => "c",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Onnx => "onnx",
            Self::OnnxQdq => "onnx-qdq",
            Self::Tflite => "tflite",
            Self::Ocelli => "ocelli",
            Self::CArray => "c-array",
        })
    }
}

/// The bytes of a quantized network as a .tflite file, with what Ocelli knows of its pictures and labels.
///
/// # Errors
/// When the file cannot hold a layer; the error names it.
pub fn tflite_bytes(network: &QuantizedNetwork) -> anyhow::Result<Vec<u8>> {
    let mut notes = Vec::new();
    if let Some(picture) = &network.picture {
        notes.extend(onnx::picture_metadata(picture, &network.labels));
    } else if !network.labels.is_empty() {
        notes.push(("labels", network.labels.join("\n")));
    }
    tflite::export(network, &notes)
}

/// The bytes of a quantized network as an ONNX file with QuantizeLinear and DequantizeLinear.
///
/// # Errors
/// When the shapes do not fit.
pub fn qdq_bytes(network: &QuantizedNetwork) -> anyhow::Result<Vec<u8>> {
    Ok(qdq::export(network)?.encode_to_vec())
}
