//! The ways to quantize a network after its training: which channels are equalized, how intervals are made, whether biases are corrected.

use super::bias::{Corrections, corrected, corrections};
use super::double::{Doubles, doubled};
use super::equalize::{Equalize, Factors, Shifts, Span, equalized, factors, plain, shifts, span};
use super::fit::{fitted, matched};
use super::{Adjustments, Calibration, Calibrator, Int4, Observation, QuantizedNetwork, quantize, quantize_int4};
use crate::data::Dataset;
use crate::network::{Network, Weights};
use crate::train::{DistillStep, Distillation, distill};
use burn::tensor::Device;
use ocelli::ir::Op;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

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

/// How weights are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    /// To the nearest step.
    #[default]
    Nearest,
    /// Up or down, as the layer's inputs have it; biases then bring the means of the int8 network to those of the float one.
    Fitted,
    /// Fitted where that keeps the network nearer to its float self.
    Auto,
}

impl Rounding {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 3] =
        [("nearest", Self::Nearest), ("fitted", Self::Fitted), ("auto", Self::Auto)];

    /// Whether it is the plain one.
    #[must_use]
    pub fn is_nearest(&self) -> bool {
        *self == Self::Nearest
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
    /// Whether weights are rounded to fit their inputs, and biases to fit the int8 network.
    pub fitted: bool,
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "calibrator {}", self.calibrator)?;
        if self.equalize != Equalize::Off {
            write!(f, ", equalized by {}", self.equalize)?;
        }
        if self.fitted {
            f.write_str(", weights and biases fitted")
        } else if self.bias_correction {
            f.write_str(", biases corrected")
        } else {
            Ok(())
        }
    }
}

/// A network that is ready to be quantized: equalized or not, and observed.
#[derive(Debug)]
pub struct Prepared<'a> {
    network: Network,
    weights: Weights,
    shifts: Shifts,
    factors: Factors,
    doubles: Doubles,
    observation: Observation,
    /// The weights rounded to fit, once they were asked for.
    fitted: OnceLock<Weights>,
    /// What was found for their biases.
    matched: Mutex<Vec<(Calibrator, Int4, Corrections)>>,
    images: &'a Dataset,
    device: Device,
}

impl<'a> Prepared<'a> {
    /// Equalizes a trained network and observes its activations on images. By activations, channels are doubled too: added ones may take the
    /// share `widen` of the network's multiplications.
    ///
    /// # Errors
    /// As [`super::Calibration::observe`].
    pub fn new(
        network: &Network,
        weights: &Weights,
        equalize: Equalize,
        widen: f64,
        images: &'a Dataset,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let span = if equalize == Equalize::Off { Span::default() } else { span(network, weights, images, device)? };
        let by_activations = equalize == Equalize::Activations;
        let shifts = if by_activations { shifts(network, &span)? } else { Shifts::new() };
        let factors = factors(network, weights, &span.peaks, &shifts, equalize)?;
        let (mut network, mut weights) = (plain(network)?, equalized(network, weights, &shifts, &factors)?);
        let mut doubles = Doubles::new();
        if by_activations {
            doubles = super::doubles(&network, &weights, &span.peaks, images, widen, device)?;
            (network, weights) = doubled(&network, &weights, &doubles)?;
        }
        let observation = Observation::collect(&network, &weights, images, device)?;
        Ok(Self {
            network,
            weights,
            shifts,
            factors,
            doubles,
            observation,
            fitted: OnceLock::new(),
            matched: Mutex::default(),
            images,
            device: device.clone(),
        })
    }

    /// What was done to the weights so far.
    fn adjustments(&self) -> Adjustments {
        Adjustments {
            shifts: self.shifts.clone(),
            factors: self.factors.clone(),
            doubles: self.doubles.clone(),
            ..Adjustments::default()
        }
    }

    /// Quantizes it, with weights of four bits for some dense layers; what was done to the weights before.
    ///
    /// # Errors
    /// As [`quantize_int4`].
    pub fn quantize(&self, recipe: Recipe, int4: &Int4) -> anyhow::Result<(QuantizedNetwork, Adjustments)> {
        let calibration = self.observation.calibration(recipe.calibrator);
        let (rounded, biases) = self.rounded(recipe, &calibration, int4)?;
        let weights = corrected(&rounded, &biases)?;
        let quantized = quantize_int4(&self.network, &weights, &calibration, &self.images.labels, int4)?;
        Ok((quantized, Adjustments { biases, fitted: recipe.fitted, ..self.adjustments() }))
    }

    /// The weights that are to be rounded, and what is added to their biases.
    fn rounded(
        &self,
        recipe: Recipe,
        calibration: &Calibration,
        int4: &Int4,
    ) -> anyhow::Result<(Weights, Corrections)> {
        let Self { network, weights, images, device, .. } = self;
        if recipe.fitted {
            let mut rounded = match self.fitted.get() {
                Some(fitted) => fitted.clone(),
                None => {
                    let made = fitted(network, weights, images, device)?;
                    self.fitted.get_or_init(|| made).clone()
                }
            };
            // weights of four bits have other steps
            for node in network.nodes()?.iter().filter(|node| int4.takes(node)) {
                if let Some(layer) = weights.layer(&node.name) {
                    rounded.insert(&node.name, layer.clone());
                }
            }
            let found = || self.matched.lock().unwrap_or_else(PoisonError::into_inner);
            let of =
                |(calibrator, of, _): &&(Calibrator, Int4, Corrections)| *calibrator == recipe.calibrator && of == int4;
            if let Some((.., biases)) = found().iter().find(of) {
                return Ok((rounded, biases.clone()));
            }
            let biases = matched(network, weights, &rounded, calibration, int4, images, device)?;
            found().push((recipe.calibrator, int4.clone(), biases.clone()));
            return Ok((rounded, biases));
        }
        let biases = match recipe.bias_correction {
            true => corrections(network, weights, weights, calibration, int4, images, device)?,
            false => Corrections::new(),
        };
        Ok((weights.clone(), biases))
    }

    /// Quantizes it, after its weights and intervals were trained in int8 towards the float network on the images.
    ///
    /// # Errors
    /// As [`quantize`] and [`distill`].
    pub fn distill(
        &self,
        recipe: Recipe,
        settings: &Distillation,
        done: &mut dyn FnMut(DistillStep),
    ) -> anyhow::Result<(QuantizedNetwork, Adjustments)> {
        let Self { network, weights, images, .. } = self;
        let calibration = self.observation.calibration(recipe.calibrator);
        let (rounded, biases) = self.rounded(recipe, &calibration, &Int4::default())?;
        let start = corrected(&rounded, &biases)?;
        let (tuned, calibration) = distill(network, weights, &start, &calibration, images, settings, done)?;
        let quantized = quantize(network, &tuned, &calibration, &images.labels)?;
        Ok((quantized, Adjustments { tuned: Some(tuned), ..self.adjustments() }))
    }
}
