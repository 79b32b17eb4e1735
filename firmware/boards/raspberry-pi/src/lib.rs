//! Classifies what a camera sees on a Raspberry Pi, or any Linux: frames from a camera, a pipe or a folder; results as lines, JSON, MQTT,
//! a page or a screen.
//!
//! Three threads: one reads frames ([`source::capture`]), one classifies them ([`run`]), one draws what somebody looks at ([`paint`]); the
//! page and MQTT share a fourth. Between the first two lies room for one frame ([`source::mailbox`]), whose memory is used again and again.

pub mod backoff;
pub mod bench;
pub mod cli;
pub mod files;
pub mod frame;
pub mod jpeg;
pub mod live;
pub mod model;
pub mod mqtt;
pub mod output;
pub mod paint;
pub mod result;
pub mod run;
pub mod screen;
pub mod services;
pub mod smoothing;
pub mod source;
pub mod stats;
#[cfg(feature = "verify")]
pub mod verify;
pub mod web;

/// Says something on standard error, where systemd's journal takes it.
pub(crate) fn say(text: impl std::fmt::Display) {
    use std::io::Write;
    // when nobody reads it, there is nobody to tell
    let _ = writeln!(std::io::stderr().lock(), "ocelli-pi: {text}");
}
