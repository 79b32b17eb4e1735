//! Vectors of `f32` as wide as the processor has them.

use pulp::{Arch, Simd, WithSimd};

/// Floats of a vector on this computer.
pub(super) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) -> usize {
            S::F32_LANES
        }
    }
    Arch::new().dispatch(Lanes)
}

/// Runs a closure compiled for the best instructions of this computer; its loops over slices become vector loops.
#[inline(always)]
pub(super) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(work)
}

/// The vector at the start of a slice.
#[inline(always)]
pub(super) fn load<S: Simd>(values: &[f32]) -> S::f32s {
    S::as_simd_f32s(&values[..S::F32_LANES]).0[0]
}

/// Writes a vector, or as much of it as the slice has room for.
#[inline(always)]
pub(super) fn store<S: Simd>(values: &mut [f32], vector: S::f32s) {
    if values.len() >= S::F32_LANES {
        S::as_mut_simd_f32s(&mut values[..S::F32_LANES]).0[0] = vector;
    } else {
        let lanes = [vector];
        let floats: &[f32] = bytemuck::cast_slice(&lanes);
        values.copy_from_slice(&floats[..values.len()]);
    }
}
