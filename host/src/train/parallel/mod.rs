//! One training on several devices: each computes the gradients of its part of a batch; their mean is made on the main device, which
//! takes the step.
//!
//! That is Burn's multi-device strategy, which needs no collectives. Parts are weighed by their images, so that it does not matter how a
//! batch is divided; answers are added up in the order of the devices, so that it does not matter which one is first. What a network
//! computes over a batch is computed over each part: the statistics of a batch norm, whose running ones are averaged like gradients.

mod flat;
mod replica;
#[cfg(test)]
mod tests;

pub(super) use replica::Blueprint;

use self::flat::{Scatter, numbers};
use self::replica::{Replica, Share, Task};
use super::config::TrainingConfig;
use super::loss::Criterion;
use super::module::Classifier;
use super::place::Place;
use super::source::Batch;
use super::step::Found;
use anyhow::ensure;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use std::ops::Range;
use std::sync::Arc;

/// A device that does not answer any more.
#[derive(Debug, thiserror::Error)]
#[error("the device {place} was lost: {reason}")]
pub(super) struct Lost {
    pub place: Place,
    pub reason: String,
}

/// A copy of the network on each of several devices.
pub(super) struct Replicas {
    all: Vec<Replica>,
}

impl Replicas {
    /// Opens the devices of a configuration; nothing where the main device is the only one.
    ///
    /// # Errors
    /// When a device cannot be opened.
    pub fn open(config: &TrainingConfig, blueprint: Blueprint) -> anyhow::Result<Option<Self>> {
        let places = config.places()?;
        if places.len() <= 1 && !places.iter().any(Place::is_remote) {
            return Ok(None);
        }
        let blueprint = Arc::new(blueprint);
        let open = |(index, place): (usize, Place)| {
            let device = place.open(config.token.as_ref())?;
            Replica::start(index as u64, place, device, Arc::clone(&blueprint))
        };
        Ok(Some(Self { all: places.into_iter().enumerate().map(open).collect::<anyhow::Result<_>>()? }))
    }

    /// The gradients of a batch for a module on the main device, whose running statistics move as far as the copies' did.
    ///
    /// # Errors
    /// [`Lost`], when a device does not answer.
    pub fn find(
        &self,
        module: &Classifier,
        criterion: &Criterion,
        batch: &Batch,
        seed: u64,
        device: &Device,
    ) -> anyhow::Result<Found> {
        let images = batch.targets.len();
        let targets = criterion.targets(batch);
        let classes = targets.len() / images.max(1);
        let numbers = Arc::new(numbers(module)?);
        let parts = divided(images, self.all.len());
        let busy: Vec<(&Replica, &Range<usize>)> = self.all.iter().zip(&parts).filter(|(_, p)| !p.is_empty()).collect();
        for (replica, part) in &busy {
            replica.give(Task {
                numbers: Arc::clone(&numbers),
                inputs: batch.inputs.part(part, images),
                targets: TensorData::new(
                    targets[part.start * classes..part.end * classes].to_vec(),
                    [part.len(), classes],
                ),
                seed,
            })?;
        }
        let shares: Vec<Share> = busy.iter().map(|(replica, _)| replica.take()).collect::<anyhow::Result<_>>()?;
        mean(module, &shares, images, classes, device)
    }
}

/// Divides images into parts in their order, whose sizes differ by one at most.
fn divided(images: usize, parts: usize) -> Vec<Range<usize>> {
    let end = |part: usize| images * part / parts.max(1);
    (0..parts).map(|part| end(part)..end(part + 1)).collect()
}

/// The mean of the parts by their images.
fn mean(
    module: &Classifier,
    shares: &[Share],
    images: usize,
    classes: usize,
    device: &Device,
) -> anyhow::Result<Found> {
    let [first, ..] = shares else { anyhow::bail!("a batch without images") };
    let alike = |share: &&Share| {
        share.present == first.present
            && share.gradients.len() == first.gradients.len()
            && share.statistics.len() == first.statistics.len()
    };
    ensure!(shares.iter().filter(alike).count() == shares.len(), "the devices gave gradients of different tensors");
    // whole numbers of images as weights: values that are the same everywhere stay as they are
    let weighed = |value: &dyn Fn(&Share) -> f64| {
        shares.iter().map(|share| value(share) * share.images as f64).sum::<f64>() / images.max(1) as f64
    };
    let statistics: Vec<f32> =
        (0..first.statistics.len()).map(|i| weighed(&|share| f64::from(share.statistics[i])) as f32).collect();
    move_statistics(module, &statistics);
    let mut sum: Option<Tensor<1>> = None;
    for share in shares {
        let part = Tensor::<1>::from_data(TensorData::new(share.gradients.clone(), [share.gradients.len()]), device);
        let part = part.mul_scalar(share.images as f64 / images.max(1) as f64);
        sum = Some(match sum {
            Some(sum) => sum + part,
            None => part,
        });
    }
    let mut gradients = GradientsParams::new();
    if let Some(flat) = sum {
        module.visit(&mut Scatter::new(flat, &first.present, &mut gradients));
    }
    Ok(Found {
        loss: weighed(&|share| f64::from(share.loss)) as f32,
        logits: shares.iter().flat_map(|share| &share.logits).copied().collect(),
        classes,
        gradients,
    })
}

/// Sets the running statistics of all batch norms: mean and variance of each, norm after norm.
fn move_statistics(module: &Classifier, mut values: &[f32]) {
    for state in module.norms().iter().flat_map(|norm| [&norm.running_mean, &norm.running_var]) {
        let old = state.value_sync();
        let Some((new, rest)) = values.split_at_checked(old.dims()[0]) else { return };
        values = rest;
        state.update(Tensor::from_data(TensorData::new(new.to_vec(), [new.len()]), &old.device()));
    }
}
