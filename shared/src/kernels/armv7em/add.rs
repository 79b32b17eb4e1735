//! The addition of two tensors.
//!
//! # Arithmetic
//! One of the two factors of an int8 addition is one half, that of the input with the larger scale: `(value - zero_point) * 2^19`
//! is exact. The other input and the sum are rounded as in `requantize.rs`. All sums stay below `2^29`.

use crate::kernels::isa::AddParams;
use crate::kernels::portable::add_one;
use core::arch::naked_asm;

/// What the loop keeps in registers, in their order.
#[repr(C)]
struct Job {
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

/// See [`Isa::add`](crate::kernels::isa::Isa::add).
pub(super) fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
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
        super::clamp(a.get_mut(..done).unwrap_or_default(), &params.stage);
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
        (multipliers[scaled], -shifts[scaled])
    };
    let sum_shift = -1 - shifts[2];
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
        sum_offset: (2 * stage.zero_point + 1) << sum_shift,
        sum_shift,
        out_end: core::ptr::null(),
    })
}

/// 13 instructions an element and 3 for each four.
///
/// # Safety
/// The elements of both inputs are readable and those of the output writable; the outputs are a multiple of 4 and not none.
#[unsafe(naked)]
unsafe extern "C" fn run(job: &Job) {
    // r0-r10 as in the job, r11 halved, r12 scaled, lr sum. Stack: the end.
    naked_asm!(
        "push {r4-r11, lr}",
        "ldm r0, {r0-r11}",
        "push {r10, r11}",
        ".p2align 2",
        "1:",
        ".rept 4",
        "ldrsb r12, [r1], #1",
        "ldrsb r11, [r0], #1",
        "rsb r12, r4, r12, lsl #21",
        "smmlar lr, r12, r5, r6",
        "add lr, lr, r12, asr #31",
        "asr lr, lr, r7",
        "rsb r11, r3, r11, lsl #20",
        "add r11, r11, lr, lsl #1",
        "smmlar lr, r11, r8, r9",
        "add lr, lr, r11, asr #31",
        "asr lr, lr, r10",
        "ssat lr, #8, lr, asr #1",
        "strb lr, [r2], #1",
        ".endr",
        "ldr lr, [sp, #4]",
        "cmp r2, lr",
        "bne 1b",
        "add sp, sp, #8",
        "pop {r4-r11, pc}",
        options(raw)
    )
}
