//! The firmware's portable part: from camera rows to class scores to a screen. No heap, no floats, tested on the host.
//!
//! A board brings a [`camera::Camera`], the memory of a [`classify::Classifier`] and, where it has a display, any
//! `embedded_graphics` draw target for [`screen::draw_result`]. Everything else travels in the model file.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "sim"))]
extern crate std;

pub mod bench;
pub mod camera;
pub mod classify;
pub mod picture;
pub mod screen;
pub mod update;
