//! How often each value occurs in a tensor, and the intervals that can be made of that.

use super::Range;

/// Cells between a tensor's smallest and largest value.
const CELLS: usize = 2048;

/// Counts of a tensor's values in cells of equal width.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    range: Range,
    counts: Vec<u64>,
}

impl Histogram {
    /// An empty one over an interval, which is finite.
    pub fn over(range: Range) -> Self {
        Self { range, counts: vec![0; CELLS] }
    }

    /// Counts values; those outside the interval count for its ends.
    pub fn add(&mut self, values: &[f32]) {
        let (min, width) = (self.range.min, self.width());
        for value in values {
            // a NaN or a negative number becomes 0
            let cell = ((value - min) / width) as usize;
            self.counts[cell.min(CELLS - 1)] += 1;
        }
    }

    /// The whole interval.
    pub const fn whole(&self) -> Range {
        self.range
    }

    /// The interval without the outermost values: a `share` of all in each direction.
    pub fn without_tails(&self, share: f64) -> Range {
        let total: u64 = self.counts.iter().sum();
        let allowed = (total as f64 * share) as u64;
        let cells_off = |counts: &mut dyn Iterator<Item = &u64>| {
            let mut seen = 0;
            counts
                .take_while(|&&count| {
                    seen += count;
                    seen <= allowed
                })
                .count()
        };
        let (low, high) = (cells_off(&mut self.counts.iter()), cells_off(&mut self.counts.iter().rev()));
        let width = self.width();
        Range {
            min: (self.range.min + low as f32 * width).min(0.0),
            max: (self.range.max - high as f32 * width).max(0.0),
        }
    }

    /// The interval, shrunk by one factor on both sides, that gives the least mean square of the difference between a value and its
    /// nearest int8 step.
    pub fn least_error(&self) -> Range {
        let candidates = (0..=70).map(|percent| {
            let factor = 1.0 - percent as f32 / 100.0;
            Range { min: self.range.min * factor, max: self.range.max * factor }
        });
        let best = candidates.map(|range| (self.error(range), range)).min_by(|a, b| a.0.total_cmp(&b.0));
        best.map_or(self.range, |(_, range)| range)
    }

    /// Sum of squared differences when the values are quantized over `range`.
    fn error(&self, range: Range) -> f64 {
        let params = range.params();
        let width = self.width();
        let cells = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        cells
            .map(|(cell, &count)| {
                let value = self.range.min + (cell as f32 + 0.5) * width;
                let step = (value / params.scale).round() as i32 + params.zero_point;
                let nearest = params.scale * (step.clamp(-128, 127) - params.zero_point) as f32;
                f64::from(value - nearest).powi(2) * count as f64
            })
            .sum()
    }

    fn width(&self) -> f32 {
        ((self.range.max - self.range.min) / CELLS as f32).max(f32::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100,000 values spread evenly over -1 to 1, and one far away.
    fn with_outlier() -> Histogram {
        let mut histogram = Histogram::over(Range { min: -1.0, max: 20.0 });
        let values: Vec<f32> = (0..100_000).map(|i| i as f32 / 50_000.0 - 1.0).collect();
        histogram.add(&values);
        histogram.add(&[20.0]);
        histogram
    }

    #[test]
    fn tails_go_and_the_bulk_stays() {
        let histogram = with_outlier();
        let kept = histogram.without_tails(1e-4);
        assert!(kept.max < 1.02 && kept.max > 0.98, "{kept:?}");
        assert!(kept.min < -0.98, "{kept:?}");
        assert_eq!(histogram.without_tails(0.0), Range { min: -1.0, max: 20.0 });
        let mut positive = Histogram::over(Range { min: 0.0, max: 4.0 });
        positive.add(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(positive.without_tails(0.2).min, 0.0, "zero is always held");
    }

    #[test]
    fn least_error_is_least_among_its_neighbours() {
        let histogram = with_outlier();
        let best = histogram.least_error();
        assert!(best.max < 20.0, "one value is not worth 255 coarse steps: {best:?}");
        for factor in [0.9, 1.1] {
            let other = Range { min: best.min * factor, max: best.max * factor };
            assert!(histogram.error(best) <= histogram.error(other), "{other:?}");
        }
        let mut even = Histogram::over(Range { min: -1.0, max: 1.0 });
        even.add(&(0..1000).map(|i| i as f32 / 500.0 - 1.0).collect::<Vec<_>>());
        assert!(even.least_error().max > 0.98, "nothing to gain by cutting evenly spread values");
    }
}
