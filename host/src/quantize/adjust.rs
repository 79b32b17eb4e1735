//! `adjustments.toml` and `tuned.safetensors`: what was done to a network's float weights before they were quantized, so that every int8
//! weight can be traced to a float one.

use super::bias::{Corrections, corrected};
use super::double::{Doubles, carried, doubled, widened};
use super::equalize::{Factors, Shifts, equalized, passed_on, plain};
use crate::files::write_atomically;
use crate::network::{Network, Weights, in_words};
use crate::run::names;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Shifts and factors between layers, doubled channels, corrections of biases, weights that were trained on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adjustments {
    /// What is taken off each channel of a layer's output.
    #[serde(skip_serializing_if = "Shifts::is_empty")]
    pub shifts: Shifts,
    /// What each channel of a layer's output is divided by, after that.
    #[serde(skip_serializing_if = "Factors::is_empty")]
    pub factors: Factors,
    /// Dead and added channels that carry copies of live ones, after that.
    #[serde(skip_serializing_if = "Doubles::is_empty")]
    pub doubles: Doubles,
    /// What is added to each bias, after that.
    #[serde(skip_serializing_if = "Corrections::is_empty")]
    pub biases: Corrections,
    /// Whether weights were rounded up or down to fit their inputs, not to the nearest step.
    #[serde(skip_serializing_if = "is_false")]
    pub fitted: bool,
    /// Weights that take the place of all: trained in int8 towards the float network, which they started from.
    #[serde(skip)]
    pub tuned: Option<Weights>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A value of a channel in the quantized network, times `factor` and `shift` above that, is one of the float network's channel `of`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    /// The float network's channel.
    pub of: usize,
    /// Size of it that counts as one here.
    pub factor: f32,
    /// What was taken off.
    pub shift: f32,
}

impl Channel {
    /// A channel that is as the float network has it.
    #[must_use]
    pub const fn own(of: usize) -> Self {
        Self { of, factor: 1.0, shift: 0.0 }
    }
}

