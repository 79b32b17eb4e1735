//! Exchange formats. Layouts are turned here: ONNX is NCHW and OIHW; before a flatten a picture is turned to H, W, C order, ours.

pub mod export;
mod graph;
pub mod named;
pub mod onnx;
pub mod onnx_import;
mod proto;
pub mod qdq;
pub mod tflite;

/// What is told of a file that does not say how its network wants its pictures, where the user does not say it either.
pub const PICTURES_UNKNOWN: &str = "how it wants its pictures is not in the file: black and white are taken as 0 and 1 (else: --preprocess tf, \
                                    torch or caffe, or --range BLACK,WHITE)";
