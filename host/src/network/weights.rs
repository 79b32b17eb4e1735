//! The trained numbers of a network in one layout: conv2d OHWI, depthwise `[1, kh, kw, c_out]`, dense `[out, in]` over a flat input in
//! H, W, C order, conv3d `[filters, kd * kh, kw, c_in]`.

use super::fold::fold;
use super::{Layer, LayerKind, LayerOptions, Network, NetworkError};
use crate::files::write_atomically;
use ocelli::ir::Op;
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Weights and biases, and the numbers of batch norms, by layer name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    layers: BTreeMap<String, LayerWeights>,
    norms: BTreeMap<String, NormWeights>,
}

/// The numbers of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// [`Op::weight_shape`]: `[c_out, kh, kw, c_in]`, `[1, kh, kw, c_out]` for depthwise, `[out, 1, 1, in]` for dense; of a conv3d
    /// [`Conv3d::weight_shape`](super::Conv3d::weight_shape).
    pub shape: [usize; 4],
    /// The weights in that order.
    pub kernel: Vec<f32>,
    /// One an output channel; empty where the layer trains none.
    pub bias: Vec<f32>,
}

/// The numbers of a batch norm, one a channel: `gamma * (x - mean) / sqrt(variance + epsilon) + beta`.
#[derive(Clone, Debug, PartialEq)]
pub struct NormWeights {
    /// Deviation that the output gets.
    pub gamma: Vec<f32>,
    /// Mean that the output gets.
    pub beta: Vec<f32>,
    /// Running mean of the input.
    pub mean: Vec<f32>,
    /// Running variance of the input.
    pub variance: Vec<f32>,
}

impl NormWeights {
    /// The identity but for epsilon: how training starts.
    #[must_use]
    pub fn identity(channels: usize) -> Self {
        let (zeros, ones) = (vec![0.0; channels], vec![1.0; channels]);
        Self { gamma: ones.clone(), beta: zeros.clone(), mean: zeros, variance: ones }
    }

    /// The parts with their names in a file.
    fn parts(&self) -> [(&'static str, &Vec<f32>); 4] {
        [("gamma", &self.gamma), ("beta", &self.beta), ("mean", &self.mean), ("variance", &self.variance)]
    }
}

/// Why weights cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The file cannot be read.
    #[error("cannot read the weights {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not what it must be.
    #[error("{path}: {message}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The network itself is wrong.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Weights {
    /// The numbers that training starts with: each layer's initializer (fans counted within a group), zero biases, batch norms that are
    /// the identity.
    ///
    /// # Errors
    /// When the network's shapes do not fit.
    pub fn initial(network: &Network, rng: &mut ChaCha8Rng) -> Result<Self, NetworkError> {
        let mut weights = Self::default();
        for place in places(network)? {
            let numbers = match place.kind {
                PlaceKind::Layer { shape, channels, groups, options } => {
                    let [o, kh, kw, i] = if shape[0] == channels { shape } else { [channels, shape[1], shape[2], 1] };
                    let (fan_in, fan_out) = (kh * kw * i, kh * kw * o / groups);
                    let kernel = options.initializer.sample(o * kh * kw * i, fan_in, fan_out, rng);
                    LayerWeights { shape, kernel, bias: vec![0.0; if options.bias { channels } else { 0 }] }
                }
                PlaceKind::Norm { channels } => {
                    weights.insert_norm(&place.name, NormWeights::identity(channels));
                    continue;
                }
            };
            weights.insert(&place.name, numbers);
        }
        Ok(weights)
    }

