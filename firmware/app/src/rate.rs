//! Frames a second, over the last frames.

use heapless::HistoryBuf;

/// The times of the last `FRAMES` frames.
#[derive(Clone, Debug, Default)]
pub struct FrameRate<const FRAMES: usize> {
    times_ms: HistoryBuf<u64, FRAMES>,
}

impl<const FRAMES: usize> FrameRate<FRAMES> {
    /// No frame yet.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(FRAMES >= 2) };
        Self { times_ms: HistoryBuf::new() }
    }

    /// Notes a frame at a time of any clock that goes on; returns the frames in ten seconds, rounded, or `None` before there are two frames
    /// at two times.
    pub fn frame(&mut self, now_ms: u64) -> Option<u16> {
        self.times_ms.write(now_ms);
        let first = *self.times_ms.oldest_ordered().next()?;
        let frames = u64::try_from(self.times_ms.len()).ok()?.checked_sub(1)?;
        let ms = now_ms.checked_sub(first)?;
        let tenths = (10_000 * frames + ms / 2).checked_div(ms)?;
        Some(u16::try_from(tenths).unwrap_or(u16::MAX))
    }

    /// Forgets all frames, as after a sleep.
    pub fn reset(&mut self) {
        self.times_ms.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_counted_over_the_last_frames() {
        let mut rate = FrameRate::<4>::new();
        assert_eq!(rate.frame(1000), None);
        assert_eq!(rate.frame(1000), None, "two frames at one time");
        assert_eq!(rate.frame(1100), Some(200), "two in 100 ms");
        assert_eq!(rate.frame(1150), Some(200), "three in 150 ms");
        assert_eq!(rate.frame(1250), Some(120), "the first is forgotten: three in 250 ms");
        assert_eq!(rate.frame(900), None, "a clock that was set back");
        rate.reset();
        assert_eq!(rate.frame(2000), None);
        assert_eq!(rate.frame(2033), Some(303));
    }

    #[test]
    fn a_rate_beyond_the_type_is_its_largest() {
        let mut rate = FrameRate::<100>::new();
        for _ in 0..99 {
            rate.frame(0);
        }
        assert_eq!(rate.frame(1), Some(u16::MAX));
    }
}
