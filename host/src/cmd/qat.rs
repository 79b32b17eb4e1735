//! The part of `ocelli train` and `ocelli finetune` that is aware of quantization.

use super::compile::calibrate;
use super::train::write;
use super::ui::{TrainingBar, percent};
use anyhow::{Context, bail};
use ocelli_host::config::Config;
use ocelli_host::data::Dataset;
use ocelli_host::network::Network;
use ocelli_host::quantize::{Accuracies, Method, TrainedRanges, quantize};
use ocelli_host::run::{RunFolder, names};
use ocelli_host::train::{
    AwareStart, BatchReport, Best, Checkpoint, Disk, End, Hooks, Keep, Material, Outcome, Past, Phase, aware_phase,
    device, evaluate, int8_score, quantize_aware,
};
use std::sync::atomic::AtomicBool;

/// Where a training is written.
pub struct Place<'a> {
    /// The run folder.
    pub folder: &'a RunFolder,
    /// Whether the training in it is gone on with.
    pub resumes: bool,
}

impl Place<'_> {
    /// The checkpoint of epochs in int8 that are gone on with.
    fn checkpoint(&self, config: &Config) -> anyhow::Result<Option<Checkpoint>> {
        let found = if self.resumes { Checkpoint::find(self.folder.path(), Phase::Int8)? } else { None };
        let Some(checkpoint) = found else { return Ok(None) };
        let Err(other) = checkpoint.check_quantization(&config.quantization) else { return Ok(Some(checkpoint)) };
        if checkpoint.is_over() {
            eprintln!("note: the epochs in int8 are done, but with another [quantization]: they begin anew");
            return Ok(None);
        }
        bail!("{other}, or remove {} to begin the epochs in int8 anew", Phase::Int8.file(self.folder.path()).display())
    }
}

/// Trains what `outcome` holds on in int8, where the configuration asks for it and the float training came to its end; `outcome` then
/// holds both. Returns the intervals that belong to the weights.
pub fn train_on(
    config: &Config,
    network: &Network,
    training: Option<&Dataset>,
    material: &Material<'_>,
    outcome: &mut Outcome,
    place: &Place<'_>,
    stop: &AtomicBool,
) -> anyhow::Result<Option<TrainedRanges>> {
    if config.quantization.quantize == Method::Ptq || matches!(outcome.end, End::Interrupted { .. }) {
        return Ok(None);
    }
    let training = training.context(
        "[quantization] quantize = \"qat\" needs the training images in memory: raise [dataset] memory, or use \"ptq\"",
    )?;
    let resume = place.checkpoint(config)?;
    // what is there when the epochs in int8 are cut short
    write(place.folder, config, network, &training.labels, (&outcome.weights, &outcome.history))?;
    let (calibration, calibrator) = calibrate(network, &outcome.weights, training, &config.quantization)?;
    let validation = material.validation;
    let quantized = quantize(network, &outcome.weights, &calibration, &training.labels)?;
    let mut accuracy = Accuracies {
        float: evaluate(network, &outcome.weights, validation, &device(&config.training.backend)?)?.score.accuracy,
        ptq: int8_score(&quantized, validation)?.accuracy,
        qat: 0.0,
    };
    let phase = aware_phase(&config.training, &config.quantization);
    let rule = config.quantization.ranges;
    let before = outcome.history.rows.last().map_or((0, 0.0), |row| (row.epoch, row.seconds));
    let epochs = before.0 + phase.epochs;
    eprintln!("training on in int8: epochs {} to {epochs}", before.0 + 1);
    let bar = TrainingBar::new(epochs, training.len());
    let mut on_batch = |report: BatchReport| bar.update(report);
    let text = place.folder.config_text(config)?;
    let disk = Some(Disk { folder: place.folder.path(), config: &text, resume });
    let hooks = Hooks { on_batch: &mut on_batch, stop, disk };
    let past = Past { epochs: before.0, steps: outcome.steps };
    let start = AwareStart { weights: &outcome.weights, calibration, calibrator, rule, past };
    let aware = quantize_aware(network, &phase, &start, material, hooks);
    bar.finish();
    let aware = aware?;
    if let End::Interrupted { epochs, batches } = aware.end {
        // the folder keeps the float weights until the epochs in int8 are done
        outcome.end = End::Interrupted { epochs: before.0 + epochs, batches };
        return Ok(None);
    }
    accuracy.qat = aware.accuracy;
    let later = aware.best.map(|best| Best { epoch: best.epoch + before.0, ..best });
    let better = |later: Best| outcome.best.is_none_or(|best| phase.monitor.better(later.value, best.value, 0.0));
    if later.is_some_and(|later| outcome.kept == Keep::Best || better(later)) {
        outcome.best = later;
    }
    outcome.history.rows.extend(aware.history.rows.into_iter().map(|mut row| {
        row.epoch += before.0;
        row.seconds += before.1;
        row
    }));
    outcome.weights = aware.weights;
    Ok(Some(TrainedRanges { calibration: aware.calibration, accuracy }))
}

/// Writes the intervals beside the weights that [`train_on`] left, and says what they are worth.
pub fn keep(folder: &RunFolder, ranges: Option<&TrainedRanges>) -> anyhow::Result<()> {
    if let Some(ranges) = ranges {
        ranges.write(&folder.file(names::RANGES))?;
        println!("{}", in_words(&ranges.accuracy));
    }
    Ok(())
}

/// The accuracies in words.
pub fn in_words(accuracy: &Accuracies) -> String {
    let Accuracies { float, ptq, qat } = accuracy;
    format!(
        "accuracy on the validation images: float {}, int8 {}, int8 after training in int8 {}",
        percent(*float),
        percent(*ptq),
        percent(*qat)
    )
}
