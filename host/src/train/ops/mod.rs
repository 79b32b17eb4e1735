//! The operators that training spends its time in, with backward passes of their own, for Burn's CPU backend.
//!
//! Each takes and gives Burn's tensors and puts its backward pass on Burn's tape; where a tensor lies on another backend, or an
//! operator has a shape that is rare, Burn's own runs instead, with the same result but for rounding.
//!
//! Why they are faster: tensors lie in memory as `[n, h, w, c]`, so that channels fill vectors and the windows of a convolution are
//! read where they lie; bias, batch norm and activation are applied while values are in reach; a batch is split by images over threads.
//! The split depends on shapes only and sums are added up in a fixed order: results do not depend on the number of threads.

mod bridge;
mod conv;
mod custom;
mod depthwise;
mod geometry;
mod lines;
mod mask;
mod memory;
mod norm;
mod pool;
mod simd;
mod sum;
#[cfg(test)]
mod tests;
mod tile;

pub(super) use self::custom::custom;

use self::bridge::{Operand, Operands, channels_last, finish, image, in_order, operands, plain, values};
use self::geometry::Geometry;
pub(super) use self::memory::keep_memory;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d as burn_conv2d, max_pool2d as burn_max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use ocelli::ir::Activation;

/// Which operators run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Operators {
    /// These here, where they can.
    #[default]
    Ours,
    /// Burn's.
    Burns,
}

impl Operators {
    /// The inputs, when an operator of ours can take them.
    fn operands<const N: usize>(self, inputs: [&dyn Operand; N]) -> Option<Operands<N>> {
        (self == Self::Ours).then(|| operands(inputs)).flatten()
    }

    /// Convolution, bias and activation.
    ///
    /// # Shapes
    /// `x`: `[n, c_in, h, w]`, `weight`: `[c_out, c_in / groups, kh, kw]`, result: `[n, c_out, out_h, out_w]`.
    pub fn conv2d(
        self,
        x: Tensor<4>,
        weight: Tensor<4>,
        bias: Tensor<1>,
        options: &ConvOptions<2>,
        activation: Activation,
    ) -> Tensor<4> {
        let [n, c_in, h, w] = x.dims();
        let [c_out, per_group, kh, kw] = weight.dims();
        let depthwise = per_group == 1 && options.groups == c_in && c_out == c_in && c_in > 1;
        let [(top, bottom), (left, right)] = options.padding;
        let geometry = Geometry {
            n,
            h,
            w,
            c_in,
            pitch: c_in,
            c_out,
            kernel: [kh, kw],
            stride: options.stride,
            dilation: options.dilation,
            pads: [top, left, bottom, right],
        };
        let ours = (depthwise || options.groups == 1) && n * geometry.out_pixels() > 0;
        let Some(inputs) = ours.then(|| self.operands([&x, &weight, &bias])).flatten() else {
            return activate(burn_conv2d(x, weight, Some(bias), options.clone()), activation);
        };
        let [x, weight, bias] = &inputs.values;
        let (x, weight, bias) = (channels_last(x), in_order(weight), in_order(bias));
        let forward = if depthwise { depthwise::forward } else { conv::forward };
        let y = forward(&geometry, values(&x), values(&weight), values(&bias), activation);
        let [out_h, out_w] = geometry.out();
        let y = image(y, [n, c_out, out_h, out_w]);
        let kept = (activation != Activation::None && inputs.is_training()).then(|| channels_last(&y));
        finish(
            inputs,
            y,
            Box::new(move |gradient, [want_x, ..]| {
                let gradient = channels_last(&gradient);
                let from = conv::Backward {
                    geometry,
                    x: values(&x),
                    y: kept.as_ref().map(values),
                    activation,
                    weight: values(&weight),
                    gradient: values(&gradient),
                    want_x,
                };
                let gradients = if depthwise { depthwise::backward(&from) } else { from.run() };
                [
                    gradients.x.map(|dx| image(dx, [n, c_in, h, w])),
                    Some(plain(gradients.weight, [c_out, per_group, kh, kw])),
                    Some(plain(gradients.bias, [c_out])),
                ]
            }),
        )
    }

    /// Maximum pooling.
    pub fn max_pool2d(self, x: Tensor<4>, options: &MaxPoolOptions<2>) -> Tensor<4> {
        let [n, c, h, w] = x.dims();
        let [(top, bottom), (left, right)] = options.padding;
        let geometry = Geometry {
            n,
            h,
            w,
            c_in: c,
            pitch: c,
            c_out: c,
            kernel: options.kernel_size,
            stride: options.stride,
            dilation: options.dilation,
            pads: [top, left, bottom, right],
        };
        let [kh, kw] = geometry.kernel;
        // the place of the maximum is kept in a byte
        let ours = !options.ceil_mode && kh * kw <= 256 && n * geometry.out_pixels() > 0;
        let Some(inputs) = ours.then(|| self.operands([&x])).flatten() else {
            return burn_max_pool2d(x, options.clone());
        };
        let x = channels_last(&inputs.values[0]);
        let (y, taken) = pool::maximum(&geometry, values(&x));
        let [out_h, out_w] = geometry.out();
        finish(
            inputs,
            image(y, [n, c, out_h, out_w]),
            Box::new(move |gradient, _| {
                let gradient = channels_last(&gradient);
                [Some(image(pool::maximum_backward(&geometry, &taken, values(&gradient)), [n, c, h, w]))]
            }),
        )
    }

