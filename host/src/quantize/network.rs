//! A network in int8: operators, scales and constants. What training has no part in; importers make one, the compiler takes it.

use crate::network::Node;
use ocelli::image::InputSpec;
use ocelli::ir::Shape;
use serde::Serialize;

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
    /// The scale of an output channel.
    #[must_use]
    pub fn scale(&self, channel: usize) -> f32 {
        if self.scales.len() == 1 { self.scales[0] } else { self.scales[channel] }
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
    /// Came as uint8: rounds as TensorFlow Lite's uint8 kernels do.
    pub unsigned: bool,
}

impl QuantizedNetwork {
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
