//! A step of the training: penalty, clipping, rule.

use super::config::{Clip, TrainingConfig};
use super::module::Classifier;
use super::rule::Rule;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Bytes, Tensor};
use std::collections::BTreeMap;

/// Changes a module by its gradients.
pub(super) struct Optimizer {
    inner: ModuleOptimizer,
    clip: Option<Clip>,
    /// The penalty of each kernel that has one.
    l2: BTreeMap<ParamId, f64>,
}

impl Optimizer {
    /// The optimizer of a configuration, with the penalty of kernels.
    pub fn new(config: &TrainingConfig, l2: BTreeMap<ParamId, f64>) -> anyhow::Result<Self> {
        Ok(Self { inner: ModuleOptimizer::from(Rule::new(config)?), clip: config.clip()?, l2 })
    }

    /// Takes a step.
    pub fn step<M: Module>(&mut self, rate: f64, module: M, mut gradients: GradientsParams) -> M {
        if !self.l2.is_empty() {
            module.visit(&mut Penalty { l2: &self.l2, gradients: &mut gradients });
        }
        if let Some(clip) = self.clip {
            let limit = match clip {
                Clip::GlobalNorm(limit) => {
                    let mut length = Length { gradients: &gradients, squares: 0.0 };
                    module.visit(&mut length);
                    Limit::Factor(factor(limit, length.squares))
                }
                Clip::Norm(limit) => Limit::Norm(limit),
                Clip::Value(limit) => Limit::Value(limit),
            };
            module.visit(&mut Clipping { limit, gradients: &mut gradients });
        }
        self.inner.step(rate, module, gradients)
    }

    /// What it remembers.
    pub fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.inner.into_bytes().map_err(|error| anyhow::anyhow!("cannot save the optimizer: {error}"))?.to_vec())
    }

    /// Remembers what [`to_bytes`](Self::to_bytes) gave.
    pub fn load(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        let loaded = self.inner.clone().from_bytes(Bytes::from_bytes_vec(bytes));
        self.inner = loaded.map_err(|error| anyhow::anyhow!("the optimizer's state is damaged: {error}"))?;
        Ok(())
    }
}

/// Gives the parameters of a module numbers in their order, so that an optimizer's memory fits the same network built anew.
pub(super) fn numbered(module: Classifier) -> Classifier {
    struct Numbering(u64);
    impl ModuleMapper for Numbering {
        fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let (_, tensor, mapper) = parameter.consume();
            Param::from_mapped_value(ParamId::from(self.0), tensor, mapper)
        }
    }
    module.map(&mut Numbering(0))
}

/// The factor that brings a length to a limit.
fn factor(limit: f64, squares: f64) -> f64 {
    let length = squares.sqrt();
    if length > limit { limit / length } else { 1.0 }
}

fn squares<const D: usize>(gradient: Tensor<D>) -> f64 {
    f64::from(gradient.square().sum().into_scalar::<f32>())
}

/// Adds the gradient of `l2 * sum of squares`.
struct Penalty<'a> {
    l2: &'a BTreeMap<ParamId, f64>,
    gradients: &'a mut GradientsParams,
}

impl ModuleVisitor for Penalty<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let Some(l2) = self.l2.get(&parameter.id) else { return };
        let Some(gradient) = self.gradients.remove::<D>(parameter.id) else { return };
        self.gradients.register(parameter.id, gradient + parameter.val().inner().mul_scalar(2.0 * l2));
    }
}

/// Sums the squares of all gradients.
struct Length<'a> {
    gradients: &'a GradientsParams,
    squares: f64,
}

impl ModuleVisitor for Length<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.squares += self.gradients.get::<D>(parameter.id).map_or(0.0, squares);
    }
}

#[derive(Clone, Copy)]
enum Limit {
    Factor(f64),
    Norm(f64),
    Value(f64),
}

struct Clipping<'a> {
    limit: Limit,
    gradients: &'a mut GradientsParams,
}

