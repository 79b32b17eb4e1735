//! Operators that look at one value, one pixel or one channel at a time.

use super::attributes::{Attributes, axis};
use super::build::{Builder, Head, Value, name_of};
use super::constant::Constant;
use super::folding::broadcast;
use super::view::{Axis, View};
use crate::network::{LayerKind, LayerWeights};
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Activation, Op, Padding, Shape, Window};
use tract_onnx::pb::NodeProto;

impl Builder<'_> {
    /// Sums, differences, products and quotients, of two tensors or a tensor and a constant.
    pub fn arithmetic(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        Attributes::of(node, &[])?;
        let kind = node.op_type.as_str();
        ensure!(node.input.len() == 2, "has {} inputs", node.input.len());
        if self.is_computed(node, 0) && self.is_computed(node, 1) {
            let op = match kind {
                "Add" => Op::Add { activation: Activation::None },
                "Sub" => Op::Add { activation: Activation::None },
                "Mul" => Op::Mul { activation: Activation::None },
                _ => bail!("divides by a computed tensor: a constant is supported"),
            };
            let (a, mut b) = (self.computed(node, 0)?, self.computed(node, 1)?);
            if kind == "Sub" {
                b = self.scaled_all(node, b, -1.0)?;
            }
            return Ok(Value::Computed(self.pairwise(node, op, a, b)?));
        }
        let constant_first = !self.is_computed(node, 0);
        let x = self.computed(node, usize::from(constant_first))?;
        let constant = self.constant(node, usize::from(!constant_first))?;
        let values = per_channel(&x, &constant)?;
        let [ones, zeros] = [1.0, 0.0].map(|v: f32| vec![v; values.len()]);
        let negative = |values: &[f32]| values.iter().map(|v| -v).collect::<Vec<f32>>();
        let (factor, summand) = match (kind, constant_first) {
            ("Add", _) => (ones, values),
            ("Sub", false) => (ones, negative(&values)),
            ("Sub", true) => (negative(&ones), values),
            ("Mul", _) => (values, zeros),
            (_, false) => (values.iter().map(|v| 1.0 / v).collect(), zeros),
            _ => bail!("divides a constant by a tensor"),
        };
        Ok(Value::Computed(self.scaled(node, x, factor, summand)?))
    }

    /// The sum or mean of tensors.
    pub fn sum(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        Attributes::of(node, &[])?;
        let mut sum = self.computed(node, 0)?;
        for index in 1..node.input.len() {
            let other = self.computed(node, index)?;
            sum = self.pairwise(node, Op::Add { activation: Activation::None }, sum, other)?;
        }
        if node.op_type == "Mean" && node.input.len() > 1 {
            sum = self.scaled_all(node, sum, 1.0 / node.input.len() as f32)?;
        }
        Ok(Value::Computed(sum))
    }

    /// `factor * x + summand` with one factor and summand for all.
    pub fn affine(&mut self, node: &NodeProto, factor: f32, summand: f32) -> anyhow::Result<Value> {
        let x = self.computed(node, 0)?;
        let channels = x.shape.c as usize;
        Ok(Value::Computed(self.scaled(node, x, vec![factor; channels], vec![summand; channels])?))
    }

    fn scaled_all(&mut self, node: &NodeProto, x: View, factor: f32) -> anyhow::Result<View> {
        let channels = x.shape.c as usize;
        self.scaled(node, x, vec![factor; channels], vec![0.0; channels])
    }

    /// A factor and a summand for each channel: part of the input's normalization, of the layer before, or a layer of its own.
    pub fn scaled(&mut self, node: &NodeProto, x: View, factor: Vec<f32>, summand: Vec<f32>) -> anyhow::Result<View> {
        ensure!(factor.iter().chain(&summand).all(|v| v.is_finite()), "has a constant that is not finite");
        let channels = factor.len();
        let is_input = x.tensor < self.inputs.len() && self.input_params.iter().all(Option::is_none);
        if is_input && x.sole && !self.fragment && channels <= 3 && factor.iter().all(|&f| f > 0.0) {
            let identity = Head { factor: vec![1.0; channels], summand: vec![0.0; channels] };
            let head = self.head.get_or_insert(identity);
            for channel in 0..channels {
                head.factor[channel] *= factor[channel];
                head.summand[channel] = head.summand[channel] * factor[channel] + summand[channel];
            }
            return Ok(x);
        }
        let sole = x.sole;
        if let Some(maker) =
            self.maker(x.tensor).filter(|maker| sole && maker.params.is_none() && maker.stored.is_none())
            && let (LayerKind::Op(op), Some(weights)) = (maker.kind, &mut maker.weights)
        {
            let shape = weights.shape;
            let axis = op.channel_axis();
            for (at, weight) in weights.kernel.iter_mut().enumerate() {
                *weight *= factor[crate::network::channel_of(shape, axis, at)];
            }
            for (channel, bias) in weights.bias.iter_mut().enumerate() {
                *bias = *bias * factor[channel] + summand[channel];
            }
            return Ok(x);
        }
        self.spend(2 * channels)?;
        let window = Window::new([1, 1], [1, 1], Padding::Valid);
        let op = Op::DepthwiseConv2d { multiplier: 1, window, activation: Activation::None };
        let (tensor, shape) = self.push_op(name_of(node), op, &[x.tensor])?;
        self.last()?.weights = Some(LayerWeights { shape: [1, 1, 1, channels], kernel: factor, bias: summand });
        Ok(View { tensor, shape, sole: true, ..x })
    }

    /// A sum or product of two tensors.
    fn pairwise(&mut self, node: &NodeProto, op: Op, a: View, b: View) -> anyhow::Result<View> {
        let dims = broadcast(&a.dims, &b.dims)?;
        let is_all = |view: &View| view.dims.iter().product::<usize>() == dims.iter().product::<usize>();
        let (first, second) = if is_all(&a) { (a, b) } else { (b, a) };
        let fits = is_all(&first)
            && (second.shape == first.shape || second.shape == Shape::new(1, 1, first.shape.c))
            && aligned(&first, &second);
        ensure!(
            fits,
            "combines tensors of the shapes {:?} and {:?}: two of one shape and order, or one with a value a channel, are supported",
            first.dims,
            second.dims
        );
        let (tensor, shape) = self.push_op(name_of(node), op, &[first.tensor, second.tensor])?;
        Ok(View { tensor, shape, dims, sole: true, flattened_by: None, ..first })
    }

    pub fn concat(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let along = Attributes::of(node, &["axis"])?.int("axis", 1)?;
        let parts: Vec<View> =
            (0..node.input.len()).map(|index| self.computed(node, index)).collect::<anyhow::Result<_>>()?;
        let first = parts.first().context("joins nothing")?;
        let along = axis(along, first.dims.len())?;
        if parts.len() == 1 {
            return Ok(Value::Computed(first.clone()));
        }
        let groups = |view: &View| {
            let mut groups = view.groups()?;
            groups.get_mut(along)?.clear();
            Some(groups)
        };
        for part in &parts {
            let same = part.dims.len() == first.dims.len()
                && (0..first.dims.len()).all(|d| d == along || part.dims[d] == first.dims[d])
                && groups(part) == groups(first);
            ensure!(
                same && part.is_axis(along, Axis::C),
                "joins {:?} and {:?} along axis {along}: the channels are supported",
                first.dims,
                part.dims
            );
        }
        let tensors: Vec<usize> = parts.iter().map(|part| part.tensor).collect();
        let (tensor, shape) = self.push_op(name_of(node), Op::Concat, &tensors)?;
        let made = first.with_channels(along, tensor, shape);
        Ok(Value::Computed(made.context("joins values in an order that is not supported")?))
    }
}

