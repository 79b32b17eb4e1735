//! A `[[layer]]` of `net.toml`.

use super::{Conv3d, Initializer, Layer, LayerKind, LayerOptions};
use ocelli::ir::{Activation, Op, Padding, Shape, Unary, Window};
use serde::{Deserialize, Serialize};

/// One `[[layer]]`; which keys a type takes is checked in [`LayerTable::to_kind`].
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayerTable {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multiplier: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stride: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dilation: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<PaddingValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<[u32; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epsilon: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    momentum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bias: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initializer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stddev: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l2: Option<f64>,
}

/// `3`, `[3, 5]` (rows, columns) or, of a conv3d, `[2, 3, 5]` (depth, rows, columns).
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(untagged)]
enum Pair {
    Both(u16),
    RowsColumns([u16; 2]),
    DepthRowsColumns([u16; 3]),
}

impl Pair {
    const fn from_values([rows, columns]: [u16; 2]) -> Self {
        if rows == columns { Self::Both(rows) } else { Self::RowsColumns([rows, columns]) }
    }
}

/// `"valid"`, `"same"`, one number for all sides or `[top, left, bottom, right]`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum PaddingValue {
    Name(String),
    All(u16),
    Cells([u16; 4]),
}

/// Each type and the keys that it takes besides `name` and `inputs`.
const TYPES: [(&str, &[&str]); 29] = [
    ("conv2d", &["filters", "kernel", "stride", "dilation", "padding", "groups", "activation", "alpha"]),
    ("depthwise_conv2d", &["multiplier", "kernel", "stride", "dilation", "padding", "activation", "alpha"]),
    ("conv1d", &["filters", "kernel", "stride", "dilation", "padding", "groups", "activation", "alpha"]),
    ("conv3d", &["depth", "filters", "kernel", "stride", "padding", "activation", "alpha"]),
    ("dense", &["units", "activation", "alpha"]),
    ("max_pool2d", &["kernel", "stride", "padding"]),
    ("min_pool2d", &["kernel", "stride", "padding"]),
    ("average_pool2d", &["kernel", "stride", "padding"]),
    ("global_average_pool2d", &[]),
    ("global_max_pool2d", &[]),
    ("add", &["activation", "alpha"]),
    ("mul", &["activation", "alpha"]),
    ("concat", &[]),
    ("zero_padding2d", &["padding"]),
    ("flatten", &[]),
    ("reshape", &["shape"]),
    ("batch_norm", &["epsilon", "momentum"]),
    ("relu", &[]),
    ("relu6", &[]),
    ("relu_n1_to_1", &[]),
    ("leaky_relu", &["alpha"]),
    ("sigmoid", &[]),
    ("tanh", &[]),
    ("hard_swish", &[]),
    ("hard_sigmoid", &["alpha", "beta"]),
    ("swish", &[]),
    ("clip", &["min", "max"]),
    ("softmax", &[]),
    ("dropout", &["rate"]),
];

/// The types with weights, and the keys that they take besides.
const WEIGHTED: [&str; 5] = ["conv2d", "depthwise_conv2d", "conv1d", "conv3d", "dense"];
const WEIGHT_KEYS: [&str; 4] = ["bias", "initializer", "stddev", "l2"];

/// Keras' defaults.
const EPSILON: f64 = 1e-3;
const MOMENTUM: f64 = 0.99;

/// Slope and value at 0 of a hard sigmoid, as Keras 3 and PyTorch have them.
const HARD_SIGMOID: (f32, f32) = (1.0 / 6.0, 0.5);

impl LayerTable {
    /// The layer, and its activation where that must be a layer of its own.
    pub fn to_kind(&self) -> Result<(LayerKind, Option<Op>), String> {
        let Some((_, allowed)) = TYPES.iter().find(|(name, _)| *name == self.kind) else {
            return Err(format!("unknown type; known are {}", TYPES.map(|(name, _)| name).join(", ")));
        };
        let more: &[&str] = if WEIGHTED.contains(&self.kind.as_str()) { &WEIGHT_KEYS } else { &[] };
        let allowed: Vec<&str> = allowed.iter().chain(more).copied().collect();
        if let Some(key) = self.keys().into_iter().find(|key| !allowed.contains(key)) {
            let takes = if allowed.is_empty() { "none but name and inputs".to_owned() } else { allowed.join(", ") };
            return Err(format!("does not take the key '{key}' (takes: {takes})"));
        }
        let (fused, own) = self.activation()?;
        Ok((self.layer(fused)?, own))
    }

