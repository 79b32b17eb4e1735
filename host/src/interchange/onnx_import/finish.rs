//! From layers to a network: its input as a picture, its end as a softmax over classes, its labels.

use super::super::tflite::{ImportOptions, Imported};
use super::build::{Draft, Value};
use super::graph::{self, Given, Lowered, dimensions, is_float, is_half, note_half};
use super::quantized;
use super::view::Axis;
use crate::network::{INPUT, Layer, LayerKind, LayerOptions, Network, Weights, resize_of_name};
use anyhow::{Context, bail, ensure};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::{Op, Shape, Unary};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, ModelProto};

/// The network's input, rows, columns and channels found in its dimensions.
pub fn given(model: &ModelProto, options: &ImportOptions, notes: &mut Vec<String>) -> anyhow::Result<Given> {
    let graph = graph::graph(model)?;
    let inputs = graph::inputs(graph);
    let [input] = inputs.as_slice() else {
        bail!("the network has {} inputs: a classifier of pictures has one", inputs.len());
    };
    let (kind, dims) = dimensions(input)?;
    ensure!(
        is_float(kind) || is_half(kind),
        "the input '{}' is of {}: float is supported",
        input.name,
        super::constant::type_name(kind)
    );
    if is_half(kind) {
        note_half(notes);
    }
    let batch = dims.first().copied().flatten().unwrap_or(1);
    let channels = |dim: usize| matches!(dims[dim], Some(1 | 3));
    let turned_first = graph.node.iter().any(|node| {
        let perm = node.attribute.iter().find(|attribute| attribute.name == "perm");
        node.op_type == "Transpose"
            && node.input.first() == Some(&input.name)
            && perm.is_some_and(|perm| perm.ints == [0, 3, 1, 2])
    });
    let open =
        || format!("the file leaves the size of its input '{}' open: say it with --size HEIGHTxWIDTH", input.name);
    let side = |dim: usize, asked: usize| -> anyhow::Result<usize> {
        let asked = options.size.map(|size| size[asked] as usize);
        match (dims[dim], asked) {
            (Some(own), Some(asked)) => {
                ensure!(own == asked, "the input has {own} in dimension {dim}, not {asked} as asked for");
                Ok(own)
            }
            (own, asked) => own.or(asked).with_context(open),
        }
    };
    use Axis::{C, H, N, W};
    let (sizes, order): ([usize; 3], _) = match dims.len() {
        4 if turned_first || (channels(3) && !channels(1)) => {
            ([side(1, 0)?, side(2, 1)?, dims[3].with_context(open)?], vec![N, H, W, C])
        }
        4 => ([side(2, 0)?, side(3, 1)?, dims[1].with_context(open)?], vec![N, C, H, W]),
        3 => ([1, side(2, 1)?, dims[1].with_context(open)?], vec![N, C, H, W]),
        2 => {
            let count = dims[1].with_context(open)?;
            let root = count.isqrt();
            match options.size.map(|[h, w]| [h as usize, w as usize]) {
                Some([h, w]) if h.checked_mul(w) == Some(count) => ([h, w, 1], vec![N, H, W, C]),
                None if root * root == count && root > 1 => {
                    notes.push(format!("its input of {count} values is taken as a gray picture of {root}x{root}"));
                    ([root, root, 1], vec![N, H, W, C])
                }
                _ => ([1, 1, count], vec![N, C, H, W]),
            }
        }
        rank => bail!("the input '{}' has {rank} dimensions: pictures have 4", input.name),
    };
    let [h, w, c] = sizes.map(u32::try_from);
    let shape = Shape::new(h?, w?, c?);
    ensure!(shape.elements().is_some_and(|n| n <= 1 << 28), "the input of {shape} is too large");
    let mut dims: Vec<usize> = dims.into_iter().map(|dim| dim.unwrap_or(1)).collect();
    let by_axis = |axis: Axis| match axis {
        N => batch,
        H => sizes[0],
        W => sizes[1],
        C => sizes[2],
    };
    if dims.len() == 4 {
        dims = order.iter().map(|&axis| by_axis(axis)).collect();
    } else if dims.len() == 3 {
        dims = vec![batch, sizes[2], sizes[1]];
    }
    Ok(Given { name: input.name.clone(), dims, shape, batch, order })
}

