//! The one description of an operator, read by the network file, training, export, quantizer, compiler and runtime.

use core::fmt;

/// Rows, columns and channels of an activation tensor (NHWC with a batch of one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    /// Rows.
    pub h: u32,
    /// Columns.
    pub w: u32,
    /// Channels.
    pub c: u32,
}

impl Shape {
    /// A shape of `h` rows, `w` columns and `c` channels.
    #[must_use]
    pub const fn new(h: u32, w: u32, c: u32) -> Self {
        Self { h, w, c }
    }

    /// Elements in one row, `None` when that does not fit 32 bits.
    #[must_use]
    pub const fn row_len(self) -> Option<u32> {
        self.w.checked_mul(self.c)
    }

    /// Elements in the whole tensor, `None` when that does not fit 32 bits.
    #[must_use]
    pub fn elements(self) -> Option<u32> {
        self.row_len()?.checked_mul(self.h)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.h, self.w, self.c)
    }
}

/// How a window treats the border of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Only windows that lie inside the input.
    Valid,
    /// `out = ceil(n / stride)`; the odd padding cell goes after (TensorFlow's rule).
    Same,
    /// Cells added at the top, left, bottom and right.
    Explicit([u16; 4]),
}

/// A function applied to an operator's output, folded into its clamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Activation {
    /// The identity.
    #[default]
    None,
    /// `max(0, x)`.
    Relu,
    /// `min(max(0, x), 6)`.
    Relu6,
    /// `min(max(-1, x), 1)`.
    ReluN1To1,
}

impl Activation {
    /// The real interval that the function's values lie in.
    #[must_use]
    pub const fn bounds(self) -> (f32, f32) {
        match self {
            Self::None => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Relu6 => (0.0, 6.0),
            Self::ReluN1To1 => (-1.0, 1.0),
        }
    }
}

impl Activation {
    /// The same function as an operator of its own; `None` for the identity.
    #[must_use]
    pub const fn as_unary(self) -> Option<Unary> {
        match self {
            Self::None => None,
            Self::Relu => Some(Unary::Relu),
            Self::Relu6 => Some(Unary::Relu6),
            Self::ReluN1To1 => Some(Unary::ReluN1To1),
        }
    }
}

/// A function of a single value, as an operator of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `max(0, x)`.
    Relu,
    /// `min(max(0, x), 6)`.
    Relu6,
    /// `min(max(-1, x), 1)`.
    ReluN1To1,
    /// `x` where positive, `alpha * x` elsewhere.
    LeakyRelu {
        /// Slope for negative values.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x * min(max(0, x + 3), 6) / 6`.
    HardSwish,
    /// `min(max(0, alpha * x + beta), 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `x / (1 + exp(-x))`, also called SiLU.
    Swish,
    /// `min(max(low, x), high)`.
    Clip {
        /// Smallest value; may be minus infinity.
        low: f32,
        /// Largest value; may be infinity.
        high: f32,
    },
    /// The identity, to another scale and zero point.
    Requantize,
}

/// A sliding window: kernel, stride and dilation as `[rows, columns]`, and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Kernel size `[kh, kw]`.
    pub kernel: [u16; 2],
    /// Stride `[rows, columns]`.
    pub stride: [u16; 2],
    /// Dilation `[rows, columns]`; 1 means neighbouring cells.
    pub dilation: [u16; 2],
    /// Border rule.
    pub padding: Padding,
}

/// A window with its padding worked out for one input shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedWindow {
    /// Rows and columns of the output.
    pub out: [u32; 2],
    /// Cells added at the top, left, bottom and right.
    pub pads: [u16; 4],
}

