//! The readers of .tflite and .onnx files.

#[path = "../../host/src/interchange/onnx_import/mod.rs"]
pub mod onnx_import;
#[path = "../../host/src/interchange/proto.rs"]
mod proto;
#[path = "../../host/src/interchange/tflite/mod.rs"]
pub mod tflite;
