//! What an operator is told beside its tensors.

use super::schema::{FusedActivation, Padding};

/// How a window moves over its input. Pairs are `[rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What lies beyond the border.
    pub padding: Padding,
    /// Steps from one window to the next, at least 1.
    pub stride: [u32; 2],
    /// Distance between the cells of a window, at least 1; always 1 for pools.
    pub dilation: [u32; 2],
}

/// An operator's kind with its options. What is not in this list is [`Options::Other`]; its [`OpCode`] names it.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // variants and fields have the schema's names; their units are with the types
pub enum Options {
    /// Weights are OHWI. Groups follow from the shapes: input channels over the weights' last dimension.
    Conv2d {
        window: Window,
        activation: FusedActivation,
    },
    /// Weights are `[1, h, w, channels * multiplier]`. Some converters write a multiplier of 0: take it from the shapes.
    DepthwiseConv2d {
        window: Window,
        multiplier: u32,
        activation: FusedActivation,
    },
    AveragePool2d {
        window: Window,
        kernel: [u32; 2],
        activation: FusedActivation,
    },
    MaxPool2d {
        window: Window,
        kernel: [u32; 2],
        activation: FusedActivation,
    },
    /// Weights are `[out, in]`. `shuffled`: in the 4x16 order of one old kernel instead.
    FullyConnected {
        activation: FusedActivation,
        shuffled: bool,
        keep_num_dims: bool,
    },
    Softmax {
        beta: f32,
    },
    LeakyRelu {
        alpha: f32,
    },
    Relu,
    Relu6,
    ReluN1To1,
    Relu0To1,
    /// The slopes are the second input.
    Prelu,
    Gelu {
        approximate: bool,
    },
    HardSwish,
    Logistic,
    Tanh,
    /// `pot_scale_int16` matters to int16 only: scales are powers of two.
    Add {
        activation: FusedActivation,
        pot_scale_int16: bool,
    },
    Sub {
        activation: FusedActivation,
        pot_scale_int16: bool,
    },
    Mul {
        activation: FusedActivation,
    },
    Div {
        activation: FusedActivation,
    },
    Minimum,
    Maximum,
    /// A negative axis counts from the end.
    Concatenation {
        axis: i32,
        activation: FusedActivation,
    },
    /// The second input holds `[before, after]` for each dimension.
    Pad,
    /// As [`Options::Pad`]; the third input is the value to pad with.
    PadV2,
    MirrorPad,
    /// The second input holds the axes.
    Mean {
        keep_dims: bool,
    },
    Sum {
        keep_dims: bool,
    },
    ReduceMax {
        keep_dims: bool,
    },
    ReduceMin {
        keep_dims: bool,
    },
    /// The new shape is the second input or, in old files, `new_shape`; the output tensor has it in any case.
    Reshape {
        new_shape: Option<Vec<i32>>,
    },
    /// No axes: all of size 1.
    Squeeze {
        axes: Vec<i32>,
    },
    /// The second input is the axis.
    ExpandDims,
    /// The second input is the order of axes.
    Transpose,
    Shape,
    Pack {
        axis: i32,
    },
    Unpack {
        axis: i32,
    },
    /// Bit `i` of a mask is about dimension `i`; begin, end and strides are inputs.
    StridedSlice {
        begin_mask: i32,
        end_mask: i32,
        ellipsis_mask: i32,
        new_axis_mask: i32,
        shrink_axis_mask: i32,
    },
    Slice,
    /// The first input is the axis, the second the value.
    Split {
        num_splits: i32,
    },
    SplitV {
        num_splits: i32,
    },
    Quantize,
    Dequantize,
    /// Converters leave out its options: the types are those of its tensors.
    Cast,
    /// Any other operator: what it is told is not read.
    Other,
}
