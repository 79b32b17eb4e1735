//! `adjustments.toml`: what was done to a network's float weights before they were quantized, so that every int8 weight can be traced to
//! its float one.

use super::bias::{Corrections, corrected};
use super::equalize::{Factors, equalized, plain};
use crate::files::write_atomically;
use crate::network::{Network, Weights, in_words};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Factors between layers and corrections of biases.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adjustments {
    /// What each channel of a layer's output is divided by.
    #[serde(skip_serializing_if = "Factors::is_empty")]
    pub factors: Factors,
    /// What is added to each bias, after that.
    #[serde(skip_serializing_if = "Corrections::is_empty")]
    pub biases: Corrections,
}

impl Adjustments {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.factors.is_empty() && self.biases.is_empty()
    }

    /// The network without batch norms, and its weights with the factors: the same function in float.
    ///
    /// # Errors
    /// When the factors are not those of this network.
    pub fn equalized(&self, network: &Network, weights: &Weights) -> anyhow::Result<(Network, Weights)> {
        Ok((plain(network)?, equalized(network, weights, &self.factors)?))
    }

    /// The weights that are quantized, batch norms folded: with the factors, and the biases corrected.
    ///
    /// # Errors
    /// When the adjustments are not those of this network.
    pub fn apply(&self, network: &Network, weights: &Weights) -> anyhow::Result<Weights> {
        corrected(&equalized(network, weights, &self.factors)?, &self.biases)
    }

    /// Reads `adjustments.toml`; nothing is adjusted where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key, or does not fit the network.
    pub fn read(path: &Path, network: &Network, weights: &Weights) -> anyhow::Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let read: Self = toml::from_str(&text).map_err(|e| anyhow::anyhow!("{shown}: {}", in_words(&e)))?;
        read.apply(network, weights).with_context(|| format!("{shown} is not of this network: compile it again"))?;
        Ok(read)
    }

    /// Writes `adjustments.toml`, through a temporary file; one that is there goes when nothing is adjusted.
    ///
    /// # Errors
    /// When the file cannot be written or removed.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if !self.is_empty() {
            return write_atomically(path, toml::to_string(self)?.as_bytes());
        }
        if path.exists() {
            std::fs::remove_file(path).with_context(|| format!("cannot remove the outdated {}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn adjustments_keep_every_bit_and_those_of_other_networks_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adjustments.toml");
        let network = Network::open("mnist-cnn").unwrap();
        let weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        let nodes = network.nodes().unwrap();
        let pair = super::super::equalize::pairs(&nodes)[0];
        let first = &nodes[pair.first];
        let mut adjustments = Adjustments::default();
        adjustments.factors.insert(first.name.clone(), vec![1.0 / 3.0; first.output.c as usize]);
        adjustments.biases.insert(first.name.clone(), vec![-0.1_f32.sqrt(); first.output.c as usize]);
        adjustments.write(&path).unwrap();
        assert_eq!(Adjustments::read(&path, &network, &weights).unwrap(), adjustments);
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to, expected) in [
            ("[0.333", "[-0.333", "above 0"),
            ("[0.333", "[1.0, 0.333", "one a channel"),
            ("[-0.3", "[1.0, -0.3", "are not a number for each"),
            ("[biases]", "[biasses]", "biasses"),
            (&format!("{} =", first.name), "other =", "which no other layer"),
        ] {
            let broken = text.replacen(from, to, 1);
            assert_ne!(broken, text, "{from}: {text}");
            std::fs::write(&path, broken).unwrap();
            let error = format!("{:#}", Adjustments::read(&path, &network, &weights).unwrap_err());
            assert!(error.contains(expected) && error.contains("adjustments.toml"), "{error}");
        }
        Adjustments::default().write(&path).unwrap();
        assert!(!path.exists());
        assert!(Adjustments::read(&path, &network, &weights).unwrap().is_empty());
    }
}
