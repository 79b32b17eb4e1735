//! The inner loops of the core that the library is compiled for.

/// The core's own inner loops.
#[cfg(ocelli_isa = "armv7em")]
pub type Native = super::armv7em::Armv7em;

/// The core's own inner loops.
#[cfg(ocelli_isa = "armv7m")]
pub type Native = super::armv7m::Armv7m;

/// The core's own inner loops.
#[cfg(ocelli_isa = "armv6m")]
pub type Native = super::armv6m::Armv6m;

/// The core's own inner loops.
#[cfg(all(ocelli_isa = "riscv32", target_feature = "m", not(target_feature = "e")))]
pub type Native = super::riscv32::Riscv32;

/// The inner loops in plain Rust.
#[cfg(not(any(ocelli_isa = "armv7em", ocelli_isa = "armv7m", ocelli_isa = "armv6m", all(ocelli_isa = "riscv32", target_feature = "m", not(target_feature = "e")))))]
pub type Native = super::portable::Portable;
