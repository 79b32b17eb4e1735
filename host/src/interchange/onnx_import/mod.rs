//! ONNX in: float classifiers become a network to train and quantize, those with QuantizeLinear and DequantizeLinear a quantized one.
//!
//! A file is read in one pass. Every value is either a constant, which is computed at once, or a view of a tensor of ours
//! (`view`): which axis of ours each of its dimensions is. Transposes, reshapes and flattens are changes of view; weights are turned
//! where a layer gets them. `patterns` joins what exporters write in several nodes. What cannot be imported is listed in one go.
//!
//! # Source
//! ONNX's operator specifications, operator sets 7 to 24.

mod attributes;
mod build;
mod constant;
mod dense;
mod finish;
mod folding;
pub mod fragment;
mod functions;
mod graph;
mod moves;
mod patterns;
mod pointwise;
mod problems;
mod quantized;
mod reduce;
mod view;
mod windows;

pub(super) use constant::half_to_f32;

use super::tflite::{ImportOptions, Imported};
use anyhow::Context;
use prost::Message;
use std::collections::HashMap;
use std::path::Path;
use tract_onnx::pb::ModelProto;

/// What an ONNX file became.
#[derive(Clone, Debug)]
pub struct OnnxImport {
    /// The network.
    pub imported: Imported,
    /// Its labels, from the options or the file; empty where there are none.
    pub labels: Vec<String>,
    /// What was added, left out or assumed, to tell the user.
    pub notes: Vec<String>,
}

/// Reads an ONNX file; constants in other files are looked for in `folder`.
///
/// # Errors
/// When the file is broken, or has nodes that are not supported: all of them are listed, by operator and name.
pub fn import(file: &[u8], folder: Option<&Path>, options: &ImportOptions) -> anyhow::Result<OnnxImport> {
    let model = ModelProto::decode(file).context("this is no ONNX file, or it was not copied completely")?;
    import_model(&model, folder, options)
}

/// As [`import`], of a file that is decoded already.
///
/// # Errors
/// As [`import`].
pub fn import_model(model: &ModelProto, folder: Option<&Path>, options: &ImportOptions) -> anyhow::Result<OnnxImport> {
    let mut notes = Vec::new();
    graph::opset(model)?;
    let given = finish::given(model, options, &mut notes)?;
    let mut lowered = graph::lower(model, &[given], HashMap::new(), folder, false)?;
    lowered.notes.retain(|note| !notes.contains(note));
    lowered.notes.splice(0..0, notes);
    let (imported, labels, notes) = finish::finish(graph::graph(model)?, model, lowered, options)?;
    Ok(OnnxImport { imported, labels, notes })
}
