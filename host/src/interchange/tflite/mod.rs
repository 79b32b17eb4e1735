//! Reads .tflite files, TensorFlow Lite's format, into a plain description, and writes quantized networks ([`export`]).
//!
//! [`read`] takes bytes of any origin and checks everything that can be checked without knowing the operators: every offset, every
//! index, the size of every constant, the numbers of every quantization, and that each tensor is made before it is read. Constants
//! stay where they lie in the file. [`TfliteModel::simplify`] then brings constants into the form that operators read, and
//! [`unsupported`] lists all that a consumer cannot take, at once, each with the layer's name and what would help.
//!
//! # Source
//! The schema of TensorFlow (`tensorflow/lite/schema/schema.fbs`), version 3, of 2017 to now; [`schema`] has the numbers of the
//! fields that are read, [`opcodes`] the names of all operators. The format below it is FlatBuffers. Three habits of real files:
//! a file from before 2020 has an operator's kind in an `i8`, a later one in an `i32`, the greater counts; a bias that takes the
//! scales of a depthwise convolution takes its `quantized_dimension` of 3 along, though it has one dimension; and a network of any
//! batch has a shape of batch 1 and a `shape_signature` with -1 there.

mod constants;
mod convert;
mod error;
mod export;
mod flatbuffer;
mod flatbuffer_write;
mod import;
mod layers;
mod metadata;
pub mod opcodes;
mod operators;
mod options;
mod options_read;
mod problems;
pub mod schema;
mod tensors;
#[cfg(test)]
mod tests;

pub use error::{TfliteError, short_name};
pub use export::export;
pub use import::{Import, ImportOptions, Imported, import, import_all};
pub use opcodes::OpCode;
pub use options::{Options, Window};
pub use problems::{Problem, report, unsupported};
pub use schema::{FusedActivation, Padding, TensorType};

use flatbuffer::{Reader, Table};
use std::borrow::Cow;

/// A network as a .tflite file describes it. All indices are inside their lists, operators stand in an order in which they can run.
#[derive(Clone, Debug, PartialEq)]
pub struct TfliteModel<'a> {
    /// What the converter says about itself, for instance "MLIR Converted.".
    pub description: String,
    /// All tensors: inputs, constants and what operators write.
    pub tensors: Vec<TfliteTensor<'a>>,
    /// All operators, each after those whose outputs it reads.
    pub operators: Vec<TfliteOperator>,
    /// The network's inputs.
    pub inputs: Vec<usize>,
    /// The network's outputs.
    pub outputs: Vec<usize>,
    /// What was left out or mended while reading, to tell the user.
    pub notes: Vec<String>,
    /// Our own entries among the metadata, by name without `ocelli.`: labels and how a picture becomes the input.
    pub metadata: Vec<(String, String)>,
    /// What TensorFlow's metadata say is taken off pixels of 0 to 255, and what they are then divided by: one number each, or one a channel.
    pub normalization: Option<[Vec<f32>; 2]>,
    /// Size of the file; bounds what may be unpacked from it.
    file_bytes: usize,
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TfliteTensor<'a> {
    /// Its name; converters join the names of all layers that they merged by `;`, see [`short_name`].
    pub name: String,
    /// Its dimensions, NHWC for pictures; a batch left open is 1. No dimensions: one element.
    pub shape: Vec<usize>,
    /// Dimensions other than the batch that the file leaves open. Their entry in `shape` says nothing.
    pub unknown_axes: Vec<usize>,
    /// The type of its elements.
    pub kind: TensorType,
    /// What integers stand for. `None` for floats, and for integers that are just integers.
    pub quantization: Option<TfliteQuantization>,
    /// Whether it keeps its value from one run to the next.
    pub is_variable: bool,
    /// Where its elements come from.
    pub data: Data<'a>,
}

/// Where a tensor's elements come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Data<'a> {
    /// From the network's input or an operator.
    Computed,
    /// From the file: as many bytes as shape and type say, little-endian.
    Constant(Cow<'a, [u8]>),
    /// From the file, in a form that is not read, which the text names.
    Unread(&'static str),
}

/// `real = scale * (q - zero_point)`, one pair for a tensor or one for each index of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct TfliteQuantization {
    /// One scale, or one for each index of `axis`. Finite, not negative; above 0 but in constants (a dead channel may have 0).
    pub scales: Vec<f32>,
    /// As many as scales, in the range of the tensor's type.
    pub zero_points: Vec<i64>,
    /// The dimension that several scales are for; 0 when there is one scale.
    pub axis: usize,
}

