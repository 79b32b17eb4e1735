//! Accumulators to int8, by four multiplications of 16 bits.

use super::reach;
use crate::kernels::isa::{PIXELS, Requantization};
use crate::quant::{self, Multiplier, OutputStage};
use core::arch::naked_asm;

/// See [`Isa::requantize`](crate::kernels::isa::Isa::requantize).
#[inline(never)] // what it needs of the stack is then not there while a column is gathered
pub fn tile(accumulators: &[[i32; PIXELS]], factors: &Requantization<'_>, out: &mut [i8], row: usize, pixels: usize) {
    let channels = accumulators.len();
    if channels == 0 || !(1..=PIXELS).contains(&pixels) || reach(pixels, row, channels) > out.len() {
        return;
    }
    let accumulators = accumulators.as_flattened().as_ptr_range();
    let Some(mut job) = Job::new(accumulators.end, channels, factors, 0, out) else { return };
    job.row = row;
    job.read_bytes = size_of::<i32>() * pixels;
    job.skipped_bytes = size_of::<i32>() * (PIXELS - pixels);
    job.back = row.wrapping_mul(pixels).wrapping_neg().wrapping_add(1);
    // SAFETY: there are as many multipliers and shifts as channels, at least one; `pixels` is in `1..=PIXELS`, and `out` has a place for
    // each output.
    unsafe { fast_tile(accumulators.start, &mut job) };
}

/// The same for one pixel's channels from `first` on, whose accumulators are next to one another.
#[inline(never)]
pub fn pixel(accumulators: &[i32], factors: &Requantization<'_>, first: usize, out: &mut [i8]) {
    if accumulators.is_empty() || accumulators.len() > out.len() {
        return;
    }
    let channels = accumulators.len();
    let accumulators = accumulators.as_ptr_range();
    let Some(mut job) = Job::new(accumulators.end, channels, factors, first, out) else { return };
    // SAFETY: there are as many multipliers, shifts and places in `out` as accumulators, at least one.
    unsafe { fast_pixel(accumulators.start, &mut job) };
}

/// What the loops work on.
#[repr(C)]
struct Job {
    multipliers: *const i32,
    shifts: *const i8,
    out: *mut i8,
    /// The end of the accumulators.
    end: *const i32,
    stage: Stage,
    row: usize,
    /// Bytes of a channel's accumulators that are read, and of those that are not.
    read_bytes: usize,
    skipped_bytes: usize,
    /// From the place after a channel's last output (a row on) to the next channel's first, modulo 2^32.
    back: usize,
}

/// An [`OutputStage`] in words.
#[repr(C)]
struct Stage {
    zero_point: i32,
    act_min: i32,
    act_max: i32,
}

impl Job {
    /// For `channels` channels from `first` on; `None` when there are not as many factors.
    #[inline]
    fn new(
        end: *const i32,
        channels: usize,
        factors: &Requantization<'_>,
        first: usize,
        out: &mut [i8],
    ) -> Option<Self> {
        let last = first + channels;
        if last > factors.multipliers.len() || last > factors.shifts.len() {
            return None;
        }
        let OutputStage { zero_point, act_min, act_max } = factors.stage;
        Some(Self {
            multipliers: factors.multipliers.as_ptr().wrapping_add(first),
            shifts: factors.shifts.as_ptr().wrapping_add(first),
            out: out.as_mut_ptr(),
            end,
            stage: Stage { zero_point, act_min: act_min.into(), act_max: act_max.into() },
            row: 0,
            read_bytes: size_of::<i32>(),
            skipped_bytes: 0,
            back: 1,
        })
    }
}

/// An output whose factor is 1 or more (a negative shift to the right), which is rare: that needs all 64 bits of the product.
#[cold]
extern "C" fn slow(acc: i32, multiplier: i32, right: i32, stage: &Stage) -> i32 {
    let stage =
        OutputStage { zero_point: stage.zero_point, act_min: stage.act_min as i8, act_max: stage.act_max as i8 };
    quant::requantize(acc, Multiplier { multiplier, shift: -right }, &stage).into()
}

