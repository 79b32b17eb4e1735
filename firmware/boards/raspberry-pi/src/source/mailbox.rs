//! Between the thread that reads frames and the one that classifies them: room for one frame, whose memory goes back and forth.

use crate::frame::Frame;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Reports that are kept while nobody takes them.
const MOST_REPORTS: usize = 64;
/// Frames whose memory is kept.
const MOST_SPARES: usize = 3;

/// Bytes of a frame's memory that are kept though the frame did not need them.
const MOST_UNUSED_BYTES: usize = 4 << 20;

/// What the reading thread says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Something is wrong.
    Trouble(String),
    /// A damaged frame was left out.
    Corrupt(String),
    /// Frames arrive again.
    Recovered(String),
}

/// What arrived.
#[derive(Debug)]
pub enum Arrival {
    /// A frame.
    Frame(Frame),
    /// Something to say.
    Report(Report),
    /// No more frames will come; with the reason, where it is an error.
    Ended(Option<String>),
    /// Nothing, for the time that was given.
    Nothing,
}

#[derive(Debug, Default)]
struct State {
    frame: Option<Frame>,
    /// Reports that were there before the frame: they come first.
    before_frame: usize,
    spares: Vec<Frame>,
    reports: VecDeque<Report>,
    ended: Option<Option<String>>,
    closed: bool,
    left_out: u64,
}

impl State {
    /// Keeps the memory of a frame, but not that of a large one that was among small ones.
    fn recycle(&mut self, mut frame: Frame) {
        for memory in [&mut frame.pixels, &mut frame.jpeg] {
            if memory.capacity() > 4 * memory.len() + MOST_UNUSED_BYTES {
                *memory = Vec::new();
            }
        }
        if self.spares.len() < MOST_SPARES {
            self.spares.push(frame);
        }
    }
}

/// Room for a frame. Of a live source the newest is kept; others wait until it is taken.
#[derive(Debug, Default)]
pub struct Mailbox {
    state: Mutex<State>,
    changed: Condvar,
    is_live: bool,
}

impl Mailbox {
    /// An empty mailbox.
    #[must_use]
    pub fn new(is_live: bool) -> Self {
        Self { is_live, ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for a frame.
    #[must_use]
    pub fn spare(&self) -> Frame {
        self.state().spares.pop().unwrap_or_default()
    }

    /// Takes back the memory of a frame.
    pub fn recycle(&self, frame: Frame) {
        self.state().recycle(frame);
    }

    /// Puts a frame in. Unless the source is live, waits until the one before is taken.
    pub fn put(&self, frame: Frame) {
        let mut state = self.state();
        while !self.is_live && state.frame.is_some() && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.before_frame = state.reports.len();
        if let Some(old) = state.frame.replace(frame) {
            state.left_out += 1;
            state.recycle(old);
        }
        self.changed.notify_all();
    }

    /// Says something; of too many reports the oldest go.
    pub fn report(&self, report: Report) {
        let mut state = self.state();
        if state.reports.len() == MOST_REPORTS {
            state.reports.pop_front();
            state.before_frame = state.before_frame.saturating_sub(1);
        }
        state.reports.push_back(report);
        self.changed.notify_all();
    }

    /// Says that no more frames will come.
    pub fn end(&self, error: Option<String>) {
        self.state().ended.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Takes what has arrived, in the order in which it came; the end comes last. Waits at most `patience`.
    #[must_use]
    pub fn take(&self, patience: Duration) -> Arrival {
        let until = Instant::now() + patience;
        let mut state = self.state();
        loop {
            if (state.frame.is_none() || state.before_frame > 0)
                && let Some(report) = state.reports.pop_front()
            {
                state.before_frame = state.before_frame.saturating_sub(1);
                return Arrival::Report(report);
            }
            if let Some(frame) = state.frame.take() {
                self.changed.notify_all();
                return Arrival::Frame(frame);
            }
            if let Some(error) = &state.ended {
                return Arrival::Ended(error.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Arrival::Nothing;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Nobody will take anything any more: the reading thread may end.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Whether nobody takes anything any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits, but not when it is closed; returns whether it is.
    pub fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.state();
        while !state.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Frames of a live source that nobody took before the next came.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.state().left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Frame {
        Frame { name: name.to_owned(), ..Frame::default() }
    }

    fn name_of(arrival: Arrival) -> String {
        match arrival {
            Arrival::Frame(frame) => frame.name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_a_live_source_the_newest_frame_counts() {
        let mailbox = Mailbox::new(true);
        mailbox.put(named("old"));
        mailbox.put(named("new"));
        assert_eq!(name_of(mailbox.take(Duration::ZERO)), "new");
        assert_eq!(mailbox.left_out(), 1);
        assert_eq!(mailbox.spare().name, "old", "its memory is used again");
        assert!(matches!(mailbox.take(Duration::ZERO), Arrival::Nothing));
    }

    #[test]
    fn the_memory_of_a_frame_that_was_too_large_goes_back() {
        let mailbox = Mailbox::new(true);
        let with = |capacity: usize, len: usize| {
            let mut frame = Frame { pixels: vec![0; len], ..named("") };
            frame.pixels.reserve_exact(capacity - len);
            mailbox.recycle(frame);
            mailbox.spare().pixels.capacity()
        };
        assert!(with(1 << 20, 0) >= 1 << 20, "a damaged frame of the usual size");
        assert!(with(24 << 20, 20 << 20) >= 24 << 20, "a large frame among large ones");
        assert_eq!(with(48 << 20, 1 << 20), 0);
        assert_eq!(with(48 << 20, 0), 0);
    }

    #[test]
    fn of_others_none_is_left_out_and_the_end_comes_last() {
        let mailbox = Mailbox::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for name in ["a", "b", "c"] {
                    mailbox.put(named(name));
                }
                mailbox.report(Report::Corrupt("d".to_owned()));
                mailbox.end(None);
            });
            let mut seen = Vec::new();
            loop {
                match mailbox.take(Duration::from_secs(60)) {
                    Arrival::Frame(frame) => seen.push(frame.name),
                    Arrival::Report(Report::Corrupt(name)) => seen.push(format!("corrupt {name}")),
                    Arrival::Ended(None) => break,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(seen, ["a", "b", "c", "corrupt d"]);
        });
    }

    #[test]
    fn a_closed_mailbox_holds_nobody_up() {
        let mailbox = Mailbox::new(false);
        mailbox.put(named("a"));
        mailbox.close();
        mailbox.put(named("b"));
        assert!(mailbox.sleep(Duration::from_secs(3600)));
    }

    #[test]
    fn reports_do_not_pile_up() {
        let mailbox = Mailbox::new(true);
        for number in 0..1000 {
            mailbox.report(Report::Corrupt(number.to_string()));
        }
        let first = mailbox.take(Duration::ZERO);
        assert!(matches!(first, Arrival::Report(Report::Corrupt(number)) if number == "936"));
    }
}
