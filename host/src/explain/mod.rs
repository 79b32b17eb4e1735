//! Seeing inside a network: what every layer makes of one picture, in float and in int8, and the sum behind every single value.
//!
//! [`Inside`] holds one run of a network in plain arrays; [`cell`] says how one output value came to be; [`grad_cam`] which parts of
//! the picture spoke for a class; [`page`] writes it all as one file for a browser. [`filter`] is the same arithmetic for a photo and
//! a kernel of one's own.

mod budget;
pub mod cell;
mod constants;
pub mod filter;
pub mod grad_cam;
mod inside;
pub mod page;

pub use inside::{FloatSide, Inside, Layer, Numbers, Observed, Values};
