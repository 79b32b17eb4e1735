//! The host side of Ocelli: datasets, training with Burn, quantization, compilation, exchange formats, and the checks against tract
//! and an emulated chip. The `ocelli` command is a thin layer over this library.

pub mod augment;
pub mod base;
pub mod catalogue;
pub mod check;
pub mod collection;
pub mod compile;
pub mod config;
pub mod data;
pub mod explain;
pub mod files;
pub mod imagenet;
pub mod interchange;
pub mod memory;
pub mod model;
pub mod network;
pub mod quantize;
pub mod report;
pub mod run;
pub mod train;
