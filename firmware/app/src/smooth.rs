//! Smooths results over frames, so that a label on a screen does not flicker.
//!
//! Two steps. A [`Filter`] turns the scores of the latest frames into a share for each class: [`Majority`] counts votes,
//! [`Exponential`] averages the scores. [`Hysteresis`] then decides what is shown: another label only when it leads by a margin
//! for several frames in a row, and no label at all ("unknown") while no class has enough.

mod filter;
mod hysteresis;

pub use filter::{Exponential, Filter, FilterError, Majority};
pub use hysteresis::{Hysteresis, Rules};

/// What to show after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The class; `None` is "unknown".
    pub class: Option<usize>,
    /// The share of that class, or of the best one where it is unknown, in 1/1000.
    pub permille: u16,
}

/// A filter and the decision after it.
///
/// ```
/// use ocelli_app::smooth::{Majority, Rules, Smoother};
///
/// let filter = Majority::<8>::new(3, 300)?; // 8 frames, 3 classes, votes of at least 30 %
/// let mut smoother = Smoother::new(filter, Rules { unknown_below_permille: 500, margin_permille: 100, hold_frames: 3 });
/// let cat = [-100, 90, -100];
/// let shown = (0..8).map(|_| smoother.push(&cat)).last();
/// assert_eq!(shown.and_then(|shown| shown.class), Some(1));
/// # Ok::<(), ocelli_app::smooth::FilterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Smoother<F> {
    filter: F,
    hysteresis: Hysteresis,
}

impl<F: Filter> Smoother<F> {
    /// A smoother that has seen no frame and shows "unknown".
    #[must_use]
    pub const fn new(filter: F, rules: Rules) -> Self {
        Self { filter, hysteresis: Hysteresis::new(rules) }
    }

    /// Takes the int8 scores of a frame and says what to show.
    pub fn push(&mut self, scores: &[i8]) -> Shown {
        self.filter.push(scores);
        let filter = &self.filter;
        let (class, best) = self.hysteresis.push(filter.classes(), |class| filter.share_permille(class));
        let permille = match class {
            Some(class) => filter.share_permille(class),
            None => best,
        };
        Shown { class, permille }
    }

    /// Forgets all frames, as after a long sleep.
    pub fn reset(&mut self) {
        self.filter.reset();
        self.hysteresis.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const CLASSES: usize = 4;

    fn rules() -> impl Strategy<Value = Rules> {
        (0..=1000_u16, 0..=500_u16, 0..=6_u16).prop_map(|(unknown, margin, hold)| Rules {
            unknown_below_permille: unknown,
            margin_permille: margin,
            hold_frames: hold,
        })
    }

    fn frames() -> impl Strategy<Value = Vec<[i8; CLASSES]>> {
        prop::collection::vec(any::<[i8; CLASSES]>(), 1..200)
    }

    /// Frames at which what is shown changed.
    fn changes<F: Filter>(mut smoother: Smoother<F>, frames: &[[i8; CLASSES]]) -> Vec<usize> {
        let shown = frames.iter().map(|scores| smoother.push(scores).class).collect::<Vec<_>>();
        (0..shown.len()).filter(|&i| shown[i] != if i == 0 { None } else { shown[i - 1] }).collect()
    }

    fn apart(changes: &[usize], hold_frames: u16) -> bool {
        let hold = usize::from(hold_frames.max(1));
        changes.first().is_none_or(|&first| first + 1 >= hold)
            && changes.windows(2).all(|pair| pair[1] - pair[0] >= hold)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, rng_seed: proptest::test_runner::RngSeed::Fixed(5), ..ProptestConfig::default() })]

        #[test]
        fn two_changes_are_never_closer_than_the_hold(rules in rules(), frames in frames(), shift in 0..=8_u8) {
            let averaged = Smoother::new(Exponential::<CLASSES>::new(CLASSES, shift).unwrap(), rules);
            prop_assert!(apart(&changes(averaged, &frames), rules.hold_frames));
            let voted = Smoother::new(Majority::<5>::new(CLASSES, 300).unwrap(), rules);
            prop_assert!(apart(&changes(voted, &frames), rules.hold_frames));
        }

        #[test]
        fn a_constant_input_ends_in_its_own_label(
            rules in rules(), before in frames(), class in 0..CLASSES, shift in 0..=5_u8,
        ) {
            let mut scores = [-128; CLASSES];
            scores[class] = 127;
            // softmax reaches 255/256
            let rules = Rules { unknown_below_permille: rules.unknown_below_permille.min(990), ..rules };
            let mut averaged = Smoother::new(Exponential::<CLASSES>::new(CLASSES, shift).unwrap(), rules);
            let mut voted = Smoother::new(Majority::<5>::new(CLASSES, 300).unwrap(), rules);
            for scores in &before {
                averaged.push(scores);
                voted.push(scores);
            }
            let last = |f: &mut dyn FnMut() -> Shown| (0..400).map(|_| f()).last().unwrap();
            prop_assert_eq!(last(&mut || averaged.push(&scores)).class, Some(class));
            prop_assert_eq!(last(&mut || voted.push(&scores)), Shown { class: Some(class), permille: 1000 });
        }
    }

    #[test]
    fn what_is_below_the_threshold_is_unknown() {
        let rules = Rules { unknown_below_permille: 600, margin_permille: 0, hold_frames: 2 };
        let mut smoother = Smoother::new(Exponential::<2>::new(2, 0).unwrap(), rules);
        let half = [0, 0]; // both 500/1000
        assert_eq!(smoother.push(&half), Shown { class: None, permille: 500 });
        let sure = [-128, 127];
        assert_eq!(smoother.push(&sure), Shown { class: None, permille: 996 }, "the first frame of two");
        assert_eq!(smoother.push(&sure), Shown { class: Some(1), permille: 996 });
        assert_eq!(smoother.push(&half), Shown { class: Some(1), permille: 500 });
        assert_eq!(smoother.push(&half), Shown { class: None, permille: 500 });
        smoother.push(&sure);
        smoother.push(&sure);
        smoother.reset();
        assert_eq!(smoother.push(&half).class, None);
    }
}
