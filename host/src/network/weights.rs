//! The trained numbers of a network in one layout: conv2d OHWI, dense `[out, in]` over a flat input in H, W, C order.

use super::{Network, NetworkError, Node};
use crate::files::write_atomically;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Weights and biases by layer name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    layers: BTreeMap<String, LayerWeights>,
}

/// The numbers of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// `[c_out, kh, kw, c_in]`, or `[out, 1, 1, in]` for dense.
    pub shape: [usize; 4],
    /// The weights in that order.
    pub kernel: Vec<f32>,
    /// One an output channel.
    pub bias: Vec<f32>,
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
    /// Glorot uniform weights and zero biases, as Keras starts.
    ///
    /// # Arithmetic
    /// `U(-k, k)` with `k = sqrt(6 / (fan_in + fan_out))`.
    ///
    /// # Errors
    /// When the network's shapes do not fit.
    ///
    /// # Source
    /// Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, equation 16.
    pub fn glorot(network: &Network, rng: &mut ChaCha8Rng) -> Result<Self, NetworkError> {
        let mut layers = BTreeMap::new();
        for (node, shape) in weighted(&network.nodes()?) {
            let [o, kh, kw, i] = shape;
            let limit = (6.0 / ((kh * kw * (i + o)) as f32)).sqrt();
            let kernel = (0..o * kh * kw * i).map(|_| rng.random_range(-limit..limit)).collect();
            layers.insert(node.name.clone(), LayerWeights { shape, kernel, bias: vec![0.0; o] });
        }
        Ok(Self { layers })
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

    /// The layers' names and numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &LayerWeights)> {
        self.layers.iter().map(|(name, weights)| (name.as_str(), weights))
    }

    /// Reads a safetensors file with `<layer>.kernel` and `<layer>.bias` for every layer of the network that has weights.
    ///
    /// # Errors
    /// When the file cannot be read, a tensor is missing, or its shape is not the network's.
    pub fn read(path: &Path, network: &Network) -> Result<Self, WeightError> {
        let bytes = std::fs::read(path).map_err(|source| WeightError::Read { path: path.to_owned(), source })?;
        let format = |message: String| WeightError::Format { path: path.to_owned(), message };
        let file = SafeTensors::deserialize(&bytes).map_err(|e| format(format!("not a safetensors file ({e})")))?;
        let mut layers = BTreeMap::new();
        for (node, shape) in weighted(&network.nodes()?) {
            let read = |part: &str, expected: &[usize]| {
                let name = format!("{}.{part}", node.name);
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
            let (kernel, bias) = (read("kernel", &shape)?, read("bias", &shape[..1])?);
            layers.insert(node.name.clone(), LayerWeights { shape, kernel, bias });
        }
        Ok(Self { layers })
    }

    /// Writes a safetensors file, through a temporary one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let parts: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .iter()
            .flat_map(|(name, layer)| {
                [
                    (format!("{name}.kernel"), layer.shape.to_vec(), bytes(&layer.kernel)),
                    (format!("{name}.bias"), vec![layer.bias.len()], bytes(&layer.bias)),
                ]
            })
            .collect();
        let views = parts
            .iter()
            .map(|(name, shape, data)| Ok((name.clone(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        write_atomically(path, &safetensors::serialize(views, None)?)
    }
}

/// The nodes that have weights, with the weights' shape.
fn weighted(nodes: &[Node]) -> impl Iterator<Item = (&Node, [usize; 4])> {
    nodes.iter().filter_map(|node| Some((node, node.op.weight_shape(node.input)?.map(|n| n as usize))))
}
