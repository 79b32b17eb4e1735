//! From the scores of the latest frames to a share for each class, in fixed point.

use crate::classify::softmax_permille;
use core::fmt;
use heapless::{HistoryBuf, Vec};

/// Turns the scores of frames into a share for each class.
pub trait Filter {
    /// Number of classes.
    fn classes(&self) -> usize;

    /// Takes the int8 scores of a frame. Classes without a score count as -128; scores beyond the classes are ignored.
    fn push(&mut self, scores: &[i8]);

    /// The share of a class in 1/1000, at most 1000.
    fn share_permille(&self, class: usize) -> u16;

    /// Forgets all frames.
    fn reset(&mut self);
}

/// Why a filter cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FilterError {
    /// There are no classes, or more than the filter has room for.
    Classes {
        /// Classes asked for.
        found: usize,
        /// Classes that there is room for.
        most: usize,
    },
    /// A new frame's weight of `1 / 2^shift` with a shift above 8.
    Shift {
        /// The shift asked for.
        found: u8,
    },
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Classes { found, most } => write!(f, "the filter takes 1 to {most} classes, not {found}"),
            Self::Shift { found } => write!(f, "the filter's shift must be 0 to 8, not {found}"),
        }
    }
}

impl core::error::Error for FilterError {}

/// Votes of the last `FRAMES` frames: each gives one to its best class, or to none when it is not sure.
///
/// # Arithmetic
/// `share = 1000 votes / FRAMES`, rounded; frames that have not come yet count as votes for none.
#[derive(Clone, Debug)]
pub struct Majority<const FRAMES: usize> {
    classes: usize,
    vote_from_permille: u16,
    votes: HistoryBuf<Option<usize>, FRAMES>,
}

impl<const FRAMES: usize> Majority<FRAMES> {
    /// No votes yet. A frame votes when its best score is at least `vote_from_permille` of the range (of a softmax output: its
    /// probability).
    ///
    /// # Errors
    /// When there are no classes.
    pub const fn new(classes: usize, vote_from_permille: u16) -> Result<Self, FilterError> {
        const { assert!(FRAMES > 0 && FRAMES <= 1000) };
        if classes == 0 {
            return Err(FilterError::Classes { found: 0, most: usize::MAX });
        }
        Ok(Self { classes, vote_from_permille, votes: HistoryBuf::new() })
    }
}

impl<const FRAMES: usize> Filter for Majority<FRAMES> {
    fn classes(&self) -> usize {
        self.classes
    }

    fn push(&mut self, scores: &[i8]) {
        let mut best: Option<(usize, i8)> = None;
        for (class, &score) in scores.iter().enumerate().take(self.classes) {
            if best.is_none_or(|(_, highest)| score > highest) {
                best = Some((class, score));
            }
        }
        let sure = best.filter(|&(_, score)| softmax_permille(score) >= self.vote_from_permille);
        self.votes.write(sure.map(|(class, _)| class));
    }

    fn share_permille(&self, class: usize) -> u16 {
        let votes = self.votes.oldest_ordered().filter(|&&vote| vote == Some(class)).count();
        u16::try_from((1000 * votes + FRAMES / 2) / FRAMES).unwrap_or(1000)
    }

    fn reset(&mut self) {
        self.votes.clear();
    }
}

/// Fraction bits of an average.
const FRACTION_BITS: u32 = 16;

/// An exponential average of each class's score; of at most `CLASSES` classes.
///
/// # Arithmetic
/// With `x = score + 128` in units of `2^-16`: `average += (x - average) >> shift`, rounded down; the first frame is taken as it is. The
/// average of a constant input ends less than `2^(shift - 16)` from it. `share = 1000 average / 256`, rounded.
#[derive(Clone, Debug)]
pub struct Exponential<const CLASSES: usize> {
    averages: Vec<i32, CLASSES>,
    shift: u8,
    empty: bool,
}

impl<const CLASSES: usize> Exponential<CLASSES> {
    /// No frames yet. A new frame weighs `1 / 2^shift`: a change takes about `2^shift` frames.
    ///
    /// # Errors
    /// When the classes do not fit or the shift is above 8.
    pub fn new(classes: usize, shift: u8) -> Result<Self, FilterError> {
        if shift > 8 {
            return Err(FilterError::Shift { found: shift });
        }
        let mut averages = Vec::new();
        if classes == 0 || averages.resize(classes, 0).is_err() {
            return Err(FilterError::Classes { found: classes, most: CLASSES });
        }
        Ok(Self { averages, shift, empty: true })
    }
}