/// One number a channel of a constant that is combined with a tensor.
pub fn per_channel(x: &View, constant: &Constant) -> anyhow::Result<Vec<f32>> {
    let values = constant.real()?;
    let channels = x.shape.c as usize;
    let dims = broadcast(&x.dims, &constant.dims)?;
    ensure!(dims == x.dims, "makes a tensor of {dims:?} out of one of {:?}", x.dims);
    if let [one] = values {
        return Ok(vec![*one; channels]);
    }
    let skipped = x.dims.len() - constant.dims.len();
    let long: Vec<usize> = (0..constant.dims.len()).filter(|&d| constant.dims[d] > 1).map(|d| d + skipped).collect();
    let along_channels = matches!(long[..], [dim] if x.channels_dim() == Some(dim));
    ensure!(
        along_channels && values.len() == channels,
        "combines a tensor of {:?} with a constant of {:?}: one value, or one a channel, is supported",
        x.dims,
        constant.dims
    );
    Ok(values.to_vec())
}

/// Whether the axes of the second lie where the first has them, or are not there.
fn aligned(first: &View, second: &View) -> bool {
    let (Some(a), Some(b)) = (first.groups(), second.groups()) else { return false };
    let ranks = a.len().max(b.len());
    let group = |groups: &[Vec<Axis>], at: usize| {
        (at + groups.len()).checked_sub(ranks).map_or_else(Vec::new, |place| groups[place].clone())
    };
    (0..ranks).all(|at| {
        let theirs = group(&b, at);
        theirs.is_empty() || theirs == group(&a, at)
    })
}
