//! Figures of a run, in memory that does not grow: latencies, frames a second, what the process takes.

use ocelli_app::rate::FrameRate;
use serde::Serialize;
use std::time::Duration;

/// Bars of the histogram: each reaches to 1.25 times the one before, from 50 microseconds to about a second.
const BARS: usize = 46;
const FIRST_US: f64 = 50.0;
const GROWTH: f64 = 1.25;

/// How long frames took.
#[derive(Clone, Debug)]
pub struct Latency {
    counts: [u64; BARS],
    total: u64,
    sum: Duration,
    longest: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: [0; BARS], total: 0, sum: Duration::ZERO, longest: Duration::ZERO }
    }
}

/// A bar of the histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// The longest time that counts here, in milliseconds.
    pub to_ms: f64,
    /// Frames.
    pub count: u64,
}

impl Latency {
    /// Notes a frame.
    pub fn note(&mut self, time: Duration) {
        let bar = (0..BARS - 1).find(|&bar| time <= edge(bar)).unwrap_or(BARS - 1);
        if let Some(count) = self.counts.get_mut(bar) {
            *count += 1;
        }
        self.total += 1;
        self.sum += time;
        self.longest = self.longest.max(time);
    }

    /// The time within which a share of the frames was done: the upper edge of its bar, at most the longest time.
    #[must_use]
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = share * self.total as f64;
        let mut count = 0;
        for (bar, &here) in self.counts.iter().enumerate() {
            count += here;
            if count > 0 && count as f64 >= wanted {
                let most = if bar == BARS - 1 { self.longest } else { edge(bar).min(self.longest) };
                return milliseconds(most);
            }
        }
        0.0
    }

    /// The mean time.
    #[must_use]
    pub fn mean_ms(&self) -> f64 {
        if self.total == 0 { 0.0 } else { milliseconds(self.sum) / self.total as f64 }
    }

    /// The bars from the first to the last that have frames.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        let first = self.counts.iter().position(|&count| count > 0).unwrap_or(0);
        let last = self.counts.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        (first..last).map(|bar| Bar { to_ms: milliseconds(edge(bar)), count: self.counts[bar] }).collect()
    }
}

/// The longest time of a bar.
fn edge(bar: usize) -> Duration {
    Duration::from_secs_f64(FIRST_US * GROWTH.powi(i32::try_from(bar).unwrap_or(i32::MAX)) / 1e6)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

/// Counts frames a second.
#[derive(Clone, Debug, Default)]
pub struct Rate(FrameRate<32>);

impl Rate {
    /// Notes a frame; returns frames in ten seconds, over the last ones.
    pub fn frame(&mut self, since_start: Duration) -> Option<u16> {
        self.0.frame(u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Memory of this process in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryUse {
    /// In use now.
    pub rss_kib: u64,
    /// The most that it ever was.
    pub peak_kib: u64,
}

/// What this process takes; `None` where the system does not tell.
#[must_use]
pub fn memory_use() -> Option<MemoryUse> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(MemoryUse { rss_kib: kib(&status, "VmRSS:")?, peak_kib: kib(&status, "VmHWM:")? })
}

fn kib(status: &str, key: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

/// Processor time of this process, all threads together; `None` where the system does not tell.
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    cpu_of(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// User and system time of a line of `/proc/PID/stat`; Linux counts them for programs in hundredths of a second.
///
/// # Source
/// proc(5): fields 14 and 15, behind the program's name in parentheses.
fn cpu_of(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(10 * ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bar_of_the_true_ones() {
        let mut latency = Latency::default();
        for ms in 1..=100 {
            latency.note(Duration::from_millis(ms));
        }
        for (share, expected) in [(0.5, 50.0), (0.95, 95.0), (1.0, 100.0)] {
            let found = latency.quantile_ms(share);
            assert!(found >= expected && found <= expected * GROWTH, "{share}: {found}");
        }
        assert!((latency.mean_ms() - 50.5).abs() < 0.01);
        let bars = latency.bars();
        assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), 100);
        assert!(bars[0].count > 0 && bars[bars.len() - 1].count > 0);
        assert!(bars.windows(2).all(|pair| pair[0].to_ms < pair[1].to_ms));
    }

    #[test]
    fn no_frames_and_endless_ones_do_no_harm() {
        let mut latency = Latency::default();
        assert_eq!((latency.quantile_ms(0.5), latency.mean_ms(), latency.bars().len()), (0.0, 0.0, 0));
        latency.note(Duration::from_secs(1000));
        assert_eq!(latency.quantile_ms(0.5), 1_000_000.0);
    }

    #[test]
    fn the_kernels_figures_are_read() {
        let stat = "42 (a) b) c) R 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_of("42"), None);
        assert_eq!(kib("VmHWM:\t  9 kB\nVmRSS:\t    1234 kB\n", "VmRSS:"), Some(1234));
        assert!(memory_use().is_some_and(|memory| memory.rss_kib > 100 && memory.peak_kib >= memory.rss_kib));
        assert!(cpu_time().is_some());
    }
}
