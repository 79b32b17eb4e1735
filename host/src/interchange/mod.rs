//! Exchange formats. Layouts are turned here: ONNX is NCHW and OIHW, and a flattened picture runs C, H, W there and H, W, C here.

pub mod onnx;
mod proto;
pub mod qdq;
