//! From the layers that are trained to the operators that run: dropout goes, batch norm and activations join the layer before them.

use super::{LayerKind, Network, NetworkError, Node};
use ocelli::ir::{Activation, Op, Padding, Unary, Window};

/// An operator and the layers that became it.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    /// The operator.
    pub node: Node,
    /// Indices of its layers, in order; the first gave it its name.
    pub layers: Vec<usize>,
}

/// Folds a network.
///
/// A layer joins the one before it only where nobody else reads what lies between them.
pub(super) fn fold(network: &Network) -> Result<Vec<Folded>, NetworkError> {
    let layers = network.wired()?;
    // the tensor that holds what a tensor of the training holds: dropout is passed over
    let mut seen = vec![0_usize];
    for (index, wired) in layers.iter().enumerate() {
        let dropout = matches!(wired.layer.kind, LayerKind::Dropout { .. });
        seen.push(if dropout { seen[wired.inputs[0]] } else { index + 1 });
    }
    let mut readers = vec![0; seen.len()];
    for wired in layers.iter().filter(|wired| !matches!(wired.layer.kind, LayerKind::Dropout { .. })) {
        wired.inputs.iter().for_each(|&tensor| readers[seen[tensor]] += 1);
    }
    // the tensor among the nodes' for each tensor of the training
    let mut place = vec![0_usize; seen.len()];
    let mut nodes: Vec<Folded> = Vec::new();
    for (index, wired) in layers.iter().enumerate() {
        let sources: Vec<usize> = wired.inputs.iter().map(|&tensor| seen[tensor]).collect();
        let op = match wired.layer.kind {
            LayerKind::Dropout { .. } => continue,
            LayerKind::Op(op) => op,
            LayerKind::Conv3d(conv) => {
                Op::Conv2d { c_out: wired.output.c, window: conv.window(), groups: 1, activation: conv.activation }
            }
            LayerKind::BatchNorm { .. } => alone(),
        };
        let before = place[sources[0]];
        if readers[sources[0]] == 1
            && let Some(joined) = before.checked_sub(1).and_then(|node| nodes.get_mut(node))
            && let Some(op) = join(&joined.node.op, &wired.layer.kind)
        {
            joined.node.op = op;
            joined.layers.push(index);
            place[index + 1] = before;
            continue;
        }
        nodes.push(Folded {
            node: Node {
                name: wired.layer.name.clone(),
                op,
                inputs: sources.iter().map(|&tensor| place[tensor]).collect(),
                input_shapes: wired.input_shapes.clone(),
                output: wired.output,
            },
            layers: vec![index],
        });
        place[index + 1] = nodes.len();
    }
    Ok(nodes)
}

/// A batch norm that has no layer to join: a factor and a summand for each channel.
const fn alone() -> Op {
    let window = Window::new([1, 1], [1, 1], Padding::Valid);
    Op::DepthwiseConv2d { multiplier: 1, window, activation: Activation::None }
}

/// `before` with the layer after it joined to it, where that is possible.
fn join(before: &Op, after: &LayerKind) -> Option<Op> {
    if before.activation() != Activation::None {
        return None;
    }
    match after {
        LayerKind::BatchNorm { .. } => {
            matches!(before, Op::Conv2d { .. } | Op::DepthwiseConv2d { .. } | Op::Dense { .. }).then_some(*before)
        }
        LayerKind::Op(Op::Unary(Unary::Relu)) => with_activation(*before, Activation::Relu),
        LayerKind::Op(Op::Unary(Unary::Relu6)) => with_activation(*before, Activation::Relu6),
        LayerKind::Op(Op::Unary(Unary::ReluN1To1)) => with_activation(*before, Activation::ReluN1To1),
        _ => None,
    }
}

/// The operator with a fused activation, for those that can have one.
fn with_activation(op: Op, activation: Activation) -> Option<Op> {
    match op {
        Op::Conv2d { c_out, window, groups, .. } => Some(Op::Conv2d { c_out, window, groups, activation }),
        Op::DepthwiseConv2d { multiplier, window, .. } => Some(Op::DepthwiseConv2d { multiplier, window, activation }),
        Op::Dense { units, .. } => Some(Op::Dense { units, activation }),
        Op::Add { .. } => Some(Op::Add { activation }),
        Op::Mul { .. } => Some(Op::Mul { activation }),
        _ => None,
    }
}
