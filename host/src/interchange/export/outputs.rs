//! Inputs and what Ocelli computes of them, to hold another runtime to.

use super::{Format, Source};
use crate::compile::{Options, Passes, Target, compile};
use crate::data::Dataset;
use crate::model::{ModelBytes, quantize_pixels, run_observed};
use crate::network::{INPUT, Network};
use crate::quantize::{QuantParams, QuantizedNetwork};
use crate::train::{Classifier, device};
use anyhow::{Context, bail, ensure};
use burn::tensor::{Tensor, TensorData};
use ocelli::ir::Shape;
use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use std::collections::BTreeMap;

/// Seed of the noise.
const SEED: u64 = 21;

/// Inputs of an exported file in the order of its own values, and the outputs of Ocelli.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outputs {
    /// The format.
    pub format: String,
    /// How many inputs are pictures; those behind them are noise.
    pub pictures: usize,
    /// A step of the output, for a format of integers: the unit of `outputs` there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<f32>,
    /// One list an input.
    pub inputs: Vec<Vec<f32>>,
    /// One list an input.
    pub outputs: Vec<Vec<f32>>,
    /// What each layer of a quantized network makes of the first input, in int8 and H, W, C order; none of a large network.
    pub layers: BTreeMap<String, Vec<i8>>,
}

/// Most values of layers that are written.
const LAYER_VALUES: usize = 1 << 20;

impl Outputs {
    /// Runs pictures and as many inputs of noise (`count` where there are no pictures) through the network that a file holds: the float
    /// one by Burn, the quantized one by the runtime that devices have.
    ///
    /// # Errors
    /// When there is no such form of the network, or the pictures are of another size.
    pub fn compute(source: &Source, format: Format, pictures: Option<&Dataset>, count: usize) -> anyhow::Result<Self> {
        let pictures = pictures.map_or_else(Vec::new, |set| (0..set.len().min(count)).map(|i| set.input(i)).collect());
        match format {
            Format::Onnx => Self::float(source, &pictures, count),
            Format::OnnxQdq | Format::Tflite => Self::quantized(source, format, &pictures, count),
            Format::Ocelli | Format::CArray => {
                bail!("--with-outputs is for formats of other runtimes: onnx, onnx-qdq, tflite")
            }
        }
    }

    fn float(source: &Source, pictures: &[&[u8]], count: usize) -> anyhow::Result<Self> {
        let (network, weights, _) = source.float()?;
        let (shape, flex) = (network.input.shape, device("flex")?);
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let noise: Vec<Vec<u8>> = (0..count).map(|_| noise(shape, &mut rng)).collect();
        let all = pictures.iter().copied().chain(noise.iter().map(Vec::as_slice));
        let inputs: Vec<Vec<f32>> = all.map(|pixels| normalized(&network, pixels)).collect();
        let module = Classifier::new(&network, &weights, &flex)?;
        let outputs = inputs.iter().map(|input| probabilities(&module, shape, input)).collect::<anyhow::Result<_>>()?;
        let (format, pictures) = (Format::Onnx.to_string(), pictures.len());
        Ok(Self { format, pictures, step: None, inputs, outputs, layers: BTreeMap::new() })
    }

