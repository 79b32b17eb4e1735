//! What is exported: a run folder, a model file, a network of others, or one with random weights.

use super::super::qdq;
use super::super::tflite::{ImportOptions, Imported};
use super::{Format, qdq_bytes, tflite_bytes};
use crate::check::tract::read_onnx;
use crate::compile::{Options, Target, compile};
use crate::data::Dataset;
use crate::imagenet::Opened;
use crate::interchange::onnx;
use crate::model::ModelBytes;
use crate::network::{Network, NormWeights, Weights, zoo};
use crate::quantize::{Calibration, QuantizedNetwork, quantize};
use crate::run::{Trained, model_path, names, read_labels};
use crate::train::device;
use anyhow::{Context, bail, ensure};
use prost::Message;
use rand::{Rng, RngCore};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::{Path, PathBuf};

/// Seed of random weights, and of the pictures that such a network is quantized with.
const SEED: u64 = 1;
/// Pictures of noise that a network with random weights is quantized with.
const NOISE_PICTURES: usize = 16;

/// A network to export, in the forms that there are of it.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is called.
    pub name: String,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    /// The folder of a training, or of an import.
    Run(PathBuf),
    /// A compiled model that lies by itself.
    Model(PathBuf),
    /// A float network, from elsewhere or made up.
    Float(Box<(Network, Weights, Vec<String>)>),
    /// A quantized network from elsewhere.
    Quantized(Box<QuantizedNetwork>),
    /// A float network and what it is in int8.
    Both(Box<(Network, Weights, Vec<String>, QuantizedNetwork)>),
}

impl Source {
    /// Opens a run folder, a model.ocelli, an .onnx or a .tflite file.
    ///
    /// # Errors
    /// When it is none of these, or cannot be read.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        ensure!(
            path.exists() || zoo::find(&shown.to_string()).is_none(),
            "{shown} is a built-in network, which has no weights: --random-weights exports it with random ones; yours are taken in by \
             `ocelli import WEIGHTS.safetensors --network {shown}`, or by a training"
        );
        ensure!(
            path.exists(),
            "there is no {shown}: export takes a run folder, a model.ocelli, an .onnx or a .tflite file"
        );
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let name = |path: &Path| path.file_stem().and_then(|name| name.to_str()).unwrap_or("network").to_owned();
        if path.is_dir() {
            let name = path.canonicalize().ok().map_or_else(|| "network".to_owned(), |path| name(&path));
            return Ok(Self { name, origin: Origin::Run(path.to_owned()) });
        }
        if !matches!(extension, "onnx" | "tflite") {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            if path.file_name() == Some(names::MODEL.as_ref()) && folder.join(names::NETWORK).is_file() {
                return Self::open(folder);
            }
            return Ok(Self { name: name(path), origin: Origin::Model(path.to_owned()) });
        }
        let file = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let options = ImportOptions { name: name(path), ..ImportOptions::default() };
        let opened = Opened::new(&file, path, &options, None).with_context(|| shown.to_string())?;
        let pictures = opened.pictures("take the file in with `ocelli import`, then export its folder");
        opened.notes.iter().chain(&pictures).for_each(|note| eprintln!("note: {note}"));
        let origin = match opened.imported {
            Imported::Quantized(network) => Origin::Quantized(network),
            Imported::Float(parts) => Origin::Float(Box::new((parts.0, parts.1, opened.labels))),
        };
        Ok(Self { name: options.name, origin })
    }

    /// A network with random weights, quantized on noise: to try another runtime before there is a training.
    ///
    /// # Errors
    /// When `network` is no net.toml and no built-in network.
    pub fn random(network: &str) -> anyhow::Result<Self> {
        let network = Network::open(network)?;
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let weights = random_weights(&network, &mut rng)?;
        let labels: Vec<String> = (0..network.classes()?).map(|class| class.to_string()).collect();
        let name = network.name.clone();
        let origin = if network.check_device().is_ok() {
            let pictures = noise(&network, &labels, &mut rng);
            let calibration = Calibration::observe(&network, &weights, &pictures, &device("flex")?)?;
            let quantized = quantize(&network, &weights, &calibration, &labels)?;
            Origin::Both(Box::new((network, weights, labels, quantized)))
        } else {
            Origin::Float(Box::new((network, weights, labels)))
        };
        Ok(Self { name, origin })
    }

    /// The file's bytes in a format; [`Format::CArray`] wraps one of the others.
    ///
    /// # Errors
    /// When there is no such form of the network, or the format cannot hold a layer; the error says what to do.
    pub fn bytes(&self, format: Format) -> anyhow::Result<Vec<u8>> {
        match format {
            Format::Onnx => {
                let (network, weights, labels) = self.float()?;
                Ok(onnx::export(&network, &weights, &labels)?.encode_to_vec())
            }
            Format::OnnxQdq => qdq_bytes(&self.quantized()?),
            Format::Tflite => tflite_bytes(&self.quantized()?),
            Format::Ocelli => Ok(self.compiled()?.as_slice().to_vec()),
            Format::CArray => bail!("a C array is made of another file"),
        }
    }

    /// The float network, its weights and labels.
    ///
    /// # Errors
    /// When there is none; the error says what to do.
    pub fn float(&self) -> anyhow::Result<(Network, Weights, Vec<String>)> {
        match &self.origin {
            Origin::Run(folder) if !folder.join(names::WEIGHTS).is_file() => bail!(
                "{} holds no float network: the formats without weights in float are onnx-qdq and tflite, from the file that it was \
                 imported from",
                folder.display()
            ),
            Origin::Run(folder) => {
                let trained = Trained::open(folder)?;
                Ok((trained.network, trained.weights, trained.labels))
            }
            Origin::Float(parts) => Ok((**parts).clone()),
            Origin::Both(parts) => Ok((parts.0.clone(), parts.1.clone(), parts.2.clone())),
            Origin::Model(path) => bail!("{}", alone(path)),
            Origin::Quantized(_) => {
                bail!(
                    "'{}' is a quantized network, without weights in float: choose --format onnx-qdq or tflite",
                    self.name
                )
            }
        }
    }

    /// The quantized network.
    ///
    /// # Errors
    /// When there is none; the error says what to do.
    pub fn quantized(&self) -> anyhow::Result<QuantizedNetwork> {
        match &self.origin {
            Origin::Run(folder) => {
                let (network, qdq) = (folder.join(names::NETWORK), folder.join(names::QDQ));
                let shown = folder.display();
                ensure!(
                    network.is_file() || !folder.join(names::MODEL).is_file(),
                    "{shown} holds a compiled model only: export the .tflite or .onnx file that it was imported from"
                );
                ensure!(network.is_file(), "{shown} is no run folder: {} is missing", names::NETWORK);
                ensure!(qdq.is_file(), "{shown} holds no quantized network yet: ocelli compile {shown}");
                let labels = read_labels(&folder.join(names::LABELS))?;
                let network = Network::open(&network.display().to_string())?;
                qdq::import(&network, &read_onnx(&qdq)?, &labels).with_context(|| qdq.display().to_string())
            }
            Origin::Quantized(network) => Ok((**network).clone()),
            Origin::Both(parts) => Ok(parts.3.clone()),
            Origin::Model(path) => bail!("{}", alone(path)),
            Origin::Float(_) => bail!(
                "'{}' is a float network: take it in with `ocelli import`, quantize it with `ocelli compile`, then export the run folder",
                self.name
            ),
        }
    }

    /// The compiled model: the file that there is, else what is compiled for this computer.
    ///
    /// # Errors
    /// When there is no quantized network.
    pub fn compiled(&self) -> anyhow::Result<ModelBytes> {
        match &self.origin {
            Origin::Run(path) | Origin::Model(path) => ModelBytes::read(&model_path(path)?),
            _ => Ok(ModelBytes::new(&compile(&self.quantized()?, Options::for_target(Target::HOST))?)),
        }
    }
}