/// The network of what a graph became.
pub fn finish(
    graph: &GraphProto,
    model: &ModelProto,
    mut lowered: Lowered,
    options: &ImportOptions,
) -> anyhow::Result<(Imported, Vec<String>, Vec<String>)> {
    let Value::Computed(output) = &lowered.output else {
        bail!("the output '{}' does not depend on the input", graph.output.first().map_or("", |output| &output.name));
    };
    ensure!(!lowered.layers.is_empty(), "the network has no layers");
    let shape = output.shape;
    ensure!(
        (shape.h, shape.w) == (1, 1) && output.tensor == lowered.layers.len(),
        "the output is a tensor of {shape}: a classifier has one score a class"
    );
    let is_quantized = lowered.layers.iter().any(|draft| draft.params.is_some()) || lowered.input_params[0].is_some();
    end(&mut lowered, is_quantized)?;
    if is_quantized {
        quantized::settle(&mut lowered)?;
    }
    let Lowered { layers: drafts, head, input_params, mut notes, .. } = lowered;
    let names = unique_names(&drafts);
    let mut weights = Weights::default();
    let layers = drafts.iter().zip(&names).map(|(draft, name)| {
        let source = |&tensor: &usize| tensor.checked_sub(1).map_or_else(|| INPUT.to_owned(), |at| names[at].clone());
        let inputs = draft.inputs.iter().map(source).collect();
        Layer { name: name.clone(), kind: draft.kind, inputs, options: LayerOptions::default() }
    });
    let layers: Vec<Layer> = layers.collect();
    for (draft, name) in drafts.iter().zip(&names) {
        if let Some(numbers) = &draft.weights {
            let finite = numbers.kernel.iter().chain(&numbers.bias).all(|v| v.is_finite());
            ensure!(finite, "layer '{name}' has a weight that is not finite");
            weights.insert(name, numbers.clone());
        }
        if let Some(norm) = &draft.norm {
            weights.insert_norm(name, norm.clone());
        }
    }
    let input = picture(model, lowered.inputs[0], head.as_ref(), options, input_params[0])?;
    let network = Network { name: options.name.clone(), input, layers };
    network.validate()?;
    let classes = network.classes()?;
    let mut labels = options.labels.clone();
    if labels.is_empty() {
        labels = metadata(model, "labels").map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default();
        if labels.len() != classes {
            labels.clear();
        }
    }
    let imported = if is_quantized {
        let params = input_params[0].context("the input is not quantized: quantize the whole network")?;
        let quantized = quantized::network(&network, &drafts, params, &labels, &mut notes)?;
        Imported::Quantized(Box::new(quantized))
    } else {
        Imported::Float(Box::new((network, weights)))
    };
    Ok((imported, labels, notes))
}

/// Makes the end of the network a softmax.
fn end(lowered: &mut Lowered, is_quantized: bool) -> anyhow::Result<()> {
    let Some(last) = lowered.layers.last() else { return Ok(()) };
    let is_sigmoid = matches!(last.kind, LayerKind::Op(Op::Unary(Unary::Sigmoid | Unary::HardSigmoid { .. })));
    if last.kind == LayerKind::Op(Op::Softmax) {
        return Ok(());
    }
    if is_sigmoid && last.output.c == 1 && !is_quantized {
        let (source, units) = (last.inputs[0], Shape::new(1, 1, 2));
        let is_plain = last.kind == LayerKind::Op(Op::Unary(Unary::Sigmoid));
        let before = lowered.layers.len().checked_sub(2).filter(|&at| is_plain && source == at + 1);
        let before = before.and_then(|at| lowered.layers.get_mut(at)).filter(|draft| draft.output.c == 1);
        let dense = before.and_then(|draft| match (&mut draft.kind, &mut draft.weights) {
            (LayerKind::Op(Op::Dense { units, .. } | Op::Conv2d { c_out: units, .. }), Some(weights)) => {
                Some((units, weights, &mut draft.output))
            }
            _ => None,
        });
        let (count, weights, output) =
            dense.context("the network ends in a sigmoid that no dense layer stands before")?;
        (*count, *output, weights.shape[0]) = (2, units, 2);
        // softmax([0, x]) is [1 - sigmoid(x), sigmoid(x)]
        weights.kernel.splice(0..0, std::iter::repeat_n(0.0, weights.kernel.len()));
        weights.bias.insert(0, 0.0);
        lowered.layers.pop();
        lowered
            .notes
            .push("its sigmoid over one unit became a softmax over two classes, the second being yes".to_owned());
    } else {
        ensure!(
            !is_sigmoid,
            "the network ends in a sigmoid, each class on its own: a classifier here ends in a softmax"
        );
        lowered.notes.push("it ends in logits: a softmax was added".to_owned());
    }
    let last = lowered.layers.last().context("the network has no layers")?;
    let (output, source) = (last.output, lowered.layers.len());
    lowered.layers.push(Draft {
        name: "softmax".to_owned(),
        kind: LayerKind::Op(Op::Softmax),
        inputs: vec![source],
        output,
        weights: None,
        stored: None,
        norm: None,
        params: None,
    });
    Ok(())
}

