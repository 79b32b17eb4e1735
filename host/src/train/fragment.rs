//! Layers that are no classifier, on several inputs: the operators of other formats are tested through it.

use super::module::{Classifier, Item, Stage, Work};
use super::parts::to_vec;
use crate::network::{Layer, LayerKind, NetworkError, Weights};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use ocelli::ir::{Op, Shape};

/// An input of a batch.
#[derive(Clone, Debug)]
pub struct FragmentInput {
    /// Shape of one picture.
    pub shape: Shape,
    /// The values, `[n, h, w, c]`.
    pub values: Vec<f32>,
}

/// Runs layers in float; the result is the output of the last, `[n, h, w, c]`.
///
/// Each layer comes with the tensors that it reads (the inputs first, then the layers' outputs) and the shape of its output. A softmax
/// may only be the last.
///
/// # Errors
/// When weights are missing, or a layer cannot take its input.
pub fn run_fragment(
    inputs: &[FragmentInput],
    batch: usize,
    layers: &[(Layer, Vec<usize>, Shape)],
    weights: &Weights,
    device: &Device,
) -> Result<Vec<f32>, NetworkError> {
    // all inputs in one flat tensor, of which the first stages take their parts
    let lengths: Vec<usize> = inputs.iter().map(|input| input.values.len() / batch.max(1)).collect();
    let total: usize = lengths.iter().sum();
    let part = |input: usize, at: usize| &inputs[input].values[at * lengths[input]..(at + 1) * lengths[input]];
    let packed: Vec<f32> =
        (0..batch).flat_map(|at| (0..inputs.len()).flat_map(move |i| part(i, at).to_vec())).collect();
    let mut start = 0;
    let mut takes = Vec::new();
    for (input, length) in inputs.iter().zip(&lengths) {
        let work = Work::Take { start, shape: input.shape };
        takes.push(Stage { name: String::new(), work, inputs: vec![(0, false)], then: None });
        start += length;
    }
    let mut shapes: Vec<Shape> = inputs.iter().map(|input| input.shape).collect();
    shapes.extend(layers.iter().map(|(_, _, output)| *output));
    let ends_in_softmax = layers.last().is_some_and(|(layer, ..)| layer.kind == LayerKind::Op(Op::Softmax));
    // tensor 0 is the packed one
    let numbered: Vec<Vec<usize>> = layers.iter().map(|(_, read, _)| read.iter().map(|t| t + 1).collect()).collect();
    let items = layers.iter().zip(&numbered).map(|((layer, read, output), numbered)| Item {
        name: &layer.name,
        kind: layer.kind,
        inputs: numbered,
        input: shapes[read[0]],
        output: *output,
    });
    let module = Classifier::build("fragment", weights, takes, items, device)?;
    let x = Tensor::from_data(TensorData::new(packed, [batch, total, 1, 1]), device);
    let mut y: Tensor<4> = module.run_all(x);
    if ends_in_softmax {
        y = softmax(y, 1);
    }
    Ok(to_vec(y.permute([0, 2, 3, 1])))
}
