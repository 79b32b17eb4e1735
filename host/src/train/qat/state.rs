//! The intervals of activations while a network is trained for int8.

use crate::quantize::{Calibration, Calibrator, Range, RangeRule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Share of an averaged interval that a step keeps.
const KEPT: f32 = 0.99;
/// Of the rule that learns intervals: Adam on the logarithm of their width.
const BETAS: [f64; 2] = [0.9, 0.999];

/// What a step saw of the interval of an operator's output.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What the calibrator makes of the batch, before it is rounded and clamped.
    pub ranges: BTreeMap<String, Range>,
    /// Slope of the loss along the logarithm of the interval's width.
    pub slopes: BTreeMap<String, f64>,
}

/// The intervals and what their rule remembers, as a checkpoint keeps them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct IntervalState {
    steps: i32,
    ranges: BTreeMap<String, Range>,
    #[serde(default)]
    moments: BTreeMap<String, [f64; 2]>,
}

impl IntervalState {
    pub fn calibration(self) -> Calibration {
        Calibration::of(self.ranges)
    }
}

/// The intervals, and how they move.
#[derive(Clone, Debug)]
pub struct Intervals {
    pub calibration: Calibration,
    pub calibrator: Calibrator,
    rule: RangeRule,
    /// Means of slope and squared slope.
    moments: BTreeMap<String, [f64; 2]>,
    steps: i32,
}

impl Intervals {
    /// Intervals as calibration found them.
    pub const fn new(calibration: Calibration, calibrator: Calibrator, rule: RangeRule) -> Self {
        Self { calibration, calibrator, rule, moments: BTreeMap::new(), steps: 0 }
    }

    /// What a checkpoint keeps of them.
    pub fn state(&self) -> IntervalState {
        IntervalState { steps: self.steps, ranges: self.calibration.ranges().clone(), moments: self.moments.clone() }
    }

    /// Goes on from a checkpoint.
    pub fn restore(&mut self, state: IntervalState) {
        let IntervalState { steps, ranges, moments } = state;
        (self.steps, self.calibration, self.moments) = (steps, Calibration::of(ranges), moments);
    }

    /// Whether slopes are wanted, in place of ranges.
    pub fn learned(&self) -> bool {
        self.rule == RangeRule::Learned
    }

    /// Takes a step.
    pub fn step(&mut self, seen: &Seen, rate: f64) {
        self.steps += 1;
        match self.rule {
            RangeRule::Averaged => {
                for (name, new) in &seen.ranges {
                    let Some(range) = self.calibration.range_mut(name) else { continue };
                    range.min = (range.min * KEPT + new.min * (1.0 - KEPT)).min(0.0);
                    range.max = (range.max * KEPT + new.max * (1.0 - KEPT)).max(0.0);
                }
            }
            RangeRule::Learned => {
                for (name, &slope) in &seen.slopes {
                    let Some(range) = self.calibration.range_mut(name) else { continue };
                    let moments = self.moments.entry(name.clone()).or_default();
                    let mut corrected = [0.0; 2];
                    for (i, new) in [slope, slope * slope].into_iter().enumerate() {
                        moments[i] = BETAS[i] * moments[i] + (1.0 - BETAS[i]) * new;
                        corrected[i] = moments[i] / (1.0 - BETAS[i].powi(self.steps));
                    }
                    // one factor for both ends: 0 keeps its place among the steps
                    let factor = (-rate * corrected[0] / (corrected[1].sqrt() + 1e-12)).exp() as f32;
                    (range.min, range.max) = (range.min * factor, range.max * factor);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intervals(rule: RangeRule) -> Intervals {
        let range = Range { min: -1.0, max: 3.0 };
        let calibration = Calibration::of(BTreeMap::from([("a".to_owned(), range)]));
        Intervals::new(calibration, Calibrator::MinMax, rule)
    }

    #[test]
    fn averaged_intervals_come_near_to_what_is_seen_and_hold_zero() {
        let mut intervals = intervals(RangeRule::Averaged);
        let seen = Seen { ranges: [("a".to_owned(), Range { min: 0.0, max: 5.0 })].into(), ..Seen::default() };
        intervals.step(&seen, 1.0);
        let first = intervals.calibration.range("a").unwrap();
        assert!((first.min + 0.99).abs() < 1e-6 && (first.max - 3.02).abs() < 1e-6, "{first:?}");
        (0..2000).for_each(|_| intervals.step(&seen, 1.0));
        let last = intervals.calibration.range("a").unwrap();
        assert!(last.min <= 0.0 && last.min > -1e-3 && (last.max - 5.0).abs() < 1e-2, "{last:?}");
    }

    #[test]
    fn learned_intervals_go_down_the_slope_and_keep_their_zero() {
        let mut intervals = intervals(RangeRule::Learned);
        let before = intervals.calibration.range("a").unwrap().params();
        let seen = Seen { slopes: [("a".to_owned(), 7.0)].into(), ..Seen::default() };
        intervals.step(&seen, 0.1);
        let after = intervals.calibration.range("a").unwrap();
        // Adam's first step is the rate, whatever the slope
        assert!((after.max - 3.0 * (-0.1_f32).exp()).abs() < 1e-5, "{after:?}");
        assert_eq!(after.params().zero_point, before.zero_point);
    }
}
