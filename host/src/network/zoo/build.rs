//! Writes networks of many like layers; names number the blocks as the papers do.

use crate::network::{Initializer, Layer, LayerKind, LayerOptions, Network};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::{Activation, Op, Padding, Shape, Unary, Window};

/// A network that grows by one layer a call; each call returns the layer's name.
pub(super) struct Builder {
    network: Network,
    /// Of convolutions and dense layers from here on.
    pub options: LayerOptions,
    /// Epsilon of batch norms from here on.
    pub epsilon: f64,
    /// Momentum of batch norms from here on.
    pub momentum: f64,
}

/// Size, stride and padding of a window.
pub(super) const fn window(kernel: u16, stride: u16, padding: Padding) -> Window {
    Window::new([kernel, kernel], [stride, stride], padding)
}

impl Builder {
    /// A network on square colour pictures; pixels are 0 to 1.
    pub fn new(name: &str, side: u32) -> Self {
        let shape = Shape::new(side, side, 3);
        let input = InputSpec { shape, color: ColorOrder::Rgb, resize: Resize::Stretch, mean: [0.0; 3], std: [1.0; 3] };
        Self {
            network: Network { name: name.to_owned(), input, layers: Vec::new() },
            options: LayerOptions::default(),
            epsilon: 1e-3,
            momentum: 0.99,
        }
    }

    /// The input, to be changed.
    pub const fn input(&mut self) -> &mut InputSpec {
        &mut self.network.input
    }

    /// Name of the layer that was added last.
    pub fn last(&self) -> String {
        self.network.layers.last().map_or_else(String::new, |layer| layer.name.clone())
    }

    fn push(&mut self, name: &str, kind: LayerKind, inputs: &[&str]) -> String {
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        let weighted = matches!(kind, LayerKind::Op(Op::Conv2d { .. } | Op::DepthwiseConv2d { .. } | Op::Dense { .. }));
        let options = if weighted { self.options } else { LayerOptions::default() };
        self.network.layers.push(Layer { name: name.to_owned(), kind, inputs, options });
        name.to_owned()
    }

    /// An operator over `inputs`, or over the layer before where there are none.
    pub fn op(&mut self, name: &str, op: Op, inputs: &[&str]) -> String {
        self.push(name, LayerKind::Op(op), inputs)
    }

    /// A convolution.
    pub fn conv(&mut self, name: &str, c_out: u32, window: Window) -> String {
        self.conv_from(name, c_out, window, &[])
    }

    /// A convolution over a named layer.
    pub fn conv_from(&mut self, name: &str, c_out: u32, window: Window, inputs: &[&str]) -> String {
        self.op(name, Op::Conv2d { c_out, window, groups: 1, activation: Activation::None }, inputs)
    }

    /// A convolution of each channel alone.
    pub fn depthwise(&mut self, name: &str, window: Window) -> String {
        self.op(name, Op::DepthwiseConv2d { multiplier: 1, window, activation: Activation::None }, &[])
    }

    /// A batch norm named after the layer before it.
    pub fn norm(&mut self) -> String {
        let name = format!("{}.norm", self.last());
        self.norm_as(&name)
    }

    /// A batch norm of a name of its own.
    pub fn norm_as(&mut self, name: &str) -> String {
        let kind = LayerKind::BatchNorm { epsilon: self.epsilon, momentum: self.momentum };
        self.push(name, kind, &[])
    }

    /// A function of single values.
    pub fn function(&mut self, name: &str, function: Unary) -> String {
        self.op(name, Op::Unary(function), &[])
    }

    /// A batch norm and a function, both named after the layer before them.
    pub fn norm_then(&mut self, function: Unary, suffix: &str) -> String {
        let layer = self.last();
        self.norm();
        self.op(&format!("{layer}.{suffix}"), Op::Unary(function), &[])
    }

    /// The sum of two layers.
    pub fn add(&mut self, name: &str, inputs: [&str; 2], activation: Activation) -> String {
        self.op(name, Op::Add { activation }, &inputs)
    }

    /// Drops a share of the values while training.
    pub fn dropout(&mut self, rate: f64) -> String {
        self.push("dropout", LayerKind::Dropout { rate }, &[])
    }

    /// A dense layer.
    pub fn dense(&mut self, name: &str, units: u32, activation: Activation) -> String {
        self.op(name, Op::Dense { units, activation }, &[])
    }

    /// Global average pool, dense layer, softmax.
    pub fn classify(mut self, classes: u32) -> Network {
        self.op("global_average_pool2d", Op::GlobalAveragePool, &[]);
        self.finish(classes)
    }

    /// Dense layer, softmax.
    pub fn finish(self, classes: u32) -> Network {
        self.finish_as("dense", classes)
    }

    /// As [`finish`](Self::finish), the dense layer named as Keras names it in classifiers of ImageNet.
    pub fn predictions(self, classes: u32) -> Network {
        self.finish_as("predictions", classes)
    }

    fn finish_as(mut self, name: &str, classes: u32) -> Network {
        self.dense(name, classes, Activation::None);
        self.op("softmax", Op::Softmax, &[]);
        self.network
    }
}

/// He's normal weights and a penalty, as the residual networks are trained.
pub(super) fn he(l2: f64) -> LayerOptions {
    LayerOptions { initializer: Initializer::HeNormal, l2, ..LayerOptions::default() }
}