/// An operator of a classifier. Tensors are NHWC; weights are OHWI (`conv2d`), `[1, kh, kw, c_out]` (`depthwise_conv2d`) or
/// `[out, in]` (`dense`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// 2-D convolution over all input channels, or over those of one group.
    Conv2d {
        /// Output channels.
        c_out: u32,
        /// Kernel, stride, dilation, padding.
        window: Window,
        /// Groups that input and output channels are divided into, in order; each output sees its own group only.
        groups: u32,
        /// Fused activation.
        activation: Activation,
    },
    /// 2-D convolution of each channel on its own; output channel `c * multiplier + m` sees input channel `c`.
    DepthwiseConv2d {
        /// Output channels an input channel.
        multiplier: u32,
        /// Kernel, stride, dilation, padding.
        window: Window,
        /// Fused activation.
        activation: Activation,
    },
    /// Largest value of each window and channel; padding cells do not take part.
    MaxPool2d {
        /// Kernel, stride, padding; dilation is 1.
        window: Window,
    },
    /// Smallest value of each window and channel; padding cells do not take part.
    MinPool2d {
        /// Kernel, stride, padding; dilation is 1.
        window: Window,
    },
    /// Mean of each window and channel; padding cells do not count.
    AveragePool2d {
        /// Kernel, stride, padding; dilation is 1.
        window: Window,
    },
    /// Mean of each channel over the whole picture (`1x1xc`).
    GlobalAveragePool,
    /// Largest value of each channel over the whole picture (`1x1xc`).
    GlobalMaxPool,
    /// Fully connected layer over a flat input (`1x1xn`).
    Dense {
        /// Output features.
        units: u32,
        /// Fused activation.
        activation: Activation,
    },
    /// Sum of two tensors of one shape; the second may be `1x1xc`, a summand for each channel.
    Add {
        /// Fused activation.
        activation: Activation,
    },
    /// Product of two tensors of one shape; the second may be `1x1xc`, a factor for each channel.
    Mul {
        /// Fused activation.
        activation: Activation,
    },
    /// Two or more tensors side by side along the channels.
    Concat,
    /// Zeros around the picture.
    Pad {
        /// Cells added at the top, left, bottom and right.
        cells: [u16; 4],
    },
    /// Rows, columns, channels in memory order to `1x1xn`.
    Flatten,
    /// The same values in memory order under another shape.
    Reshape {
        /// The new shape.
        to: Shape,
    },
    /// A function of each value.
    Unary(Unary),
    /// `exp(x_i) / sum(exp(x))` over the channels of each pixel.
    Softmax,
}

/// Why an operator cannot take an input shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ShapeError {
    /// A kernel, stride, dilation or count is zero.
    Zero {
        /// What is zero.
        what: &'static str,
    },
    /// The window is larger than the padded input along an axis.
    WindowTooLarge {
        /// 0 for rows, 1 for columns.
        axis: u8,
        /// Input size along that axis.
        input: u32,
        /// Padding cells along that axis, both sides together.
        padding: u32,
        /// Window size with dilation.
        window: u32,
    },
    /// Padding as large as a pool's window would make outputs that see no input.
    PaddingTooLarge {
        /// 0 for rows, 1 for columns.
        axis: u8,
    },
    /// The operator needs a flat input (`1x1xn`).
    NotFlat {
        /// The shape it got.
        input: Shape,
    },
    /// The operator takes another number of inputs.
    Inputs {
        /// How many it takes.
        takes: &'static str,
        /// How many it got.
        found: u8,
    },
    /// Inputs whose shapes must agree do not.
    Mismatch {
        /// Shape of the first input.
        first: Shape,
        /// Shape that does not go with it.
        other: Shape,
    },
    /// Input and output channels are not multiples of the number of groups.
    Groups {
        /// Number of groups.
        groups: u32,
        /// Input channels.
        c_in: u32,
        /// Output channels.
        c_out: u32,
    },
    /// A reshape that changes the number of values.
    Elements {
        /// The shape it got.
        input: Shape,
        /// The shape it should have made.
        to: Shape,
    },
    /// The tensor's size does not fit 32 bits.
    TooLarge,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |axis: u8| if axis == 0 { "rows" } else { "columns" };
        match *self {
            Self::Zero { what } => write!(f, "{what} must be at least 1"),
            Self::WindowTooLarge { axis, input, padding, window } => write!(
                f,
                "a window of {window} {rows} does not fit an input of {input} {rows} with {padding} of padding \
                 (out = floor((n + p - f) / s) + 1 would be below 1)",
                rows = name(axis)
            ),
            Self::PaddingTooLarge { axis } => {
                write!(f, "padding of the {} must be smaller than the window", name(axis))
            }
            Self::NotFlat { input } => {
                write!(f, "needs a flat input (1x1xn), got {input}: add a flatten layer before it")
            }
            Self::Inputs { takes, found } => write!(f, "takes {takes}, got {found}"),
            Self::Mismatch { first, other } => write!(f, "its inputs of {first} and {other} do not go together"),
            Self::Groups { groups, c_in, c_out } => {
                write!(f, "{c_in} input and {c_out} output channels cannot be divided into {groups} groups")
            }
            Self::Elements { input, to } => write!(f, "cannot reshape {input} to {to}: the number of values changes"),
            Self::TooLarge => f.write_str("the tensor is too large (2^32 elements or more)"),
        }
    }
}

