//! A network file as a network of ours, with the pictures and labels that it wants.

use super::stated::{metadata, stated};
use super::usual::{Kind, Pixels, usual_resize};
use super::{Crop, Style, float, labels};
use crate::interchange::onnx_import;
use crate::interchange::tflite::{self, ImportOptions, Imported};
use crate::network::resize_of_name;
use anyhow::{Context, ensure};
use ocelli::image::InputSpec;
use prost::Message;
use std::path::Path;
use tract_onnx::pb::ModelProto;

/// A network file that was read.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The network, its input as it is asked for, stated or guessed. The labels of a quantized one are `labels`.
    pub imported: Imported,
    /// Names of the classes; empty where nobody knows them.
    pub labels: Vec<String>,
    /// Where its pixels are known from; `None` for a network that takes no pictures.
    pub pixels: Option<Pixels>,
    /// Whether the file says what becomes of a picture of another shape.
    pub says_resize: bool,
    /// What was added, left out or assumed, to tell the user.
    pub notes: Vec<String>,
}

/// What a reader of one kind of file found.
struct Read {
    imported: Imported,
    own_labels: Vec<String>,
    notes: Vec<String>,
    pixels: Pixels,
    says_resize: bool,
}

impl Opened {
    /// Reads an .onnx or .tflite file that lies at `path`. `style` goes before what `options` and the file say of pixels.
    ///
    /// # Errors
    /// When it is broken or cannot be imported; what is not supported is listed.
    pub fn new(file: &[u8], path: &Path, options: &ImportOptions, style: Option<Style>) -> anyhow::Result<Self> {
        if tflite::is_file(file) || path.extension().is_some_and(|extension| extension == "tflite") {
            return Self::finish(of_tflite(file, &begun(options, style))?, path, options, style);
        }
        let model = ModelProto::decode(file).context("this is no ONNX file, or it was not copied completely")?;
        Self::of_onnx(&model, path, options, style)
    }

    /// As [`Opened::new`], of an .onnx file that is decoded already.
    ///
    /// # Errors
    /// As [`Opened::new`].
    pub fn of_onnx(
        model: &ModelProto,
        path: &Path,
        options: &ImportOptions,
        style: Option<Style>,
    ) -> anyhow::Result<Self> {
        Self::finish(of_onnx(model, path, &begun(options, style))?, path, options, style)
    }

    fn finish(read: Read, path: &Path, options: &ImportOptions, style: Option<Style>) -> anyhow::Result<Self> {
        let Read { mut imported, own_labels, mut notes, pixels, says_resize } = read;
        let classes = match &imported {
            Imported::Quantized(network) => network.layers.last().map_or(0, |layer| layer.node.output.c as usize),
            Imported::Float(parts) => parts.0.classes()?,
        };
        let mut pixels = match (style, options.range) {
            (Some(_), _) => Pixels { style, reason: Pixels::ASKED },
            (None, Some(_)) => Pixels { style: None, reason: Pixels::ASKED },
            (None, None) => pixels,
        };
        let input = match &mut imported {
            Imported::Quantized(network) => network.picture.as_mut(),
            Imported::Float(parts) => Some(&mut parts.0.input),
        };
        let is_picture = input.is_some();
        if let Some(input) = input {
            if let Some(style) = pixels.style {
                *input = style.apply(*input).map_err(anyhow::Error::msg)?;
            }
            if options.resize.is_none() && !says_resize {
                input.resize = usual_resize(input.color, classes);
            }
        } else {
            pixels.style = None;
        }
        let (found, note) = labels::found(&options.labels, own_labels, path, classes)?;
        notes.extend(note);
        if let Imported::Quantized(network) = &mut imported {
            network.labels.clone_from(&found);
        }
        Ok(Self { imported, labels: found, pixels: is_picture.then_some(pixels), says_resize, notes })
    }

    /// The input, where the network takes pictures.
    #[must_use]
    pub fn input(&self) -> Option<&InputSpec> {
        match &self.imported {
            Imported::Quantized(network) => network.picture.as_ref(),
            Imported::Float(parts) => Some(&parts.0.input),
        }
    }

    /// The note that tells how pictures are taken. `others` are the flags that say something else.
    #[must_use]
    pub fn pictures(&self, others: &str) -> Option<String> {
        Some(self.pixels?.note(self.input()?, Crop::AsStated, others))
    }
}

/// The options of a reader: a style is applied to pixels of 0 to 1, labels are given later.
fn begun(options: &ImportOptions, style: Option<Style>) -> ImportOptions {
    let range = if style.is_some() { Some([0.0, 1.0]) } else { options.range };
    ImportOptions { range, labels: Vec::new(), ..options.clone() }
}

fn of_tflite(file: &[u8], options: &ImportOptions) -> anyhow::Result<Read> {
    let tflite::Import { imported, labels: own, says_pixels, says_resize } = tflite::import_all(file, options)?;
    let shape = match &imported {
        Imported::Quantized(network) => network.input_shape,
        Imported::Float(parts) => parts.0.input.shape,
    };
    ensure!(
        options.size.is_none_or(|size| size == [shape.h, shape.w]),
        "the file is for pictures of {}x{}: --size cannot change it",
        shape.h,
        shape.w
    );
    let pixels = match &imported {
        Imported::Quantized(_) if says_resize => Pixels::STATED,
        Imported::Quantized(_) => Pixels::SCALE,
        Imported::Float(_) if says_pixels => Pixels::STATED,
        Imported::Float(parts) => Pixels::guessed(Kind::Tflite, parts.0.input.color, parts.0.classes()?),
    };
    let own_labels = if own.is_empty() { labels::of_tflite(file).unwrap_or_default() } else { own };
    Ok(Read { imported, own_labels, notes: Vec::new(), pixels, says_resize })
}

fn of_onnx(model: &ModelProto, path: &Path, options: &ImportOptions) -> anyhow::Result<Read> {
    let import = onnx_import::import_model(model, super::folder(path), options)?;
    let (imported, notes) = (import.imported, import.notes);
    let says_resize = metadata(model, "resize").and_then(resize_of_name).is_some();
    let pixels = match &imported {
        Imported::Quantized(_) if metadata(model, "mean").is_some() => Pixels::STATED,
        Imported::Quantized(_) => Pixels::SCALE,
        Imported::Float(parts) => {
            let graph = model.graph.as_ref().context("this ONNX file has no graph")?;
            let channels_first = float::channels_first(graph, options.size).unwrap_or(true);
            stated(model, graph, parts.0.input.shape, channels_first, parts.0.classes()?).pixels
        }
    };
    let own_labels =
        metadata(model, "labels").map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default();
    Ok(Read { imported, own_labels, notes, pixels, says_resize })
}
