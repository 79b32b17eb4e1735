//! Whole networks against recorded outputs of TensorFlow Lite Micro: `M.tflite` and `G.json` with inputs and expected outputs.

use crate::compile::{Options, compile};
use crate::interchange::tflite::{ImportOptions, Imported, import};
use crate::model::ModelBytes;
use crate::quantize::QuantizedNetwork;
use anyhow::{Context, bail, ensure};
use ocelli_firmware_tools::bench::{BenchError, BenchOptions, bench};
use ocelli_firmware_tools::{Board, BuildError, Toolchain};
use serde::Deserialize;
use std::path::Path;

/// Inputs of a network and what it must make of them.
#[derive(Debug, Deserialize)]
pub struct Golden {
    /// Where the outputs come from.
    pub source: String,
    input: TensorType,
    output: TensorType,
    cases: Vec<GoldenCase>,
}

#[derive(Debug, Deserialize)]
struct TensorType {
    dtype: String,
}

#[derive(Debug, Deserialize)]
struct GoldenCase {
    input: Vec<i32>,
    /// TensorFlow Lite Micro's; uint8 networks may have TensorFlow Lite's only.
    output_micro: Option<Vec<i32>>,
    output_reference: Option<Vec<i32>>,
}

/// An input and the output that is expected, in int8.
#[derive(Clone, Debug)]
pub struct Pair {
    /// `[h, w, c]`.
    pub input: Vec<i8>,
    /// The scores.
    pub expected: Vec<i8>,
}

/// The first element that is not as expected; values are int8, see [`Golden::as_recorded`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Number of the case, from 0.
    pub case: usize,
    /// Index in its output.
    pub element: usize,
    /// What came out.
    pub found: i8,
    /// What was expected.
    pub expected: i8,
}

impl Golden {
    /// Reads a file of recorded outputs.
    ///
    /// # Errors
    /// When it cannot be read or is no such file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let golden: Self =
            serde_json::from_str(&text).with_context(|| format!("{} holds no recorded outputs", path.display()))?;
        ensure!(!golden.cases.is_empty(), "{} holds no case", path.display());
        Ok(golden)
    }

    /// The cases in int8, as `network` must answer them; values of uint8 are 128 less.
    ///
    /// The judge is TensorFlow Lite Micro. It computes little of uint8: for a network with an operator on uint8 TensorFlow Lite's reference
    /// kernels judge. Types of input and output alone (uint8 around a network of int8) do not count.
    ///
    /// # Errors
    /// When a value is outside its type, or a case has no output.
    pub fn pairs(&self, network: &QuantizedNetwork) -> anyhow::Result<Vec<Pair>> {
        let unsigned = network.has_unsigned();
        let int8 = |values: &[i32], of: &TensorType| -> anyhow::Result<Vec<i8>> {
            let offset = of.offset()?;
            let value = |v: &i32| v.checked_sub(offset).and_then(|v| i8::try_from(v).ok());
            values.iter().map(|v| value(v).context("a value is outside its type")).collect()
        };
        let pair = |case: &GoldenCase| {
            let (micro, reference) = (case.output_micro.as_ref(), case.output_reference.as_ref());
            let expected = if unsigned { reference.or(micro) } else { micro.or(reference) };
            Ok(Pair {
                input: int8(&case.input, &self.input)?,
                expected: int8(expected.context("a case has no output")?, &self.output)?,
            })
        };
        self.cases.iter().map(pair).collect()
    }

    /// An output value in the file's type: 128 more for uint8.
    ///
    /// # Errors
    /// When the file's type is not supported.
    pub fn as_recorded(&self, value: i8) -> anyhow::Result<i32> {
        Ok(i32::from(value) + self.output.offset()?)
    }
}

impl TensorType {
    /// What a value is above the int8 one with the same meaning.
    fn offset(&self) -> anyhow::Result<i32> {
        match self.dtype.as_str() {
            "int8" => Ok(0),
            "uint8" => Ok(128),
            other => bail!("values of {other} are not supported: int8 and uint8 are"),
        }
    }
}

/// Reads a quantized .tflite file.
///
/// # Errors
/// When it cannot be read or imported, or is not quantized.
pub fn read_network(path: &Path) -> anyhow::Result<QuantizedNetwork> {
    let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    match import(&file, &ImportOptions::default()).with_context(|| path.display().to_string())? {
        Imported::Quantized(network) => Ok(*network),
        Imported::Float(_) => bail!("{} is a float network: there is nothing to compare byte for byte", path.display()),
    }
}

