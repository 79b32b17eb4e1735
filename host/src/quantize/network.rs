//! A network in int8: operators, scales and constants. What training has no part in; importers make one, the compiler takes it.

use crate::network::Node;
use anyhow::{Context, ensure};
use ocelli::image::InputSpec;
use ocelli::ir::{Op, Shape};
use serde::Serialize;

/// The largest weight of four bits; the smallest is its negative.
pub const INT4_MAX: i8 = 7;

/// Scale and zero point of a tensor: `real = scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QuantParams {
    /// Real value of one step.
    pub scale: f32,
    /// The quantized value of 0.
    pub zero_point: i32,
}

/// The int8 numbers of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedWeights {
    /// [`Op::weight_shape`](ocelli::ir::Op::weight_shape): `[c_out, kh, kw, c_in]`, `[1, kh, kw, c_out]` for depthwise, `[out, 1, 1, in]` for dense.
    pub shape: [usize; 4],
    /// The weights in that order.
    pub kernel: Vec<i8>,
    /// The quantized value of 0: 0 but for networks that came as uint8.
    pub zero_point: i32,
    /// One for all, or one an output channel (axis [`Op::channel_axis`](ocelli::ir::Op::channel_axis)).
    pub scales: Vec<f32>,
    /// One an output channel, at input scale times weight scale.
    pub bias: Vec<i32>,
}

impl QuantizedWeights {
    /// The scale of an output channel; 0 for a channel that there is none for.
    #[must_use]
    pub fn scale(&self, channel: usize) -> f32 {
        let index = if self.scales.len() == 1 { 0 } else { channel };
        self.scales.get(index).copied().unwrap_or(0.0)
    }

    /// Whether four bits hold every weight.
    #[must_use]
    pub fn fits_int4(&self) -> bool {
        self.zero_point == 0 && self.kernel.iter().all(|weight| (-INT4_MAX..=INT4_MAX).contains(weight))
    }

    /// Holds shape, weights, scales and biases to what an operator needs over an input.
    ///
    /// # Errors
    /// When there are more or fewer of them; the error says of what.
    pub fn check(&self, op: &Op, input: Shape) -> anyhow::Result<()> {
        let shape = op.weight_shape(input).context("an operator without weights has some")?.map(|n| n as usize);
        ensure!(self.shape == shape, "has weights of the shape {:?}, its input and output need {shape:?}", self.shape);
        let count = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        ensure!(count == Some(self.kernel.len()), "has {} weights for the shape {shape:?}", self.kernel.len());
        let channels = shape[op.channel_axis()];
        let scales = self.scales.len();
        ensure!(scales == 1 || scales == channels, "has {scales} weight scales for {channels} output channels");
        ensure!(self.bias.len() == channels, "has {} biases for {channels} output channels", self.bias.len());
        Ok(())
    }
}

/// An operator with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedLayer {
    /// Operator and shapes.
    pub node: Node,
    /// Quantization of its output.
    pub output: QuantParams,
    /// Its weights, if it has some.
    pub weights: Option<QuantizedWeights>,
    /// Came as an operator on uint8: rounds as TensorFlow Lite's uint8 kernels do.
    pub unsigned: bool,
}

/// A network in int8: what the compiler lays out and what tract is given to judge it.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedNetwork {
    /// How a picture becomes the input; `None` when the input is no picture.
    pub picture: Option<InputSpec>,
    /// Shape of the input.
    pub input_shape: Shape,
    /// Quantization of the input.
    pub input: QuantParams,
    /// The operators in order.
    pub layers: Vec<QuantizedLayer>,
    /// Class labels; may be empty.
    pub labels: Vec<String>,
}

impl QuantizedNetwork {
    /// Whether some operator came as one on uint8, so that TensorFlow Lite's reference kernels are its judge.
    #[must_use]
    pub fn has_unsigned(&self) -> bool {
        self.layers.iter().any(|layer| layer.unsigned)
    }

    /// Quantization of a tensor: 0 is the network's input, `i + 1` the output of layer `i`.
    #[must_use]
    pub fn params_of(&self, tensor: usize) -> QuantParams {
        tensor.checked_sub(1).map_or(self.input, |layer| self.layers[layer].output)
    }
}

/// The quantized input for each pixel value, `[c, 256]`.
#[must_use]
pub fn pixel_lut(spec: &InputSpec, input: QuantParams) -> Vec<i8> {
    let channels = spec.color.channels() as usize;
    let entry = |c, v| ocelli::quant::quantize(spec.normalize(c, v), input.scale, input.zero_point);
    (0..channels).flat_map(|c| (0..=255).map(move |v| entry(c, v))).collect()
}
