//! Every operator of a model file on its own, fed the same inputs as the same layer in tract.

use super::largest_difference;
use super::tract::TractModel;
use crate::compile::{Passes, plan};
use crate::data::Dataset;
use crate::interchange::onnx::INPUT;
use crate::interchange::qdq::int8_name;
use crate::model::{ModelBytes, quantize_pixels, run_observed};
use crate::run::Bundle;
use anyhow::{Context, ensure};
use ocelli::model::Model;
use ocelli::model::records::{NO_INPUT, NONE, OpRecord, flag};
use ocelli::model::write::{ModelFile, OpEntry};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use serde::Serialize;

/// Images whose activations are fed to each layer.
const IMAGES: usize = 16;
/// Frames of noise over the whole int8 range fed to each layer: they reach weights that images leave alone.
const NOISE_FRAMES: usize = 16;
/// Seed of the noise.
const NOISE_SEED: u64 = 11;

/// One layer against tract's.
#[derive(Clone, Debug, Serialize)]
pub struct LayerCheck {
    /// Name of the layer.
    pub name: String,
    /// Values compared.
    pub values: usize,
    /// Values that differ.
    pub differing: usize,
    /// Largest difference in steps.
    pub max_steps: u32,
    /// Whether the layer on its own computes something else than inside the whole network.
    pub differs_in_place: bool,
}

pub(super) fn check(bundle: &Bundle, data: &Dataset) -> anyhow::Result<Vec<LayerCheck>> {
    let model = bundle.model.model()?;
    let names: Vec<&str> = model.names().collect();
    let activations = observe(bundle, data)?;
    (0..names.len())
        .into_par_iter()
        .map(|op| {
            let record = model.graph().ops.get(op).context("the model has fewer operators than names")?;
            let input = usize::from(record.inputs[0]);
            let source = if input == 0 { INPUT } else { names[input - 1] };
            let images = activations.iter().map(|image| (image[input].clone(), Some(&image[op + 1])));
            let frames = images.chain(noise(&model, input, op).into_iter().map(|frame| (frame, None)));
            check_layer(bundle, &model, op, [source, names[op]], frames)
                .with_context(|| format!("layer '{}'", names[op]))
        })
        .collect()
}

/// For each of the first images: the input and every operator's output.
fn observe(bundle: &Bundle, data: &Dataset) -> anyhow::Result<Vec<Vec<Vec<i8>>>> {
    bundle.model.with_session(|session| {
        (0..data.len().min(IMAGES))
            .map(|i| {
                let frame = quantize_pixels(session.model(), data.input(i))?;
                let outputs = run_observed(session, &frame)?;
                Ok(std::iter::once(frame).chain(outputs).collect())
            })
            .collect()
    })
}

fn noise(model: &Model<'_>, tensor: usize, op: usize) -> Vec<Vec<i8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(NOISE_SEED + op as u64);
    let shape = model.graph().tensors.get(tensor).map(|t| t.shape());
    let elements = shape.and_then(|s| s.elements()).unwrap_or(0);
    (0..NOISE_FRAMES).map(|_| (0..elements).map(|_| rng.random()).collect()).collect()
}

/// `frames` are the layer's inputs, with what it made of them inside the whole network where that is known.
fn check_layer<'f>(
    bundle: &Bundle,
    model: &Model<'_>,
    op: usize,
    [source, name]: [&str; 2],
    frames: impl Iterator<Item = (Vec<i8>, Option<&'f Vec<i8>>)>,
) -> anyhow::Result<LayerCheck> {
    let tract = TractModel::new(&bundle.qdq, &int8_name(source), &int8_name(name))?;
    let alone = ModelBytes::new(&isolate(model, op)?);
    let mut check =
        LayerCheck { name: name.to_owned(), values: 0, differing: 0, max_steps: 0, differs_in_place: false };
    alone.with_session(|session| {
        for (frame, in_place) in frames {
            let ours = session.run_frame(&frame).context("the layer's input has another size than its activations")?;
            let theirs = tract.run_i8(&frame)?;
            ensure!(ours.len() == theirs.len(), "{} values here, {} in tract", ours.len(), theirs.len());
            let (max_steps, differing) = largest_difference(ours, &theirs);
            check.values += ours.len();
            check.differing += differing;
            check.max_steps = check.max_steps.max(max_steps);
            check.differs_in_place |= in_place.is_some_and(|values| values != ours);
        }
        Ok(check)
    })
}

/// One operator of a model as a model of its own, constants and parameters as they are in the file.
fn isolate(model: &Model<'_>, op: usize) -> anyhow::Result<Vec<u8>> {
    let graph = model.graph();
    let record = *graph.ops.get(op).context("no such operator")?;
    let constants = model.constants(op);
    let input = *graph.tensors.get(usize::from(record.inputs[0])).context("no such tensor")?;
    let output = *graph.tensors.get(op + 1).context("no such tensor")?;
    let mut file = ModelFile {
        tensors: vec![input, output],
        ops: vec![OpEntry {
            name: model.names().nth(op).unwrap_or_default().to_owned(),
            record: OpRecord {
                inputs: [0, NO_INPUT],
                flags: record.flags & flag::TIES_UP,
                weights: NONE,
                bias: NONE,
                multipliers: NONE,
                shifts: NONE,
                accumulators: NONE,
                ..record
            },
            weights: constants.weights.to_vec(),
            bias: constants.bias.to_vec(),
            multipliers: (0..constants.multipliers.len()).map(|channel| constants.multiplier(channel)).collect(),
        }],
        labels: Vec::new(),
        input: None,
        arena_bytes: 0,
        state: 0,
        scratch: [0, 0],
        lane_bytes: model.header().lane_bytes,
    };
    for tensor in &mut file.tensors {
        tensor.last_reader = 0;
    }
    plan(&mut file, Passes::ALL)?;
    Ok(file.to_bytes()?)
}
