//! What the classifying loop shares with the web page and the screens: the newest frame, and the figures about it.

use crate::frame::Frame;
use crate::result::{Guess, Outcome};
use crate::stats::{Bar, Latency, MemoryUse};
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The figures that the page shows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// The model's file.
    pub model: String,
    /// Where frames come from.
    pub source: String,
    /// All labels, in the model's order.
    pub labels: Vec<String>,
    /// Frames classified.
    pub frames: u64,
    /// Frames that came too fast.
    pub left_out: u64,
    /// Damaged frames.
    pub corrupt: u64,
    /// The shown label.
    pub shown: Option<String>,
    /// Its share in 1/1000.
    pub shown_permille: u16,
    /// The best classes of the newest frame.
    pub top: Vec<Guess>,
    /// Frames a second.
    pub fps: Option<f64>,
    /// How long frames took.
    pub latency: LatencySummary,
    /// What tract said; `None` when it was not asked.
    #[cfg(feature = "verify")]
    pub verified: Option<crate::verify::Verified>,
    /// What is wrong now.
    pub trouble: Option<String>,
    /// Whether frames can be kept.
    pub keeps: bool,
    /// Frames kept for the next training.
    pub kept: BTreeMap<String, u64>,
    /// Memory of this process.
    pub memory: Option<MemoryUse>,
}

/// How long frames took, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LatencySummary {
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 95 of 100 took no longer.
    pub p95_ms: f64,
    /// The histogram.
    pub bars: Vec<Bar>,
}

impl LatencySummary {
    /// The summary of what was noted.
    #[must_use]
    pub fn new(latency: &Latency) -> Self {
        Self { p50_ms: latency.quantile_ms(0.5), p95_ms: latency.quantile_ms(0.95), bars: latency.bars() }
    }
}

/// What the screens show of a result.
#[derive(Clone, Debug, Default)]
pub struct Caption {
    /// The shown label; `None` is "unknown".
    pub label: Option<String>,
    /// Its share in 1/1000.
    pub permille: u16,
    /// Frames in ten seconds.
    pub fps_tenths: Option<u16>,
}

impl Caption {
    /// The caption of a result.
    #[must_use]
    pub fn new(outcome: &Outcome) -> Self {
        let tenths = |fps: f64| (fps * 10.0).round().clamp(0.0, 65_535.0) as u16;
        Self { label: outcome.shown.clone(), permille: outcome.shown_permille, fps_tenths: outcome.fps.map(tenths) }
    }
}

#[derive(Debug, Default)]
struct State {
    frame: Option<Arc<Frame>>,
    caption: Caption,
    /// Counts frames.
    number: u64,
    closed: bool,
}

/// The newest frame and the figures.
#[derive(Debug)]
pub struct Live {
    state: Mutex<State>,
    changed: Condvar,
    figures: watch::Sender<Arc<str>>,
    view: watch::Sender<Bytes>,
}

impl Default for Live {
    fn default() -> Self {
        let (figures, view) = (watch::Sender::new(Arc::from("{}")), watch::Sender::new(Bytes::new()));
        Self { state: Mutex::default(), changed: Condvar::new(), figures, view }
    }
}

impl Live {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a classified frame; returns the one before, when nobody looks at it any more.
    pub fn put(&self, frame: Frame, caption: Caption) -> Option<Frame> {
        let mut state = self.state();
        let old = state.frame.replace(Arc::new(frame));
        state.caption = caption;
        state.number += 1;
        drop(state);
        self.changed.notify_all();
        old.and_then(Arc::into_inner)
    }

    /// The newest frame.
    #[must_use]
    pub fn frame(&self) -> Option<Arc<Frame>> {
        self.state().frame.clone()
    }

    /// Waits for a frame after number `seen`; `None` when there is none for `patience`.
    #[must_use]
    pub fn next(&self, seen: u64, patience: Duration) -> Option<(u64, Arc<Frame>, Caption)> {
        let state = self.state();
        let waiting = |state: &mut State| state.number <= seen && !state.closed;
        let waited = self.changed.wait_timeout_while(state, patience, waiting);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let frame = state.frame.clone().filter(|_| state.number > seen)?;
        Some((state.number, frame, state.caption.clone()))
    }

    /// Ends the thread that draws.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Whether the thread that draws is to end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Publishes the figures.
    pub fn publish(&self, snapshot: &Snapshot) {
        if let Ok(json) = serde_json::to_string(snapshot) {
            self.figures.send_replace(Arc::from(json));
        }
    }

    /// The figures as JSON, now and whenever they change.
    #[must_use]
    pub fn figures(&self) -> watch::Receiver<Arc<str>> {
        self.figures.subscribe()
    }

    /// Publishes a frame of the live view, a JPEG.
    pub fn show(&self, jpeg: Bytes) {
        self.view.send_replace(jpeg);
    }

    /// The live view; empty before there is one.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Bytes> {
        self.view.subscribe()
    }

    /// Whether somebody looks at the live view: otherwise no JPEGs need to be made.
    #[must_use]
    pub fn has_viewers(&self) -> bool {
        self.view.receiver_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_old_frames_comes_back_unless_somebody_looks_at_them() {
        let live = Live::default();
        assert!(live.put(Frame { name: "1".to_owned(), ..Frame::default() }, Caption::default()).is_none());
        let looked_at = live.frame().unwrap();
        assert!(live.put(Frame::default(), Caption::default()).is_none());
        assert_eq!(looked_at.name, "1");
        assert!(live.put(Frame::default(), Caption::default()).is_some());
    }

    #[test]
    fn a_frame_is_seen_once() {
        let live = Live::default();
        assert!(live.next(0, Duration::ZERO).is_none());
        live.put(Frame::default(), Caption { permille: 7, ..Caption::default() });
        let (number, _, caption) = live.next(0, Duration::ZERO).unwrap();
        assert_eq!((number, caption.permille), (1, 7));
        assert!(live.next(number, Duration::ZERO).is_none());
        live.close();
        assert!(live.next(number, Duration::from_secs(3600)).is_none());
    }

    #[test]
    fn nobody_looks_until_somebody_does() {
        let live = Live::default();
        assert!(!live.has_viewers());
        let view = live.view();
        live.show(Bytes::from_static(b"jpeg"));
        assert!(live.has_viewers());
        assert_eq!(&view.borrow()[..], b"jpeg");
    }
}
