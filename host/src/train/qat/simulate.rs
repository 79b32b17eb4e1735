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

use super::super::module::Classifier;
use super::super::parts::to_vec;
use super::exact;
use super::operator::Operator;
use super::state::{Intervals, Seen};
use crate::compile::{Target, lower};
use crate::network::{Layer, Network, Node, Weights};
use crate::quantize::{QuantParams, QuantizedNetwork, Range, pixel_lut, quantize};
use anyhow::{Context, anyhow};
use burn::tensor::{Device, Tensor, TensorData};
use ocelli::ir::Op;
use ocelli::model::write::{ModelFile, OpEntry};
use std::sync::{Arc, Mutex};

/// What a step saw, which the backward pass adds to.
pub type SharedSeen = Arc<Mutex<Seen>>;

/// Gets every operator's int8 output, `[n, h, w, c]`.
pub type Observer<'o> = &'o mut dyn FnMut(&str, Vec<i8>);

/// The operators of a network, and the numbers that they have at one step of the training.
pub struct Simulation<'a> {
    nodes: &'a [(Node, Vec<&'a Layer>)],
    quantized: QuantizedNetwork,
    file: ModelFile,
    pub device: Device,
    pub intervals: &'a Intervals,
    /// What the forward pass saw, and the backward pass adds.
    pub seen: SharedSeen,
}

/// A tensor on its way.
#[derive(Clone)]
pub struct Value {
    /// Steps from the zero point, `[n, c, h, w]`.
    pub steps: Tensor<4>,
    pub params: QuantParams,
    /// What was seen of it before it was rounded.
    pub range: Range,
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

    /// The network as it is run.
    pub const fn quantized(&self) -> &QuantizedNetwork {
        &self.quantized
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

/// Where the tape cannot take the runtime's values.
pub const FLEX_ONLY: &str = "quantization-aware training runs on the backend \"flex\" only: set [training] backend";
