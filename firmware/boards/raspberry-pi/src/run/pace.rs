//! At most so many frames a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a wait looks whether the run is to end.
const SLICE: Duration = Duration::from_millis(100);

/// Waits between frames.
#[derive(Clone, Debug)]
pub struct Pace {
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Pace {
    /// A pace of `fps` frames a second; `None`: as fast as it goes.
    #[must_use]
    pub fn new(fps: Option<f64>) -> Self {
        Self { every: fps.map(|fps| Duration::from_secs_f64(1.0 / fps)), next: None }
    }

    /// Waits until the next frame's time, or `stop`.
    pub fn wait(&mut self, stop: &AtomicBool) {
        let start = Instant::now();
        let Some(wait) = self.until_next(start) else { return };
        while !stop.load(Ordering::Relaxed) {
            let left = wait.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }

    /// How long to wait at `now`. Time that was lost is not made up for.
    fn until_next(&mut self, now: Instant) -> Option<Duration> {
        let every = self.every?;
        let next = self.next.map_or(now + every, |next| (next + every).max(now));
        self.next = Some(next);
        Some(next - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_distance_and_lost_time_is_lost() {
        let mut pace = Pace::new(Some(10.0));
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let ms = |wait: Option<Duration>| wait.map(|wait| wait.as_millis());
        assert_eq!(ms(pace.until_next(at(0))), Some(100));
        assert_eq!(ms(pace.until_next(at(130))), Some(70));
        assert_eq!(ms(pace.until_next(at(1000))), Some(0));
        assert_eq!(ms(pace.until_next(at(1010))), Some(90));
        assert_eq!(Pace::new(None).until_next(start), None);
    }

    #[test]
    fn the_end_of_a_run_is_not_waited_for() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Pace::new(Some(1e-6)).wait(&stop)); // twelve days
            stop.store(true, Ordering::Relaxed);
            waiting.join().unwrap();
        });
    }
}
