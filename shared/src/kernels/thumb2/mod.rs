//! What cores with Thumb-2 have in common, with and without the DSP extension: the checks before the loops, and what the loops read.
//!
//! The loops of `armv7em` and `armv7m` are functions in assembly. They are called from here only, after every length is checked.

#![allow(unsafe_code)]

pub(super) mod add;
pub(super) mod depthwise;
pub(super) mod requantize;
pub(super) mod tile;

use crate::quant::OutputStage;

/// Whether `others` steps of `stride` and then `last` places end within `len`.
#[inline]
pub(super) fn ends_within(others: usize, stride: usize, last: usize, len: usize) -> bool {
    // a 32-bit core: the product and the sum fit
    others as u64 * stride as u64 + last as u64 <= len as u64
}

/// Whether an activation has other bounds than int8, which is rare.
#[inline]
pub(super) fn is_narrow(stage: &OutputStage) -> bool {
    (stage.act_min, stage.act_max) != (i8::MIN, i8::MAX)
}

/// Clamps what is clamped to int8 already to the activation's range.
#[cold]
pub(super) fn narrow(out: &mut [i8], stage: &OutputStage) {
    for value in out {
        *value = (*value).max(stage.act_min).min(stage.act_max);
    }
}
