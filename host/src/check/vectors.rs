//! Operator cases in JSON: a small layer, an input, the expected output from an independent source.

use crate::compile::compile;
use crate::model::ModelBytes;
use crate::network::Node;
use crate::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork, QuantizedWeights};
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Activation, Op, Padding, Shape, Window};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A case as its file has it.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Operator.
    pub op: String,
    /// Where the expected output comes from.
    pub source: String,
    attrs: Attributes,
    input: Option<CaseTensor>,
    weights: Option<CaseTensor>,
    bias: Option<CaseTensor>,
    output: CaseTensor,
}

#[derive(Debug, Default, Deserialize)]
struct Attributes {
    stride: Option<[u16; 2]>,
    padding: Option<String>,
    dilation: Option<[u16; 2]>,
    kernel: Option<[u16; 2]>,
    activation: Option<String>,
    beta: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct CaseTensor {
    shape: Vec<u32>,
    dtype: String,
    data: Vec<i32>,
    scale: Option<Vec<f64>>,
    zero_point: Option<Vec<i32>>,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every value is as expected.
    Passed,
    /// Some value differs.
    Failed(String),
    /// The case is broken, or its operator is not supported.
    NotRun(String),
}

/// The cases of a folder (`*.json`), sorted by name.
///
/// # Errors
/// When the folder cannot be read or holds no case.
pub fn list(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "json"));
    files.sort();
    ensure!(!files.is_empty(), "{} holds no operator cases (*.json)", folder.display());
    Ok(files)
}

/// Runs one case on the host runtime: compiled as a network of one layer, loaded, run.
#[must_use]
pub fn run(path: &Path) -> Outcome {
    match try_run(path) {
        Ok(None) => Outcome::Passed,
        Ok(Some(difference)) => Outcome::Failed(difference),
        Err(error) => Outcome::NotRun(format!("{error:#}")),
    }
}

/// Reads a case.
///
/// # Errors
/// When the file cannot be read or is no case.
pub fn read(path: &Path) -> anyhow::Result<Case> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not an operator case", path.display()))
}

/// The first difference from what the case expects.
fn try_run(path: &Path) -> anyhow::Result<Option<String>> {
    let case = read(path)?;
    let network = case.network()?;
    let bytes = ModelBytes::new(&compile(&network)?);
    let output = bytes.with_session(|session| {
        Ok(session.run_frame(&case.input()?).context("the input has the wrong size")?.to_vec())
    })?;
    Ok(first_difference(&output, &case.expected()?))
}

/// The first difference between a case's output and what it expects, in words.
#[must_use]
pub fn first_difference(output: &[i8], expected: &[i8]) -> Option<String> {
    if output.len() != expected.len() {
        return Some(format!("{} outputs, expected {}", output.len(), expected.len()));
    }
    let at = output.iter().zip(expected).position(|(a, b)| a != b)?;
    let wrong = output.iter().zip(expected).filter(|(a, b)| a != b).count();
    Some(format!("element {at} is {}, expected {} ({wrong} of {} differ)", output[at], expected[at], output.len()))
}

impl Case {
    /// The case as a network of one layer.
    ///
    /// # Errors
    /// When the operator is not supported or a field is missing.
    pub fn network(&self) -> anyhow::Result<QuantizedNetwork> {
        let input = self.input.as_ref().context("operators with several inputs are not supported")?;
        let shape = input.shape()?;
        let output = self.output.shape()?;
        let op = self.op(shape, output)?;
        let inferred = op.infer_shape(&[shape])?;
        ensure!(inferred == output, "the case's output is {output}, the operator makes {inferred}");
        let weights = match op.weight_shape(shape) {
            None => None,
            Some(expected) => Some(self.weights(expected.map(|n| n as usize))?),
        };
        let node = Node { name: self.op.clone(), op, inputs: vec![0], input_shapes: vec![shape], output };
        let layers = vec![QuantizedLayer { node, output: self.output.params()?, weights }];
        let input = input.params()?;
        Ok(QuantizedNetwork { picture: None, input_shape: shape, input, layers, labels: Vec::new(), unsigned: false })
    }

    /// The input's values.
    ///
    /// # Errors
    /// When they are not int8.
    pub fn input(&self) -> anyhow::Result<Vec<i8>> {
        self.input.as_ref().context("the case has no input")?.int8()
    }

