//! Accumulators to int8, and additions, by the high half of a product.

use super::reach;
use crate::kernels::isa::{AddParams, PIXELS, Requantization};
use crate::quant::{self, Multiplier, OutputStage};

/// A factor below one: a multiplier and a shift to the right, rounded each.
#[derive(Clone, Copy)]
struct Factor {
    multiplier: i32,
    right: u32,
    /// Half of `2^right`, or 0.
    half: i32,
    /// Numbers below round down at ties: 0, or none when there is no shift.
    below: i32,
}

impl Factor {
    /// `None` for a shift to the left.
    #[inline(always)]
    fn new(multiplier: i32, shift: i32) -> Option<Self> {
        let right = u32::try_from(-shift).ok()?;
        Some(Self {
            multiplier,
            right,
            half: (1_i32.wrapping_shl(right) as u32 >> 1) as i32,
            below: if right == 0 { i32::MIN } else { 0 },
        })
    }

    /// `x * multiplier / 2^31`, rounded with ties up, then `/ 2^right`, rounded with ties away from zero, for `2 * x` given.
    #[inline(always)]
    fn of_half(self, doubled: i32) -> i32 {
        let product = i64::from(doubled) * i64::from(self.multiplier);
        let high = ((product >> 32) as i32).wrapping_add((product as u32 >> 31) as i32);
        high.wrapping_add(self.half).wrapping_sub(i32::from(high < self.below)).wrapping_shr(self.right)
    }
}

/// Zero point and clamp in words.
#[derive(Clone, Copy)]
struct Stage {
    zero_point: i32,
    act_min: i32,
    act_max: i32,
}

impl Stage {
    #[inline(always)]
    fn new(stage: &OutputStage) -> Self {
        Self { zero_point: stage.zero_point, act_min: stage.act_min.into(), act_max: stage.act_max.into() }
    }

    #[inline(always)]
    fn output(self, value: i32) -> i8 {
        value.wrapping_add(self.zero_point).max(self.act_min).min(self.act_max) as i8
    }
}

/// See [`Isa::requantize`](crate::kernels::isa::Isa::requantize).
#[inline(never)]
pub fn tile(accumulators: &[[i32; PIXELS]], factors: &Requantization<'_>, out: &mut [i8], row: usize, pixels: usize) {
    let channels = accumulators.len();
    if !(1..=PIXELS).contains(&pixels) || reach(pixels, row, channels) > out.len() {
        return;
    }
    let stage = Stage::new(&factors.stage);
    let mut first = out.as_mut_ptr();
    for ((acc, &multiplier), &shift) in accumulators.iter().zip(factors.multipliers).zip(factors.shifts) {
        let mut out = first;
        let acc = acc.get(..pixels).unwrap_or_default();
        if let Some(factor) = Factor::new(multiplier, shift.into()) {
            for &acc in acc {
                // SAFETY: `out` has room for `pixels` rows of which each but the last has `row` values, and the last `channels`.
                unsafe { *out = stage.output(factor.of_half(acc << 1)) };
                out = out.wrapping_add(row);
            }
        } else {
            for &acc in acc {
                // SAFETY: as above.
                unsafe { *out = slow(acc, multiplier, shift, &factors.stage) };
                out = out.wrapping_add(row);
            }
        }
        first = first.wrapping_add(1);
    }
}

/// One pixel's channels from `first` on.
#[inline(never)]
pub fn pixel(accumulators: &[i32], factors: &Requantization<'_>, first: usize, out: &mut [i8]) {
    let multipliers = factors.multipliers.get(first..).unwrap_or_default();
    let shifts = factors.shifts.get(first..).unwrap_or_default();
    let stage = Stage::new(&factors.stage);
    for (((out, &acc), &multiplier), &shift) in out.iter_mut().zip(accumulators).zip(multipliers).zip(shifts) {
        *out = match Factor::new(multiplier, shift.into()) {
            Some(factor) => stage.output(factor.of_half(acc << 1)),
            None => slow(acc, multiplier, shift, &factors.stage),
        };
    }
}

/// A factor of 1 or more, which is rare: doubling could leave 32 bits.
#[cold]
#[inline(never)]
fn slow(acc: i32, multiplier: i32, shift: i8, stage: &OutputStage) -> i8 {
    quant::requantize(acc, Multiplier { multiplier, shift: shift.into() }, stage)
}

/// See [`Isa::add`](crate::kernels::isa::Isa::add).
#[inline(never)]
pub fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
    let factor = |i: usize| Factor::new(params.multipliers[i], params.shifts[i]);
    let (Some(of_a), Some(of_b), Some(of_sum)) = (factor(0), factor(1), factor(2)) else { return };
    let [zero_a, zero_b] = params.input_zero_points;
    let stage = Stage::new(&params.stage);
    for (a, &b) in a.iter_mut().zip(b) {
        let scaled_a = of_a.of_half((i32::from(*a) - zero_a) << 21);
        let scaled_b = of_b.of_half((i32::from(b) - zero_b) << 21);
        *a = stage.output(of_sum.of_half((scaled_a + scaled_b) << 1));
    }
}
