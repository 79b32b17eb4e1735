//! `ranges.toml`: the intervals of activations that a network was trained with for int8, and what that was worth.

use super::{Calibration, Range};
use crate::files::write_atomically;
use crate::network::{Network, in_words};
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What quantization-aware training leaves beside the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedRanges {
    /// The intervals.
    pub calibration: Calibration,
    /// On the validation images.
    pub accuracy: Accuracies,
}

/// Accuracies on the validation images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracies {
    /// Of the float network, before quantization-aware training.
    pub float: f64,
    /// Of that network in int8.
    pub ptq: f64,
    /// Of the int8 network after quantization-aware training.
    pub qat: f64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    validation_accuracy: Accuracies,
    ranges: BTreeMap<String, Range>,
}

impl TrainedRanges {
    /// Reads `ranges.toml`.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key, an interval that is none, or not one for each layer of the network.
    pub fn read(path: &Path, network: &Network) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let file: File = toml::from_str(&text).map_err(|e| anyhow::anyhow!("{shown}: {}", in_words(&e)))?;
        for (layer, Range { min, max }) in &file.ranges {
            let good = min.is_finite() && max.is_finite() && *min <= 0.0 && *max >= 0.0;
            ensure!(good, "{shown}: [ranges.{layer}] min = {min}, max = {max} is no finite interval that holds 0");
        }
        let nodes = network.nodes()?;
        // the softmax after the logits has a fixed interval
        let missing = nodes.iter().rev().skip(1).find(|node| !file.ranges.contains_key(&node.name));
        ensure!(missing.is_none(), "{shown} has no [ranges.{}]: train again", missing.map_or("", |node| &node.name));
        Ok(Self { calibration: Calibration::of(file.ranges), accuracy: file.validation_accuracy })
    }

    /// Writes `ranges.toml`, through a temporary file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let file = File { validation_accuracy: self.accuracy, ranges: self.calibration.ranges().clone() };
        write_atomically(path, toml::to_string(&file)?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_keep_every_bit_and_bad_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ranges.toml");
        let network = Network::open("mnist-cnn").unwrap();
        let range = Range { min: -0.1_f32.sqrt(), max: 1.0 / 3.0 };
        let accuracy = Accuracies { float: 0.99, ptq: 0.9, qat: 0.1 + 0.2 };
        let ranges = TrainedRanges { calibration: Calibration::constant(&network, range).unwrap(), accuracy };
        ranges.write(&path).unwrap();
        assert_eq!(TrainedRanges::read(&path, &network).unwrap(), ranges);
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to, expected) in [
            ("max = ", "max = -", "that holds 0"),
            ("max = ", "max = nan #", "that holds 0"),
            ("max = ", "maximum = ", "max"),
            ("[ranges.", "[ranges.x", "has no [ranges."),
        ] {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = TrainedRanges::read(&path, &network).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("ranges.toml"), "{error}");
        }
    }
}