impl<const CLASSES: usize> Filter for Exponential<CLASSES> {
    fn classes(&self) -> usize {
        self.averages.len()
    }

    fn push(&mut self, scores: &[i8]) {
        for (class, average) in self.averages.iter_mut().enumerate() {
            let score = scores.get(class).copied().unwrap_or(i8::MIN);
            let target = (i32::from(score) + 128) << FRACTION_BITS; // at most 2^24
            *average = if self.empty { target } else { *average + ((target - *average) >> self.shift) };
        }
        self.empty = false;
    }

    fn share_permille(&self, class: usize) -> u16 {
        let average = self.averages.get(class).copied().unwrap_or(0);
        let steps = average >> (FRACTION_BITS - 8); // in 1/256, so that the product fits
        u16::try_from((steps * 1000 + (1 << 15)) >> 16).unwrap_or(0)
    }

    fn reset(&mut self) {
        self.averages.fill(0);
        self.empty = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec as StdVec;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, rng_seed: proptest::test_runner::RngSeed::Fixed(6), ..ProptestConfig::default() })]

        #[test]
        fn the_average_is_that_of_floats(
            frames in prop::collection::vec(any::<[i8; 3]>(), 1..120), shift in 0..=8_u8,
        ) {
            let mut filter = Exponential::<3>::new(3, shift).unwrap();
            let weight = 0.5_f64.powi(i32::from(shift));
            let mut reference: Option<[f64; 3]> = None;
            for scores in frames {
                filter.push(&scores);
                let new = scores.map(|score| f64::from(score) + 128.0);
                let old = reference.unwrap_or(new);
                let next = core::array::from_fn(|i| old[i] * (1.0 - weight) + new[i] * weight);
                reference = Some(next);
                for (class, average) in next.iter().enumerate() {
                    let error = f64::from(filter.share_permille(class)) - average * 1000.0 / 256.0;
                    // half a thousandth of rounding, and what is cut off: 2^8 / 2^16 of a step, 1/256 of a step
                    prop_assert!(error.abs() <= 0.5 + 2.0 / 256.0 * 1000.0 / 256.0, "{error} of class {class}");
                }
            }
        }

        #[test]
        fn shares_of_votes_are_counted_over_the_window(frames in prop::collection::vec(any::<[i8; 3]>(), 1..40)) {
            let mut filter = Majority::<7>::new(3, 700).unwrap();
            let mut votes = StdVec::new();
            for scores in &frames {
                filter.push(scores);
                let best = (0..3).max_by_key(|&i| (scores[i], 3 - i)).unwrap();
                votes.push((f64::from(scores[best]) + 128.0 >= 0.6995 * 256.0).then_some(best));
                for class in 0..3 {
                    let count = votes.iter().rev().take(7).filter(|&&vote| vote == Some(class)).count();
                    let share = (count as f64 * 1000.0 / 7.0).round() as u16;
                    prop_assert_eq!(filter.share_permille(class), share);
                }
            }
        }
    }

    #[test]
    fn filters_that_cannot_be_are_refused_with_their_limits() {
        assert_eq!(Exponential::<4>::new(5, 2).unwrap_err(), FilterError::Classes { found: 5, most: 4 });
        assert_eq!(Exponential::<4>::new(0, 2).unwrap_err(), FilterError::Classes { found: 0, most: 4 });
        assert_eq!(Exponential::<4>::new(4, 9).unwrap_err(), FilterError::Shift { found: 9 });
        assert!(Majority::<4>::new(0, 500).is_err());
    }

    #[test]
    fn scores_of_another_length_do_no_harm() {
        let mut filter = Exponential::<3>::new(3, 0).unwrap();
        filter.push(&[127]);
        assert_eq!([0, 1, 2, 3].map(|class| filter.share_permille(class)), [996, 0, 0, 0]);
        filter.push(&[-128, -128, -128, 127]);
        assert_eq!([0, 1, 2, 3].map(|class| filter.share_permille(class)), [0, 0, 0, 0]);
        let mut votes = Majority::<2>::new(1, 0).unwrap();
        votes.push(&[]);
        votes.push(&[-128, 127]);
        assert_eq!([0, 1].map(|class| votes.share_permille(class)), [500, 0]);
    }
}
