//! The tables of a layer, and what a kernel works out of them for a block of channels.

use super::layout::BLOCK;
use super::{InstructionSet, Level};
use crate::kernels::isa::{AddParams, Requantization};

/// The constants of a layer whose weights lie in blocks; one table entry an output channel.
#[derive(Clone, Copy, Debug)]
pub struct Blocked<'a> {
    /// Packed weights, see [`layout`](super::layout).
    pub weights: &'a [i8],
    /// Bias, the input's zero point folded in: `bias[o] - input_zero_point * sums[o]`.
    pub bias: &'a [i32],
    /// Sum of the weights: some instructions multiply unsigned bytes, `x + 128`, and take `128 * sums[o]` off again.
    pub sums: &'a [i32],
    /// Whether every weight is at least -127, as TensorFlow Lite makes them: two products then fit 16 bits. `false` is always right.
    pub is_symmetric: bool,
    /// What turns accumulators into int8.
    pub factors: Requantization<'a>,
}

/// A table of a block.
pub(super) type Lanes<T> = [T; BLOCK];

/// What a block's accumulators start from and how they are requantized, one lane a channel; zero beyond the last channel.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct BlockTables {
    pub bias: Lanes<i32>,
    #[cfg(target_arch = "x86_64")]
    pub sums: Lanes<i32>,
    pub multipliers: Lanes<i32>,
    /// Positive to the left.
    pub shifts: Lanes<i32>,
}

impl Blocked<'_> {
    /// Whether there is an entry for each of `channels` channels.
    pub(super) fn has_channels(&self, channels: usize) -> bool {
        let factors = &self.factors;
        [self.bias.len(), self.sums.len(), factors.multipliers.len(), factors.shifts.len()]
            .iter()
            .all(|&len| len >= channels)
    }

    /// The instruction set to use: the vector kernels add zero points in 16 bits.
    #[inline]
    pub(super) fn level(&self, level: Level) -> InstructionSet {
        if i8::try_from(self.factors.stage.zero_point).is_ok() {
            level.instruction_set()
        } else {
            InstructionSet::Portable
        }
    }

    /// The tables of a block.
    #[inline(always)]
    pub(super) fn block(&self, block: usize) -> BlockTables {
        let first = block * BLOCK;
        BlockTables {
            bias: lanes(self.bias, first),
            #[cfg(target_arch = "x86_64")]
            sums: lanes(self.sums, first),
            multipliers: lanes(self.factors.multipliers, first),
            shifts: lanes(self.factors.shifts, first).map(i32::from),
        }
    }
}

/// As [`Blocked::level`], for an addition: the vector kernels take its factors to be below one.
#[inline]
pub(super) fn add_level(level: Level, params: &AddParams) -> InstructionSet {
    let is_plain = |zero_point: &i32| i8::try_from(*zero_point).is_ok();
    let is_small = params.shifts.iter().all(|shift| (-31..=0).contains(shift));
    if is_small && params.input_zero_points.iter().chain([&params.stage.zero_point]).all(is_plain) {
        level.instruction_set()
    } else {
        InstructionSet::Portable
    }
}

/// Sixteen entries of a table, or as many as there are.
#[inline(always)]
fn lanes<T: Copy + Default>(table: &[T], first: usize) -> Lanes<T> {
    let table = table.get(first..).unwrap_or_default();
    if let Some(full) = table.first_chunk() {
        return *full;
    }
    let mut lanes = Lanes::default();
    for (lane, &entry) in lanes.iter_mut().zip(table) {
        *lane = entry;
    }
    lanes
}

/// What the x86-64 kernels requantize by.
///
/// # Arithmetic
/// With `m2 = 2 * multiplier` as an unsigned number and `acc` read as one, the high half of `acc * m2 + 2^31 + nudge * 2^32` is
/// `saturating_rounding_doubling_high_mul(acc, multiplier) + nudge`, but `m2` too much when `acc` is negative; and a negative
/// value that is divided must round its ties down, which is one less before the shift. `fix` is both, added where `acc < 0`.
/// (`acc = -1` with the smallest multiplier rounds to 0, which is not negative: one less does not change the quotient, since
/// `nudge - 1` is still in `0..2^right`.) `nudge` is half of the divisor: nothing overflows while the accumulator is within
/// `-2^30..=2^30`, or the right shift 0.
#[cfg(target_arch = "x86_64")]
pub(super) struct Scaling {
    pub left: Lanes<i32>,
    pub doubled: Lanes<i32>,
    pub nudge: Lanes<i32>,
    pub fix: Lanes<i32>,
    pub right: Lanes<i32>,
}

#[cfg(target_arch = "x86_64")]
impl Scaling {
    /// Works the tables out of multipliers and shifts.
    #[inline(always)]
    pub(super) fn new(multipliers: &Lanes<i32>, shifts: &Lanes<i32>) -> Self {
        let right = shifts.map(|s| (-s).max(0));
        let doubled = multipliers.map(|m| m.wrapping_mul(2));
        let mut fix = doubled.map(i32::wrapping_neg);
        for (fix, &right) in fix.iter_mut().zip(&right) {
            *fix = fix.wrapping_sub(i32::from(right > 0));
        }
        Self {
            left: shifts.map(|s| s.max(0)),
            doubled,
            nudge: right.map(|r| (1_u32.wrapping_shl(r.cast_unsigned()) >> 1).cast_signed()),
            fix,
            right,
        }
    }
}

/// Whether a factor of an addition is one half: its product with what was shifted up by 20 is the value shifted up by 19.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_half(params: &AddParams, i: usize) -> bool {
    params.multipliers[i] == 1 << 30 && params.shifts[i] == 0
}
