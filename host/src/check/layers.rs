//! Every operator of a model file against tract, fed the same inputs: the runtime's own int8 tensors, as they occur inside the whole
//! network, and for operators with one input noise besides.

use super::tract::TractModel;
use super::{STEP_TOLERANCE, largest_difference};
use crate::compile::{Options, Target, compile};
use crate::data::Dataset;
use crate::interchange::onnx::INPUT;
use crate::interchange::qdq::{self, int8_name};
use crate::model::{ModelBytes, quantize_pixels, run_observed};
use crate::network::Node;
use crate::quantize::{QuantizedLayer, QuantizedNetwork};
use crate::run::Bundle;
use anyhow::{Context, ensure};
use ocelli::ir::{Op, Shape};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeSet;

/// Images that are run.
pub const OBSERVED_IMAGES: usize = 16;
/// Frames of noise over the whole int8 range, at the input of the network and of each layer: they reach weights that images leave alone.
const NOISE_FRAMES: usize = 16;
/// What float32 may add to a quotient of scales.
const ROUNDING: f32 = 1e-3;
/// Seed of the noise.
const NOISE_SEED: u64 = 11;

/// One layer against tract's.
#[derive(Clone, Debug, Serialize)]
pub struct LayerCheck {
    /// Name of the layer.
    pub name: String,
    /// Layers that the compiler fused into it; they have no output of their own.
    pub with: Vec<String>,
    /// Values compared.
    pub values: usize,
    /// Values that differ.
    pub differing: usize,
    /// Largest difference in steps.
    pub max_steps: u32,
    /// Largest difference that is allowed: one step, more where what was fused into the layer is rounded too.
    pub allowed: u32,
    /// Whether the layer on its own computes something else than inside the whole network.
    pub differs_in_place: bool,
}

impl LayerCheck {
    fn compare(&mut self, ours: &[i8], theirs: &[i8]) -> anyhow::Result<()> {
        ensure!(ours.len() == theirs.len(), "{} values here, {} in tract", ours.len(), theirs.len());
        let (max_steps, differing) = largest_difference(ours, theirs);
        self.values += ours.len();
        self.differing += differing;
        self.max_steps = self.max_steps.max(max_steps);
        Ok(())
    }
}

pub(super) fn check(bundle: &Bundle, data: &Dataset) -> anyhow::Result<Vec<LayerCheck>> {
    let labels: Vec<String> = bundle.model.model()?.labels().map(str::to_owned).collect();
    let network = qdq::import(&bundle.network, &bundle.qdq, &labels)?;
    let frames = observe(bundle, &network, data)?;
    let segments = segments(&network, frames.first().context("there are no frames")?)?;
    segments
        .into_par_iter()
        .map(|segment| {
            let name = network.layers[segment.node].node.name.clone();
            segment.check(bundle, &network, &frames).with_context(|| format!("layer '{name}'"))
        })
        .collect()
}

/// What the runtime made of a frame: every tensor of the network, `None` for one that the compiler fused away.
type Tensors = Vec<Option<Vec<i8>>>;

/// Runs the first images, then noise, through the whole network: for each the input, then every layer's output, `None` for one that
/// the compiler fused away.
pub(crate) fn observe(bundle: &Bundle, network: &QuantizedNetwork, data: &Dataset) -> anyhow::Result<Vec<Tensors>> {
    let model = bundle.model.model()?;
    let names: Vec<&str> = model.names().collect();
    let nodes = network.layers.iter().map(|layer| layer.node.name.as_str());
    let places: Vec<Option<usize>> = nodes.map(|node| names.iter().position(|name| *name == node)).collect();
    let images = (0..data.len().min(OBSERVED_IMAGES)).map(|i| quantize_pixels(&model, data.input(i)));
    let frames = images.chain(noise(network.input_shape, 0).map(Ok)).collect::<anyhow::Result<Vec<_>>>()?;
    bundle.model.with_session(|session| {
        let run = |frame: Vec<i8>| {
            let outputs = run_observed(session, &frame)?;
            let of_node = |place: &Option<usize>| place.and_then(|op| outputs.get(op).cloned());
            Ok(std::iter::once(Some(frame)).chain(places.iter().map(of_node)).collect())
        };
        frames.into_iter().map(run).collect()
    })
}

fn noise(shape: Shape, stream: u64) -> impl Iterator<Item = Vec<i8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(NOISE_SEED + stream);
    let elements = shape.elements().unwrap_or(0);
    (0..NOISE_FRAMES).map(move |_| (0..elements).map(|_| rng.random()).collect())
}

