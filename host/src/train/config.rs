//! `[training]` of a `config.toml`.

use super::loss::ClassWeights;
use super::monitor::{EarlyStopping, Keep, Monitor};
use super::place::{Place, Token, places};
use super::rule::Rule;
use super::schedule::{Plateau, Schedule, StepDecay};
use anyhow::{Context, bail, ensure};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// How to train.
///
/// Weights are decayed and penalized in kernels only: biases and batch norms are left alone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// `"adam"`, `"adamw"`, `"nadam"`, `"rmsprop"` or `"sgd"`, each with Keras' formulas and defaults.
    pub optimizer: String,
    /// Step size: of the first step, where the schedule lowers it; the highest, of one-cycle.
    pub learning_rate: f64,
    /// Of sgd and rmsprop: share of the last step that is taken again (0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Of sgd: look ahead along the momentum (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// Of adam, adamw and nadam: share of the mean gradient that a step keeps (0.9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_1: Option<f64>,
    /// Of adam, adamw and nadam: share of the mean squared gradient that a step keeps (0.999).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_2: Option<f64>,
    /// Of rmsprop: share of the mean squared gradient that a step keeps (0.9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rho: Option<f64>,
    /// Of all but sgd: keeps the divisor above zero (1e-7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Share of the kernels that a step takes away, times the rate (0.004 for adamw, else 0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Longest gradient of a single tensor (Keras' `clipnorm`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Longest gradient of all tensors together (Keras' `global_clipnorm`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_global_norm: Option<f64>,
    /// Largest element of a gradient (Keras' `clipvalue`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// Adds `l2 * sum of the squared kernels` to what is minimized; the reported loss is without it.
    pub l2: f64,
    /// `"constant"`, `"step"`, `"cosine"` (to zero along half a cosine), `"one-cycle"` or `"plateau"`.
    pub schedule: String,
    /// Epochs in which the rate rises to `learning_rate` in a straight line, before the schedule begins.
    pub warmup_epochs: usize,
    /// `"categorical"` (`"sparse"` is the same: labels become distributions here) or `"binary"`, which is for two classes.
    pub loss: String,
    /// Share of each label that is spread over all classes.
    pub label_smoothing: f64,
    /// What the best epoch is chosen by, early stopping and the plateau schedule among the choosers.
    pub monitor: Monitor,
    /// Which weights the run folder gets: `"last"`, or `"best"` by `monitor`; best is the default with early stopping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// Steps after which a checkpoint is written, beside the one at the end of each epoch; 0 for none.
    pub checkpoint_steps: usize,
    /// Minutes after which a checkpoint is written, beside the one at the end of each epoch; 0 for none.
    pub checkpoint_minutes: f64,
    /// Seed of the initial weights, the order of the images and dropout.
    pub seed: u64,
    /// `"flex"`, `"ndarray"` (slow; for comparison), or, where the program is built with them, `"wgpu"` or `"cuda"`.
    pub backend: String,
    /// Names of the devices that each batch is divided over, in place of `backend`: see [`Place`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// What lets in at remote devices; never written.
    #[serde(skip)]
    pub token: Option<Token>,
    /// `"balanced"`, or a table of weights by label; labels that it does not name weigh 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Of the step schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepDecay>,
    /// Of the plateau schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plateau: Option<Plateau>,
    /// Ends the training when `monitor` gets no better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 32,
            optimizer: "adam".to_owned(),
            learning_rate: 1e-3,
            momentum: None,
            nesterov: None,
            beta_1: None,
            beta_2: None,
            rho: None,
            epsilon: None,
            weight_decay: None,
            clip_norm: None,
            clip_global_norm: None,
            clip_value: None,
            l2: 0.0,
            schedule: "constant".to_owned(),
            warmup_epochs: 0,
            loss: "categorical".to_owned(),
            label_smoothing: 0.0,
            monitor: Monitor::default(),
            keep: None,
            checkpoint_steps: 0,
            checkpoint_minutes: 0.0,
            seed: 1,
            backend: FLEX.to_owned(),
            devices: Vec::new(),
            token: None,
            class_weights: None,
            step: None,
            plateau: None,
            early_stopping: None,
        }
    }
}

/// Refuses a number that is not in a range; `allowed` says which.
pub(super) fn in_range(key: &str, value: f64, good: bool, allowed: &str) -> anyhow::Result<()> {
    ensure!(value.is_finite() && good, "[training] {key} = {value} must be {allowed}");
    Ok(())
}

