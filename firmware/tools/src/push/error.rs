//! Why a model was not sent.

use ocelli_app::update::Refusal;
use std::io;
use std::time::Duration;

/// Why a device did not get a model, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The file is none that could be sent.
    #[error("not a whole .ocelli model file: copy or compile it again")]
    File,
    /// The line failed.
    #[error("the line to the device: {0}")]
    Line(io::Error),
    /// Nobody answered.
    #[error(
        "the device did not answer when asked for {what} ({attempts} times, {} ms each): is it on, was it flashed with \
         `ocelli flash --updatable`, are port and speed right?",
        timeout.as_millis()
    )]
    NoAnswer {
        /// What it was asked for.
        what: &'static str,
        /// How often.
        attempts: u32,
        /// How long it was waited for each time.
        timeout: Duration,
    },
    /// Bytes came, but none that answer.
    #[error(
        "only noise came when the device was asked for {what} ({attempts} times, {bytes} bytes in all): are port and speed right, does another \
         program or another device write to the line?"
    )]
    Noise {
        /// What it was asked for.
        what: &'static str,
        /// How often.
        attempts: u32,
        /// Bytes that came.
        bytes: u64,
    },
    /// The device speaks another version of the protocol.
    #[error(
        "the device speaks version {found} of the update protocol, this program version {known}: update the older one"
    )]
    Version {
        /// The device's.
        found: u8,
        /// This program's.
        known: u8,
    },
    /// The device said no.
    #[error("the device refused: {0}")]
    Refused(Refusal),
    /// The device answered something else than it was asked.
    #[error("asked for {what}, the device answered {found}")]
    Reply {
        /// What it was asked.
        what: String,
        /// What it answered.
        found: String,
    },
    /// The device takes blocks and does not get on.
    #[error("the device stays at byte {at} of the model")]
    Stuck {
        /// Where.
        at: u32,
    },
    /// The device was reset again and again.
    #[error("the device was reset during the transfer {restarts} times after the first: is its power supply good?")]
    Restarts {
        /// How often it was begun anew.
        restarts: u32,
    },
}