    /// Bias, first weights and penalty.
    pub fn options(&self) -> Result<LayerOptions, String> {
        let default = LayerOptions::default();
        let initializer = match (&self.initializer, self.stddev) {
            (None, None) => default.initializer,
            (None, Some(_)) => return Err("the key 'stddev' belongs to initializer = \"normal\"".to_owned()),
            (Some(name), stddev) => Initializer::from_name(name, stddev)?,
        };
        let l2 = self.l2.unwrap_or(default.l2);
        if !(l2.is_finite() && l2 >= 0.0) {
            return Err(format!("l2 = {l2} must be at least 0"));
        }
        Ok(LayerOptions { bias: self.bias.unwrap_or(default.bias), initializer, l2 })
    }

    fn layer(&self, activation: Activation) -> Result<LayerKind, String> {
        let op = match self.kind.as_str() {
            "conv2d" | "conv1d" => Op::Conv2d {
                c_out: needed(self.filters, "filters")?,
                window: self.window([1, 1])?,
                groups: self.groups.unwrap_or(1),
                activation,
            },
            "depthwise_conv2d" => Op::DepthwiseConv2d {
                multiplier: self.multiplier.unwrap_or(1),
                window: self.window([1, 1])?,
                activation,
            },
            "dense" => Op::Dense { units: needed(self.units, "units")?, activation },
            "max_pool2d" => Op::MaxPool2d { window: self.window(self.kernel()?)? },
            "min_pool2d" => Op::MinPool2d { window: self.window(self.kernel()?)? },
            "average_pool2d" => Op::AveragePool2d { window: self.window(self.kernel()?)? },
            "global_average_pool2d" => Op::GlobalAveragePool,
            "global_max_pool2d" => Op::GlobalMaxPool,
            "add" => Op::Add { activation },
            "mul" => Op::Mul { activation },
            "concat" => Op::Concat,
            "zero_padding2d" => match needed(self.padding.as_ref(), "padding")? {
                PaddingValue::All(n) => Op::Pad { cells: [*n; 4] },
                PaddingValue::Cells(cells) => Op::Pad { cells: *cells },
                PaddingValue::Name(name) => {
                    return Err(format!("padding = \"{name}\" is not a number or [top, left, bottom, right]"));
                }
            },
            "flatten" => Op::Flatten,
            "reshape" => {
                let [h, w, c] = needed(self.shape, "shape")?;
                Op::Reshape { to: Shape::new(h, w, c) }
            }
            "softmax" => Op::Softmax,
            "batch_norm" => return self.batch_norm(),
            "conv3d" => return self.conv3d(activation),
            "dropout" => {
                let rate = needed(self.rate, "rate")?;
                if !(0.0..1.0).contains(&rate) {
                    return Err(format!("rate = {rate} must be at least 0 and below 1"));
                }
                return Ok(LayerKind::Dropout { rate });
            }
            function => Op::Unary(self.function(function)?.ok_or("unknown type")?),
        };
        Ok(LayerKind::Op(op))
    }

    fn conv3d(&self, activation: Activation) -> Result<LayerKind, String> {
        let triple = |key: &str, values: Pair| match values {
            Pair::Both(n) => Ok([n; 3]),
            Pair::DepthRowsColumns(triple) => Ok(triple),
            Pair::RowsColumns(_) => Err(format!("'{key}' of a conv3d is one number or [depth, rows, columns]")),
        };
        let padding = match &self.padding {
            None => Padding::Valid,
            Some(PaddingValue::Name(name)) if name == "valid" => Padding::Valid,
            Some(PaddingValue::Name(name)) if name == "same" => Padding::Same,
            Some(_) => return Err("padding of a conv3d is \"valid\" or \"same\"".to_owned()),
        };
        Ok(LayerKind::Conv3d(Conv3d {
            depth: needed(self.depth, "depth")?,
            filters: needed(self.filters, "filters")?,
            kernel: triple("kernel", needed(self.kernel, "kernel")?)?,
            stride: self.stride.map_or(Ok([1; 3]), |stride| triple("stride", stride))?,
            padding,
            activation,
        }))
    }

