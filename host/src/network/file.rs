//! `net.toml`: the text form of a network.

use super::layer_table::{LayerTable, op_name};
use super::{INPUT, Layer, LayerKind, LayerOptions, Network, NetworkError, color_name, resize_name, resize_of_name};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::Shape;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// What is wrong with a TOML file, and where; in the place of Rust's number types stand words.
pub(crate) fn in_words(error: &toml::de::Error) -> String {
    const TYPES: [(&str, &str); 6] = [
        ("usize", "a whole number, 0 or more"),
        ("u64", "a whole number, 0 or more"),
        ("u32", "a whole number, 0 or more"),
        ("u8", "a whole number from 0 to 255"),
        ("f64", "a number"),
        ("f32", "a number"),
    ];
    let text = error.to_string();
    let text = text.trim_end();
    let renamed = |(name, words): &(&str, &str)| {
        let rest = text.strip_suffix(name)?;
        rest.ends_with("expected ").then(|| format!("{rest}{words}"))
    };
    TYPES.iter().find_map(renamed).unwrap_or_else(|| text.to_owned())
}

impl Network {
    /// Reads the text of a `net.toml`; `origin` names it in errors.
    ///
    /// # Errors
    /// When the text has an unknown key or value, or the shapes do not fit.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, NetworkError> {
        let syntax = |message: String| NetworkError::Syntax { path: origin.to_owned(), message };
        let file: NetFile = toml::from_str(text).map_err(|e| syntax(in_words(&e)))?;
        let input = file.input.to_spec().map_err(|message| syntax(format!("[input] {message}")))?;
        let mut layers: Vec<Layer> = Vec::with_capacity(file.layer.len());
        // a layer whose activation became a layer of its own is read behind that
        let mut behind: BTreeMap<String, String> = BTreeMap::new();
        let mut flat_convolutions = Vec::new();
        for (index, table) in file.layer.iter().enumerate() {
            let located = |message| syntax(format!("layer {} (type \"{}\"): {message}", index + 1, table.kind));
            let (kind, activation) = table.to_kind().map_err(located)?;
            let options = table.options().map_err(located)?;
            let name = table.name.clone().unwrap_or_else(|| unused_name(&layers, &table.kind));
            let inputs = table.inputs.iter().map(|name| behind.get(name).unwrap_or(name).clone()).collect();
            if table.kind == "conv1d" {
                flat_convolutions.push(layers.len());
            }
            let mut push = |name: &str, kind, inputs, options| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
                let taken = name == INPUT || layers.iter().any(|layer| layer.name == name);
                if name.is_empty() || !name.chars().all(plain) || taken {
                    let message = format!(
                        "layer {}: the name '{name}' is taken or has characters other than letters, digits and _-./",
                        index + 1
                    );
                    return Err(syntax(message));
                }
                layers.push(Layer { name: name.to_owned(), kind, inputs, options });
                Ok(())
            };
            push(&name, kind, inputs, options)?;
            if let Some(op) = activation {
                let own = format!("{name}.{}", op_name(&op));
                push(&own, LayerKind::Op(op), Vec::new(), LayerOptions::default())?;
                behind.insert(name, own);
            }
        }
        let network = Self { name: file.name, input, layers };
        network.validate()?;
        let wired = network.wired()?;
        if let Some(layer) = flat_convolutions.iter().filter_map(|&i| wired.get(i)).find(|layer| layer.input().h != 1) {
            let (name, shape) = (&layer.layer.name, layer.input());
            return Err(syntax(format!("layer '{name}': conv1d takes an input of height 1, got {shape}: use conv2d")));
        }
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
        let shapes: Vec<Shape> =
            self.wired().map_or_else(|_| Vec::new(), |layers| layers.iter().map(|layer| layer.input()).collect());
        let layer = self.layers.iter().enumerate().map(|(i, layer)| LayerTable::from_layer(layer, shapes.get(i)));
        let layer = layer.collect();
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
        let resize = resize_of_name(&self.resize)
            .ok_or_else(|| format!("resize = \"{}\" is not one of stretch, center-crop, imagenet-crop", self.resize))?;
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
            ("[[layer]]\ntype = \"conv2d\"\nfilters = 3\nkernel = 3\ngroups = 2", "cannot be divided into 2 groups"),
            ("[[layer]]\ntype = \"conv2d\"\nfilters = 4\nkernel = 3\nactivation = \"mish\"", "activation = \"mish\""),
            ("[[layer]]\ntype = \"conv2d\"\nfilters = 4\nkernel = 3\nactivation = \"leaky_relu\"", "'alpha'"),
            ("[[layer]]\ntype = \"dense\"\nunits = 4\nalpha = 0.1", "'alpha' belongs to"),
            ("[[layer]]\ntype = \"conv1d\"\nname = \"c\"\nfilters = 4\nkernel = 3", "layer 'c': conv1d takes"),
            ("[[layer]]\ntype = \"conv1d\"\nfilters = 4\nkernel = [1, 3]", "'kernel' of a conv1d is one number"),
            ("[[layer]]\ntype = \"batch_norm\"\nmomentum = 1.0", "momentum = 1"),
            ("[[layer]]\ntype = \"reshape\"\nshape = [2, 2, 2]", "cannot reshape 8x8x1 to 2x2x2"),
            ("[[layer]]\ntype = \"relu\"\nname = \"input\"", "'input' is taken"),
        ] {
            let error = net(layer).unwrap_err();
            assert!(error.contains(expected), "{layer}: {error}");
        }
    }

    #[test]
    fn wrong_wiring_names_the_layers() {
        let net = |layers: &str| {
            let head = "name = \"t\"\n[input]\nheight = 8\nwidth = 8\ncolor = \"gray\"\n";
            let end =
                "[[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 2\nactivation = \"softmax\"\n";
            let text = format!("{head}{layers}{end}");
            Network::from_toml(&text, "net.toml").map_err(|e| format!("{:#}", anyhow::Error::from(e)))
        };
        let conv = |name: &str, more: &str| {
            format!("[[layer]]\ntype = \"conv2d\"\nname = \"{name}\"\nfilters = 2\nkernel = 3\n{more}\n")
        };
        let add = |inputs: &str| format!("[[layer]]\ntype = \"add\"\nname = \"sum\"\ninputs = [{inputs}]\n");
        let same = "padding = \"same\"";
        assert!(net(&(conv("a", same) + &conv("b", same) + &add("\"a\", \"b\""))).is_ok());
        for (layers, expected) in [
            (conv("a", same) + &conv("b", "") + &add("\"a\", \"b\""), "'sum' cannot take its input of 8x8x2 and 6x6x2"),
            (conv("a", same) + &add("\"a\", \"c\""), "layer 'sum' reads 'c', but there is no layer of that name"),
            (conv("a", "inputs = [\"b\"]") + &conv("b", ""), "layer 'a' reads 'b', which does not stand before it"),
            (conv("a", "inputs = [\"a\"]"), "layer 'a' reads 'a', which does not stand before it"),
            (conv("a", "") + &conv("b", "inputs = [\"input\"]"), "nothing reads the output of layer 'a'"),
            (conv("a", "") + &add("\"a\""), "'sum' cannot take its input of 6x6x2: takes two inputs, got 1"),
            (conv("a", "") + &conv("b", "inputs = [\"a\", \"a\"]"), "takes one input, got 2"),
            (conv("a", "") + &conv("a", ""), "the name 'a' is taken"),
        ] {
            let error = net(&layers).unwrap_err();
            assert!(error.contains(expected), "{layers}: {error}");
        }
    }

    #[test]
    fn a_layer_is_read_behind_its_activation() {
        let text = "name = \"t\"\n[input]\nheight = 8\nwidth = 8\ncolor = \"gray\"\n\
            [[layer]]\ntype = \"conv2d\"\nname = \"a\"\nfilters = 2\nkernel = 3\nactivation = \"tanh\"\n\
            [[layer]]\ntype = \"relu\"\nname = \"b\"\n\
            [[layer]]\ntype = \"add\"\ninputs = [\"b\", \"a\"]\n\
            [[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 2\nactivation = \"softmax\"\n";
        let network = Network::from_toml(text, "net.toml").unwrap();
        let names: Vec<&str> = network.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["a", "a.tanh", "b", "add", "flatten", "dense", "dense.softmax"]);
        assert_eq!(network.layers[3].inputs, ["b", "a.tanh"]);
        assert_eq!(Network::from_toml(&network.to_toml(), "again").unwrap(), network);
    }
}
