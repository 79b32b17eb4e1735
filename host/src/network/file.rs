//! `net.toml`: the text form of a network.

use super::{Layer, LayerKind, Network, NetworkError, color_name, resize_name};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::{Activation, Op, Padding, Shape, Window};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NetFile {
    name: String,
    input: InputTable,
    layer: Vec<LayerTable>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct InputTable {
    height: u32,
    width: u32,
    color: String,
    #[serde(default = "stretch")]
    resize: String,
    #[serde(default = "zeros")]
    mean: Vec<f32>,
    #[serde(default = "ones")]
    std: Vec<f32>,
}

fn stretch() -> String {
    resize_name(Resize::Stretch).to_owned()
}

fn zeros() -> Vec<f32> {
    vec![0.0]
}

fn ones() -> Vec<f32> {
    vec![1.0]
}

/// One `[[layer]]`; which keys a type takes is checked in [`LayerTable::to_kind`].
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LayerTable {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stride: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dilation: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<PaddingValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
}

/// `3` or `[3, 5]` (rows, columns).
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(untagged)]
enum Pair {
    Both(u16),
    RowsColumns([u16; 2]),
}

impl Pair {
    const fn values(self) -> [u16; 2] {
        match self {
            Self::Both(n) => [n, n],
            Self::RowsColumns(pair) => pair,
        }
    }

    const fn from_values([rows, columns]: [u16; 2]) -> Self {
        if rows == columns { Self::Both(rows) } else { Self::RowsColumns([rows, columns]) }
    }
}

/// `"valid"`, `"same"` or `[top, left, bottom, right]`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum PaddingValue {
    Name(String),
    Cells([u16; 4]),
}

impl Network {
    /// Reads the text of a `net.toml`; `origin` names it in errors.
    ///
    /// # Errors
    /// When the text has an unknown key or value, or the shapes do not fit.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, NetworkError> {
        let syntax = |message: String| NetworkError::Syntax { path: origin.to_owned(), message };
        let file: NetFile = toml::from_str(text).map_err(|e| syntax(e.to_string().trim_end().to_owned()))?;
        let input = file.input.to_spec().map_err(|message| syntax(format!("[input] {message}")))?;
        let mut layers: Vec<Layer> = Vec::with_capacity(file.layer.len());
        for (index, table) in file.layer.iter().enumerate() {
            let kind = table
                .to_kind()
                .map_err(|message| syntax(format!("layer {} (type \"{}\"): {message}", index + 1, table.kind)))?;
            let name = table.name.clone().unwrap_or_else(|| unused_name(&layers, &table.kind));
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
            if name.is_empty() || !name.chars().all(plain) || layers.iter().any(|layer| layer.name == name) {
                let message = format!(
                    "layer {}: the name '{name}' is taken or has characters other than letters, digits and _-./",
                    index + 1
                );
                return Err(syntax(message));
            }
            layers.push(Layer { name, kind });
        }
        let network = Self { name: file.name, input, layers };
        network.validate()?;
        Ok(network)
    }

    /// The text of the `net.toml` that describes this network.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let channels = self.input.color.channels() as usize;
        let input = InputTable {
            height: self.input.shape.h,
            width: self.input.shape.w,
            color: color_name(self.input.color).to_owned(),
            resize: resize_name(self.input.resize).to_owned(),
            mean: self.input.mean.iter().copied().take(channels).collect(),
            std: self.input.std.iter().copied().take(channels).collect(),
        };
        let layer = self.layers.iter().map(LayerTable::from_layer).collect();
        // Serializing strings, numbers and arrays of them to TOML cannot fail.
        toml::to_string(&NetFile { name: self.name.clone(), input, layer }).unwrap_or_default()
    }
}

/// `conv2d`, then `conv2d_1`, as Keras counts.
fn unused_name(layers: &[Layer], kind: &str) -> String {
    let taken = |name: &str| layers.iter().any(|layer| layer.name == name);
    if !taken(kind) {
        return kind.to_owned();
    }
    (1..).map(|n| format!("{kind}_{n}")).find(|name| !taken(name)).unwrap_or_default()
}