    fn batch_norm(&self) -> Result<LayerKind, String> {
        let (epsilon, momentum) = (self.epsilon.unwrap_or(EPSILON), self.momentum.unwrap_or(MOMENTUM));
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(format!("epsilon = {epsilon} must be above 0"));
        }
        if !(0.0..1.0).contains(&momentum) {
            return Err(format!("momentum = {momentum} must be at least 0 and below 1"));
        }
        Ok(LayerKind::BatchNorm { epsilon, momentum })
    }

    /// The function of a single value of that name.
    fn function(&self, name: &str) -> Result<Option<Unary>, String> {
        Ok(Some(match name {
            "relu" => Unary::Relu,
            "relu6" => Unary::Relu6,
            "relu_n1_to_1" => Unary::ReluN1To1,
            "leaky_relu" => {
                let alpha = needed(self.alpha, "alpha")?;
                if !(0.0..=1.0).contains(&alpha) {
                    return Err(format!("alpha = {alpha} must be 0 to 1"));
                }
                Unary::LeakyRelu { alpha }
            }
            "sigmoid" => Unary::Sigmoid,
            "tanh" => Unary::Tanh,
            "hard_swish" => Unary::HardSwish,
            "hard_sigmoid" => {
                let (alpha, beta) = (self.alpha.unwrap_or(HARD_SIGMOID.0), self.beta.unwrap_or(HARD_SIGMOID.1));
                if !(alpha.is_finite() && beta.is_finite()) {
                    return Err(format!("alpha = {alpha} and beta = {beta} must be finite"));
                }
                Unary::HardSigmoid { alpha, beta }
            }
            "swish" => Unary::Swish,
            "clip" => {
                let (low, high) = (self.min.unwrap_or(f32::NEG_INFINITY), self.max.unwrap_or(f32::INFINITY));
                if low.is_nan() || high.is_nan() || low > high {
                    return Err(format!("min = {low} must not be above max = {high}"));
                }
                Unary::Clip { low, high }
            }
            _ => return Ok(None),
        }))
    }

    /// The fused activation, and the operator for one that cannot be fused.
    fn activation(&self) -> Result<(Activation, Option<Op>), String> {
        let name = self.activation.as_deref().unwrap_or("none");
        if self.alpha.is_some() && !["leaky_relu", "hard_sigmoid"].contains(&self.kind.as_str()) && name != "leaky_relu"
        {
            return Err("the key 'alpha' belongs to activation = \"leaky_relu\"".to_owned());
        }
        Ok(match name {
            "none" | "linear" => (Activation::None, None),
            "relu" => (Activation::Relu, None),
            "relu6" => (Activation::Relu6, None),
            "relu_n1_to_1" => (Activation::ReluN1To1, None),
            "softmax" => (Activation::None, Some(Op::Softmax)),
            other => {
                let known = "none, relu, relu6, relu_n1_to_1, leaky_relu, sigmoid, tanh, hard_swish, hard_sigmoid, swish, softmax";
                let unary =
                    self.function(other)?.ok_or_else(|| format!("activation = \"{other}\" is not one of {known}"))?;
                (Activation::None, Some(Op::Unary(unary)))
            }
        })
    }

    fn keys(&self) -> Vec<&'static str> {
        [
            ("depth", self.depth.is_some()),
            ("filters", self.filters.is_some()),
            ("units", self.units.is_some()),
            ("multiplier", self.multiplier.is_some()),
            ("groups", self.groups.is_some()),
            ("beta", self.beta.is_some()),
            ("min", self.min.is_some()),
            ("max", self.max.is_some()),
            ("kernel", self.kernel.is_some()),
            ("stride", self.stride.is_some()),
            ("dilation", self.dilation.is_some()),
            ("padding", self.padding.is_some()),
            ("shape", self.shape.is_some()),
            ("activation", self.activation.is_some()),
            ("alpha", self.alpha.is_some()),
            ("rate", self.rate.is_some()),
            ("epsilon", self.epsilon.is_some()),
            ("momentum", self.momentum.is_some()),
            ("bias", self.bias.is_some()),
            ("initializer", self.initializer.is_some()),
            ("stddev", self.stddev.is_some()),
            ("l2", self.l2.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect()
    }

    fn is_conv1d(&self) -> bool {
        self.kind == "conv1d"
    }

    /// Rows and columns; for a conv1d one number, the columns.
    fn pair(&self, key: &str, pair: Pair) -> Result<[u16; 2], String> {
        match (self.is_conv1d(), pair) {
            (true, Pair::Both(columns)) => Ok([1, columns]),
            (true, Pair::RowsColumns(_) | Pair::DepthRowsColumns(_)) => {
                Err(format!("'{key}' of a conv1d is one number"))
            }
            (false, Pair::Both(n)) => Ok([n, n]),
            (false, Pair::RowsColumns(pair)) => Ok(pair),
            (false, Pair::DepthRowsColumns(_)) => Err(format!("'{key}' is one number or [rows, columns]")),
        }
    }

    fn kernel(&self) -> Result<[u16; 2], String> {
        self.pair("kernel", needed(self.kernel, "kernel")?)
    }

    /// The window; `default_stride` is 1 for a convolution and the kernel for a pool.
    fn window(&self, default_stride: [u16; 2]) -> Result<Window, String> {
        let padding = match &self.padding {
            None => Padding::Valid,
            Some(PaddingValue::All(n)) if self.is_conv1d() => Padding::Explicit([0, *n, 0, *n]),
            Some(PaddingValue::All(n)) => Padding::Explicit([*n; 4]),
            Some(PaddingValue::Cells(cells)) => Padding::Explicit(*cells),
            Some(PaddingValue::Name(name)) if name == "valid" => Padding::Valid,
            Some(PaddingValue::Name(name)) if name == "same" => Padding::Same,
            Some(PaddingValue::Name(name)) => {
                return Err(format!("padding = \"{name}\" is not valid, same, a number or [top, left, bottom, right]"));
            }
        };
        Ok(Window {
            kernel: self.kernel()?,
            stride: self.stride.map_or(Ok(default_stride), |pair| self.pair("stride", pair))?,
            dilation: self.dilation.map_or(Ok([1, 1]), |pair| self.pair("dilation", pair))?,
            padding,
        })
    }

    /// The table of a layer whose (first) input has the shape `input`.
    pub fn from_layer(layer: &Layer, input: Option<&Shape>) -> Self {
        let mut table = Self {
            kind: layer_name(&layer.kind, input.copied().unwrap_or(Shape::new(0, 0, 0))).to_owned(),
            name: Some(layer.name.clone()),
            inputs: layer.inputs.clone(),
            ..Self::default()
        };
        let (options, default) = (layer.options, LayerOptions::default());
        table.bias = (options.bias != default.bias).then_some(options.bias);
        table.l2 = (options.l2 != default.l2).then_some(options.l2);
        if options.initializer != default.initializer {
            let (name, stddev) = options.initializer.name();
            (table.initializer, table.stddev) = (Some(name.to_owned()), stddev);
        }
        let op = match &layer.kind {
            LayerKind::Dropout { rate } => {
                table.rate = Some(*rate);
                return table;
            }
            LayerKind::BatchNorm { epsilon, momentum } => {
                (table.epsilon, table.momentum) = (Some(*epsilon), Some(*momentum));
                return table;
            }
            LayerKind::Conv3d(conv) => {
                table.set_conv3d(conv);
                return table;
            }
            LayerKind::Op(op) => op,
        };
        if let Some(window) = op.window() {
            table.set_window(window, op.weight_shape(Shape::new(1, 1, 1)).is_none());
        }
        table.activation = activation_name(op.activation());
        match *op {
            Op::Conv2d { c_out, groups, .. } => {
                table.filters = Some(c_out);
                table.groups = (groups != 1).then_some(groups);
            }
            Op::DepthwiseConv2d { multiplier, .. } => table.multiplier = (multiplier != 1).then_some(multiplier),
            Op::Dense { units, .. } => table.units = Some(units),
            Op::Pad { cells } => table.padding = Some(PaddingValue::Cells(cells)),
            Op::Reshape { to } => table.shape = Some([to.h, to.w, to.c]),
            Op::Unary(Unary::LeakyRelu { alpha }) => table.alpha = Some(alpha),
            Op::Unary(Unary::HardSigmoid { alpha, beta }) => (table.alpha, table.beta) = (Some(alpha), Some(beta)),
            Op::Unary(Unary::Clip { low, high }) => {
                (table.min, table.max) = (low.is_finite().then_some(low), high.is_finite().then_some(high));
            }
            _ => {}
        }
        table
    }

    fn set_conv3d(&mut self, conv: &Conv3d) {
        let triple = |values: [u16; 3]| match values {
            [d, h, w] if d == h && h == w => Pair::Both(d),
            values => Pair::DepthRowsColumns(values),
        };
        (self.depth, self.filters) = (Some(conv.depth), Some(conv.filters));
        self.kernel = Some(triple(conv.kernel));
        self.stride = (conv.stride != [1; 3]).then(|| triple(conv.stride));
        self.padding = (conv.padding == Padding::Same).then(|| PaddingValue::Name("same".to_owned()));
        self.activation = activation_name(conv.activation);
    }

    fn set_window(&mut self, window: &Window, is_pool: bool) {
        let is_conv1d = self.is_conv1d();
        let pair = |values: [u16; 2]| if is_conv1d { Pair::Both(values[1]) } else { Pair::from_values(values) };
        self.kernel = Some(pair(window.kernel));
        if is_pool || window.stride != [1, 1] {
            self.stride = Some(pair(window.stride));
        }
        if window.dilation != [1, 1] {
            self.dilation = Some(pair(window.dilation));
        }
        self.padding = match window.padding {
            Padding::Valid => None,
            Padding::Same => Some(PaddingValue::Name("same".to_owned())),
            Padding::Explicit(cells) => Some(PaddingValue::Cells(cells)),
        };
    }
}

