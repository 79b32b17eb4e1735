//! The addition of two tensors.
//!
//! # Arithmetic
//! One of the two factors of an int8 addition is one half, that of the input with the larger scale: `(value - zero_point) * 2^19`
//! is exact. The other input and the sum are rounded as in `requantize.rs`. All sums stay below `2^29`. The loops compute no other
//! additions: these are left to the portable code.

use super::{is_narrow, narrow};
use crate::kernels::isa::AddParams;
use crate::kernels::portable::add_one;

/// What the loop keeps in registers, in their order.
#[repr(C)]
pub(in crate::kernels) struct Job {
    halved: *const i8,
    scaled: *const i8,
    out: *mut i8,
    /// Zero point of the halved input, times `2^20`.
    halved_zero: i32,
    /// Zero point of the other input, times `2^21`.
    scaled_zero: i32,
    multiplier: i32,
    /// `2^(shift - 1)`
    half: i32,
    shift: i32,
    sum_multiplier: i32,
    /// `(2 * zero_point + 1) * 2^sum_shift`
    sum_offset: i32,
    /// The right shift of the sum, less one.
    sum_shift: i32,
    out_end: *const i8,
}

/// The loop of an instruction set.
///
/// # Safety
/// The elements of both inputs are readable and those of the output writable; the outputs are a multiple of 4 and not none.
pub(in crate::kernels) type Run = unsafe extern "C" fn(&Job);

/// See [`Isa::add`](crate::kernels::isa::Isa::add).
#[inline(always)]
pub(in crate::kernels) fn add(params: &AddParams, a: &mut [i8], b: &[i8], run: Run) {
    let n = a.len().min(b.len());
    let (Some(a), Some(b)) = (a.get_mut(..n), b.get(..n)) else { return };
    let mut done = 0;
    if let Some(mut job) = job(params).filter(|_| n >= 4) {
        done = n & !3;
        job.out = a.as_mut_ptr();
        let inputs = [job.out.cast_const(), b.as_ptr()];
        [job.halved, job.scaled] = if is_half(params, 0) { inputs } else { [inputs[1], inputs[0]] };
        job.out_end = job.out.wrapping_add(done);
        // SAFETY: both slices have `done` values, a multiple of 4 and not 0.
        unsafe { run(&job) };
        if is_narrow(&params.stage) {
            narrow(a.get_mut(..done).unwrap_or_default(), &params.stage);
        }
    }
    for (a, &b) in a.iter_mut().zip(b).skip(done) {
        *a = add_one(params, *a, b);
    }
}

/// Whether the factor of an input is one half.
fn is_half(params: &AddParams, input: usize) -> bool {
    params.multipliers.get(input) == Some(&(1 << 30)) && params.shifts.get(input) == Some(&0)
}

/// The constants of the fast loop; `None` when it cannot be used.
fn job(params: &AddParams) -> Option<Job> {
    let AddParams { input_zero_points: zero_points, multipliers, shifts, stage } = *params;
    let (halved, scaled) = if is_half(params, 0) { (zero_points[0], 1) } else { (zero_points[1], 0) };
    if !is_half(params, 1 - scaled) {
        return None;
    }
    let (multiplier, shift) = if is_half(params, scaled) {
        // As good as 2^31, halved: the products are multiples of 2^20 below 2^29, so that what is missing is rounded away.
        (i32::MAX, 1)
    } else {
        (multipliers[scaled], shifts[scaled].wrapping_neg())
    };
    let sum_shift = !shifts[2]; // its right shift, less one
    if !(1..=31).contains(&shift) || !(0..=21).contains(&sum_shift) {
        return None;
    }
    Some(Job {
        halved: core::ptr::null(),
        scaled: core::ptr::null(),
        out: core::ptr::null_mut(),
        halved_zero: halved << 20,
        scaled_zero: zero_points[scaled] << 21,
        multiplier,
        half: 1 << (shift - 1),
        shift,
        sum_multiplier: multipliers[2],
        sum_offset: stage.zero_point.wrapping_mul(2).wrapping_add(1) << sum_shift,
        sum_shift,
        out_end: core::ptr::null(),
    })
}
