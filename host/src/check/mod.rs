//! The judgement: Burn, tract, the runtime on the host and the runtime on an emulated chip, side by side, layer by layer.

mod calibrators;
mod constants;
mod device;
mod float;
pub mod golden;
mod layers;
pub mod onnx_nodes;
mod report;
pub mod tract;
pub mod vectors;

pub use calibrators::{Chosen, Judge, Judgement, Trial, best, choose, compare, leaves_open, quantize_best};
pub use constants::ConstantsCheck;
pub use device::{DeviceCheck, DeviceOutcome, PhotoRun, not_available, run_device, run_firmware, run_photos};
pub use float::FloatCheck;
pub(crate) use layers::observe;
pub use layers::{LayerCheck, OBSERVED_IMAGES};
pub use report::{Row, Status};

use crate::data::{Dataset, ImageSource};
use crate::interchange::onnx::INPUT;
use crate::interchange::qdq::int8_name;
use crate::model::{ModelBytes, classify, probabilities, quantize_pixels};
use crate::report::quantization::{QuantizationError, quantization_error};
use crate::run::Bundle;
use crate::train::argmax;
use anyhow::{Context, ensure};
use rayon::prelude::*;
use serde::Serialize;

/// Largest difference of a logit between Burn and tract.
pub const FLOAT_TOLERANCE: f64 = 1e-4;
/// Largest difference of an int8 value between a layer of the runtime and tract's.
pub const STEP_TOLERANCE: u32 = 1;

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Images that were run.
    pub images: usize,
    /// Burn's logits against tract's.
    pub float: FloatCheck,
    /// The model file's constants against the quantized network's, and those against the float weights.
    pub constants: ConstantsCheck,
    /// Each layer on the same inputs.
    pub layers: Vec<LayerCheck>,
    /// The whole network in int8.
    pub network: NetworkCheck,
    /// Each layer in int8 against the float network: what quantization costs.
    pub quantization: QuantizationError,
    /// The emulated chip against the host; `None` when it was not asked for.
    pub device: Option<DeviceOutcome>,
}

/// The int8 runtime against tract running the same quantized network.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkCheck {
    /// Share of images on which both name the same class.
    pub agreement: f64,
    /// Share of images on which the int8 runtime and the float network name the same class.
    pub float_agreement: f64,
    /// Largest difference of a score, in steps of 1/256.
    pub max_steps: u32,
    /// What the float ends of the quantized ONNX file do that the model does not; `None` when nothing.
    pub ends: Option<String>,
    /// Accuracy of the int8 runtime.
    pub runtime_accuracy: f64,
    /// Accuracy of the quantized network in tract.
    pub tract_accuracy: f64,
    /// The runtime's scores, `[n, classes]`.
    #[serde(skip)]
    pub scores: Vec<i8>,
}

impl CheckReport {
    /// Whether nothing that was run disagrees.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.rows().iter().all(|row| row.status != Status::Failed)
    }
}

/// Runs the emulated chip on the images of a set.
pub type DeviceRunner<'a> = &'a mut dyn FnMut(&Dataset) -> anyhow::Result<DeviceOutcome>;

/// Compares everything about a model; `device` runs the emulated chip, and `progress` hears what is going on.
///
/// # Errors
/// When a reference file is missing or broken, or the data does not fit the model.
pub fn run(
    bundle: &Bundle,
    data: &Dataset,
    device: Option<DeviceRunner<'_>>,
    progress: &mut dyn FnMut(&str),
) -> anyhow::Result<CheckReport> {
    ensure!(!data.is_empty(), "there are no images to check on");
    let labels: Vec<String> = bundle.model.model()?.labels().map(str::to_owned).collect();
    ensure!(
        labels == data.labels,
        "the model's labels ({}) are not the dataset's ({})",
        labels.join(", "),
        data.labels.join(", ")
    );
    progress("Burn float vs tract float");
    let float = float::check(bundle, data)?;
    progress("constants of the model file");
    let constants = constants::check(bundle)?;
    progress("each layer vs tract, same inputs");
    let layers = layers::check(bundle, data)?;
    progress("int8 runtime vs tract int8");
    let network = check_network(bundle, data, &float.logits)?;
    progress("each layer, int8 vs float");
    let quantization = quantization_error(bundle, data, format!("{} images", data.len().min(OBSERVED_IMAGES)))?;
    let device = match device {
        Some(run) => {
            progress("emulated chip vs host");
            Some(run(data)?)
        }
        None => None,
    };
    Ok(CheckReport { images: data.len(), float, constants, layers, network, quantization, device })
}

