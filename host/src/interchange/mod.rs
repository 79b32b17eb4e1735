//! Exchange formats. Layouts are turned here: ONNX is NCHW and OIHW; before a flatten a picture is turned to H, W, C order, ours.

mod graph;
pub mod onnx;
mod proto;
pub mod qdq;
pub mod tflite;
