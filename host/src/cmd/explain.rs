//! `ocelli explain`

use super::Verdict;
use super::ui::{percent, spinner};
use anyhow::{Context, ensure};
use ocelli_host::data::{RawImage, to_input};
use ocelli_host::explain::grad_cam::{GradCam, candidates, grad_cam, last_maps, makes_maps};
use ocelli_host::explain::page::{Content, DEFAULT_BYTES, render};
use ocelli_host::explain::{FloatSide, Inside, Observed};
use ocelli_host::files::write_atomically;
use ocelli_host::model::{ModelBytes, probabilities};
use ocelli_host::network::{Network, Weights};
use ocelli_host::quantize::Adjustments;
use ocelli_host::run::{model_path, names};
use ocelli_host::train::argmax;
use std::path::{Path, PathBuf};

/// Look inside a network at work on a picture
///
/// Writes one page for a browser, which needs no network: the picture as the network sees it, its guesses, the feature maps of every
/// layer in float and in int8, the filters, Grad-CAM over the picture, and for every cell that you click the window it sees, the weights
/// and the sum that made it, down to the byte.
///
/// Float and Grad-CAM need the run folder of a training (net.toml and weights.safetensors beside the model); a model file alone is shown
/// in int8. The address of a page names a cell: page.html#conv2d,3,5,7 is row 3, column 5, channel 7 of layer conv2d.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The picture.
    image: PathBuf,
    /// A run folder, or a model.ocelli.
    #[arg(long, short)]
    model: PathBuf,
    /// The page to write.
    #[arg(long, default_value = "explain.html")]
    out: PathBuf,
    /// The class that Grad-CAM asks about: a label; the network's guess if nothing is said.
    #[arg(long)]
    class: Option<String>,
    /// The layer that Grad-CAM shows first; the last convolution, or the sum that it goes into, if nothing is said.
    #[arg(long)]
    layer: Option<String>,
    /// Megabytes of data that the page may hold.
    #[arg(long, default_value_t = DEFAULT_BYTES >> 20, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    max_mb: usize,
}

/// Classes that Grad-CAM is computed for beside the one that was asked for.
const CLASSES: usize = 3;
/// Layers that Grad-CAM is computed for beside the one that was asked for.
const LAYERS: usize = 16;
/// Cells of a map beyond which Grad-CAM is only computed where it was asked for.
const MAP_CELLS: u32 = 64 * 64;

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let path = model_path(&args.model)?;
    let model = ModelBytes::read(&path)?;
    let spec = model.input_spec().with_context(|| path.display().to_string())?;
    let labels: Vec<String> = model.model()?.labels().map(str::to_owned).collect();
    let count = model.model()?.output().map_or(0, |output| output.c as usize);
    let class = args.class.as_deref().map(|name| class_of(&labels, count, name)).transpose()?;
    let raw = RawImage::open(&args.image)?;
    let pixels = to_input(&raw, &spec).with_context(|| args.image.display().to_string())?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let float = float_side(folder)?;
    let wait = spinner("running the network");
    let observed = float.as_ref().map(|side| side.observe(&spec, &pixels)).transpose()?;
    // maps and sums of channels as the model has them: shifted, scaled, doubled
    let adjusted = float.as_ref().map(|side| adjusted(folder, side)).transpose()?.flatten();
    let adjusted = adjusted.map(|side| side.observe(&spec, &pixels)).transpose()?;
    let beside = adjusted.as_ref().or(observed.as_ref());
    let inside = Inside::of_picture(&model, beside, &pixels).with_context(|| path.display().to_string())?;
    let int8_scores = probabilities(inside.tensors.last().map_or(&[][..], |scores| &scores.int8));
    let mut notes = Vec::new();
    let (mut cams, mut cam_classes, mut cam_layer, mut float_scores) = (Vec::new(), Vec::new(), None, None);
    if let Some((side, observed)) = float.as_ref().zip(observed.as_ref()) {
        let scores = observed.scores().context("the float network made no scores")?;
        cam_classes = classes(class, &scores);
        wait.set_message("Grad-CAM");
        (cams, cam_layer) = cams_of(side, observed, &pixels, args.layer.as_deref(), &cam_classes)?;
        if cams.is_empty() {
            notes.push("There is no Grad-CAM: no layer of the network makes a feature map.".to_owned());
        }
        float_scores = Some(scores);
    } else {
        let asked = args.class.is_some() || args.layer.is_some();
        ensure!(
            !asked,
            "--class and --layer are about Grad-CAM, which needs the float network: give the run folder of a training, with {} and {} \
             beside {}",
            names::NETWORK,
            names::WEIGHTS,
            path.display()
        );
        notes.push(format!(
            "Only int8 is shown, and no Grad-CAM: the float network ({} and {}) does not lie beside the model.",
            names::NETWORK,
            names::WEIGHTS
        ));
    }
    wait.set_message("writing the page");
    let file_name = |path: &Path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let content = Content {
        model: float.as_ref().map_or_else(|| file_name(&path), |side| side.network.name.clone()),
        picture: file_name(&args.image),
        spec,
        pixels: &pixels,
        inside: &inside,
        float_scores,
        int8_scores,
        cams,
        cam_classes,
        cam_layer,
        notes,
    };
    let page = render(&content, args.max_mb << 20)?;
    write_atomically(&args.out, page.as_bytes())?;
    wait.finish_and_clear();
    report(&content, &labels);
    println!("wrote {} ({:.1} MB): open it in a browser", args.out.display(), page.len() as f64 / 1e6);
    Ok(Verdict::Done)
}

