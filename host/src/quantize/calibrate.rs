//! Which values each tensor takes on images of the training set.

use super::histogram::Histogram;
use crate::data::Dataset;
use crate::network::{Network, Weights};
use crate::quantize::QuantParams;
use crate::train::{Batches, Classifier, input_tensor};
use anyhow::{Context, ensure};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The interval of a tensor's values; it always holds 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Range {
    /// Smallest value or 0.
    pub min: f32,
    /// Largest value or 0.
    pub max: f32,
}

impl Range {
    /// The interval widened to hold `value`.
    #[must_use]
    pub fn with(self, value: f32) -> Self {
        Self { min: self.min.min(value), max: self.max.max(value) }
    }

    /// Scale and zero point that cover the interval with 255 steps and represent 0 exactly.
    ///
    /// # Source
    /// Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
    /// arXiv:1712.05877, section 3; zero point nudged as TensorFlow Lite's converter does.
    #[must_use]
    pub fn params(self) -> QuantParams {
        let (min, max) = (f64::from(self.min), f64::from(self.max));
        let scale = ((max - min) / 255.0) as f32;
        if scale < 1e-10 {
            return QuantParams { scale: 1.0 / 255.0, zero_point: 0 }; // all zeros: any scale represents them
        }
        let zero_point = (-128.0 - min / f64::from(scale)).round().clamp(-128.0, 127.0) as i32;
        QuantParams { scale, zero_point }
    }
}

/// How an interval is made of the values that a tensor took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Calibrator {
    /// All values.
    #[serde(rename = "min-max")]
    MinMax,
    /// All but one in ten thousand on each side.
    #[serde(rename = "percentile-99.99")]
    Percentile9999,
    /// All but one in a thousand on each side.
    #[serde(rename = "percentile-99.9")]
    Percentile999,
    /// Those for which the mean square of the rounding error is least.
    #[serde(rename = "mse")]
    LeastError,
}

impl Calibrator {
    /// All of them, the plainest first.
    pub const ALL: [Self; 4] = [Self::MinMax, Self::Percentile9999, Self::Percentile999, Self::LeastError];

    /// The interval that it makes of some values, which are finite.
    pub(crate) fn range_of(self, values: &[f32]) -> Range {
        let whole = values.iter().fold(Range::default(), |range, &value| range.with(value));
        if self == Self::MinMax || whole == Range::default() {
            return whole;
        }
        let mut histogram = Histogram::over(whole);
        histogram.add(values);
        self.range(&histogram)
    }

    fn range(self, histogram: &Histogram) -> Range {
        match self {
            Self::MinMax => histogram.whole(),
            Self::Percentile9999 => histogram.without_tails(1e-4),
            Self::Percentile999 => histogram.without_tails(1e-3),
            Self::LeastError => histogram.least_error(),
        }
    }
}

impl fmt::Display for Calibrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MinMax => "min-max",
            Self::Percentile9999 => "percentile-99.99",
            Self::Percentile999 => "percentile-99.9",
            Self::LeastError => "mse",
        })
    }
}

/// The values that each operator's output took.
#[derive(Clone, Debug)]
pub struct Observation {
    histograms: BTreeMap<String, Histogram>,
}

impl Observation {
    /// Runs the float network, as it is after folding, over `images` twice: for the intervals, and to count within them.
    ///
    /// # Errors
    /// As [`Calibration::observe`].
    pub fn collect(network: &Network, weights: &Weights, images: &Dataset, device: &Device) -> anyhow::Result<Self> {
        let ranges = Calibration::observe(network, weights, images, device)?.ranges;
        let mut histograms: BTreeMap<String, Histogram> =
            ranges.into_iter().map(|(name, range)| (name, Histogram::over(range))).collect();
        let module = Classifier::folded(network, weights, device)?;
        for batch in Batches::in_order(images.len(), 64) {
            module.forward_observed(input_tensor(network, images, &batch, device), |layer| {
                if let Some(histogram) = histograms.get_mut(&layer.name) {
                    histogram.add(&layer.values);
                }
            });
        }
        Ok(Self { histograms })
    }

    /// The intervals that a calibrator makes of them.
    #[must_use]
    pub fn calibration(&self, calibrator: Calibrator) -> Calibration {
        let ranges = self.histograms.iter().map(|(name, histogram)| (name.clone(), calibrator.range(histogram)));
        Calibration { ranges: ranges.collect() }
    }
}

/// The interval of each operator's output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    ranges: BTreeMap<String, Range>,
}

impl Calibration {
    /// Runs the float network, as it is after folding, over `images` and keeps the smallest and largest value of each operator's output.
    ///
    /// # Errors
    /// When there are no images, weights are missing, or a value is not finite.
    pub fn observe(network: &Network, weights: &Weights, images: &Dataset, device: &Device) -> anyhow::Result<Self> {
        ensure!(!images.is_empty(), "calibration needs at least one image");
        let module = Classifier::folded(network, weights, device)?;
        let mut calibration = Self::default();
        for batch in Batches::in_order(images.len(), 64) {
            module.forward_observed(input_tensor(network, images, &batch, device), |layer| {
                let range = calibration.ranges.entry(layer.name).or_default();
                *range = layer.values.iter().fold(*range, |range, &v| range.with(v));
            });
        }
        let broken = calibration.ranges.iter().find(|(_, r)| !(r.min.is_finite() && r.max.is_finite()));
        ensure!(broken.is_none(), "the output of layer '{}' is not finite: train again", broken.map_or("", |b| b.0));
        Ok(calibration)
    }

    /// A calibration with the given interval for every layer of a network (for measuring without training).
    ///
    /// # Errors
    /// When the network's shapes do not fit.
    pub fn constant(network: &Network, range: Range) -> anyhow::Result<Self> {
        let ranges = network.nodes()?.into_iter().map(|node| (node.name, range)).collect();
        Ok(Self { ranges })
    }

    /// A calibration with these intervals.
    #[must_use]
    pub const fn of(ranges: BTreeMap<String, Range>) -> Self {
        Self { ranges }
    }

    /// The intervals by layer.
    #[must_use]
    pub const fn ranges(&self) -> &BTreeMap<String, Range> {
        &self.ranges
    }

    /// The interval of a layer, to change it.
    pub(crate) fn range_mut(&mut self, layer: &str) -> Option<&mut Range> {
        self.ranges.get_mut(layer)
    }

    /// The interval of a layer's output.
    ///
    /// # Errors
    /// When the layer was not observed.
    pub fn range(&self, layer: &str) -> anyhow::Result<Range> {
        self.ranges.get(layer).copied().with_context(|| format!("layer '{layer}' was not calibrated"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_exact_and_the_interval_is_covered() {
        for (min, max) in [(-1.0, 1.0), (0.0, 6.0), (-0.3, 12.7), (-5.0, 0.0), (-1e-3, 1e3)] {
            let QuantParams { scale, zero_point } = Range { min, max }.params();
            assert!((-128..=127).contains(&zero_point));
            let real = |q: i32| scale * (q - zero_point) as f32;
            assert!(real(-128) <= min + scale && real(127) >= max - scale, "{min} {max}");
        }
    }
}
