//! Sleeps between frames: a few are classified every so often, or when a pin says so; in between camera and chip sleep.

use crate::camera::{Camera, CameraError, Fault, Recovery};
use crate::classify::{ClassifierOf, ClassifyError};
use core::fmt;

/// What ended a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Wake {
    /// The time.
    Timer,
    /// The pin.
    Pin,
}

/// The chip's sleep: as deep as its clock, its RAM and the pin allow. A board writes this.
pub trait Sleep {
    /// Why it cannot sleep.
    type Error;

    /// Milliseconds since the start, asleep or not.
    fn now_ms(&mut self) -> u64;

    /// Sleeps until [`now_ms`](Self::now_ms) is at least `deadline_ms`; returns at once where it is.
    ///
    /// # Errors
    /// When the chip cannot sleep.
    fn until(&mut self, deadline_ms: u64) -> Result<(), Self::Error>;

    /// Sleeps until the pin wakes the chip, or the time comes where one is given. A pin that is active already ends the sleep at once.
    ///
    /// # Errors
    /// When the chip cannot sleep.
    fn until_pin(&mut self, deadline_ms: Option<u64>) -> Result<Wake, Self::Error>;
}

/// When frames are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// At fixed times, from the first turn on. Times that a long turn passed are left out and counted.
    Every {
        /// Milliseconds from one to the next; 0 is as 1.
        ms: u32,
    },
    /// When a pin (a motion sensor, a button) wakes the chip.
    Pin {
        /// And at the latest so many milliseconds after the last turn ended.
        at_latest_ms: Option<u32>,
    },
}

/// What is done in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When.
    pub trigger: Trigger,
    /// Frames that are thrown away after the camera woke, until its exposure is right.
    pub settle_frames: u32,
    /// Frames that are then classified.
    pub frames: u32,
}

/// Why a turn ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DutyError<S, C> {
    /// The chip cannot sleep.
    Sleep(S),
    /// No frame was classified.
    Classify(ClassifyError<C>),
}

impl<S: fmt::Display, C: fmt::Display> fmt::Display for DutyError<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sleep(error) => write!(f, "sleep: {error}"),
            Self::Classify(error) => error.fmt(f),
        }
    }
}

impl<S: fmt::Debug + fmt::Display, C: fmt::Debug + fmt::Display> core::error::Error for DutyError<S, C> {}

/// Turns of a plan.
#[derive(Debug)]
pub struct DutyCycle<S> {
    sleep: S,
    plan: Plan,
    /// When the next turn is due; `None` before the first, which is due at once but for a pin.
    due_ms: Option<u64>,
    left_out: u32,
}

impl<S: Sleep> DutyCycle<S> {
    /// A plan of which nothing was done.
    pub const fn new(sleep: S, plan: Plan) -> Self {
        Self { sleep, plan, due_ms: None, left_out: 0 }
    }

    /// Times of [`Trigger::Every`] that were left out because a turn took longer.
    #[must_use]
    pub const fn left_out(&self) -> u32 {
        self.left_out
    }

    /// The chip's sleep and clock.
    pub const fn sleep(&mut self) -> &mut S {
        &mut self.sleep
    }

    /// Sleeps until the next turn is due, then takes it: wakes the camera, throws the first frames away, hands the scores of the others to
    /// `scores`, and sends the camera back to standby, also after an error. Returns what ended the sleep.
    ///
    /// # Errors
    /// When the chip cannot sleep, the camera does not wake or sleep, or `recovery` gives up. The plan goes on with the next call.
    pub fn turn<const KINDS: u32, C>(
        &mut self,
        classifier: &mut ClassifierOf<'_, '_, KINDS>,
        camera: &mut C,
        recovery: &mut Recovery,
        mut scores: impl FnMut(&[i8]),
    ) -> Result<Wake, DutyError<S::Error, C::Error>>
    where
        C: Camera<Error: CameraError>,
    {
        self.turn_with(camera, |camera, plan| {
            settle(plan.settle_frames, || classifier.skip_frame(camera))?;
            for _ in 0..plan.frames {
                scores(classifier.classify_whole(camera, recovery)?);
            }
            Ok(())
        })
    }

    /// As [`turn`](Self::turn), with the work between wake-up and standby for the caller: it takes the frames of the plan.
    ///
    /// # Errors
    /// When the chip cannot sleep, the camera does not wake or sleep, or `work` fails. The plan goes on with the next call.
    pub fn turn_with<C>(
        &mut self,
        camera: &mut C,
        work: impl FnOnce(&mut C, &Plan) -> Result<(), ClassifyError<C::Error>>,
    ) -> Result<Wake, DutyError<S::Error, C::Error>>
    where
        C: Camera<Error: CameraError>,
    {
        let wake = self.wait().map_err(DutyError::Sleep)?;
        let taken = camera.wake().map_err(ClassifyError::Camera).and_then(|()| work(camera, &self.plan));
        let asleep = camera.standby().map_err(ClassifyError::Camera);
        if let Trigger::Pin { at_latest_ms } = self.plan.trigger {
            self.due_ms = at_latest_ms.map(|ms| self.sleep.now_ms().saturating_add(ms.into()));
        }
        taken.and(asleep).map_err(DutyError::Classify)?;
        Ok(wake)
    }

    fn wait(&mut self) -> Result<Wake, S::Error> {
        match self.plan.trigger {
            Trigger::Pin { .. } => self.sleep.until_pin(self.due_ms),
            Trigger::Every { ms } => {
                let (now, ms) = (self.sleep.now_ms(), u64::from(ms.max(1)));
                let due = match self.due_ms {
                    None => now,
                    Some(due) => {
                        let late = now.saturating_sub(due).div_ceil(ms);
                        self.left_out = self.left_out.saturating_add(u32::try_from(late).unwrap_or(u32::MAX));
                        due.saturating_add(late.saturating_mul(ms))
                    }
                };
                self.sleep.until(due)?;
                self.due_ms = Some(due.saturating_add(ms));
                Ok(Wake::Timer)
            }
        }
    }
}

/// Throws frames away by `skip`, until the exposure is right.
///
/// # Errors
/// When one cannot be skipped.
pub(crate) fn settle<E: CameraError>(
    frames: u32,
    mut skip: impl FnMut() -> Result<(), ClassifyError<E>>,
) -> Result<(), ClassifyError<E>> {
    for _ in 0..frames {
        match skip() {
            // the first frame after a wake-up is often cut short: it would be thrown away anyway
            Err(ClassifyError::Camera(error)) if error.fault() == Fault::LostFrame => {}
            result => result?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
