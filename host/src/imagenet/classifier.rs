//! A network file, opened to classify pictures.

use super::stated::{metadata, stated};
use super::{Crop, End, FloatModel, Style, USUAL_SHARE, is_imagenet, labels};
use crate::compile::{Options, Target, compile};
use crate::interchange::onnx;
use crate::interchange::onnx_import;
use crate::interchange::tflite::{self, ImportOptions, Imported};
use crate::model::ModelBytes;
use crate::network::{Network, Weights};
use crate::quantize::{QuantParams, QuantizedNetwork};
use crate::run::Trained;
use anyhow::{Context, ensure};
use ocelli::image::{ColorOrder, InputSpec, Resize};
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
        let draft =
            Draft { engine, spec, style: None, reason: "", resize: true, embedded: Some(labels), notes: vec![] };
        draft.finish(folder, request)
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
    style: Option<Style>,
    reason: &'static str,
    /// Whether the file says what becomes of pictures of other sizes.
    resize: bool,
    embedded: Option<Vec<String>>,
    notes: Vec<String>,
}

impl Draft {
    fn finish(self, path: &Path, request: &Request) -> anyhow::Result<Classifier> {
        let Self { engine, mut spec, style, reason, resize, embedded, mut notes } = self;
        let classes = engine.classes();
        let crop = match (request.resize_to, request.resize) {
            (Some(resize_to), _) => Crop::from_resize(resize_to, &spec)?,
            (None, Some(rule)) => {
                spec.resize = rule;
                Crop::AsStated
            }
            (None, None) if !resize && is_imagenet(spec.color, classes) => Crop::Middle(USUAL_SHARE),
            (None, None) => Crop::AsStated,
        };
        if !reason.is_empty() {
            let style = style.map_or_else(String::new, |style| format!(": {style}, {}", style.in_words()));
            let part = match crop {
                Crop::Middle(share) => format!("the middle, {:.1} % of the shorter side", 100.0 * share),
                Crop::AsStated if spec.resize == Resize::CenterCrop => "the middle".to_owned(),
                Crop::AsStated => "the whole picture".to_owned(),
            };
            notes.push(format!(
                "pictures{style} ({reason}); {part}, at {}x{} (others: --preprocess, --resize, --resize-to)",
                spec.shape.h, spec.shape.w
            ));
        }
        let mut found = Vec::new();
        if let Some(file) = &request.labels {
            let fitted = labels::fitted(labels::read(file)?, classes);
            found = fitted.with_context(|| format!("{} is not the list of this network", file.display()))?;
        } else if let Some(own) = embedded.filter(|labels| !labels.is_empty()) {
            match labels::fitted(own, classes) {
                Ok(labels) => found = labels,
                Err(error) => notes.push(format!("the file's own list is left out: {error}")),
            }
        }
        if found.is_empty() {
            match labels::beside(path, classes) {
                Some((name, labels)) => {
                    notes.push(format!("labels are those of {name}, which lies beside it"));
                    found = labels;
                }
                None => notes.push(format!(
                    "nothing names the {classes} classes, they are numbers: give --labels FILE, one label a line{}",
                    if is_imagenet(spec.color, classes) {
                        " (ImageNet's 1,000, or Keras' imagenet_class_index.json)"
                    } else {
                        ""
                    }
                )),
            }
        }
        Ok(Classifier { engine, spec, crop, labels: found, notes })
    }
}

