//! The figures of a run: for the page, for lines on standard error, and for the summary at its end.

use crate::live::{Caption, LatencySummary, Snapshot};
use crate::result::Outcome;
use crate::say;
use crate::source::mailbox::Mailbox;
use crate::stats::{Latency, MemoryUse, memory_use};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the page gets new figures.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);
/// How often damaged frames of a live source are said.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Frames after which all memory has been taken that a run needs.
const WARM_FRAMES: u64 = 100;

/// The figures of a run.
pub struct Figures {
    /// What the page shows.
    pub snapshot: Snapshot,
    /// What the screens show.
    pub caption: Caption,
    latency: Latency,
    start: Instant,
    published: Option<Instant>,
    said: Option<Instant>,
    unsaid: u64,
    report_every: Option<Duration>,
    reported: Instant,
    first_memory: Option<MemoryUse>,
    end: Option<Duration>,
}

impl Figures {
    /// Of a run that begins now.
    #[must_use]
    pub fn new(model: &Path, source: String, labels: Vec<String>, report_every: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            snapshot: Snapshot { model: model.display().to_string(), source, labels, ..Snapshot::default() },
            caption: Caption::default(),
            latency: Latency::default(),
            start: now,
            published: None,
            said: None,
            unsaid: 0,
            report_every,
            reported: now,
            first_memory: None,
            end: None,
        }
    }

    /// Time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Notes a result.
    pub(super) fn note(&mut self, outcome: Outcome, latency: Duration) {
        self.latency.note(latency);
        let snapshot = &mut self.snapshot;
        snapshot.frames += 1;
        (snapshot.shown, snapshot.shown_permille) = (outcome.shown, outcome.shown_permille);
        (snapshot.top, snapshot.fps) = (outcome.top, outcome.fps);
        if snapshot.frames == WARM_FRAMES {
            self.first_memory = memory_use();
        }
        if self.report_every.is_some_and(|every| self.reported.elapsed() >= every) {
            self.reported = Instant::now();
            self.snapshot.memory = memory_use();
            say(self.summary());
        }
    }

    /// Notes a damaged frame. Of a live source not every one is said.
    pub(super) fn corrupt(&mut self, what: &str, is_live: bool) {
        self.snapshot.corrupt += 1;
        if is_live && self.said.is_some_and(|at| at.elapsed() < SAY_EVERY) {
            self.unsaid += 1;
            return;
        }
        let more = std::mem::take(&mut self.unsaid);
        self.said = Some(Instant::now());
        say(if more > 0 { format!("{what} (and {more} more since)") } else { what.to_owned() });
    }

    /// Notes that something is wrong.
    pub(super) fn trouble(&mut self, what: String) {
        say(&what);
        self.snapshot.fps = None;
        self.snapshot.trouble = Some(what);
        self.published = None;
    }

    /// Notes that it is not any more.
    pub(super) fn recovered(&mut self, what: &str) {
        say(what);
        self.snapshot.trouble = None;
        self.published = None;
    }

    /// Whether the page is to get new figures; then they are made ready.
    pub(super) fn is_due(&mut self) -> bool {
        if self.published.is_some_and(|at| at.elapsed() < PUBLISH_EVERY) {
            return false;
        }
        self.published = Some(Instant::now());
        self.snapshot.latency = LatencySummary::new(&self.latency);
        self.snapshot.memory = memory_use();
        true
    }

    /// The run has ended.
    pub(super) fn finish(&mut self, mailbox: &Mailbox) {
        self.end = Some(self.start.elapsed());
        self.snapshot.left_out = mailbox.left_out();
        self.snapshot.memory = memory_use();
    }

    /// All figures in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let snapshot = &self.snapshot;
        let seconds = self.end.unwrap_or_else(|| self.start.elapsed()).as_secs_f64();
        let mut text = format!("{} frames in {seconds:.1} s", snapshot.frames);
        if snapshot.frames > 0 {
            text += &format!(
                " ({:.1} a second); a frame took {:.2} ms, half of them at most {:.2} ms, 95 % {:.2} ms",
                snapshot.frames as f64 / seconds.max(1e-9),
                self.latency.mean_ms(),
                self.latency.quantile_ms(0.5),
                self.latency.quantile_ms(0.95)
            );
        }
        if snapshot.left_out > 0 {
            text += &format!("; {} came too fast and were left out", snapshot.left_out);
        }
        if snapshot.corrupt > 0 {
            text += &format!("; {} were damaged", snapshot.corrupt);
        }
        #[cfg(feature = "verify")]
        if let Some(found) = snapshot.verified {
            text += &format!(
                "; tract disagreed about {} of {} frames, scores differ by at most {} steps",
                found.disagreements, found.frames, found.most_steps
            );
        }
        if let Some(memory) = snapshot.memory {
            let first = self
                .first_memory
                .map_or_else(String::new, |first| format!("{} KiB after {WARM_FRAMES} frames, ", first.rss_kib));
            text += &format!("; memory: {first}{} KiB now, {} KiB at most", memory.rss_kib, memory.peak_kib);
        }
        text
    }
}