impl InputTable {
    fn to_spec(&self) -> Result<InputSpec, String> {
        let color = [ColorOrder::Gray, ColorOrder::Rgb, ColorOrder::Bgr]
            .into_iter()
            .find(|&color| color_name(color) == self.color)
            .ok_or_else(|| format!("color = \"{}\" is not one of gray, rgb, bgr", self.color))?;
        let resize = [Resize::Stretch, Resize::CenterCrop]
            .into_iter()
            .find(|&resize| resize_name(resize) == self.resize)
            .ok_or_else(|| format!("resize = \"{}\" is not one of stretch, center-crop", self.resize))?;
        let triple = |key: &str, values: &[f32]| match *values {
            [v] => Ok([v; 3]),
            [a, b, c] => Ok([a, b, c]),
            _ => Err(format!("{key} takes one number, or one a channel")),
        };
        let (mean, std) = (triple("mean", &self.mean)?, triple("std", &self.std)?);
        if mean.iter().chain(&std).any(|v| !v.is_finite()) || std.iter().any(|&v| v <= 0.0) {
            return Err("mean must be finite and std above zero".to_owned());
        }
        if self.height == 0 || self.width == 0 || self.height > 4096 || self.width > 4096 {
            return Err(format!("height and width must be 1 to 4096, got {} and {}", self.height, self.width));
        }
        Ok(InputSpec { shape: Shape::new(self.height, self.width, color.channels()), color, resize, mean, std })
    }
}

impl LayerTable {
    fn to_kind(&self) -> Result<LayerKind, String> {
        let allowed: &[&str] = match self.kind.as_str() {
            "conv2d" => &["filters", "kernel", "stride", "dilation", "padding", "activation"],
            "max_pool2d" | "average_pool2d" => &["kernel", "stride", "padding"],
            "dense" => &["units", "activation"],
            "dropout" => &["rate"],
            "flatten" | "softmax" => &[],
            _ => {
                let known = "conv2d, max_pool2d, average_pool2d, flatten, dropout, dense, softmax";
                return Err(format!("unknown type; known are {known}"));
            }
        };
        if let Some(key) = self.keys().into_iter().find(|key| !allowed.contains(key)) {
            return Err(format!("does not take the key '{key}' (takes: {})", allowed.join(", ")));
        }
        let missing = |key: &str| format!("needs the key '{key}'");
        Ok(match self.kind.as_str() {
            "conv2d" => LayerKind::Op(Op::Conv2d {
                c_out: self.filters.ok_or_else(|| missing("filters"))?,
                window: self.window([1, 1])?,
                activation: self.activation()?,
            }),
            "max_pool2d" => LayerKind::Op(Op::MaxPool2d { window: self.window(self.kernel()?)? }),
            "average_pool2d" => LayerKind::Op(Op::AveragePool2d { window: self.window(self.kernel()?)? }),
            "dense" => LayerKind::Op(Op::Dense {
                units: self.units.ok_or_else(|| missing("units"))?,
                activation: self.activation()?,
            }),
            "flatten" => LayerKind::Op(Op::Flatten),
            "softmax" => LayerKind::Op(Op::Softmax),
            _ => {
                let rate = self.rate.ok_or_else(|| missing("rate"))?;
                if !(0.0..1.0).contains(&rate) {
                    return Err(format!("rate = {rate} must be at least 0 and below 1"));
                }
                LayerKind::Dropout { rate }
            }
        })
    }

