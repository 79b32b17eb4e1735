//! The fuzz targets as plain functions. Each takes bytes of any origin and may not panic, overflow or take long.
//!
//! The host's crate holds Burn, which takes minutes to build with instrumentation. Its parts that read files of others need none of it:
//! they are included here by path, and there is one copy of their code.
#![allow(dead_code, unused_imports, reason = "only the reading parts of the included modules are called")]

#[path = "../../host/src/files.rs"]
mod files;
#[path = "../../host/src/network/mod.rs"]
mod network;

mod compile;
mod interchange;
mod model_files;
mod onnx_files;
mod quantize;
mod stubs;
mod tflite_files;

pub use model_files::{mutate, ocelli_read, ocelli_run, seal};
pub use onnx_files::{change, onnx_read};
use stubs::{check, train};
pub use tflite_files::tflite_read;
