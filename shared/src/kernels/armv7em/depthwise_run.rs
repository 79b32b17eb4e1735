//! Neighbouring pixels of a depthwise convolution: the weights of four channels are widened once for all pixels.
//!
//! # Arithmetic
//! Two cells' values of a channel lie in one word, and SMLAD makes both products. Weights and bias are doubled, so that the sum needs no
//! doubling before SMMLAR. The rest is that of [`thumb2::requantize`](crate::kernels::thumb2::requantize).

use crate::kernels::isa::Requantization;
use crate::kernels::thumb2::depthwise::Cell;
use crate::kernels::thumb2::{ends_within, is_narrow, narrow};
use core::arch::naked_asm;

/// What the loop reads, at these places.
#[repr(C)]
struct Job {
    weights: *const i8,
    stride: usize,
    bias: *const i32,
    multipliers: *const i32,
    shifts: *const i8,
    /// `2 * zero_point + 1`
    doubled_zero_point: i32,
    /// 0 for a zero point of -128.
    above_zero_point: i32,
    out: *mut i8,
    channels: usize,
    step: usize,
    /// Outputs of all pixels.
    outputs: usize,
    /// Nine of them.
    cells: *const Cell,
}

/// Computes the pixels and returns whether it could: of nine cells, with channels in fours and shifts of 1 to 22 to the right.
#[inline(always)]
pub(super) fn depthwise_run(
    cells: &[&[i8]],
    step: usize,
    weights: &[i8],
    stride: usize,
    bias: &[i32],
    factors: &Requantization<'_>,
    out: &mut [i8],
) -> bool {
    let channels = bias.len();
    let Ok(cells) = <&[&[i8]; 9]>::try_from(cells) else { return false };
    let Some(others) = out.len().checked_div(channels).and_then(|pixels| pixels.checked_sub(1)) else { return false };
    let outputs = (others + 1) * channels;
    if channels % 4 != 0
        || factors.multipliers.len() < channels
        || factors.shifts.get(..channels).is_none_or(|shifts| shifts.iter().any(|shift| !(-22..=-1).contains(shift)))
        || !ends_within(8, stride, channels, weights.len())
        || cells.iter().any(|cell| !ends_within(others, step, channels, cell.len()))
    {
        return false;
    }
    let zero_point = factors.stage.zero_point;
    let job = Job {
        weights: weights.as_ptr(),
        stride,
        bias: bias.as_ptr(),
        multipliers: factors.multipliers.as_ptr(),
        shifts: factors.shifts.as_ptr(),
        doubled_zero_point: zero_point.wrapping_mul(2).wrapping_add(1),
        above_zero_point: zero_point.wrapping_add(128),
        out: out.as_mut_ptr(),
        channels,
        step,
        outputs,
        cells: cells.as_ptr().cast(),
    };
    // SAFETY: there are at least four channels and one pixel; every cell has the last pixel's channels, `step` values apart, and bias,
    // factors and each cell's weights have entries for all channels.
    unsafe { run(&job) };
    if is_narrow(&factors.stage) {
        narrow(out.get_mut(..outputs).unwrap_or_default(), &factors.stage);
    }
    true
}

/// The products of two cells; their addresses and four words of weights are next in the table at r1.
macro_rules! two_cells {
    () => {
        "ldm r1!, {r6-r11}
        ldr r6, [r6, r0]
        ldr r7, [r7, r0]
        pkhbt r12, r6, r7, lsl #16
        pkhtb lr, r7, r6, asr #16
        sxtb16 r6, r12
        sxtb16 r12, r12, ror #8
        sxtb16 r7, lr
        sxtb16 lr, lr, ror #8
        smlad r2, r6, r8, r2
        smlad r3, r12, r9, r3
        smlad r4, r7, r10, r4
        smlad r5, lr, r11, r5"
    };
}

/// The pixels of four channels, given what follows the multiplication.
macro_rules! pixels {
    ($($sign:literal),*) => {
        concat! {
            "5:\n",
            "ldm r1!, {r2-r5}\n",
            two_cells!(), "\n",
            two_cells!(), "\n",
            two_cells!(), "\n",
            two_cells!(), "\n",
            "ldm r1!, {r6-r8}\n",
            "ldr r6, [r6, r0]\n",
            "sxtb16 r9, r6\n",
            "sxtb16 r6, r6, ror #8\n",
            "smlabb r2, r9, r7, r2\n",
            "smlatt r4, r9, r7, r4\n",
            "smlabb r3, r6, r8, r3\n",
            "smlatt r5, r6, r8, r5\n",
            "ldm r1!, {r6-r9}\n", // multipliers
            "ldm r1!, {r10, r11, r12, lr}\n", // zero points
            "smmlar r10, r2, r6, r10\n",
            "smmlar r11, r3, r7, r11\n",
            "smmlar r12, r4, r8, r12\n",
            "smmlar lr, r5, r9, lr\n",
            $($sign, "\n",)*
            "ldm r1, {r6-r9}\n", // shifts
            "asr r10, r10, r6\n",
            "asr r11, r11, r7\n",
            "asr r12, r12, r8\n",
            "asr lr, lr, r9\n",
            "ssat r10, #8, r10, asr #1\n",
            "ssat r11, #8, r11, asr #1\n",
            "ssat r12, #8, r12, asr #1\n",
            "ssat lr, #8, lr, asr #1\n",
            "ldm sp, {r2-r5}\n",
            "strb r10, [r2]\n",
            "strb r11, [r2, #1]\n",
            "strb r12, [r2, #2]\n",
            "strb lr, [r2, #3]\n",
            "add r0, r0, r4\n",
            "add r2, r2, r3\n",
            "str r2, [sp]\n",
            "add r1, sp, #16\n",
            "cmp r2, r5\n",
            "bne 5b\n",
        }
    };
}

