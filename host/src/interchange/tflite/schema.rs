//! The part of TensorFlow Lite's schema, version 3, that is read and written here: numbers of fields, and the small enumerations.
//!
//! Fields are only ever added at the end of a table, so these numbers hold for every file since 2017.
//!
//! # Source
//! `tensorflow/lite/schema/schema.fbs` of TensorFlow.

use super::flatbuffer::Field;
use std::fmt;

/// Bytes 4 to 7 of the file.
pub const IDENTIFIER: &str = "TFL3";
/// The only version of the schema since 2017.
pub(super) const VERSION: u32 = 3;

/// What the names of our own entries among a file's metadata begin with.
pub(super) const METADATA_PREFIX: &str = "ocelli.";
/// The name of TensorFlow's own entry among a file's metadata, a file in FlatBuffers of another schema.
pub(super) const TENSORFLOW_METADATA: &str = "TFLITE_METADATA";

/// Declares fields of one table: constant, number, name in the schema.
macro_rules! fields {
    ($table:ident: $($constant:ident = $id:literal $name:literal),* $(,)?) => {
        pub(super) mod $table {
            use super::Field;
            $(pub const $constant: Field = Field($id, concat!(stringify!($table), ".", $name));)*
        }
    };
}

fields!(model: VERSION = 0 "version", OPERATOR_CODES = 1 "operator_codes", SUBGRAPHS = 2 "subgraphs",
    DESCRIPTION = 3 "description", BUFFERS = 4 "buffers", METADATA = 6 "metadata", SIGNATURE_DEFS = 7 "signature_defs");
// `deprecated_builtin_code` is an i8; `builtin_code` came in 2020 when there were 127 operators. The greater of both counts.
fields!(operator_code: DEPRECATED_BUILTIN_CODE = 0 "deprecated_builtin_code", CUSTOM_CODE = 1 "custom_code",
    VERSION = 2 "version", BUILTIN_CODE = 3 "builtin_code");
fields!(subgraph: TENSORS = 0 "tensors", INPUTS = 1 "inputs", OUTPUTS = 2 "outputs", OPERATORS = 3 "operators",
    NAME = 4 "name");
fields!(tensor: SHAPE = 0 "shape", TYPE = 1 "type", BUFFER = 2 "buffer", NAME = 3 "name",
    QUANTIZATION = 4 "quantization", IS_VARIABLE = 5 "is_variable", SPARSITY = 6 "sparsity",
    SHAPE_SIGNATURE = 7 "shape_signature", EXTERNAL_BUFFER = 10 "external_buffer");
fields!(quantization: SCALE = 2 "scale", ZERO_POINT = 3 "zero_point", DETAILS_TYPE = 4 "details_type",
    QUANTIZED_DIMENSION = 6 "quantized_dimension");
// A file beyond 2 GB keeps its constants behind the FlatBuffer: `offset` from the start of the file, used when above 1.
fields!(buffer: DATA = 0 "data", OFFSET = 1 "offset", SIZE = 2 "size");
fields!(operator: OPCODE_INDEX = 0 "opcode_index", INPUTS = 1 "inputs", OUTPUTS = 2 "outputs",
    BUILTIN_OPTIONS_TYPE = 3 "builtin_options_type", BUILTIN_OPTIONS = 4 "builtin_options");