/// The layers' names, each once, in the characters that a `net.toml` allows.
fn unique_names(drafts: &[Draft]) -> Vec<String> {
    let mut known = HashSet::from([INPUT.to_owned()]);
    let mut numbers = HashMap::new(); // the last one that was given to a name
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_-./".contains(c) { c } else { '_' };
    let mut names = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let base: String = draft.name.trim_start_matches('/').chars().map(allowed).collect();
        let base = if base.is_empty() { "layer".to_owned() } else { base };
        let mut name = base.clone();
        while !known.insert(name.clone()) {
            let number = numbers.entry(base.clone()).or_insert(1_usize);
            *number += 1;
            name = format!("{base}_{number}");
        }
        names.push(name);
    }
    names
}

fn metadata<'m>(model: &'m ModelProto, key: &str) -> Option<&'m str> {
    model.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

/// How a picture becomes the network's input: by the options, else by the file's metadata, as our own files have it.
fn picture(
    model: &ModelProto,
    shape: Shape,
    head: Option<&super::build::Head>,
    options: &ImportOptions,
    params: Option<crate::quantize::QuantParams>,
) -> anyhow::Result<InputSpec> {
    let stated = match metadata(model, "color") {
        Some("gray") => Some(ColorOrder::Gray),
        Some("rgb") => Some(ColorOrder::Rgb),
        Some("bgr") => Some(ColorOrder::Bgr),
        _ => None,
    };
    let by_count = match shape.c {
        1 => Some(ColorOrder::Gray),
        3 => Some(ColorOrder::Rgb),
        _ => None,
    };
    let color = options.color.or(stated.filter(|color| color.channels() == shape.c)).or(by_count);
    let color = color.with_context(|| format!("the network takes {shape}: pictures have 1 or 3 channels"))?;
    ensure!(color.channels() == shape.c, "the input has {} channels: not those of the colours asked for", shape.c);
    let resize = metadata(model, "resize").and_then(resize_of_name).unwrap_or(Resize::Stretch);
    let list = |key: &str| -> Option<[f32; 3]> {
        let values: Vec<f32> = metadata(model, key)?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
        let usable = values.len() == shape.c as usize && values.iter().all(|v| v.is_finite());
        let at = |channel: usize| values.get(channel).or(values.first()).copied();
        usable.then_some([at(0)?, at(1)?, at(2)?])
    };
    let stated = list("mean").zip(list("std")).filter(|(_, std)| std.iter().all(|&v| v > 0.0));
    let range = match (options.range, stated, params) {
        (Some(range), ..) => Some(range),
        (None, Some(_), _) => None,
        (None, None, Some(params)) => {
            Some([-128, 127].map(|q| (f64::from(params.scale) * f64::from(q - params.zero_point)) as f32))
        }
        (None, None, None) => Some([0.0, 1.0]),
    };
    let (mut mean, mut std) = match (range, stated) {
        (Some([black, white]), _) => {
            ensure!(white > black, "white ({white}) must be above black ({black})");
            ([0.0 - black / (white - black); 3], [1.0 / (white - black); 3])
        }
        (None, Some(stated)) => stated,
        (None, None) => ([0.0; 3], [1.0; 3]),
    };
    if let Some(head) = head {
        // factor * (p - mean) / std + summand
        for channel in 0..3 {
            let at = channel.min(head.factor.len() - 1);
            let (factor, summand) = (head.factor[at], head.summand[at]);
            mean[channel] -= summand * std[channel] / factor;
            std[channel] /= factor;
        }
    }
    ensure!(
        mean.iter().chain(&std).all(|v| v.is_finite()) && std.iter().all(|&v| v > 0.0),
        "the normalization is out of range"
    );
    Ok(InputSpec { shape, color, resize: options.resize.unwrap_or(resize), mean, std })
}
