//! Where values are rounded: the runtime's value on the way forward, straight through on the way back.

use super::super::ops::custom;
use super::exact;
use super::operator::Operator;
use super::simulate::{FLEX_ONLY, Value};
use crate::compile::unary::rescale_table;
use crate::network::channel_of;
use crate::quantize::{QuantParams, QuantizedWeights, Range};
use anyhow::Context;
use burn::tensor::Tensor;
use rayon::prelude::*;
use std::sync::{Arc, PoisonError};

/// Takes an output's gradient.
type Slope = Box<dyn Fn(&[f32]) + Send + Sync>;

impl Operator<'_> {
    /// The kernel in steps: the quantizer's numbers forward, straight through backward.
    pub fn rounded_kernel(&self, kernel: Tensor<4>, weights: &QuantizedWeights) -> anyhow::Result<Tensor<4>> {
        let rounded = weights.kernel.iter().map(|&q| f32::from(q)).collect();
        let (shape, axis) = (weights.shape, self.node.op.channel_axis());
        let scales: Vec<f32> = (0..shape[axis]).map(|channel| weights.scale(channel)).collect();
        let pass = move |gradient: &[f32]| {
            let real = |(at, g): (usize, &f32)| g / scales[channel_of(shape, axis, at)];
            [Some(gradient.iter().enumerate().map(real).collect())]
        };
        custom([&kernel], kernel.dims(), |_| (rounded, pass)).context(FLEX_ONLY)
    }

    /// Sums of products to int8, by the runtime's rule.
    pub fn requantize(
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
        let image = dims[1..].iter().product::<usize>().max(1);
        let steps = custom([&sums, &bias], dims, |[sums, _]| {
            let (mut values, mut inside) = (vec![0.0; sums.len()], vec![false; sums.len()]);
            real.resize(sums.len(), 0.0);
            let pixel = |sums: &[f32], values: &mut [f32], inside: &mut [bool], real: &mut [f32]| {
                for (c, &sum) in sums.iter().enumerate() {
                    let acc = (sum as i32).saturating_add(weights.bias[c]);
                    let (q, within) = exact::requantized(acc, entry.multipliers[c], &stage);
                    values[c] = exact::steps(q, out);
                    inside[c] = within;
                    real[c] = acc as f32 * factors[c];
                }
            };
            let images = sums.par_chunks(image).zip(values.par_chunks_mut(image));
            let noted = inside.par_chunks_mut(image).zip(real.par_chunks_mut(image));
            images.zip(noted).for_each(|((sums, values), (inside, real))| {
                let rounded = sums.chunks_exact(channels).zip(values.chunks_exact_mut(channels));
                let noted = inside.chunks_exact_mut(channels).zip(real.chunks_exact_mut(channels));
                rounded.zip(noted).for_each(|((sums, values), (inside, real))| pixel(sums, values, inside, real));
            });
            let slope = learned.then(|| self.slope(&real, &values, &inside));
            let pass = move |gradient: &[f32]| {
                if let Some(slope) = &slope {
                    slope(gradient);
                }
                let mut biases = vec![0.0; channels];
                let mut towards = vec![0.0; gradient.len()];
                let pixels = gradient.chunks_exact(channels).zip(inside.chunks_exact(channels));
                for ((gradient, inside), towards) in pixels.zip(towards.chunks_exact_mut(channels)) {
                    let outputs = gradient.iter().zip(inside).zip(&factors);
                    let inputs = towards.iter_mut().zip(&mut biases);
                    for (((gradient, &within), factor), (towards, bias)) in outputs.zip(inputs) {
                        *towards = if within { gradient * factor } else { 0.0 };
                        *bias += *towards;
                    }
                }
                biases.iter_mut().zip(&bias_scales).for_each(|(bias, scale)| *bias /= scale);
                [Some(towards), Some(biases)]
            };
            (values, pass)
        });
        let range = self.see(&real);
        Ok(Value { steps: steps.context(FLEX_ONLY)?, params: out, range })
    }

    /// Values that are computed elsewhere in place of those of the first tensor, which gets the gradients where nothing was clamped.
    pub fn through<const N: usize>(
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
    pub fn rescaled(&self, part: Value) -> anyhow::Result<Tensor<4>> {
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

    /// Notes an interval as seen.
    pub fn saw(&self, range: Range) {
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
}
