//! The network as a Burn module: as it is trained, layer by layer, or as it runs afterwards, node by node.

use super::ops::{Operators, activate, keep_memory};
use super::parts::{Convolution, Dense, norm, norm_numbers, to_vec};
use super::volume::Volume;
use crate::network::{LayerKind, Network, NetworkError, VolumeError, Weights};
use burn::module::{Module, Param, ParamId};
use burn::nn::{BatchNorm, Dropout, DropoutConfig};
use burn::tensor::activation::{hard_swish, leaky_relu, sigmoid, tanh};
use burn::tensor::module::{avg_pool2d, linear};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Device, Tensor};
use ocelli::ir::{Activation, Op, Shape, ShapeError, Unary, Window};
use std::ops::Range;

/// A trainable classifier; its output are the logits before the final softmax.
#[derive(Module, Debug)]
pub struct Classifier {
    convolutions: Vec<Convolution>,
    denses: Vec<Dense>,
    norms: Vec<BatchNorm>,
    volumes: Vec<Volume>,
    dropouts: Vec<Dropout>,
    #[module(skip)]
    stages: Vec<Stage>,
    /// The tensor that holds the logits.
    #[module(skip)]
    output: usize,
    #[module(skip)]
    operators: Operators,
}

/// What to do next, and with which of the module's parts.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) work: Work,
    /// Tensors it reads: 0 is the module's input, `i + 1` the output of stage `i`; with each whether it is read for the last time.
    pub(super) inputs: Vec<(usize, bool)>,
    /// The next stage's activation, where this stage can apply it.
    pub(super) then: Option<Activation>,
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    Convolution {
        index: usize,
        options: ConvOptions<2>,
        activation: Activation,
    },
    Dense {
        index: usize,
        activation: Activation,
    },
    Volume(usize),
    Norm(usize),
    MaxPool(MaxPoolOptions<2>),
    MinPool(MaxPoolOptions<2>),
    AveragePool(AvgPoolOptions<2>),
    GlobalAverage,
    GlobalMax,
    Add(Activation),
    Mul(Activation),
    Concat,
    Pad([u16; 4]),
    Reshape(Shape),
    Function(Unary),
    Softmax,
    Dropout(usize),
    /// A part of a flat tensor, as a picture.
    Take {
        start: usize,
        shape: Shape,
    },
}

/// The activation of one layer for a batch: `[n, h, w, c]` in memory order.
#[derive(Clone, Debug)]
pub struct LayerOutput {
    /// Name of the layer.
    pub name: String,
    /// The values.
    pub values: Vec<f32>,
}

/// A layer or node on its way into a module.
pub(super) struct Item<'a> {
    pub(super) name: &'a str,
    pub(super) kind: LayerKind,
    pub(super) inputs: &'a [usize],
    pub(super) input: Shape,
    pub(super) output: Shape,
}

impl Classifier {
    /// Builds the module on a device from a network and its weights, every layer as it is trained.
    ///
    /// # Errors
    /// When the network's shapes do not fit or weights are missing.
    pub fn new(network: &Network, weights: &Weights, device: &Device) -> Result<Self, NetworkError> {
        network.validate()?;
        let layers = network.wired()?;
        let items = layers.iter().map(|wired| Item {
            name: &wired.layer.name,
            kind: wired.layer.kind,
            inputs: &wired.inputs,
            input: wired.input(),
            output: wired.output,
        });
        Self::build(&network.name, weights, Vec::new(), items, device)
    }

    /// Builds the module as the network runs after training: [`Network::nodes`] with [`Weights::folded`].
    ///
    /// # Errors
    /// When the network's shapes do not fit or weights are missing.
    pub fn folded(network: &Network, weights: &Weights, device: &Device) -> Result<Self, NetworkError> {
        network.validate()?;
        let nodes = network.nodes()?;
        let items = nodes.iter().map(|node| Item {
            name: &node.name,
            kind: LayerKind::Op(node.op),
            inputs: &node.inputs,
            input: node.input(),
            output: node.output,
        });
        Self::build(&network.name, &weights.folded(network)?, Vec::new(), items, device)
    }

