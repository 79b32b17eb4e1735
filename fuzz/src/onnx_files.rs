//! .onnx files: import, and compile what is quantized.

use crate::interchange::onnx_import::import;
use crate::interchange::tflite::{ImportOptions, Imported};
use crate::tflite_files::compile;

/// Does with `file` all that the `import` and `compile` commands do. Whether it is imported.
pub fn onnx_read(file: &[u8]) -> bool {
    let options = ImportOptions { size: Some([8, 8]), ..ImportOptions::default() };
    match import(file, None, &options).map(|import| import.imported) {
        Ok(Imported::Quantized(network)) => compile(*network),
        Ok(Imported::Float(parts)) => assert!(parts.0.validate().is_ok()),
        Err(_) => return false,
    }
    true
}
