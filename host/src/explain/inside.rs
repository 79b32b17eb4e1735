//! One run of a network in plain arrays: every tensor in int8 and, where the float weights are at hand, in float.

use super::constants::{factors, numbers};
use crate::model::{ModelBytes, quantize_pixels, run_observed};
use crate::network::{Network, Node, Weights};
use crate::quantize::QuantParams;
use crate::train::{Classifier, device};
use anyhow::{Context, ensure};
use burn::tensor::{Tensor, TensorData};
use ocelli::image::InputSpec;
use ocelli::ir::{Activation, Op, Shape};
use ocelli::model::records::OpRecord;
use ocelli::quant::Multiplier;
use std::collections::BTreeMap;

/// What every operator of a model file made of one picture.
#[derive(Clone, Debug)]
pub struct Inside {
    /// 0 is the network's input, `i + 1` the output of layer `i`.
    pub tensors: Vec<Values>,
    /// The operators in order.
    pub layers: Vec<Layer>,
    /// Class labels.
    pub labels: Vec<String>,
}

/// A tensor's values, `[h, w, c]`.
#[derive(Clone, Debug)]
pub struct Values {
    /// Name of the layer that made it.
    pub name: String,
    /// Rows, columns, channels.
    pub shape: Shape,
    /// Scale and zero point.
    pub params: QuantParams,
    /// As the runtime has them.
    pub int8: Vec<i8>,
    /// As the float network has them; `None` where there is no such network or no such tensor in it.
    pub float: Option<Vec<f32>>,
}

/// An operator of the model file.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its record; the file offsets in it are of no use here.
    pub record: OpRecord,
    /// Tensors that it reads.
    pub inputs: Vec<usize>,
    /// Weights and biases, for the operators that have some.
    pub numbers: Option<Numbers>,
    /// The factors of its integer arithmetic: one an output channel for operators with weights.
    pub factors: Vec<Multiplier>,
    /// The 256 entries of a function of single values; empty for other operators.
    pub table: Vec<i8>,
    /// The float operator of the same name.
    pub op: Option<Op>,
}

/// Weights in one order for all operators: `[c_out, kh * kw, depth]`; `depth` is the input channels that a kernel cell sees, for a dense
/// layer all its inputs in H, W, C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// Products of one output value.
    pub taps: usize,
    /// Input channels of a kernel cell.
    pub depth: usize,
    /// The int8 weights.
    pub int8: Vec<i8>,
    /// The int32 biases, at input scale times weight scale; zero points are not folded in.
    pub bias: Vec<i32>,
    /// What every int8 weight is short of its real value.
    pub weight_zero_point: i32,
    /// The float weights in the same order, and their biases.
    pub float: Option<(Vec<f32>, Vec<f32>)>,
}

/// The float network that a model was compiled from.
#[derive(Clone, Debug)]
pub struct FloatSide {
    /// The network.
    pub network: Network,
    /// Its weights, as trained.
    pub weights: Weights,
}

impl Inside {
    /// Runs a picture (`[h, w, c]` bytes in the model's size and colour order) through the model, and takes what the float network made
    /// of it ([`FloatSide::observe`]).
    ///
    /// # Errors
    /// When the picture does not fit, or the float network is not the one that the model was compiled from.
    pub fn of_picture(model: &ModelBytes, float: Option<&Observed>, pixels: &[u8]) -> anyhow::Result<Self> {
        Self::of_frame(model, &quantize_pixels(&model.model()?, pixels)?, float)
    }

    /// As [`of_picture`](Self::of_picture), for an input that is quantized already.
    ///
    /// # Errors
    /// As `of_picture`.
    pub fn of_frame(model: &ModelBytes, frame: &[i8], float: Option<&Observed>) -> anyhow::Result<Self> {
        let parsed = model.model()?;
        let graph = parsed.graph();
        let mut outputs = model.with_session(|session| run_observed(session, frame))?;
        let mut int8 = vec![frame.to_vec()];
        int8.append(&mut outputs);
        let names: Vec<String> = parsed.names().map(str::to_owned).collect();
        let of_tensor = |name: &str| float.and_then(|side| side.tensors.get(name).cloned());
        let mut tensors = Vec::new();
        for (index, (record, int8)) in graph.tensors.iter().zip(int8).enumerate() {
            let name =
                index.checked_sub(1).map_or(crate::network::INPUT, |op| names.get(op).map_or("", String::as_str));
            let shape = record.shape();
            let elements = shape.elements().unwrap_or(0) as usize;
            ensure!(int8.len() == elements, "layer '{name}' made {} values of {elements}", int8.len());
            let params = QuantParams { scale: record.scale, zero_point: record.zero_point };
            let float = of_tensor(name).filter(|values| values.len() == elements);
            tensors.push(Values { name: name.to_owned(), shape, params, int8, float });
        }
        let mut layers = Vec::new();
        for (op, (record, name)) in graph.ops.iter().zip(names).enumerate() {
            let weights = float.and_then(|side| side.weights.layer(&name));
            let numbers = numbers(&parsed, op, weights).with_context(|| format!("layer '{name}'"))?;
            let is_table = record.kind == ocelli::model::records::kind::LOOKUP;
            layers.push(Layer {
                record: *record,
                inputs: record.reads().collect(),
                numbers,
                factors: factors(&parsed, op),
                table: if is_table { parsed.constants(op).weights.to_vec() } else { Vec::new() },
                op: float.and_then(|side| side.nodes.iter().find(|node| node.name == name)).map(|node| node.op),
                name,
            });
        }
        Ok(Self { tensors, layers, labels: parsed.labels().map(str::to_owned).collect() })
    }

