//! The kernels for 64-bit Arm. Each entry is a safe function; a [`Level`](super::Level) is the proof that the CPU has its instructions.
#![allow(unsafe_code)]

pub(super) mod conv;
mod multiply;
pub(super) mod rows;
mod scaling;
