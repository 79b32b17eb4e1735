//! A photo through one convolution of one's own: a kernel, and perhaps an activation and a pool, as a tiny compiled model in int8 and by
//! plain loops in float.

mod float;
mod kernels;

pub use kernels::{Kernel, names};

use super::inside::{Inside, Observed, normalized};
use crate::compile::{Options as CompileOptions, Target, compile};
use crate::data::{RawImage, to_input};
use crate::model::{ModelBytes, quantize_pixels};
use crate::network::{LayerWeights, Node, Weights};
use crate::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork, QuantizedWeights, Range, input_params};
use anyhow::{Context, ensure};
use ocelli::image::{ColorOrder, InputSpec, PixelFormat, Resize};
use ocelli::ir::{Activation, Op, Padding, Shape, Window};
use std::collections::BTreeMap;

/// Name of the convolution.
pub const FILTER: &str = "filter";
/// Name of the pool.
pub const POOL: &str = "pool";

/// What a pool takes of its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The largest value.
    Max,
    /// The mean.
    Average,
}

/// The channels that are filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Luma.
    Gray,
    /// One of red (0), green and blue.
    One(usize),
    /// Each by itself.
    Each,
}

/// How to filter.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pixels that the window moves at a time.
    pub stride: u16,
    /// Pixels from one kernel cell to the next.
    pub dilation: u16,
    /// `Same` or `Valid`.
    pub padding: Padding,
    /// Whether values below zero become zero.
    pub relu: bool,
    /// A pool of 2x2 with stride 2 behind it.
    pub pool: Option<Pool>,
    /// The channels.
    pub channel: Channel,
}

/// What became of a photo.
#[derive(Clone, Debug)]
pub struct Filtered {
    /// The tensors: picture, filtered, perhaps pooled; in int8 and in float.
    pub inside: Inside,
    /// How the int8 kernel stands for the real one.
    pub weights: QuantizedWeights,
    /// The picture's channels.
    pub color: ColorOrder,
}

/// Filters a photo.
///
/// # Arithmetic
/// As in a network the kernel is not mirrored (a correlation), and what lies outside the photo is 0, black.
///
/// # Errors
/// When the window does not fit the photo, or the photo is too large.
pub fn filter(photo: &RawImage, kernel: &Kernel, options: &Options) -> anyhow::Result<Filtered> {
    let photo = channels(photo, options.channel);
    let spec = spec(&photo);
    let pixels = to_input(&photo, &spec)?;
    let ops = operators(kernel, options);
    let mut nodes: Vec<Node> = Vec::new();
    let mut shape = spec.shape;
    for (index, (name, op)) in ops.into_iter().enumerate() {
        let input = shape;
        shape = op.infer_shape(&[input]).with_context(|| format!("the photo of {} x {} pixels", input.w, input.h))?;
        nodes.push(Node { name: name.to_owned(), op, inputs: vec![index], input_shapes: vec![input], output: shape });
    }
    let observed = observe(&nodes, kernel, &spec, &pixels)?;
    let result = observed.tensors.get(FILTER).context("nothing was filtered")?;
    let output = output_params(kernel, options, result);
    let weights = quantized(kernel, spec.shape.c as usize);
    let layers = nodes.iter().map(|node| QuantizedLayer {
        node: node.clone(),
        output,
        weights: (node.name == FILTER).then(|| weights.clone()),
        unsigned: false,
    });
    let network = QuantizedNetwork {
        picture: Some(spec),
        input_shape: spec.shape,
        input: input_params(&spec),
        layers: layers.collect(),
        labels: Vec::new(),
    };
    let model = ModelBytes::new(&compile(&network, CompileOptions::for_target(Target::HOST))?);
    let frame = quantize_pixels(&model.model()?, &pixels)?;
    let inside = Inside::of_frame(&model, &frame, Some(&observed))?;
    Ok(Filtered { inside, weights, color: spec.color })
}

impl Filtered {
    /// The int8 result as a picture of bytes, `[h, w, c]`: of a kernel that keeps brightness the new pixels; of others zero is gray, or
    /// black where negative values are cut.
    #[must_use]
    pub fn int8_pixels(&self) -> Vec<u8> {
        let values = self.inside.tensors.last().map_or(&[][..], |values| &values.int8);
        values.iter().map(|&q| (i16::from(q) + 128) as u8).collect() // 0 to 255
    }

    /// The float result drawn as [`int8_pixels`](Self::int8_pixels) draws the other.
    #[must_use]
    pub fn float_pixels(&self) -> Vec<u8> {
        let Some((values, float)) = self.inside.tensors.last().and_then(|v| Some((v, v.float.as_ref()?))) else {
            return Vec::new();
        };
        let QuantParams { scale, zero_point } = values.params;
        float.iter().map(|&v| (v / scale + zero_point as f32 + 128.0).round().clamp(0.0, 255.0) as u8).collect()
    }

