//! Addition of int8 values.

use super::requantize::{clamp, high_mul, rounding_shift};
use crate::kernels::isa::AddParams;
use core::arch::naked_asm;

/// See [`Isa::add`](crate::kernels::isa::Isa::add).
pub fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
    let len = a.len().min(b.len());
    if len == 0 {
        return;
    }
    let [of_a, of_b, of_sum] = params.multipliers;
    let halves = |multiplier: i32| [(multiplier as u32) & 0xffff, (multiplier as u32) >> 16];
    let [low_a, high_a] = halves(of_a);
    let [low_b, high_b] = halves(of_b);
    let [low_sum, high_sum] = halves(of_sum);
    let numbers = Numbers {
        low_a,
        high_a: high_a << 5,
        shift_a: -params.shifts[0],
        low_b,
        high_b: high_b << 5,
        shift_b: -params.shifts[1],
        low_sum,
        high_sum,
        shift_sum: -params.shifts[2],
        zero_point: params.stage.zero_point,
        act_min: params.stage.act_min.into(),
        act_max: params.stage.act_max.into(),
        zero_point_a: params.input_zero_points[0],
        zero_point_b: params.input_zero_points[1],
    };
    // SAFETY: both slices have `len` values, at least one.
    unsafe { fast(a.as_mut_ptr(), b.as_ptr(), len, &numbers) };
}

/// The multipliers in halves, the shifts to the right. The upper half of an input's multiplier is 5 places to the left already.
#[repr(C)]
struct Numbers {
    low_a: u32,
    high_a: u32,
    shift_a: i32,
    low_b: u32,
    high_b: u32,
    shift_b: i32,
    low_sum: u32,
    high_sum: u32,
    shift_sum: i32,
    zero_point: i32,
    act_min: i32,
    act_max: i32,
    zero_point_a: i32,
    zero_point_b: i32,
}

/// `r4 = round((r4 << 20) * multiplier / 2^31)`, ties up, for the multiplier whose halves are in `r3` (high, times 32) and `r2`.
///
/// # Arithmetic
/// That is `r4 * multiplier / 2^11`; `|r4| < 2^8`, so that neither product leaves 32 bits.
macro_rules! scale {
    () => {
        concat!("muls r2, r4, r2\n", "muls r4, r3, r4\n", "asrs r2, r2, #11\n", "adcs r4, r2\n")
    };
}

/// All values, 59 instructions each.
///
/// # Safety
/// `a` and `b` have `len` values, and `len` is not 0.
#[unsafe(naked)]
unsafe extern "C" fn fast(a: *mut i8, b: *const i8, len: usize, numbers: &Numbers) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4, r5, r6, r7}}",
        "mov r8, r1", // b
        "adds r2, r2, r0",
        "mov r12, r2", // end of a
        "mov lr, r3",  // numbers
        "ldr r4, [r3, #36]",
        "mov r9, r4", // zero point
        "ldr r4, [r3, #40]",
        "mov r10, r4", // smallest output
        "ldr r4, [r3, #44]",
        "mov r11, r4", // largest output
        "2:",
        "mov r7, lr",
        "movs r5, #0",
        "ldrsb r4, [r0, r5]",
        "ldr r6, [r7, #48]",
        "subs r4, r4, r6",
        "ldmia r7!, {{r2, r3, r6}}",
        "movs r1, r7",
        "movs r7, #0",
        scale!(),
        rounding_shift!(),
        "movs r7, r4", // the scaled a: the shift of b adds it
        "mov r4, r8",
        "movs r5, #0",
        "ldrsb r5, [r4, r5]",
        "adds r4, r4, #1",
        "mov r8, r4",
        "ldr r4, [r1, #40]",
        "subs r4, r5, r4",
        "ldmia r1!, {{r2, r3, r6}}",
        scale!(),
        rounding_shift!(),
        "ldmia r1!, {{r2, r3}}",
        high_mul!(),
        "ldr r6, [r1]",
        "mov r7, r9",
        rounding_shift!(),
        clamp!(),
        "strb r4, [r0]",
        "adds r0, r0, #1",
        "cmp r0, r12",
        "bne 2b",
        "pop {{r4, r5, r6, r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4, r5, r6, r7, pc}}",
    )
}