    /// The expected values.
    ///
    /// # Errors
    /// When they are not int8.
    pub fn expected(&self) -> anyhow::Result<Vec<i8>> {
        self.output.int8()
    }

    fn op(&self, input: Shape, output: Shape) -> anyhow::Result<Op> {
        let attrs = &self.attrs;
        let activation = match attrs.activation.as_deref() {
            None | Some("none") => Activation::None,
            Some("relu") => Activation::Relu,
            Some("relu6") => Activation::Relu6,
            Some(other) => bail!("the activation '{other}' is not supported"),
        };
        let window = |kernel: [u16; 2]| -> anyhow::Result<Window> {
            let padding = match attrs.padding.as_deref() {
                Some("same") => Padding::Same,
                Some("valid") => Padding::Valid,
                other => bail!("the padding {other:?} is not supported"),
            };
            let stride = attrs.stride.context("attrs.stride is missing")?;
            Ok(Window { kernel, stride, dilation: attrs.dilation.unwrap_or([1, 1]), padding })
        };
        let pool_kernel = || {
            ensure!(activation == Activation::None, "pools with an activation are not supported");
            attrs.kernel.context("attrs.kernel is missing")
        };
        Ok(match self.op.as_str() {
            "conv2d" => {
                let weights = &self.weights.as_ref().context("weights are missing")?.shape;
                let [_, kh, kw, c_in] = weights[..] else { bail!("weights must be OHWI") };
                ensure!(c_in == input.c, "grouped convolutions are not supported");
                let kernel = [u16::try_from(kh)?, u16::try_from(kw)?];
                Op::Conv2d { c_out: output.c, window: window(kernel)?, groups: 1, activation }
            }
            "dense" => Op::Dense { units: output.c, activation },
            "max_pool2d" => Op::MaxPool2d { window: window(pool_kernel()?)? },
            "average_pool2d" => Op::AveragePool2d { window: window(pool_kernel()?)? },
            "softmax" => {
                ensure!(attrs.beta.is_none_or(|beta| beta == 1.0), "softmax with a beta other than 1 is not supported");
                Op::Softmax
            }
            other => bail!("the operator '{other}' is not supported"),
        })
    }

    fn weights(&self, shape: [usize; 4]) -> anyhow::Result<QuantizedWeights> {
        let tensor = self.weights.as_ref().context("weights are missing")?;
        let kernel = tensor.int8()?;
        ensure!(kernel.len() == shape.iter().product::<usize>(), "the weights have the wrong size");
        let scales: Vec<f32> =
            tensor.scale.as_ref().context("weights.scale is missing")?.iter().map(|&s| s as f32).collect();
        ensure!(scales.len() == 1 || scales.len() == shape[0], "one weight scale, or one a channel, is needed");
        ensure!(tensor.zero_point.iter().flatten().all(|&z| z == 0), "weights with zero points are not supported");
        let bias = self.bias.as_ref().map_or_else(|| vec![0; shape[0]], |b| b.data.clone());
        ensure!(bias.len() == shape[0], "one bias an output channel is needed");
        Ok(QuantizedWeights { shape, kernel, zero_point: 0, scales, bias })
    }
}

impl CaseTensor {
    fn shape(&self) -> anyhow::Result<Shape> {
        match self.shape[..] {
            [1, c] => Ok(Shape::new(1, 1, c)),
            [1, h, w, c] => Ok(Shape::new(h, w, c)),
            _ => bail!("the shape {:?} is not supported: [1, h, w, c] or [1, n] is", self.shape),
        }
    }

    fn params(&self) -> anyhow::Result<QuantParams> {
        let scale = self.scale.as_deref().unwrap_or_default();
        let zero_point = self.zero_point.as_deref().unwrap_or_default();
        let ([scale], [zero_point]) = (scale, zero_point) else { bail!("one scale and one zero_point are needed") };
        Ok(QuantParams { scale: *scale as f32, zero_point: *zero_point })
    }

    fn int8(&self) -> anyhow::Result<Vec<i8>> {
        ensure!(self.dtype == "int8", "the type {} is not supported: int8 is", self.dtype);
        self.data.iter().map(|&v| i8::try_from(v).context("a value outside int8")).collect()
    }
}