fn activation_name(activation: Activation) -> Option<String> {
    let name = match activation {
        Activation::None => return None,
        Activation::Relu => "relu",
        Activation::Relu6 => "relu6",
        Activation::ReluN1To1 => "relu_n1_to_1",
    };
    Some(name.to_owned())
}

fn needed<T>(value: Option<T>, key: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("needs the key '{key}'"))
}

/// The type of a layer in `net.toml` and summaries, for the shape of its (first) input: a convolution along a single row is a conv1d.
#[must_use]
pub fn layer_name(kind: &LayerKind, input: Shape) -> &'static str {
    match kind {
        LayerKind::Dropout { .. } => "dropout",
        LayerKind::BatchNorm { .. } => "batch_norm",
        LayerKind::Conv3d(_) => "conv3d",
        LayerKind::Op(Op::Conv2d {
            window: Window { kernel: [1, _], stride: [1, _], dilation: [1, _], .. }, ..
        }) if input.h == 1 && input.w > 1 => "conv1d",
        LayerKind::Op(op) => op_name(op),
    }
}

/// The name of an operator in `net.toml` and reports.
#[must_use]
pub const fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Conv2d { .. } => "conv2d",
        Op::DepthwiseConv2d { .. } => "depthwise_conv2d",
        Op::MaxPool2d { .. } => "max_pool2d",
        Op::MinPool2d { .. } => "min_pool2d",
        Op::AveragePool2d { .. } => "average_pool2d",
        Op::GlobalAveragePool => "global_average_pool2d",
        Op::GlobalMaxPool => "global_max_pool2d",
        Op::Dense { .. } => "dense",
        Op::Add { .. } => "add",
        Op::Mul { .. } => "mul",
        Op::Concat => "concat",
        Op::Pad { .. } => "zero_padding2d",
        Op::Flatten => "flatten",
        Op::Reshape { .. } => "reshape",
        Op::Unary(Unary::Relu) => "relu",
        Op::Unary(Unary::Relu6) => "relu6",
        Op::Unary(Unary::ReluN1To1) => "relu_n1_to_1",
        Op::Unary(Unary::LeakyRelu { .. }) => "leaky_relu",
        Op::Unary(Unary::Sigmoid) => "sigmoid",
        Op::Unary(Unary::Tanh) => "tanh",
        Op::Unary(Unary::HardSwish) => "hard_swish",
        Op::Unary(Unary::HardSigmoid { .. }) => "hard_sigmoid",
        Op::Unary(Unary::Swish) => "swish",
        Op::Unary(Unary::Clip { .. }) => "clip",
        Op::Unary(Unary::Requantize) => "requantize",
        Op::Softmax => "softmax",
    }
}