    /// The layer of that name.
    ///
    /// # Errors
    /// When there is none; the error names those that there are.
    pub fn layer(&self, name: &str) -> anyhow::Result<usize> {
        self.layers.iter().position(|layer| layer.name == name).with_context(|| {
            let names: Vec<&str> = self.layers.iter().map(|layer| layer.name.as_str()).collect();
            format!("the model has no layer '{name}': it has {}", names.join(", "))
        })
    }
}

impl Values {
    /// How far an int8 value is from the float one, in steps of the tensor's scale; `None` without float values.
    #[must_use]
    pub fn steps(&self, at: usize) -> Option<f32> {
        let (real, q) = (self.float.as_ref()?.get(at)?, self.int8.get(at)?);
        let steps = real / self.params.scale + self.params.zero_point as f32 - f32::from(*q);
        Some(steps.abs())
    }
}

/// What the float network made of a picture.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The operators as they run.
    pub nodes: Vec<Node>,
    /// Their weights, batch norms folded in.
    pub weights: Weights,
    /// Every operator's output by its name, `[h, w, c]`; the picture is `input`.
    pub tensors: BTreeMap<String, Vec<f32>>,
}

impl FloatSide {
    /// Runs a picture through the float network.
    ///
    /// # Errors
    /// When the picture has another size than the network's input, or weights are missing.
    pub fn observe(&self, spec: &InputSpec, pixels: &[u8]) -> anyhow::Result<Observed> {
        let Self { network, weights } = self;
        ensure!(
            network.input == *spec,
            "the model takes its pictures otherwise than the network beside it: compile it again"
        );
        let device = device("flex")?;
        let module = Classifier::folded(network, weights, &device)?;
        let input = normalized(spec, pixels);
        let mut tensors = BTreeMap::new();
        let x = to_tensor(spec.shape, &input, &device);
        let logits = module.forward_observed(x, |layer| {
            tensors.insert(layer.name, layer.values);
        });
        let nodes = network.nodes()?;
        if let Some(last) = nodes.last() {
            let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
            tensors.insert(last.name.clone(), softmax(&logits));
        }
        tensors.insert(crate::network::INPUT.to_owned(), input);
        Ok(Observed { nodes, weights: weights.folded(network)?, tensors })
    }
}

impl Observed {
    /// The float network's probabilities.
    #[must_use]
    pub fn scores(&self) -> Option<Vec<f32>> {
        self.tensors.get(&self.nodes.last()?.name).cloned()
    }
}

/// The real input values of a picture, `[h, w, c]`.
#[must_use]
pub fn normalized(spec: &InputSpec, pixels: &[u8]) -> Vec<f32> {
    let channels = (spec.shape.c as usize).max(1);
    pixels.iter().enumerate().map(|(at, &pixel)| spec.normalize(at % channels, pixel)).collect()
}

/// A batch of one for Burn, `[1, c, h, w]`, from `[h, w, c]` values.
pub(super) fn to_tensor(shape: Shape, values: &[f32], device: &burn::tensor::Device) -> Tensor<4> {
    let [h, w, c] = [shape.h, shape.w, shape.c].map(|n| n as usize);
    Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, h, w, c]), device).permute([0, 3, 1, 2])
}

/// Probabilities of logits.
#[must_use]
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|&v| (v - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The real bounds of a layer's fused activation.
#[must_use]
pub fn bounds(layer: &Layer) -> (f32, f32) {
    layer.op.map_or(Activation::None, |op| op.activation()).bounds()
}
