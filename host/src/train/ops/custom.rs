//! An operator that is given by functions of plain values.

use super::bridge::{Operand, channels_last, finish, image, operands, values};
use burn::tensor::Tensor;

/// Computes an image from images; `forward` also returns the backward pass, which makes the inputs' gradients of the output's.
/// Nothing where a tensor is not on Burn's CPU backend.
///
/// # Shapes
/// Tensors and `shape`: `[n, c, h, w]`; the slices: `[n, h, w, c]`.
pub fn custom<const N: usize, B>(
    inputs: [&Tensor<4>; N],
    shape: [usize; 4],
    forward: impl FnOnce([&[f32]; N]) -> (Vec<f32>, B),
) -> Option<Tensor<4>>
where
    B: Fn(&[f32]) -> [Option<Vec<f32>>; N] + Send + Sync + 'static,
{
    let shapes = inputs.map(Tensor::dims);
    let operands = operands(inputs.map(|input| input as &dyn Operand))?;
    let laid = operands.values.each_ref().map(channels_last);
    let (y, backward) = forward(laid.each_ref().map(values));
    let pass = move |gradient: super::bridge::Plain, _: [bool; N]| {
        let gradient = channels_last(&gradient);
        let mut gradients = backward(values(&gradient)).into_iter().zip(shapes);
        std::array::from_fn(|_| gradients.next().and_then(|(values, shape)| Some(image(values?, shape))))
    };
    Some(finish(operands, image(y, shape), Box::new(pass)))
}