/// `r4 = round(r4 * multiplier / 2^31)`, ties up, for a multiplier of `r2 + (r3 << 16)`, both positive, and `|r4| < 2^30`.
///
/// # Arithmetic
/// With `r4 = low + (high << 16)`, `low` an int16, the product is `(high * r3 << 32) + (mid << 16)` and 16 bits more, `mid = high * r2 +
/// low * r3 + (low * r2 >> 16)`. No term of `mid` leaves 32 bits, nor does their sum: `|high| <= 2^14`, `|low| <= 2^15`, `r2 < 2^16`,
/// `r3 < 2^15`. Bit 14 of `mid`, which the last shift leaves in the carry, rounds; the 16 bits below `mid` cannot change that.
macro_rules! high_mul {
    () => {
        concat!(
            "sxth r5, r4\n",
            "subs r4, r4, r5\n",
            "asrs r4, r4, #16\n",
            "movs r6, r5\n",
            "muls r6, r2, r6\n",
            "asrs r6, r6, #16\n",
            "muls r5, r3, r5\n",
            "movs r7, r4\n",
            "muls r7, r2, r7\n",
            "muls r4, r3, r4\n",
            "adds r5, r5, r6\n",
            "adds r5, r5, r7\n",
            "lsls r4, r4, #1\n",
            "asrs r5, r5, #15\n",
            "adcs r4, r5\n",
        )
    };
}

/// `r4 = round(r4 / 2^r6) + r7`, ties away from zero. Takes `r5`.
///
/// # Arithmetic
/// 1 less for a negative number, then the last bit shifted out is added, which rounds ties up. A shift by 0 leaves the carry of the
/// addition of -1, which gives the 1 back.
macro_rules! rounding_shift {
    () => {
        concat!("asrs r5, r4, #31\n", "adds r4, r4, r5\n", "asrs r4, r6\n", "adcs r4, r7\n")
    };
}

/// Clamps `r4` to `r10..=r11`.
macro_rules! clamp {
    () => {
        concat!(
            "cmp r4, r10\n",
            "bge 98f\n",
            "mov r4, r10\n",
            "98:\n",
            "cmp r4, r11\n",
            "ble 99f\n",
            "mov r4, r11\n",
            "99:\n",
        )
    };
}

pub(super) use {clamp, high_mul, rounding_shift};

