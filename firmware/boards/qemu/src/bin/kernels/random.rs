//! Random values from a fixed seed, the extremes more often than chance has them.

use ocelli::kernels::isa::AddParams;
use ocelli::quant::OutputStage;

/// A xorshift generator.
pub struct Rng(pub u64);

impl Rng {
    /// Any number.
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// A number below `end`, which is small.
    pub fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.next()) * end as u64) >> 32) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A number of `low..=high`.
    pub fn within(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as usize) as i32
    }

    /// Any int8, the extremes more often.
    pub fn value(&mut self) -> i8 {
        match self.below(16) {
            0 => -128,
            1 => 127,
            2 => 0,
            _ => self.next() as i8,
        }
    }

    /// Fills a slice: with anything, with few values, or with extremes alone.
    pub fn fill(&mut self, values: &mut [i8]) {
        let kind = self.below(8);
        for value in values {
            *value = match kind {
                0 => -128,
                1 => [-128, 127][self.below(2)],
                2 => self.within(-2, 2) as i8,
                _ => self.value(),
            };
        }
    }

    /// An accumulator, `-2^30..2^30`, of any magnitude.
    pub fn accumulator(&mut self) -> i32 {
        match self.below(8) {
            0 => -(1 << 30) + self.within(0, 3),
            1 => (1 << 30) - 1 - self.within(0, 3),
            2 => self.within(-3, 3),
            // beside a multiple of a power of two: half ways of the second rounding
            3 => (((self.next() as i32) >> 20) << self.below(18)) + self.within(-1, 1),
            _ => (self.next() as i32) >> (2 + self.below(28)),
        }
    }

    /// A multiplier: `2^30` and more, or 0.
    pub fn multiplier(&mut self) -> i32 {
        match self.below(8) {
            0 => 1 << 30,
            1 => i32::MAX,
            2 => (1 << 30) + (1 << 29),
            3 if self.one_in(4) => 0,
            _ => (1 << 30) | (self.next() >> 2) as i32,
        }
    }

    /// A zero point, often -128, and a clamp, often that of int8.
    pub fn stage(&mut self) -> OutputStage {
        let zero_point = if self.one_in(3) { -128 } else { i32::from(self.value()) };
        let (a, b) = (self.value(), self.value());
        match self.below(4) {
            0 => OutputStage { zero_point, act_min: a.min(b), act_max: a.max(b) },
            1 => OutputStage { zero_point, act_min: zero_point as i8, act_max: 127 },
            _ => OutputStage { zero_point, act_min: -128, act_max: 127 },
        }
    }

    /// The multipliers and shifts of channels.
    pub fn factors(&mut self, multipliers: &mut [i32], shifts: &mut [i8]) {
        let kind = self.below(4);
        for (multiplier, shift) in multipliers.iter_mut().zip(shifts) {
            *multiplier = self.multiplier();
            *shift = match kind {
                0 => self.within(-31, 30),
                1 => self.within(-24, 2),
                2 if self.one_in(8) => 0,
                _ => self.within(-12, -1),
            } as i8;
        }
    }

    /// The numbers of an addition: mostly as TensorFlow Lite makes them, where one input's factor is one half.
    pub fn add_params(&mut self) -> AddParams {
        let mut multipliers = [self.multiplier(), self.multiplier(), self.multiplier()];
        let mut shifts = [self.within(-6, 0), self.within(-6, 0), self.within(-22, -16)];
        match self.below(8) {
            0 => shifts = [self.within(-31, 0), self.within(-31, 0), self.within(-31, 0)],
            kind => {
                let half = self.below(2);
                (multipliers[half], shifts[half]) = (1 << 30, 0);
                if kind == 1 {
                    (multipliers[1 - half], shifts[1 - half]) = (1 << 30, 0);
                }
            }
        }
        let input_zero_points = [i32::from(self.value()), i32::from(self.value())];
        AddParams { input_zero_points, multipliers, shifts, stage: self.stage() }
    }
}
