//! Exchange formats. Layouts are turned here: ONNX is NCHW and OIHW; before a flatten a picture is turned to H, W, C order, ours.

pub mod export;
mod graph;
pub mod named;
pub mod onnx;
pub mod onnx_import;
mod proto;
pub mod qdq;
pub mod tflite;
