//! A float classifier in an ONNX file, run by tract as it is written.

use anyhow::{Context as _, anyhow, bail, ensure};
use ocelli::ir::Shape;
use std::path::Path;
use std::sync::Arc;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto, type_proto};
use tract_onnx::prelude::*;

/// Longest side of an input.
const MAX_SIDE: usize = 1 << 13;

/// What a network's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// One for each class, together 1, or each for itself: taken as they are.
    Probabilities,
    /// Their logarithms.
    LogProbabilities,
    /// Scores that a softmax makes probabilities of.
    Logits,
}

/// A classifier that tract runs, a picture at a time.
#[derive(Clone, Debug)]
pub struct FloatModel {
    plan: Arc<TypedRunnableModel>,
    dims: Vec<usize>,
    channels_first: bool,
    shape: Shape,
    end: End,
    classes: usize,
}

impl FloatModel {
    /// Prepares the network of an ONNX file; tensors in files of their own are looked for in `folder`. `size` are rows and columns where
    /// the file leaves them open.
    ///
    /// # Errors
    /// When its input is no picture, or tract cannot run it.
    pub fn new(proto: &ModelProto, folder: Option<&Path>, size: Option<[u32; 2]>) -> anyhow::Result<Self> {
        let graph = proto.graph.as_ref().context("the ONNX file has no graph")?;
        let (dims, channels_first) = input(graph, size)?;
        let at = |axis: usize| u32::try_from(dims[axis]);
        let shape =
            if channels_first { Shape::new(at(2)?, at(3)?, at(1)?) } else { Shape::new(at(1)?, at(2)?, at(3)?) };
        let quantized = graph.node.iter().any(|node| node.op_type == "DequantizeLinear");
        let build = || -> TractResult<Arc<TypedRunnableModel>> {
            let model = onnx().parse(proto, folder.and_then(Path::to_str))?.model;
            let model = model.with_input_fact(0, InferenceFact::dt_shape(f32::datum_type(), &dims))?;
            // tract 0.23.9 optimizes what lies between a dequantization and a quantization wrongly: see check/tract.rs
            if quantized { model.into_typed()?.into_runnable() } else { model.into_optimized()?.into_runnable() }
        };
        crate::check::tract::check_windows(proto)?;
        // tract trusts the file to be whole
        let plan = std::panic::catch_unwind(std::panic::AssertUnwindSafe(build))
            .map_err(|_| anyhow!("tract cannot run this network: the file is damaged"))?
            .map_err(|error| anyhow!("tract cannot run this network: {error:#}"))?;
        let mut model = Self { plan, dims, channels_first, shape, end: end(graph), classes: 0 };
        model.classes = model.outputs(&vec![0.0; shape.elements().unwrap_or(0) as usize])?.len();
        ensure!(model.classes >= 2, "its output has {} value: a classifier has one a class", model.classes);
        Ok(model)
    }

    /// Rows, columns and channels of the input.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether channels come before rows and columns.
    #[must_use]
    pub const fn channels_first(&self) -> bool {
        self.channels_first
    }

    /// What the output is.
    #[must_use]
    pub const fn end(&self) -> End {
        self.end
    }

    /// Number of classes.
    #[must_use]
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// The probability of each class for normalized values `[h, w, c]`.
    ///
    /// # Errors
    /// When there are more or fewer values, or tract fails.
    pub fn probabilities(&self, values: &[f32]) -> anyhow::Result<Vec<f32>> {
        let outputs = self.outputs(values)?;
        ensure!(
            outputs.iter().all(|value| value.is_finite()),
            "the network's outputs are no numbers: its weights are damaged, or it wants other pixels (--preprocess)"
        );
        Ok(match self.end {
            End::Probabilities => outputs,
            End::LogProbabilities => outputs.iter().map(|v| v.exp()).collect(),
            End::Logits => softmax(&outputs),
        })
    }

