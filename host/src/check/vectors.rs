//! Operator cases in JSON: a small layer, its inputs, the expected output from an independent source.

use crate::compile::{Options, Target, compile};
use crate::model::ModelBytes;
use crate::network::Node;
use crate::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork, QuantizedWeights};
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Activation, Op, Padding, Shape, Unary, Window};
use ocelli_firmware_tools::{Board, Case as OnBoard, Toolchain, run_cases};
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
    #[serde(default)]
    inputs: Vec<CaseTensor>,
    weights: Option<CaseTensor>,
    bias: Option<CaseTensor>,
    output: CaseTensor,
}

#[derive(Debug, Default, Deserialize)]
struct Attributes {
    stride: Option<OneOrTwo>,
    padding: Option<PaddingAttribute>,
    dilation: Option<OneOrTwo>,
    kernel: Option<OneOrTwo>,
    groups: Option<u32>,
    activation: Option<String>,
    beta: Option<f64>,
    alpha: Option<f32>,
    axis: Option<i32>,
    axes: Option<Vec<i32>>,
    paddings: Option<Vec<[u16; 2]>>,
}

/// A number for each axis of a picture, or one for that of a sequence.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrTwo {
    One(u16),
    List([u16; 1]),
    Two([u16; 2]),
}

impl OneOrTwo {
    const fn values(self) -> [u16; 2] {
        match self {
            Self::One(n) | Self::List([n]) => [1, n],
            Self::Two(both) => both,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PaddingAttribute {
    Name(String),
    Cells([u16; 4]),
}

#[derive(Clone, Debug, Deserialize)]
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

/// Runs cases on an emulated board, all of them in one run; an outcome for each, in their order.
///
/// # Errors
/// When a tool is missing, or the run as a whole fails.
pub fn run_on_board(board: &'static Board, paths: &[PathBuf]) -> anyhow::Result<Vec<Outcome>> {
    let options = Options::for_target(Target::of(board));
    let compiled = |path: &PathBuf| -> anyhow::Result<(OnBoard, Vec<i8>)> {
        let case = read(path)?;
        let on_board = OnBoard { model: compile(&case.network()?, options)?, frame: case.input()? };
        on_board.check()?;
        Ok((on_board, case.expected()?))
    };
    let mut runnable = Vec::new();
    let prepared: Vec<anyhow::Result<Vec<i8>>> = paths
        .iter()
        .map(|path| {
            let (on_board, expected) = compiled(path)?;
            runnable.push(on_board);
            Ok(expected)
        })
        .collect();
    let mut outputs = if runnable.is_empty() {
        Vec::new() // the board is not asked for nothing
    } else {
        run_cases(board, &Toolchain::find(board.target)?, &runnable, None)?
    }
    .into_iter();
    let outcome = |expected: anyhow::Result<Vec<i8>>| {
        let output = expected.map(|expected| (outputs.next(), expected));
        match output {
            Err(error) => Outcome::NotRun(format!("{error:#}")),
            Ok((None, _)) => Outcome::NotRun("the board gave no output for it".to_owned()),
            Ok((Some(Err(reason)), _)) => Outcome::NotRun(reason),
            Ok((Some(Ok(output)), expected)) => {
                first_difference(&output, &expected).map_or(Outcome::Passed, Outcome::Failed)
            }
        }
    };
    Ok(prepared.into_iter().map(outcome).collect())
}

/// The first difference from what the case expects.
fn try_run(path: &Path) -> anyhow::Result<Option<String>> {
    let case = read(path)?;
    let network = case.network()?;
    let bytes = ModelBytes::new(&compile(&network, Options::for_target(Target::HOST))?);
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
    /// The case as a network; several inputs arrive side by side as the channels of one, and are taken apart by convolutions that
    /// change nothing.
    ///
    /// # Errors
    /// When the operator is not supported or a field is missing.
    pub fn network(&self) -> anyhow::Result<QuantizedNetwork> {
        let tensors = self.tensors();
        let mut shapes = tensors.iter().map(|tensor| tensor.shape()).collect::<anyhow::Result<Vec<_>>>()?;
        let output = self.output.shape()?;
        let largest = shapes.iter().max_by_key(|shape| pixels(shape));
        let first = *largest.context("the case has no input")?;
        let op = self.op(&shapes, output)?;
        let unsigned = self.output.dtype == "uint8" && tensors.iter().all(|tensor| tensor.dtype == "uint8");
        let mut network = QuantizedNetwork {
            picture: None,
            input_shape: first,
            input: tensors[0].params()?,
            layers: Vec::new(),
            labels: Vec::new(),
        };
        let mut inputs = vec![0];
        if tensors.len() > 1 {
            let c = shapes.iter().map(|shape| shape.c).sum();
            network.input_shape = Shape { c, ..first };
            network.input = QuantParams { scale: 1.0, zero_point: 0 };
            inputs.clear();
            let mut channel = 0;
            for (tensor, &shape) in tensors.iter().zip(&shapes) {
                network.layers.push(pick(&network, channel, Shape { c: shape.c, ..first }, tensor.params()?));
                if (shape.h, shape.w) != (first.h, first.w) {
                    network.layers.push(one_pixel(&network, shape)?);
                }
                channel += shape.c;
                inputs.push(network.layers.len());
            }
        }
        let mut large_first = shapes.clone();
        large_first.sort_by_key(|shape| std::cmp::Reverse(pixels(shape)));
        let inferred = op.infer_shape(&large_first)?;
        ensure!(inferred == output, "the case's output is {output}, the operator makes {inferred}");
        let weights = match op.weight_shape(first) {
            None => None,
            Some(expected) => Some(self.weights(&op, expected.map(|n| n as usize))?),
        };
        if shapes.len() == 2 && pixels(&shapes[0]) < pixels(&shapes[1]) {
            inputs.swap(0, 1); // one value a channel comes second: sums and products do not mind
            shapes.swap(0, 1);
        }
        let node = Node { name: self.op.clone(), op, inputs, input_shapes: shapes, output };
        network.layers.push(QuantizedLayer { node, output: self.output.params()?, weights, unsigned });
        if let (true, Some(clamp)) = (is_pool(&op), self.activation()?.as_unary()) {
            let node = Node {
                name: format!("{}_clamp", self.op),
                op: Op::Unary(clamp),
                inputs: vec![network.layers.len()],
                input_shapes: vec![output],
                output,
            };
            network.layers.push(QuantizedLayer { node, output: self.output.params()?, weights: None, unsigned });
        }
        Ok(network)
    }

    fn tensors(&self) -> Vec<&CaseTensor> {
        self.input.iter().chain(&self.inputs).collect()
    }

    /// The frame that the network takes: the inputs' values, side by side along the channels.
    ///
    /// # Errors
    /// When they are of another type than int8 or uint8.
    pub fn input(&self) -> anyhow::Result<Vec<i8>> {
        let tensors = self.tensors();
        let parts =
            tensors.iter().map(|tensor| Ok((tensor.int8()?, tensor.shape()?))).collect::<anyhow::Result<Vec<_>>>()?;
        let most = parts.iter().map(|(_, shape)| pixels(shape) as usize).max().unwrap_or(0);
        let mut frame = Vec::new();
        for pixel in 0..most {
            for (values, shape) in &parts {
                let c = shape.c as usize;
                // a factor for each channel is repeated at every pixel
                let at = if values.len() == c { 0 } else { pixel * c };
                frame.extend_from_slice(values.get(at..at + c).context("an input has another size than its shape")?);
            }
        }
        Ok(frame)
    }

    /// The expected values.
    ///
    /// # Errors
    /// When they are of another type than int8 or uint8.
    pub fn expected(&self) -> anyhow::Result<Vec<i8>> {
        self.output.int8()
    }

    fn activation(&self) -> anyhow::Result<Activation> {
        Ok(match self.attrs.activation.as_deref() {
            None | Some("none") => Activation::None,
            Some("relu") => Activation::Relu,
            Some("relu6") => Activation::Relu6,
            Some("relu_n1_to_1") => Activation::ReluN1To1,
            Some(other) => bail!("the activation '{other}' is not supported"),
        })
    }

    fn op(&self, inputs: &[Shape], output: Shape) -> anyhow::Result<Op> {
        let (attrs, input) = (&self.attrs, inputs[0]);
        let activation = self.activation()?;
        let window = |kernel: [u16; 2]| -> anyhow::Result<Window> {
            let padding = match &attrs.padding {
                Some(PaddingAttribute::Name(name)) if name == "same" => Padding::Same,
                Some(PaddingAttribute::Name(name)) if name == "valid" => Padding::Valid,
                Some(PaddingAttribute::Cells(cells)) => Padding::Explicit(*cells),
                other => bail!("the padding {other:?} is not supported"),
            };
            let stride = attrs.stride.context("attrs.stride is missing")?.values();
            Ok(Window { kernel, stride, dilation: attrs.dilation.map_or([1, 1], OneOrTwo::values), padding })
        };
        let pool = || window(attrs.kernel.context("attrs.kernel is missing")?.values());
        let kernel = || -> anyhow::Result<[u16; 2]> {
            let weights = &self.weights.as_ref().context("weights are missing")?.shape;
            let [.., kh, kw, _] = weights[..] else { bail!("weights must be OHWI") };
            // [c_out, k, c_in] for a sequence
            let kh = if weights.len() == 3 { 1 } else { kh };
            Ok([u16::try_from(kh)?, u16::try_from(kw)?])
        };
        Ok(match self.op.as_str() {
            "conv2d" | "conv1d" => {
                let weights = self.weights.as_ref().context("weights are missing")?;
                let depth = *weights.shape.last().context("weights must be OHWI")?;
                let groups = attrs.groups.unwrap_or_else(|| input.c.checked_div(depth).unwrap_or(1).max(1));
                Op::Conv2d { c_out: output.c, window: window(kernel()?)?, groups, activation }
            }
            "depthwise_conv2d" => Op::DepthwiseConv2d {
                multiplier: output.c.checked_div(input.c).context("the input has no channels")?,
                window: window(kernel()?)?,
                activation,
            },
            "dense" => Op::Dense { units: output.c, activation },
            "max_pool2d" => Op::MaxPool2d { window: pool()? },
            "min_pool2d" => Op::MinPool2d { window: pool()? },
            "average_pool2d" => Op::AveragePool2d { window: pool()? },
            "mean" | "reduce_max" => {
                let axes = attrs.axes.as_deref().context("attrs.axes is missing")?;
                ensure!(axes == [1, 2], "a reduction over the axes {axes:?} is not supported: [1, 2] is");
                if self.op == "mean" { Op::GlobalAveragePool } else { Op::GlobalMaxPool }
            }
            "add" => Op::Add { activation },
            "mul" => Op::Mul { activation },
            "concat" => {
                ensure!(
                    matches!(attrs.axis, Some(3 | -1)),
                    "a concat along axis {:?} is not supported: 3 is",
                    attrs.axis
                );
                Op::Concat
            }
            "pad" => {
                let Some([[0, 0], [top, bottom], [left, right], [0, 0]]) = attrs.paddings.as_deref() else {
                    bail!("padding of {:?} is not supported: rows and columns of a picture are", attrs.paddings);
                };
                Op::Pad { cells: [*top, *left, *bottom, *right] }
            }
            "relu" => Op::Unary(Unary::Relu),
            "relu6" => Op::Unary(Unary::Relu6),
            "relu_n1_to_1" => Op::Unary(Unary::ReluN1To1),
            "leaky_relu" => Op::Unary(Unary::LeakyRelu { alpha: attrs.alpha.context("attrs.alpha is missing")? }),
            "logistic" => Op::Unary(Unary::Sigmoid),
            "tanh" => Op::Unary(Unary::Tanh),
            "hard_swish" => Op::Unary(Unary::HardSwish),
            "quantize" => Op::Unary(Unary::Requantize),
            "softmax" => {
                ensure!(attrs.beta.is_none_or(|beta| beta == 1.0), "softmax with a beta other than 1 is not supported");
                Op::Softmax
            }
            other => bail!("the operator '{other}' is not supported"),
        })
    }

    fn weights(&self, op: &Op, shape: [usize; 4]) -> anyhow::Result<QuantizedWeights> {
        let tensor = self.weights.as_ref().context("weights are missing")?;
        let kernel = tensor.int8()?;
        ensure!(kernel.len() == shape.iter().product::<usize>(), "the weights have the wrong size");
        let scales: Vec<f32> =
            tensor.scale.as_ref().context("weights.scale is missing")?.iter().map(|&s| s as f32).collect();
        let channels = shape[op.channel_axis()];
        ensure!(scales.len() == 1 || scales.len() == channels, "one weight scale, or one a channel, is needed");
        let zero_points = tensor.zero_point.as_deref().unwrap_or_default();
        let zero_point = zero_points.first().map_or(0, |&z| z - tensor.offset());
        ensure!(
            zero_points.iter().all(|&z| z - tensor.offset() == zero_point) && (zero_point == 0 || scales.len() == 1),
            "weights with a zero point a channel are not supported"
        );
        let bias = self.bias.as_ref().map_or_else(|| vec![0; channels], |b| b.data.clone());
        ensure!(bias.len() == channels, "one bias an output channel is needed");
        Ok(QuantizedWeights { shape, kernel, zero_point, scales, bias })
    }
}

/// Rows times columns.
fn pixels(shape: &Shape) -> u64 {
    u64::from(shape.h) * u64::from(shape.w)
}

const fn is_pool(op: &Op) -> bool {
    matches!(op, Op::MaxPool2d { .. } | Op::MinPool2d { .. } | Op::AveragePool2d { .. })
}

/// A convolution that takes channels `first..` of the network's input and gives them another quantization, their bits unchanged.
fn pick(network: &QuantizedNetwork, first: u32, output: Shape, params: QuantParams) -> QuantizedLayer {
    let input = network.input_shape;
    let op = Op::Conv2d {
        c_out: output.c,
        window: Window::new([1, 1], [1, 1], Padding::Valid),
        groups: 1,
        activation: Activation::None,
    };
    let kernel = (0..output.c).flat_map(|o| (0..input.c).map(move |i| i8::from(i == first + o))).collect();
    let weights = QuantizedWeights {
        shape: [output.c as usize, 1, 1, input.c as usize],
        kernel,
        zero_point: 0,
        scales: vec![params.scale], // the input's scale is 1: a factor of exactly 1
        bias: vec![-params.zero_point; output.c as usize],
    };
    let name = format!("input{first}");
    let node = Node { name, op, inputs: vec![0], input_shapes: vec![input], output };
    QuantizedLayer { node, output: params, weights: Some(weights), unsigned: false }
}

/// The one value a channel that every pixel of the last layer's output repeats.
fn one_pixel(network: &QuantizedNetwork, shape: Shape) -> anyhow::Result<QuantizedLayer> {
    let last = network.layers.last().context("no layer")?;
    ensure!((shape.h, shape.w) == (1, 1), "inputs of {} and {shape} are not supported", last.node.output);
    let node = Node {
        name: format!("{}.pixel", last.node.name),
        op: Op::GlobalMaxPool,
        inputs: vec![network.layers.len()],
        input_shapes: vec![last.node.output],
        output: shape,
    };
    Ok(QuantizedLayer { node, output: last.output, weights: None, unsigned: false })
}

impl CaseTensor {
    fn shape(&self) -> anyhow::Result<Shape> {
        match self.shape[..] {
            [1, c] => Ok(Shape::new(1, 1, c)),
            [1, w, c] => Ok(Shape::new(1, w, c)),
            [1, h, w, c] => Ok(Shape::new(h, w, c)),
            _ => bail!("the shape {:?} is not supported: [1, h, w, c], [1, w, c] or [1, n] is", self.shape),
        }
    }

    /// What an unsigned value is above the signed one with the same meaning.
    fn offset(&self) -> i32 {
        if self.dtype == "uint8" { 128 } else { 0 }
    }

    fn params(&self) -> anyhow::Result<QuantParams> {
        let scale = self.scale.as_deref().unwrap_or_default();
        let zero_point = self.zero_point.as_deref().unwrap_or_default();
        let ([scale], [zero_point]) = (scale, zero_point) else { bail!("one scale and one zero_point are needed") };
        Ok(QuantParams { scale: *scale as f32, zero_point: *zero_point - self.offset() })
    }

    fn int8(&self) -> anyhow::Result<Vec<i8>> {
        ensure!(
            matches!(self.dtype.as_str(), "int8" | "uint8"),
            "the type {} is not supported: int8 and uint8 are",
            self.dtype
        );
        let value = |v: i32| v.checked_sub(self.offset()).and_then(|v| i8::try_from(v).ok());
        self.data.iter().map(|&v| value(v).context("a value outside its type")).collect()
    }
}