/// 87 or 91 instructions for four channels of a pixel, about 110 before the first one.
///
/// # Safety
/// As many entries as there are channels, a multiple of 4 and not 0, lie in all tables, and of each cell and pixel; `outputs` is a
/// multiple of the channels and not 0.
#[unsafe(naked)]
unsafe extern "C" fn run(job: &Job) {
    // r0 place in the cells, r1 table, r2-r5 accumulators.
    // Stack: 0 output, channels, step, end of the outputs; the table: 16 bias, 32 weights of pairs of cells, 128 of the last cell,
    // 140 multipliers, 156 zero points, 172 shifts less one; 188 job, channel.
    naked_asm!(
        dsp!(),
        "push {r4-r11, lr}",
        "sub sp, sp, #196",
        "str r0, [sp, #188]",
        "ldrd r3, r4, [r0, #32]",
        "strd r3, r4, [sp, #4]",
        "ldr r1, [r0, #44]", // addresses and lengths
        "add r2, sp, #32",
        ".rept 4",
        "ldr r3, [r1], #8",
        "ldr r4, [r1], #8",
        "strd r3, r4, [r2], #24",
        ".endr",
        "ldr r3, [r1]",
        "str r3, [r2]",
        "mov r1, #0",
        // Four channels: their table.
        "1:",
        "str r1, [sp, #192]",
        "ldm r0, {r4-r9}",
        "add r4, r4, r1",
        "add r6, r6, r1, lsl #2",
        "ldm r6, {r10, r11, r12, lr}",
        "lsl r10, r10, #1",
        "lsl r11, r11, #1",
        "lsl r12, r12, #1",
        "lsl lr, lr, #1",
        "add r2, sp, #16",
        "stm r2!, {r10, r11, r12, lr}",
        "add r7, r7, r1, lsl #2",
        "ldm r7, {r10, r11, r12, lr}",
        "add r3, sp, #140",
        "stm r3!, {r10, r11, r12, lr}",
        "ldr r8, [r8, r1]",
        "mvn r8, r8", // n - 1 in each byte
        "uxtb r10, r8",
        "ubfx r11, r8, #8, #8",
        "ubfx r12, r8, #16, #8",
        "lsr lr, r8, #24",
        "add r6, sp, #172",
        "stm r6, {r10, r11, r12, lr}",
        "lsl r10, r9, r10",
        "lsl r11, r9, r11",
        "lsl r12, r9, r12",
        "lsl lr, r9, lr",
        "stm r3, {r10, r11, r12, lr}",
        ".rept 4",
        "ldr r6, [r4]",
        "ldr r7, [r4, r5]",
        "add r4, r4, r5, lsl #1",
        "pkhbt r8, r6, r7, lsl #16",
        "pkhtb r9, r7, r6, asr #16",
        "sxtb16 r10, r8",
        "sxtb16 r11, r8, ror #8",
        "sxtb16 r12, r9",
        "sxtb16 lr, r9, ror #8",
        "sadd16 r10, r10, r10",
        "sadd16 r11, r11, r11",
        "sadd16 r12, r12, r12",
        "sadd16 lr, lr, lr",
        "add r2, r2, #8",
        "stm r2!, {r10, r11, r12, lr}",
        ".endr",
        "ldr r6, [r4]",
        "sxtb16 r10, r6",
        "sxtb16 r11, r6, ror #8",
        "sadd16 r10, r10, r10",
        "sadd16 r11, r11, r11",
        "strd r10, r11, [r2, #4]",
        "ldr r6, [r0, #28]",
        "ldr r7, [r0, #40]",
        "add r6, r6, r1",
        "add r7, r7, r6",
        "str r6, [sp]",
        "str r7, [sp, #12]",
        "ldr r2, [r0, #24]",
        "mov r0, r1",
        "add r1, sp, #16",
        "cmp r2, #0",
        "beq.w 3f",
        ".p2align 2",
        "2:",
        pixels!(
            "add r10, r10, r2, asr #31",
            "add r11, r11, r3, asr #31",
            "add r12, r12, r4, asr #31",
            "add lr, lr, r5, asr #31"
        ),
        "b 4f",
        ".p2align 2",
        "3:",
        pixels!(),
        "4:",
        "ldrd r0, r1, [sp, #188]",
        "ldr r2, [r0, #32]",
        "add r1, r1, #4",
        "cmp r1, r2",
        "blo 1b",
        "add sp, sp, #196",
        "pop {r4-r11, pc}",
        options(raw)
    )
}