impl Adjustments {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.says_nothing() && self.tuned.is_none()
    }

    /// Whether there is nothing for `adjustments.toml`.
    fn says_nothing(&self) -> bool {
        let channels = self.shifts.is_empty() && self.factors.is_empty() && self.doubles.is_empty();
        channels && self.biases.is_empty() && !self.fitted
    }

    /// The network without batch norms, with the channels that were added, and its weights with the shifts, the factors and the doubled
    /// channels: the same function in float on the images that it was calibrated with, but for copies of channels that reach a cap.
    ///
    /// # Errors
    /// When shifts, factors or doubles are not those of this network.
    pub fn equalized(&self, network: &Network, weights: &Weights) -> anyhow::Result<(Network, Weights)> {
        doubled(&plain(network)?, &equalized(network, weights, &self.shifts, &self.factors)?, &self.doubles)
    }

    /// The network with the channels that were added.
    ///
    /// # Errors
    /// When there would be too many.
    pub fn widened(&self, network: &Network) -> anyhow::Result<Network> {
        widened(network, self.doubles.iter().map(|(name, doubles)| (name.as_str(), doubles.as_slice())))
    }

    /// What the channels of each layer of the quantized network stand for, by the layer's name, and how many the float network has there; layers
    /// whose channels are the float network's are missing.
    ///
    /// # Errors
    /// When the adjustments are not those of this network.
    pub fn channels(&self, network: &Network) -> anyhow::Result<BTreeMap<String, (usize, Vec<Channel>)>> {
        let plain = plain(network)?;
        let nodes = plain.nodes()?;
        let (shifts, factors) = (passed_on(&nodes, &self.shifts), passed_on(&nodes, &self.factors));
        let mut channels = BTreeMap::new();
        for (name, shifts) in &shifts {
            let of_layer = shifts.iter().enumerate().map(|(of, &shift)| Channel { shift, ..Channel::own(of) });
            channels.insert(name.clone(), (shifts.len(), of_layer.collect::<Vec<_>>()));
        }
        for (name, factors) in &factors {
            let (_, of_layer) = channels
                .entry(name.clone())
                .or_insert_with(|| (factors.len(), (0..factors.len()).map(Channel::own).collect::<Vec<_>>()));
            of_layer.iter_mut().zip(factors).for_each(|(channel, factor)| channel.factor = *factor);
        }
        for (name, (count, carried)) in carried(&plain, &self.doubles)? {
            let own = channels.remove(&name).map_or_else(Vec::new, |(_, own)| own);
            let channel = |&(of, size): &(usize, f32)| {
                let Channel { factor, shift, .. } = own.get(of).copied().unwrap_or(Channel::own(of));
                Channel { of, factor: factor / size, shift }
            };
            channels.insert(name, (count, carried.iter().map(channel).collect()));
        }
        Ok(channels)
    }

    /// The weights that are quantized, batch norms folded: with shifts and factors, channels doubled, and the biases corrected; or those that were trained on.
    ///
    /// # Errors
    /// When the adjustments are not those of this network.
    pub fn apply(&self, network: &Network, weights: &Weights) -> anyhow::Result<Weights> {
        match &self.tuned {
            Some(tuned) => Ok(tuned.clone()),
            None => corrected(&self.equalized(network, weights)?.1, &self.biases),
        }
    }

    /// Reads `adjustments.toml` and `tuned.safetensors` of a folder; nothing is adjusted where there are none.
    ///
    /// # Errors
    /// When a file cannot be read, has an unknown key, or does not fit the network.
    pub fn read(folder: &Path, network: &Network, weights: &Weights) -> anyhow::Result<Self> {
        let (path, tuned) = (folder.join(names::ADJUSTMENTS), folder.join(names::TUNED));
        let mut read = Self::default();
        if path.exists() {
            read = Self::parse(&path)?;
            read.apply(network, weights)
                .with_context(|| format!("{} is not of this network: compile it again", path.display()))?;
        }
        if tuned.exists() {
            let other = || format!("{} is not of this network: compile it again", tuned.display());
            let (network, _) = read.equalized(network, weights).with_context(other)?;
            read.tuned = Some(Weights::read(&tuned, &network).with_context(other)?);
        }
        Ok(read)
    }

    fn parse(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        toml::from_str(&text).map_err(|e| anyhow::anyhow!("{shown}: {}", in_words(&e)))
    }

    /// Writes both files into a folder, each through a temporary one; one that is there goes when it has nothing to say.
    ///
    /// # Errors
    /// When a file cannot be written or removed.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let (path, tuned) = (folder.join(names::ADJUSTMENTS), folder.join(names::TUNED));
        let remove = |path: &Path| match path.exists() {
            true => {
                std::fs::remove_file(path).with_context(|| format!("cannot remove the outdated {}", path.display()))
            }
            false => Ok(()),
        };
        match &self.tuned {
            Some(weights) => weights.write(&tuned)?,
            None => remove(&tuned)?,
        }
        match self.says_nothing() {
            true => remove(&path),
            false => write_atomically(&path, toml::to_string(self)?.as_bytes()),
        }
    }
}

/// The network of a folder with the channels that were added when it was compiled; nothing where there are none.
///
/// # Errors
/// When `adjustments.toml` cannot be read.
pub fn widened_network(folder: &Path, network: &Network) -> anyhow::Result<Option<Network>> {
    let path = folder.join(names::ADJUSTMENTS);
    if !path.exists() {
        return Ok(None);
    }
    let wide = Adjustments::parse(&path)?.widened(network)?;
    Ok((wide != *network).then_some(wide))
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
        adjustments.write(folder.path()).unwrap();
        assert_eq!(Adjustments::read(folder.path(), &network, &weights).unwrap(), adjustments);
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
            let error = format!("{:#}", Adjustments::read(folder.path(), &network, &weights).unwrap_err());
            assert!(error.contains(expected) && error.contains("adjustments.toml"), "{error}");
        }
        let mut tuned = weights.folded(&network).unwrap();
        let mut layer = tuned.layer(&first.name).unwrap().clone();
        layer.kernel[0] += 0.125;
        tuned.insert(&first.name, layer);
        let with_tuned = Adjustments { tuned: Some(tuned.clone()), ..Adjustments::default() };
        with_tuned.write(folder.path()).unwrap();
        assert!(!path.exists(), "what has nothing to say goes");
        assert_eq!(Adjustments::read(folder.path(), &network, &weights).unwrap(), with_tuned);
        assert_eq!(with_tuned.apply(&network, &weights).unwrap(), tuned);
        let other = Network::open("cifar-cnn").unwrap();
        let others = Weights::initial(&other, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        let error = format!("{:#}", Adjustments::read(folder.path(), &other, &others).unwrap_err());
        assert!(error.contains("tuned.safetensors") && error.contains("compile it again"), "{error}");
        Adjustments::default().write(folder.path()).unwrap();
        assert!(!path.exists());
        assert!(Adjustments::read(folder.path(), &network, &weights).unwrap().is_empty());
    }
}
