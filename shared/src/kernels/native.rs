//! The inner loops of the core that the library is compiled for.

/// The core's own inner loops, or the portable ones.
pub type Native = super::portable::Portable;
