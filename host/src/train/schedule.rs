//! The learning rate of each step: a function of the step alone, but for the plateau schedule, which watches the epochs.

use super::config::{TrainingConfig, in_range};
use super::monitor::{Monitor, Patience};
use anyhow::{bail, ensure};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Share of the steps in which one-cycle's rate rises, its first rate and its last as shares of the highest and of the first.
const RISE: f64 = 0.3;
const FIRST: f64 = 1.0 / 25.0;
const LAST: f64 = 1e-4;

/// `[training.step]`: the rate is multiplied by `factor` every `epochs` epochs.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StepDecay {
    /// Epochs of one rate.
    pub epochs: usize,
    /// Factor to the next.
    pub factor: f64,
}

/// `[training.plateau]`: the rate is multiplied by `factor` when `patience` epochs brought nothing (Keras' `ReduceLROnPlateau`).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plateau {
    /// Factor to the next rate.
    pub factor: f64,
    /// Epochs without gain before that.
    pub patience: usize,
    /// What counts as a gain.
    pub min_delta: f64,
    /// The lowest rate.
    pub min_learning_rate: f64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 0.1, patience: 10, min_delta: 1e-4, min_learning_rate: 0.0 }
    }
}

/// The rates of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Schedule {
    kind: Kind,
    rate: f64,
    steps_an_epoch: usize,
    warmup: usize,
    steps: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Constant,
    Step(StepDecay),
    Cosine,
    OneCycle,
    Plateau(Plateau),
}

/// What the plateau schedule remembers.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct PlateauState {
    /// The rate now.
    rate: f64,
    patience: Patience,
}

impl Schedule {
    /// The schedule of a configuration whose epochs have `steps_an_epoch` steps.
    pub fn new(config: &TrainingConfig, steps_an_epoch: usize) -> anyhow::Result<Self> {
        let name = config.schedule.as_str();
        for (key, given, owner) in
            [("step", config.step.is_some(), "step"), ("plateau", config.plateau.is_some(), "plateau")]
        {
            ensure!(!given || name == owner, "[training.{key}] belongs to schedule = \"{owner}\", not to \"{name}\"");
        }
        let kind = match name {
            "constant" => Kind::Constant,
            "cosine" => Kind::Cosine,
            "one-cycle" => Kind::OneCycle,
            "step" => {
                let Some(step) = config.step else {
                    bail!("[training] schedule = \"step\" needs [training.step] with epochs and factor");
                };
                ensure!(step.epochs > 0, "[training] step.epochs = 0 must be at least 1");
                in_range("step.factor", step.factor, step.factor > 0.0 && step.factor < 1.0, "above 0 and below 1")?;
                Kind::Step(step)
            }
            "plateau" => {
                let plateau = config.plateau.unwrap_or_default();
                let Plateau { factor, min_delta, min_learning_rate: lowest, .. } = plateau;
                in_range("plateau.factor", factor, factor > 0.0 && factor < 1.0, "above 0 and below 1")?;
                in_range("plateau.min_delta", min_delta, min_delta >= 0.0, "at least 0")?;
                let allowed = format!("at least 0 and at most learning_rate ({})", config.learning_rate);
                let good = (0.0..=config.learning_rate).contains(&lowest);
                in_range("plateau.min_learning_rate", lowest, good, &allowed)?;
                Kind::Plateau(plateau)
            }
            other => {
                bail!("[training] schedule = \"{other}\" is not one of constant, step, cosine, one-cycle, plateau")
            }
        };
        let warmup = config.warmup_epochs;
        ensure!(
            warmup == 0 || kind != Kind::OneCycle,
            "[training] warmup_epochs = {warmup} must be 0 with schedule = \"one-cycle\", which has its own"
        );
        ensure!(
            warmup == 0 || warmup < config.epochs,
            "[training] warmup_epochs = {warmup} must be below epochs ({})",
            config.epochs
        );
        Ok(Self {
            kind,
            rate: config.learning_rate,
            steps_an_epoch: steps_an_epoch.max(1),
            warmup: warmup.saturating_mul(steps_an_epoch),
            steps: config.epochs.saturating_mul(steps_an_epoch).max(1),
        })
    }

    /// Whether the rates depend on the number of epochs.
    pub const fn knows_the_end(&self) -> bool {
        matches!(self.kind, Kind::Cosine | Kind::OneCycle)
    }

    /// The plateau schedule's state before the first epoch.
    pub const fn start(&self) -> PlateauState {
        PlateauState { rate: self.rate, patience: Patience::new() }
    }