    /// Largest and mean distance of int8 and float in steps, float values beyond the range of a byte cut as bytes are.
    #[must_use]
    pub fn difference(&self) -> (f32, f32) {
        let Some((values, float)) = self.inside.tensors.last().and_then(|v| Some((v, v.float.as_ref()?))) else {
            return (0.0, 0.0);
        };
        let QuantParams { scale, zero_point } = values.params;
        let steps = float
            .iter()
            .zip(&values.int8)
            .map(|(&v, &q)| ((v / scale + zero_point as f32).clamp(-128.0, 127.0) - f32::from(q)).abs());
        let (largest, sum) = steps.fold((0.0_f32, 0.0_f64), |(a, sum), v| (a.max(v), sum + f64::from(v)));
        (largest, (sum / float.len().max(1) as f64) as f32)
    }
}

/// The photo with the channels that are asked for.
fn channels(photo: &RawImage, channel: Channel) -> RawImage {
    match channel {
        Channel::One(which) if photo.format == PixelFormat::Rgb888 => RawImage {
            format: PixelFormat::Gray8,
            pixels: photo.pixels.iter().skip(which.min(2)).step_by(3).copied().collect(),
            ..*photo
        },
        Channel::Gray if photo.format == PixelFormat::Rgb888 => {
            let spec = InputSpec { color: ColorOrder::Gray, shape: Shape { c: 1, ..spec(photo).shape }, ..spec(photo) };
            match to_input(photo, &spec) {
                Ok(pixels) => RawImage { format: PixelFormat::Gray8, pixels, ..*photo },
                Err(_) => photo.clone(), // no photo is that large
            }
        }
        _ => photo.clone(),
    }
}

fn spec(photo: &RawImage) -> InputSpec {
    let color = if photo.format == PixelFormat::Gray8 { ColorOrder::Gray } else { ColorOrder::Rgb };
    InputSpec {
        shape: Shape::new(photo.height, photo.width, color.channels()),
        color,
        resize: Resize::Stretch,
        mean: [0.0; 3],
        std: [1.0; 3],
    }
}

fn operators(kernel: &Kernel, options: &Options) -> Vec<(&'static str, Op)> {
    let window = Window {
        kernel: kernel.size(),
        stride: [options.stride; 2],
        dilation: [options.dilation; 2],
        padding: options.padding,
    };
    let activation = if options.relu { Activation::Relu } else { Activation::None };
    let mut ops = vec![(FILTER, Op::DepthwiseConv2d { multiplier: 1, window, activation })];
    let window = Window::new([2, 2], [2, 2], Padding::Valid);
    ops.extend(options.pool.map(|pool| match pool {
        Pool::Max => (POOL, Op::MaxPool2d { window }),
        Pool::Average => (POOL, Op::AveragePool2d { window }),
    }));
    ops
}

/// The float side.
fn observe(nodes: &[Node], kernel: &Kernel, spec: &InputSpec, pixels: &[u8]) -> anyhow::Result<Observed> {
    let channels = spec.shape.c as usize;
    let [kh, kw] = kernel.size().map(usize::from);
    let mut weights = Weights::default();
    let each = kernel.values().iter().flat_map(|&v| std::iter::repeat_n(v, channels)).collect();
    weights.insert(FILTER, LayerWeights { shape: [1, kh, kw, channels], kernel: each, bias: vec![0.0; channels] });
    let mut tensors = BTreeMap::from([(crate::network::INPUT.to_owned(), normalized(spec, pixels))]);
    let mut last = crate::network::INPUT.to_owned();
    for node in nodes {
        let input = tensors.get(&last).context("a tensor is missing")?;
        let output = float::run(node, kernel, input)?;
        tensors.insert(node.name.clone(), output);
        last.clone_from(&node.name);
    }
    Ok(Observed { nodes: nodes.to_vec(), weights, tensors })
}

/// Scale and zero point of the result: those of a picture where the kernel keeps brightness, else what covers the values.
fn output_params(kernel: &Kernel, options: &Options, result: &[f32]) -> QuantParams {
    if kernel.keeps_brightness() {
        return QuantParams { scale: 1.0 / 255.0, zero_point: -128 };
    }
    let largest = result.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
    if options.relu || kernel.values().iter().all(|&v| v >= 0.0) {
        return Range { min: 0.0, max: largest.max(1e-3) }.params();
    }
    QuantParams { scale: largest.max(1e-3) / 127.0, zero_point: 0 }
}

/// The kernel in int8, exactly where all its values are whole numbers of some unit.
fn quantized(kernel: &Kernel, channels: usize) -> QuantizedWeights {
    let [kh, kw] = kernel.size().map(usize::from);
    let unit = kernel.unit();
    let steps = kernel.values().iter().map(|v| (v / unit).round().clamp(-127.0, 127.0) as i8);
    QuantizedWeights {
        shape: [1, kh, kw, channels],
        kernel: steps.flat_map(|q| std::iter::repeat_n(q, channels)).collect(),
        zero_point: 0,
        scales: vec![unit; channels],
        bias: vec![0; channels],
    }
}

/// Refuses what a window cannot have.
///
/// # Errors
/// Names the number.
pub fn check(options: &Options) -> anyhow::Result<()> {
    ensure!((1..=64).contains(&options.stride), "--stride must be 1 to 64, it is {}", options.stride);
    ensure!((1..=64).contains(&options.dilation), "--dilation must be 1 to 64, it is {}", options.dilation);
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
