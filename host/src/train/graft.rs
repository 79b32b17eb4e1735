//! A trained network's layers below a new head.

use super::source::mixed;
use crate::network::{Layer, LayerKind, Network, NetworkError, Weights, Wired};
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Op, Shape};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::str::FromStr;

/// A base of so many layers is named layer by layer in an error.
const FEW_LAYERS: usize = 16;
/// Of a longer one, so many.
const NEAR_LAYERS: usize = 5;

/// Which layers of a base are not trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// All of them.
    Base,
    /// All but the last so many that have weights.
    AllBut(usize),
    /// None.
    Nothing,
}

impl FromStr for Freeze {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not one of base, none, all-but-K (K layers with weights, at least 1)");
        match text {
            "base" => Ok(Self::Base),
            "none" => Ok(Self::Nothing),
            _ => match text.strip_prefix("all-but-").and_then(|count| count.parse().ok()) {
                Some(count) if count > 0 => Ok(Self::AllBut(count)),
                _ => Err(wrong()),
            },
        }
    }
}

impl std::fmt::Display for Freeze {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Base => f.write_str("base"),
            Self::AllBut(count) => write!(f, "all-but-{count}"),
            Self::Nothing => f.write_str("none"),
        }
    }
}

/// A base with a new head.
#[derive(Clone, Debug, PartialEq)]
pub struct Grafted {
    /// The whole.
    pub network: Network,
    /// How many of its first layers are the base's.
    pub base_layers: usize,
}

impl Grafted {
    /// Puts a head on the layers of `base` up to the layer `cut`; without one, up to the layer before its own head. With `size` its
    /// pictures have that many rows and columns.
    ///
    /// A head is a list of `gap`, `gmp`, `flatten`, `batch-norm`, `dropout RATE` and `dense UNITS [ACTIVATION]`, whose last is a dense
    /// with `N` units, one a class; the softmax after it goes without saying.
    ///
    /// # Errors
    /// When there is no such layer, a layer cannot take pictures of that size, the head cannot be read, or it does not fit; the error
    /// says which part.
    pub fn new(
        base: &Network,
        cut: Option<&str>,
        head: &str,
        classes: usize,
        size: Option<[u32; 2]>,
    ) -> anyhow::Result<Self> {
        let end = match cut {
            Some(name) => {
                let found = base.layers.iter().position(|layer| layer.name == name);
                found.with_context(|| format!("--cut {name}: the base has no such layer; {}", nearest(base, name)))? + 1
            }
            None => own_head(base)?,
        };
        if let Some(at) = base.layers[..end].iter().position(|layer| layer.kind == LayerKind::Op(Op::Softmax)) {
            let nearest = own_head(base).ok().and_then(|end| base.layers.get(end.checked_sub(1)?));
            bail!(
                "{}the softmax '{}' over the base's own classes would stand before the head: cut before it{}",
                cut.map_or_else(String::new, |cut| format!("--cut {cut}: ")),
                base.layers[at].name,
                nearest.map_or_else(String::new, |layer| format!(", for instance with --cut {}", layer.name))
            );
        }
        let layers = needed(base, end)?;
        let base_layers = layers.len();
        let prefix = (1..)
            .map(|n| if n == 1 { "head".to_owned() } else { format!("head{n}") })
            .find(|prefix| !layers.iter().any(|layer| layer.name.starts_with(&format!("{prefix}_"))))
            .unwrap_or_default();
        let mut body = Network { name: format!("{}-finetuned", base.name), input: base.input, layers };
        if let Some(size) = size {
            body = resized(body, size)?;
        }
        let text = body.to_toml() + &head_toml(head, &prefix, classes)?;
        let network = Network::from_toml(&text, &format!("--head \"{head}\""))?;
        Ok(Self { network, base_layers })
    }

    /// The base's numbers, and fresh ones for the head.
    ///
    /// # Errors
    /// When the network's shapes do not fit.
    pub fn weights(&self, base: &Weights, seed: u64) -> Result<Weights, NetworkError> {
        let mut weights = Weights::initial(&self.network, &mut ChaCha8Rng::seed_from_u64(mixed(seed, 0)))?;
        for layer in self.network.layers.iter().take(self.base_layers) {
            if let Some(numbers) = base.layer(&layer.name) {
                weights.insert(&layer.name, numbers.clone());
            }
            if let Some(numbers) = base.norm(&layer.name) {
                weights.insert_norm(&layer.name, numbers.clone());
            }
        }
        Ok(weights)
    }

