//! The network as a Burn module. Burn is NCHW, OIHW and `[in, out]`; the turn from and to our layouts is made here and nowhere else.

use crate::network::{LayerKind, LayerWeights, Network, NetworkError, Weights};
use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::{avg_pool2d, conv2d, linear, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData};
use ocelli::ir::{Activation, Op, Shape};

/// A trainable classifier; its output are the logits before the final softmax.
#[derive(Module, Debug)]
pub struct Classifier {
    convolutions: Vec<Convolution>,
    denses: Vec<Dense>,
    dropouts: Vec<Dropout>,
    #[module(skip)]
    stages: Vec<Stage>,
}

#[derive(Module, Debug)]
struct Convolution {
    /// `[c_out, c_in, kh, kw]`.
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct Dense {
    /// `[in, out]`.
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

/// What to do next, and with which of the module's parts.
#[derive(Clone, Debug)]
struct Stage {
    name: String,
    work: Work,
    output: Shape,
}

#[derive(Clone, Debug)]
enum Work {
    Convolution { index: usize, options: ConvOptions<2>, activation: Activation },
    Dense { index: usize, activation: Activation },
    MaxPool(MaxPoolOptions<2>),
    AveragePool(AvgPoolOptions<2>),
    Flatten,
    Dropout(usize),
}

/// The activation of one layer for a batch: `[n, h, w, c]` in memory order.
#[derive(Clone, Debug)]
pub struct LayerOutput {
    /// Name of the layer.
    pub name: String,
    /// The values.
    pub values: Vec<f32>,
}

impl Classifier {
    /// Builds the module on a device from a network and its weights.
    ///
    /// # Errors
    /// When the network's shapes do not fit or weights are missing.
    pub fn new(network: &Network, weights: &Weights, device: &Device) -> Result<Self, NetworkError> {
        network.validate()?;
        let nodes = network.nodes()?;
        let mut nodes = nodes.iter();
        let mut module =
            Self { convolutions: Vec::new(), denses: Vec::new(), dropouts: Vec::new(), stages: Vec::new() };
        let mut shape = network.input.shape;
        for layer in &network.layers {
            let work = match layer.kind {
                LayerKind::Dropout { rate } => {
                    module.dropouts.push(DropoutConfig::new(rate).init());
                    Work::Dropout(module.dropouts.len() - 1)
                }
                LayerKind::Op(Op::Softmax) => continue,
                LayerKind::Op(op) => {
                    let Some(node) = nodes.next() else { continue };
                    shape = node.output;
                    module.add(network, weights, &layer.name, op, node.input, device)?
                }
            };
            module.stages.push(Stage { name: layer.name.clone(), work, output: shape });
        }
        Ok(module)
    }

    fn add(
        &mut self,
        network: &Network,
        weights: &Weights,
        name: &str,
        op: Op,
        input: Shape,
        device: &Device,
    ) -> Result<Work, NetworkError> {
        let layer = || {
            weights.layer(name).ok_or_else(|| NetworkError::Invalid {
                name: network.name.clone(),
                message: format!("layer '{name}' has no weights"),
            })
        };
        let pairs = |pads: [u16; 4]| {
            [(usize::from(pads[0]), usize::from(pads[2])), (usize::from(pads[1]), usize::from(pads[3]))]
        };
        let resolve = |window: &ocelli::ir::Window| {
            window.resolve(input).map_err(|source| NetworkError::Shape {
                index: 0,
                layer: name.to_owned(),
                input,
                source,
            })
        };
        Ok(match op {
            Op::Conv2d { window, activation, .. } => {
                let pads = pairs(resolve(&window)?.pads);
                let stride = window.stride.map(usize::from);
                let dilation = window.dilation.map(usize::from);
                self.convolutions.push(Convolution::new(layer()?, device));
                let index = self.convolutions.len() - 1;
                Work::Convolution {
                    index,
                    options: ConvOptions::new_with_padding(stride, pads, dilation, 1),
                    activation,
                }
            }
            Op::MaxPool2d { window } => {
                let pads = pairs(resolve(&window)?.pads);
                let options = MaxPoolOptions::new(window.kernel.map(usize::from));
                Work::MaxPool(options.with_stride(window.stride.map(usize::from)).with_padding_pairs(pads))
            }
            Op::AveragePool2d { window } => {
                let pads = pairs(resolve(&window)?.pads);
                let options = AvgPoolOptions::new(window.kernel.map(usize::from)).with_count_include_pad(false);
                Work::AveragePool(options.with_stride(window.stride.map(usize::from)).with_padding_pairs(pads))
            }
            Op::Dense { activation, .. } => {
                self.denses.push(Dense::new(layer()?, device));
                Work::Dense { index: self.denses.len() - 1, activation }
            }
            Op::Flatten | Op::Softmax => Work::Flatten,
        })
    }

    /// The logits of a batch.
    ///
    /// # Shapes
    /// `x`: `[n, c, h, w]`; result: `[n, classes]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        flat(self.stages.iter().fold(x, |x, stage| self.step(&stage.work, x)))
    }

    /// As [`forward`](Self::forward); `observe` gets every layer's output. Dropout layers are passed over.
    pub fn forward_observed(&self, x: Tensor<4>, mut observe: impl FnMut(LayerOutput)) -> Tensor<2> {
        let mut x = x;
        for stage in &self.stages {
            x = self.step(&stage.work, x);
            if !matches!(stage.work, Work::Dropout(_)) {
                let values = to_vec(x.clone().permute([0, 2, 3, 1]));
                debug_assert_eq!(Some(values.len() % stage.output.elements().unwrap_or(1) as usize), Some(0));
                observe(LayerOutput { name: stage.name.clone(), values });
            }
        }
        flat(x)
    }

    fn step(&self, work: &Work, x: Tensor<4>) -> Tensor<4> {
        match work {
            Work::Convolution { index, options, activation } => {
                let layer = &self.convolutions[*index];
                activate(conv2d(x, layer.weight.val(), Some(layer.bias.val()), options.clone()), *activation)
            }
            Work::MaxPool(options) => max_pool2d(x, options.clone()),
            Work::AveragePool(options) => avg_pool2d(x, options.clone()),
            Work::Flatten => {
                let [n, c, h, w] = x.dims();
                x.permute([0, 2, 3, 1]).reshape([n, c * h * w, 1, 1])
            }
            Work::Dense { index, activation } => {
                let layer = &self.denses[*index];
                let [n, c, _, _] = x.dims();
                let y = linear(x.reshape([n, c]), layer.weight.val(), Some(layer.bias.val()));
                let units = y.dims()[1];
                activate(y.reshape([n, units, 1, 1]), *activation)
            }
            Work::Dropout(index) => self.dropouts[*index].forward(x),
        }
    }

    /// The weights in our layout.
    #[must_use]
    pub fn to_weights(&self) -> Weights {
        let mut weights = Weights::default();
        for stage in &self.stages {
            let layer = match stage.work {
                Work::Convolution { index, .. } => self.convolutions[index].to_layer(),
                Work::Dense { index, .. } => self.denses[index].to_layer(),
                _ => continue,
            };
            weights.insert(&stage.name, layer);
        }
        weights
    }
}

impl Convolution {
    fn new(layer: &LayerWeights, device: &Device) -> Self {
        let ohwi = Tensor::<4>::from_data(TensorData::new(layer.kernel.clone(), layer.shape), device);
        Self { weight: Param::from_tensor(materialize(ohwi.permute([0, 3, 1, 2]), device)), bias: bias(layer, device) }
    }