/// An operator of the model file: a layer, with those that were fused into it.
#[derive(Debug)]
struct Segment {
    /// The layer whose output it makes.
    node: usize,
    /// The fused layers and the layer itself, in order.
    layers: Vec<usize>,
    /// The tensors that it reads.
    sources: Vec<usize>,
}

/// The operators of the model file, by the tensors that it has.
fn segments(network: &QuantizedNetwork, tensors: &Tensors) -> anyhow::Result<Vec<Segment>> {
    let is_made = |tensor: usize| tensors.get(tensor).is_some_and(Option::is_some);
    let mut segments = Vec::new();
    for node in (0..network.layers.len()).filter(|&node| is_made(node + 1)) {
        let (mut layers, mut sources) = (BTreeSet::from([node]), Vec::new());
        let mut open = vec![node];
        while let Some(layer) = open.pop() {
            for &tensor in &network.layers[layer].node.inputs {
                if is_made(tensor) {
                    if !sources.contains(&tensor) {
                        sources.push(tensor);
                    }
                } else if let Some(fused) = tensor.checked_sub(1).filter(|&fused| layers.insert(fused)) {
                    open.push(fused);
                }
            }
        }
        segments.push(Segment { node, layers: layers.into_iter().collect(), sources });
    }
    let lost = (0..network.layers.len()).find(|layer| !segments.iter().any(|s| s.layers.contains(layer)));
    let lost = lost.map(|layer| &network.layers[layer].node.name);
    ensure!(lost.is_none(), "the model file has no layer '{}'", lost.map_or("", String::as_str));
    Ok(segments)
}

impl Segment {
    fn check(&self, bundle: &Bundle, network: &QuantizedNetwork, frames: &[Tensors]) -> anyhow::Result<LayerCheck> {
        let name = |layer: usize| network.layers[layer].node.name.clone();
        let mut check = LayerCheck {
            name: name(self.node),
            with: self.layers.iter().filter(|&&layer| layer != self.node).map(|&layer| name(layer)).collect(),
            values: 0,
            differing: 0,
            max_steps: 0,
            allowed: self.allowed(network),
            differs_in_place: false,
        };
        let source_name = |&tensor: &usize| int8_name(&tensor.checked_sub(1).map_or(INPUT.to_owned(), name));
        let sources: Vec<String> = self.sources.iter().map(source_name).collect();
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let tract = TractModel::with_inputs(&bundle.qdq, &sources, &int8_name(&check.name))?;
        for tensors in frames {
            let tensor = |tensor: usize| tensors[tensor].as_deref().context("a tensor is missing");
            let inputs = self.sources.iter().map(|&source| tensor(source)).collect::<anyhow::Result<Vec<_>>>()?;
            check.compare(tensor(self.node + 1)?, &tract.run_i8s(&inputs)?)?;
        }
        if let [source] = self.sources[..] {
            let options = Options::for_target(Target::of_model(&bundle.model.model()?));
            let alone = ModelBytes::new(&compile(&self.isolate(network, source), options)?);
            alone.with_session(|session| {
                for tensors in frames {
                    let (Some(input), Some(in_place)) = (&tensors[source], &tensors[self.node + 1]) else { continue };
                    let output = session.run_frame(input).context("the layer's input has another size")?;
                    check.differs_in_place |= output != in_place.as_slice();
                }
                for frame in noise(shape_of(network, source), 1 + self.node as u64) {
                    let output = session.run_frame(&frame).context("the layer's input has another size")?;
                    check.compare(output, &tract.run_i8s(&[&frame])?)?;
                }
                Ok(())
            })?;
        }
        Ok(check)
    }

    /// Steps that the output may differ by: every value that is rounded on the way may be rounded otherwise by one of its own steps.
    fn allowed(&self, network: &QuantizedNetwork) -> u32 {
        let output = network.layers[self.node].output.scale;
        let rounds = |op: &Op| !op.keeps_quantization() || matches!(op, Op::AveragePool2d { .. });
        let steps: f32 = self
            .layers
            .iter()
            .map(|&layer| &network.layers[layer])
            .filter(|layer| rounds(&layer.node.op))
            .map(|layer| (layer.output.scale / output - ROUNDING).ceil())
            .sum();
        (steps as u32).max(STEP_TOLERANCE)
    }