/// Compares the runtime with tract; `logits` are the float network's.
fn check_network(bundle: &Bundle, data: &Dataset, logits: &[f32]) -> anyhow::Result<NetworkCheck> {
    let scores = scores(&bundle.model, data)?;
    let model = bundle.model.model()?;
    let last = model.names().last().context("the model has no operators")?;
    let tract = tract::TractModel::new(&bundle.qdq, &int8_name(INPUT), &int8_name(last))?;
    let reference: Vec<Vec<i8>> = (0..data.len())
        .into_par_iter()
        .map(|i| tract.run_i8(&quantize_pixels(&model, data.input(i))?))
        .collect::<anyhow::Result<_>>()?;
    let classes = data.labels.len();
    ensure!(reference.iter().all(|r| r.len() == classes), "the quantized network has another number of scores");
    let (mut agree, mut runtime_right, mut tract_right, mut max_steps) = (0, 0, 0, 0);
    for ((ours, theirs), &target) in scores.chunks_exact(classes).zip(&reference).zip(&data.targets) {
        agree += usize::from(argmax(ours) == argmax(theirs));
        runtime_right += usize::from(argmax(ours) == target);
        tract_right += usize::from(argmax(theirs) == target);
        max_steps = max_steps.max(largest_difference(ours, theirs).0);
    }
    let share = |count: usize| count as f64 / data.len() as f64;
    let same = scores.chunks_exact(classes).zip(logits.chunks_exact(classes)).filter(|(a, b)| argmax(a) == argmax(b));
    Ok(NetworkCheck {
        agreement: share(agree),
        float_agreement: share(same.count()),
        max_steps,
        ends: check_ends(bundle, data, &reference)?,
        runtime_accuracy: share(runtime_right),
        tract_accuracy: share(tract_right),
        scores,
    })
}

/// Images on which the float ends of the quantized ONNX file are run.
const END_IMAGES: usize = 50;

/// Runs what lies outside the int8 part of the quantized ONNX file: the quantization of the input must be the model's table within
/// one step (a tie may be rounded otherwise), and the float output must be the scores as probabilities.
fn check_ends(bundle: &Bundle, data: &Dataset, scores: &[Vec<i8>]) -> anyhow::Result<Option<String>> {
    let model = bundle.model.model()?;
    let last = model.names().last().context("the model has no operators")?;
    let first = tract::TractModel::new(&bundle.qdq, INPUT, &int8_name(INPUT))?;
    let end = tract::TractModel::new(&bundle.qdq, &int8_name(last), float::output_name(&bundle.qdq)?)?;
    for (i, scores) in scores.iter().enumerate().take(END_IMAGES) {
        let quantized = first.run_f32_to_i8(&float::normalized(bundle, data, i))?;
        let (steps, _) = largest_difference(&quantized, &quantize_pixels(&model, data.input(i))?);
        if steps > STEP_TOLERANCE {
            return Ok(Some(format!("image '{}': its input is {steps} steps from the model's table", data.names[i])));
        }
        let (output, expected) = (end.run_i8_to_f32(scores)?, probabilities(scores));
        let equal = output.len() == expected.len() && output.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6);
        if !equal {
            return Ok(Some(format!("image '{}': the output is {output:?} for scores of {expected:?}", data.names[i])));
        }
    }
    Ok(None)
}

/// The int8 scores of every image on the host, `[n, classes]`.
///
/// # Errors
/// When the model is refused or the images do not fit it.
pub fn scores(model: &ModelBytes, data: &dyn ImageSource) -> anyhow::Result<Vec<i8>> {
    let chunk = data.len().div_ceil(rayon::current_num_threads()).max(1);
    let indices: Vec<usize> = (0..data.len()).collect();
    let parts: Vec<Vec<i8>> = indices
        .par_chunks(chunk)
        .map(|part| {
            model.with_session(|session| {
                let mut scores = Vec::new();
                let mut pixels = vec![0; data.image_len()];
                for &i in part {
                    data.pixels(i, &mut pixels)?;
                    scores.extend(classify(session, &pixels)?);
                }
                Ok(scores)
            })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(parts.concat())
}

/// The largest difference of two tensors in steps, and how many values differ.
#[must_use]
pub fn largest_difference(a: &[i8], b: &[i8]) -> (u32, usize) {
    let differences = a.iter().zip(b).map(|(x, y)| u32::from(x.abs_diff(*y)));
    let (largest, count) = differences.fold((0, 0), |(largest, count), d| (d.max(largest), count + usize::from(d > 0)));
    if a.len() == b.len() { (largest, count) } else { (u32::MAX, a.len().max(b.len())) }
}
