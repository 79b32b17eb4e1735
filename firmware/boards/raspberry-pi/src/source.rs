//! Where frames come from: folders, cameras, pipes; each behind [`Camera`], which can be opened again, and [`Source`], which gives frames.

pub mod capture;
pub mod folder;
pub mod mailbox;
pub mod mjpeg;
pub mod pipe;
pub mod stream;
pub mod timed;
pub mod v4l2;

use crate::frame::Frame;
use std::fmt;

/// Why there is no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// There are no more.
    End,
    /// This frame is damaged; the next one may not be.
    Corrupt(String),
    /// Nothing has arrived for too long.
    Stalled(String),
    /// The camera or its program is gone: it must be opened again.
    Lost(String),
    /// Trying again cannot help.
    Fatal(String),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("there are no more frames"),
            Self::Corrupt(what) | Self::Stalled(what) | Self::Lost(what) | Self::Fatal(what) => f.write_str(what),
        }
    }
}

/// Gives frames, one after another.
pub trait Source: Send {
    /// Reads the next frame into `frame`, whose memory is used again.
    ///
    /// # Errors
    /// See [`SourceError`]. After [`SourceError::Corrupt`] and [`SourceError::Stalled`] it may be called again.
    fn read(&mut self, frame: &mut Frame) -> Result<(), SourceError>;
}

/// Ends the program that frames come from, while another thread waits for them: asks it to, or makes it end.
pub type Ender = Box<dyn Fn(End) + Send>;

/// How a program is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is asked to.
    Asked,
    /// It has no choice.
    Forced,
}

/// What a [`Source`] is opened from, more than once if need be.
pub trait Camera: Send {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// Opens it.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] when trying again cannot help.
    fn open(&mut self) -> Result<Box<dyn Source>, SourceError>;

    /// Whether frames go on whether or not somebody takes them: then the newest counts, and older ones are left out.
    fn is_live(&self) -> bool {
        true
    }

    /// Whether a stalled source is to be closed and opened again. A pipe from another program cannot be: it is waited for.
    fn reopens(&self) -> bool {
        true
    }

    /// Ends what was started for it; `None` where nothing is.
    fn ender(&self) -> Option<Ender> {
        None
    }
}
