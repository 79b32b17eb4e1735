//! The firmware's portable part: from camera rows to class scores to a screen. No heap, no floats, tested on the host.
//!
//! A board brings a [`camera::Camera`], the memory of a [`classify::Classifier`] and, where it has a display, any
//! `embedded_graphics` draw target for [`screen::draw_result`] or a [`screen::LiveScreen`]. Everything else travels in the model file.
//! [`live`] is the loop of all these. [`smooth`] keeps a label from flickering, [`duty`] lets camera and chip sleep between frames.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "sim"))]
extern crate std;

pub mod bench;
pub mod camera;
pub mod classify;
pub mod duty;
pub mod live;
pub mod picture;
pub mod rate;
pub mod screen;
pub mod smooth;
pub mod update;
