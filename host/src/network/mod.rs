//! A network, described once: `net.toml` <-> [`Network`] -> [`ocelli::ir::Op`]; summary, training, export, quantizer and compiler
//! read this description.

mod conv3d;
mod file;
mod fold;
mod graph;
mod layer_table;
mod options;
pub mod summary;
mod weights;
pub mod zoo;

pub use conv3d::{Conv3d, ResolvedVolume, VolumeError};
pub(crate) use file::in_words;
pub use graph::Wired;
pub use layer_table::{layer_name, op_name};
pub use options::{Initializer, LayerOptions};
pub(crate) use weights::channel_of;
pub use weights::{LayerWeights, NormWeights, WeightError, Weights};

use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::{Op, Shape, ShapeError};
use std::path::{Path, PathBuf};

/// Most weights, or outputs, of a layer: what fits a common machine's memory while training.
const MAX_ELEMENTS: u64 = 1 << 28;

/// The name by which a layer reads the picture.
pub const INPUT: &str = "input";

/// A graph of layers over a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Name, for people.
    pub name: String,
    /// Size, colours and normalization of the input.
    pub input: InputSpec,
    /// The layers; each reads only what stands before it, and the last is the output.
    pub layers: Vec<Layer>,
}

/// A layer and its name, which is unique in the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Name, as in summaries and reports.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// Names of the layers that it reads, or [`INPUT`]; empty for the layer before.
    pub inputs: Vec<String>,
    /// What training needs to know beside.
    pub options: LayerOptions,
}

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerKind {
    /// An operator that runs on the device.
    Op(Op),
    /// A convolution of volumes, which runs on the host only.
    Conv3d(Conv3d),
    /// Sets a share of the values to zero while training; the identity afterwards.
    Dropout {
        /// Probability of a value to be dropped.
        rate: f64,
    },
    /// Brings each channel to a mean and a deviation that are trained; folded into other weights after training.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
        /// Share of the running statistics that a step keeps.
        momentum: f64,
    },
}

/// An operator of the network as it runs after training, with its shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name of its layer; of the first, where several became one.
    pub name: String,
    /// The operator.
    pub op: Op,
    /// Tensors it reads: 0 is the network's input, `i + 1` the output of node `i`.
    pub inputs: Vec<usize>,
    /// Their shapes.
    pub input_shapes: Vec<Shape>,
    /// Shape of its output.
    pub output: Shape,
}

impl Node {
    /// Multiply-accumulates of one inference, border cells counted in.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.op.macs(self.input(), self.output)
    }

    /// Shape of the first input.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.input_shapes.first().copied().unwrap_or(Shape::new(0, 0, 0))
    }
}

/// Why a description is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The file cannot be read.
    #[error("cannot read the network {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not what a `net.toml` must be.
    #[error("{path}: {message}")]
    Syntax {
        /// The file, or the name of a built-in network.
        path: String,
        /// What is wrong and where.
        message: String,
    },
    /// A layer cannot take its input.
    #[error("layer {index} '{layer}' cannot take its input of {}", list(inputs))]
    Shape {
        /// Index of the layer, from 1.
        index: usize,
        /// Its name.
        layer: String,
        /// The shapes it would get.
        inputs: Vec<Shape>,
        /// The rule that is broken.
        source: ShapeError,
    },
    /// A layer cannot take its input as a volume.
    #[error("layer {index} '{layer}' cannot take its input of {input}")]
    Volume {
        /// Index of the layer, from 1.
        index: usize,
        /// Its name.
        layer: String,
        /// The shape it would get.
        input: Shape,
        /// The rule that is broken.
        source: VolumeError,
    },
    /// A layer that no device has.
    #[error(
        "layer '{layer}' is a conv3d, which runs on the host only: it trains, evaluates (ocelli eval --float) and is exported \
         (model.onnx), but it is not quantized or compiled; a network for a device takes conv2d"
    )]
    HostOnly {
        /// Its name.
        layer: String,
    },
    /// Something about the network as a whole.
    #[error("network '{name}': {message}")]
    Invalid {
        /// Name of the network.
        name: String,
        /// What is wrong and what to do.
        message: String,
    },
}