    /// The segment as a network of its own, from the numbers that tract is given.
    fn isolate(&self, network: &QuantizedNetwork, source: usize) -> QuantizedNetwork {
        // the tensors' numbers in the network of its own: the source is its input
        let renumber =
            |tensor: &usize| self.layers.iter().position(|&layer| layer + 1 == *tensor).map_or(0, |at| at + 1);
        let layers = self.layers.iter().map(|&index| {
            let layer = network.layers[index].clone();
            let inputs = layer.node.inputs.iter().map(renumber).collect();
            QuantizedLayer { node: Node { inputs, ..layer.node }, ..layer }
        });
        QuantizedNetwork {
            picture: None,
            input_shape: shape_of(network, source),
            input: network.params_of(source),
            layers: layers.collect(),
            labels: Vec::new(),
        }
    }
}

fn shape_of(network: &QuantizedNetwork, tensor: usize) -> Shape {
    tensor.checked_sub(1).map_or(network.input_shape, |layer| network.layers[layer].node.output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Network, Weights};
    use crate::quantize::{Calibration, Range, quantize};

    const NET: &str = r#"
name = "t"
[input]
height = 8
width = 8
color = "gray"
[[layer]]
type = "zero_padding2d"
name = "pad"
padding = 1
[[layer]]
type = "conv2d"
name = "a"
filters = 2
kernel = 3
[[layer]]
type = "conv2d"
name = "b"
filters = 2
kernel = 3
padding = "same"
[[layer]]
type = "add"
name = "sum"
inputs = ["a", "b"]
[[layer]]
type = "flatten"
name = "flat"
[[layer]]
type = "dense"
name = "end"
units = 2
activation = "softmax"
"#;

    fn network() -> QuantizedNetwork {
        let network = Network::from_toml(NET, "net.toml").unwrap();
        let weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        let calibration = Calibration::constant(&network, Range { min: -1.0, max: 1.0 }).unwrap();
        quantize(&network, &weights, &calibration, &["x".to_owned(), "y".to_owned()]).unwrap()
    }

    /// The tensors of a frame where the compiler fused these layers away.
    fn tensors(network: &QuantizedNetwork, fused: &[&str]) -> Tensors {
        let kept = |layer: &QuantizedLayer| !fused.contains(&layer.node.name.as_str());
        let made = network.layers.iter().map(|layer| kept(layer).then(Vec::new));
        std::iter::once(Some(Vec::new())).chain(made).collect()
    }

    fn described(network: &QuantizedNetwork, fused: &[&str]) -> Vec<(String, Vec<usize>, u32)> {
        let segments = segments(network, &tensors(network, fused)).unwrap();
        let name = |segment: &Segment| network.layers[segment.node].node.name.clone();
        segments.iter().map(|s| (name(s), s.sources.clone(), s.allowed(network))).collect()
    }

    #[test]
    fn fused_layers_are_judged_with_the_one_that_they_are_fused_into() {
        let mut network = network();
        let own = |name: &str, sources: &[usize], steps: u32| (name.to_owned(), sources.to_vec(), steps);
        let all = described(&network, &[]);
        assert_eq!(all[3], own("sum", &[2, 3], 1));
        assert_eq!(all.len(), 7);
        // the sum's steps are three times as fine as those of the convolution that is rounded on the way
        network.layers[3].output.scale = network.layers[2].output.scale / 3.0;
        let fused = described(&network, &["pad", "b", "flat"]);
        let expected = [own("a", &[0], 1), own("sum", &[2], 4), own("end", &[4], 1), own("end.softmax", &[6], 1)];
        assert_eq!(fused, expected);
    }

    #[test]
    fn a_fused_layer_is_isolated_with_what_is_fused_into_it() {
        let network = network();
        let segments = segments(&network, &tensors(&network, &["pad", "b", "flat"])).unwrap();
        let alone = segments[1].isolate(&network, segments[1].sources[0]);
        let wired: Vec<_> = alone.layers.iter().map(|l| (l.node.name.as_str(), l.node.inputs.clone())).collect();
        assert_eq!(wired, [("b", vec![0]), ("sum", vec![0, 1])]);
        assert_eq!((alone.input_shape, alone.input), (network.layers[1].node.output, network.layers[1].output));
    }

    #[test]
    fn a_layer_that_is_nowhere_in_the_model_is_named() {
        let network = network();
        let error = segments(&network, &tensors(&network, &["end.softmax"])).unwrap_err();
        assert_eq!(error.to_string(), "the model file has no layer 'end.softmax'");
    }
}