    fn keys(&self) -> Vec<&'static str> {
        [
            ("filters", self.filters.is_some()),
            ("units", self.units.is_some()),
            ("kernel", self.kernel.is_some()),
            ("stride", self.stride.is_some()),
            ("dilation", self.dilation.is_some()),
            ("padding", self.padding.is_some()),
            ("activation", self.activation.is_some()),
            ("rate", self.rate.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect()
    }

    fn kernel(&self) -> Result<[u16; 2], String> {
        self.kernel.map(Pair::values).ok_or_else(|| "needs the key 'kernel'".to_owned())
    }

    /// The window; `default_stride` is 1 for a convolution and the kernel for a pool.
    fn window(&self, default_stride: [u16; 2]) -> Result<Window, String> {
        let padding = match &self.padding {
            None => Padding::Valid,
            Some(PaddingValue::Cells(cells)) => Padding::Explicit(*cells),
            Some(PaddingValue::Name(name)) if name == "valid" => Padding::Valid,
            Some(PaddingValue::Name(name)) if name == "same" => Padding::Same,
            Some(PaddingValue::Name(name)) => {
                return Err(format!("padding = \"{name}\" is not valid, same or [top, left, bottom, right]"));
            }
        };
        Ok(Window {
            kernel: self.kernel()?,
            stride: self.stride.map_or(default_stride, Pair::values),
            dilation: self.dilation.map_or([1, 1], Pair::values),
            padding,
        })
    }

    fn activation(&self) -> Result<Activation, String> {
        match self.activation.as_deref() {
            None | Some("none" | "linear") => Ok(Activation::None),
            Some("relu") => Ok(Activation::Relu),
            Some("relu6") => Ok(Activation::Relu6),
            Some(other) => Err(format!("activation = \"{other}\" is not one of none, relu, relu6")),
        }
    }

    fn from_layer(layer: &Layer) -> Self {
        let mut table = Self { name: Some(layer.name.clone()), ..Self::default() };
        let mut windowed = |window: &Window, is_pool: bool| {
            table.kernel = Some(Pair::from_values(window.kernel));
            if is_pool || window.stride != [1, 1] {
                table.stride = Some(Pair::from_values(window.stride));
            }
            if window.dilation != [1, 1] {
                table.dilation = Some(Pair::from_values(window.dilation));
            }
            table.padding = match window.padding {
                Padding::Valid => None,
                Padding::Same => Some(PaddingValue::Name("same".to_owned())),
                Padding::Explicit(cells) => Some(PaddingValue::Cells(cells)),
            };
        };
        let kind = match &layer.kind {
            LayerKind::Dropout { rate } => {
                table.rate = Some(*rate);
                "dropout"
            }
            LayerKind::Op(op) => {
                if let Some(window) = op.window() {
                    windowed(window, !matches!(op, Op::Conv2d { .. }));
                }
                table.activation = match op.activation() {
                    Activation::None => None,
                    Activation::Relu => Some("relu".to_owned()),
                    Activation::Relu6 => Some("relu6".to_owned()),
                };
                match *op {
                    Op::Conv2d { c_out, .. } => table.filters = Some(c_out),
                    Op::Dense { units, .. } => table.units = Some(units),
                    _ => {}
                }
                op_name(op)
            }
        };
        table.kind = kind.to_owned();
        table
    }
}

/// The name of an operator in `net.toml`, reports and operator cases.
#[must_use]
pub const fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Conv2d { .. } => "conv2d",
        Op::MaxPool2d { .. } => "max_pool2d",
        Op::AveragePool2d { .. } => "average_pool2d",
        Op::Dense { .. } => "dense",
        Op::Flatten => "flatten",
        Op::Softmax => "softmax",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::zoo;

    #[test]
    fn built_in_networks_survive_a_round_trip() {
        for name in zoo::names() {
            let network = Network::open(name).unwrap();
            assert_eq!(Network::from_toml(&network.to_toml(), "again").unwrap(), network, "{name}");
        }
    }

    #[test]
    fn unknown_keys_types_and_values_are_named() {
        let net = |layer: &str| {
            let text = format!(
                "name = \"t\"\n[input]\nheight = 8\nwidth = 8\ncolor = \"gray\"\n{layer}\n[[layer]]\ntype = \"flatten\"\n\
                 [[layer]]\ntype = \"dense\"\nunits = 2\n[[layer]]\ntype = \"softmax\"\n"
            );
            Network::from_toml(&text, "net.toml").map_err(|e| format!("{:#}", anyhow::Error::from(e)))
        };
        assert!(net("").is_ok());
        for (layer, expected) in [
            ("[[layer]]\ntype = \"conv9d\"", "conv9d"),
            ("[[layer]]\ntype = \"conv2d\"\nfilters = 4\nkernel = 3\nkernal = 4", "kernal"),
            ("[[layer]]\ntype = \"conv2d\"\nfilters = 4", "needs the key 'kernel'"),
            ("[[layer]]\ntype = \"conv2d\"\nfilters = 4\nkernel = 3\nunits = 4", "does not take the key 'units'"),
            (
                "[[layer]]\ntype = \"conv2d\"\nfilters = 4\nkernel = 9",
                "layer 1 'conv2d' cannot take its input of 8x8x1",
            ),
            ("[[layer]]\ntype = \"conv2d\"\nfilters = 4\nkernel = 3\npadding = \"full\"", "padding = \"full\""),
            ("[[layer]]\ntype = \"dropout\"\nrate = 1.5", "rate = 1.5"),
            ("[[layer]]\ntype = \"dense\"\nunits = 4", "add a flatten layer"),
            (
                "[[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"conv2d\"\nfilters = 4\nkernel = 1",
                "before the flatten",
            ),
            ("[[layer]]\ntype = \"conv2d\"\nfilters = 4000000000\nkernel = 3", "'conv2d'"),
            ("[[layer]]\ntype = \"conv2d\"\nfilters = 20000000\nkernel = 3", "make it smaller"),
        ] {
            let error = net(layer).unwrap_err();
            assert!(error.contains(expected), "{layer}: {error}");
        }
    }
}
