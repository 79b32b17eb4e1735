//! The part of `ocelli train` and `ocelli finetune` that is aware of quantization.

use super::quantize::calibrate;
use super::train::write;
use super::ui::{TrainingBar, percent};
use anyhow::bail;
use ocelli_host::config::Config;
use ocelli_host::data::{ImageSet, ImageSource};
use ocelli_host::network::Network;
use ocelli_host::quantize::{Accuracies, Method, TrainedRanges, quantize};
use ocelli_host::run::{RunFolder, names};
use ocelli_host::train::{
    AwareStart, Best, Checkpoint, Disk, End, Hooks, Keep, Material, Outcome, Past, Phase, aware_phase, evaluate,
    int8_score, quantize_aware,
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
/// holds both, or stays as it is where the int8 network was better before. Returns the intervals that belong to the weights.
pub fn train_on(
    config: &Config,
    network: &Network,
    training: &ImageSet,
    material: &Material<'_>,
    outcome: &mut Outcome,
    place: &Place<'_>,
    stop: &AtomicBool,
) -> anyhow::Result<Option<TrainedRanges>> {
    if config.quantization.quantize == Method::Ptq || matches!(outcome.end, End::Interrupted { .. }) {
        return Ok(None);
    }
    let resume = place.checkpoint(config)?;
    // what is there when the epochs in int8 are cut short
    if !resume.as_ref().is_some_and(Checkpoint::is_over) {
        write(place.folder, config, network, training.labels(), (&outcome.weights, &outcome.history))?;
    }
    let (calibration, calibrator) = calibrate(network, &outcome.weights, training, &config.quantization)?;
    let validation = material.validation;
    let quantized = quantize(network, &outcome.weights, &calibration, training.labels())?;
    let mut accuracy = Accuracies {
        float: evaluate(network, &outcome.weights, validation, &config.training.main_device()?)?.score.accuracy,
        ptq: int8_score(&quantized, validation)?.accuracy,
        qat: 0.0,
    };
    let phase = aware_phase(&config.training, &config.quantization);
    let rule = config.quantization.ranges;
    let before = outcome.history.rows.len();
    let epochs = before + phase.epochs;
    eprintln!("training on in int8: epochs {} to {epochs}", before + 1);
    let mut bar = TrainingBar::new(epochs, training.len());
    let text = place.folder.config_text(config)?;
    let disk = Some(Disk { folder: place.folder.path(), config: &text, resume });
    let hooks = Hooks { observer: &mut bar, stop, disk };
    let past = Past { steps: outcome.steps, history: outcome.history.clone() };
    let start = AwareStart { weights: &outcome.weights, calibration, calibrator, rule, past };
    let aware = quantize_aware(network, &phase, &start, material, hooks);
    bar.finish();
    let aware = aware?;
    if let End::Interrupted { epochs, batches } = aware.end {
        // the folder keeps the float weights until the epochs in int8 are done
        outcome.end = End::Interrupted { epochs: before + epochs, batches };
        return Ok(None);
    }
    if aware.accuracy < accuracy.ptq {
        eprintln!(
            "warning: the epochs in int8 brought {} of the validation images, the network before them had {} in int8: that one is kept, as it \
             was; lower qat_learning_rate ({}) and resume",
            percent(aware.accuracy),
            percent(accuracy.ptq),
            phase.learning_rate
        );
        accuracy.qat = accuracy.ptq;
        return Ok(Some(TrainedRanges { calibration: start.calibration, accuracy }));
    }
    accuracy.qat = aware.accuracy;
    let later = aware.best.map(|best| Best { epoch: best.epoch + before, ..best });
    let better = |later: Best| outcome.best.is_none_or(|best| phase.monitor.better(later.value, best.value, 0.0));
    if later.is_some_and(|later| outcome.kept == Keep::Best || better(later)) {
        outcome.best = later;
    }
    outcome.history = start.past.then(&aware.history.rows);
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
