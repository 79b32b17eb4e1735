//! The network as it runs in int8, on Burn's tape.
//!
//! Tensors hold steps from the zero point, so that a convolution's sums of products are the runtime's accumulators: whole numbers, which
//! `f32` adds up exactly as long as no partial sum reaches 2^24. Everything that rounds gives the runtime's value on the way forward;
//! on the way back it is passed over (straight through), and where the value was clamped no gradient passes.
//!
//! # Source
//! Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", arXiv:1712.05877,
//! section 3; Bengio et al., arXiv:1308.3432 (straight-through estimator); Esser et al., "Learned Step Size Quantization",
//! arXiv:1902.08153 (slopes of the steps).

use super::super::module::{Classifier, Part, apply, pads};
use super::super::ops::{Operators, custom};
use super::super::parts::{norm_numbers, to_vec};
use super::exact;
use super::state::{Intervals, Seen};
use crate::compile::{Target, lower, unary::rescale_table};
use crate::network::{Layer, LayerKind, Network, Node, Weights, channel_of};
use crate::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork, QuantizedWeights, Range, pixel_lut, quantize};
use anyhow::{Context, anyhow};
use burn::module::Param;
use burn::tensor::module::{avg_pool2d, linear};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Device, Tensor, TensorData};
use ocelli::ir::{Activation, Op, Window};
use ocelli::kernels::reference::{SoftmaxScale, softmax_row};
use ocelli::model::write::{ModelFile, OpEntry};
use std::sync::{Arc, Mutex, PoisonError};

/// Gets every operator's int8 output, `[n, h, w, c]`.
pub type Observer<'o> = &'o mut dyn FnMut(&str, Vec<i8>);

/// The operators of a network, and the numbers that they have at one step of the training.
pub struct Simulation<'a> {
    nodes: &'a [(Node, Vec<&'a Layer>)],
    quantized: QuantizedNetwork,
    file: ModelFile,
    device: Device,
    intervals: &'a Intervals,
    /// What the forward pass saw, and the backward pass adds.
    seen: Arc<Mutex<Seen>>,
}

/// A tensor on its way.
#[derive(Clone)]
struct Value {
    /// Steps from the zero point, `[n, c, h, w]`.
    steps: Tensor<4>,
    params: QuantParams,
    /// What was seen of it before it was rounded.
    range: Range,
}

impl<'a> Simulation<'a> {
    /// Quantizes the network as [`quantize`] will, with the weights and intervals of this step.
    pub fn new(
        network: &Network,
        nodes: &'a [(Node, Vec<&'a Layer>)],
        weights: &Weights,
        intervals: &'a Intervals,
        labels: &[String],
        device: &Device,
    ) -> anyhow::Result<Self> {
        let quantized = quantize(network, weights, &intervals.calibration, labels)?;
        let file = lower(&quantized, &Target::HOST, false)?;
        Ok(Self { nodes, quantized, file, device: device.clone(), intervals, seen: Arc::default() })
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Pixels `[n, h, w, c]` as the table of the model file turns them into the input.
    fn input(&self, pixels: &[u8]) -> anyhow::Result<Tensor<4>> {
        let spec = self.quantized.picture.context("the input is no picture")?;
        let params = self.quantized.input;
        let table: Vec<f32> = pixel_lut(&spec, params).into_iter().map(|q| exact::steps(q, params)).collect();
        let [h, w, c] = [spec.shape.h, spec.shape.w, spec.shape.c].map(|n| n as usize);
        let values: Vec<f32> = pixels.iter().enumerate().map(|(at, &v)| table[at % c * 256 + usize::from(v)]).collect();
        let n = values.len() / (h * w * c).max(1);
        let x = Tensor::<4>::from_data(TensorData::new(values, [n, h, w, c]), &self.device);
        Ok(x.permute([0, 3, 1, 2]))
    }

    /// The logits of pixels `[n, h, w, c]`, as real numbers.
    pub fn forward(
        &self,
        module: &Classifier,
        pixels: &[u8],
        mut observe: Option<Observer<'_>>,
    ) -> anyhow::Result<Tensor<2>> {
        let input = self.input(pixels)?;
        let mut values = vec![Value { steps: input, params: self.quantized.input, range: Range::default() }];
        for ((node, layers), layer) in self.nodes.iter().zip(&self.quantized.layers) {
            let inputs: Vec<Value> = node.inputs.iter().map(|&tensor| values[tensor].clone()).collect();
            let operator = Operator { simulation: self, node, layer, entry: self.entry(&node.name) };
            if node.op == Op::Softmax {
                if let Some(observe) = &mut observe {
                    observe(&node.name, operator.softmax(&inputs[0])?);
                }
                let [n, c, h, w] = inputs[0].steps.dims();
                let logits = inputs[0].steps.clone().mul_scalar(inputs[0].params.scale);
                return Ok(logits.reshape([n, c * h * w]));
            }
            let value = operator.run(module, layers, inputs).with_context(|| format!("layer '{}'", node.name))?;
            if let Some(observe) = &mut observe {
                let steps = to_vec(value.steps.clone().permute([0, 2, 3, 1]));
                observe(&node.name, steps.into_iter().map(|v| exact::int8(v, value.params)).collect());
            }
            values.push(value);
        }
        Err(anyhow!("the network does not end in a softmax"))
    }

    fn entry(&self, name: &str) -> Option<&OpEntry> {
        self.file.ops.iter().find(|entry| entry.name == name)
    }
}