    /// The first layer that is trained, by its index.
    ///
    /// # Errors
    /// When the base has fewer layers with weights.
    pub fn first_trained(&self, freeze: Freeze) -> anyhow::Result<usize> {
        let wired = self.network.wired()?;
        let weighted = |index: &usize| match &wired[*index].layer.kind {
            LayerKind::Op(op) => op.weight_shape(wired[*index].input()).is_some(),
            LayerKind::Conv3d(_) => true,
            _ => false,
        };
        match freeze {
            Freeze::Base => Ok(self.base_layers),
            Freeze::Nothing => Ok(0),
            Freeze::AllBut(count) => {
                let weighted: Vec<usize> = (0..self.base_layers).filter(weighted).collect();
                ensure!(
                    count <= weighted.len(),
                    "--freeze {freeze}: the base has {} layers with weights: give at most all-but-{0}, or none",
                    weighted.len()
                );
                Ok(weighted[weighted.len() - count])
            }
        }
    }

    /// The first layer from `first` on that training changes, or that draws random numbers: what stands before it always makes the same
    /// of a picture. A head that begins with a pool is entered behind the pool, where a picture is a few hundred numbers.
    ///
    /// # Errors
    /// When the network's shapes do not fit.
    pub fn steady(&self, first: usize) -> Result<usize, NetworkError> {
        if first == 0 {
            return Ok(0); // nothing is frozen
        }
        let wired = self.network.wired()?;
        let changes = |layer: &Wired<'_>| match layer.layer.kind {
            LayerKind::Op(op) => op == Op::Softmax || op.weight_shape(layer.input()).is_some(),
            LayerKind::Conv3d(_) | LayerKind::BatchNorm { .. } | LayerKind::Dropout { .. } => true,
        };
        Ok(wired.iter().skip(first).position(changes).map_or(wired.len(), |more| first + more))
    }

    /// The last layer index up to `limit` behind which nothing reads what stands before it, but the layer itself.
    ///
    /// # Errors
    /// When the network's shapes do not fit.
    pub fn neck(&self, limit: usize) -> Result<usize, NetworkError> {
        let wired = self.network.wired()?;
        let narrow =
            |first: &usize| wired.iter().skip(*first).all(|layer| layer.inputs.iter().all(|tensor| tensor >= first));
        Ok((0..=limit).rev().find(narrow).unwrap_or(0))
    }
}

/// The index of the first layer of a network's head: the flatten, global pool or dense behind which only such stand. Files from
/// elsewhere may have an average pool over all that is left as their global pool, and convolutions of the one pixel behind it as dense
/// layers.
fn own_head(base: &Network) -> anyhow::Result<usize> {
    let wired = base.wired()?;
    let is_pixel = |shape: Shape| (shape.h, shape.w) == (1, 1);
    let begins = |layer: &Wired<'_>| match layer.layer.kind {
        LayerKind::Op(Op::AveragePool2d { .. }) => is_pixel(layer.output) && !is_pixel(layer.input()),
        LayerKind::Op(op) => matches!(
            op,
            Op::Flatten | Op::GlobalAveragePool | Op::GlobalMaxPool | Op::Dense { .. } | Op::Reshape { .. }
        ),
        _ => false,
    };
    let may_follow = |layer: &Wired<'_>| match layer.layer.kind {
        LayerKind::Dropout { .. } | LayerKind::BatchNorm { .. } | LayerKind::Op(Op::Softmax | Op::Unary(_)) => true,
        LayerKind::Op(Op::Conv2d { .. }) => is_pixel(layer.input()),
        _ => begins(layer),
    };
    let tail = wired.iter().rposition(|layer| !may_follow(layer)).map_or(0, |index| index + 1);
    let head = wired.iter().skip(tail).position(begins).map(|index| tail + index);
    match head {
        Some(index) if index > 0 => Ok(index),
        _ => bail!("the base '{}' is all head: say with --cut LAYER where its head begins", base.name),
    }
}

