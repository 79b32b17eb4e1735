//! The inner loops of the core that the library is compiled for.

/// The core's own inner loops, or the portable ones.
#[cfg(not(any(ocelli_isa = "armv7em", ocelli_isa = "armv7m")))]
pub type Native = super::portable::Portable;

/// The core's own inner loops, or the portable ones.
#[cfg(ocelli_isa = "armv7em")]
pub type Native = super::armv7em::Armv7em;

/// The core's own inner loops, or the portable ones.
#[cfg(ocelli_isa = "armv7m")]
pub type Native = super::armv7m::Armv7m;
