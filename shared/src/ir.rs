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
}

impl Activation {
    /// The real interval that the function's values lie in.
    #[must_use]
    pub const fn bounds(self) -> (f32, f32) {
        match self {
            Self::None => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Relu6 => (0.0, 6.0),
        }
    }
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

/// An operator of a classifier. Tensors are NHWC; weights are OHWI (`conv2d`) or `[out, in]` (`dense`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// 2-D convolution over all input channels.
    Conv2d {
        /// Output channels.
        c_out: u32,
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
    /// Mean of each window and channel; padding cells do not count.
    AveragePool2d {
        /// Kernel, stride, padding; dilation is 1.
        window: Window,
    },
    /// Fully connected layer over a flat input (`1x1xn`).
    Dense {
        /// Output features.
        units: u32,
        /// Fused activation.
        activation: Activation,
    },
    /// Rows, columns, channels in memory order to `1x1xn`.
    Flatten,
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
    /// Padding as large as the window would make outputs that see no input.
    PaddingTooLarge {
        /// 0 for rows, 1 for columns.
        axis: u8,
    },
    /// The operator needs a flat input (`1x1xn`).
    NotFlat {
        /// The shape it got.
        input: Shape,
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
            let window = (k - 1).checked_mul(d).and_then(|v| v.checked_add(1)).ok_or(ShapeError::TooLarge)?;
            let (before, after) = match self.padding {
                Padding::Valid => (0, 0),
                Padding::Same => {
                    let covered = (n.div_ceil(s) - 1).checked_mul(s).and_then(|v| v.checked_add(window));
                    let total = covered.ok_or(ShapeError::TooLarge)?.saturating_sub(n);
                    (total / 2, total - total / 2)
                }
                Padding::Explicit(p) => (u32::from(p[axis]), u32::from(p[axis + 2])),
            };
            if before >= window || after >= window {
                return Err(ShapeError::PaddingTooLarge { axis: axis as u8 });
            }
            let padded = n.checked_add(before + after).ok_or(ShapeError::TooLarge)?;
            if padded < window {
                let padding = before + after;
                return Err(ShapeError::WindowTooLarge { axis: axis as u8, input: n, padding, window });
            }
            out[axis] = (padded - window) / s + 1;
            pads[axis] = u16::try_from(before).map_err(|_| ShapeError::TooLarge)?;
            pads[axis + 2] = u16::try_from(after).map_err(|_| ShapeError::TooLarge)?;
        }
        Ok(ResolvedWindow { out, pads })
    }
}

impl Op {
    /// The operator's window, for those that slide one.
    #[must_use]
    pub const fn window(&self) -> Option<&Window> {
        match self {
            Self::Conv2d { window, .. } | Self::MaxPool2d { window } | Self::AveragePool2d { window } => Some(window),
            Self::Dense { .. } | Self::Flatten | Self::Softmax => None,
        }
    }

    /// The fused activation.
    #[must_use]
    pub const fn activation(&self) -> Activation {
        match self {
            Self::Conv2d { activation, .. } | Self::Dense { activation, .. } => *activation,
            _ => Activation::None,
        }
    }

    /// The output shape for an input shape.
    ///
    /// # Errors
    /// When the operator cannot take that input; the error names the rule.
    pub fn infer_shape(&self, input: Shape) -> Result<Shape, ShapeError> {
        if input.elements().ok_or(ShapeError::TooLarge)? == 0 {
            return Err(ShapeError::Zero { what: "input size" });
        }
        let shape = match *self {
            Self::Conv2d { c_out, window, .. } => {
                let [h, w] = window.resolve(input)?.out;
                Shape { h, w, c: c_out }
            }
            Self::MaxPool2d { window } | Self::AveragePool2d { window } => {
                let [h, w] = window.resolve(input)?.out;
                Shape { h, w, c: input.c }
            }
            Self::Dense { units, .. } => {
                if input.h != 1 || input.w != 1 {
                    return Err(ShapeError::NotFlat { input });
                }
                Shape::new(1, 1, units)
            }
            Self::Flatten => Shape::new(1, 1, input.elements().ok_or(ShapeError::TooLarge)?),
            Self::Softmax => input,
        };
        if shape.c == 0 {
            return Err(ShapeError::Zero { what: "output channels" });
        }
        shape.elements().ok_or(ShapeError::TooLarge)?;
        Ok(shape)
    }

    /// Shape of the weights (OHWI, or `[out, 1, 1, in]` for dense); `None` for an operator without weights.
    #[must_use]
    pub fn weight_shape(&self, input: Shape) -> Option<[u32; 4]> {
        match *self {
            Self::Conv2d { c_out, window, .. } => {
                Some([c_out, u32::from(window.kernel[0]), u32::from(window.kernel[1]), input.c])
            }
            Self::Dense { units, .. } => Some([units, 1, 1, input.c]),
            _ => None,
        }
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
        Op::Conv2d { c_out: 8, window, activation: Activation::None }
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
            assert_eq!(op.infer_shape(Shape::new(i, i, 1)), Ok(Shape::new(o, o, 8)), "i={i} k={k} s={s} p={p}");
        }
    }

    #[test]
    fn window_larger_than_input_names_the_rule() {
        let error = conv(5, 1, Padding::Valid).infer_shape(Shape::new(4, 9, 1)).unwrap_err();
        assert_eq!(error, ShapeError::WindowTooLarge { axis: 0, input: 4, padding: 0, window: 5 });
        assert!(std::format!("{error}").contains("floor((n + p - f) / s) + 1"));
    }

    #[test]
    fn dense_refuses_an_image() {
        let dense = Op::Dense { units: 10, activation: Activation::None };
        let input = Shape::new(5, 5, 64);
        assert_eq!(dense.infer_shape(input), Err(ShapeError::NotFlat { input }));
    }
}
