//! From Burn's tensors to slices and back, and operators with a backward pass of their own on Burn's tape.
//!
//! Burn's tensors are `[n, c, h, w]`. Those that our operators return lie in memory as `[n, h, w, c]` and are turned by their strides
//! only: the next of our operators reads them as they are, and any of Burn's still sees `[n, c, h, w]`.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Tensor, TensorData};
use std::fmt;
use std::sync::Arc;

/// A tensor of Burn's CPU backend.
pub(super) type Plain = FloatTensor<Flex>;
/// The same with its place on the tape.
type Tracked = FloatTensor<Autodiff<Flex>>;

/// The inputs of one operator, when all of them are on Burn's CPU backend.
pub(super) struct Operands<const N: usize> {
    /// The values.
    pub values: [Plain; N],
    tracked: Option<[Tracked; N]>,
}

impl<const N: usize> Operands<N> {
    /// Whether gradients are wanted.
    pub const fn is_training(&self) -> bool {
        self.tracked.is_some()
    }
}

/// An input: a tensor of any number of dimensions.
pub(super) trait Operand {
    fn tracked(&self) -> Option<Tracked>;
    fn plain(&self) -> Option<Plain>;
}

impl<const D: usize> Operand for Tensor<D> {
    fn tracked(&self) -> Option<Tracked> {
        self.clone().try_into_primitive::<Autodiff<Flex>>().ok()
    }

    fn plain(&self) -> Option<Plain> {
        self.clone().try_into_primitive::<Flex>().ok()
    }
}

/// The inputs as they lie in memory; none when one is elsewhere, or not of 32 bits.
pub(super) fn operands<const N: usize>(inputs: [&dyn Operand; N]) -> Option<Operands<N>> {
    let is_f32 = |values: &[Plain; N]| values.iter().all(|tensor| tensor.dtype() == DType::F32);
    if let Some(tracked) = all(inputs.map(Operand::tracked)) {
        let values: [Plain; N] = std::array::from_fn(|i| tracked[i].primitive().clone());
        return is_f32(&values).then_some(Operands { values, tracked: Some(tracked) });
    }
    let values = all(inputs.map(Operand::plain))?;
    is_f32(&values).then_some(Operands { values, tracked: None })
}

fn all<T, const N: usize>(values: [Option<T>; N]) -> Option<[T; N]> {
    let values: Option<Vec<T>> = values.into_iter().collect();
    values?.try_into().ok()
}

/// Gradients of the inputs from that of the output; `want` says which are read.
pub(super) type Pass<const N: usize> = dyn Fn(Plain, [bool; N]) -> [Option<Plain>; N] + Send + Sync;

/// The output as a tensor; with the backward pass on the tape where the inputs are on it.
pub(super) fn finish<const N: usize, const D: usize>(
    operands: Operands<N>,
    output: Plain,
    pass: Box<Pass<N>>,
) -> Tensor<D> {
    let Some(tracked) = operands.tracked else {
        return Tensor::from_primitive::<Flex>(output);
    };
    let guards = tracked.map(|tensor| tensor.into_parts().1);
    let output = match Custom.prepare::<NoCheckpointing>(guards).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(State(Arc::from(pass)), output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

#[derive(Debug)]
struct Custom;

struct State<const N: usize>(Arc<Pass<N>>);

impl<const N: usize> Clone for State<N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<const N: usize> fmt::Debug for State<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("State")
    }
}

impl<const N: usize> Backward<Flex, N> for Custom {
    type State = State<N>;

    fn backward(self, ops: Ops<State<N>, N>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let want = std::array::from_fn(|i| ops.parents[i].is_some());
        for (parent, gradient) in ops.parents.into_iter().zip((ops.state.0)(gradient, want)) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// An image tensor's memory as `[n, h, w, c]`; copied only where it lies otherwise.
pub(super) fn channels_last(tensor: &Plain) -> Plain {
    tensor.permute(&[0, 2, 3, 1]).to_contiguous()
}

/// A tensor's memory in the order of its dimensions.
pub(super) fn in_order(tensor: &Plain) -> Plain {
    tensor.to_contiguous()
}

/// The values of a tensor from [`channels_last`] or [`in_order`].
pub(super) fn values(tensor: &Plain) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

/// `[n, c, h, w]` from memory as `[n, h, w, c]`; `shape` is `[n, c, h, w]`.
pub(super) fn image(values: Vec<f32>, [n, c, h, w]: [usize; 4]) -> Plain {
    plain(values, [n, h, w, c]).permute(&[0, 3, 1, 2])
}

/// A tensor of values in the order of its dimensions.
pub(super) fn plain<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Plain {
    Plain::from_data(TensorData::new(values, shape))
}