fn of_tflite(file: &[u8], path: &Path, request: &Request) -> anyhow::Result<Classifier> {
    let embedded = labels::of_tflite(file);
    let options = options(path, request);
    let imported = tflite::import(file, &options)?;
    let shape = match &imported {
        Imported::Quantized(network) => network.input_shape,
        Imported::Float(parts) => parts.0.input.shape,
    };
    ensure!(
        request.size.is_none_or(|size| size == [shape.h, shape.w]),
        "the file is for pictures of {}x{}: --size cannot change it",
        shape.h,
        shape.w
    );
    match imported {
        Imported::Quantized(network) => quantized(*network, embedded, request, vec![])?.finish(path, request),
        Imported::Float(parts) => {
            let (mut network, weights) = *parts;
            let usual = if network.input.color == ColorOrder::Gray { Style::Unit } else { Style::Tf };
            let style = request.style.unwrap_or(usual);
            let reason = match request.style {
                Some(_) => "as asked for",
                None if usual == Style::Tf => "the usual for .tflite",
                None => "the usual for gray pictures",
            };
            network.input = style.apply(network.input).map_err(anyhow::Error::msg)?;
            let spec = network.input;
            let engine = Engine::Float(float(network, weights)?);
            let draft = Draft { engine, spec, style: Some(style), reason, resize: false, embedded, notes: vec![] };
            draft.finish(path, request)
        }
    }
}

fn of_onnx(file: Vec<u8>, path: &Path, request: &Request) -> anyhow::Result<Classifier> {
    let model = ModelProto::decode(file.as_slice());
    let model = model.context("this is neither an .onnx nor a .tflite file, or it was not copied completely")?;
    drop(file); // it may be large
    let graph = model.graph.as_ref().context("this ONNX file has no graph")?;
    let embedded = metadata(&model, "labels").map(|text| text.lines().map(str::to_owned).collect());
    let folder = path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let mut notes = Vec::new();
    if graph.node.iter().any(|node| node.op_type == "DequantizeLinear") {
        match onnx_import::import_model(&model, folder, &options(path, request)) {
            Ok(import) => match import.imported {
                Imported::Quantized(network) => {
                    let mut draft = quantized(*network, embedded, request, import.notes)?;
                    draft.resize = metadata(&model, "resize").is_some();
                    return draft.finish(path, request);
                }
                Imported::Float(_) => {}
            },
            Err(error) => {
                let reason = format!("{error:#}");
                let reason = reason.lines().take(2).collect::<Vec<_>>().join(" ");
                notes.push(format!("run by tract as it is written, not by the int8 runtime: {reason}"));
            }
        }
    }
    let float = FloatModel::new(&model, folder, request.size)?;
    let own = stated(&model, graph, float.shape(), float.channels_first());
    let (mut spec, mut style, mut reason) = (own.spec, own.style, own.reason);
    if let Some(asked) = request.style {
        let plain = InputSpec { mean: [0.0; 3], std: [1.0; 3], ..spec };
        spec = asked.apply(plain).map_err(anyhow::Error::msg)?;
        (style, reason) = (Some(asked), "as asked for");
    }
    if float.end() == End::Logits {
        notes.push("it ends in logits: their softmax is shown".to_owned());
    }
    let engine = Engine::Float(float);
    Draft { engine, spec, style, reason, resize: own.resize, embedded, notes }.finish(path, request)
}

/// A quantized network, compiled for this computer.
fn quantized(
    mut network: QuantizedNetwork,
    embedded: Option<Vec<String>>,
    request: &Request,
    notes: Vec<String>,
) -> anyhow::Result<Draft> {
    let mut picture = network
        .picture
        .with_context(|| format!("the network takes {}: pictures have 1 or 3 channels", network.input_shape))?;
    if let Some(style) = request.style {
        let plain = InputSpec { mean: [0.0; 3], std: [1.0; 3], ..picture };
        picture = style.apply(plain).map_err(anyhow::Error::msg)?;
        network.picture = Some(picture);
    }
    network.labels.clear(); // kept apart: they may be others
    let last = network.layers.last().context("the network has no layers")?;
    let logits = (last.node.op != Op::Softmax).then_some(last.output);
    let classes = last.node.output.c as usize;
    let model = ModelBytes::new(&compile(&network, Options::for_target(Target::HOST))?);
    model.model()?;
    let reason = if request.style.is_some() { "as asked for" } else { "by the scale of its input" };
    Ok(Draft {
        engine: Engine::Int8 { model, logits, classes },
        spec: picture,
        style: request.style,
        reason,
        resize: false,
        embedded,
        notes,
    })
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
