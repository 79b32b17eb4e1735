//! What the tests share: places in the repository, small networks, and ways to damage a model file.

use ocelli::model::records::{Header, OpRecord};
use ocelli::model::write::seal;
use ocelli_firmware_tools::{Board, Toolchain, find};
use ocelli_host::augment::AugmentationConfig;
use ocelli_host::check::not_available;
use ocelli_host::compile::{Options, Target, compile};
use ocelli_host::config::{Config, DatasetConfig, NetworkConfig, TargetConfig};
use ocelli_host::data::{DataSource, Dataset, Split};
use ocelli_host::network::{Network, Weights};
use ocelli_host::quantize::{Calibration, QuantizationConfig, QuantizedNetwork, quantize};
use ocelli_host::run::RunFolder;
use ocelli_host::train::{TrainingConfig, device};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::{Path, PathBuf};

/// A path in the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The shipped model's run folder.
pub fn shipped_model() -> PathBuf {
    repository("models/mnist-cnn")
}

/// The first `count` shipped test digits, prepared for `network`.
pub fn digits(network: &Network, split: Split, count: usize) -> Dataset {
    let source = DataSource::open(&repository("data/mnist-10k"), None).unwrap();
    source.load(split, &network.input, &mut |_, _| {}).unwrap().head(count)
}

/// A network with every operator there is: SAME and explicit padding, stride, dilation, relu6, both pools, two dense layers.
pub const EVERY_OPERATOR: &str = r#"
name = "every-operator"
[input]
height = 28
width = 28
color = "gray"
mean = [0.13]
std = [0.31]
[[layer]]
type = "conv2d"
filters = 6
kernel = [3, 5]
padding = "same"
activation = "relu"
[[layer]]
type = "max_pool2d"
kernel = 3
stride = 2
padding = "same"
[[layer]]
type = "conv2d"
filters = 8
kernel = 3
stride = 2
padding = [1, 0, 1, 2]
activation = "relu6"
[[layer]]
type = "average_pool2d"
kernel = 2
stride = 1
padding = "same"
[[layer]]
type = "conv2d"
filters = 8
kernel = 2
dilation = 2
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
units = 24
activation = "relu"
[[layer]]
type = "dropout"
rate = 0.2
[[layer]]
type = "dense"
units = 10
[[layer]]
type = "softmax"
"#;

/// The network with every operator, with fresh weights (biases too) and quantized on digits.
pub fn every_operator() -> (Network, Weights, QuantizedNetwork) {
    quantized_network(EVERY_OPERATOR)
}

/// A network with fresh weights (biases too), quantized on digits.
pub fn quantized_network(net: &str) -> (Network, Weights, QuantizedNetwork) {
    let network = Network::from_toml(net, "net.toml").unwrap();
    let mut weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(7)).unwrap();
    let names: Vec<String> = weights.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let mut layer = weights.layer(&name).unwrap().clone();
        layer.bias.iter_mut().enumerate().for_each(|(i, bias)| *bias = 0.1 * (i as f32 - 3.0));
        weights.insert(&name, layer);
    }
    let images = digits(&network, Split::Train, 64);
    let calibration = Calibration::observe(&network, &weights, &images, &device("flex").unwrap()).unwrap();
    let quantized = quantize(&network, &weights, &calibration, &images.labels).unwrap();
    (network, weights, quantized)
}

/// Writes a run folder for a network as `train` and `compile` would.
pub fn write_run(folder: &Path, network: &Network, weights: &Weights, quantized: &QuantizedNetwork) {
    let run = RunFolder::create(folder).unwrap();
    let config = Config {
        dataset: DatasetConfig { path: repository("data/mnist-10k"), ..DatasetConfig::default() },
        network: NetworkConfig { file: "net.toml".to_owned() },
        training: TrainingConfig::default(),
        quantization: QuantizationConfig::default(),
        target: TargetConfig::default(),
        augmentation: AugmentationConfig::default(),
        finetune: None,
    };
    run.write_trained(network, weights, &quantized.labels, &config).unwrap();
    run.write_compiled(
        quantized,
        &compile(quantized, Options::for_target(Target::of(find("qemu-m4").unwrap()))).unwrap(),
    )
    .unwrap();
}

/// An emulated board and the toolchain for it; `None`, said aloud, where something is missing (a failure where
/// `OCELLI_REQUIRE_DEVICE` is set).
pub fn device_toolchain(name: &str) -> Option<(&'static Board, Toolchain)> {
    let board = find(name).unwrap();
    if let Some(missing) = not_available(board) {
        assert!(std::env::var_os("OCELLI_REQUIRE_DEVICE").is_none(), "{missing}");
        eprintln!("{name}: not run: {missing}");
        return None;
    }
    Some((board, Toolchain::find(board.target).unwrap()))
}

/// Byte offsets of the fields of operator `op` in a model file, by the table in docs/model-format.md.
pub struct OpFields {
    record: usize,
}

impl OpFields {
    /// The operator's record.
    pub fn of(file: &[u8], op: usize) -> Self {
        let ops = u32_at(file, std::mem::offset_of!(Header, ops)) as usize;
        Self { record: ops + op * size_of::<OpRecord>() }
    }

    /// Where the padding cells (top, left, bottom, right; two bytes each) lie.
    pub fn pads(&self) -> usize {
        self.record + std::mem::offset_of!(OpRecord, pads)
    }

    /// Where the weights lie.
    pub fn weights(&self, file: &[u8]) -> usize {
        u32_at(file, self.record + std::mem::offset_of!(OpRecord, weights)) as usize
    }

    /// Where the shifts lie.
    pub fn shifts(&self, file: &[u8]) -> usize {
        u32_at(file, self.record + std::mem::offset_of!(OpRecord, shifts)) as usize
    }
}

fn u32_at(file: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(file[offset..offset + 4].try_into().unwrap())
}

/// Makes the checksum of a changed file right again.
pub fn reseal(file: &mut Vec<u8>) {
    file.truncate(file.len() - 4);
    seal(file);
}