/// An operator.
#[derive(Clone, Debug, PartialEq)]
pub struct TfliteOperator {
    /// Name of the first tensor that it writes: the layer's name. Kind and place where the file has no names.
    pub name: String,
    /// Its kind.
    pub code: OpCode,
    /// Version of its kind; a greater one means that it uses more of what the kind can do.
    pub version: i32,
    /// The tensors that it reads; `None` for an optional one that is left out, for instance a bias.
    pub inputs: Vec<Option<usize>>,
    /// The tensors that it writes.
    pub outputs: Vec<usize>,
    /// Its options.
    pub options: Options,
}

impl TfliteTensor<'_> {
    /// The number of elements. It was checked to fit.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl<'a> TfliteModel<'a> {
    /// The tensor that is input `index` of `operator`, `None` when it is left out.
    #[must_use]
    pub fn input(&self, operator: &TfliteOperator, index: usize) -> Option<&TfliteTensor<'a>> {
        self.tensors.get((*operator.inputs.get(index)?)?)
    }

    /// The tensor that is output `index` of `operator`.
    #[must_use]
    pub fn output(&self, operator: &TfliteOperator, index: usize) -> Option<&TfliteTensor<'a>> {
        self.tensors.get(*operator.outputs.get(index)?)
    }
}

/// Whether a file's beginning is that of a .tflite file.
#[must_use]
pub fn is_file(file: &[u8]) -> bool {
    file.get(4..8) == Some(schema::IDENTIFIER.as_bytes())
}

/// Reads a .tflite file. Time and memory grow with the file's size, whatever is in it. Only the first subgraph is read; a note says
/// so when there are others.
///
/// # Errors
/// When `file` is no .tflite file or contradicts itself; the message names the tensor or layer.
pub fn read(file: &[u8]) -> Result<TfliteModel<'_>, TfliteError> {
    if !is_file(file) {
        let identifier = file.get(4..8).unwrap_or_default();
        return Err(TfliteError::NotTflite { found: identifier.escape_ascii().to_string() });
    }
    let reader = Reader::new(file);
    let root = reader.root()?;
    let version = root.number(schema::model::VERSION, 0)?;
    if version != schema::VERSION {
        return Err(TfliteError::Version { found: version });
    }
    let subgraphs = root.tables(schema::model::SUBGRAPHS)?;
    let graph = subgraphs.get(0)?.ok_or_else(|| TfliteError::Model("the file has no network in it".to_owned()))?;

    let mut tensors = tensors::read(&reader, root, graph)?;
    let inputs = ends(graph, schema::subgraph::INPUTS, tensors.list.len())?;
    let outputs = ends(graph, schema::subgraph::OUTPUTS, tensors.list.len())?;
    if outputs.is_empty() {
        return Err(TfliteError::Model("the network has no output".to_owned()));
    }
    let operators = operators::read(&reader, root, graph, &mut tensors.list, &inputs)?;
    operators::check_outputs(&tensors.list, &operators, &inputs, &outputs)?;

    let mut notes = tensors.notes;
    if subgraphs.len() > 1 {
        notes.push(format!("the file holds {} networks (subgraphs); only the first is read", subgraphs.len()));
        for signature in root.tables(schema::model::SIGNATURE_DEFS)?.all()? {
            let signature = signature?;
            let index = signature.number(schema::signature::SUBGRAPH_INDEX, 0_u32)?;
            if index > 0 {
                let name = short_name(&signature.text(schema::signature::KEY)?);
                notes.push(format!("its function '{name}' runs network {index}, which is left out"));
            }
        }
    }
    let description = root.text(schema::model::DESCRIPTION)?;
    let metadata = metadata::own(&reader, root)?;
    let normalization = metadata::normalization(&reader, root)?;
    let (tensors, file_bytes) = (tensors.list, file.len());
    Ok(TfliteModel { description, tensors, operators, inputs, outputs, notes, metadata, normalization, file_bytes })
}

/// Inputs or outputs of the network: indices of tensors, each once.
fn ends(graph: Table<'_, '_>, field: flatbuffer::Field, tensors: usize) -> Result<Vec<usize>, TfliteError> {
    let indices = graph.numbers::<i32>(field)?.unwrap_or_default();
    let index = |index: i32| {
        let valid = usize::try_from(index).ok().filter(|&index| index < tensors);
        valid.ok_or_else(|| TfliteError::Model(format!("{} names tensor {index}, but there are {tensors}", field.1)))
    };
    indices.into_iter().map(index).collect()
}
