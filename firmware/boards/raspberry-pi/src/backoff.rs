//! How long to wait before the next try: twice as long as before, up to a limit.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// The time to wait after each of several failures in a row.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits `first` after the first failure, then twice as long each time, at most `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The time to wait after another failure.
    pub fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (2 * wait).min(self.most);
        wait
    }

    /// It worked: the next failure is a first one again.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

impl Default for Backoff {
    /// Half a second, up to half a minute.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

/// Something that is tried for every frame and may fail for a while, as a file on a full disk: the failure is said once, then it is left
/// alone for a time that doubles.
#[derive(Clone, Debug)]
pub struct Retry {
    what: String,
    backoff: Backoff,
    not_before: Option<Instant>,
    /// Tries that failed, and those that were left out since.
    lost: u64,
}

impl Retry {
    /// Nothing has failed yet; `what` names it in messages.
    #[must_use]
    pub fn new(what: impl Into<String>, backoff: Backoff) -> Self {
        Self { what: what.into(), backoff, not_before: None, lost: 0 }
    }

    /// Does it, unless it failed a short while before `now`. Returns what there is to say: that it failed, or works again.
    pub fn attempt<E: Display>(&mut self, now: Instant, work: impl FnOnce() -> Result<(), E>) -> Option<String> {
        if self.not_before.is_some_and(|time| now < time) {
            self.lost += 1;
            return None;
        }
        match work() {
            Ok(()) => {
                self.backoff.reset();
                let was_lost = std::mem::take(&mut self.lost);
                self.not_before.take().map(|_| format!("{} works again; {was_lost} results were left out", self.what))
            }
            Err(error) => {
                self.lost += 1;
                let wait = self.backoff.wait();
                self.not_before = Some(now + wait);
                Some(format!("{}: {error}; the next try is in {} s", self.what, wait.as_secs_f64()))
            }
        }
    }

    /// Whether it failed and has not worked since.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.not_before.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew() {
        let mut backoff = Backoff::new(seconds(1), seconds(5));
        let waits: Vec<_> = (0..5).map(|_| backoff.wait()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5].map(seconds));
        backoff.reset();
        assert_eq!(backoff.wait(), seconds(1));
    }

    #[test]
    fn what_fails_is_said_once_left_alone_and_said_to_work_again() {
        let mut retry = Retry::new("the file", Backoff::new(seconds(1), seconds(8)));
        let start = Instant::now();
        let fail = || Err("no space left on device");
        let said = retry.attempt(start, fail).unwrap();
        assert!(said.contains("the file: no space left on device") && said.contains("in 1 s"), "{said}");
        assert_eq!(retry.attempt(start + seconds(1) / 2, || -> Result<(), String> { panic!("too early") }), None);
        assert!(retry.attempt(start + seconds(1), fail).unwrap().contains("in 2 s"));
        assert!(retry.is_failing());
        let said = retry.attempt(start + seconds(3), || Ok::<_, String>(())).unwrap();
        assert!(said.contains("works again; 3 results"), "{said}");
        assert_eq!(retry.attempt(start + seconds(3), || Ok::<_, String>(())), None);
        assert!(retry.attempt(start + seconds(4), fail).unwrap().contains("in 1 s"));
    }
}
