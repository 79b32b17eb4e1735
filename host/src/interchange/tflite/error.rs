//! Why a .tflite file is not read.

use super::schema::IDENTIFIER;
use thiserror::Error;

/// Longest name in a message; converters join the names of all layers that they merged.
const NAME_CHARS: usize = 60;

/// Why a .tflite file is not read. Operators that Ocelli cannot run are no such error: see [`unsupported`](super::unsupported).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TfliteError {
    /// The identifier is missing.
    #[error(
        "this is no .tflite file: bytes 4 to 7 are {found:?}, not {:?}; such a file comes from TensorFlow's TFLiteConverter.convert()",
        IDENTIFIER
    )]
    NotTflite {
        /// What is there instead.
        found: String,
    },
    /// A version of the schema other than 3, which is in use since 2017.
    #[error(
        "the file has version {found} of the schema, only version 3 is read; convert the network again with a current TensorFlow"
    )]
    Version {
        /// The file's version.
        found: u32,
    },
    /// A structure that the format does not allow.
    #[error("the file is broken: {field} (byte {at}) {reason}; was it copied completely?")]
    Broken {
        /// The field in the schema.
        field: &'static str,
        /// Where it lies in the file.
        at: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The parts of the file overlap so that it describes much more than it holds.
    #[error(
        "the file's {file_bytes} bytes describe much more than they hold, as no converter writes it; it is refused"
    )]
    TooMuch {
        /// The file's size.
        file_bytes: usize,
    },
    /// The network as a whole.
    #[error("{0}")]
    Model(String),
    /// A tensor that cannot be.
    #[error("tensor {index} '{name}': {reason}")]
    Tensor {
        /// Its place in the file.
        index: usize,
        /// Its name, shortened.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An operator that cannot be.
    #[error("layer '{name}' (operator {index}, {code}): {reason}")]
    Operator {
        /// Its place in the file.
        index: usize,
        /// The operator's kind.
        code: String,
        /// Name of the tensor that it writes, shortened.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// The first name of a chain that a converter joined by `;`, cut to a length that can be read.
#[must_use]
pub fn short_name(name: &str) -> String {
    let first = name.split(';').next().unwrap_or_default();
    match first.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}...", &first[..end]),
        None => first.to_owned(),
    }
}