    /// The mean over the pixels: `[n, c, 1, 1]`.
    pub fn global_average(self, x: Tensor<4>) -> Tensor<4> {
        let [n, c, h, w] = x.dims();
        let Some(inputs) = (n * c * h * w > 0).then(|| self.operands([&x])).flatten() else {
            return x.mean_dim(2).mean_dim(3);
        };
        let area = h * w * c;
        let y = pool::mean(values(&channels_last(&inputs.values[0])), area, c);
        finish(
            inputs,
            image(y, [n, c, 1, 1]),
            Box::new(move |gradient, _| {
                let gradient = channels_last(&gradient);
                [Some(image(pool::mean_backward(values(&gradient), area, c), [n, c, h, w]))]
            }),
        )
    }

    /// `activation(a + b)` for tensors of the same shape.
    pub fn add(self, a: Tensor<4>, b: Tensor<4>, activation: Activation) -> Tensor<4> {
        let shape = a.dims();
        let Some(inputs) = (shape == b.dims()).then(|| self.operands([&a, &b])).flatten() else {
            return activate(a + b, activation);
        };
        let [a, b] = inputs.values.each_ref().map(channels_last);
        let y = image(sum::forward(values(&a), values(&b), activation), shape);
        let kept = channels_last(&y);
        finish(
            inputs,
            y,
            Box::new(move |gradient, _| {
                let gradient = channels_last(&gradient);
                let either = match activation {
                    Activation::None => gradient.permute(&[0, 3, 1, 2]),
                    _ => image(sum::backward(values(&kept), values(&gradient), activation), shape),
                };
                [Some(either.clone()), Some(either)]
            }),
        )
    }

    /// Batch norm and activation: with the statistics of the batch, which move the running ones, while training; else with those.
    pub fn batch_norm(self, norm: &BatchNorm, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let [n, c, h, w] = x.dims();
        let training = x.device().is_autodiff() && norm.training.is_enabled();
        let inputs = (n * h * w * c > 0).then(|| self.operands([&x, &norm.gamma.val(), &norm.beta.val()])).flatten();
        let Some(inputs) = inputs.filter(|inputs| training == inputs.is_training()) else {
            return activate(norm.forward(x), activation);
        };
        let [x, gamma, beta] = &inputs.values;
        let (x, gamma, beta) = (channels_last(x), in_order(gamma), in_order(beta));
        let (area, epsilon) = (h * w * c, norm.epsilon);
        let statistics = if training {
            let statistics = norm::Statistics::of(values(&x), area, c);
            move_running(norm, &statistics);
            statistics
        } else {
            let [mean, variance] =
                [&norm.running_mean, &norm.running_var].map(|state| super::parts::to_vec(state.value()));
            norm::Statistics { mean, variance }
        };
        let affine = norm::Affine::new(&statistics, values(&gamma), values(&beta), epsilon, activation);
        let y = image(affine.forward(values(&x), area), [n, c, h, w]);
        finish(
            inputs,
            y,
            Box::new(move |gradient, _| {
                let gradient = channels_last(&gradient);
                let [dx, gamma, beta] = affine.backward(values(&x), values(&gradient), area, &statistics, epsilon);
                [Some(image(dx, [n, c, h, w])), Some(plain(gamma, [c])), Some(plain(beta, [c]))]
            }),
        )
    }
}

/// As Burn's batch norm does after a training step.
fn move_running(norm: &BatchNorm, statistics: &norm::Statistics) {
    let (keep, take) = ((1.0 - norm.momentum) as f32, norm.momentum as f32);
    for (state, new) in [(&norm.running_mean, &statistics.mean), (&norm.running_var, &statistics.variance)] {
        let old = state.value_sync();
        let device = old.device();
        let moved: Vec<f32> =
            super::parts::to_vec(old).iter().zip(new).map(|(old, new)| old * keep + new * take).collect();
        state.update(Tensor::from_data(moved.as_slice(), &device));
    }
}

/// An activation by Burn's operators.
pub(super) fn activate(x: Tensor<4>, activation: Activation) -> Tensor<4> {
    match activation {
        Activation::None => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::ReluN1To1 => x.clamp(-1.0, 1.0),
    }
}