impl TrainingConfig {
    /// Refuses values that cannot train.
    ///
    /// # Errors
    /// Names key, value and what is allowed.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(self.epochs > 0, "[training] epochs = 0 must be at least 1");
        ensure!(self.batch_size > 0, "[training] batch_size = 0 must be at least 1");
        in_range("learning_rate", self.learning_rate, self.learning_rate > 0.0, "above 0")?;
        in_range("l2", self.l2, self.l2 >= 0.0, "at least 0")?;
        let smoothing = self.label_smoothing;
        in_range("label_smoothing", smoothing, (0.0..1.0).contains(&smoothing), "at least 0 and below 1")?;
        let minutes = self.checkpoint_minutes;
        in_range("checkpoint_minutes", minutes, minutes >= 0.0, "at least 0")?;
        Rule::new(self)?;
        self.clip()?;
        Schedule::new(self, 1)?;
        if !["categorical", "sparse", "binary"].contains(&self.loss.as_str()) {
            bail!("[training] loss = \"{}\" is not one of categorical, sparse, binary", self.loss);
        }
        if let Some(weights) = &self.class_weights {
            weights.validate()?;
        }
        if let Some(stopping) = &self.early_stopping {
            stopping.validate()?;
        }
        // a run is read on other machines too: whether this one has the device shows when it is opened
        if !BACKENDS.contains(&self.backend.as_str()) {
            bail!("[training] backend = \"{}\" is not one of {}", self.backend, BACKENDS.join(", "));
        }
        ensure!(
            self.devices.is_empty() || self.backend == FLEX,
            "[training] backend = \"{}\" and devices exclude each other: give one",
            self.backend
        );
        self.places().context("[training] devices")?;
        Ok(())
    }

    /// The devices that each batch is divided over; none where there is only that of `backend`.
    pub(super) fn places(&self) -> anyhow::Result<Vec<Place>> {
        places(&self.devices)
    }

    /// The device of epochs in int8, whose operators are for the processor of this machine, wherever the float epochs ran.
    pub(super) fn int8_device(&self) -> anyhow::Result<Device> {
        let gpu = ["wgpu", "cuda"].contains(&self.backend.as_str());
        device(if gpu { FLEX } else { &self.backend })
    }

    /// Opens all devices, so that one that is not there shows before the work begins.
    ///
    /// # Errors
    /// When this program was built without one of them, or it is not there, or does not let us in.
    pub fn open_devices(&self) -> anyhow::Result<()> {
        self.main_device()?;
        self.places()?.iter().try_for_each(|place| place.open(self.token.as_ref()).map(drop))
    }

    /// The device that holds the weights and the optimizer's memory, and evaluates: the first of `devices` that is of this machine.
    ///
    /// # Errors
    /// When this program was built without it, or it is not there.
    pub fn main_device(&self) -> anyhow::Result<Device> {
        match self.places()?.iter().find(|place| !place.is_remote()) {
            Some(place) => place.open(None),
            None => device(&self.backend),
        }
    }

    /// Which weights a run keeps.
    #[must_use]
    pub fn kept(&self) -> Keep {
        let default = if self.early_stopping.is_some() { Keep::Best } else { Keep::Last };
        self.keep.unwrap_or(default)
    }

    /// How gradients are cut short.
    pub(super) fn clip(&self) -> anyhow::Result<Option<Clip>> {
        let given = [
            ("clip_norm", self.clip_norm.map(Clip::Norm)),
            ("clip_global_norm", self.clip_global_norm.map(Clip::GlobalNorm)),
            ("clip_value", self.clip_value.map(Clip::Value)),
        ];
        let given: Vec<(&str, Clip)> = given.into_iter().filter_map(|(key, clip)| Some((key, clip?))).collect();
        for (key, clip) in &given {
            let (Clip::Norm(limit) | Clip::GlobalNorm(limit) | Clip::Value(limit)) = *clip;
            in_range(key, limit, limit > 0.0, "above 0")?;
        }
        if let [(first, _), (second, _), ..] = given.as_slice() {
            bail!("[training] {first} and {second} exclude each other: give one");
        }
        Ok(given.first().map(|(_, clip)| *clip))
    }
}

/// How a gradient is cut short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Clip {
    /// The length of each tensor's gradient.
    Norm(f64),
    /// The length of all gradients together.
    GlobalNorm(f64),
    /// Each element.
    Value(f64),
}

const FLEX: &str = "flex";
const BACKENDS: [&str; 4] = [FLEX, "ndarray", "wgpu", "cuda"];