    fn to_layer(&self) -> LayerWeights {
        let ohwi = self.weight.val().permute([0, 2, 3, 1]);
        LayerWeights { shape: ohwi.dims(), kernel: to_vec(ohwi), bias: to_vec(self.bias.val()) }
    }
}

impl Dense {
    fn new(layer: &LayerWeights, device: &Device) -> Self {
        let [out, _, _, inputs] = layer.shape;
        let rows = Tensor::<2>::from_data(TensorData::new(layer.kernel.clone(), [out, inputs]), device);
        Self { weight: Param::from_tensor(materialize(rows.transpose(), device)), bias: bias(layer, device) }
    }

    fn to_layer(&self) -> LayerWeights {
        let rows = self.weight.val().transpose();
        let [out, inputs] = rows.dims();
        LayerWeights { shape: [out, 1, 1, inputs], kernel: to_vec(rows), bias: to_vec(self.bias.val()) }
    }
}

fn bias(layer: &LayerWeights, device: &Device) -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::from_data(TensorData::new(layer.bias.clone(), [layer.bias.len()]), device))
}

/// A tensor of its own, in memory order: a leaf of the autodiff graph.
fn materialize<const D: usize>(tensor: Tensor<D>, device: &Device) -> Tensor<D> {
    let shape = tensor.dims();
    Tensor::from_data(TensorData::new(to_vec(tensor), shape), device)
}

/// A tensor's values in memory order.
pub(super) fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn flat(x: Tensor<4>) -> Tensor<2> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, c * h * w])
}

fn activate(x: Tensor<4>, activation: Activation) -> Tensor<4> {
    match activation {
        Activation::None => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => x.clamp(0.0, 6.0),
    }
}