    /// The numbers of a layer.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<&LayerWeights> {
        self.layers.get(name)
    }

    /// Adds or replaces the numbers of a layer.
    pub fn insert(&mut self, name: &str, weights: LayerWeights) {
        self.layers.insert(name.to_owned(), weights);
    }

    /// The numbers of a batch norm.
    #[must_use]
    pub fn norm(&self, name: &str) -> Option<&NormWeights> {
        self.norms.get(name)
    }

    /// Adds or replaces the numbers of a batch norm.
    pub fn insert_norm(&mut self, name: &str, weights: NormWeights) {
        self.norms.insert(name.to_owned(), weights);
    }

    /// The weights of [`Network::nodes`]: every batch norm multiplied into the layer before it, or a depthwise convolution of its own;
    /// those of a conv3d written out.
    ///
    /// # Arithmetic
    /// With `g = gamma / sqrt(variance + epsilon)`: weights `w * g`, bias `(bias - mean) * g + beta`.
    ///
    /// # Errors
    /// When the shapes do not fit or numbers are missing.
    pub fn folded(&self, network: &Network) -> Result<Self, NetworkError> {
        let missing = |name: &str| NetworkError::Invalid {
            name: network.name.clone(),
            message: format!("layer '{name}' has no weights"),
        };
        let mut folded = Self::default();
        for item in fold(network)? {
            let Some(shape) = item.node.op.weight_shape(item.node.input()) else { continue };
            let shape = shape.map(|n| n as usize);
            let axis = item.node.op.channel_axis();
            let mut layers = item.layers.iter().filter_map(|&index| network.layers.get(index)).peekable();
            let weighted = |layer: &&Layer| matches!(layer.kind, LayerKind::Op(_) | LayerKind::Conv3d(_));
            let mut numbers = match layers.next_if(weighted) {
                Some(Layer { name, kind: LayerKind::Conv3d(conv), .. }) => {
                    let input = item.node.input();
                    let own = self.layer(name).filter(|layer| layer.shape == conv.weight_shape(input));
                    let out = conv.written_out(input, own.ok_or_else(|| missing(name))?);
                    out.map_err(|source| source.of(item.layers[0] + 1, name, input))?
                }
                Some(layer) => {
                    self.layer(&layer.name).filter(|l| l.shape == shape).ok_or_else(|| missing(&layer.name))?.clone()
                }
                None => LayerWeights { shape, kernel: vec![1.0; shape[axis]], bias: Vec::new() },
            };
            if numbers.bias.is_empty() {
                numbers.bias = vec![0.0; shape[axis]];
            }
            for layer in layers {
                let LayerKind::BatchNorm { epsilon, .. } = layer.kind else { continue };
                let norm = self.norm(&layer.name).filter(|n| n.parts().iter().all(|(_, p)| p.len() == shape[axis]));
                numbers.normalize(axis, norm.ok_or_else(|| missing(&layer.name))?, epsilon);
            }
            folded.insert(&item.node.name, numbers);
        }
        Ok(folded)
    }

    /// How many numbers there are, running statistics among them.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let layers = self.layers.values().map(|layer| layer.kernel.len() + layer.bias.len());
        layers.chain(self.norms.values().map(|norm| 4 * norm.gamma.len())).sum()
    }

    /// The layers' names and numbers, batch norms apart.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &LayerWeights)> {
        self.layers.iter().map(|(name, weights)| (name.as_str(), weights))
    }

    /// Reads a safetensors file with `<layer>.kernel` and `<layer>.bias` for every layer of the network that has weights, and
    /// `<layer>.gamma`, `beta`, `mean` and `variance` for every batch norm.
    ///
    /// # Errors
    /// When the file cannot be read, a tensor is missing, or its shape is not the network's.
    pub fn read(path: &Path, network: &Network) -> Result<Self, WeightError> {
        let bytes = std::fs::read(path).map_err(|source| WeightError::Read { path: path.to_owned(), source })?;
        let format = |message: String| WeightError::Format { path: path.to_owned(), message };
        let file = SafeTensors::deserialize(&bytes).map_err(|e| format(format!("not a safetensors file ({e})")))?;
        let read = |layer: &str, part: &str, expected: &[usize]| {
            let name = format!("{layer}.{part}");
            let tensor = file.tensor(&name).map_err(|_| format(format!("has no tensor '{name}'")))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != expected {
                let found = tensor.shape();
                return Err(format(format!(
                    "tensor '{name}' has shape {found:?}, the network needs {expected:?} (F32)"
                )));
            }
            let values: Vec<f32> =
                tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            match values.iter().position(|v| !v.is_finite()) {
                Some(at) => Err(format(format!("tensor '{name}' holds {} at element {at}", values[at]))),
                None => Ok(values),
            }
        };
        let mut weights = Self::default();
        for Place { name, kind } in places(network)? {
            match kind {
                PlaceKind::Layer { shape, channels, options, .. } => {
                    let kernel = read(&name, "kernel", &shape)?;
                    let bias = if options.bias { read(&name, "bias", &[channels])? } else { Vec::new() };
                    weights.insert(&name, LayerWeights { shape, kernel, bias });
                }
                PlaceKind::Norm { channels } => {
                    let part = |part| read(&name, part, &[channels]);
                    let (gamma, beta, mean, variance) =
                        (part("gamma")?, part("beta")?, part("mean")?, part("variance")?);
                    if let Some(at) = variance.iter().position(|&v| v < 0.0) {
                        let value = variance[at];
                        return Err(format(format!("tensor '{name}.variance' holds {value} at element {at}")));
                    }
                    weights.insert_norm(&name, NormWeights { gamma, beta, mean, variance });
                }
            }
        }
        Ok(weights)
    }

    /// Name, shape and bytes of each tensor of the file.
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>, Vec<u8>)> {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let layers = self.iter().flat_map(|(name, layer)| {
            let bias = (format!("{name}.bias"), vec![layer.bias.len()], bytes(&layer.bias));
            let kernel = (format!("{name}.kernel"), layer.shape.to_vec(), bytes(&layer.kernel));
            std::iter::once(kernel).chain((!layer.bias.is_empty()).then_some(bias))
        });
        let norms = self.norms.iter().flat_map(|(name, norm)| {
            norm.parts().map(|(part, values)| (format!("{name}.{part}"), vec![values.len()], bytes(values)))
        });
        layers.chain(norms).collect()
    }

    /// Writes a safetensors file, through a temporary one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let parts = self.tensors();
        let views = parts
            .iter()
            .map(|(name, shape, data)| Ok((name.clone(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        write_atomically(path, &safetensors::serialize(views, None)?)
    }
}

impl LayerWeights {
    /// The output channel of a weight, by its place in the kernel.
    #[must_use]
    pub fn channel_of(&self, axis: usize, at: usize) -> usize {
        channel_of(self.shape, axis, at)
    }

    /// Multiplies a batch norm into the weights.
    fn normalize(&mut self, axis: usize, norm: &NormWeights, epsilon: f64) {
        let factor = |c: usize| f64::from(norm.gamma[c]) / (f64::from(norm.variance[c]) + epsilon).sqrt();
        for (at, weight) in self.kernel.iter_mut().enumerate() {
            *weight = (f64::from(*weight) * factor(channel_of(self.shape, axis, at))) as f32;
        }
        for (c, bias) in self.bias.iter_mut().enumerate() {
            let centred = f64::from(*bias) - f64::from(norm.mean[c]);
            *bias = (centred * factor(c) + f64::from(norm.beta[c])) as f32;
        }
    }
}

/// The index along `axis` of the element `at` of a tensor of `shape`.
#[must_use]
pub(crate) fn channel_of(shape: [usize; 4], axis: usize, at: usize) -> usize {
    let inner: usize = shape.iter().skip(axis + 1).product();
    at / inner.max(1) % shape[axis].max(1)
}

/// A layer that has numbers.
struct Place {
    name: String,
    kind: PlaceKind,
}

enum PlaceKind {
    Layer { shape: [usize; 4], channels: usize, groups: usize, options: LayerOptions },
    Norm { channels: usize },
}

/// The layers that have numbers, in order.
fn places(network: &Network) -> Result<Vec<Place>, NetworkError> {
    let kind = |kind: &LayerKind, options: LayerOptions, input: ocelli::ir::Shape| match kind {
        LayerKind::BatchNorm { .. } => Some(PlaceKind::Norm { channels: input.c as usize }),
        LayerKind::Dropout { .. } => None,
        LayerKind::Conv3d(conv) => {
            let shape = conv.weight_shape(input);
            Some(PlaceKind::Layer { shape, channels: shape[0], groups: 1, options })
        }
        LayerKind::Op(op) => {
            let shape = op.weight_shape(input)?.map(|n| n as usize);
            let groups = match *op {
                Op::Conv2d { groups, .. } => groups,
                Op::DepthwiseConv2d { .. } => input.c,
                _ => 1,
            };
            Some(PlaceKind::Layer { shape, channels: shape[op.channel_axis()], groups: groups as usize, options })
        }
    };
    let layers = network.wired()?.into_iter();
    Ok(layers
        .filter_map(|w| {
            Some(Place { name: w.layer.name.clone(), kind: kind(&w.layer.kind, w.layer.options, w.input())? })
        })
        .collect())
}
