//! One operator of the network in int8, on Burn's tape.

use super::super::module::{Classifier, Part, apply, pads};
use super::super::ops::Operators;
use super::super::parts::{norm_numbers, to_vec};
use super::exact;
use super::simulate::{Simulation, Value};
use crate::network::{Layer, LayerKind, Node};
use crate::quantize::{QuantizedLayer, QuantizedWeights, Range};
use anyhow::{Context, anyhow};
use burn::module::Param;
use burn::tensor::module::{avg_pool2d, linear};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Tensor, TensorData};
use ocelli::ir::{Activation, Op, Window};
use ocelli::kernels::reference::{SoftmaxScale, softmax_row};
use ocelli::model::write::OpEntry;

/// One operator at one step.
pub struct Operator<'s> {
    pub simulation: &'s Simulation<'s>,
    pub node: &'s Node,
    pub layer: &'s QuantizedLayer,
    /// As the compiler has it.
    pub entry: Option<&'s OpEntry>,
}

impl Operator<'_> {
    pub fn entry(&self) -> anyhow::Result<&OpEntry> {
        self.entry.context("the compiler has no such operator")
    }

    /// The output for the inputs.
    pub fn run(&self, module: &Classifier, layers: &[&Layer], mut inputs: Vec<Value>) -> anyhow::Result<Value> {
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

    /// The scores of logits.
    pub fn softmax(&self, x: &Value) -> anyhow::Result<Vec<i8>> {
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
