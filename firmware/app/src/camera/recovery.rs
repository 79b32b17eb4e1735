//! What is done about a frame that did not arrive whole: it is dropped and counted, and the next one is taken.

use core::fmt;

/// What kind of failure an error is, whatever the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Fault {
    /// This frame is broken (a row too short, an overrun); the next one may be whole.
    LostFrame,
    /// No frame or no row began in time.
    SyncLost,
    /// A transfer over the bus failed.
    Bus,
    /// There will be no more frames.
    Ended,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LostFrame => "a frame was lost",
            Self::SyncLost => "no frame began in time",
            Self::Bus => "the bus failed",
            Self::Ended => "there are no more frames",
        })
    }
}

/// An error that says what kind of failure it is.
pub trait CameraError {
    /// The kind.
    fn fault(&self) -> Fault;
}

impl CameraError for Fault {
    fn fault(&self) -> Fault {
        *self
    }
}

/// How many frames were lost, by the kind of failure; the counts stop at their largest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Faults {
    /// Broken frames.
    pub lost_frames: u32,
    /// Frames that did not begin.
    pub sync_lost: u32,
    /// Failures of the bus.
    pub bus: u32,
}

/// Decides whether another frame is tried after a failure, and counts.
#[derive(Clone, Debug)]
pub struct Recovery {
    most_in_a_row: u32,
    in_a_row: u32,
    faults: Faults,
}

impl Recovery {
    /// Gives up after `most_in_a_row` failures without a whole frame between them.
    #[must_use]
    pub const fn new(most_in_a_row: u32) -> Self {
        Self { most_in_a_row, in_a_row: 0, faults: Faults { lost_frames: 0, sync_lost: 0, bus: 0 } }
    }

    /// Failures since the start.
    #[must_use]
    pub const fn faults(&self) -> Faults {
        self.faults
    }

    /// Counts a failure; `true` when another frame is worth a try. After the failure at which it gives up the count in a row begins anew: when
    /// the camera was set up again, it has as many tries as before.
    pub fn failed(&mut self, fault: Fault) -> bool {
        let count = match fault {
            Fault::LostFrame => &mut self.faults.lost_frames,
            Fault::SyncLost => &mut self.faults.sync_lost,
            Fault::Bus => &mut self.faults.bus,
            Fault::Ended => return false,
        };
        *count = count.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        let goes_on = self.in_a_row < self.most_in_a_row;
        if !goes_on {
            self.in_a_row = 0;
        }
        goes_on
    }

    /// Notes a frame that arrived whole.
    pub const fn succeeded(&mut self) {
        self.in_a_row = 0;
    }
}

/// How long to wait before a camera that failed is set up again: longer each time, until a frame comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    next_ms: u32,
}

impl Pause {
    /// The first wait, in milliseconds.
    const FIRST_MS: u32 = 100;
    /// The longest.
    const LONGEST_MS: u32 = 6_400;

    /// No failure yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { next_ms: Self::FIRST_MS }
    }

    /// Notes a failure, and says how many milliseconds to wait.
    pub fn failed(&mut self) -> u32 {
        let now_ms = self.next_ms;
        self.next_ms = (2 * now_ms).min(Self::LONGEST_MS);
        now_ms
    }

    /// Notes a frame.
    pub const fn succeeded(&mut self) {
        *self = Self::new();
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_some_seconds_until_a_frame_comes() {
        let mut pause = Pause::new();
        assert_eq!([(); 9].map(|()| pause.failed()), [100, 200, 400, 800, 1600, 3200, 6400, 6400, 6400]);
        pause.succeeded();
        assert_eq!(pause.failed(), 100);
    }

    #[test]
    fn it_gives_up_after_so_many_failures_in_a_row() {
        let mut recovery = Recovery::new(3);
        for _ in 0..2 {
            assert!(recovery.failed(Fault::LostFrame));
            assert!(recovery.failed(Fault::Bus));
            recovery.succeeded();
        }
        assert!(recovery.failed(Fault::SyncLost));
        assert!(recovery.failed(Fault::SyncLost));
        assert!(!recovery.failed(Fault::SyncLost));
        assert_eq!(recovery.faults(), Faults { lost_frames: 2, sync_lost: 3, bus: 2 });
        // a camera that was set up again has as many tries
        assert_eq!([(); 4].map(|()| recovery.failed(Fault::LostFrame)), [true, true, false, true]);
    }

    #[test]
    fn the_end_is_final_and_no_loss() {
        let mut recovery = Recovery::new(3);
        assert!(!recovery.failed(Fault::Ended));
        assert_eq!(recovery.faults(), Faults::default());
    }
}