impl core::error::Error for ShapeError {}

impl Window {
    /// A window without dilation.
    #[must_use]
    pub const fn new(kernel: [u16; 2], stride: [u16; 2], padding: Padding) -> Self {
        Self { kernel, stride, dilation: [1, 1], padding }
    }

    /// Works out output size and padding: `out = floor((n + p - f) / s) + 1` with `f = (kernel - 1) * dilation + 1`.
    ///
    /// # Errors
    /// When a number is zero, or the window does not fit the padded input.
    ///
    /// # Source
    /// TensorFlow, `tf.nn.convolution`, "padding"; Dumoulin and Visin, arXiv:1603.07285, section 2.
    pub fn resolve(&self, input: Shape) -> Result<ResolvedWindow, ShapeError> {
        let mut out = [0; 2];
        let mut pads = [0_u16; 4];
        for axis in 0..2 {
            let n = if axis == 0 { input.h } else { input.w };
            let (k, s, d) =
                (u32::from(self.kernel[axis]), u32::from(self.stride[axis]), u32::from(self.dilation[axis]));
            for (value, what) in [(k, "kernel"), (s, "stride"), (d, "dilation"), (n, "input size")] {
                if value == 0 {
                    return Err(ShapeError::Zero { what });
                }
            }
            let window = (k - 1) * d + 1; // all three are below 2^16
            let (before, after) = match self.padding {
                Padding::Valid => (0, 0),
                Padding::Same => {
                    let covered = (n.div_ceil(s) - 1).checked_mul(s).and_then(|v| v.checked_add(window));
                    let total = covered.ok_or(ShapeError::TooLarge)?.saturating_sub(n);
                    (total / 2, total - total / 2)
                }
                Padding::Explicit(p) => (u32::from(p[axis]), u32::from(p[axis + 2])),
            };
            let padded = n.checked_add(before + after).ok_or(ShapeError::TooLarge)?;
            if padded < window {
                let padding = before + after;
                return Err(ShapeError::WindowTooLarge { axis: axis as u8, input: n, padding, window });
            }
            pads[axis] = u16::try_from(before).map_err(|_| ShapeError::TooLarge)?;
            pads[axis + 2] = u16::try_from(after).map_err(|_| ShapeError::TooLarge)?;
            let both = [pads[axis], pads[axis + 2]];
            out[axis] = window_outputs(n, self.kernel[axis], self.stride[axis], self.dilation[axis], both)
                .ok_or(ShapeError::TooLarge)?;
        }
        Ok(ResolvedWindow { out, pads })
    }
}

/// Outputs of a window along an axis: `floor((n + p - f) / s) + 1` with `f = (kernel - 1) * dilation + 1`.
///
/// `None` when a number is zero, or the window is larger than the padded input.
#[must_use]
pub fn window_outputs(n: u32, kernel: u16, stride: u16, dilation: u16, pads: [u16; 2]) -> Option<u32> {
    if n == 0 || kernel == 0 || stride == 0 || dilation == 0 {
        return None;
    }
    let beyond = (u32::from(kernel) - 1) * u32::from(dilation); // f - 1, below 2^32
    let padded = n.checked_add(u32::from(pads[0]) + u32::from(pads[1]))?;
    Some((padded - 1).checked_sub(beyond)? / u32::from(stride) + 1)
}

impl Op {
    /// The operator's window, for those that slide one.
    #[must_use]
    pub const fn window(&self) -> Option<&Window> {
        match self {
            Self::Conv2d { window, .. }
            | Self::DepthwiseConv2d { window, .. }
            | Self::MaxPool2d { window }
            | Self::MinPool2d { window }
            | Self::AveragePool2d { window } => Some(window),
            _ => None,
        }
    }