/// Runs a compiled model on the host over the inputs.
///
/// # Errors
/// When the model is refused or an input has another size than its input.
pub fn host_outputs(model: &[u8], pairs: &[Pair]) -> anyhow::Result<Vec<Vec<i8>>> {
    ModelBytes::new(model).with_session(|session| {
        let run = |pair: &Pair| {
            Ok(session.run_frame(&pair.input).context("an input has another size than the network's")?.to_vec())
        };
        pairs.iter().map(run).collect()
    })
}

/// The first element of the outputs that is not as expected.
///
/// # Errors
/// When an output has another size than expected.
pub fn first_difference(pairs: &[Pair], outputs: &[Vec<i8>]) -> anyhow::Result<Option<Difference>> {
    ensure!(pairs.len() == outputs.len(), "{} outputs of {} cases", outputs.len(), pairs.len());
    for (case, (pair, output)) in pairs.iter().zip(outputs).enumerate() {
        ensure!(
            output.len() == pair.expected.len(),
            "the network makes {} scores, case {case} has {}",
            output.len(),
            pair.expected.len()
        );
        if let Some(element) = output.iter().zip(&pair.expected).position(|(a, b)| a != b) {
            let (found, expected) = (output[element], pair.expected[element]);
            return Ok(Some(Difference { case, element, found, expected }));
        }
    }
    Ok(None)
}

/// The network up to a layer, without what that layer does not need.
#[must_use]
pub fn up_to(network: &QuantizedNetwork, last: usize) -> QuantizedNetwork {
    let mut needed = vec![false; last + 1];
    needed[last] = true;
    for layer in (0..=last).rev() {
        // inputs come before their readers: by the time the loop is at a layer all its readers have been seen
        if needed[layer] {
            for producer in network.layers[layer].node.inputs.iter().filter_map(|input| input.checked_sub(1)) {
                needed[producer] = true;
            }
        }
    }
    let mut places = vec![0; last + 2];
    let mut part = QuantizedNetwork { layers: Vec::new(), labels: Vec::new(), ..network.clone() };
    for (index, layer) in network.layers.iter().take(last + 1).enumerate().filter(|&(index, _)| needed[index]) {
        let mut layer = layer.clone();
        for input in &mut layer.node.inputs {
            *input = places[*input];
        }
        part.layers.push(layer);
        places[index + 1] = part.layers.len();
    }
    part
}

/// Name of the first layer whose output `device` and the host disagree on; `device` runs a compiled model over the inputs. A layer
/// whose whole output does not fit the device ([`BuildError::TooLarge`]) is passed over.
///
/// # Errors
/// When a part of the network cannot be compiled, or the device fails in another way.
pub fn first_differing_layer(
    network: &QuantizedNetwork,
    options: Options,
    pairs: &[Pair],
    mut device: impl FnMut(&[u8]) -> anyhow::Result<Vec<Vec<i8>>>,
) -> anyhow::Result<Option<String>> {
    for (index, layer) in network.layers.iter().enumerate() {
        let model = compile(&up_to(network, index), options)?;
        let outputs = match device(&model) {
            Ok(outputs) => outputs,
            Err(error) if is_too_large(&error) => continue,
            Err(error) => return Err(error.context(format!("the network up to layer '{}'", layer.node.name))),
        };
        if outputs != host_outputs(&model, pairs)? {
            return Ok(Some(layer.node.name.clone()));
        }
    }
    Ok(None)
}

/// Whether a model did not run because it does not fit the board.
fn is_too_large(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(BenchError::Build(BuildError::TooLarge(_))))
}

/// Runs a compiled model on an emulated board over the inputs.
///
/// # Errors
/// When a tool is missing, the model does not fit the board, or the run fails.
pub fn outputs_of_board(board: &'static Board, model: &[u8], pairs: &[Pair]) -> anyhow::Result<Vec<Vec<i8>>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.ocelli");
    std::fs::write(&path, model)?;
    let frames: Vec<Vec<i8>> = pairs.iter().map(|pair| pair.input.clone()).collect();
    let options = BenchOptions { skip_host: true, ..BenchOptions::default() };
    Ok(bench(board, &Toolchain::find(board.target)?, &path, &frames, &options)?.outputs)
}
