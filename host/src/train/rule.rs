//! What an optimizer does with a gradient: Keras' five formulas, for one tensor at a time.

use super::config::{TrainingConfig, in_range};
use anyhow::bail;
use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor};

/// Keras' defaults.
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const RHO: f64 = 0.9;
const EPSILON: f64 = 1e-7;
const ADAMW_DECAY: f64 = 0.004;
/// How fast Nadam's momentum grows.
const NADAM_GROWTH: f64 = 0.96;

/// A formula with its numbers.
///
/// # Arithmetic
/// With weights `w`, gradient `g`, rate `r`, and first of all `w -= r * weight_decay * w` in kernels:
/// - sgd: `m = momentum * m - r * g`, `w += m`; with Nesterov `w += momentum * m - r * g`.
/// - rmsprop: `v = rho * v + (1 - rho) * g^2`, `m = momentum * m + r * g / sqrt(v + epsilon)`, `w -= m`.
/// - adam, adamw: `m = b1 * m + (1 - b1) * g`, `v = b2 * v + (1 - b2) * g^2`,
///   `w -= r * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)`.
/// - nadam: `u_t = b1 * (1 - 0.96^t / 2)`, `p_t = u_1 * .. * u_t`, `m` and `v` as adam's,
///   `w -= r * (u_(t+1) * m / (1 - p_(t+1)) + (1 - u_t) * g / (1 - p_t)) / (sqrt(v / (1 - b2^t)) + epsilon)`.
///
/// # Source
/// `keras.optimizers` 3.15, `update_step` of each; Kingma and Ba 2015; Loshchilov and Hutter 2019; Dozat 2016.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rule {
    kind: Kind,
    weight_decay: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Sgd { momentum: f64, nesterov: bool },
    RmsProp { rho: f64, momentum: f64, epsilon: f64 },
    Adam { beta_1: f64, beta_2: f64, epsilon: f64 },
    Nadam { beta_1: f64, beta_2: f64, epsilon: f64 },
}

impl Rule {
    /// The rule that a configuration names.
    pub fn new(config: &TrainingConfig) -> anyhow::Result<Self> {
        let name = config.optimizer.as_str();
        if !["adam", "adamw", "nadam", "rmsprop", "sgd"].contains(&name) {
            bail!("[training] optimizer = \"{name}\" is not one of adam, adamw, nadam, rmsprop, sgd");
        }
        for (key, value, takers) in [
            ("momentum", config.momentum.map(|v| v.to_string()), &["sgd", "rmsprop"][..]),
            ("nesterov", config.nesterov.map(|v| v.to_string()), &["sgd"]),
            ("beta_1", config.beta_1.map(|v| v.to_string()), &["adam", "adamw", "nadam"]),
            ("beta_2", config.beta_2.map(|v| v.to_string()), &["adam", "adamw", "nadam"]),
            ("rho", config.rho.map(|v| v.to_string()), &["rmsprop"]),
            ("epsilon", config.epsilon.map(|v| v.to_string()), &["adam", "adamw", "nadam", "rmsprop"]),
        ] {
            if let Some(value) = value.filter(|_| !takers.contains(&name)) {
                bail!(
                    "[training] {key} = {value} does not belong to optimizer = \"{name}\", only to {}",
                    takers.join(", ")
                );
            }
        }
        let share = |key: &str, value: Option<f64>, default: f64| {
            let value = value.unwrap_or(default);
            in_range(key, value, (0.0..1.0).contains(&value), "at least 0 and below 1").map(|()| value)
        };
        let momentum = share("momentum", config.momentum, 0.0)?;
        let (beta_1, beta_2) = (share("beta_1", config.beta_1, BETA_1)?, share("beta_2", config.beta_2, BETA_2)?);
        let rho = share("rho", config.rho, RHO)?;
        let epsilon = config.epsilon.unwrap_or(EPSILON);
        in_range("epsilon", epsilon, epsilon > 0.0, "above 0")?;
        let nesterov = config.nesterov.unwrap_or(false);
        if nesterov && momentum == 0.0 {
            bail!("[training] nesterov = true needs a momentum above 0");
        }
        let weight_decay = config.weight_decay.unwrap_or(if name == "adamw" { ADAMW_DECAY } else { 0.0 });
        in_range("weight_decay", weight_decay, weight_decay >= 0.0, "at least 0")?;
        let kind = match name {
            "sgd" => Kind::Sgd { momentum, nesterov },
            "rmsprop" => Kind::RmsProp { rho, momentum, epsilon },
            "nadam" => Kind::Nadam { beta_1, beta_2, epsilon },
            _ => Kind::Adam { beta_1, beta_2, epsilon },
        };
        Ok(Self { kind, weight_decay })
    }
}

