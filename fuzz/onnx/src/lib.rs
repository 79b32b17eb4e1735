//! ONNX's protobuf messages under tract's names: all that the reader of .onnx files takes of tract, which is left out of the fuzz targets.
//!
//! # Source
//! Field numbers of ONNX's `onnx.proto`. Fields that nobody reads are left out; a decoder passes over them.

/// The messages.
pub mod pb;