    /// The module of some layers; `first` are stages before them.
    pub(super) fn build<'a>(
        name: &str,
        weights: &Weights,
        first: Vec<Stage>,
        items: impl Iterator<Item = Item<'a>>,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        keep_memory();
        let mut module = Self {
            convolutions: Vec::new(),
            denses: Vec::new(),
            norms: Vec::new(),
            volumes: Vec::new(),
            dropouts: Vec::new(),
            stages: first,
            output: 0,
            operators: Operators::default(),
        };
        for (index, item) in items.enumerate() {
            if item.kind == LayerKind::Op(Op::Softmax) {
                module.output = item.inputs[0]; // a network ends with its only softmax
            }
            let work = module.work(&item, weights, device).map_err(|problem| match problem {
                Problem::NoWeights => NetworkError::Invalid {
                    name: name.to_owned(),
                    message: format!("layer '{}' has no weights", item.name),
                },
                Problem::Shape(source) => NetworkError::Shape {
                    index: index + 1,
                    layer: item.name.to_owned(),
                    inputs: vec![item.input],
                    source,
                },
                Problem::Volume(source) => source.of(index + 1, item.name, item.input),
            })?;
            let inputs = item.inputs.iter().map(|&tensor| (tensor, false)).collect();
            module.stages.push(Stage { name: item.name.to_owned(), work, inputs, then: None });
        }
        let mut read_later = vec![false; module.stages.len() + 1];
        read_later[module.output] = true;
        for stage in module.stages.iter_mut().rev() {
            for (tensor, last) in stage.inputs.iter_mut().rev() {
                *last = !std::mem::replace(&mut read_later[*tensor], true);
            }
        }
        for index in 1..module.stages.len() {
            let [norm, next] = &module.stages[index - 1..=index] else { continue };
            let alone = next.inputs == [(index, true)] && module.output != index;
            let activation = match next.work {
                Work::Function(Unary::Relu) => Activation::Relu,
                Work::Function(Unary::Relu6) => Activation::Relu6,
                _ => continue,
            };
            if alone && matches!(norm.work, Work::Norm(_)) {
                module.stages[index - 1].then = Some(activation);
            }
        }
        Ok(module)
    }

    /// The same module on Burn's own operators: slower, for comparison.
    #[doc(hidden)]
    #[must_use]
    pub fn with_burns_operators(mut self) -> Self {
        self.operators = Operators::Burns;
        self
    }

    fn work(&mut self, item: &Item<'_>, weights: &Weights, device: &Device) -> Result<Work, Problem> {
        let op = match item.kind {
            LayerKind::Dropout { rate } => {
                self.dropouts.push(DropoutConfig::new(rate).init());
                return Ok(Work::Dropout(self.dropouts.len() - 1));
            }
            LayerKind::BatchNorm { epsilon, momentum } => {
                let numbers = weights.norm(item.name).ok_or(Problem::NoWeights)?;
                self.norms.push(norm(numbers, epsilon, momentum, device));
                return Ok(Work::Norm(self.norms.len() - 1));
            }
            LayerKind::Conv3d(conv) => {
                let numbers = weights.layer(item.name).ok_or(Problem::NoWeights)?;
                self.volumes.push(Volume::new(conv, item.input, numbers, device).map_err(Problem::Volume)?);
                return Ok(Work::Volume(self.volumes.len() - 1));
            }
            LayerKind::Op(op) => op,
        };
        let layer = || weights.layer(item.name).ok_or(Problem::NoWeights);
        let max_pool = |window: &Window| -> Result<_, Problem> {
            let options = MaxPoolOptions::new(window.kernel.map(usize::from));
            Ok(options.with_stride(window.stride.map(usize::from)).with_padding_pairs(pads(window, item.input)?))
        };
        Ok(match op {
            Op::Conv2d { window, groups, activation, .. } => {
                self.convolutions.push(Convolution::new(layer()?, false, device));
                self.convolution(&window, item.input, groups, activation)?
            }
            Op::DepthwiseConv2d { window, activation, .. } => {
                self.convolutions.push(Convolution::new(layer()?, true, device));
                self.convolution(&window, item.input, item.input.c, activation)?
            }
            Op::Dense { activation, .. } => {
                self.denses.push(Dense::new(layer()?, device));
                Work::Dense { index: self.denses.len() - 1, activation }
            }
            Op::MaxPool2d { window } => Work::MaxPool(max_pool(&window)?),
            Op::MinPool2d { window } => Work::MinPool(max_pool(&window)?),
            Op::AveragePool2d { window } => {
                let options = AvgPoolOptions::new(window.kernel.map(usize::from)).with_count_include_pad(false);
                let options = options.with_stride(window.stride.map(usize::from));
                Work::AveragePool(options.with_padding_pairs(pads(&window, item.input)?))
            }
            Op::GlobalAveragePool => Work::GlobalAverage,
            Op::GlobalMaxPool => Work::GlobalMax,
            Op::Add { activation } => Work::Add(activation),
            Op::Mul { activation } => Work::Mul(activation),
            Op::Concat => Work::Concat,
            Op::Pad { cells } => Work::Pad(cells),
            Op::Flatten | Op::Reshape { .. } => Work::Reshape(item.output),
            Op::Unary(function) => Work::Function(function),
            Op::Softmax => Work::Softmax,
        })
    }

    /// The work of the convolution that was added last.
    fn convolution(&self, window: &Window, input: Shape, groups: u32, activation: Activation) -> Result<Work, Problem> {
        let (stride, dilation) = (window.stride.map(usize::from), window.dilation.map(usize::from));
        let options = ConvOptions::new_with_padding(stride, pads(window, input)?, dilation, groups as usize);
        Ok(Work::Convolution { index: self.convolutions.len() - 1, options, activation })
    }

    /// The logits of a batch.
    ///
    /// # Shapes
    /// `x`: `[n, c, h, w]`; result: `[n, classes]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.forward_from(x, 0)
    }

    /// The logits from the output of the layer before stage `first`; stages are layers, counted from 0.
    ///
    /// # Shapes
    /// `x`: `[n, c, h, w]`; result: `[n, classes]`.
    #[must_use]
    pub(crate) fn forward_from(&self, x: Tensor<4>, first: usize) -> Tensor<2> {
        let logits = self.run(x, first..self.output, None);
        let [n, c, h, w] = logits.dims();
        logits.reshape([n, c * h * w])
    }

    /// The output of the layer before stage `end`.
    ///
    /// # Shapes
    /// `x` and result: `[n, c, h, w]`.
    #[must_use]
    pub(crate) fn features(&self, x: Tensor<4>, end: usize) -> Tensor<4> {
        self.run(x, 0..end, None)
    }

    /// The layers with weights, each with its kernel's number.
    pub(super) fn kernels(&self) -> Vec<(&str, ParamId)> {
        let id = |work: &Work| match *work {
            Work::Convolution { index, .. } => Some(self.convolutions[index].weight.id),
            Work::Dense { index, .. } => Some(self.denses[index].weight.id),
            Work::Volume(index) => Some(self.volumes[index].weight.id),
            _ => None,
        };
        self.stages.iter().filter_map(|stage| Some((stage.name.as_str(), id(&stage.work)?))).collect()
    }

    /// The batch norms.
    pub(super) fn norms(&self) -> &[BatchNorm] {
        &self.norms
    }

    /// Whether training draws random numbers.
    pub(super) fn draws(&self) -> bool {
        !self.dropouts.is_empty()
    }

    /// The trained tensors of a layer.
    pub(super) fn part(&self, name: &str) -> Option<Part<'_>> {
        self.stages.iter().filter(|stage| stage.name == name).find_map(|stage| match stage.work {
            Work::Convolution { index, .. } => Some(Part::Convolution(&self.convolutions[index])),
            Work::Dense { index, .. } => Some(Part::Dense(&self.denses[index])),
            Work::Norm(index) => Some(Part::Norm(&self.norms[index])),
            _ => None,
        })
    }

    /// Stops the training of layers: those that `frozen` names get no gradients, and batch norms that `still` names keep their
    /// statistics.
    #[must_use]
    pub(super) fn freeze(mut self, frozen: impl Fn(&str) -> bool, still: impl Fn(&str) -> bool) -> Self {
        for stage in &self.stages {
            let frozen = frozen(&stage.name);
            match stage.work {
                Work::Convolution { index, .. } if frozen => {
                    self.convolutions[index] = self.convolutions[index].clone().freeze();
                }
                Work::Dense { index, .. } if frozen => self.denses[index] = self.denses[index].clone().freeze(),
                Work::Volume(index) if frozen => self.volumes[index] = self.volumes[index].clone().freeze(),
                Work::Norm(index) if frozen => self.norms[index] = self.norms[index].clone().freeze(),
                Work::Norm(index) if still(&stage.name) => self.norms[index].training = Param::from_bool(false),
                Work::Dropout(index) if frozen => self.dropouts[index] = self.dropouts[index].clone().freeze(),
                _ => {}
            }
        }
        self
    }

    /// As [`forward`](Self::forward); `observe` gets the output of every layer before the softmax. Dropout layers are passed over.
    pub fn forward_observed(&self, x: Tensor<4>, mut observe: impl FnMut(LayerOutput)) -> Tensor<2> {
        let mut observe = |stage: &Stage, y: &Tensor<4>| {
            if !matches!(stage.work, Work::Dropout(_)) {
                observe(LayerOutput { name: stage.name.clone(), values: to_vec(y.clone().permute([0, 2, 3, 1])) });
            }
        };
        let logits = self.run(x, 0..self.output, Some(&mut observe));
        let [n, c, h, w] = logits.dims();
        logits.reshape([n, c * h * w])
    }

    /// The output of all stages.
    pub(super) fn run_all(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, 0..self.stages.len(), None)
    }

    /// The output of the last of some stages, whose first reads `x` and whose others read nothing before that. `observe` sees the output
    /// of every stage; without it, stages are taken together where that is faster.
    fn run(&self, x: Tensor<4>, stages: Range<usize>, mut observe: Option<Observer<'_>>) -> Tensor<4> {
        let mut result = x.clone();
        let mut tensors: Vec<Option<Tensor<4>>> = vec![None; stages.start];
        tensors.push(Some(x));
        let mut index = stages.start;
        while let Some(stage) = self.stages.get(index).filter(|_| index < stages.end) {
            // a tensor goes when it is read for the last time
            let read = |&(tensor, last): &(usize, bool)| {
                let tensor = &mut tensors[tensor];
                if last { tensor.take() } else { tensor.clone() }
            };
            let mut inputs: Vec<Tensor<4>> = stage.inputs.iter().filter_map(read).collect();
            let first = inputs.remove(0);
            let then = stage.then.filter(|_| observe.is_none() && index + 1 < stages.end);
            let y = self.step(&stage.work, first, inputs, then.unwrap_or(Activation::None));
            if let Some(observe) = &mut observe {
                observe(stage, &y);
            }
            if then.is_some() {
                tensors.push(None);
                index += 1;
            }
            index += 1;
            if stages.end == index {
                result = y.clone();
            }
            tensors.push(Some(y));
        }
        result
    }

    /// One layer; `others` are its inputs but the first, `then` the activation to apply after a norm.
    fn step(&self, work: &Work, x: Tensor<4>, others: Vec<Tensor<4>>, then: Activation) -> Tensor<4> {
        match work {
            Work::Convolution { index, options, activation } => {
                let layer = &self.convolutions[*index];
                let (weight, bias) = (layer.weight.val(), layer.bias.as_ref().map(Param::val));
                let bias = bias.unwrap_or_else(|| Tensor::zeros([weight.dims()[0]], &weight.device()));
                self.operators.conv2d(x, weight, bias, options, *activation)
            }
            Work::Dense { index, activation } => {
                let layer = &self.denses[*index];
                let [n, c, _, _] = x.dims();
                let y = linear(x.reshape([n, c]), layer.weight.val(), layer.bias.as_ref().map(Param::val));
                let units = y.dims()[1];
                activate(y.reshape([n, units, 1, 1]), *activation)
            }
            Work::Volume(index) => self.volumes[*index].forward(x),
            Work::Norm(index) => self.operators.batch_norm(&self.norms[*index], x, then),
            Work::MaxPool(options) => self.operators.max_pool2d(x, options),
            Work::MinPool(options) => self.operators.max_pool2d(x.neg(), options).neg(),
            Work::AveragePool(options) => avg_pool2d(x, options.clone()),
            Work::GlobalAverage => self.operators.global_average(x),
            Work::GlobalMax => x.max_dim(2).max_dim(3),
            Work::Add(activation) => {
                let last = others.len().saturating_sub(1);
                let with = |i| if i == last { *activation } else { Activation::None };
                others.into_iter().enumerate().fold(x, |x, (i, y)| self.operators.add(x, y, with(i)))
            }
            Work::Mul(activation) => activate(others.into_iter().fold(x, |x, y| x * y), *activation),
            Work::Concat => Tensor::cat(std::iter::once(x).chain(others).collect(), 1),
            Work::Pad(cells) => {
                let [top, left, bottom, right] = cells.map(usize::from);
                x.pad((left, right, top, bottom), PadMode::Constant(0.0))
            }
            Work::Reshape(to) => {
                let [h, w, c] = [to.h, to.w, to.c].map(|n| n as usize);
                let n = x.dims()[0];
                x.permute([0, 2, 3, 1]).reshape([n, h, w, c]).permute([0, 3, 1, 2])
            }
            Work::Function(function) => apply(x, *function),
            Work::Dropout(index) => self.dropouts[*index].forward(x),
            Work::Take { start, shape } => {
                let [h, w, c] = [shape.h, shape.w, shape.c].map(|n| n as usize);
                let n = x.dims()[0];
                x.narrow(1, *start, h * w * c).reshape([n, h, w, c]).permute([0, 3, 1, 2])
            }
            Work::Softmax => x,
        }
    }

    /// The weights in our layout.
    #[must_use]
    pub fn to_weights(&self) -> Weights {
        let mut weights = Weights::default();
        for stage in &self.stages {
            match stage.work {
                Work::Convolution { index, .. } => weights.insert(&stage.name, self.convolutions[index].to_layer()),
                Work::Dense { index, .. } => weights.insert(&stage.name, self.denses[index].to_layer()),
                Work::Volume(index) => weights.insert(&stage.name, self.volumes[index].to_layer()),
                Work::Norm(index) => weights.insert_norm(&stage.name, norm_numbers(&self.norms[index])),
                _ => {}
            }
        }
        weights
    }
}

