//! Fully connected layers, and batch norms.

use super::attributes::Attributes;
use super::build::{Builder, Value, name_of};
use super::constant::Constant;
use super::view::{Axis, View};
use crate::network::{LayerKind, NormWeights};
use anyhow::{Context, ensure};
use ocelli::ir::{Activation, Op, Padding, Shape, Window};
use std::rc::Rc;
use tract_onnx::pb::NodeProto;

/// A matrix of a Gemm or MatMul.
struct Matrix<'c> {
    weights: &'c Constant,
    /// `[out, in]`, not `[in, out]`.
    transposed: bool,
    bias: Option<Constant>,
    /// Factor of the products.
    alpha: f32,
}

impl Builder<'_> {
    pub fn gemm(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let attributes = Attributes::of(node, &["alpha", "beta", "transA", "transB"])?;
        let mut x = self.computed(node, 0)?;
        if attributes.int("transA", 0)? != 0 {
            ensure!(x.dims.len() == 2, "transposes an input of {} dimensions", x.dims.len());
            let turned = x.transposed(&[1, 0]).context("transposes its input (transA), in which an axis is split");
            x = View { flattened_by: x.flattened_by.clone(), ..turned? };
        }
        let weights = self.constant(node, 1)?;
        let beta = attributes.float("beta", 1.0)?;
        let bias = self.optional_constant(node, 2)?;
        let transposed = attributes.int("transB", 0)? != 0;
        ensure!(weights.dims.len() == 2, "has weights of the shape {:?}", weights.dims);
        let units = weights.dims[usize::from(!transposed)];
        let bias = match bias {
            None => None,
            Some(bias) => {
                let row = bias.dims.last().is_none_or(|&n| n == units || n == 1) && bias.len() <= units;
                ensure!(
                    row && bias.dims.len() <= 2,
                    "adds a matrix of the shape {:?}, a row for each picture of the batch: one row is supported",
                    bias.dims
                );
                let values = bias.real()?;
                let at = |unit: usize| values[if values.len() == 1 { 0 } else { unit }] * beta;
                let stored = bias.stored.clone().filter(|_| beta == 1.0 && values.len() == units);
                Some(Constant { stored, ..Constant::floats(vec![units], (0..units).map(at).collect()) })
            }
        };
        let matrix = Matrix { weights: &weights, transposed, bias, alpha: attributes.float("alpha", 1.0)? };
        self.dense(node, &x, &matrix)
    }

    pub fn matmul(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        Attributes::of(node, &[])?;
        let x = self.computed(node, 0)?;
        let mut weights = self.constant(node, 1)?;
        let rank = weights.dims.len();
        let is_matrix = rank >= 2 && weights.dims[..rank - 2].iter().all(|&n| n == 1) && rank <= x.dims.len();
        ensure!(is_matrix, "multiplies by a tensor of the shape {:?}: a matrix is supported", weights.dims);
        if rank > 2 {
            ensure!(weights.stored.is_none(), "has quantized weights of the shape {:?}", weights.dims);
            let dims = weights.dims[rank - 2..].to_vec();
            weights = Rc::new(Constant { dims, ..weights.as_ref().clone() });
        }
        self.dense(node, &x, &Matrix { weights: &weights, transposed: false, bias: None, alpha: 1.0 })
    }

    fn dense(&mut self, node: &NodeProto, x: &View, matrix: &Matrix<'_>) -> anyhow::Result<Value> {
        let rank = x.dims.len();
        let (depth, units) =
            (matrix.weights.dims[usize::from(matrix.transposed)], matrix.weights.dims[usize::from(!matrix.transposed)]);
        ensure!(
            rank >= 2 && x.dims[rank - 1] == depth,
            "multiplies {:?} by weights of {:?}",
            x.dims,
            matrix.weights.dims
        );
        let outer: usize = x.dims[..rank - 1].iter().product();
        let c_out = u32::try_from(units)?;
        let activation = Activation::None;
        if outer != x.batch {
            // a matrix for each place is a convolution of 1x1
            ensure!(x.is_axis(rank - 1, Axis::C), "multiplies {:?}, whose last axis is not the channels", x.dims);
            let window = Window::new([1, 1], [1, 1], Padding::Valid);
            let op = Op::Conv2d { c_out, window, groups: 1, activation };
            let (tensor, shape) = self.push_op(name_of(node), op, &[x.tensor])?;
            self.set_matrix(matrix, depth, units, |place| place)?;
            let made = x.with_channels(rank - 1, tensor, shape);
            return Ok(Value::Computed(made.context("has values in an order that is not supported")?));
        }
        ensure!(x.batch == 1 || x.is_axis(0, Axis::N), "multiplies {:?}, whose first axis is not the batch", x.dims);
        let name = name_of(node);
        let mut tensor = x.tensor;
        let mut places = None;
        if (x.shape.h, x.shape.w) != (1, 1) {
            let flatten = x.flattened_by.clone().unwrap_or_else(|| format!("{name}_flatten"));
            tensor = self.push_op(flatten, Op::Flatten, &[tensor])?.0;
            let params = self.maker(x.tensor).and_then(|maker| maker.params);
            self.last()?.params = params; // a flatten moves values only
            places = (!x.in_our_order()).then(|| x.flat_places());
        }
        let (tensor, shape) = self.push_op(name, Op::Dense { units: c_out, activation }, &[tensor])?;
        self.set_matrix(matrix, depth, units, |place| places.as_ref().map_or(place, |places| places[place]))?;
        let mut dims = x.dims.clone();
        dims[rank - 1] = units;
        let order = vec![Axis::N, Axis::C, Axis::H, Axis::W];
        Ok(Value::Computed(View { tensor, shape, batch: x.batch, dims, order, sole: true, flattened_by: None }))
    }

    /// Gives the last layer a matrix as its weights; `from` tells where each of our inputs lies among ONNX's.
    fn set_matrix(
        &mut self,
        matrix: &Matrix<'_>,
        depth: usize,
        units: usize,
        from: impl Fn(usize) -> usize,
    ) -> anyhow::Result<()> {
        fn turned<T: Copy>(
            values: &[T],
            [depth, units]: [usize; 2],
            transposed: bool,
            from: &dyn Fn(usize) -> usize,
        ) -> Vec<T> {
            let at = |unit: usize, place: usize| if transposed { unit * depth + place } else { place * units + unit };
            (0..units).flat_map(|unit| (0..depth).map(move |place| values[at(unit, from(place))])).collect()
        }
        let alpha = matrix.alpha;
        ensure!(alpha == 1.0 || matrix.weights.stored.is_none(), "multiplies quantized weights by {alpha}");
        let sizes = [depth, units];
        self.set_weights(
            [units, 1, 1, depth],
            matrix.weights,
            matrix.bias.as_ref(),
            [units, usize::from(!matrix.transposed)],
            |values| turned(values, sizes, matrix.transposed, &from).into_iter().map(|v| v * alpha).collect(),
            |values| turned(values, sizes, matrix.transposed, &from),
        )
    }

    pub fn batch_norm(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let attributes = Attributes::of(node, &["epsilon", "momentum", "spatial", "training_mode"])?;
        ensure!(attributes.int("training_mode", 0)? == 0, "is in training mode: export the network for inference");
        ensure!(attributes.int("spatial", 1)? == 1, "norms each place on its own (spatial = 0)");
        let x = self.computed(node, 0)?;
        ensure!(
            x.is_axis(1, Axis::C),
            "norms axis 1 of {:?}, which is not the channels of a picture: move it before the flatten",
            x.dims
        );
        let channels = x.shape.c as usize;
        let mut list = |index: usize| -> anyhow::Result<Vec<f32>> {
            let constant = self.constant(node, index)?;
            ensure!(constant.len() == channels, "has {} numbers for {channels} channels", constant.len());
            let values = constant.real()?;
            ensure!(values.iter().all(|v| v.is_finite()), "has a number that is not finite");
            Ok(values.to_vec())
        };
        let norm = NormWeights { gamma: list(1)?, beta: list(2)?, mean: list(3)?, variance: list(4)? };
        ensure!(norm.variance.iter().all(|&v| v >= 0.0), "has a negative variance");
        // as it is written, not with the digits of single precision
        let decimal = |value: f32| value.to_string().parse::<f64>().context("has an epsilon that is no number");
        let epsilon = decimal(attributes.float("epsilon", 1e-5)?)?;
        let momentum = decimal(attributes.float("momentum", 0.9)?)?.clamp(0.0, 1.0);
        ensure!(epsilon > 0.0 && epsilon.is_finite(), "has the epsilon {epsilon}");
        let kind = LayerKind::BatchNorm { epsilon, momentum };
        let (tensor, shape): (usize, Shape) = self.push(name_of(node), kind, &[x.tensor])?;
        self.last()?.norm = Some(norm);
        Ok(Value::Computed(View { tensor, shape, sole: true, ..x }))
    }
}