/// The layers that may be meant by `name`, in words: all, where they are few.
fn nearest(base: &Network, name: &str) -> String {
    let names: Vec<&str> = base.layers.iter().map(|layer| layer.name.as_str()).collect();
    if names.len() <= FEW_LAYERS {
        return format!("it has {}", names.join(", "));
    }
    let wanted = name.to_lowercase();
    // the parts of a name count too: most names of other tools are paths
    let likeness = |other: &str| {
        let other = other.to_lowercase();
        let whole_and_parts = std::iter::once(other.as_str()).chain(other.split('/'));
        let best = whole_and_parts.map(|part| strsim::jaro_winkler(&wanted, part)).fold(0.0, f64::max);
        best + f64::from(u8::from(other.contains(&wanted)))
    };
    let mut near = names.clone();
    near.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    near.truncate(NEAR_LAYERS);
    let last = names.last().copied().unwrap_or_default();
    format!("the nearest of its {} layers, from {} to {last}: {}", names.len(), names[0], near.join(", "))
}

/// The same layers for pictures of another size.
fn resized(body: Network, [rows, columns]: [u32; 2]) -> anyhow::Result<Network> {
    ensure!(rows > 0 && columns > 0, "--input {rows}x{columns}: rows and columns are at least 1");
    let mut other = body.clone();
    (other.input.shape.h, other.input.shape.w) = (rows, columns);
    let (before, after) = (body.wired()?, other.wired().with_context(|| format!("--input {rows}x{columns}"))?);
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        let LayerKind::Op(op) = before.layer.kind else { continue };
        if op.weight_shape(before.input()) != op.weight_shape(after.input()) {
            bail!(
                "--input {rows}x{columns}: layer {} '{}' of the base has weights for {}, and would get {}: cut the base before it \
                 (--cut LAYER, at the latest the layer before its flatten)",
                index + 1,
                before.layer.name,
                before.input(),
                after.input()
            );
        }
    }
    Ok(other)
}

/// The layers before `end` that layer `end - 1` needs.
fn needed(base: &Network, end: usize) -> anyhow::Result<Vec<Layer>> {
    let wired = base.wired()?;
    let mut tensors = BTreeSet::from([end]);
    for (index, layer) in wired.iter().enumerate().take(end).rev() {
        if tensors.contains(&(index + 1)) {
            tensors.extend(&layer.inputs);
        }
    }
    let mut layers: Vec<Layer> = Vec::new();
    for (index, layer) in wired.iter().enumerate().filter(|(index, _)| tensors.contains(&(index + 1))) {
        let mut kept = layer.layer.clone();
        // a layer that read the one before it may now have another before it
        let before = index.checked_sub(1).and_then(|index| base.layers.get(index));
        if let (true, Some(before)) = (kept.inputs.is_empty(), before)
            && layers.last().map(|layer| &layer.name) != Some(&before.name)
        {
            kept.inputs = vec![before.name.clone()];
        }
        layers.push(kept);
    }
    Ok(layers)
}

