//! Which parts of a picture spoke for a class: Grad-CAM.
//!
//! The weight of a feature map is the mean of the class logit's gradient over the map's cells. That mean is, but for the number of cells,
//! the gradient of a bias added to the map. So the network gets an identity with a bias (a depthwise convolution of one cell and weight
//! one) behind every map that is asked about, and one backward pass gives all weights of all maps, at branches as well.
//!
//! # Source
//! Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017, equations 1 and 2.

use super::inside::{FloatSide, Observed, normalized, to_tensor};
use crate::network::{INPUT, Layer, LayerKind, LayerOptions, LayerWeights, Network, Node, Weights};
use crate::train::{Classifier, device};
use anyhow::{Context, ensure};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use ocelli::ir::{Activation, Op, Padding, Window};

/// Ending of the names of the identities.
const PROBE: &str = ".grad-cam";

/// The maps of one layer for some classes.
#[derive(Clone, Debug, PartialEq)]
pub struct GradCam {
    /// Name of the layer whose feature maps are weighed.
    pub layer: String,
    /// Rows and columns.
    pub size: [usize; 2],
    /// For each class that was asked about, `[h, w]`: `max(0, sum(weight * map))`: what a cell would add to the logit if the gradient were
    /// the same all over the map.
    pub maps: Vec<Vec<f32>>,
    /// For each class the weights of the feature maps.
    pub weights: Vec<Vec<f32>>,
}

/// The layers whose maps can be weighed: what makes a picture (more than one cell), the softmax apart.
///
/// # Errors
/// When the network's shapes do not fit.
pub fn candidates(network: &Network) -> anyhow::Result<Vec<Node>> {
    let spatial = |node: &Node| node.output.h * node.output.w > 1 && node.op != Op::Softmax;
    Ok(network.nodes()?.into_iter().filter(spatial).collect())
}

/// Whether an operator makes feature maps of its own, and does not only pool, pad or move them.
#[must_use]
pub const fn makes_maps(op: &Op) -> bool {
    !op.keeps_quantization() && !matches!(op, Op::Softmax | Op::GlobalAveragePool)
}

/// Where Grad-CAM looks if nothing else is said: the last convolution over a picture, with what is added to it or applied to it. `None`
/// where there is none.
///
/// # Errors
/// When the network's shapes do not fit.
pub fn last_maps(network: &Network) -> anyhow::Result<Option<String>> {
    Ok(candidates(network)?.into_iter().rfind(|node| makes_maps(&node.op)).map(|node| node.name))
}

