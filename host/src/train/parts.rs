//! The trained parts of a module. Burn is NCHW, OIHW and `[in, out]`; the turn from and to our layouts is made here and nowhere else.

use crate::network::{LayerWeights, NormWeights};
use burn::module::{Module, Param, RunningState};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor, TensorData};

/// A convolution of any number of groups.
#[derive(Module, Debug)]
pub(super) struct Convolution {
    /// `[c_out, c_in / groups, kh, kw]`.
    pub weight: Param<Tensor<4>>,
    pub bias: Option<Param<Tensor<1>>>,
    /// Whether our layout is `[1, kh, kw, c_out]`.
    #[module(skip)]
    depthwise: bool,
}

impl Convolution {
    pub fn new(layer: &LayerWeights, depthwise: bool, device: &Device) -> Self {
        let ours = Tensor::<4>::from_data(TensorData::new(layer.kernel.clone(), layer.shape), device);
        let weight = if depthwise { ours.permute([3, 0, 1, 2]) } else { ours.permute([0, 3, 1, 2]) };
        Self { weight: Param::from_tensor(materialize(weight, device)), bias: bias(layer, device), depthwise }
    }

    pub fn to_layer(&self) -> LayerWeights {
        let weight = self.weight.val();
        let ours = if self.depthwise { weight.permute([1, 2, 3, 0]) } else { weight.permute([0, 2, 3, 1]) };
        LayerWeights {
            shape: ours.dims(),
            kernel: to_vec(ours),
            bias: self.bias.as_ref().map_or_else(Vec::new, |bias| to_vec(bias.val())),
        }
    }
}

#[derive(Module, Debug)]
pub(super) struct Dense {
    /// `[in, out]`.
    pub weight: Param<Tensor<2>>,
    pub bias: Option<Param<Tensor<1>>>,
}

impl Dense {
    pub fn new(layer: &LayerWeights, device: &Device) -> Self {
        let [out, _, _, inputs] = layer.shape;
        let rows = Tensor::<2>::from_data(TensorData::new(layer.kernel.clone(), [out, inputs]), device);
        Self { weight: Param::from_tensor(materialize(rows.transpose(), device)), bias: bias(layer, device) }
    }

    pub fn to_layer(&self) -> LayerWeights {
        let rows = self.weight.val().transpose();
        let [out, inputs] = rows.dims();
        LayerWeights {
            shape: [out, 1, 1, inputs],
            kernel: to_vec(rows),
            bias: self.bias.as_ref().map_or_else(Vec::new, |bias| to_vec(bias.val())),
        }
    }
}

/// Burn's batch norm with our numbers; its momentum is the share that a step replaces, ours the share that it keeps.
pub(super) fn norm(numbers: &NormWeights, epsilon: f64, momentum: f64, device: &Device) -> BatchNorm {
    let config = BatchNormConfig::new(numbers.gamma.len()).with_epsilon(epsilon).with_momentum(1.0 - momentum);
    let state = |values: &[f32]| RunningState::new(vector(values, device).val().set_require_grad(false));
    BatchNorm {
        gamma: vector(&numbers.gamma, device),
        beta: vector(&numbers.beta, device),
        running_mean: state(&numbers.mean),
        running_var: state(&numbers.variance),
        ..config.init(device)
    }
}

/// The numbers of a batch norm, running statistics up to date.
pub(super) fn norm_numbers(norm: &BatchNorm) -> NormWeights {
    NormWeights {
        gamma: to_vec(norm.gamma.val()),
        beta: to_vec(norm.beta.val()),
        mean: to_vec(norm.running_mean.value_sync()),
        variance: to_vec(norm.running_var.value_sync()),
    }
}

/// A bias where the layer has one.
pub(super) fn bias(layer: &LayerWeights, device: &Device) -> Option<Param<Tensor<1>>> {
    (!layer.bias.is_empty()).then(|| vector(&layer.bias, device))
}

fn vector(values: &[f32], device: &Device) -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device))
}

/// A tensor of its own, in memory order: a leaf of the autodiff graph.
pub(super) fn materialize<const D: usize>(tensor: Tensor<D>, device: &Device) -> Tensor<D> {
    let shape = tensor.dims();
    Tensor::from_data(TensorData::new(to_vec(tensor), shape), device)
}

/// A tensor's values in memory order.
pub(super) fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
