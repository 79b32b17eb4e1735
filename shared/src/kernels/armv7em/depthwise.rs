//! A pixel of a depthwise convolution, four channels at a time.

use super::requantize::four_channels;
use crate::kernels::isa::Requantization;
use crate::quant::requantize;
use core::arch::naked_asm;

/// A slice as the loop sees it.
#[repr(C)]
struct Cell {
    _values: *const i8,
    len: usize,
}

/// The compiler is free to choose how a slice reference lies in memory: this line does not compile should it ever choose otherwise.
const _: () = {
    // SAFETY: both types have two words; a pointer that became a length would end the compilation.
    let cell = unsafe { core::mem::transmute::<&[i8], Cell>(&[0; 3]) };
    assert!(cell.len == 3);
};

/// What the loop reads, in the order of its registers.
#[repr(C)]
struct Job {
    weights: *const i8,
    stride: usize,
    channel: usize,
    bias: *const i32,
    /// `2 * zero_point + 1`
    doubled_zero_point: i32,
    out: *mut i8,
    shifts: *const i8,
    multipliers: *const i32,
    /// The code for this zero point: 1 for a zero point of -128.
    above_zero_point: usize,
    channels: usize,
    cells: *const Cell,
    count: usize,
}

/// See [`Isa::depthwise`](crate::kernels::isa::Isa::depthwise).
pub(super) fn depthwise(
    cells: &[&[i8]],
    weights: &[i8],
    stride: usize,
    bias: &[i32],
    factors: &Requantization<'_>,
    out: &mut [i8],
) {
    let n = out.len().min(bias.len()).min(factors.multipliers.len()).min(factors.shifts.len());
    let end = cells.len().saturating_sub(1).checked_mul(stride).and_then(|start| start.checked_add(n));
    if end.is_none_or(|end| end > weights.len()) || cells.iter().any(|cell| cell.len() < n) {
        return;
    }
    let fours = if cells.is_empty() { 0 } else { n & !3 };
    if fours != 0 {
        let job = Job {
            weights: weights.as_ptr(),
            stride,
            channel: 0,
            bias: bias.as_ptr(),
            doubled_zero_point: 2 * factors.stage.zero_point + 1,
            out: out.as_mut_ptr(),
            shifts: factors.shifts.as_ptr(),
            multipliers: factors.multipliers.as_ptr(),
            above_zero_point: usize::from(factors.stage.zero_point == -128),
            channels: fours,
            cells: cells.as_ptr().cast(),
            count: cells.len(),
        };
        // SAFETY: there is a cell; all slices have the channels, and so has every row of the weights.
        unsafe { run(&job) };
    }
    for c in fours..n {
        rest(cells, weights, stride, bias, factors, out, c);
    }
    super::clamp(out.get_mut(..n).unwrap_or_default(), &factors.stage);
}

/// A channel beyond the last four.
#[cold]
fn rest(
    cells: &[&[i8]],
    weights: &[i8],
    stride: usize,
    bias: &[i32],
    factors: &Requantization<'_>,
    out: &mut [i8],
    c: usize,
) {
    let (Some(out), Some(&bias)) = (out.get_mut(c), bias.get(c)) else { return };
    let mut acc = bias;
    for (i, cell) in cells.iter().enumerate() {
        if let (Some(&value), Some(&weight)) = (cell.get(c), weights.get(i * stride + c)) {
            acc += i32::from(value) * i32::from(weight);
        }
    }
    *out = requantize(acc, factors.multiplier(c), &factors.stage);
}

/// A cell's four values in `$x`, its weights at `$w`: each is widened by two instructions.
macro_rules! cell {
    ($x:literal, $w:literal) => {
        concat!(
            "ldr ", $x, ", [", $x, ", r3]\n",
            "ldr r12, ", $w, "\n",
            "sxtb16 r11, ", $x, "\n",
            "sxtb16 ", $x, ", ", $x, ", ror #8\n",
            "sxtb16 lr, r12\n",
            "sxtb16 r12, r12, ror #8\n",
            "smlabb r4, r11, lr, r4\n",
            "smlatt r6, r11, lr, r6\n",
            "smlabb r5, ", $x, ", r12, r5\n",
            "smlatt r7, ", $x, ", r12, r7\n",
        )
    };
}

/// Three cells, whose addresses are on the stack.
macro_rules! three_cells {
    () => {
        concat!(
            "ldm r0!, {{r8-r10}}\n",
            cell!("r8", "[r1]"),
            cell!("r9", "[r1, r2]"),
            cell!("r10", "[r1, r2, lsl #1]"),
        )
    };
}

/// What precedes the products of four channels.
macro_rules! begin {
    () => {
        "ldm sp, {{r1-r4}}
        add r1, r1, r3
        add r4, r4, r3, lsl #2
        ldm r4, {{r4-r7}}"
    };
}

