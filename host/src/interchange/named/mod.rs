//! Weights from a safetensors file of another program, found by the names that its layers have there.
//!
//! The network is one of ours (`net.toml`, or built in); the file holds numbers alone. All its tensors follow one scheme of names:
//! ours, Keras' or, for networks of ImageNet, torchvision's.

mod layout;
mod names;

use crate::network::{LayerKind, LayerWeights, Network, NormWeights, Weights};
use anyhow::{Context, bail, ensure};
use layout::{Layout, floats};
use names::{Part, Scheme, form, names};
use ocelli::ir::{Op, Shape};
use safetensors::tensor::SafeTensors;
use std::collections::BTreeSet;

/// Names that an error lists before it says how many more there are.
const LISTED: usize = 8;
/// What PyTorch keeps beside a batch norm's numbers: nothing that a network computes with.
const COUNTER: &str = ".num_batches_tracked";

/// A network with weights from elsewhere.
#[derive(Clone, Debug)]
pub struct NamedWeights {
    /// The network, with the file's classes, in the form that the weights were trained in.
    pub network: Network,
    /// The weights.
    pub weights: Weights,
    /// What was chosen or left out, to tell the user.
    pub notes: Vec<String>,
}

/// Reads the weights of `network` from a safetensors file in single, half or double precision. The file's last layer says how many
/// classes there are.
///
/// # Errors
/// When the file is broken or is not that of this network: all tensors that are missing or have another shape are named.
pub fn import(file: &[u8], network: &Network) -> anyhow::Result<NamedWeights> {
    let tensors =
        SafeTensors::deserialize(file).context("this is no safetensors file, or it was not copied completely")?;
    let (scheme, network) = recognize(&tensors, network)?;
    let mut notes = Vec::new();
    if scheme == Scheme::Torchvision {
        notes.push(format!(
            "the weights have torchvision's names: {} is taken in torchvision's form, its pictures normalized as torchvision does",
            network.name
        ));
    }
    let network = with_classes_of(&tensors, scheme, network)?;
    let mut reader = Reader { tensors: &tensors, scheme, network: &network, taken: BTreeSet::new(), problems: vec![] };
    let weights = reader.weights()?;
    let Reader { taken, mut problems, .. } = reader;
    let left: Vec<&str> =
        tensors.names().into_iter().filter(|name| !taken.contains(*name) && !name.ends_with(COUNTER)).collect();
    if !problems.is_empty() {
        if !left.is_empty() {
            problems.push(format!("no layer takes {}", listed(&left)));
        }
        let count = problems.len();
        if count > 3 * LISTED {
            problems.truncate(3 * LISTED);
            problems.push(format!("and {} more", count - 3 * LISTED));
        }
        bail!("these are not the weights of {}:\n- {}", network.name, problems.join("\n- "));
    }
    if !left.is_empty() {
        notes.push(format!("left out, because no layer takes them: {}", listed(&left)));
    }
    Ok(NamedWeights { network, weights, notes })
}

fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| format!("'{name}'")).collect();
    let more = if names.len() > LISTED { format!(" and {} more", names.len() - LISTED) } else { String::new() };
    shown.join(", ") + &more
}

/// The scheme that most of the network's tensors are found by, and the network in its form.
fn recognize(tensors: &SafeTensors<'_>, network: &Network) -> anyhow::Result<(Scheme, Network)> {
    let mut best: Option<(usize, Scheme, Network)> = None;
    for scheme in Scheme::ALL {
        let Some(form) = form(scheme, network) else { continue };
        let found = places(&form)?.iter().filter(|place| place.find(tensors, scheme, &form.name).is_some()).count();
        if best.as_ref().is_none_or(|&(most, ..)| found > most) {
            best = Some((found, scheme, form));
        }
    }
    match best {
        Some((1.., scheme, form)) => Ok((scheme, form)),
        _ => {
            let first = places(network)?.into_iter().next().context("the network has no layer with weights")?;
            let named = |scheme| names(scheme, &network.name, &first.layer, first.part).into_iter().next();
            let expected: Vec<String> = Scheme::ALL
                .into_iter()
                .filter_map(|scheme| Some(format!("'{}' ({})", named(scheme)?, scheme.owner())))
                .collect();
            let mut found = tensors.names();
            found.sort_unstable();
            bail!(
                "none of its tensors has the name of a layer of {}: it holds {}; expected are names such as {}",
                network.name,
                if found.is_empty() { "none".to_owned() } else { listed(&found) },
                expected.join(", ")
            );
        }
    }
}

/// The network with as many classes as the file's last dense layer has.
fn with_classes_of(tensors: &SafeTensors<'_>, scheme: Scheme, network: Network) -> anyhow::Result<Network> {
    let dense = |place: &Place| matches!(place.op, Some(Op::Dense { .. })) && matches!(place.part, Part::Kernel(_));
    let Some(last) = places(&network)?.into_iter().rev().find(dense) else { return Ok(network) };
    let tensor = last.find(tensors, scheme, &network.name).and_then(|name| tensors.tensor(&name).ok());
    let units = match (tensor.as_ref().map(|tensor| tensor.shape()), scheme) {
        (Some(&[_, units]), Scheme::Keras) | (Some(&[units, ..]), Scheme::Ocelli | Scheme::Torchvision) => units,
        _ => return Ok(network), // the error about this tensor says more
    };
    ensure!(units >= 2, "layer '{}' has {units} units in the file: a classifier has two classes or more", last.layer);
    Ok(network.with_classes(units)?)
}

