//! Image classification in fixed point: what a board and the host must agree on.
//!
//! A network arrives as a compiled [`model`] file. [`runtime::Session`] checks it once and then turns camera rows
//! into class scores, one row at a time: a tensor is a ring of a few rows and the frame is never stored.
//! The arithmetic is TensorFlow Lite's int8 scheme, bit for bit as TensorFlow Lite Micro computes it.
//!
//! ```
//! use ocelli::{model::Model, runtime::{Arena, Session}};
//! # let file = include_bytes!("../../tests/golden/tiny-v2.ocelli");
//! # let aligned = ocelli::model::Aligned(*file);
//! # let bytes: &[u8] = &aligned.0;
//! let mut arena = Arena::<4096>::new();
//! let mut session = Session::load(bytes, arena.bytes_mut())?;
//! let scores = session.run(|_y, row| row.fill(0));
//! assert_eq!(scores.len(), Model::parse(bytes)?.labels().count());
//! # Ok::<(), ocelli::model::LoadError>(())
//! ```
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

#[cfg(target_endian = "big")]
compile_error!("model files are read in place and are little-endian");

pub mod image;
pub mod ir;
pub mod kernels;
pub mod model;
pub mod quant;
pub mod runtime;
pub mod schedule;
pub mod team;

/// Widens a count or offset of the model file; every supported target has pointers of at least 32 bits.
#[inline]
pub(crate) const fn to_usize(value: u32) -> usize {
    const { assert!(usize::BITS >= u32::BITS) };
    value as usize
}