impl ModuleVisitor for Clipping<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(parameter.id) else { return };
        let clipped = match self.limit {
            Limit::Factor(factor) => gradient.mul_scalar(factor),
            Limit::Norm(limit) => {
                let factor = factor(limit, squares(gradient.clone()));
                gradient.mul_scalar(factor)
            }
            Limit::Value(limit) => gradient.clamp(-limit, limit),
        };
        self.gradients.register(parameter.id, clipped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[derive(Module, Debug)]
    struct Two {
        kernel: Param<Tensor<2>>,
        bias: Param<Tensor<1>>,
    }

    /// Six steps from fixed weights along fixed gradients, the rate halved after three; returns kernel and bias.
    fn after_six_steps(config: &str, biased: bool) -> ([f32; 4], [f32; 2]) {
        let config: TrainingConfig = toml::from_str(config).unwrap();
        config.validate().unwrap();
        let device = Device::flex().autodiff();
        let kernel = Param::initialized(
            ParamId::from(1),
            Tensor::<2>::from_data([[1.0, -0.5], [0.25, 2.0]], &device).require_grad(),
        );
        let bias = Param::initialized(ParamId::from(2), Tensor::<1>::from_data([1.0, -1.0], &device).require_grad());
        let mut module = Two { kernel, bias };
        let l2 = if config.l2 > 0.0 { BTreeMap::from([(ParamId::from(1), config.l2)]) } else { BTreeMap::new() };
        let mut optimizer = Optimizer::new(&config, l2.clone()).unwrap();
        for t in 0..6_i16 {
            let t = f32::from(t);
            let odd = t % 2.0 == 1.0;
            let kernel = [0.5 - 0.125 * t, 0.25 * t - 0.5, 0.0625 * (t + 1.0), if odd { -1.0 } else { 0.75 }];
            let inner = Device::flex();
            let mut gradients = GradientsParams::new();
            let kernel = TensorData::new(kernel.to_vec(), [2, 2]);
            gradients.register(ParamId::from(1), Tensor::<2>::from_data(kernel, &inner));
            if biased {
                let bias = TensorData::new(vec![0.5, -0.25 * t], [2]);
                gradients.register(ParamId::from(2), Tensor::<1>::from_data(bias, &inner));
            }
            if t == 4.0 {
                // what it remembers survives being saved
                let bytes = optimizer.to_bytes().unwrap();
                optimizer = Optimizer::new(&config, l2.clone()).unwrap();
                optimizer.load(bytes).unwrap();
            }
            module = optimizer.step(if t < 3.0 { 0.1 } else { 0.05 }, module, gradients);
        }
        let kernel: Vec<f32> = module.kernel.val().into_data().iter::<f32>().collect();
        let bias: Vec<f32> = module.bias.val().into_data().iter::<f32>().collect();
        (kernel.try_into().unwrap(), bias.try_into().unwrap())
    }

    #[track_caller]
    fn assert_near(config: &str, found: &[f32], expected: &[f32]) {
        let near = found.iter().zip(expected).all(|(f, e)| (f - e).abs() <= 1e-5 * e.abs().max(1.0));
        assert!(near, "{config}: {found:?} for {expected:?}");
    }

    #[test]
    fn weights_after_six_steps_are_those_of_keras() {
        // keras.optimizers 3.15.1 on the same weights and gradients; it takes powers of the betas in f32
        for (config, expected) in [
            ("optimizer = \"sgd\"", [0.8875, -0.5, 0.165625, 2.0125]),
            ("optimizer = \"sgd\"\nmomentum = 0.9", [0.5154918, -0.282218, 0.02273259, 1.914416]),
            ("optimizer = \"sgd\"\nmomentum = 0.9\nnesterov = true", [0.4514425, -0.3039962, -0.03891569, 1.935474]),
            ("optimizer = \"sgd\"\nweight_decay = 0.5", [0.6969592, -0.4072534, 0.1191862, 1.606101]),
            ("", [0.6013558, -0.2496976, -0.1875096, 1.915508]),
            ("beta_1 = 0.5\nbeta_2 = 0.75\nepsilon = 1e-2", [0.673577, -0.3715614, -0.1656676, 1.953665]),
            ("optimizer = \"adamw\"", [0.5998764, -0.2490791, -0.1876366, 1.91204]),
            ("optimizer = \"nadam\"", [0.7536479, -0.4294603, -0.1854898, 1.955705]),
            ("optimizer = \"rmsprop\"", [0.3640245, -0.3361664, -0.947098, 1.879704]),
            ("optimizer = \"rmsprop\"\nrho = 0.75\nmomentum = 0.5", [0.1715912, -0.2084874, -1.140745, 1.814085]),
            ("optimizer = \"sgd\"\nclip_value = 0.3", [0.9150001, -0.4875, 0.17, 1.985]),
            ("optimizer = \"sgd\"\nclip_norm = 0.5", [0.9428797, -0.4977245, 0.208582, 1.985647]),
        ] {
            assert_near(config, &after_six_steps(config, false).0, &expected);
        }
    }

    #[test]
    fn the_global_norm_is_that_of_all_tensors_as_in_keras() {
        let config = "optimizer = \"sgd\"\nclip_global_norm = 0.5";
        let (kernel, bias) = after_six_steps(config, true);
        assert_near(config, &kernel, &[0.9508801, -0.4910639, 0.2187451, 1.991341]);
        assert_near(config, &bias, &[0.9106962, -0.9196323]);
    }

    #[test]
    fn the_penalty_pulls_kernels_to_zero_and_leaves_biases() {
        // with the gradient of l2 * w^2 a step is w -= rate * (g + 2 * l2 * w)
        let mut expected = [1.0_f32, -0.5, 0.25, 2.0];
        for t in 0..6_i16 {
            let t = f32::from(t);
            let g = [0.5 - 0.125 * t, 0.25 * t - 0.5, 0.0625 * (t + 1.0), if t % 2.0 == 1.0 { -1.0 } else { 0.75 }];
            let rate = if t < 3.0 { 0.1 } else { 0.05 };
            for (w, g) in expected.iter_mut().zip(g) {
                *w -= rate * (g + 2.0 * 0.5 * *w);
            }
        }
        let config = "optimizer = \"sgd\"\nl2 = 0.5";
        let (kernel, bias) = after_six_steps(config, true);
        assert_near(config, &kernel, &expected);
        // 1 - 0.5 * (3 * 0.1 + 3 * 0.05); -1 + 0.25 * (0.1 * 3 + 0.05 * 12)
        assert_near(config, &bias, &[0.775, -0.775]);
        assert_near(config, &after_six_steps("optimizer = \"sgd\"\nweight_decay = 0.5", true).1, &[0.775, -0.775]);
    }
}
