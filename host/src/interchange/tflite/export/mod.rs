//! A quantized network as a .tflite file: int8 in, int8 between, int8 out, as TensorFlow Lite Micro computes it.
//!
//! Every layer becomes the operator whose arithmetic it has, under its own name. What TensorFlow Lite has no operator for is said with
//! those that it has, exactly: a padding that is neither SAME nor VALID is a PAD before the window; the smallest of a window is the largest
//! of the negated values; a function without an operator (hard sigmoid, swish, clip) is a table of 256 values that GATHER reads.

mod functions;
mod graph;
mod operators;
mod options;

use super::flatbuffer_write::write;
use super::schema;
use crate::quantize::QuantizedNetwork;
use anyhow::{Context, ensure};

/// The bytes of a .tflite file. `metadata` is what else a reader should know, by name.
///
/// # Errors
/// When the file cannot hold a layer; the error names it.
pub fn export(network: &QuantizedNetwork, metadata: &[(&str, String)]) -> anyhow::Result<Vec<u8>> {
    ensure!(!network.layers.is_empty(), "the network has no layers");
    let mut export = operators::Export::new(network);
    for (index, layer) in network.layers.iter().enumerate() {
        export
            .layer(network, index)
            .with_context(|| format!("a .tflite file cannot hold layer '{}'", layer.node.name))?;
    }
    write(&export.finish(metadata), schema::IDENTIFIER)
}
