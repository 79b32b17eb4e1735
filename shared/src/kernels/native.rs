//! The inner loops of the core that the library is compiled for.

/// The core's own inner loops, or the portable ones.
#[cfg(ocelli_isa = "armv6m")]
pub type Native = super::armv6m::Armv6m;
/// The core's own inner loops, or the portable ones.
#[cfg(not(ocelli_isa = "armv6m"))]
pub type Native = super::portable::Portable;
