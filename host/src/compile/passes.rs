//! Passes over a quantized network. Each is a pure function that leaves every output byte as it was.

use crate::network::Node;
use crate::quantize::{QuantizedLayer, QuantizedNetwork};
use ocelli::ir::{Activation, Op, Padding, Unary};

/// Which passes and choices the compiler makes. None changes an output byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Zeros around a picture become padding of the convolution that reads it.
    pub fold_padding: bool,
    /// A clamp of its own becomes the clamp of the operator before it.
    pub fold_activations: bool,
    /// A change of shape that dense does not notice is left out.
    pub fold_shapes: bool,
    /// Sums, products and functions of single values are written over their input.
    pub in_place: bool,
    /// Convolutions are computed by tiles, not by their reference kernels.
    pub tiles: bool,
    /// Late operators may wait for whole tensors, so that their memory is used twice.
    pub gates: bool,
    /// Weights of a dense layer that four bits hold are stored so.
    pub nibbles: bool,
}

impl Passes {
    /// All of them.
    pub const ALL: Self = Self {
        fold_padding: true,
        fold_activations: true,
        fold_shapes: true,
        in_place: true,
        tiles: true,
        gates: true,
        nibbles: true,
    };
    /// None of them.
    pub const NONE: Self = Self {
        fold_padding: false,
        fold_activations: false,
        fold_shapes: false,
        in_place: false,
        tiles: false,
        gates: false,
        nibbles: false,
    };
}

/// Runs the passes that are asked for.
#[must_use]
pub fn simplify(mut network: QuantizedNetwork, passes: Passes) -> QuantizedNetwork {
    if passes.fold_padding {
        network = fold_padding(network);
    }
    if passes.fold_activations {
        network = fold_activations(network);
    }
    if passes.fold_shapes {
        network = fold_shapes(network);
    }
    network
}

/// Zeros around a picture become explicit padding of the convolution that is their only reader and pads nothing itself.
#[must_use]
pub fn fold_padding(mut network: QuantizedNetwork) -> QuantizedNetwork {
    let mut index = 0;
    while index < network.layers.len() {
        match (network.layers[index].node.op, only_reader(&network, index)) {
            (Op::Pad { cells }, Some(reader)) if padded(&network.layers[reader].node.op, cells).is_some() => {
                let node = &mut network.layers[reader].node;
                node.op = padded(&node.op, cells).unwrap_or(node.op);
                remove(&mut network, index);
            }
            _ => index += 1,
        }
    }
    network
}

/// A convolution with more padding; `None` where that is no padding of a window, or no convolution.
fn padded(op: &Op, cells: [u16; 4]) -> Option<Op> {
    let mut op = *op;
    let (Op::Conv2d { window, .. } | Op::DepthwiseConv2d { window, .. }) = &mut op else { return None };
    let own = match window.padding {
        Padding::Valid => [0; 4],
        Padding::Explicit(own) => own,
        Padding::Same => return None,
    };
    let mut sum = [0; 4];
    for (side, sum) in sum.iter_mut().enumerate() {
        *sum = own[side].checked_add(cells[side])?;
    }
    window.padding = Padding::Explicit(sum);
    Some(op)
}

/// A clamp (relu and its kin, at the scale of its input) moves into the operator before it, when nobody else reads that one.
#[must_use]
pub fn fold_activations(mut network: QuantizedNetwork) -> QuantizedNetwork {
    let mut index = 1;
    while index < network.layers.len() {
        let layer = &network.layers[index];
        let activation = match layer.node.op {
            Op::Unary(Unary::Relu) => Some(Activation::Relu),
            Op::Unary(Unary::Relu6) => Some(Activation::Relu6),
            Op::Unary(Unary::ReluN1To1) => Some(Activation::ReluN1To1),
            _ => None,
        };
        let producer = layer.node.inputs[0].checked_sub(1);
        let same = network.params_of(layer.node.inputs[0]) == layer.output;
        let target = producer.filter(|&p| same && only_reader(&network, p) == Some(index));
        let folded = target
            .zip(activation)
            .and_then(|(p, activation)| Some((p, clamped(&network.layers[p].node.op, activation)?)));
        match folded {
            Some((producer, op)) => {
                network.layers[producer].node.op = op;
                // the name that people know is that of the last of the two
                let name = network.layers[index].node.name.clone();
                remove(&mut network, index);
                network.layers[producer].node.name = name;
            }
            None => index += 1,
        }
    }
    network
}

fn clamped(op: &Op, new: Activation) -> Option<Op> {
    let mut op = *op;
    match &mut op {
        Op::Conv2d { activation, .. }
        | Op::DepthwiseConv2d { activation, .. }
        | Op::Dense { activation, .. }
        | Op::Add { activation }
        | Op::Mul { activation }
            if *activation == Activation::None =>
        {
            *activation = new;
            Some(op)
        }
        _ => None,
    }
}

/// Leaves out a flatten that only dense layers read (they take values in memory order), and a change of shape that changes nothing.
#[must_use]
pub fn fold_shapes(mut network: QuantizedNetwork) -> QuantizedNetwork {
    let mut index = 0;
    while index < network.layers.len() {
        let node = &network.layers[index].node;
        let moves = matches!(node.op, Op::Flatten | Op::Reshape { .. });
        let nothing = node.input() == node.output;
        let readers: Vec<&Node> = readers(&network, index).collect();
        let last = index + 1 == network.layers.len();
        let dense = !readers.is_empty() && readers.iter().all(|reader| matches!(reader.op, Op::Dense { .. }));
        if moves && ((nothing && !last) || dense || (nothing && index > 0)) {
            remove(&mut network, index);
        } else {
            index += 1;
        }
    }
    network
}

fn readers(network: &QuantizedNetwork, layer: usize) -> impl Iterator<Item = &Node> {
    network.layers.iter().map(|layer| &layer.node).filter(move |node| node.inputs.contains(&(layer + 1)))
}

/// The layer that alone reads a layer's output, once; none for the network's output.
fn only_reader(network: &QuantizedNetwork, layer: usize) -> Option<usize> {
    let mut found = None;
    for (index, reader) in network.layers.iter().enumerate() {
        for _ in reader.node.inputs.iter().filter(|&&input| input == layer + 1) {
            if found.replace(index).is_some() {
                return None;
            }
        }
    }
    found
}

/// Takes a layer of one input out: its readers read that input.
fn remove(network: &mut QuantizedNetwork, layer: usize) {
    let QuantizedLayer { node, .. } = network.layers.remove(layer);
    let (input, shape) = (node.inputs[0], node.input());
    for later in &mut network.layers[layer..] {
        for (read, read_shape) in later.node.inputs.iter_mut().zip(&mut later.node.input_shapes) {
            if *read == layer + 1 {
                (*read, *read_shape) = (input, shape);
            } else if *read > layer + 1 {
                *read -= 1;
            }
        }
    }
}