/// The output of one channel, as in `requantize.rs`; its shift is the lowest byte of r12.
macro_rules! output {
    ($acc:literal, $multiplier:literal, $sign:expr) => {
        concat!(
            "lsl lr, r0, r12\n",
            "lsl ", $acc, ", ", $acc, ", #1\n",
            "smmlar lr, ", $acc, ", ", $multiplier, ", lr\n",
            $sign,
            "asr lr, lr, r12\n",
            "ssat lr, #8, lr, asr #1\n",
            "strb lr, [r1], #1\n",
        )
    };
}

/// The outputs of four channels from the accumulators r4-r7; goes on with the next four.
macro_rules! outputs {
    ($($output:expr),*) => {
        concat!(
            "add r12, r12, r3, lsl #2\n",
            "ldm r12, {{r8-r11}}\n",
            "ldr r12, [r2, r3]\n",
            "add r1, r1, r3\n",
            "mvn r12, r12\n", // n - 1 in each byte
            "tst r12, #0xf0f0f0f0\n",
            "bne 50f\n",
            $($output,)*
            "51:\n",
            "add r3, r3, #4\n",
            "ldr r2, [sp, #36]\n",
            "str r3, [sp, #8]\n",
            "cmp r3, r2\n",
            "bhs 90f\n",
            "ldr pc, [sp, #40]\n",
            "50:\n", // a shift that is not 1 to 16 to the right
            "add r2, r2, r3\n",
            "mov r12, r1\n",
            "ldr r1, [sp, #28]\n",
            "add r1, r1, r3, lsl #2\n",
            "mov r3, r12\n",
            "push {{r0, r4-r8}}\n",
            "add r0, sp, #4\n",
            "bl {four_channels}\n",
            "add sp, sp, #24\n",
            "ldr r3, [sp, #8]\n",
            "b 51b\n",
        )
    };
}

/// All the channels of a pixel, which are a multiple of four. For nine cells 98 instructions for the products of four channels
/// and 46 to 50 for the rest.
///
/// # Safety
/// The job has at least one cell and four channels, and every pointer its entries.
#[unsafe(naked)]
unsafe extern "C" fn run(job: &Job) {
    // r0 cells, r1 weights, r2 stride, r3 channel, r4-r7 accumulators, r8-r12 lr values and weights.
    // Stack: the job, in which the code for the zero point and for the cells replace two fields; nine addresses.
    naked_asm!(
        "push {{r4-r11, lr}}",
        "sub sp, sp, #36",
        "ldm r0, {{r1-r12}}",
        "cmp r9, #0",
        "ite eq",
        "adreq r9, 30f",
        "adrne r9, 40f",
        "orr r9, r9, #1",
        "mov lr, r11",
        "cmp r12, #9",
        "ite eq",
        "adreq r11, 10f",
        "adrne r11, 20f",
        "orr r11, r11, #1",
        "push {{r1-r12}}",
        "bne 15f",
        "add r0, sp, #48",
        ".rept 3",
        "ldm lr!, {{r4-r9}}",
        "stm r0!, {{r4, r6, r8}}",
        ".endr",
        // Nine cells.
        ".p2align 2",
        "10:",
        begin!(),
        "add r0, sp, #48",
        three_cells!(),
        "add r1, r1, r2",
        "add r1, r1, r2, lsl #1",
        three_cells!(),
        "add r1, r1, r2",
        "add r1, r1, r2, lsl #1",
        three_cells!(),
        "add r0, sp, #16",
        "ldm r0, {{r0, r1, r2, r12, pc}}",
        // Any number of cells.
        "15:",
        "str lr, [sp, #48]",
        ".p2align 2",
        "20:",
        begin!(),
        "ldr r9, [sp, #44]",
        "ldr r0, [sp, #48]",
        "21:",
        "ldr r8, [r0], #8",
        cell!("r8", "[r1]"),
        "add r1, r1, r2",
        "subs r9, r9, #1",
        "bne 21b",
        "add r0, sp, #16",
        "ldm r0, {{r0, r1, r2, r12, pc}}",
        ".p2align 2",
        "30:",
        outputs!(
            output!("r4", "r8", "add lr, lr, r4, asr #31\n"),
            "lsr r12, r12, #8\n",
            output!("r5", "r9", "add lr, lr, r5, asr #31\n"),
            "lsr r12, r12, #8\n",
            output!("r6", "r10", "add lr, lr, r6, asr #31\n"),
            "lsr r12, r12, #8\n",
            output!("r7", "r11", "add lr, lr, r7, asr #31\n")
        ),
        ".p2align 2",
        "40:",
        outputs!(
            output!("r4", "r8", ""),
            "lsr r12, r12, #8\n",
            output!("r5", "r9", ""),
            "lsr r12, r12, #8\n",
            output!("r6", "r10", ""),
            "lsr r12, r12, #8\n",
            output!("r7", "r11", "")
        ),
        "90:",
        "add sp, sp, #84",
        "pop {{r4-r11, pc}}",
        four_channels = sym four_channels,
    )
}
