//! What is inside a network as one file for a browser: the data as JSON, drawn and explained by the script in it. Nothing is fetched.

use super::budget::{Kept, plan};
use super::grad_cam::GradCam;
use super::inside::bounds;
use super::{Inside, Layer, Values};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use ocelli::image::{ColorOrder, InputSpec};
use ocelli::ir::{Op, Unary};
use ocelli::model::records::{flag, kind};
use serde::{Deserialize, Serialize};

/// Bytes of data in a page where nothing else is said.
pub const DEFAULT_BYTES: usize = 14 << 20;

/// What a page shows.
#[derive(Clone, Debug)]
pub struct Content<'a> {
    /// Name of the network or model.
    pub model: String,
    /// Name of the picture's file.
    pub picture: String,
    /// How the network takes its picture.
    pub spec: InputSpec,
    /// The picture as the network takes it, `[h, w, c]`.
    pub pixels: &'a [u8],
    /// The run.
    pub inside: &'a Inside,
    /// Probabilities of the float network.
    pub float_scores: Option<Vec<f32>>,
    /// Probabilities of the int8 network.
    pub int8_scores: Vec<f32>,
    /// Grad-CAM, one a layer.
    pub cams: Vec<GradCam>,
    /// The classes of the Grad-CAM maps.
    pub cam_classes: Vec<usize>,
    /// The layer whose map is shown first.
    pub cam_layer: Option<String>,
    /// What could not be shown, and why.
    pub notes: Vec<String>,
}

