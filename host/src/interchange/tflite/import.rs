//! A .tflite file as a network of ours: quantized as it is, or float to be quantized here.

use super::convert::{Converted, Draft, convert, params, shape};
use super::layers::{check, is_quantized, quantized_layer};
use super::{TfliteModel, TfliteOperator, report, unsupported};
use crate::network::{
    Layer, LayerKind, LayerOptions, LayerWeights, Network, Node, Weights, color_name, resize_of_name,
};
use crate::quantize::QuantizedNetwork;
use anyhow::{Context, bail, ensure};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::Shape;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a .tflite file holds.
#[derive(Clone, Debug)]
pub enum Imported {
    /// A network in int8 or uint8.
    Quantized(Box<QuantizedNetwork>),
    /// A network in float32, to be quantized here.
    Float(Box<(Network, Weights)>),
}

/// What became of a file, and what it says beside its network.
#[derive(Clone, Debug)]
pub struct Import {
    /// The network.
    pub imported: Imported,
    /// Its labels, from the options or a file of ours; empty where there are none.
    pub labels: Vec<String>,
    /// Whether the file says what pixels are: in its metadata, or by the scale of a quantized input.
    pub says_pixels: bool,
    /// Whether the file says what becomes of a picture of another shape.
    pub says_resize: bool,
}

/// What is not in the file.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Name of the network.
    pub name: String,
    /// Class labels; may be empty.
    pub labels: Vec<String>,
    /// Order of the colours, where it is not that of the number of channels (gray or RGB).
    pub color: Option<ColorOrder>,
    /// What becomes of a picture of another shape.
    pub resize: Option<Resize>,
    /// Rows and columns of the input, where the file leaves them open (ONNX).
    pub size: Option<[u32; 2]>,
    /// Real values of black and white, where they are not the ends of the input's range (int8) or 0 and 1 (float).
    pub range: Option<[f32; 2]>,
}

/// Far more operators than a classifier has: what is done for each of them may look at all of them.
const MAX_OPERATORS: usize = 1 << 14;

/// Reads a file and makes a network of it.
///
/// # Errors
/// When the file is broken, or holds operators or types that are not supported: all of them are listed, with the layers' names.
pub fn import(file: &[u8], options: &ImportOptions) -> anyhow::Result<Imported> {
    Ok(import_all(file, options)?.imported)
}

/// As [`import`], with what the file says beside its network.
///
/// # Errors
/// As [`import`].
pub fn import_all(file: &[u8], options: &ImportOptions) -> anyhow::Result<Import> {
    let mut model = super::read(file)?;
    model.simplify()?;
    let options = &with_metadata(options, &model);
    let count = model.operators.len();
    ensure!(count <= MAX_OPERATORS, "the network has {count} operators, at most {MAX_OPERATORS} are read");
    let integer = is_quantized(&model);
    let problems =
        unsupported(&model, |model, operator| check(model, operator, integer).map_err(|error| format!("{error:#}")));
    ensure!(problems.is_empty(), "this network cannot be imported:\n{}", report(&problems).trim_end());
    let [input] = model.inputs[..] else {
        bail!("the network has {} inputs: a classifier of pictures has one", model.inputs.len());
    };
    let [output] = model.outputs[..] else {
        bail!("the network has {} outputs: a classifier has one", model.outputs.len());
    };
    let mut builder = Builder { model: &model, places: BTreeMap::from([(input, (0, input))]), drafts: Vec::new() };
    for operator in &model.operators {
        builder.add(operator)?;
    }
    let last = builder.places.get(&output).map(|place| place.0).context("the output is not computed")?;
    ensure!(
        last == builder.drafts.len(),
        "the network goes on after its output: leave one output and convert it again"
    );
    ensure!(last > 0, "the network has no layers");
    unique_names(&mut builder.drafts);
    let stated = stated_picture(&model, shape(&model.tensors[input])?, options);
    let imported = if integer {
        Imported::Quantized(Box::new(builder.quantized(input, stated, options)?))
    } else {
        Imported::Float(Box::new(builder.float(input, stated, options)?))
    };
    let says_resize = stated_resize(&model).is_some();
    Ok(Import { imported, labels: options.labels.clone(), says_pixels: integer || stated.is_some(), says_resize })
}

/// Gives layers of one name numbers, and names the characters that a `net.toml` allows.
fn unique_names(drafts: &mut [Draft]) {
    let mut known = HashSet::from([crate::network::INPUT.to_owned()]);
    let mut numbers = HashMap::new(); // the last one that was given to a name
    for draft in drafts {
        let allowed = |c: char| if c.is_ascii_alphanumeric() || "_-./".contains(c) { c } else { '_' };
        let base: String = draft.name.chars().map(allowed).collect();
        draft.name.clone_from(&base);
        while !known.insert(draft.name.clone()) {
            let number = numbers.entry(base.clone()).or_insert(1_usize);
            *number += 1;
            draft.name = format!("{base}_{number}");
        }
    }
}

