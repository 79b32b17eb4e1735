//! A convolution of volumes. It runs on the host only: it is trained, evaluated and exported, but no device has it.
//!
//! A volume of `depth` slices of `h x w x c` is a tensor of `h x w x (depth * c)`: slice after slice in the channels. All other layers
//! take it for what it is then; along rows and columns they do to a slice what they do to a picture.

use super::{LayerWeights, NetworkError};
use ocelli::ir::{Activation, Padding, Shape, ShapeError, Window};

/// A convolution over depth, rows and columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv3d {
    /// Slices of the input.
    pub depth: u32,
    /// Output channels of a slice.
    pub filters: u32,
    /// Slices, rows and columns of the window.
    pub kernel: [u16; 3],
    /// Its steps along each.
    pub stride: [u16; 3],
    /// Along all three; only `Valid` and `Same`.
    pub padding: Padding,
    /// Applied to the output.
    pub activation: Activation,
}

/// A convolution's output and padding by axis: depth, rows, columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedVolume {
    /// Output sizes.
    pub out: [u32; 3],
    /// Padding before and after.
    pub pads: [[u16; 2]; 3],
}

/// Why a layer cannot take a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// The channels cannot be divided into slices.
    #[error("{channels} channels are no {depth} slices: channels must be a multiple of depth")]
    Slices {
        /// Channels of the input.
        channels: u32,
        /// Slices that it should have.
        depth: u32,
    },
    /// The window is deeper than the padded volume.
    #[error(
        "a window of {window} slices does not fit a volume of {depth} slices with {padding} of padding \
         (out = floor((n + p - f) / s) + 1 would be below 1)"
    )]
    TooDeep {
        /// Slices of the window.
        window: u32,
        /// Slices of the volume.
        depth: u32,
        /// Padding slices, both sides together.
        padding: u32,
    },
    /// As of every layer.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl VolumeError {
    /// The error of layer `index` (from 1) of a network.
    pub(crate) fn of(self, index: usize, layer: &str, input: Shape) -> NetworkError {
        let layer = layer.to_owned();
        match self {
            Self::Shape(source) => NetworkError::Shape { index, layer, inputs: vec![input], source },
            source => NetworkError::Volume { index, layer, input, source },
        }
    }
}

impl Conv3d {
    /// The window over rows and columns.
    #[must_use]
    pub const fn window(&self) -> Window {
        let ([_, kh, kw], [_, sh, sw]) = (self.kernel, self.stride);
        Window::new([kh, kw], [sh, sw], self.padding)
    }

    /// Works out output sizes and padding: `out = floor((n + p - f) / s) + 1` along each axis.
    ///
    /// # Errors
    /// When a number is zero, the channels are no whole slices, or the window does not fit the padded volume.
    pub fn resolve(&self, input: Shape) -> Result<ResolvedVolume, VolumeError> {
        for (value, what) in [(self.depth, "depth"), (self.filters, "filters"), (input.c, "input size")] {
            if value == 0 {
                return Err(ShapeError::Zero { what }.into());
            }
        }
        if !input.c.is_multiple_of(self.depth) {
            return Err(VolumeError::Slices { channels: input.c, depth: self.depth });
        }
        let deep = Window::new([self.kernel[0], 1], [self.stride[0], 1], self.padding);
        let deep = deep.resolve(Shape::new(self.depth, 1, 1)).map_err(|problem| match problem {
            ShapeError::WindowTooLarge { input, padding, window, .. } => {
                VolumeError::TooDeep { window, depth: input, padding }
            }
            other => other.into(),
        })?;
        let flat = self.window().resolve(input)?;
        let ([d, _], [h, w]) = (deep.out, flat.out);
        let ([front, _, back, _], [top, left, bottom, right]) = (deep.pads, flat.pads);
        Ok(ResolvedVolume { out: [d, h, w], pads: [[front, back], [top, bottom], [left, right]] })
    }

    /// The output shape: slice after slice in the channels.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), and when the tensor's size does not fit 32 bits.
    pub fn infer_shape(&self, input: Shape) -> Result<Shape, VolumeError> {
        let [d, h, w] = self.resolve(input)?.out;
        let c = d.checked_mul(self.filters).ok_or(ShapeError::TooLarge)?;
        let shape = Shape::new(h, w, c);
        shape.elements().ok_or(ShapeError::TooLarge)?;
        Ok(shape)
    }