/// Channel after channel: an output takes 30 instructions, a channel 23 more.
///
/// # Safety
/// `accumulators..job.end` holds [`PIXELS`] accumulators for each channel, at least one; `job.read_bytes`, in `4..=16`, and
/// `job.skipped_bytes` are multiples of 4 and together 16; there are a multiplier and a shift for each channel, and room for the
/// outputs, each pixel's `job.row` after the one before.
#[unsafe(naked)]
unsafe extern "C" fn fast_tile(accumulators: *const i32, job: &mut Job) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r1, r4, r5, r6, r7}}",
        "movs r7, r1",
        "ldr r4, [r7, #16]",
        "mov r9, r4", // zero point
        "ldr r4, [r7, #20]",
        "mov r10, r4", // smallest output
        "ldr r4, [r7, #24]",
        "mov r11, r4", // largest output
        "ldr r4, [r7, #28]",
        "mov r12, r4", // row
        "ldr r1, [r7, #8]",
        "2:", // a channel
        "ldr r5, [r7, #32]",
        "adds r5, r5, r0",
        "mov lr, r5",
        "ldr r5, [r7, #0]",
        "ldmia r5!, {{r3}}",
        "str r5, [r7, #0]",
        "uxth r2, r3",
        "ldr r5, [r7, #4]",
        "movs r6, #0",
        "ldrsb r6, [r5, r6]",
        "adds r5, r5, #1",
        "str r5, [r7, #4]",
        "rsbs r6, r6, #0",
        "mov r8, r6", // shift to the right
        "bmi 6f",
        "lsrs r3, r3, #16",
        "3:", // a pixel
        "ldmia r0!, {{r4}}",
        high_mul!(),
        "mov r6, r8",
        "mov r7, r9",
        rounding_shift!(),
        clamp!(),
        "strb r4, [r1]",
        "add r1, r12",
        "cmp r0, lr",
        "bne 3b",
        "5:",
        "ldr r7, [sp]",
        "ldr r5, [r7, #36]", // from the last pixel of a channel to the first of the next
        "adds r0, r0, r5",
        "ldr r5, [r7, #40]",
        "adds r1, r1, r5",
        "ldr r5, [r7, #12]",
        "cmp r0, r5",
        "bne 2b",
        "pop {{r1, r4, r5, r6, r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4, r5, r6, r7, pc}}",
        "6:", // a channel whose factor is 1 or more
        "movs r4, r1",
        "movs r5, r3",
        "movs r6, r0",
        "mov r7, lr",
        "7:",
        "ldmia r6!, {{r0}}",
        "movs r1, r5",
        "mov r2, r8",
        "ldr r3, [sp]",
        "adds r3, r3, #16",
        "bl {slow}",
        "strb r0, [r4]",
        "ldr r3, [sp]",
        "ldr r3, [r3, #28]",
        "adds r4, r4, r3",
        "cmp r6, r7",
        "bne 7b",
        "mov r12, r3",
        "movs r0, r6",
        "movs r1, r4",
        "b 5b",
        slow = sym slow,
    )
}

/// One pixel's channels: 42 instructions an output.
///
/// # Safety
/// As [`fast_tile`]'s, with one accumulator for each channel, whatever `job.read_bytes` and `job.row`.
#[unsafe(naked)]
unsafe extern "C" fn fast_pixel(accumulators: *const i32, job: &mut Job) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4, r5, r6, r7}}",
        "ldmia r1!, {{r2, r3, r4, r5}}",
        "mov r8, r2", // multipliers
        "mov r12, r3", // shifts
        "mov lr, r5", // end of the accumulators
        "push {{r1}}", // stage
        "ldmia r1!, {{r2, r3, r5}}",
        "mov r9, r2", // zero point
        "mov r10, r3", // smallest output
        "mov r11, r5", // largest output
        "movs r1, r4",
        "2:", // a channel
        "mov r5, r8",
        "ldmia r5!, {{r3}}",
        "mov r8, r5",
        "ldmia r0!, {{r4}}",
        "mov r5, r12",
        "movs r6, #0",
        "ldrsb r6, [r5, r6]",
        "adds r5, r5, #1",
        "mov r12, r5",
        "rsbs r6, r6, #0",
        "bmi 6f",
        "push {{r6}}",
        "uxth r2, r3",
        "lsrs r3, r3, #16",
        high_mul!(),
        "pop {{r6}}",
        "mov r7, r9",
        rounding_shift!(),
        "3:",
        clamp!(),
        "strb r4, [r1]",
        "adds r1, r1, #1",
        "cmp r0, lr",
        "bne 2b",
        "pop {{r2, r4, r5, r6, r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4, r5, r6, r7, pc}}",
        "6:", // a channel whose factor is 1 or more
        "mov r5, r12",
        "mov r7, lr",
        "movs r2, r6",
        "mov r12, r1",
        "movs r6, r0",
        "movs r0, r4",
        "mov r4, r12",
        "movs r1, r3",
        "ldr r3, [sp]",
        "bl {slow}",
        "mov r12, r5",
        "mov lr, r7",
        "movs r1, r4",
        "movs r4, r0",
        "movs r0, r6",
        "b 3b",
        slow = sym slow,
    )
}