/// The device of a backend by name.
///
/// # Errors
/// When there is no such backend, this program was built without it, or it is not there.
pub fn device(backend: &str) -> anyhow::Result<Device> {
    let opened = match backend {
        FLEX => Ok(Device::flex()),
        #[expect(deprecated, reason = "kept for comparison with burn-ndarray; flex is its successor and the default")]
        "ndarray" => Ok(Device::ndarray()),
        "wgpu" => Place::Wgpu(None).open(None),
        "cuda" => Place::Cuda(0).open(None),
        _ => Err(anyhow::anyhow!("it is not one of {}", BACKENDS.join(", "))),
    };
    opened.with_context(|| format!("[training] backend = \"{backend}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message that a `[training]` table is refused with.
    fn refused(text: &str) -> String {
        let config: TrainingConfig = match toml::from_str(text) {
            Ok(config) => config,
            Err(error) => return error.to_string(),
        };
        format!("{:#}", config.validate().unwrap_err())
    }

    #[test]
    fn wrong_values_are_refused_with_key_value_and_what_is_allowed() {
        for (text, parts) in [
            ("epochs = 0", ["epochs = 0", "at least 1"]),
            ("batch_size = 0", ["batch_size = 0", "at least 1"]),
            ("learning_rate = 0", ["learning_rate = 0", "above 0"]),
            ("learning_rate = nan", ["learning_rate = NaN", "above 0"]),
            ("optimizer = \"lion\"", ["optimizer = \"lion\"", "adam, adamw, nadam, rmsprop, sgd"]),
            ("momentum = 0.9", ["momentum = 0.9", "sgd, rmsprop"]),
            ("optimizer = \"sgd\"\nmomentum = 1.0", ["momentum = 1", "below 1"]),
            ("optimizer = \"sgd\"\nnesterov = true", ["nesterov = true", "momentum"]),
            ("optimizer = \"sgd\"\nepsilon = 1e-3", ["epsilon = 0.001", "adam, adamw, nadam, rmsprop"]),
            ("beta_1 = 1.5", ["beta_1 = 1.5", "below 1"]),
            ("rho = 0.5", ["rho = 0.5", "rmsprop"]),
            ("epsilon = 0.0", ["epsilon = 0", "above 0"]),
            ("weight_decay = -1.0", ["weight_decay = -1", "at least 0"]),
            ("l2 = -0.1", ["l2 = -0.1", "at least 0"]),
            ("clip_norm = 0.0", ["clip_norm = 0", "above 0"]),
            ("clip_norm = 1.0\nclip_value = 1.0", ["clip_norm and clip_value", "give one"]),
            ("schedule = \"linear\"", ["schedule = \"linear\"", "constant, step, cosine, one-cycle, plateau"]),
            ("schedule = \"step\"", ["schedule = \"step\"", "[training.step]"]),
            ("[step]\nepochs = 2\nfactor = 0.5", ["[training.step]", "schedule = \"step\""]),
            ("schedule = \"step\"\n[step]\nepochs = 0\nfactor = 0.5", ["step.epochs = 0", "at least 1"]),
            ("schedule = \"step\"\n[step]\nepochs = 1\nfactor = 1.5", ["step.factor = 1.5", "below 1"]),
            ("schedule = \"plateau\"\n[plateau]\nfactor = 0.0", ["plateau.factor = 0", "below 1"]),
            ("schedule = \"plateau\"\n[plateau]\nmin_learning_rate = 1.0", ["plateau.min_learning_rate = 1", "0.001"]),
            ("schedule = \"one-cycle\"\nwarmup_epochs = 1", ["warmup_epochs = 1", "one-cycle"]),
            ("warmup_epochs = 10", ["warmup_epochs = 10", "below epochs"]),
            ("loss = \"hinge\"", ["loss = \"hinge\"", "categorical, sparse, binary"]),
            ("label_smoothing = 1.0", ["label_smoothing = 1", "below 1"]),
            ("class_weights = \"equal\"", ["class_weights = \"equal\"", "\"balanced\""]),
            ("[class_weights]\ncat = -1.0", ["class_weights.cat = -1", "above 0"]),
            ("monitor = \"f1\"", ["f1", "val_accuracy"]),
            ("keep = \"all\"", ["all", "best"]),
            ("[early_stopping]\nmin_delta = 0.1", ["early_stopping", "patience"]),
            ("[early_stopping]\npatience = 1\nmin_delta = -0.1", ["early_stopping.min_delta = -0.1", "at least 0"]),
            ("checkpoint_minutes = -1.0", ["checkpoint_minutes = -1", "at least 0"]),
            ("backend = \"tpu\"", ["backend = \"tpu\"", "flex, ndarray, wgpu, cuda"]),
            ("devices = [\"tpu:0\"]", ["devices", "tpu:0"]),
            ("backend = \"ndarray\"\ndevices = [\"cpu:0\"]", ["backend = \"ndarray\"", "give one"]),
        ] {
            let message = refused(text);
            assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
        }
    }

    #[cfg(not(feature = "wgpu"))]
    #[test]
    fn a_backend_that_is_not_built_in_names_the_command() {
        let config: TrainingConfig = toml::from_str("backend = \"wgpu\"").unwrap();
        config.validate().unwrap();
        let message = format!("{:#}", config.main_device().unwrap_err());
        assert!(message.contains("backend = \"wgpu\"") && message.contains("--features wgpu"), "{message}");
    }

    #[test]
    fn early_stopping_keeps_the_best_unless_told_otherwise() {
        let kept = |text: &str| toml::from_str::<TrainingConfig>(text).unwrap().kept();
        assert_eq!(kept(""), Keep::Last);
        assert_eq!(kept("keep = \"best\""), Keep::Best);
        assert_eq!(kept("[early_stopping]\npatience = 2"), Keep::Best);
        assert_eq!(kept("keep = \"last\"\n[early_stopping]\npatience = 2"), Keep::Last);
    }

    #[test]
    fn a_configuration_survives_its_text() {
        let text = "optimizer = \"sgd\"\nmomentum = 0.9\nnesterov = true\nschedule = \"plateau\"\n[plateau]\npatience = 3\n\
                    [class_weights]\ncat = 2.0\n[early_stopping]\npatience = 4\n";
        let config: TrainingConfig = toml::from_str(text).unwrap();
        config.validate().unwrap();
        assert_eq!(toml::from_str::<TrainingConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    }
}
