//! Which label is shown: it changes only when another one leads by a margin for several frames in a row.

/// When a label changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// While the best class has less than this share, the answer is "unknown".
    pub unknown_below_permille: u16,
    /// A class replaces another one only when its share is larger by at least this.
    pub margin_permille: u16,
    /// For so many frames in a row a change must be due before it is made; 0 is as 1.
    pub hold_frames: u16,
}

/// The label that is shown, and the one that may replace it. "Unknown" is a label as the others: it comes and goes by the same count.
#[derive(Clone, Debug)]
pub struct Hysteresis {
    rules: Rules,
    shown: Option<usize>,
    next: Option<usize>,
    /// Frames in a row that asked for `next`.
    run: u16,
}

impl Hysteresis {
    /// Nothing seen yet: "unknown".
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self { rules, shown: None, next: None, run: 0 }
    }

    /// Takes the shares after a frame; returns the class to show and the largest share, in 1/1000.
    ///
    /// # Arithmetic
    /// Due is the best class (of equal ones the lowest), or none when its share is below `unknown_below_permille`. The margin protects the
    /// shown class only while that itself is not below: otherwise the best one is due without it.
    pub fn push(&mut self, classes: usize, share_permille: impl Fn(usize) -> u16) -> (Option<usize>, u16) {
        let mut best: Option<(usize, u16)> = None;
        for class in 0..classes {
            let share = share_permille(class);
            if best.is_none_or(|(_, largest)| share > largest) {
                best = Some((class, share));
            }
        }
        let due = best.and_then(|best| self.due(best, &share_permille));
        if due == self.shown {
            self.run = 0;
        } else {
            self.run = if self.run > 0 && due == self.next { self.run.saturating_add(1) } else { 1 };
            self.next = due;
            if self.run >= self.rules.hold_frames {
                self.shown = due;
                self.run = 0;
            }
        }
        (self.shown, best.map_or(0, |(_, share)| share))
    }

    /// Forgets all frames.
    pub fn reset(&mut self) {
        *self = Self::new(self.rules);
    }

    fn due(&self, (best, share): (usize, u16), share_permille: &impl Fn(usize) -> u16) -> Option<usize> {
        let Rules { unknown_below_permille, margin_permille, .. } = self.rules;
        if share < unknown_below_permille {
            return None;
        }
        if let Some(shown) = self.shown {
            let own = share_permille(shown);
            if own >= unknown_below_permille && share < own.saturating_add(margin_permille) {
                return Some(shown);
            }
        }
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hysteresis: &mut Hysteresis, shares: [u16; 3]) -> Option<usize> {
        hysteresis.push(3, |class| shares[class]).0
    }

    #[test]
    fn a_change_needs_the_margin_in_every_frame_of_the_hold() {
        let mut label = Hysteresis::new(Rules { unknown_below_permille: 300, margin_permille: 100, hold_frames: 3 });
        for expected in [None, None, Some(0)] {
            assert_eq!(shown(&mut label, [900, 0, 0]), expected);
        }
        let (leads, too_little) = ([400, 500, 0], [401, 500, 0]);
        for shares in [leads, leads, too_little, leads, leads] {
            assert_eq!(shown(&mut label, shares), Some(0));
        }
        assert_eq!(shown(&mut label, leads), Some(1));
    }

    #[test]
    fn candidates_that_take_turns_never_win() {
        let mut label = Hysteresis::new(Rules { unknown_below_permille: 0, margin_permille: 0, hold_frames: 2 });
        shown(&mut label, [9, 0, 0]);
        shown(&mut label, [9, 0, 0]);
        for _ in 0..10 {
            assert_eq!(shown(&mut label, [1, 900, 0]), Some(0));
            assert_eq!(shown(&mut label, [1, 0, 900]), Some(0));
        }
    }

    #[test]
    fn without_classes_all_is_unknown() {
        let mut label = Hysteresis::new(Rules { unknown_below_permille: 0, margin_permille: 0, hold_frames: 0 });
        assert_eq!(label.push(0, |_| 1000), (None, 0));
    }

    #[test]
    fn a_label_below_the_threshold_is_not_protected_by_the_margin() {
        let mut label = Hysteresis::new(Rules { unknown_below_permille: 400, margin_permille: 500, hold_frames: 1 });
        assert_eq!(shown(&mut label, [450, 0, 0]), Some(0));
        assert_eq!(shown(&mut label, [450, 500, 0]), Some(0), "protected");
        assert_eq!(shown(&mut label, [390, 410, 0]), Some(1));
        assert_eq!(shown(&mut label, [390, 399, 0]), None);
    }
}
