//! Which instructions the kernels use, found out once.

/// The instruction sets that have kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// Plain loops.
    Portable,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, DQ, VL) and its byte products (VNNI).
    Avx512Vnni,
    /// Arm, 64 bits.
    Neon,
    /// Arm, 64 bits, with byte dot products (`asimddp`).
    NeonDot,
}

impl InstructionSet {
    /// All of them, the plainest first and the fastest last.
    pub const ALL: [Self; 5] = [Self::Portable, Self::Avx2, Self::Avx512Vnni, Self::Neon, Self::NeonDot];

    /// A short name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dot",
        }
    }
}

/// An instruction set that this CPU has: to hold one is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(InstructionSet);

impl Level {
    /// Plain loops, which every CPU has.
    pub const PORTABLE: Self = Self(InstructionSet::Portable);

    /// The fastest that this CPU has.
    ///
    /// Without feature `std` only what the build was told of its target counts.
    #[must_use]
    pub fn detect() -> Self {
        InstructionSet::ALL.into_iter().rev().find_map(Self::new).unwrap_or(Self::PORTABLE)
    }

    /// That one, if this CPU has it.
    #[must_use]
    pub fn new(set: InstructionSet) -> Option<Self> {
        is_available(set).then_some(Self(set))
    }

    /// Which one it is.
    #[inline]
    #[must_use]
    pub const fn instruction_set(self) -> InstructionSet {
        self.0
    }
}

/// Whether the CPU has a feature: asked at run time with `std`, else of the build.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! has {
    ($ask:ident, $($feature:tt)*) => {{
        #[cfg(feature = "std")]
        let has = std::arch::$ask!($($feature)*);
        #[cfg(not(feature = "std"))]
        let has = cfg!(target_feature = $($feature)*);
        has
    }};
}

#[cfg(target_arch = "x86_64")]
#[cfg_attr(not(feature = "std"), allow(clippy::nonminimal_bool, clippy::eq_op, reason = "constants of the build"))]
fn is_available(set: InstructionSet) -> bool {
    match set {
        InstructionSet::Portable => true,
        InstructionSet::Avx2 => has!(is_x86_feature_detected, "avx2"),
        InstructionSet::Avx512Vnni => {
            has!(is_x86_feature_detected, "avx512f")
                && has!(is_x86_feature_detected, "avx512bw")
                && has!(is_x86_feature_detected, "avx512dq")
                && has!(is_x86_feature_detected, "avx512vl")
                && has!(is_x86_feature_detected, "avx512vnni")
        }
        InstructionSet::Neon | InstructionSet::NeonDot => false,
    }
}

#[cfg(target_arch = "aarch64")]
fn is_available(set: InstructionSet) -> bool {
    match set {
        InstructionSet::Portable => true,
        InstructionSet::Neon => has!(is_aarch64_feature_detected, "neon"),
        InstructionSet::NeonDot => {
            has!(is_aarch64_feature_detected, "neon") && has!(is_aarch64_feature_detected, "dotprod")
        }
        InstructionSet::Avx2 | InstructionSet::Avx512Vnni => false,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn is_available(set: InstructionSet) -> bool {
    set == InstructionSet::Portable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_loops_are_always_there_and_the_best_is_one_of_the_available() {
        assert_eq!(Level::new(InstructionSet::Portable), Some(Level::PORTABLE));
        let best = Level::detect();
        assert_eq!(Level::new(best.instruction_set()), Some(best));
    }
}
