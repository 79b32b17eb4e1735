//! What the two sides of the line say to each other. The sender asks, the device answers each request with one reply and says nothing
//! by itself. `docs/update.md` tells the course of an update.
//!
//! Messages are written by postcard inside [`frame`](super::frame)s. The order of variants and fields is the protocol: whoever changes it
//! raises [`PROTOCOL`], which stands in every frame.

use super::Refusal;
use serde::{Deserialize, Serialize};

/// The version of the protocol.
pub const PROTOCOL: u8 = 1;

/// What a sender asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'r> {
    /// Who is there? Answered by [`Reply::Hello`].
    Hello,
    /// Which model is active, and how far is a transfer? Answered by [`Reply::Status`].
    Status,
    /// A model is going to be sent. Answered by [`Reply::Received`], or for a transfer that is finished as [`Request::Finish`] is.
    Begin(#[serde(borrow)] Begin<'r>),
    /// The file's bytes at an offset: [`Hello::block_bytes`] of them, fewer only at its end. Answered by [`Reply::Received`], whether the
    /// block was expected, had come before, or came too early.
    Block {
        /// The transfer.
        transfer: u32,
        /// Offset in the file.
        offset: u32,
        /// The bytes.
        data: &'r [u8],
    },
    /// All bytes were sent: check the model and make it the active one. Answered by [`Reply::Finished`].
    Finish {
        /// The transfer.
        transfer: u32,
    },
    /// Forget the transfer. Answered by [`Reply::Aborted`], also if there is none.
    Abort {
        /// The transfer.
        transfer: u32,
    },
    /// Classify the picture that is built in. Answered by [`Reply::Ran`].
    Run,
}

/// What is going to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin<'r> {
    /// A number that the sender has made up for this transfer.
    pub transfer: u32,
    /// Bytes of the model file.
    pub length: u32,
    /// [`model_crc`](super::model_crc) of the file.
    pub crc: u32,
    /// The 64 bytes of a signature, or none.
    pub signature: &'r [u8],
}

/// What a device answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<'r> {
    /// Who is there.
    Hello(#[serde(borrow)] Hello<'r>),
    /// How things stand.
    Status(Status),
    /// Bytes of the file that the device has: where it expects the next block.
    Received {
        /// The transfer.
        transfer: u32,
        /// Bytes.
        next: u32,
    },
    /// The model is the active one.
    Finished {
        /// The transfer.
        transfer: u32,
        /// The model.
        active: ActiveModel,
    },
    /// The transfer is forgotten.
    Aborted,
    /// What the active model sees in the picture.
    Ran(#[serde(borrow)] RunInfo<'r>),
    /// The device did not do it.
    Refused(Refusal),
}

/// What a device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'r> {
    /// The board's name, as `ocelli boards` lists it.
    pub board: &'r str,
    /// Bytes of the longest model file.
    pub capacity_bytes: u32,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// The version of the model format that the firmware reads.
    pub format_version: u16,
    /// Bytes of working memory that the firmware has for a model.
    pub arena_bytes: u32,
    /// The kernels that the firmware has (`ocelli::runtime::kinds_of`).
    pub kinds: u32,
    /// The first bytes of the key that models must be signed by, if they must.
    pub key_id: Option<[u8; 8]>,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The active model.
    pub active: ActiveModel,
    /// The transfer that is under way, and the bytes of the file that have come.
    pub transfer: Option<(u32, u32)>,
}

/// A model in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveModel {
    /// Where it lies: in a slot, with its sequence number, or in the firmware.
    pub slot: Option<(u8, u32)>,
    /// Bytes of the file.
    pub length: u32,
    /// [`model_crc`](super::model_crc) of the file.
    pub crc: u32,
}

/// What a model sees in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo<'r> {
    /// The model's CRC-32.
    pub crc: u32,
    /// The best class.
    pub class: u16,
    /// The network's int8 output for it.
    pub score: i8,
    /// Its label.
    pub label: &'r str,
}
