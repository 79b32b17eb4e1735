//! The firmware's smoothing, with the kind and its figures chosen on the command line.

use anyhow::bail;
use ocelli_app::smooth::{Exponential, Majority, Rules, Shown, Smoother};

/// Classes that an average has room for.
pub const MOST_CLASSES: usize = 1024;

/// How results are smoothed over frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Kind {
    /// An average of the scores in which a new frame weighs a quarter.
    #[default]
    Average,
    /// The votes of the last eight frames.
    Majority,
    /// Every frame for itself; only the threshold of "unknown" counts.
    None,
}

enum Chosen {
    Average(Box<Smoother<Exponential<MOST_CLASSES>>>),
    Majority(Smoother<Majority<8>>),
}

/// Decides which label is shown.
pub struct Smoothing(Chosen);

impl Smoothing {
    /// A smoothing that has seen no frame, for a number of classes. `unknown_below` is a share in 1/1000.
    ///
    /// # Errors
    /// When there are no classes, or too many.
    pub fn new(kind: Kind, classes: usize, unknown_below_permille: u16) -> anyhow::Result<Self> {
        if classes == 0 || classes > MOST_CLASSES {
            bail!("the model has {classes} classes: 1 to {MOST_CLASSES} can be smoothed");
        }
        let hold_frames = if kind == Kind::None { 1 } else { 3 };
        let margin_permille = if kind == Kind::None { 0 } else { 100 };
        let rules = Rules { unknown_below_permille, margin_permille, hold_frames };
        Ok(Self(match kind {
            Kind::Majority => Chosen::Majority(Smoother::new(Majority::new(classes, unknown_below_permille)?, rules)),
            Kind::Average | Kind::None => {
                let shift = if kind == Kind::None { 0 } else { 2 };
                Chosen::Average(Box::new(Smoother::new(Exponential::new(classes, shift)?, rules)))
            }
        }))
    }

    /// Takes the scores of a frame and says what to show.
    pub fn push(&mut self, scores: &[i8]) -> Shown {
        match &mut self.0 {
            Chosen::Average(smoother) => smoother.push(scores),
            Chosen::Majority(smoother) => smoother.push(scores),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_smoothing_each_frame_is_shown_and_the_unsure_are_unknown() {
        let mut none = Smoothing::new(Kind::None, 2, 600).unwrap();
        assert_eq!(none.push(&[127, -128]).class, Some(0));
        assert_eq!(none.push(&[-128, 127]).class, Some(1));
        assert_eq!(none.push(&[0, 0]).class, None);
    }

    #[test]
    fn one_odd_frame_does_not_change_a_smoothed_label() {
        for kind in [Kind::Average, Kind::Majority] {
            let mut smoothing = Smoothing::new(kind, 2, 400).unwrap();
            for _ in 0..10 {
                smoothing.push(&[127, -128]);
            }
            assert_eq!(smoothing.push(&[-128, 127]).class, Some(0), "{kind:?}");
            let last = (0..10).map(|_| smoothing.push(&[-128, 127]).class).last().unwrap();
            assert_eq!(last, Some(1), "{kind:?}");
        }
    }

    #[test]
    fn more_classes_than_there_is_room_for_are_refused() {
        assert!(Smoothing::new(Kind::Average, MOST_CLASSES + 1, 0).is_err());
        assert!(Smoothing::new(Kind::Average, 0, 0).is_err());
    }
}
