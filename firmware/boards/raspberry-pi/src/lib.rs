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
    let _ = writeln!(std::io::stderr().lock(), "ocelli-pi: {}", clean(&text.to_string()));
}

/// Without control characters: names of files and labels come from elsewhere, and are not to move a terminal's cursor or begin a line.
pub(crate) fn clean(text: &str) -> String {
    text.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_said_has_one_line() {
        assert_eq!(super::clean("a\x1b[2Jb\nocelli-pi: c é"), "a?[2Jb?ocelli-pi: c é");
    }
}