    fn outputs(&self, values: &[f32]) -> anyhow::Result<Vec<f32>> {
        let Shape { h, w, c } = self.shape;
        let (pixels, channels) = (h as usize * w as usize, c as usize);
        ensure!(values.len() == pixels * channels, "the network takes {}, got {} values", self.shape, values.len());
        let values = if self.channels_first {
            (0..channels).flat_map(|c| values.iter().skip(c).step_by(channels).copied()).collect()
        } else {
            values.to_vec()
        };
        let run = || -> TractResult<Vec<f32>> {
            let outputs = self.plan.run(tvec!(Tensor::from_shape(&self.dims, &values)?.into_tvalue()))?;
            let output = outputs.first().context("no output")?.cast_to::<f32>()?.into_owned();
            Ok(output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
        };
        run().map_err(|error| anyhow!("tract failed: {error:#}"))
    }
}

/// The probabilities that logits stand for.
#[must_use]
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let all: Vec<f64> = logits.iter().map(|&v| f64::from(v - largest).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.iter().map(|v| (v / sum) as f32).collect()
}

/// Whether channels come before rows and columns; `None` where the input is no picture.
pub(super) fn channels_first(graph: &GraphProto, size: Option<[u32; 2]>) -> Option<bool> {
    input(graph, size).ok().map(|(_, channels_first)| channels_first)
}

/// Dimensions of the input for one picture, and whether channels come first.
fn input(graph: &GraphProto, size: Option<[u32; 2]>) -> anyhow::Result<(Vec<usize>, bool)> {
    let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|input| !is_constant(&input.name)).collect();
    let [input] = inputs[..] else {
        bail!("the network has {} inputs: a classifier of pictures has one", inputs.len());
    };
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        bail!("the file does not say the type of its input '{}'", input.name);
    };
    let dims: Vec<Option<usize>> = tensor.shape.iter().flat_map(|shape| &shape.dim).map(known).collect();
    let &[_, second, third, fourth] = dims.as_slice() else {
        bail!("its input '{}' has {} dimensions: pictures have 4", input.name, dims.len());
    };
    let is_color = |side| matches!(side, Some(1 | 3));
    let channels_first = is_color(second);
    ensure!(
        channels_first || is_color(fourth),
        "its input '{}' is {second:?} x {third:?} x {fourth:?}: pictures have 1 or 3 channels",
        input.name
    );
    let side = |own: Option<usize>, asked: usize| {
        let asked = size.map(|size| size[asked] as usize);
        ensure!(
            own.is_none() || asked.is_none() || own == asked,
            "its input '{}' has the size {}: --size cannot change it",
            input.name,
            own.unwrap_or(0)
        );
        let side = own.or(asked).with_context(|| {
            format!("the file leaves the size of its input '{}' open: say it with --size HEIGHTxWIDTH", input.name)
        })?;
        ensure!((1..=MAX_SIDE).contains(&side), "a side of {side} pixels is more than is run ({MAX_SIDE})");
        Ok(side)
    };
    Ok(if channels_first {
        (vec![1, second.unwrap_or(3), side(third, 0)?, side(fourth, 1)?], true)
    } else {
        (vec![1, side(second, 0)?, side(third, 1)?, fourth.unwrap_or(3)], false)
    })
}

fn known(dim: &tract_onnx::pb::tensor_shape_proto::Dimension) -> Option<usize> {
    match dim.value {
        Some(dimension::Value::DimValue(n)) => usize::try_from(n).ok().filter(|&n| n > 0),
        _ => None,
    }
}

/// What the output is, by the operator that makes it.
fn end(graph: &GraphProto) -> End {
    let maker = |value: &str| graph.node.iter().find(|node| node.output.iter().any(|output| output == value));
    let mut value = graph.output.first().map_or("", |output| output.name.as_str());
    for _ in 0..graph.node.len() {
        let Some(node) = maker(value) else { break };
        let source = node.input.first().map_or("", String::as_str);
        match node.op_type.as_str() {
            "Softmax" | "Sigmoid" | "HardSigmoid" => return End::Probabilities,
            "LogSoftmax" => return End::LogProbabilities,
            // a softmax in parts
            "Div" if maker(source).is_some_and(|node| node.op_type == "Exp") => return End::Probabilities,
            "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Cast" | "Transpose" | "Dropout"
            | "QuantizeLinear" | "DequantizeLinear" => value = source,
            _ => break,
        }
    }
    End::Logits
}