/// Takes an output's gradient.
type Slope = Box<dyn Fn(&[f32]) + Send + Sync>;

/// One operator at one step.
struct Operator<'s> {
    simulation: &'s Simulation<'s>,
    node: &'s Node,
    layer: &'s QuantizedLayer,
    entry: Option<&'s OpEntry>,
}

impl Operator<'_> {
    fn entry(&self) -> anyhow::Result<&OpEntry> {
        self.entry.context("the compiler has no such operator")
    }

    fn run(&self, module: &Classifier, layers: &[&Layer], mut inputs: Vec<Value>) -> anyhow::Result<Value> {
        let (operators, out) = (Operators::default(), self.layer.output);
        let first = inputs.remove(0);
        let Value { steps: x, params, range } = first;
        let moved = |steps| Value { steps, params: out, range };
        Ok(match self.node.op {
            Op::Conv2d { .. } | Op::DepthwiseConv2d { .. } | Op::Dense { .. } => {
                let weights = self.layer.weights.as_ref().context("no weights")?;
                let (kernel, bias) = self.folded(module, layers, weights)?;
                let sums = self.sums(x, self.rounded_kernel(kernel, weights)?)?;
                self.requantize(sums, bias, weights, params)?
            }
            Op::MaxPool2d { window } => moved(operators.max_pool2d(x, &self.max_pool(&window)?)),
            Op::MinPool2d { window } => moved(operators.max_pool2d(x.neg(), &self.max_pool(&window)?).neg()),
            Op::GlobalMaxPool => moved(x.max_dim(2).max_dim(3)),
            Op::AveragePool2d { window } => {
                let options = AvgPoolOptions::new(window.kernel.map(usize::from)).with_count_include_pad(false);
                let options = options.with_stride(window.stride.map(usize::from));
                let y = avg_pool2d(x.clone(), options.with_padding_pairs(self.pads(&window)?));
                let (resolved, stage) = (window.resolve(self.node.input())?, exact::stage(self.entry()?, out));
                let input = self.node.input();
                let value =
                    self.through([&y, &x], |[_, x]| exact::average(x, &window, &resolved, input, params, &stage))?;
                Value { range, ..value }
            }
            Op::GlobalAveragePool => {
                let y = operators.global_average(x.clone()).mul_scalar(params.scale / out.scale);
                let [_, c, h, w] = x.dims();
                let entry = self.entry()?;
                self.through([&y, &x], |[_, x]| exact::global_mean(x, h * w * c, c, entry, out))?
            }
            Op::Add { .. } | Op::Mul { .. } => {
                let other = inputs.pop().context("no second input")?;
                let (a, b) = (params.scale, other.params.scale);
                let is_add = matches!(self.node.op, Op::Add { .. });
                let y = if is_add {
                    x.clone().mul_scalar(a / out.scale) + other.steps.clone().mul_scalar(b / out.scale)
                } else {
                    (x.clone() * other.steps.clone()).mul_scalar(a * b / out.scale)
                };
                let ([_, c, h, w], entry) = (x.dims(), self.entry()?);
                self.through([&y, &x, &other.steps], |[_, x, z]| {
                    if is_add {
                        exact::add(x, z, h * w * c, c, [params, other.params], entry, out)
                    } else {
                        exact::mul(x, z, h * w * c, c, entry, out)
                    }
                })?
            }
            Op::Concat => {
                let all: Vec<Value> = std::iter::once(Value { steps: x, params, range }).chain(inputs).collect();
                let range = all.iter().fold(Range::default(), |all, v| all.with(v.range.min).with(v.range.max));
                self.saw(range);
                let parts = all.into_iter().map(|part| self.rescaled(part)).collect::<anyhow::Result<Vec<_>>>()?;
                Value { steps: Tensor::cat(parts, 1), params: out, range }
            }
            Op::Pad { cells } => {
                let [top, left, bottom, right] = cells.map(usize::from);
                moved(x.pad((left, right, top, bottom), PadMode::Constant(0.0)))
            }
            Op::Flatten | Op::Reshape { .. } => {
                let [h, w, c] = [self.node.output.h, self.node.output.w, self.node.output.c].map(|n| n as usize);
                let n = x.dims()[0];
                moved(x.permute([0, 2, 3, 1]).reshape([n, h, w, c]).permute([0, 3, 1, 2]))
            }
            Op::Unary(function) => {
                let y = apply(x.clone().mul_scalar(params.scale), function).div_scalar(out.scale);
                let table = &self.entry()?.weights;
                self.through([&y, &x], |[_, x]| exact::lookup(x, params, table))?
            }
            Op::Softmax => return Err(anyhow!("a softmax may only be the last")),
        })
    }

    /// Kernel and bias with batch norms folded in, on the tape; the norms keep their running statistics.
    ///
    /// # Shapes
    /// Kernel `[o, i, kh, kw]` such that `[o, kh, kw, i]` is [`Op::weight_shape`]; bias `[1, c, 1, 1]`.
    fn folded(
        &self,
        module: &Classifier,
        layers: &[&Layer],
        weights: &QuantizedWeights,
    ) -> anyhow::Result<(Tensor<4>, Tensor<4>)> {
        let device = &self.simulation.device;
        let [o, kh, kw, i] = weights.shape;
        let depthwise = self.node.op.channel_axis() == 3;
        let c = if depthwise { i } else { o };
        let mut folded = (Tensor::ones([o, i, kh, kw], device), Tensor::zeros([1, c, 1, 1], device));
        let row = |values: Tensor<1>| values.reshape([1, c, 1, 1]);
        for layer in layers {
            let Some(part) = module.part(&layer.name) else { continue };
            let bias =
                |bias: &Option<Param<Tensor<1>>>, zeros: Tensor<4>| bias.as_ref().map_or(zeros, |b| row(b.val()));
            folded = match part {
                Part::Convolution(part) => {
                    let kernel = part.weight.val();
                    (if depthwise { kernel.permute([1, 0, 2, 3]) } else { kernel }, bias(&part.bias, folded.1))
                }
                Part::Dense(part) => (part.weight.val().transpose().reshape([o, i, 1, 1]), bias(&part.bias, folded.1)),
                Part::Norm(norm) => {
                    let LayerKind::BatchNorm { epsilon, .. } = layer.kind else { continue };
                    let numbers = norm_numbers(norm);
                    let constant = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [c]), device);
                    let deviation = |v: &f32| (1.0 / (f64::from(*v) + epsilon).sqrt()) as f32;
                    let factor = norm.gamma.val() * constant(numbers.variance.iter().map(deviation).collect());
                    let along = if depthwise { [1, c, 1, 1] } else { [c, 1, 1, 1] };
                    let centred = folded.1 - row(constant(numbers.mean));
                    (folded.0 * factor.clone().reshape(along), centred * row(factor) + row(norm.beta.val()))
                }
            };
        }
        Ok(folded)
    }

    /// The kernel in steps: the quantizer's numbers forward, straight through backward.
    fn rounded_kernel(&self, kernel: Tensor<4>, weights: &QuantizedWeights) -> anyhow::Result<Tensor<4>> {
        let rounded = weights.kernel.iter().map(|&q| f32::from(q)).collect();
        let (shape, axis) = (weights.shape, self.node.op.channel_axis());
        let scales: Vec<f32> = (0..shape[axis]).map(|channel| weights.scale(channel)).collect();
        let pass = move |gradient: &[f32]| {
            let real = |(at, g): (usize, &f32)| g / scales[channel_of(shape, axis, at)];
            [Some(gradient.iter().enumerate().map(real).collect())]
        };
        custom([&kernel], kernel.dims(), |_| (rounded, pass)).context(FLEX_ONLY)
    }

    /// Sums of products of steps.
    fn sums(&self, x: Tensor<4>, kernel: Tensor<4>) -> anyhow::Result<Tensor<4>> {
        let (window, groups, depthwise) = match self.node.op {
            Op::Conv2d { window, groups, .. } => (window, groups, false),
            Op::DepthwiseConv2d { window, .. } => (window, self.node.input().c, true),
            _ => {
                let ([n, c, h, w], units) = (x.dims(), kernel.dims()[0]);
                let flat = x.permute([0, 2, 3, 1]).reshape([n, h * w * c]);
                let rows = kernel.reshape([units, h * w * c]).transpose();
                return Ok(linear(flat, rows, None).reshape([n, units, 1, 1]));
            }
        };
        let kernel = if depthwise { kernel.permute([1, 0, 2, 3]) } else { kernel };
        let (stride, dilation) = (window.stride.map(usize::from), window.dilation.map(usize::from));
        let options = ConvOptions::new_with_padding(stride, self.pads(&window)?, dilation, groups as usize);
        let none = Tensor::zeros([kernel.dims()[0]], &self.simulation.device);
        Ok(Operators::default().conv2d(x, kernel, none, &options, Activation::None))
    }

    /// Sums of products to int8, by the runtime's rule.
    fn requantize(
        &self,
        sums: Tensor<4>,
        bias: Tensor<4>,
        weights: &QuantizedWeights,
        input: QuantParams,
    ) -> anyhow::Result<Value> {
        let (entry, out) = (self.entry()?, self.layer.output);
        let stage = exact::stage(entry, out);
        let channels = weights.bias.len();
        let bias_scales: Vec<f32> = (0..channels).map(|c| input.scale * weights.scale(c)).collect();
        let factors: Vec<f32> = bias_scales.iter().map(|scale| scale / out.scale).collect();
        let learned = self.simulation.intervals.learned();
        let mut real = Vec::new();
        let dims = sums.dims();
        let steps = custom([&sums, &bias], dims, |[sums, _]| {
            let (mut values, mut inside) = (Vec::with_capacity(sums.len()), Vec::with_capacity(sums.len()));
            real.reserve(sums.len());
            for pixel in sums.chunks_exact(channels.max(1)) {
                for (c, &sum) in pixel.iter().enumerate() {
                    let acc = (sum as i32).saturating_add(weights.bias[c]);
                    let (q, within) = exact::requantized(acc, entry.multipliers[c], &stage);
                    values.push(exact::steps(q, out));
                    inside.push(within);
                    real.push(acc as f32 * factors[c]);
                }
            }
            let slope = learned.then(|| self.slope(&real, &values, &inside));
            let pass = move |gradient: &[f32]| {
                if let Some(slope) = &slope {
                    slope(gradient);
                }
                let mut biases = vec![0.0; factors.len()];
                let mut towards = Vec::with_capacity(gradient.len());
                for (at, (&g, &within)) in gradient.iter().zip(&inside).enumerate() {
                    let c = at % factors.len();
                    let g = if within { g * factors[c] } else { 0.0 };
                    biases[c] += g / bias_scales[c];
                    towards.push(g);
                }
                [Some(towards), Some(biases)]
            };
            (values, pass)
        });
        let range = self.see(&real);
        Ok(Value { steps: steps.context(FLEX_ONLY)?, params: out, range })
    }

    /// Values that are computed elsewhere in place of those of the first tensor, which gets the gradients where nothing was clamped.
    fn through<const N: usize>(
        &self,
        inputs: [&Tensor<4>; N],
        values: impl FnOnce([&[f32]; N]) -> Vec<i8>,
    ) -> anyhow::Result<Value> {
        let out = self.layer.output;
        let stage = exact::stage(self.entry()?, out);
        let learned = self.simulation.intervals.learned() && !self.node.op.keeps_quantization();
        let mut real = Vec::new();
        let steps = custom(inputs, inputs[0].dims(), |slices| {
            let values: Vec<f32> = values(slices).into_iter().map(|q| exact::steps(q, out)).collect();
            real.extend_from_slice(slices[0]);
            let bound = |q: i8, half: f32| exact::steps(q, out) + half;
            let (low, high) = (bound(stage.act_min, -0.5), bound(stage.act_max, 0.5));
            let inside: Vec<bool> = real.iter().map(|v| (low..=high).contains(v)).collect();
            let slope = learned.then(|| self.slope(&real, &values, &inside));
            let pass = move |gradient: &[f32]| {
                if let Some(slope) = &slope {
                    slope(gradient);
                }
                let passed = gradient.iter().zip(&inside).map(|(&g, &within)| if within { g } else { 0.0 }).collect();
                let mut passed = Some(passed);
                std::array::from_fn(|_| passed.take())
            };
            (values, pass)
        });
        let range = self.see(&real);
        Ok(Value { steps: steps.context(FLEX_ONLY)?, params: out, range })
    }

    /// A part of a concatenation at its scale.
    fn rescaled(&self, part: Value) -> anyhow::Result<Tensor<4>> {
        let (from, to) = (part.params, self.layer.output);
        if from == to {
            return Ok(part.steps);
        }
        let (x, ratio, table) = (part.steps, from.scale / to.scale, rescale_table(from, to));
        let shape = x.dims();
        let steps = custom([&x], shape, |[x]| {
            let values = exact::lookup(x, from, &table).into_iter().map(|q| exact::steps(q, to)).collect();
            let reach = (exact::steps(-128, to) - 0.5)..=(exact::steps(127, to) + 0.5);
            let inside: Vec<bool> = x.iter().map(|v| reach.contains(&(v * ratio))).collect();
            let pass = move |gradient: &[f32]| {
                [Some(gradient.iter().zip(&inside).map(|(&g, &within)| if within { g * ratio } else { 0.0 }).collect())]
            };
            (values, pass)
        });
        steps.context(FLEX_ONLY)
    }

    /// What the calibrator makes of an output before it is rounded; `real` in steps, without the activation.
    fn see(&self, real: &[f32]) -> Range {
        let (activation, out) = (self.node.op.activation(), self.layer.output);
        if self.simulation.intervals.learned() {
            return Range::default();
        }
        let (low, high) = activation.bounds();
        let values: Vec<f32> = real.iter().map(|v| (v * out.scale).clamp(low, high)).collect();
        let range = self.simulation.intervals.calibrator.range_of(&values);
        self.saw(range);
        range
    }

    fn saw(&self, range: Range) {
        let mut seen = self.simulation.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.ranges.insert(self.node.name.clone(), range);
    }

    /// Adds the slope along the logarithm of this output's scale, once the output's gradient is known.
    ///
    /// # Arithmetic
    /// With `r` the rounded steps and `x` the same before rounding: `sum(g * (r - x))` where nothing was clamped, `sum(g * r)` elsewhere.
    fn slope(&self, real: &[f32], rounded: &[f32], inside: &[bool]) -> Slope {
        let along = |((&x, &r), &within): ((&f32, &f32), &bool)| if within { r - x } else { r };
        let along: Vec<f32> = real.iter().zip(rounded).zip(inside).map(along).collect();
        let (seen, name) = (Arc::clone(&self.simulation.seen), self.node.name.clone());
        Box::new(move |gradient: &[f32]| {
            let sum: f64 = gradient.iter().zip(&along).map(|(&g, &a)| f64::from(g) * f64::from(a)).sum();
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen.slopes.entry(name.clone()).or_default() += sum;
        })
    }

    fn softmax(&self, x: &Value) -> anyhow::Result<Vec<i8>> {
        let factor = self.entry()?.multipliers.first().copied().context("no factor")?;
        let rows: Vec<i8> =
            to_vec(x.steps.clone().permute([0, 2, 3, 1])).into_iter().map(|v| exact::int8(v, x.params)).collect();
        let mut scores = vec![0; rows.len()];
        let classes = x.steps.dims()[1].max(1);
        for (row, scores) in rows.chunks_exact(classes).zip(scores.chunks_exact_mut(classes)) {
            softmax_row(SoftmaxScale::new(factor), row, scores);
        }
        Ok(scores)
    }

    fn pads(&self, window: &Window) -> anyhow::Result<[(usize, usize); 2]> {
        pads(window, self.node.input()).map_err(|problem| anyhow!("{problem:?}"))
    }

    fn max_pool(&self, window: &Window) -> anyhow::Result<MaxPoolOptions<2>> {
        let options = MaxPoolOptions::new(window.kernel.map(usize::from));
        Ok(options.with_stride(window.stride.map(usize::from)).with_padding_pairs(self.pads(window)?))
    }
}

/// Where the tape cannot take the runtime's values.
pub const FLEX_ONLY: &str = "quantization-aware training runs on the backend \"flex\" only: set [training] backend";
