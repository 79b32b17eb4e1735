//! The ways to quantize a network after its training: which channels are equalized, how intervals are made, whether biases are corrected.

use super::bias::{Corrections, corrected, corrections};
use super::double::{Doubles, doubled};
use super::equalize::{Equalize, Factors, Peaks, equalized, factors, peaks, plain};
use super::{Adjustments, Calibrator, Int4, Observation, QuantizedNetwork, quantize, quantize_int4};
use crate::data::Dataset;
use crate::network::{Network, Weights};
use crate::train::{DistillStep, Distillation, distill};
use burn::tensor::Device;
use ocelli::ir::Op;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which equalization is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Equalization {
    /// None.
    #[default]
    Off,
    /// By weights.
    Weights,
    /// By activations.
    Activations,
    /// Whichever keeps the network nearest to its float self; none where it has no depthwise convolution.
    Auto,
}

impl Equalization {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 4] =
        [("off", Self::Off), ("weights", Self::Weights), ("activations", Self::Activations), ("auto", Self::Auto)];

    /// Whether there is none.
    #[must_use]
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }

    /// Those that are tried for a network, the plainest first.
    ///
    /// # Errors
    /// When the network's shapes do not fit.
    pub fn candidates(self, network: &Network) -> anyhow::Result<Vec<Equalize>> {
        let depthwise = || -> anyhow::Result<bool> {
            let nodes = network.nodes()?;
            Ok(nodes.iter().any(|node| matches!(node.op, Op::DepthwiseConv2d { .. }) && node.input().c > 1))
        };
        Ok(match self {
            Self::Off => vec![Equalize::Off],
            Self::Weights => vec![Equalize::Weights],
            Self::Activations => vec![Equalize::Activations],
            Self::Auto if depthwise()? => Equalize::ALL.to_vec(),
            Self::Auto => vec![Equalize::Off],
        })
    }
}

/// Whether biases are corrected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BiasCorrection {
    /// They are not.
    #[default]
    Off,
    /// They are.
    On,
    /// Where it brings the network nearer to its float self.
    Auto,
}

impl BiasCorrection {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 3] = [("off", Self::Off), ("on", Self::On), ("auto", Self::Auto)];

    /// Whether they are not corrected.
    #[must_use]
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }

    /// What is tried.
    #[must_use]
    pub const fn candidates(self) -> &'static [bool] {
        match self {
            Self::Off => &[false],
            Self::On => &[true],
            Self::Auto => &[false, true],
        }
    }
}

/// A way to quantize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// How intervals are made.
    pub calibrator: Calibrator,
    /// By what channels are made alike.
    pub equalize: Equalize,
    /// Whether biases are corrected.
    pub bias_correction: bool,
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "calibrator {}", self.calibrator)?;
        if self.equalize != Equalize::Off {
            write!(f, ", equalized by {}", self.equalize)?;
        }
        if self.bias_correction { f.write_str(", biases corrected") } else { Ok(()) }
    }
}

/// A network that is ready to be quantized: equalized or not, and observed.
#[derive(Debug)]
pub struct Prepared<'a> {
    network: Network,
    weights: Weights,
    factors: Factors,
    doubles: Doubles,
    observation: Observation,
    images: &'a Dataset,
    device: Device,
}

impl<'a> Prepared<'a> {
    /// Equalizes a trained network and observes its activations on images.
    ///
    /// # Errors
    /// As [`super::Calibration::observe`].
    pub fn new(
        network: &Network,
        weights: &Weights,
        equalize: Equalize,
        images: &'a Dataset,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let peaks = if equalize == Equalize::Off { Peaks::new() } else { peaks(network, weights, images, device)? };
        let factors = factors(network, weights, &peaks, equalize)?;
        let (network, mut weights) = (plain(network)?, equalized(network, weights, &factors)?);
        let mut doubles = Doubles::new();
        if equalize == Equalize::Activations {
            doubles = super::doubles(&network, &weights, &peaks, images, device)?;
            weights = doubled(&network, &weights, &doubles)?;
        }
        let observation = Observation::collect(&network, &weights, images, device)?;
        Ok(Self { network, weights, factors, doubles, observation, images, device: device.clone() })
    }

    /// Quantizes it, with weights of four bits for some dense layers; what was done to the weights before.
    ///
    /// # Errors
    /// As [`quantize_int4`].
    pub fn quantize(
        &self,
        calibrator: Calibrator,
        bias_correction: bool,
        int4: &Int4,
    ) -> anyhow::Result<(QuantizedNetwork, Adjustments)> {
        let Self { network, weights, images, device, .. } = self;
        let calibration = self.observation.calibration(calibrator);
        let biases = if bias_correction {
            corrections(network, weights, &calibration, int4, images, device)?
        } else {
            Corrections::new()
        };
        let quantized = quantize_int4(network, &corrected(weights, &biases)?, &calibration, &images.labels, int4)?;
        Ok((
            quantized,
            Adjustments { factors: self.factors.clone(), doubles: self.doubles.clone(), biases, tuned: None },
        ))
    }

    /// Quantizes it, after its weights and intervals were trained in int8 towards the float network on the images.
    ///
    /// # Errors
    /// As [`quantize`] and [`distill`].
    pub fn distill(
        &self,
        calibrator: Calibrator,
        bias_correction: bool,
        settings: &Distillation,
        done: &mut dyn FnMut(DistillStep),
    ) -> anyhow::Result<(QuantizedNetwork, Adjustments)> {
        let Self { network, weights, images, device, .. } = self;
        let calibration = self.observation.calibration(calibrator);
        let start = if bias_correction {
            corrected(weights, &corrections(network, weights, &calibration, &Int4::default(), images, device)?)?
        } else {
            weights.clone()
        };
        let (tuned, calibration) = distill(network, weights, &start, &calibration, images, settings, done)?;
        let quantized = quantize(network, &tuned, &calibration, &images.labels)?;
        let (factors, doubles) = (self.factors.clone(), self.doubles.clone());
        Ok((quantized, Adjustments { factors, doubles, biases: Corrections::new(), tuned: Some(tuned) }))
    }
}