fn alone(model: &Path) -> String {
    format!(
        "{} is a compiled model by itself: its network is in the run folder or the file that it was made of; export that one",
        model.display()
    )
}

/// Weights as a training begins with, and biases and statistics that are not all alike.
fn random_weights(network: &Network, rng: &mut ChaCha8Rng) -> anyhow::Result<Weights> {
    let mut weights = Weights::initial(network, rng)?;
    for layer in &network.layers {
        if let Some(mut numbers) = weights.layer(&layer.name).cloned() {
            numbers.bias.iter_mut().for_each(|bias| *bias = rng.random_range(-0.3..0.3));
            weights.insert(&layer.name, numbers);
        }
        if let Some(channels) = weights.norm(&layer.name).map(|norm| norm.gamma.len()) {
            let mut random = |low: f32, high: f32| (0..channels).map(|_| rng.random_range(low..high)).collect();
            let (gamma, beta) = (random(0.5, 1.5), random(-0.5, 0.5));
            let norm = NormWeights { gamma, beta, mean: random(-0.5, 0.5), variance: random(0.2, 2.0) };
            weights.insert_norm(&layer.name, norm);
        }
    }
    Ok(weights)
}

/// Pictures of noise.
fn noise(network: &Network, labels: &[String], rng: &mut ChaCha8Rng) -> Dataset {
    let shape = network.input.shape;
    let mut pixels = vec![0; NOISE_PICTURES * shape.elements().unwrap_or(0) as usize];
    rng.fill_bytes(&mut pixels);
    Dataset {
        labels: labels.to_vec(),
        shape,
        pixels,
        targets: vec![0; NOISE_PICTURES],
        names: (0..NOISE_PICTURES).map(|i| format!("noise {i}")).collect(),
        skipped: Vec::new(),
    }
}
