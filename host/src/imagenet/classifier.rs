//! A network file, opened to classify pictures.

use super::opened::Opened;
use super::stated::{metadata, stated};
use super::usual::Pixels;
use super::{Crop, End, FloatModel, Style, folder, is_imagenet, labels};
use crate::compile::{Options, Target, compile};
use crate::interchange::onnx;
use crate::interchange::tflite::{self, ImportOptions, Imported};
use crate::model::ModelBytes;
use crate::network::{Network, Weights};
use crate::quantize::{QuantParams, QuantizedNetwork};
use crate::run::Trained;
use anyhow::{Context, ensure};
use ocelli::image::{InputSpec, Resize};
use ocelli::ir::Op;
use prost::Message;
use std::path::{Path, PathBuf};
use tract_onnx::pb::ModelProto;

/// What the user asks for in place of what a file says.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// A list of labels.
    pub labels: Option<PathBuf>,
    /// What pixels are.
    pub style: Option<Style>,
    /// What becomes of a picture of another size.
    pub resize: Option<Resize>,
    /// Length that the shorter side is brought to before the middle is cut out.
    pub resize_to: Option<u32>,
    /// Rows and columns of an input that the file leaves open.
    pub size: Option<[u32; 2]>,
}

/// What runs a network.
#[derive(Clone, Debug)]
pub enum Engine {
    /// tract, in float.
    Float(FloatModel),
    /// The runtime of the device.
    Int8 {
        /// The network, compiled for this computer.
        model: ModelBytes,
        /// The scale of its scores, where they are logits and not probabilities.
        logits: Option<QuantParams>,
        /// Number of classes.
        classes: usize,
    },
}

/// A network that is ready for pictures.
#[derive(Clone, Debug)]
pub struct Classifier {
    /// What runs it.
    pub engine: Engine,
    /// The input, normalization too.
    pub spec: InputSpec,
    /// The part of a picture that it sees.
    pub crop: Crop,
    /// Names of the classes; empty where nobody knows them.
    pub labels: Vec<String>,
    /// What was assumed, to tell the user.
    pub notes: Vec<String>,
}

impl Classifier {
    /// Opens an .onnx or .tflite file, float or quantized.
    ///
    /// # Errors
    /// When the file is broken or cannot be run; the error names it.
    pub fn open(path: &Path, request: &Request) -> anyhow::Result<Self> {
        let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let is_tflite = tflite::is_file(&file);
        let opened = if is_tflite { of_tflite(&file, path, request) } else { of_onnx(file, path, request) };
        opened.with_context(|| path.display().to_string())
    }

    /// The float network of a run folder.
    ///
    /// # Errors
    /// When the folder is not that of a training.
    pub fn of_run(folder: &Path, request: &Request) -> anyhow::Result<Self> {
        ensure!(
            request.style.is_none() && request.size.is_none(),
            "{}: the run folder says how its pictures are taken; --preprocess and --size are for .onnx and .tflite files",
            folder.display()
        );
        let Trained { network, weights, labels, .. } = Trained::open(folder)?;
        let spec = network.input;
        let engine = Engine::Float(float(network, weights)?);
        Draft { engine, spec, pixels: None, own: labels, notes: vec![] }.finish(folder, request)
    }

    /// Number of classes.
    #[must_use]
    pub const fn classes(&self) -> usize {
        self.engine.classes()
    }
}

impl Engine {
    const fn classes(&self) -> usize {
        match self {
            Self::Float(model) => model.classes(),
            Self::Int8 { classes, .. } => *classes,
        }
    }
}

/// A classifier that lacks crop and labels.
struct Draft {
    engine: Engine,
    spec: InputSpec,
    /// Where its pixels are known from, where that is told.
    pixels: Option<Pixels>,
    /// The labels in the file, or those that were found already.
    own: Vec<String>,
    notes: Vec<String>,
}

impl Draft {
    fn finish(self, path: &Path, request: &Request) -> anyhow::Result<Classifier> {
        let Self { engine, mut spec, pixels, own, mut notes } = self;
        let classes = engine.classes();
        let crop = match request.resize_to {
            Some(resize_to) => Crop::from_resize(resize_to, &spec)?,
            None => Crop::AsStated,
        };
        spec.resize = request.resize.unwrap_or(spec.resize);
        if let Some(pixels) = pixels {
            notes.push(pixels.note(&spec, crop, "--preprocess, --resize, --resize-to"));
        }
        let asked = asked(request)?;
        let (found, note) = labels::found(&asked, own, path, classes).with_context(|| {
            let file = request.labels.as_ref().map_or_else(String::new, |file| file.display().to_string());
            format!("{file} is not the list of this network")
        })?;
        notes.extend(note);
        if found.is_empty() {
            notes.push(format!(
                "nothing names the {classes} classes, they are numbers: give --labels FILE, one label a line{}",
                if is_imagenet(spec.color, classes) {
                    " (ImageNet's 1,000, or Keras' imagenet_class_index.json)"
                } else {
                    ""
                }
            ));
        }
        Ok(Classifier { engine, spec, crop, labels: found, notes })
    }
}