/// Grad-CAM of a picture for `classes` at `layers`.
///
/// # Errors
/// When a layer or class is not there, or the picture does not fit.
pub fn grad_cam(
    side: &FloatSide,
    observed: &Observed,
    pixels: &[u8],
    layers: &[String],
    classes: &[usize],
) -> anyhow::Result<Vec<GradCam>> {
    let known = candidates(&side.network)?;
    let asked: Vec<&Node> = layers
        .iter()
        .map(|name| {
            known.iter().find(|node| node.name == *name).with_context(|| {
                let names: Vec<&str> = known.iter().map(|node| node.name.as_str()).collect();
                format!("Grad-CAM needs a layer with a feature map, '{name}' is none: choose of {}", names.join(", "))
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let mut cams: Vec<GradCam> = asked
        .iter()
        .map(|node| GradCam {
            layer: node.name.clone(),
            size: [node.output.h as usize, node.output.w as usize],
            maps: Vec::new(),
            weights: Vec::new(),
        })
        .collect();
    for &class in classes {
        let gradients = bias_gradients(side, observed, pixels, &asked, class)?;
        for ((cam, node), gradient) in cams.iter_mut().zip(&asked).zip(gradients) {
            let cells = (cam.size[0] * cam.size[1]) as f32;
            let weights: Vec<f32> = gradient.iter().map(|g| g / cells).collect();
            let map = observed.tensors.get(&node.name).context("a feature map was not observed")?;
            let weighed = |cell: &[f32]| cell.iter().zip(&weights).map(|(a, w)| a * w).sum::<f32>().max(0.0);
            cam.maps.push(map.chunks_exact(node.output.c as usize).map(weighed).collect());
            cam.weights.push(weights);
        }
    }
    Ok(cams)
}

/// The gradient of a class's logit with respect to a bias added to each layer's maps, `[layer][channel]`.
fn bias_gradients(
    side: &FloatSide,
    observed: &Observed,
    pixels: &[u8],
    layers: &[&Node],
    class: usize,
) -> anyhow::Result<Vec<Vec<f32>>> {
    let (network, weights, probes) = probed(&side.network, observed, layers);
    let device = device("flex")?.autodiff();
    let module = Classifier::new(&network, &weights, &device)?;
    let logits = logits(&module, &side.network, pixels, &device);
    let classes = logits.dims()[1];
    ensure!(class < classes, "there is no class {class}: the network has {classes}");
    let mut biases = Biases { gradients: logits.narrow(1, class, 1).sum().backward(), found: Vec::new() };
    module.visit(&mut biases);
    // a convolution has one bias, and they stand in the order of the layers
    probes.iter().map(|&at| biases.found.get(at).cloned().context("a gradient is missing")).collect()
}

fn logits(module: &Classifier, network: &Network, pixels: &[u8], device: &Device) -> Tensor<2> {
    let spec = &network.input;
    module.forward(to_tensor(spec.shape, &normalized(spec, pixels), device))
}

/// The folded network with an identity behind each of `layers`; the last part says which of all convolutions the identities are.
fn probed(network: &Network, observed: &Observed, layers: &[&Node]) -> (Network, Weights, Vec<usize>) {
    let name_of = |tensor: usize| -> String {
        let Some(node) = tensor.checked_sub(1).and_then(|node| observed.nodes.get(node)) else {
            return INPUT.to_owned();
        };
        let is_probed = layers.iter().any(|layer| layer.name == node.name);
        if is_probed { format!("{}{PROBE}", node.name) } else { node.name.clone() }
    };
    let (mut weights, mut all, mut convolutions) = (observed.weights.clone(), Vec::new(), 0);
    let mut places = vec![0; layers.len()];
    for node in &observed.nodes {
        let inputs = node.inputs.iter().map(|&tensor| name_of(tensor)).collect();
        all.push(layer(node.name.clone(), node.op, inputs));
        convolutions += usize::from(matches!(node.op, Op::Conv2d { .. } | Op::DepthwiseConv2d { .. }));
        if let Some(which) = layers.iter().position(|layer| layer.name == node.name) {
            let (name, channels) = (format!("{}{PROBE}", node.name), node.output.c as usize);
            all.push(layer(name.clone(), identity(), vec![node.name.clone()]));
            let numbers =
                LayerWeights { shape: [1, 1, 1, channels], kernel: vec![1.0; channels], bias: vec![0.0; channels] };
            weights.insert(&name, numbers);
            places[which] = convolutions;
            convolutions += 1;
        }
    }
    (Network { name: network.name.clone(), input: network.input, layers: all }, weights, places)
}

fn layer(name: String, op: Op, inputs: Vec<String>) -> Layer {
    Layer { name, kind: LayerKind::Op(op), inputs, options: LayerOptions::default() }
}

const fn identity() -> Op {
    let window = Window::new([1, 1], [1, 1], Padding::Valid);
    Op::DepthwiseConv2d { multiplier: 1, window, activation: Activation::None }
}

/// Collects the gradients of a module's biases in its order; the convolutions' come first.
struct Biases {
    gradients: Gradients,
    found: Vec<Vec<f32>>,
}

impl ModuleVisitor for Biases {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D == 1 {
            let gradient = param.val().grad(&self.gradients);
            let values = gradient.map_or_else(Vec::new, |g| g.into_data().iter::<f32>().collect());
            self.found.push(values);
        }
    }
}

#[cfg(test)]
#[path = "grad_cam_tests.rs"]
mod tests;