struct Builder<'a> {
    model: &'a TfliteModel<'a>,
    /// For a tensor of the file: our tensor (0 the input, `i + 1` the output of layer `i`), and the file's tensor that has its numbers.
    places: BTreeMap<usize, (usize, usize)>,
    drafts: Vec<Draft>,
}

impl Builder<'_> {
    fn add(&mut self, operator: &TfliteOperator) -> anyhow::Result<()> {
        let output = *operator.outputs.first().context("an operator without output")?;
        match convert(self.model, operator)? {
            Converted::Same(input) => {
                let (place, mut source) = self.place(input)?;
                if place == 0 && self.model.tensors[output].quantization.is_some() {
                    source = output; // a float input that is quantized first
                }
                self.places.insert(output, (place, source));
                if place == 0 {
                    self.places.insert(input, (place, source));
                }
            }
            Converted::Layers(drafts) => {
                self.drafts.extend(drafts);
                self.places.insert(output, (self.drafts.len(), output));
            }
        }
        Ok(())
    }

    fn place(&self, tensor: usize) -> anyhow::Result<(usize, usize)> {
        self.places.get(&tensor).copied().context("a tensor is read before it is made")
    }

    /// The layers with their shapes. Layers that one operator became read each other.
    fn nodes(&self, input: usize) -> anyhow::Result<Vec<Node>> {
        let mut shapes = vec![shape(&self.model.tensors[input])?];
        let mut nodes: Vec<Node> = Vec::new();
        for (index, draft) in self.drafts.iter().enumerate() {
            let chained = index > 0 && draft.inputs.is_empty();
            let inputs = if chained {
                vec![index]
            } else {
                draft.inputs.iter().map(|&input| Ok(self.place(input)?.0)).collect::<anyhow::Result<Vec<_>>>()?
            };
            let input_shapes: Vec<Shape> = inputs.iter().map(|&input| shapes[input]).collect();
            let output = draft.op.infer_shape(&input_shapes).with_context(|| format!("layer '{}'", draft.name))?;
            shapes.push(output);
            nodes.push(Node { name: draft.name.clone(), op: draft.op, inputs, input_shapes, output });
        }
        Ok(nodes)
    }

    fn quantized(
        &self,
        input: usize,
        stated: Option<InputSpec>,
        options: &ImportOptions,
    ) -> anyhow::Result<QuantizedNetwork> {
        let nodes = self.nodes(input)?;
        let input_params = params(&self.model.tensors[self.place(input)?.1]).context("the input")?;
        let input_shape = shape(&self.model.tensors[input])?;
        let range = options.range.unwrap_or_else(|| {
            [-128, 127].map(|q| (f64::from(input_params.scale) * f64::from(q - input_params.zero_point)) as f32)
        });
        let layers = self.drafts.iter().zip(nodes).map(|(draft, node)| {
            quantized_layer(self.model, draft, node).with_context(|| format!("layer '{}'", draft.name))
        });
        // TensorFlow's metadata are of the float network: of a quantized one the scale says it
        let stated = stated.filter(|_| metadata(self.model, "mean").is_some());
        Ok(QuantizedNetwork {
            picture: stated.map_or_else(|| picture(input_shape, range, options), |stated| Ok(Some(stated)))?,
            input_shape,
            input: input_params,
            layers: layers.collect::<anyhow::Result<_>>()?,
            labels: options.labels.clone(),
        })
    }

    fn float(
        &self,
        input: usize,
        stated: Option<InputSpec>,
        options: &ImportOptions,
    ) -> anyhow::Result<(Network, Weights)> {
        let nodes = self.nodes(input)?;
        let input_shape = shape(&self.model.tensors[input])?;
        let range = options.range.unwrap_or([0.0, 1.0]);
        let picture = picture(input_shape, range, options)?.map(|usual| stated.unwrap_or(usual)).with_context(|| {
            format!("the network takes {input_shape}: a float network that is to be quantized here takes pictures (1 or 3 channels)")
        })?;
        let mut weights = Weights::default();
        let mut layers = Vec::new();
        for (draft, node) in self.drafts.iter().zip(&nodes) {
            let names = node.inputs.iter().map(|&input| match input.checked_sub(1) {
                None => crate::network::INPUT.to_owned(),
                Some(layer) => nodes[layer].name.clone(),
            });
            layers.push(Layer {
                name: node.name.clone(),
                kind: LayerKind::Op(node.op),
                inputs: names.collect(),
                options: LayerOptions::default(),
            });
            if let Some(tensor) = draft.weights {
                let shape =
                    node.op.weight_shape(node.input()).context("an operator without weights")?.map(|n| n as usize);
                let kernel = self.model.tensors[tensor].real_values().context("the weights are not in the file")?;
                let bias = match draft.bias {
                    None => vec![0.0; shape[node.op.channel_axis()]],
                    Some(bias) => self.model.tensors[bias].real_values().context("the bias is not in the file")?,
                };
                weights.insert(&node.name, LayerWeights { shape, kernel, bias });
            }
        }
        let network = Network { name: options.name.clone(), input: picture, layers };
        network.validate()?;
        Ok((network, weights))
    }
}

