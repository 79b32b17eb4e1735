//! A trained network as the base of another: a run folder, or a float network from elsewhere.

use crate::config::Config;
use crate::imagenet::{Opened, Style};
use crate::interchange::tflite::{self, ImportOptions, Imported};
use crate::network::{Network, Weights};
use crate::quantize::QuantizationConfig;
use crate::run::Trained;
use crate::train::FinetuneConfig;
use anyhow::{Context, bail, ensure};
use ocelli::image::Resize;
use prost::Message;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_shape_proto::dimension::Value::DimValue;
use tract_onnx::pb::type_proto::Value::TensorType;

/// A network that another is made from.
#[derive(Clone, Debug)]
pub struct Base {
    /// The network. Its input has the base's own size.
    pub network: Network,
    /// Its weights.
    pub weights: Weights,
    /// How it was made; of a file from elsewhere the defaults.
    pub config: Config,
    /// What was assumed of a file, to tell the user.
    pub notes: Vec<String>,
}

/// `[finetune.picture]` of a `config.toml`: how a base from elsewhere wants its pictures, where its file does not say it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PictureConfig {
    /// A way that many networks have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Style>,
    /// What the network takes for black and for white.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f32; 2]>,
    /// What becomes of a picture that is not of the input's shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeRule>,
}

/// What becomes of a picture that is not of the input's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeRule {
    /// The whole picture, its aspect changed where it must be.
    Stretch,
    /// The largest part in the middle that has the input's aspect.
    CenterCrop,
    /// Of that part the middle, 87.5 % of each side: what classifiers of ImageNet are judged on.
    ImagenetCrop,
}

impl From<ResizeRule> for Resize {
    fn from(rule: ResizeRule) -> Self {
        match rule {
            ResizeRule::Stretch => Self::Stretch,
            ResizeRule::CenterCrop => Self::CenterCrop,
            ResizeRule::ImagenetCrop => Self::ImagenetCrop,
        }
    }
}

impl PictureConfig {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// Names the keys.
    pub fn validate(&self) -> anyhow::Result<()> {
        ensure!(
            self.preprocess.is_none() || self.range.is_none(),
            "[finetune.picture] preprocess and range both say what black and white are: give one of them"
        );
        if let Some([black, white]) = self.range {
            ensure!(
                black.is_finite() && white.is_finite() && black < white,
                "[finetune.picture] range = [{black}, {white}]: white must be above black"
            );
        }
        Ok(())
    }
}

impl Base {
    /// Opens the base of a fine-tuning.
    ///
    /// # Errors
    /// When there is none, it is quantized, or has layers that are not supported; the error names the file.
    pub fn open(plan: &FinetuneConfig) -> anyhow::Result<Self> {
        let path = &plan.base;
        plan.picture.validate()?;
        let mut base = if path.is_file() {
            from_file(path, plan).with_context(|| format!("the base {}", path.display()))?
        } else {
            ensure!(
                path.is_dir(),
                "there is no base {}: give the folder of a training, or a float .onnx or .tflite file",
                path.display()
            );
            let PictureConfig { preprocess, range, .. } = plan.picture;
            ensure!(
                preprocess.is_none() && range.is_none(),
                "the base {} is a run folder, whose net.toml says how it wants its pictures: leave out --preprocess and --range",
                path.display()
            );
            let Trained { network, weights, config, .. } = Trained::open(path)?;
            Self { network, weights, config, notes: Vec::new() }
        };
        if let Some(rule) = plan.picture.resize {
            base.network.input.resize = rule.into();
        }
        Ok(base)
    }
}

/// A network of a file.
fn from_file(path: &Path, plan: &FinetuneConfig) -> anyhow::Result<Base> {
    let file = std::fs::read(path).context("cannot be read")?;
    let picture = &plan.picture;
    let mut options = ImportOptions {
        name: path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("base").to_owned(),
        range: picture.range,
        resize: picture.resize.map(Resize::from),
        ..ImportOptions::default()
    };
    let mut opened = if tflite::is_file(&file) {
        Opened::new(&file, path, &options, picture.preprocess)?
    } else {
        let model = ModelProto::decode(file.as_slice()).context("is not an ONNX file")?;
        if leaves_size_open(&model) {
            options.size = plan.input;
            ensure!(options.size.is_some(), "leaves the size of its input open: give --input HxW");
        }
        Opened::of_onnx(&model, path, &options, picture.preprocess)?
    };
    if let (Imported::Float(parts), false, None) = (&mut opened.imported, opened.says_resize, picture.resize) {
        // ImageNet's crop is a matter of its own pictures: of others all is shown
        parts.0.input.resize = Resize::Stretch;
    }
    let note = opened.pictures("--preprocess tf, torch or caffe, --range BLACK,WHITE, --resize");
    let Opened { imported, mut notes, .. } = opened;
    let (network, weights) = match imported {
        Imported::Float(parts) => *parts,
        Imported::Quantized(_) => bail!("is quantized, its numbers cannot be trained: give the float network"),
    };
    // what is said of the file's end and its classes is not true of a base
    let is_of_classes = |note: &str| note.starts_with("labels are") || note.starts_with("the file's own list");
    notes.retain(|note| !note.contains("softmax") && !is_of_classes(note));
    if picture.preprocess.is_none() && picture.range.is_none() {
        notes.extend(note);
    }
    let config = Config { quantization: QuantizationConfig::of_imported(), ..Config::default() };
    Ok(Base { network, weights, config, notes })
}

/// Whether an ONNX file leaves rows or columns of its input open.
fn leaves_size_open(model: &ModelProto) -> bool {
    let Some(graph) = &model.graph else { return false };
    let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let Some(input) = graph.input.iter().find(|input| !is_constant(&input.name)) else { return false };
    let Some(TensorType(tensor)) = input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else { return false };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim).skip(1);
    dims.into_iter().any(|dim| !matches!(dim.value, Some(DimValue(size)) if size > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused() {
        let both = PictureConfig { preprocess: Some(Style::Tf), range: Some([0.0, 1.0]), ..PictureConfig::default() };
        assert!(both.validate().unwrap_err().to_string().contains("give one of them"));
        let turned = PictureConfig { range: Some([1.0, 0.0]), ..PictureConfig::default() };
        assert!(turned.validate().unwrap_err().to_string().contains("white must be above black"));
    }
}