    fn quantized(source: &Source, format: Format, pictures: &[&[u8]], count: usize) -> anyhow::Result<Self> {
        let network = source.quantized()?;
        let shape = network.input_shape;
        let is_picture = network.picture.is_some() || pictures.is_empty();
        ensure!(is_picture, "the network's input of {shape} is no picture: leave out --data");
        let (model, last) = (source.compiled()?, network.params_of(network.layers.len()));
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let view = model.model()?;
        let seen = pictures.iter().map(|pixels| quantize_pixels(&view, pixels));
        // noise over the whole range, which pixels may not reach
        let noise = (0..count).map(|_| Ok(noise(shape, &mut rng).into_iter().map(u8::cast_signed).collect()));
        let frames: Vec<Vec<i8>> = seen.chain(noise).collect::<anyhow::Result<_>>()?;
        let scores: Vec<Vec<i8>> = model.with_session(|session| {
            let run = |frame: &Vec<i8>| Ok(session.run_frame(frame).context("the frame has the wrong size")?.to_vec());
            frames.iter().map(run).collect()
        })?;
        let layers = layers(&network, frames.first().context("there is no input")?)?;
        let (format, pictures) = (format.to_string(), pictures.len());
        if format == Format::Tflite.to_string() {
            let [inputs, outputs] = [&frames, &scores].map(|lists| lists.iter().map(|list| plain(list)).collect());
            return Ok(Self { format, pictures, step: None, inputs, outputs, layers });
        }
        let inputs = frames.iter().map(|frame| turned(&real(frame, network.input), shape)).collect();
        let outputs = scores.iter().map(|scores| real(scores, last)).collect();
        Ok(Self { format, pictures, step: Some(last.scale), inputs, outputs, layers })
    }
}

/// What every layer makes of a frame, of a network that is compiled with each of them apart.
fn layers(network: &QuantizedNetwork, frame: &[i8]) -> anyhow::Result<BTreeMap<String, Vec<i8>>> {
    let values: usize =
        network.layers.iter().filter_map(|layer| layer.node.output.elements()).map(|n| n as usize).sum();
    if values > LAYER_VALUES {
        return Ok(BTreeMap::new());
    }
    let options = Options { target: Target::HOST, passes: Passes::NONE };
    let model = ModelBytes::new(&compile(network, options)?);
    let outputs = model.with_session(|session| run_observed(session, frame))?;
    let of_operators: BTreeMap<&str, Vec<i8>> = model.model()?.names().zip(outputs).collect();
    let input = std::iter::once((INPUT.to_owned(), frame.to_vec()));
    let named = network.layers.iter().filter_map(|layer| {
        let name = layer.node.name.as_str();
        Some((name.to_owned(), of_operators.get(name)?.clone()))
    });
    Ok(input.chain(named).collect())
}

fn noise(shape: Shape, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut values = vec![0; shape.elements().unwrap_or(0) as usize];
    rng.fill_bytes(&mut values);
    values
}

fn real(values: &[i8], of: QuantParams) -> Vec<f32> {
    values.iter().map(|&q| of.scale * (i32::from(q) - of.zero_point) as f32).collect()
}

fn plain(values: &[i8]) -> Vec<f32> {
    values.iter().map(|&q| f32::from(q)).collect()
}

/// A picture as the float network takes it, in ONNX's order (C, H, W).
fn normalized(network: &Network, pixels: &[u8]) -> Vec<f32> {
    let channels = network.input.color.channels() as usize;
    let values: Vec<f32> =
        pixels.iter().enumerate().map(|(at, &v)| network.input.normalize(at % channels, v)).collect();
    turned(&values, network.input.shape)
}

/// From H, W, C to ONNX's C, H, W.
fn turned(values: &[f32], shape: Shape) -> Vec<f32> {
    let channels = shape.c as usize;
    (0..channels).flat_map(|channel| values.iter().skip(channel).step_by(channels.max(1)).copied()).collect()
}

/// The softmax of Burn's logits, of an input in ONNX's order.
fn probabilities(module: &Classifier, shape: Shape, input: &[f32]) -> anyhow::Result<Vec<f32>> {
    let dims = [1, shape.c as usize, shape.h as usize, shape.w as usize];
    let x = Tensor::<4>::from_data(TensorData::new(input.to_vec(), dims), &device("flex")?);
    let logits: Vec<f32> = module.forward(x).into_data().iter::<f32>().collect();
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let all: Vec<f64> = logits.iter().map(|&v| f64::from(v - largest).exp()).collect();
    let sum: f64 = all.iter().sum();
    Ok(all.iter().map(|v| (v / sum) as f32).collect())
}