/// The trained tensors of a layer.
pub(super) enum Part<'a> {
    Convolution(&'a Convolution),
    Dense(&'a Dense),
    Norm(&'a BatchNorm),
}

/// Sees the output of every stage.
type Observer<'o> = &'o mut dyn FnMut(&Stage, &Tensor<4>);

/// Why a layer cannot be built.
#[derive(Debug)]
pub(super) enum Problem {
    NoWeights,
    Shape(ShapeError),
    Volume(VolumeError),
}

/// Padding before and after the rows and the columns.
pub(super) fn pads(window: &Window, input: Shape) -> Result<[(usize, usize); 2], Problem> {
    let [top, left, bottom, right] = window.resolve(input).map_err(Problem::Shape)?.pads.map(usize::from);
    Ok([(top, bottom), (left, right)])
}

/// A function of single values by Burn's operators.
pub(super) fn apply(x: Tensor<4>, function: Unary) -> Tensor<4> {
    match function {
        Unary::Relu => activate(x, Activation::Relu),
        Unary::Relu6 => activate(x, Activation::Relu6),
        Unary::ReluN1To1 => activate(x, Activation::ReluN1To1),
        Unary::LeakyRelu { alpha } => leaky_relu(x, f64::from(alpha)),
        Unary::Sigmoid => sigmoid(x),
        Unary::Tanh => tanh(x),
        Unary::HardSwish => hard_swish(x),
        Unary::HardSigmoid { alpha, beta } => x.mul_scalar(alpha).add_scalar(beta).clamp(0.0, 1.0),
        Unary::Swish => x.clone() * sigmoid(x),
        Unary::Clip { low, high } => x.clamp(low, high),
        Unary::Requantize => x,
    }
}