/// The labels that the user names.
fn asked(request: &Request) -> anyhow::Result<Vec<String>> {
    Ok(request.labels.as_deref().map(labels::read).transpose()?.unwrap_or_default())
}

fn of_tflite(file: &[u8], path: &Path, request: &Request) -> anyhow::Result<Classifier> {
    drafted(Opened::new(file, path, &options(path, request), request.style)?)?.finish(path, request)
}

fn of_onnx(file: Vec<u8>, path: &Path, request: &Request) -> anyhow::Result<Classifier> {
    let model = ModelProto::decode(file.as_slice());
    let model = model.context("this is neither an .onnx nor a .tflite file, or it was not copied completely")?;
    drop(file); // it may be large
    let graph = model.graph.as_ref().context("this ONNX file has no graph")?;
    let mut notes = Vec::new();
    if graph.node.iter().any(|node| node.op_type == "DequantizeLinear") {
        match Opened::of_onnx(&model, path, &options(path, request), request.style) {
            Ok(opened) if matches!(opened.imported, Imported::Quantized(_)) => {
                return drafted(opened)?.finish(path, request);
            }
            Ok(_) => {}
            Err(error) => {
                let reason = format!("{error:#}");
                let reason = reason.lines().take(2).collect::<Vec<_>>().join(" ");
                notes.push(format!("run by tract as it is written, not by the int8 runtime: {reason}"));
            }
        }
    }
    let float = FloatModel::new(&model, folder(path), request.size)?;
    let own = stated(&model, graph, float.shape(), float.channels_first(), float.classes());
    let (mut spec, mut pixels) = (own.spec, own.pixels);
    if let Some(asked) = request.style {
        let plain = InputSpec { mean: [0.0; 3], std: [1.0; 3], ..spec };
        spec = asked.apply(plain).map_err(anyhow::Error::msg)?;
        pixels = Pixels { style: Some(asked), reason: Pixels::ASKED };
    }
    if float.end() == End::Logits {
        notes.push("it ends in logits: their softmax is shown".to_owned());
    }
    let own = metadata(&model, "labels").map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default();
    Draft { engine: Engine::Float(float), spec, pixels: Some(pixels), own, notes }.finish(path, request)
}

/// A network of ours, ready to run.
fn drafted(opened: Opened) -> anyhow::Result<Draft> {
    let Opened { imported, labels: own, pixels, notes, .. } = opened;
    let (engine, spec) = match imported {
        Imported::Float(parts) => {
            let (network, weights) = *parts;
            let spec = network.input;
            (Engine::Float(float(network, weights)?), spec)
        }
        Imported::Quantized(network) => quantized(*network)?,
    };
    Ok(Draft { engine, spec, pixels, own, notes })
}

/// A quantized network, compiled for this computer.
fn quantized(mut network: QuantizedNetwork) -> anyhow::Result<(Engine, InputSpec)> {
    let picture = network
        .picture
        .with_context(|| format!("the network takes {}: pictures have 1 or 3 channels", network.input_shape))?;
    network.labels.clear(); // kept apart
    let last = network.layers.last().context("the network has no layers")?;
    let logits = (last.node.op != Op::Softmax).then_some(last.output);
    let classes = last.node.output.c as usize;
    let model = ModelBytes::new(&compile(&network, Options::for_target(Target::HOST))?);
    model.model()?;
    Ok((Engine::Int8 { model, logits, classes }, picture))
}

/// A network of ours in tract.
fn float(network: Network, weights: Weights) -> anyhow::Result<FloatModel> {
    let proto = onnx::export(&network, &weights, &[])?;
    drop((network, weights)); // tract has its own copy of them
    FloatModel::new(&proto, None, None)
}

fn options(path: &Path, request: &Request) -> ImportOptions {
    let name = path.file_stem().map_or_else(|| "network".to_owned(), |stem| stem.to_string_lossy().into_owned());
    ImportOptions { name, size: request.size, ..ImportOptions::default() }
}
