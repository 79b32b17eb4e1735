//! Accumulators to int8, by four multiplications of 16 bits.

use crate::kernels::isa::Requantization;
use crate::quant::{self, Multiplier, OutputStage};
use core::arch::naked_asm;

/// Turns accumulators into outputs: `out[p * row + c]` from `accumulators[c * PITCH + p]`, for channels `c` below `channels` and pixels
/// `p` below `pixels`.
///
/// What the slices have no place for is left out, as [`Portable`](crate::kernels::portable::Portable) does.
pub fn requantize<const PITCH: usize>(
    accumulators: &[i32],
    channels: usize,
    factors: &Requantization<'_>,
    out: &mut [i8],
    row: usize,
    pixels: usize,
) {
    let needed = pixels.checked_sub(1).and_then(|before| before.checked_mul(row)?.checked_add(channels));
    let fits = pixels <= PITCH
        && needed.is_some_and(|needed| needed <= out.len())
        && channels * PITCH <= accumulators.len()
        && channels <= factors.multipliers.len().min(factors.shifts.len());
    let mut c = 0;
    loop {
        if fits && c < channels {
            let mut job = Job {
                multipliers: factors.multipliers.as_ptr().wrapping_add(c),
                shifts: factors.shifts.as_ptr().wrapping_add(c),
                out: out.as_mut_ptr().wrapping_add(c),
                end: accumulators.as_ptr().wrapping_add(channels * PITCH),
                read_bytes: size_of::<i32>() * pixels,
                skipped_bytes: size_of::<i32>() * (PITCH - pixels),
                row,
                zero_point: factors.stage.zero_point,
                act_min: factors.stage.act_min.into(),
                act_max: factors.stage.act_max.into(),
            };
            // SAFETY: there are a multiplier, a shift and `PITCH` accumulators for each channel from `c` to `channels`, at least one,
            // `pixels` is in `1..=PITCH`, and `out` has a place for each output.
            unsafe { fast(accumulators.as_ptr().wrapping_add(c * PITCH), &mut job) };
            c = job.out.addr() - out.as_ptr().addr();
        }
        if c >= channels {
            return;
        }
        for p in 0..pixels {
            if let (Some(&acc), Some(out)) = (accumulators.get(c * PITCH + p), out.get_mut(p * row + c)) {
                *out = slow(acc, factors.multiplier(c), &factors.stage);
            }
        }
        c += 1;
    }
}

/// A factor of 1 or more, which is rare: it needs all 64 bits of the product.
#[cold]
#[inline(never)]
fn slow(acc: i32, multiplier: Multiplier, stage: &OutputStage) -> i8 {
    quant::requantize(acc, multiplier, stage)
}

/// What [`fast`] works on; the pointers to a channel's numbers move on with the channels.
#[repr(C)]
struct Job {
    multipliers: *const i32,
    shifts: *const i8,
    out: *mut i8,
    /// The end of the accumulators.
    end: *const i32,
    /// Bytes of a channel's accumulators that are read, and those that are not.
    read_bytes: usize,
    skipped_bytes: usize,
    row: usize,
    zero_point: i32,
    act_min: i32,
    act_max: i32,
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

pub(super) use {high_mul, rounding_shift};

/// Channel after channel, until the end or a shift to the left. An output takes 30 instructions, a channel 26 more.
///
/// # Safety
/// `accumulators` is a channel's first, below `job.end` by whole channels, at least one, of `read_bytes + skipped_bytes` bytes each;
/// `read_bytes` is a multiple of 4 and not 0; there are a multiplier and a shift for each channel, and room for the outputs.
#[unsafe(naked)]
unsafe extern "C" fn fast(accumulators: *const i32, job: &mut Job) {
    naked_asm!(
        "push {{r4, r5, r6, r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r1, r4, r5, r6, r7}}",
        "movs r7, r1",
        "ldr r4, [r7, #24]",
        "mov r12, r4", // row
        "ldr r4, [r7, #28]",
        "mov r9, r4", // zero point
        "ldr r4, [r7, #32]",
        "mov r10, r4", // smallest output
        "ldr r4, [r7, #36]",
        "mov r11, r4", // largest output
        "2:",          // a channel
        "ldr r5, [r7, #4]",
        "movs r6, #0",
        "ldrsb r6, [r5, r6]",
        "rsbs r6, r6, #0",
        "bmi 9f",
        "mov r8, r6", // shift to the right
        "adds r5, r5, #1",
        "str r5, [r7, #4]",
        "ldr r5, [r7, #0]",
        "ldmia r5!, {{r3}}",
        "str r5, [r7, #0]",
        "uxth r2, r3",
        "lsrs r3, r3, #16",
        "ldr r1, [r7, #8]",
        "adds r5, r1, #1",
        "str r5, [r7, #8]",
        "ldr r5, [r7, #16]",
        "adds r5, r5, r0",
        "mov lr, r5",
        "3:", // a pixel
        "ldmia r0!, {{r4}}",
        high_mul!(),
        "mov r6, r8",
        "mov r7, r9",
        rounding_shift!(),
        "cmp r4, r10",
        "bge 4f",
        "mov r4, r10",
        "4:",
        "cmp r4, r11",
        "ble 5f",
        "mov r4, r11",
        "5:",
        "strb r4, [r1]",
        "add r1, r12",
        "cmp r0, lr",
        "bne 3b",
        "ldr r7, [sp]",
        "ldr r5, [r7, #20]",
        "adds r0, r0, r5",
        "ldr r5, [r7, #12]",
        "cmp r0, r5",
        "bne 2b",
        "9:",
        "pop {{r1, r4, r5, r6, r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4, r5, r6, r7, pc}}",
    )
}