/// The data of a page, as the script reads it. Arrays are base64 of little-endian numbers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PageData {
    model: String,
    picture: String,
    color: String,
    png: String,
    labels: Vec<String>,
    scores: Vec<f32>,
    float_scores: Option<Vec<f32>>,
    tensors: Vec<TensorData>,
    layers: Vec<LayerData>,
    cams: Vec<CamData>,
    cam_classes: Vec<usize>,
    cam_layer: Option<String>,
    notes: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct TensorData {
    name: String,
    shape: [u32; 3],
    scale: f32,
    zero_point: i32,
    /// Feature maps kept.
    maps: usize,
    /// Whether all values are kept.
    whole: bool,
    /// int8, `[h, w, maps]`.
    q: String,
    /// float32, `[h, w, c]`; only of a tensor that is whole.
    f: Option<String>,
    /// One byte a float value from `low` to `high`, `[h, w, maps]`; of one that is not.
    f8: Option<String>,
    low: f32,
    high: f32,
    /// Largest difference of float and int8 in steps, by map kept, then of all values.
    map_steps: Vec<f32>,
    steps: Option<f32>,
    mean_steps: Option<f32>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct LayerData {
    name: String,
    kind: String,
    code: u8,
    inputs: Vec<usize>,
    kernel: [u16; 2],
    stride: [u16; 2],
    dilation: [u16; 2],
    pads: [u16; 4],
    groups: u16,
    clamp: [i8; 2],
    ties_up: bool,
    round_once: bool,
    /// Name of the fused activation or the function of single values.
    activation: Option<String>,
    /// Its real bounds; `null` for infinity.
    bounds: [Option<f32>; 2],
    weights: Option<WeightData>,
    /// int32 and int8: the factors of operators without weights.
    multipliers: Vec<i32>,
    shifts: Vec<i32>,
    table: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct WeightData {
    taps: usize,
    depth: usize,
    zero_point: i32,
    /// The output channels whose weights are kept, in the order of the arrays; empty for all.
    kept: Vec<usize>,
    /// int8, `[kept, taps]`.
    q: String,
    /// int32, `[kept]` each.
    bias: String,
    multipliers: String,
    shifts: String,
    /// float32.
    f: Option<String>,
    f_bias: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct CamData {
    layer: String,
    size: [usize; 2],
    /// float32, `[classes, h, w]`.
    maps: String,
}

const CSS: &str = include_str!("page/page.css");
/// In this order; the first needs no document.
const SCRIPTS: [&str; 6] = [
    include_str!("page/cell.js"),
    include_str!("page/draw.js"),
    include_str!("page/state.js"),
    include_str!("page/layers.js"),
    include_str!("page/panel.js"),
    include_str!("page/view.js"),
];
const TEMPLATE: &str = include_str!("page/page.html");

/// The page as text, its data about `bytes` large at most.
///
/// # Errors
/// When the picture cannot be encoded.
pub fn render(content: &Content<'_>, bytes: usize) -> anyhow::Result<String> {
    let data = serde_json::to_string(&PageData::new(content, bytes)?)?;
    // a name must not end the script that it stands in
    let data = data.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    let mut page = String::with_capacity(data.len() + TEMPLATE.len() + CSS.len() + 64 * 1024);
    for part in TEMPLATE.split("{{").flat_map(|part| part.split("}}")) {
        match part {
            "css" => page.push_str(CSS),
            "scripts" => SCRIPTS.iter().for_each(|script| page.push_str(script)),
            "data" => page.push_str(&data),
            other => page.push_str(other),
        }
    }
    Ok(page)
}

impl PageData {
    /// Takes what a page of about `bytes` has room for.
    ///
    /// # Errors
    /// When the picture cannot be encoded.
    pub fn new(content: &Content<'_>, bytes: usize) -> anyhow::Result<Self> {
        let inside = content.inside;
        let kept = plan(inside, bytes);
        let mut notes = content.notes.clone();
        notes.extend(left_out(inside, &kept));
        let cams = content.cams.iter().map(|cam| CamData {
            layer: cam.layer.clone(),
            size: cam.size,
            maps: floats(cam.maps.iter().flatten()),
        });
        Ok(Self {
            model: content.model.clone(),
            picture: content.picture.clone(),
            color: crate::network::color_name(content.spec.color).to_owned(),
            png: png(&content.spec, content.pixels)?,
            labels: inside.labels.clone(),
            scores: content.int8_scores.clone(),
            float_scores: content.float_scores.clone(),
            tensors: (0..inside.tensors.len())
                .map(|t| tensor(&inside.tensors[t], kept.maps[t], kept.whole[t]))
                .collect(),
            layers: (0..inside.layers.len()).map(|l| layer(inside, l, kept.rows[l])).collect(),
            cams: cams.collect(),
            cam_classes: content.cam_classes.clone(),
            cam_layer: content.cam_layer.clone(),
            notes,
        })
    }
}

/// What the page has no room for, in words.
fn left_out(inside: &Inside, kept: &Kept) -> Vec<String> {
    let mut notes = Vec::new();
    let partial = |tensor: &usize| !kept.whole[*tensor];
    let names: Vec<String> = (0..inside.tensors.len())
        .filter(partial)
        .map(|t| format!("{} ({} of {})", inside.tensors[t].name, kept.maps[t], inside.tensors[t].shape.c))
        .collect();
    if !names.is_empty() {
        let names = names.join(", ");
        notes.push(format!(
            "To keep the page small some layers have a few feature maps only, and the cells that read them have no sum: {names}."
        ));
    }
    for (layer, &rows) in inside.layers.iter().zip(&kept.rows) {
        let Some(numbers) = &layer.numbers else { continue };
        let all = numbers.bias.len();
        if rows < all {
            notes.push(format!(
                "The weights of {} are those of its {rows} strongest output channels of {all}, to keep the page small.",
                layer.name
            ));
        }
    }
    notes
}

fn tensor(values: &Values, maps: usize, whole: bool) -> TensorData {
    let c = (values.shape.c as usize).max(1);
    let first = |at: &usize| at % c < maps;
    let places = || (0..values.int8.len()).filter(first);
    let q: Vec<u8> = places().map(|at| values.int8[at].to_ne_bytes()[0]).collect();
    let [low, high] = values.float.iter().flatten().fold([0.0_f32, 0.0], |[a, b], &v| [a.min(v), b.max(v)]);
    let bytes = |float: &Vec<f32>| {
        let steps = |at: usize| ((float[at] - low) / (high - low).max(f32::MIN_POSITIVE) * 255.0).round() as u8;
        STANDARD.encode(places().map(steps).collect::<Vec<u8>>())
    };
    let mut map_steps = vec![0.0_f32; if values.float.is_some() { maps } else { 0 }];
    let (mut largest, mut sum) = (0.0_f32, 0.0_f64);
    for at in 0..values.int8.len() {
        let steps = values.steps(at).unwrap_or(0.0);
        largest = largest.max(steps);
        sum += f64::from(steps);
        if let Some(map) = map_steps.get_mut(at % c) {
            *map = map.max(steps);
        }
    }
    let mean = sum / values.int8.len().max(1) as f64;
    TensorData {
        name: values.name.clone(),
        shape: [values.shape.h, values.shape.w, values.shape.c],
        scale: values.params.scale,
        zero_point: values.params.zero_point,
        maps,
        whole,
        q: STANDARD.encode(q),
        f: values.float.as_ref().filter(|_| whole).map(floats),
        f8: values.float.as_ref().filter(|_| !whole).map(bytes),
        low,
        high,
        map_steps: map_steps.iter().map(|steps| (steps * 100.0).round() / 100.0).collect(),
        steps: values.float.as_ref().map(|_| largest),
        mean_steps: values.float.as_ref().map(|_| mean as f32),
    }
}

fn layer(inside: &Inside, index: usize, rows: usize) -> LayerData {
    let layer = &inside.layers[index];
    let record = &layer.record;
    let (low, high) = bounds(layer);
    let finite = |bound: f32| bound.is_finite().then_some(bound);
    let has_weights = layer.numbers.is_some();
    LayerData {
        name: layer.name.clone(),
        kind: kind_name(record.kind).to_owned(),
        code: record.kind,
        inputs: layer.inputs.clone(),
        kernel: record.kernel,
        stride: record.stride,
        dilation: record.dilation,
        pads: record.pads,
        groups: record.groups,
        clamp: [record.act_min, record.act_max],
        ties_up: record.has(flag::TIES_UP),
        round_once: record.has(flag::ROUND_ONCE),
        activation: activation(layer).map(str::to_owned),
        bounds: [finite(low), finite(high)],
        weights: weights(inside, index, rows),
        multipliers: layer.factors.iter().filter(|_| !has_weights).map(|factor| factor.multiplier).collect(),
        shifts: layer.factors.iter().filter(|_| !has_weights).map(|factor| factor.shift).collect(),
        table: (!layer.table.is_empty()).then(|| STANDARD.encode(bytemuck::cast_slice::<i8, u8>(&layer.table))),
    }
}

fn weights(inside: &Inside, index: usize, rows: usize) -> Option<WeightData> {
    let layer = &inside.layers[index];
    let numbers = layer.numbers.as_ref()?;
    let all = numbers.bias.len();
    let output = &inside.tensors[index + 1];
    let channels = strongest(output, all, rows);
    let row = |&channel: &usize| channel * numbers.taps..(channel + 1) * numbers.taps;
    let q: Vec<u8> = channels.iter().flat_map(|c| &numbers.int8[row(c)]).map(|w| w.to_ne_bytes()[0]).collect();
    let ints = |value: &dyn Fn(usize) -> i32| {
        STANDARD.encode(channels.iter().flat_map(|&c| value(c).to_le_bytes()).collect::<Vec<u8>>())
    };
    let float = numbers.float.as_ref();
    Some(WeightData {
        taps: numbers.taps,
        depth: numbers.depth,
        zero_point: numbers.weight_zero_point,
        q: STANDARD.encode(q),
        bias: ints(&|c| numbers.bias[c]),
        multipliers: ints(&|c| layer.factors.get(c).map_or(0, |factor| factor.multiplier)),
        shifts: ints(&|c| layer.factors.get(c).map_or(0, |factor| factor.shift)),
        f: float.map(|(kernel, _)| floats(channels.iter().flat_map(|c| &kernel[row(c)]))),
        f_bias: float.map(|(_, bias)| floats(channels.iter().map(|&c| &bias[c]))),
        kept: if channels.len() < all { channels } else { Vec::new() },
    })
}

/// The `rows` output channels with the values farthest from zero; in order when all are kept.
fn strongest(output: &Values, all: usize, rows: usize) -> Vec<usize> {
    let mut channels: Vec<usize> = (0..all).collect();
    if rows >= all {
        return channels;
    }
    let mut strength = vec![0_i32; all];
    for (at, &q) in output.int8.iter().enumerate() {
        let strength = &mut strength[at % all];
        *strength = (*strength).max((i32::from(q) - output.params.zero_point).abs());
    }
    channels.sort_by_key(|&channel| -strength[channel]);
    channels.truncate(rows);
    channels
}

fn floats<'a>(values: impl IntoIterator<Item = &'a f32>) -> String {
    STANDARD.encode(values.into_iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

/// The picture as a PNG in base64.
fn png(spec: &InputSpec, pixels: &[u8]) -> anyhow::Result<String> {
    let (color, pixels) = match spec.color {
        ColorOrder::Gray => (ExtendedColorType::L8, pixels.to_vec()),
        ColorOrder::Rgb => (ExtendedColorType::Rgb8, pixels.to_vec()),
        ColorOrder::Bgr => {
            let swapped = pixels.chunks_exact(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]);
            (ExtendedColorType::Rgb8, swapped.collect())
        }
    };
    let mut file = Vec::new();
    PngEncoder::new(&mut file).write_image(&pixels, spec.shape.w, spec.shape.h, color)?;
    Ok(STANDARD.encode(file))
}

fn activation(layer: &Layer) -> Option<&'static str> {
    let unary = match layer.op? {
        Op::Unary(unary) => Some(unary),
        op => op.activation().as_unary(),
    };
    Some(match unary? {
        Unary::Relu => "relu",
        Unary::Relu6 => "relu6",
        Unary::ReluN1To1 => "relu_n1_to_1",
        Unary::LeakyRelu { .. } => "leaky_relu",
        Unary::Sigmoid => "sigmoid",
        Unary::Tanh => "tanh",
        Unary::HardSwish => "hard_swish",
        Unary::HardSigmoid { .. } => "hard_sigmoid",
        Unary::Swish => "swish",
        Unary::Clip { .. } => "clip",
        Unary::Requantize => "requantize",
    })
}

const fn kind_name(code: u8) -> &'static str {
    match code {
        kind::CONV2D => "conv2d",
        kind::DEPTHWISE_CONV2D => "depthwise_conv2d",
        kind::MAX_POOL2D => "max_pool2d",
        kind::MIN_POOL2D => "min_pool2d",
        kind::AVERAGE_POOL2D => "average_pool2d",
        kind::GLOBAL_AVERAGE_POOL | kind::MEAN => "global_average_pool2d",
        kind::GLOBAL_MAX_POOL => "global_max_pool2d",
        kind::DENSE => "dense",
        kind::RESHAPE => "reshape",
        kind::SOFTMAX => "softmax",
        kind::ADD => "add",
        kind::MUL => "mul",
        kind::CONCAT => "concat",
        kind::PAD => "pad",
        kind::LOOKUP => "function",
        _ => "operator",
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
pub(super) mod tests;
