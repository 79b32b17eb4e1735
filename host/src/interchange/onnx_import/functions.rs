//! Functions of one value at a time, and softmax.

use super::attributes::{Attributes, axis};
use super::build::{Builder, Value, name_of};
use super::pointwise::per_channel;
use super::view::{Axis, View};
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Activation, Op, Unary};
use tract_onnx::pb::NodeProto;

impl Builder<'_> {
    pub fn function(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let x = self.computed(node, 0)?;
        let attributes = Attributes::of(node, &["alpha", "beta", "max", "min"])?;
        let unary = match node.op_type.as_str() {
            "Relu" => Unary::Relu,
            "Sigmoid" => Unary::Sigmoid,
            "Tanh" => Unary::Tanh,
            "HardSwish" => Unary::HardSwish,
            "Swish" => {
                let alpha = attributes.float("alpha", 1.0)?;
                ensure!(alpha == 1.0, "has alpha = {alpha}: 1 is supported");
                Unary::Swish
            }
            "HardSigmoid" => {
                Unary::HardSigmoid { alpha: attributes.float("alpha", 0.2)?, beta: attributes.float("beta", 0.5)? }
            }
            "LeakyRelu" => {
                let alpha = attributes.float("alpha", 0.01)?;
                if !is_slope(alpha) {
                    return self.sloped(node, x.clone(), vec![alpha; x.shape.c as usize]);
                }
                Unary::LeakyRelu { alpha }
            }
            "PRelu" => {
                let slopes = per_channel(&x, &*self.constant(node, 1)?)?;
                match slopes.first() {
                    Some(&alpha) if is_slope(alpha) && slopes.iter().all(|&slope| slope == alpha) => {
                        Unary::LeakyRelu { alpha }
                    }
                    _ => return self.sloped(node, x, slopes),
                }
            }
            _ => {
                let mut bound = |index: usize, name: &str, default: f32| -> anyhow::Result<f32> {
                    let bound = match self.optional_constant(node, index)? {
                        Some(bound) => bound.scalar().context("has bounds that are not single floats")?,
                        None => attributes.float(name, default)?,
                    };
                    // exporters write the largest number where there is no bound
                    Ok(if bound.abs() == f32::MAX { default } else { bound })
                };
                let (low, high) = (bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?);
                return Ok(Value::Computed(self.clipped(node, x, low, high)?));
            }
        };
        Ok(Value::Computed(self.unary(node, &x, unary)?))
    }

    fn unary(&mut self, node: &NodeProto, x: &View, unary: Unary) -> anyhow::Result<View> {
        let (tensor, shape) = self.push_op(name_of(node), Op::Unary(unary), &[x.tensor])?;
        Ok(View { tensor, shape, sole: true, ..x.clone() })
    }

    fn clipped(&mut self, node: &NodeProto, x: View, low: f32, high: f32) -> anyhow::Result<View> {
        ensure!(!low.is_nan() && !high.is_nan(), "has a bound that is no number");
        let low = low.min(high);
        let unary = match (low, high) {
            (f32::NEG_INFINITY, f32::INFINITY) => return Ok(x),
            (0.0, f32::INFINITY) => Unary::Relu,
            (0.0, 6.0) => Unary::Relu6,
            (-1.0, 1.0) => Unary::ReluN1To1,
            _ => Unary::Clip { low, high },
        };
        self.unary(node, &x, unary)
    }

    /// Max and Min: bounds, which are constants.
    pub fn bound(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        Attributes::of(node, &[])?;
        let computed: Vec<usize> = (0..node.input.len()).filter(|&index| self.is_computed(node, index)).collect();
        let &[only] = computed.as_slice() else {
            bail!("compares {} computed tensors: one, and constants, are supported", computed.len());
        };
        let x = self.computed(node, only)?;
        let (mut low, mut high) = (f32::NEG_INFINITY, f32::INFINITY);
        for index in (0..node.input.len()).filter(|&index| index != only) {
            let constant = self.constant(node, index)?;
            ensure!(constant.dims.len() <= x.dims.len(), "makes a tensor of {:?}", constant.dims);
            let bound = constant.scalar().with_context(|| {
                format!("compares with a constant of the shape {:?}: a single float is supported", constant.dims)
            })?;
            ensure!(!bound.is_nan(), "compares with a constant that is no number");
            if node.op_type == "Max" {
                low = low.max(bound);
            } else {
                high = high.min(bound);
            }
        }
        Ok(Value::Computed(self.clipped(node, x, low, high)?))
    }

    /// A slope a channel where the value is negative: what is above 0, and what is below it times the slope.
    fn sloped(&mut self, node: &NodeProto, x: View, slopes: Vec<f32>) -> anyhow::Result<Value> {
        let above = self.unary(node, &x, Unary::Relu)?;
        let below = self.unary(node, &x, Unary::Clip { low: f32::NEG_INFINITY, high: 0.0 })?;
        let zeros = vec![0.0; slopes.len()];
        let below = self.scaled(node, below, slopes, zeros)?;
        let op = Op::Add { activation: Activation::None };
        let (tensor, shape) = self.push_op(name_of(node), op, &[above.tensor, below.tensor])?;
        Ok(Value::Computed(View { tensor, shape, sole: true, ..x }))
    }

    pub fn softmax(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let x = self.computed(node, 0)?;
        ensure!(
            node.op_type == "Softmax" || !self.fragment,
            "is supported at the end of a network only, where its softmax is taken"
        );
        let rank = x.dims.len();
        let default = if self.opset < 13 { 1 } else { -1 };
        let along = axis(Attributes::of(node, &["axis"])?.int("axis", default)?, rank)?;
        let groups = x.groups().context("has values in an order that is not supported")?;
        // before operator set 13 it goes over all axes from this one on
        let over: Vec<Axis> =
            if self.opset < 13 { groups[along..].concat() } else { groups.get(along).cloned().unwrap_or_default() };
        ensure!(
            over == [Axis::C] || (over.is_empty() && x.shape.c == 1),
            "goes over axis {along} of {:?}: the channels are supported",
            x.dims
        );
        if node.op_type == "LogSoftmax" {
            self.notes.push(format!("'{}': the scores are probabilities in place of their logarithms", name_of(node)));
        }
        let (tensor, shape) = self.push_op(name_of(node), Op::Softmax, &[x.tensor])?;
        Ok(Value::Computed(View { tensor, shape, sole: true, ..x }))
    }
}

/// Whether a slope below 0 is one of a leaky ReLU of ours.
fn is_slope(alpha: f32) -> bool {
    (0.0..=1.0).contains(&alpha)
}