impl Network {
    /// Reads a `net.toml`, or takes a built-in network by its name.
    ///
    /// # Errors
    /// When there is no such file or name, the file has an unknown key or value, or the shapes do not fit.
    pub fn open(path_or_name: &str) -> Result<Self, NetworkError> {
        if let Some(network) = zoo::find(path_or_name) {
            return network;
        }
        let path = Path::new(path_or_name);
        let text = std::fs::read_to_string(path).map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound && path.extension() != Some("toml".as_ref()) {
                let known = zoo::names().collect::<Vec<_>>().join(", ");
                let message = format!("no file and no built-in network of that name (built in: {known})");
                return NetworkError::Syntax { path: path_or_name.to_owned(), message };
            }
            NetworkError::Read { path: path.to_owned(), source }
        })?;
        Self::from_toml(&text, path_or_name)
    }

    /// The first layer that runs on the host only.
    #[must_use]
    pub fn host_only(&self) -> Option<&Layer> {
        self.layers.iter().find(|layer| matches!(layer.kind, LayerKind::Conv3d(_)))
    }

    /// Refuses a network with a layer that runs on the host only.
    ///
    /// # Errors
    /// Names the layer.
    pub fn check_device(&self) -> Result<(), NetworkError> {
        let refuse = |layer: &Layer| Err(NetworkError::HostOnly { layer: layer.name.clone() });
        self.host_only().map_or(Ok(()), refuse)
    }

    /// The operators with their shapes: the network as it is exported, quantized and run. Dropout is gone; batch norm and activations
    /// are folded into the layer before them where they can be, and [`Weights::folded`] gives the numbers that go with that. A conv3d
    /// is the conv2d over all slices that computes the same.
    ///
    /// # Errors
    /// When a layer reads what is not there or cannot take its inputs; the error names layer and rule.
    pub fn nodes(&self) -> Result<Vec<Node>, NetworkError> {
        Ok(fold::fold(self)?.into_iter().map(|folded| folded.node).collect())
    }

    /// The operators as [`nodes`](Self::nodes) has them, each with the layers that became it.
    pub(crate) fn folded_nodes(&self) -> Result<Vec<(Node, Vec<&Layer>)>, NetworkError> {
        let layers = |folded: &fold::Folded| folded.layers.iter().filter_map(|&index| self.layers.get(index)).collect();
        Ok(fold::fold(self)?.into_iter().map(|folded| (folded.node.clone(), layers(&folded))).collect())
    }

    /// Number of classes: the values of the flat output.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn classes(&self) -> Result<usize, NetworkError> {
        Ok(self.nodes()?.last().map_or(0, |node| node.output.c as usize))
    }

    /// Checks what every network must have: layers that fit, and a flat softmax at the end.
    ///
    /// # Errors
    /// When something is missing; the error says what.
    pub fn validate(&self) -> Result<(), NetworkError> {
        let invalid =
            |message: &str| Err(NetworkError::Invalid { name: self.name.clone(), message: message.to_owned() });
        let nodes = self.nodes()?;
        let Some(last) = nodes.last() else { return invalid("it has no layers") };
        if matches!(last.op, Op::Unary(_)) && (last.output.h, last.output.w, last.output.c) == (1, 1, 1) {
            return invalid(
                "it ends in one unit: for two classes end it in dense with 2 units and softmax, which is a sigmoid of their difference",
            );
        }
        if last.op != Op::Softmax || (last.output.h, last.output.w) != (1, 1) {
            return invalid(
                "the last layer must be a softmax over a flat input (1x1xn): add flatten, dense and softmax",
            );
        }
        if nodes.iter().filter(|node| node.op == Op::Softmax).count() != 1 {
            return invalid("softmax may only be the last layer");
        }
        let layers = self.wired()?;
        self.check_readers(&layers)?;
        for wired in &layers {
            let slides = match wired.layer.kind {
                LayerKind::Op(op) => op.window().is_some(),
                LayerKind::Conv3d(_) => true,
                _ => false,
            };
            let before = wired.inputs.first().and_then(|tensor| Some(layers.get(tensor.checked_sub(1)?)?.layer.kind));
            if slides && before == Some(LayerKind::Op(Op::Flatten)) {
                return invalid(&format!(
                    "layer '{}' slides a window over a flat input: move it before the flatten",
                    wired.layer.name
                ));
            }
        }
        for node in &nodes {
            let shape = node.op.weight_shape(node.input()).unwrap_or([0; 4]).map(u64::from);
            let weights = shape.into_iter().fold(1, u64::saturating_mul);
            let values = u64::from(node.output.elements().unwrap_or(u32::MAX));
            if weights.max(values) > MAX_ELEMENTS {
                return invalid(&format!(
                    "layer '{}' has {weights} weights and {values} outputs, more than {MAX_ELEMENTS}: make it smaller",
                    node.name
                ));
            }
        }
        if last.output.c < 2 {
            return invalid("a classifier needs at least two classes");
        }
        Ok(())
    }

    /// The same network for another number of classes: its last dense layer gets that many units.
    ///
    /// # Errors
    /// When there is no dense layer before the softmax.
    pub fn with_classes(mut self, classes: usize) -> Result<Self, NetworkError> {
        let units = u32::try_from(classes).unwrap_or(u32::MAX);
        let last = self.layers.iter_mut().rev().find_map(|layer| match &mut layer.kind {
            LayerKind::Op(Op::Dense { units, .. }) => Some(Ok(units)),
            LayerKind::Op(Op::Softmax) | LayerKind::Dropout { .. } => None,
            _ => Some(Err(())),
        });
        let Some(Ok(place)) = last else {
            let message = "there is no dense layer before its softmax whose units could be the classes".to_owned();
            return Err(NetworkError::Invalid { name: self.name, message });
        };
        *place = units;
        self.validate()?;
        Ok(self)
    }

    /// The same network on pictures of another size.
    ///
    /// # Errors
    /// When a layer cannot take what it then gets; the error names layer and rule.
    pub fn with_input(mut self, height: u32, width: u32) -> Result<Self, NetworkError> {
        (self.input.shape.h, self.input.shape.w) = (height, width);
        self.validate()?;
        Ok(self)
    }

    /// Refuses labels that are not one a class.
    ///
    /// # Errors
    /// When the counts differ; both are named.
    pub fn check_labels(&self, labels: &[String]) -> Result<(), NetworkError> {
        let classes = self.classes()?;
        if classes == labels.len() {
            return Ok(());
        }
        let message = format!(
            "its last dense layer has {classes} units but the dataset has {} classes ({}{}): set units = {} in net.toml",
            labels.len(),
            labels.iter().take(5).cloned().collect::<Vec<_>>().join(", "),
            if labels.len() > 5 { ", ..." } else { "" },
            labels.len()
        );
        Err(NetworkError::Invalid { name: self.name.clone(), message })
    }
}

/// Shapes for a message: `8x8x1 and 4x4x1`.
fn list(shapes: &[Shape]) -> String {
    shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(" and ")
}

/// The name of a colour order in `net.toml`.
#[must_use]
pub const fn color_name(color: ColorOrder) -> &'static str {
    match color {
        ColorOrder::Gray => "gray",
        ColorOrder::Rgb => "rgb",
        ColorOrder::Bgr => "bgr",
    }
}

/// The name of a resize rule in `net.toml`.
#[must_use]
pub const fn resize_name(resize: Resize) -> &'static str {
    match resize {
        Resize::Stretch => "stretch",
        Resize::CenterCrop => "center-crop",
        Resize::ImagenetCrop => "imagenet-crop",
    }
}

/// The resize rule of a name in `net.toml` or in a file's metadata.
#[must_use]
pub fn resize_of_name(name: &str) -> Option<Resize> {
    Resize::ALL.into_iter().find(|&rule| resize_name(rule) == name)
}
