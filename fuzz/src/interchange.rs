//! The reader of .tflite files.

#[path = "../../host/src/interchange/tflite/mod.rs"]
pub mod tflite;