    /// Input channels of a slice.
    #[must_use]
    pub fn channels(&self, input: Shape) -> u32 {
        input.c / self.depth.max(1)
    }

    /// Shape of the weights, `[filters, kd * kh, kw, c]`: the kernel's slices lie one below the other.
    #[must_use]
    pub fn weight_shape(&self, input: Shape) -> [usize; 4] {
        let [kd, kh, kw] = self.kernel.map(usize::from);
        [self.filters as usize, kd * kh, kw, self.channels(input) as usize]
    }

    /// Multiply-accumulates, those on padding among them.
    #[must_use]
    pub fn macs(&self, input: Shape, output: Shape) -> u64 {
        let window = self.kernel.iter().fold(u64::from(self.channels(input)), |n, &k| n * u64::from(k));
        u64::from(output.elements().unwrap_or(0)) * window
    }

    /// The weights of the convolution of pictures that computes the same: for each output slice the kernel stands where the slices lie
    /// that it reads, with zeros in place of all others.
    ///
    /// # Shapes
    /// `weights`: [`weight_shape`](Self::weight_shape); result: `[d_out * filters, kh, kw, depth * c]`.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn written_out(&self, input: Shape, weights: &LayerWeights) -> Result<LayerWeights, VolumeError> {
        let ResolvedVolume { out, pads } = self.resolve(input)?;
        let (slices, front) = (out[0] as usize, usize::from(pads[0][0]));
        let [kd, kh, kw] = self.kernel.map(usize::from);
        let [depth, filters, c] = [self.depth, self.filters, self.channels(input)].map(|n| n as usize);
        let shape = [slices * filters, kh, kw, depth * c];
        let mut kernel = vec![0.0; shape.iter().product()];
        for (at, &weight) in weights.kernel.iter().enumerate() {
            // [filter, slice of the kernel, row, column, channel]
            let (channel, column) = (at % c, at / c % kw);
            let (row, slice, filter) = (at / c / kw % kh, at / c / kw / kh % kd, at / c / kw / kh / kd);
            for to in 0..slices {
                let from = to * usize::from(self.stride[0]) + slice;
                if let Some(from) = from.checked_sub(front).filter(|&from| from < depth) {
                    kernel[(((to * filters + filter) * kh + row) * kw + column) * shape[3] + from * c + channel] =
                        weight;
                }
            }
        }
        Ok(LayerWeights { shape, kernel, bias: weights.bias.repeat(slices) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::summarize;
    use super::super::{LayerKind, Network};
    use super::*;
    use crate::compile::Target;

    fn network(layer: &str) -> Result<Network, String> {
        let text = format!(
            "name = \"t\"\n[input]\nheight = 8\nwidth = 9\ncolor = \"rgb\"\n[[layer]]\ntype = \"conv3d\"\nname = \"c\"\n{layer}\n\
             [[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 2\nactivation = \"softmax\"\n"
        );
        Network::from_toml(&text, "net.toml").map_err(|e| format!("{:#}", anyhow::Error::from(e)))
    }

    #[test]
    fn every_axis_has_the_rule_of_shapes() {
        for (layer, expected) in [
            // floor((3 - 2) / 1) + 1 = 2 slices of 4, floor((8 - 3) / 2) + 1 = 3, floor((9 - 3) / 3) + 1 = 3
            ("depth = 3\nfilters = 4\nkernel = [2, 3, 3]\nstride = [1, 2, 3]", (3, 3, 8)),
            ("depth = 3\nfilters = 4\nkernel = 3", (6, 7, 4)),
            ("depth = 3\nfilters = 4\nkernel = 3\npadding = \"same\"", (8, 9, 12)),
            ("depth = 3\nfilters = 5\nkernel = [2, 3, 3]\nstride = 2\npadding = \"same\"", (4, 5, 10)),
            ("depth = 1\nfilters = 4\nkernel = [1, 3, 3]", (6, 7, 4)),
        ] {
            let network = network(layer).unwrap();
            let output = network.wired().unwrap()[0].output;
            assert_eq!((output.h, output.w, output.c), expected, "{layer}");
            assert_eq!(Network::from_toml(&network.to_toml(), "again").unwrap(), network, "{layer}");
            assert_eq!(network.nodes().unwrap()[0].output, output, "{layer}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (layer, expected) in [
            (
                "depth = 2\nfilters = 4\nkernel = 1",
                "layer 1 'c' cannot take its input of 8x9x3: 3 channels are no 2 slices",
            ),
            (
                "depth = 3\nfilters = 4\nkernel = [4, 1, 1]",
                "a window of 4 slices does not fit a volume of 3 slices with 0 of padding",
            ),
            ("depth = 3\nfilters = 4\nkernel = [1, 9, 1]", "a window of 9 rows does not fit an input of 8 rows"),
            ("depth = 0\nfilters = 4\nkernel = 1", "depth must be at least 1"),
            ("depth = 3\nfilters = 0\nkernel = 1", "filters must be at least 1"),
            ("depth = 3\nfilters = 1\nkernel = 1\nstride = 0", "stride must be at least 1"),
            ("filters = 4\nkernel = 3", "needs the key 'depth'"),
            ("depth = 3\nfilters = 4", "needs the key 'kernel'"),
            ("depth = 3\nfilters = 4\nkernel = [3, 3]", "'kernel' of a conv3d is one number or [depth, rows, columns]"),
            ("depth = 3\nfilters = 4\nkernel = 1\npadding = 1", "padding of a conv3d is \"valid\" or \"same\""),
            ("depth = 3\nfilters = 4\nkernel = 1\ngroups = 3", "does not take the key 'groups'"),
            ("depth = 3\nfilters = 4\nkernel = 1\nactivation = \"mish\"", "activation = \"mish\""),
            ("depth = 3\nfilters = 4\nkernel = 1\ninputs = [\"input\", \"input\"]", "takes one input, got 2"),
        ] {
            let error = network(layer).unwrap_err();
            assert!(error.contains(expected), "{layer}: {error}");
        }
        let text = "name = \"t\"\n[input]\nheight = 8\nwidth = 9\ncolor = \"rgb\"\n[[layer]]\ntype = \"conv2d\"\nfilters = 2\n\
                    kernel = [2, 2, 2]\n";
        let error = Network::from_toml(text, "net.toml").unwrap_err().to_string();
        assert!(error.contains("'kernel' is one number or [rows, columns]"), "{error}");
    }

    #[test]
    fn a_summary_counts_it_and_a_device_refuses_it() {
        let network = network("depth = 3\nfilters = 4\nkernel = [2, 3, 3]").unwrap();
        let summary = summarize(&network, None, Target::HOST).unwrap();
        // Keras: filters * (kd * kh * kw * c) + filters; 2 x 6 x 7 outputs of 4 filters, 18 products each
        assert_eq!((summary.layers[0].parameters, summary.layers[0].kind), (4 * 18 + 4, "conv3d"));
        assert_eq!(summary.layers[0].macs, 2 * 6 * 7 * 4 * 18);
        assert_eq!((summary.host_only.as_deref(), summary.flash_bytes), (Some("c"), 0));
        let error = network.check_device().unwrap_err().to_string();
        assert!(error.contains("layer 'c' is a conv3d, which runs on the host only"), "{error}");
    }

    #[test]
    fn weights_are_written_out_slice_by_slice() {
        let LayerKind::Conv3d(conv) =
            network("depth = 3\nfilters = 1\nkernel = [2, 1, 1]\npadding = \"same\"").unwrap().layers[0].kind
        else {
            panic!("no conv3d")
        };
        let input = Shape::new(8, 9, 3);
        let weights = LayerWeights { shape: conv.weight_shape(input), kernel: vec![2.0, 5.0], bias: vec![7.0] };
        let out = conv.written_out(input, &weights).unwrap();
        assert_eq!(out.shape, [3, 1, 1, 3]);
        // slices 0 and 1, 1 and 2, and 2 with one of padding behind it
        assert_eq!(out.kernel, [2.0, 5.0, 0.0, 0.0, 2.0, 5.0, 0.0, 0.0, 2.0]);
        assert_eq!(out.bias, [7.0; 3]);
    }
}