/// A tensor that the network needs.
struct Place {
    layer: String,
    part: Part,
    op: Option<Op>,
    layout: Layout,
}

impl Place {
    /// The name that it has in the file.
    fn find(&self, tensors: &SafeTensors<'_>, scheme: Scheme, network: &str) -> Option<String> {
        names(scheme, network, &self.layer, self.part).into_iter().find(|name| tensors.tensor(name).is_ok())
    }
}

/// All tensors that the network needs, layer by layer.
fn places(network: &Network) -> anyhow::Result<Vec<Place>> {
    let wired = network.wired()?;
    let mut places = Vec::new();
    for layer in &wired {
        let (name, input) = (&layer.layer.name, layer.input());
        let mut place = |part, op, layout| places.push(Place { layer: name.clone(), part, op, layout });
        let (op, shape, axis) = match layer.layer.kind {
            LayerKind::Dropout { .. } => continue,
            LayerKind::BatchNorm { .. } => {
                let layout = Layout::List(input.c as usize);
                for part in [Part::Gamma, Part::Beta, Part::Mean, Part::Variance] {
                    place(part, None, layout);
                }
                continue;
            }
            LayerKind::Conv3d(conv) => (None, conv.weight_shape(input), 0),
            LayerKind::Op(op) => {
                let Some(shape) = op.weight_shape(input) else { continue };
                (Some(op), shape.map(|n| n as usize), op.channel_axis())
            }
        };
        let depthwise = matches!(op, Some(Op::DepthwiseConv2d { .. }));
        let layout = match op {
            None => Layout::Volume(shape),
            Some(Op::Dense { .. }) => Layout::Dense { shape, picture: before_flatten(&wired, layer.inputs.first()) },
            Some(_) if depthwise => Layout::Depthwise { shape, channels: input.c as usize },
            Some(_) => Layout::Convolution(shape),
        };
        place(Part::Kernel(depthwise), op, layout);
        if layer.layer.options.bias {
            place(Part::Bias, op, Layout::List(shape[axis]));
        }
    }
    Ok(places)
}

/// The picture that a flatten makes flat, where `tensor` is its output.
fn before_flatten(wired: &[crate::network::Wired<'_>], tensor: Option<&usize>) -> Option<Shape> {
    let mut tensor = *tensor?;
    loop {
        let layer = wired.get(tensor.checked_sub(1)?)?;
        match layer.layer.kind {
            LayerKind::Op(Op::Flatten) => return Some(layer.input()),
            // what lies between and changes no order
            LayerKind::Dropout { .. } | LayerKind::BatchNorm { .. } | LayerKind::Op(Op::Unary(_)) => {
                tensor = *layer.inputs.first()?;
            }
            _ => return None,
        }
    }
}

struct Reader<'a> {
    tensors: &'a SafeTensors<'a>,
    scheme: Scheme,
    network: &'a Network,
    taken: BTreeSet<String>,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn weights(&mut self) -> anyhow::Result<Weights> {
        let mut weights = Weights::default();
        let mut norm = NormWeights::identity(0);
        let mut places = places(self.network)?.into_iter().peekable();
        while let Some(place) = places.next() {
            let values = self.read(&place).unwrap_or_default();
            match place.part {
                Part::Kernel(_) => {
                    let bias = places.next_if(|next| next.part == Part::Bias);
                    let bias = bias.and_then(|place| self.read(&place)).unwrap_or_default();
                    weights.insert(&place.layer, LayerWeights { shape: place.layout.shape(), kernel: values, bias });
                }
                Part::Bias | Part::Gamma => norm.gamma = values, // a bias follows its kernel
                Part::Beta => norm.beta = values,
                Part::Mean => norm.mean = values,
                Part::Variance => {
                    if let Some(at) = values.iter().position(|&v| v < 0.0) {
                        self.problems.push(format!("layer '{}': variance {at} is {}", place.layer, values[at]));
                    }
                    norm.variance = values;
                    weights.insert_norm(&place.layer, std::mem::replace(&mut norm, NormWeights::identity(0)));
                }
            }
        }
        Ok(weights)
    }

    /// The values of a tensor in our order; what is wrong with it goes to the problems.
    fn read(&mut self, place: &Place) -> Option<Vec<f32>> {
        let Some(name) = place.find(self.tensors, self.scheme, &self.network.name) else {
            let names = names(self.scheme, &self.network.name, &place.layer, place.part);
            let name =
                names.first().map_or_else(|| format!("a tensor of '{}'", place.layer), |name| format!("'{name}'"));
            self.problems.push(format!("{name} is missing"));
            return None;
        };
        let tensor = self.tensors.tensor(&name).ok()?;
        let expected = place.layout.dims(self.scheme);
        let mut problem = None;
        if tensor.shape() != expected {
            problem = Some(format!("'{name}' has the shape {:?}, the network needs {expected:?}", tensor.shape()));
        }
        let values = if problem.is_none() { floats(&tensor) } else { None };
        let kind = tensor.dtype();
        self.taken.insert(name.clone());
        let Some(values) = values else {
            let of_type = || format!("'{name}' is of type {kind:?}: F32, F16, BF16 and F64 are read");
            self.problems.push(problem.unwrap_or_else(of_type));
            return None;
        };
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            self.problems.push(format!("'{name}' holds {} at element {at}", values[at]));
            return None;
        }
        Some(place.layout.ours(self.scheme, values))
    }
}

#[cfg(test)]
mod tests;