    /// The rate of a step, counted from 0 over all epochs.
    pub fn rate(&self, step: usize, plateau: &PlateauState) -> f64 {
        let of = |a: usize, b: usize| a as f64 / b.max(1) as f64;
        if step < self.warmup {
            return self.rate * of(step + 1, self.warmup);
        }
        match self.kind {
            Kind::Constant => self.rate,
            Kind::Step(StepDecay { epochs, factor }) => {
                let drops = step / self.steps_an_epoch / epochs;
                self.rate * factor.powi(i32::try_from(drops).unwrap_or(i32::MAX))
            }
            Kind::Cosine => cosine(self.rate, 0.0, of(step - self.warmup, self.steps - self.warmup)),
            Kind::OneCycle => {
                // the rate is highest at the end of the rise and lowest at the last step
                let (step, last) = (step as f64, (self.steps - 1) as f64);
                let top = (RISE * self.steps as f64 - 1.0).max(0.0);
                let first = self.rate * FIRST;
                if step <= top && top > 0.0 {
                    cosine(first, self.rate, step / top)
                } else {
                    cosine(self.rate, first * LAST, ((step - top) / (last - top).max(1.0)).min(1.0))
                }
            }
            Kind::Plateau(_) => plateau.rate,
        }
    }

    /// Takes the end of an epoch (from 1) into account.
    pub fn end_epoch(&self, epoch: usize, monitor: Monitor, value: f64, state: &mut PlateauState) {
        let Kind::Plateau(plateau) = self.kind else { return };
        if epoch.saturating_mul(self.steps_an_epoch) <= self.warmup {
            return; // the rate is still rising
        }
        if state.patience.waited(monitor, value, plateau.min_delta) >= plateau.patience.max(1) {
            state.rate = (state.rate * plateau.factor).max(plateau.min_learning_rate);
            state.patience.rest();
        }
    }
}

/// From `from` to `to` along half a cosine.
fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + 0.5 * (from - to) * (1.0 + (PI * share).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(text: &str, steps_an_epoch: usize) -> Vec<f64> {
        let config: TrainingConfig = toml::from_str(text).unwrap();
        let schedule = Schedule::new(&config, steps_an_epoch).unwrap();
        let state = schedule.start();
        (0..config.epochs * steps_an_epoch).map(|step| schedule.rate(step, &state)).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-6), "{found} for {expected}");
        }
    }

    #[test]
    fn step_and_constant_rates_are_the_table() {
        assert_close(&rates("epochs = 2\nlearning_rate = 0.5", 2), &[0.5; 4]);
        let step = "epochs = 5\nlearning_rate = 0.8\nschedule = \"step\"\n[step]\nepochs = 2\nfactor = 0.5";
        assert_close(&rates(step, 2), &[0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.2, 0.2]);
    }

    #[test]
    fn cosine_begins_after_the_warm_up() {
        // half a cosine at 0, 1/4, 1/2, 3/4
        let quarter = 0.5 * (1.0 + 0.5_f64.sqrt());
        let expected = [0.25, 0.5, 0.75, 1.0, 1.0, quarter, 0.5, 1.0 - quarter];
        assert_close(&rates("epochs = 2\nlearning_rate = 1.0\nschedule = \"cosine\"\nwarmup_epochs = 1", 4), &expected);
    }

    #[test]
    fn one_cycle_is_that_of_pytorch() {
        // torch.optim.lr_scheduler.OneCycleLR(max_lr = 1, total_steps = 10, pct_start = 0.3): up to step 2, then down to step 9
        let found = rates("epochs = 10\nlearning_rate = 1.0\nschedule = \"one-cycle\"", 1);
        let anneal = |k: f64| 4e-6 + (1.0 - 4e-6) * 0.5 * (1.0 + (PI * k / 7.0).cos());
        let mut expected = vec![0.04, 0.52, 1.0];
        expected.extend((1..=7).map(|k| anneal(f64::from(k))));
        assert_close(&found, &expected);
        assert!((found[9] - 4e-6).abs() < 1e-12);
        assert!(rates("epochs = 1\nlearning_rate = 1.0\nschedule = \"one-cycle\"", 1)[0].is_finite());
    }

    #[test]
    fn a_plateau_lowers_the_rate_as_keras_does() {
        let text = "epochs = 9\nlearning_rate = 0.4\nschedule = \"plateau\"\nmonitor = \"val_loss\"\n[plateau]\nfactor = 0.5\n\
                    patience = 2\nmin_delta = 0.01\nmin_learning_rate = 0.15";
        let config: TrainingConfig = toml::from_str(text).unwrap();
        let schedule = Schedule::new(&config, 3).unwrap();
        let mut state = schedule.start();
        // better; not by enough; worse: lowered; better; worse; worse: lowered to the lowest
        let losses = [1.0, 0.995, 1.2, 0.9, 0.95, 0.96, 0.97, 0.98, 0.99];
        let expected = [0.4, 0.4, 0.2, 0.2, 0.2, 0.15, 0.15, 0.15, 0.15];
        for (epoch, (loss, expected)) in losses.into_iter().zip(expected).enumerate() {
            schedule.end_epoch(epoch + 1, config.monitor, loss, &mut state);
            assert!((schedule.rate(0, &state) - expected).abs() < 1e-12, "epoch {epoch}");
        }
    }
}