/// The options, with the labels, colours and resize rule that a file of ours has where they name none.
fn with_metadata(options: &ImportOptions, model: &TfliteModel<'_>) -> ImportOptions {
    let mut options = options.clone();
    let classes = model.outputs.first().and_then(|&output| model.tensors.get(output)?.shape.last().copied());
    if let (true, Some(text)) = (options.labels.is_empty(), metadata(model, "labels")) {
        let labels: Vec<String> = text.lines().map(str::to_owned).collect();
        if Some(labels.len()) == classes {
            options.labels = labels;
        }
    }
    let channels = model.inputs.first().and_then(|&input| model.tensors.get(input)?.shape.last().copied());
    let colors = [ColorOrder::Gray, ColorOrder::Rgb, ColorOrder::Bgr].into_iter();
    let fits = |color: &ColorOrder| Some(color.channels() as usize) == channels;
    let own = colors.filter(fits).find(|&color| metadata(model, "color") == Some(color_name(color)));
    options.color = options.color.or(own);
    options.resize = options.resize.or(stated_resize(model));
    options
}

/// What the file says becomes of a picture of another shape.
fn stated_resize(model: &TfliteModel<'_>) -> Option<Resize> {
    metadata(model, "resize").and_then(resize_of_name)
}

fn metadata<'m>(model: &'m TfliteModel<'_>, key: &str) -> Option<&'m str> {
    model.metadata.iter().find(|(name, _)| name == key).map(|(_, text)| text.as_str())
}

/// How a picture becomes the input, as a file of ours says it, or as TensorFlow's metadata do; `None` for other files, and where the
/// options say it.
fn stated_picture(model: &TfliteModel<'_>, shape: Shape, options: &ImportOptions) -> Option<InputSpec> {
    if options.range.is_some() {
        return None;
    }
    let channel = |values: &[f32]| -> Option<[f32; 3]> {
        let usable = matches!(values.len(), 1 | 3) && values.len() <= shape.c as usize;
        let at = |channel: usize| values.get(channel).or(values.first()).copied();
        (usable && values.iter().all(|v| v.is_finite())).then_some([at(0)?, at(1)?, at(2)?])
    };
    let by_count = match shape.c {
        1 => Some(ColorOrder::Gray),
        3 => Some(ColorOrder::Rgb),
        _ => None,
    };
    let color = options.color.or(by_count).filter(|color| color.channels() == shape.c)?;
    let resize = options.resize.unwrap_or(Resize::Stretch);
    let (mean, std) = if metadata(model, "mean").is_some() {
        let list = |key: &str| -> Option<[f32; 3]> {
            let values: Vec<f32> = metadata(model, key)?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
            channel(&values)
        };
        (list("mean")?, list("std")?)
    } else {
        let [mean, std] = model.normalization.as_ref()?;
        let [mean, std] = [channel(mean)?, channel(std)?];
        (mean.map(|v| v / 255.0), std.map(|v| v / 255.0))
    };
    std.iter().all(|&v| v > 0.0).then_some(InputSpec { shape, color, resize, mean, std })
}

/// How a picture becomes the input, black and white being the ends of `range`; `None` for an input that is no picture.
fn picture(shape: Shape, [black, white]: [f32; 2], options: &ImportOptions) -> anyhow::Result<Option<InputSpec>> {
    let color = match (options.color, shape.c) {
        (Some(color), c) => {
            ensure!(color.channels() == c, "the input has {c} channels: not those of the colours asked for");
            color
        }
        (None, 1) => ColorOrder::Gray,
        (None, 3) => ColorOrder::Rgb,
        _ => return Ok(None),
    };
    ensure!(white > black, "white ({white}) must be above black ({black})");
    let (mean, std) = (-black / (white - black), 1.0 / (white - black));
    let resize = options.resize.unwrap_or(Resize::Stretch);
    Ok(Some(InputSpec { shape, color, resize, mean: [mean; 3], std: [std; 3] }))
}