fn report(content: &Content<'_>, labels: &[String]) {
    let guess = |side: &str, scores: &[f32]| {
        let best = argmax(scores);
        let label = labels.get(best).cloned().unwrap_or_else(|| best.to_string());
        println!("{side}: {label} {}", percent(f64::from(scores.get(best).copied().unwrap_or(0.0))));
    };
    if let Some(scores) = &content.float_scores {
        guess("float", scores);
    }
    guess("int8", &content.int8_scores);
}

/// The float network that lies beside a model; `None` where there is none.
fn float_side(folder: &Path) -> anyhow::Result<Option<FloatSide>> {
    let (network, weights) = (folder.join(names::NETWORK), folder.join(names::WEIGHTS));
    if !network.is_file() || !weights.is_file() {
        return Ok(None);
    }
    let network = Network::open(&network.display().to_string())?;
    let weights = Weights::read(&weights, &network)?;
    Ok(Some(FloatSide { network, weights }))
}

/// The float network with the channels of the model; nothing where they are its own.
fn adjusted(folder: &Path, FloatSide { network, weights }: &FloatSide) -> anyhow::Result<Option<FloatSide>> {
    let adjustments = Adjustments::read(folder, network, weights)?;
    if adjustments.is_empty() {
        return Ok(None);
    }
    let (network, weights) = adjustments.equalized(network, weights)?;
    Ok(Some(FloatSide { network, weights }))
}

/// The class of that label, or of that number where no label is written so.
fn class_of(labels: &[String], classes: usize, name: &str) -> anyhow::Result<usize> {
    let by_number = || name.parse::<usize>().ok().filter(|&class| class < classes);
    labels.iter().position(|label| label == name).or_else(by_number).with_context(|| {
        if labels.is_empty() {
            return format!("the model has no class '{name}': it has no labels, give a number below {classes}");
        }
        let some: Vec<&str> = labels.iter().take(20).map(String::as_str).collect();
        let more = if labels.len() > some.len() { ", ..." } else { "" };
        format!("the model has no class '{name}': it has {}{more}", some.join(", "))
    })
}

/// The class that was asked for, then the strongest.
fn classes(asked: Option<usize>, scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut classes: Vec<usize> = asked.into_iter().collect();
    for class in order.into_iter().take(CLASSES) {
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    classes
}

/// Grad-CAM at the last layers and the layer that was asked for; and the layer to show first.
fn cams_of(
    side: &FloatSide,
    observed: &Observed,
    pixels: &[u8],
    asked: Option<&str>,
    classes: &[usize],
) -> anyhow::Result<(Vec<GradCam>, Option<String>)> {
    let last = last_maps(&side.network)?;
    let first = asked.map(str::to_owned).or_else(|| last.clone());
    let nodes = candidates(&side.network)?;
    let mut layers: Vec<String> = nodes
        .iter()
        .rev()
        .filter(|node| makes_maps(&node.op) && node.output.h * node.output.w <= MAP_CELLS)
        .take(LAYERS)
        .map(|node| node.name.clone())
        .collect();
    layers.reverse();
    for wanted in [&last, &first].into_iter().flatten() {
        if !layers.contains(wanted) {
            layers.push(wanted.clone());
        }
    }
    if layers.is_empty() {
        return Ok((Vec::new(), None));
    }
    Ok((grad_cam(side, observed, pixels, &layers, classes)?, first))
}
