//! The conformance suite: operators against published cases, model files against hostile hands, networks against tract, the
//! firmware against the host, and the command against its users.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod catalogue;
mod collections;
mod commands;
mod conformance;
mod datasets;
mod device;
mod format_by_hand;
mod graphs;
mod int4;
mod layouts;
mod model_file;
mod networks;
mod on_boards;
mod onnx_build;
mod onnx_import;
mod operators;
mod rings;
mod shapes;
mod support;
#[path = "../host/src/interchange/tflite/tests/build.rs"]
#[allow(dead_code, reason = "the reader's own tests use more of it")]
mod tflite_build;
mod training;
mod two_cores;