/// What a rule remembers of a tensor.
#[derive(Clone, Debug)]
pub(super) struct Memory<const D: usize> {
    /// Steps taken.
    steps: usize,
    /// Momentum, or the mean gradient.
    first: Option<Tensor<D>>,
    /// The mean squared gradient.
    second: Option<Tensor<D>>,
    /// Nadam's product of momenta.
    product: f64,
}

impl<const D: usize> Memory<D> {
    const fn new() -> Self {
        Self { steps: 0, first: None, second: None, product: 1.0 }
    }
}

impl Optimizer for Rule {
    type State<const D: usize> = Memory<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        memory: Option<Memory<D>>,
    ) -> (Tensor<D>, Option<Memory<D>>) {
        let mut memory = memory.unwrap_or_else(Memory::new);
        memory.steps += 1;
        let decay = if D > 1 { self.weight_decay } else { 0.0 };
        let weights = if decay > 0.0 { weights.mul_scalar(1.0 - rate * decay) } else { weights };
        let steps = i32::try_from(memory.steps).unwrap_or(i32::MAX);
        let weights = match self.kind {
            Kind::Sgd { momentum: 0.0, .. } => weights - gradient.mul_scalar(rate),
            Kind::Sgd { momentum, nesterov } => {
                let change = gradient.mul_scalar(-rate);
                let kept = match memory.first.take() {
                    Some(old) => old.mul_scalar(momentum) + change.clone(),
                    None => change.clone(),
                };
                memory.first = Some(kept.clone());
                weights + if nesterov { kept.mul_scalar(momentum) + change } else { kept }
            }
            Kind::RmsProp { rho, momentum, epsilon } => {
                let square = mean(memory.second.take(), gradient.clone().square(), rho);
                memory.second = Some(square.clone());
                let change = gradient.mul_scalar(rate) / square.add_scalar(epsilon).sqrt();
                let change = match memory.first.take() {
                    Some(old) => old.mul_scalar(momentum) + change,
                    None => change,
                };
                if momentum > 0.0 {
                    memory.first = Some(change.clone());
                }
                weights - change
            }
            Kind::Adam { beta_1, beta_2, epsilon } => {
                let (first, second) = memory.moments(gradient, beta_1, beta_2);
                let rate = rate * (1.0 - beta_2.powi(steps)).sqrt() / (1.0 - beta_1.powi(steps));
                weights - first.mul_scalar(rate) / second.sqrt().add_scalar(epsilon)
            }
            Kind::Nadam { beta_1, beta_2, epsilon } => {
                let momentum = |step: i32| beta_1 * (1.0 - 0.5 * NADAM_GROWTH.powi(step));
                let (now, next) = (momentum(steps), momentum(steps.saturating_add(1)));
                memory.product *= now;
                let product = memory.product;
                let (first, second) = memory.moments(gradient.clone(), beta_1, beta_2);
                let ahead = first.mul_scalar(rate * next / (1.0 - product * next))
                    + gradient.mul_scalar(rate * (1.0 - now) / (1.0 - product));
                weights - ahead / second.div_scalar(1.0 - beta_2.powi(steps)).sqrt().add_scalar(epsilon)
            }
        };
        (weights, Some(memory))
    }

    fn to_device<const D: usize>(mut memory: Memory<D>, device: &Device) -> Memory<D> {
        memory.first = memory.first.map(|tensor| tensor.to_device(device));
        memory.second = memory.second.map(|tensor| tensor.to_device(device));
        memory
    }
}

impl<const D: usize> Memory<D> {
    /// Takes a gradient into both means, which start at zero.
    fn moments(&mut self, gradient: Tensor<D>, beta_1: f64, beta_2: f64) -> (Tensor<D>, Tensor<D>) {
        let second = mean(self.second.take(), gradient.clone().square(), beta_2);
        let first = mean(self.first.take(), gradient, beta_1);
        (self.first, self.second) = (Some(first.clone()), Some(second.clone()));
        (first, second)
    }
}

/// A running mean that started at zero.
fn mean<const D: usize>(old: Option<Tensor<D>>, new: Tensor<D>, keep: f64) -> Tensor<D> {
    let new = new.mul_scalar(1.0 - keep);
    match old {
        Some(old) => old.mul_scalar(keep) + new,
        None => new,
    }
}

impl<const D: usize> RecordState for Memory<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_scalar(prefix, "steps", self.steps.into());
        out.push_scalar(prefix, "product", self.product.into());
        for (name, tensor) in [("first", &self.first), ("second", &self.second)] {
            if let Some(tensor) = tensor {
                out.push_tensor(prefix, name, tensor.to_data());
            }
        }
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        let steps = usize::try_from(source.take_scalar(prefix, "steps")?).ok()?;
        let product = f64::try_from(source.take_scalar(prefix, "product")?).ok()?;
        let mut tensor = |name: &str| source.take_tensor(prefix, name).map(|data| Tensor::from_data(data, device));
        Some(Self { steps, first: tensor("first"), second: tensor("second"), product })
    }
}