/// The `[[layer]]` tables of a head.
fn head_toml(head: &str, prefix: &str, classes: usize) -> anyhow::Result<String> {
    const PARTS: &str = "gap, gmp, flatten, batch-norm, dropout RATE, dense UNITS [ACTIVATION]";
    let mut text = String::new();
    let mut last = None;
    for (index, part) in head.split(',').enumerate() {
        let words: Vec<&str> = part.split_whitespace().collect();
        let name = |kind: &str| format!("{prefix}_{}_{kind}", index + 1);
        last = None;
        let (kind, more) = match *words.as_slice() {
            ["gap"] => ("global_average_pool2d", String::new()),
            ["gmp"] => ("global_max_pool2d", String::new()),
            ["flatten"] => ("flatten", String::new()),
            ["batch-norm"] => ("batch_norm", String::new()),
            ["dropout", rate] => {
                let rate: f64 = rate.parse().ok().with_context(|| format!("--head: dropout {rate} is not a number"))?;
                ("dropout", format!("rate = {rate:?}\n"))
            }
            ["dense", units, ref activation @ ..] if activation.len() <= 1 => {
                let units = match units {
                    "N" => classes,
                    other => other.parse().ok().with_context(|| {
                        format!("--head: dense {other}: give a number of units, or N for the classes")
                    })?,
                };
                last = Some((units, activation.is_empty()));
                let activation = activation.first().map(|name| format!("activation = \"{name}\"\n"));
                ("dense", format!("units = {units}\n{}", activation.unwrap_or_default()))
            }
            _ => bail!("--head: '{}' is not one of {PARTS}", part.trim()),
        };
        write!(text, "\n[[layer]]\ntype = \"{kind}\"\nname = \"{}\"\n{more}", name(kind))?;
    }
    ensure!(
        last == Some((classes, true)),
        "--head \"{head}\": its last part must be dense N without an activation ({classes} classes; the softmax after it goes \
         without saying)"
    );
    write!(text, "\n[[layer]]\ntype = \"softmax\"\nname = \"{prefix}_softmax\"\n")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::zoo;

    fn names(network: &Network) -> Vec<&str> {
        network.layers.iter().map(|layer| layer.name.as_str()).collect()
    }

    #[test]
    fn a_head_takes_the_place_of_the_bases_own() {
        let base = Network::open("mnist-cnn").unwrap();
        let grafted = Grafted::new(&base, None, "gap, dense 16 relu, dropout 0.3, dense N", 5, None).unwrap();
        let network = &grafted.network;
        assert_eq!(grafted.base_layers, 4);
        assert_eq!(names(network)[..4], names(&base)[..4]);
        assert_eq!(
            names(network)[4..],
            ["head_1_global_average_pool2d", "head_2_dense", "head_3_dropout", "head_4_dense", "head_softmax"]
        );
        assert_eq!(network.classes().unwrap(), 5);
        // a head on a head gets a name of its own
        let again = Grafted::new(network, Some("head_2_dense"), "dense N", 3, None).unwrap();
        assert_eq!(names(&again.network)[6..], ["head2_1_dense", "head2_softmax"]);
    }

    #[test]
    fn every_network_of_the_zoo_can_be_a_base() {
        for name in zoo::names() {
            let base = Network::open(name).unwrap();
            let flat = Grafted::new(&base, None, "flatten, dense N", 3, None).unwrap();
            assert!(flat.base_layers + 1 < base.layers.len(), "{name}");
            assert_eq!(flat.neck(flat.base_layers).unwrap(), flat.base_layers, "{name}");
            let kept = flat.weights(&Weights::initial(&base, &mut ChaCha8Rng::seed_from_u64(1)).unwrap(), 2).unwrap();
            assert!(kept.parameters() > 0, "{name}");
        }
    }

    #[test]
    fn a_branch_that_the_cut_leaves_without_a_reader_goes() {
        let text = "name = \"t\"\n[input]\nheight = 8\nwidth = 8\ncolor = \"gray\"\n\
            [[layer]]\ntype = \"conv2d\"\nname = \"a\"\nfilters = 2\nkernel = 3\n\
            [[layer]]\ntype = \"conv2d\"\nname = \"b\"\nfilters = 2\nkernel = 3\npadding = \"same\"\n\
            [[layer]]\ntype = \"conv2d\"\nname = \"c\"\ninputs = [\"a\"]\nfilters = 2\nkernel = 3\npadding = \"same\"\n\
            [[layer]]\ntype = \"add\"\nname = \"d\"\ninputs = [\"b\", \"c\"]\n\
            [[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 2\nactivation = \"softmax\"\n";
        let base = Network::from_toml(text, "test").unwrap();
        let cut = Grafted::new(&base, Some("c"), "gap, dense N", 2, None).unwrap();
        assert_eq!(names(&cut.network)[..2], ["a", "c"]);
        // layers are trained from the last so many with weights on, what is run without gradients ends at a neck
        let whole = Grafted::new(&base, None, "gap, dense N", 2, None).unwrap();
        let neck = |freeze| whole.neck(whole.first_trained(freeze).unwrap()).unwrap();
        assert_eq!(whole.first_trained(Freeze::AllBut(2)).unwrap(), 1);
        assert_eq!(neck(Freeze::AllBut(1)), 1, "b and c both read a, so that c cannot be taken alone");
        assert_eq!((neck(Freeze::Base), neck(Freeze::Nothing)), (4, 0));
        let message = whole.first_trained(Freeze::AllBut(4)).unwrap_err().to_string();
        assert!(message.contains("all-but-4") && message.contains("has 3"), "{message}");
    }

    #[test]
    fn a_base_takes_pictures_of_another_size_up_to_its_cut() {
        let base = Network::open("mobilenet-v2-0.35").unwrap();
        let head = "gap, dense 8 relu, dense N";
        for size in [[160, 160], [480, 640]] {
            let grafted = Grafted::new(&base, None, head, 2, Some(size)).unwrap();
            let wired = grafted.network.wired().unwrap();
            let last = wired[grafted.base_layers - 1].output;
            assert_eq!([last.h, last.w], size.map(|side| side / 32));
            // what is kept of a picture stands behind the pool, whatever its size
            let steady = grafted.steady(grafted.base_layers).unwrap();
            assert_eq!((steady, wired[steady - 1].output), (grafted.base_layers + 1, Shape::new(1, 1, last.c)));
            assert_eq!(grafted.steady(0).unwrap(), 0);
        }
        let dropped = Grafted::new(&base, None, "gap, dropout 0.5, dense N", 2, None).unwrap();
        assert_eq!(dropped.steady(dropped.base_layers).unwrap(), dropped.base_layers + 1);
        // behind a flatten the weights are for one size alone
        let base = Network::open("mnist-cnn").unwrap();
        let dense = base.layers.iter().find(|layer| matches!(layer.kind, LayerKind::Op(Op::Dense { .. }))).unwrap();
        assert!(Grafted::new(&base, Some(&dense.name), "dense N", 2, Some([28, 28])).is_ok());
        let error = Grafted::new(&base, Some(&dense.name), "dense N", 2, Some([32, 28])).unwrap_err().to_string();
        assert!(error.contains("--input 32x28") && error.contains(&dense.name) && error.contains("cut"), "{error}");
        let error = format!("{:#}", Grafted::new(&base, None, head, 2, Some([3, 3])).unwrap_err());
        assert!(error.contains("--input 3x3: layer"), "{error}");
    }

    #[test]
    fn a_wrong_layer_of_a_long_base_is_answered_by_the_nearest() {
        let base = Network::open("mobilenet-v1-0.25").unwrap();
        let (name, last) = (&base.layers[8].name, &base.layers[base.layers.len() - 1].name);
        let error = Grafted::new(&base, Some(&name.to_uppercase()), "gap, dense N", 2, None).unwrap_err().to_string();
        assert!(error.contains(&format!(": {name}, ")) && error.contains(&format!("to {last}:")), "{error}");
    }

    #[test]
    fn heads_that_cannot_be_are_refused() {
        let base = Network::open("mnist-cnn").unwrap();
        let softmax = base.layers.last().unwrap().name.clone();
        for (cut, head, expected) in [
            (None, "gap, dense 64 relu", "last part must be dense N"),
            (None, "gap, dense N relu", "last part must be dense N"),
            (None, "gap, softmax", "'softmax' is not one of gap"),
            (None, "gap, dense many", "dense many"),
            (None, "gap, dropout much, dense N", "dropout much"),
            (None, "gap, dropout 1.5, dense N", "rate = 1.5"),
            (None, "gap, dense 8 gelu, dense N", "gelu"),
            (None, "dense N", "flatten"),
            (Some("nothing"), "gap, dense N", "--cut nothing: the base has no such layer; it has conv2d"),
            (
                Some(softmax.as_str()),
                "dense N",
                "over the base's own classes would stand before the head: cut before it, for",
            ),
        ] {
            let message = format!("{:#}", Grafted::new(&base, cut, head, 5, None).unwrap_err());
            assert!(message.contains(expected), "{head}: {message}");
        }
        for (text, freeze) in [("base", Freeze::Base), ("none", Freeze::Nothing), ("all-but-3", Freeze::AllBut(3))] {
            assert_eq!((text.parse(), freeze.to_string().as_str()), (Ok(freeze), text));
        }
        assert!("all-but-0".parse::<Freeze>().unwrap_err().contains("all-but-K"));
    }
}