fields!(metadata: NAME = 0 "name", BUFFER = 1 "buffer");
// `metadata_schema.fbs`; the union's type stands before its value
fields!(model_metadata: SUBGRAPH_METADATA = 3 "subgraph_metadata");
fields!(subgraph_metadata: INPUT_TENSOR_METADATA = 2 "input_tensor_metadata");
fields!(tensor_metadata: PROCESS_UNITS = 4 "process_units");
fields!(process_unit: OPTIONS_TYPE = 0 "options_type", OPTIONS = 1 "options");
fields!(normalization: MEAN = 0 "mean", STD = 1 "std");
/// The number of `NormalizationOptions` in the union `ProcessUnitOptions`.
pub(super) const NORMALIZATION_OPTIONS: u8 = 1;
fields!(tensor_map: NAME = 0 "name", TENSOR_INDEX = 1 "tensor_index");
fields!(signature: INPUTS = 0 "inputs", OUTPUTS = 1 "outputs", KEY = 2 "signature_key", SUBGRAPH_INDEX = 4 "subgraph_index");

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it all
pub enum TensorType {
    Float32,
    Float16,
    Int32,
    Uint8,
    Int64,
    String,
    Bool,
    Int16,
    Complex64,
    Int8,
    Float64,
    Complex128,
    Uint64,
    Resource,
    Variant,
    Uint32,
    Uint16,
    Int4,
    Bfloat16,
    Int2,
    Uint4,
    Float8E4M3Fn,
    Float8E5M2,
    /// A type younger than this reader.
    Unknown(i8),
}

impl TensorType {
    const IN_ORDER: [Self; 23] = [
        Self::Float32,
        Self::Float16,
        Self::Int32,
        Self::Uint8,
        Self::Int64,
        Self::String,
        Self::Bool,
        Self::Int16,
        Self::Complex64,
        Self::Int8,
        Self::Float64,
        Self::Complex128,
        Self::Uint64,
        Self::Resource,
        Self::Variant,
        Self::Uint32,
        Self::Uint16,
        Self::Int4,
        Self::Bfloat16,
        Self::Int2,
        Self::Uint4,
        Self::Float8E4M3Fn,
        Self::Float8E5M2,
    ];

    /// The type that the schema gives the number `code`.
    #[must_use]
    pub fn from_code(code: i8) -> Self {
        let known = usize::try_from(code).ok().and_then(|code| Self::IN_ORDER.get(code));
        known.copied().unwrap_or(Self::Unknown(code))
    }

    /// Bits of an element in a constant, `None` when elements have no fixed size. Elements below a byte are packed.
    #[must_use]
    pub fn bits(self) -> Option<usize> {
        match self {
            Self::Int2 => Some(2),
            Self::Int4 | Self::Uint4 => Some(4),
            Self::Int8 | Self::Uint8 | Self::Bool | Self::Float8E4M3Fn | Self::Float8E5M2 => Some(8),
            Self::Int16 | Self::Uint16 | Self::Float16 | Self::Bfloat16 => Some(16),
            Self::Int32 | Self::Uint32 | Self::Float32 => Some(32),
            Self::Int64 | Self::Uint64 | Self::Float64 | Self::Complex64 => Some(64),
            Self::Complex128 => Some(128),
            Self::String | Self::Resource | Self::Variant | Self::Unknown(_) => None,
        }
    }

    /// Least and greatest value of an integer type that can be quantized, `None` for others.
    #[must_use]
    pub fn integer_range(self) -> Option<(i64, i64)> {
        match self {
            Self::Int2 => Some((-2, 1)),
            Self::Int4 => Some((-8, 7)),
            Self::Uint4 => Some((0, 15)),
            Self::Int8 => Some((i64::from(i8::MIN), i64::from(i8::MAX))),
            Self::Uint8 => Some((0, i64::from(u8::MAX))),
            Self::Int16 => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
            Self::Uint16 => Some((0, i64::from(u16::MAX))),
            Self::Int32 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
            Self::Uint32 => Some((0, i64::from(u32::MAX))),
            Self::Int64 => Some((i64::MIN, i64::MAX)),
            _ => None,
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(code) => write!(f, "type {code}, unknown here"),
            known => f.write_str(&format!("{known:?}").to_lowercase()),
        }
    }
}

/// How a window treats the border of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// As many cells are added as make `out = ceil(n / stride)`, the odd one after.
    Same,
    /// Only windows that lie inside the input.
    Valid,
}

/// A function that an operator applies to its own output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FusedActivation {
    /// The identity.
    None,
    /// `max(0, x)`.
    Relu,
    /// `min(max(-1, x), 1)`.
    ReluN1To1,
    /// `min(max(0, x), 6)`.
    Relu6,
    /// The hyperbolic tangent.
    Tanh,
    /// The sign bit.
    SignBit,
}