    /// The fused activation.
    #[must_use]
    pub const fn activation(&self) -> Activation {
        match self {
            Self::Conv2d { activation, .. }
            | Self::DepthwiseConv2d { activation, .. }
            | Self::Dense { activation, .. }
            | Self::Add { activation }
            | Self::Mul { activation } => *activation,
            _ => Activation::None,
        }
    }

    /// Whether the output has the scale and zero point of the input, because the operator only moves or picks values, or averages them.
    #[must_use]
    pub const fn keeps_quantization(&self) -> bool {
        matches!(
            self,
            Self::MaxPool2d { .. }
                | Self::MinPool2d { .. }
                | Self::AveragePool2d { .. }
                | Self::GlobalMaxPool
                | Self::Pad { .. }
                | Self::Flatten
                | Self::Reshape { .. }
        )
    }

    /// The output shape for the shapes of the inputs.
    ///
    /// # Errors
    /// When the operator cannot take these inputs; the error names the rule.
    pub fn infer_shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        let found = u8::try_from(inputs.len()).unwrap_or(u8::MAX);
        for input in inputs {
            if input.elements().ok_or(ShapeError::TooLarge)? == 0 {
                return Err(ShapeError::Zero { what: "input size" });
            }
        }
        let shape = match (self, inputs) {
            (Self::Add { .. } | Self::Mul { .. }, &[first, other]) => {
                let broadcast = other == Shape::new(1, 1, first.c);
                if first != other && !broadcast {
                    return Err(ShapeError::Mismatch { first, other });
                }
                first
            }
            (Self::Add { .. } | Self::Mul { .. }, _) => return Err(ShapeError::Inputs { takes: "two inputs", found }),
            (Self::Concat, &[first, _, ..]) => {
                let mut c = 0_u32;
                for &other in inputs {
                    if (other.h, other.w) != (first.h, first.w) {
                        return Err(ShapeError::Mismatch { first, other });
                    }
                    c = c.checked_add(other.c).ok_or(ShapeError::TooLarge)?;
                }
                Shape { c, ..first }
            }
            (Self::Concat, _) => return Err(ShapeError::Inputs { takes: "two inputs or more", found }),
            (_, &[input]) => self.infer_single(input)?,
            _ => return Err(ShapeError::Inputs { takes: "one input", found }),
        };
        if shape.h == 0 || shape.w == 0 || shape.c == 0 {
            return Err(ShapeError::Zero { what: if shape.c == 0 { "output channels" } else { "output size" } });
        }
        shape.elements().ok_or(ShapeError::TooLarge)?;
        Ok(shape)
    }

    /// The output shape of an operator with one input.
    fn infer_single(&self, input: Shape) -> Result<Shape, ShapeError> {
        Ok(match *self {
            Self::Conv2d { c_out, window, groups, .. } => {
                if groups == 0 || !input.c.is_multiple_of(groups) || !c_out.is_multiple_of(groups) {
                    return Err(ShapeError::Groups { groups, c_in: input.c, c_out });
                }
                let [h, w] = window.resolve(input)?.out;
                Shape { h, w, c: c_out }
            }
            Self::DepthwiseConv2d { multiplier, window, .. } => {
                let [h, w] = window.resolve(input)?.out;
                Shape { h, w, c: input.c.checked_mul(multiplier).ok_or(ShapeError::TooLarge)? }
            }
            Self::MaxPool2d { window } | Self::MinPool2d { window } | Self::AveragePool2d { window } => {
                let ResolvedWindow { out: [h, w], pads } = window.resolve(input)?;
                for axis in 0..2_u8 {
                    // a window of padding only has no largest value and no mean
                    let i = usize::from(axis);
                    if pads[i] >= window.kernel[i] || pads[i + 2] >= window.kernel[i] {
                        return Err(ShapeError::PaddingTooLarge { axis });
                    }
                }
                Shape { h, w, c: input.c }
            }
            Self::GlobalAveragePool | Self::GlobalMaxPool => Shape::new(1, 1, input.c),
            Self::Dense { units, .. } => {
                if input.h != 1 || input.w != 1 {
                    return Err(ShapeError::NotFlat { input });
                }
                Shape::new(1, 1, units)
            }
            Self::Pad { cells: [top, left, bottom, right] } => {
                let grow =
                    |n: u32, a: u16, b: u16| n.checked_add(u32::from(a) + u32::from(b)).ok_or(ShapeError::TooLarge);
                Shape { h: grow(input.h, top, bottom)?, w: grow(input.w, left, right)?, c: input.c }
            }
            Self::Flatten => Shape::new(1, 1, input.elements().ok_or(ShapeError::TooLarge)?),
            Self::Reshape { to } => {
                if to.elements() != input.elements() {
                    return Err(ShapeError::Elements { input, to });
                }
                to
            }
            Self::Unary(_) | Self::Softmax | Self::Add { .. } | Self::Mul { .. } | Self::Concat => input,
        })
    }

    /// Shape of the weights (OHWI; `[1, kh, kw, c_out]` for depthwise, `[out, 1, 1, in]` for dense); `None` for an operator without.
    #[must_use]
    pub fn weight_shape(&self, input: Shape) -> Option<[u32; 4]> {
        match *self {
            Self::Conv2d { c_out, window, groups, .. } => {
                Some([c_out, u32::from(window.kernel[0]), u32::from(window.kernel[1]), input.c.checked_div(groups)?])
            }
            Self::DepthwiseConv2d { multiplier, window, .. } => {
                let c_out = input.c.checked_mul(multiplier)?;
                Some([1, u32::from(window.kernel[0]), u32::from(window.kernel[1]), c_out])
            }
            Self::Dense { units, .. } => Some([units, 1, 1, input.c]),
            _ => None,
        }
    }

    /// The axis of [`weight_shape`](Self::weight_shape) along which output channels lie.
    #[must_use]
    pub const fn channel_axis(&self) -> usize {
        if matches!(self, Self::DepthwiseConv2d { .. }) { 3 } else { 0 }
    }

    /// Multiply-accumulates of one inference, border cells counted in.
    #[must_use]
    pub fn macs(&self, input: Shape, output: Shape) -> u64 {
        let Some([o, kh, kw, i]) = self.weight_shape(input) else { return 0 };
        [output.h, output.w, o, kh, kw, i].iter().map(|&n| u64::from(n)).product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv(kernel: u16, stride: u16, padding: Padding) -> Op {
        let window = Window::new([kernel; 2], [stride; 2], padding);
        Op::Conv2d { c_out: 8, window, groups: 1, activation: Activation::None }
    }

    #[test]
    fn same_padding_with_stride_two_pads_after() {
        let window = Window::new([3, 3], [2, 2], Padding::Same);
        let resolved = window.resolve(Shape::new(96, 96, 3)).unwrap();
        assert_eq!(resolved, ResolvedWindow { out: [48, 48], pads: [0, 0, 1, 1] });
    }

    #[test]
    fn published_output_sizes_hold() {
        // Dumoulin and Visin, arXiv:1603.07285, relationships 1, 2 and 6: (i, k, s, p) -> o
        for (i, k, s, p, o) in [(4, 3, 1, 0, 2), (5, 4, 1, 2, 6), (5, 3, 2, 1, 3), (6, 3, 2, 1, 3), (5, 3, 1, 1, 5)] {
            let op = conv(k, s, Padding::Explicit([p; 4]));
            assert_eq!(op.infer_shape(&[Shape::new(i, i, 1)]), Ok(Shape::new(o, o, 8)), "i={i} k={k} s={s} p={p}");
        }
    }

    #[test]
    fn window_larger_than_input_names_the_rule() {
        let error = conv(5, 1, Padding::Valid).infer_shape(&[Shape::new(4, 9, 1)]).unwrap_err();
        assert_eq!(error, ShapeError::WindowTooLarge { axis: 0, input: 4, padding: 0, window: 5 });
        assert!(std::format!("{error}").contains("floor((n + p - f) / s) + 1"));
    }

    #[test]
    fn dense_refuses_an_image() {
        let dense = Op::Dense { units: 10, activation: Activation::None };
        let input = Shape::new(5, 5, 64);
        assert_eq!(dense.infer_shape(&[input]), Err(ShapeError::NotFlat { input }));
    }
}
