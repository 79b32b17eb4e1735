//! What exporters write in several nodes and is one layer here: hard swish, swish, clips, and a pool of least values.

use super::super::proto::{float, node as new_node};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::NodeProto;

/// ONNX has no such node; it stands for `Neg`, `MaxPool`, `Neg`.
pub const MIN_POOL: &str = "ocelli.MinPool";

/// The nodes of a graph, and what they need to be understood together.
pub struct Nodes<'a> {
    list: Vec<NodeProto>,
    /// The node that makes a value.
    makers: HashMap<String, usize>,
    /// How often a value is read.
    readers: HashMap<String, usize>,
    /// The value of a constant of a single element.
    scalar: &'a dyn Fn(&str) -> Option<f32>,
}

/// Joins the nodes of each pattern in the last of them. The others stay; nobody reads them any more.
pub fn join(list: Vec<NodeProto>, outputs: &HashSet<&str>, scalar: &dyn Fn(&str) -> Option<f32>) -> Vec<NodeProto> {
    let mut nodes = Nodes { list, makers: HashMap::new(), readers: HashMap::new(), scalar };
    for (index, node) in nodes.list.iter().enumerate() {
        nodes.makers.extend(node.output.iter().map(|name| (name.clone(), index)));
        node.input.iter().for_each(|name| *nodes.readers.entry(name.clone()).or_insert(0) += 1);
    }
    outputs.iter().for_each(|&name| *nodes.readers.entry(name.to_owned()).or_insert(0) += 1);
    for index in 0..nodes.list.len() {
        if let Some((kind, input, numbers)) = nodes.joined(index) {
            let node = &nodes.list[index];
            let attributes = if kind == MIN_POOL {
                // those of the pool in the middle
                let pool = node.input.first().and_then(|input| nodes.maker(input));
                pool.map_or_else(Vec::new, |pool| pool.attribute.clone())
            } else {
                numbers.into_iter().map(|(name, value)| float(name, value)).collect()
            };
            let (name, output) = (node.name.clone(), node.output.clone());
            nodes.list[index] = NodeProto { output, ..new_node(kind, &name, &[&input], attributes) };
        }
    }
    nodes.list
}

type Joined = (&'static str, String, Vec<(&'static str, f32)>);

impl Nodes<'_> {
    fn maker(&self, value: &str) -> Option<&NodeProto> {
        self.list.get(*self.makers.get(value)?)
    }

    /// The node that makes a value which is read once.
    fn only(&self, value: &str) -> Option<&NodeProto> {
        self.maker(value).filter(|_| self.readers.get(value) == Some(&1))
    }

    /// The other input of a node of two, beside a constant of a single element.
    fn beside_scalar(&self, node: &NodeProto) -> Option<(String, f32, bool)> {
        let [a, b] = node.input.as_slice() else { return None };
        match ((self.scalar)(a), (self.scalar)(b)) {
            (None, Some(value)) => Some((a.clone(), value, false)),
            (Some(value), None) => Some((b.clone(), value, true)),
            _ => None,
        }
    }

    /// `x` where the value is `min(max(0, x + 3), 6)`.
    fn shifted_relu6(&self, value: &str) -> Option<String> {
        let clip = self.only(value)?;
        let (input, low, high) = self.clip(clip)?;
        let add = self.only(&input).filter(|add| add.op_type == "Add" && (low, high) == (0.0, 6.0))?;
        let (x, shift, _) = self.beside_scalar(add)?;
        (shift == 3.0).then_some(x)
    }

    /// Input and bounds of a node that clips.
    fn clip(&self, node: &NodeProto) -> Option<(String, f32, f32)> {
        let (low, high) = (f32::NEG_INFINITY, f32::INFINITY);
        match node.op_type.as_str() {
            "Relu" => Some((node.input.first()?.clone(), 0.0, high)),
            "Clip" => {
                let bound =
                    |at: usize, name: &str, default: f32| match node.input.get(at).filter(|name| !name.is_empty()) {
                        Some(value) => (self.scalar)(value),
                        None => Some(node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.f)),
                    };
                Some((node.input.first()?.clone(), bound(1, "min", low)?, bound(2, "max", high)?))
            }
            "Min" => self.beside_scalar(node).map(|(x, bound, _)| (x, low, bound)),
            "Max" => self.beside_scalar(node).map(|(x, bound, _)| (x, bound, high)),
            _ => None,
        }
    }

    /// What the nodes that end in this one are together.
    fn joined(&self, index: usize) -> Option<Joined> {
        let node = &self.list[index];
        match node.op_type.as_str() {
            "Mul" | "Div" => self.sixth(node).or_else(|| self.gated(node)),
            "Relu" | "Clip" | "Min" | "Max" => {
                let (mut input, mut low, mut high) = self.clip(node)?;
                let mut more = !matches!(node.op_type.as_str(), "Relu" | "Clip");
                while let Some((before, l, h)) = self.only(&input).and_then(|node| self.clip(node)) {
                    (input, more) = (before, true);
                    // the later bounds decide where the two do not overlap
                    (low, high) = (l.max(low).min(high), h.min(high).max(low));
                }
                more.then(|| ("Clip", input, vec![("min", low), ("max", high)]))
            }
            "Neg" => {
                let pool = self
                    .only(node.input.first()?)
                    .filter(|pool| pool.op_type == "MaxPool" && pool.output.len() == 1)?;
                let negative = self.only(pool.input.first()?).filter(|before| before.op_type == "Neg")?;
                Some((MIN_POOL, negative.input.first()?.clone(), Vec::new()))
            }
            _ => None,
        }
    }

    /// Something over 6: a hard sigmoid, or a hard swish.
    fn sixth(&self, node: &NodeProto) -> Option<Joined> {
        let (y, value, first) = self.beside_scalar(node)?;
        let sixth = match node.op_type.as_str() {
            "Div" => value == 6.0 && !first,
            _ => (value - 1.0 / 6.0).abs() < 1e-5,
        };
        if !sixth {
            return None;
        }
        if let Some(x) = self.shifted_relu6(&y) {
            return Some(("HardSigmoid", x, vec![("alpha", 1.0 / 6.0), ("beta", 0.5)]));
        }
        let product = self.only(&y).filter(|product| product.op_type == "Mul")?;
        let [a, b] = product.input.as_slice() else { return None };
        let is_swish = self.shifted_relu6(b).as_ref() == Some(a) || self.shifted_relu6(a).as_ref() == Some(b);
        let x = if self.shifted_relu6(b).as_ref() == Some(a) { a } else { b };
        is_swish.then(|| ("HardSwish", x.clone(), Vec::new()))
    }

    /// A value times a sigmoid of itself.
    fn gated(&self, node: &NodeProto) -> Option<Joined> {
        let [a, b] = node.input.as_slice() else { return None };
        if node.op_type != "Mul" {
            return None;
        }
        [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
            let gate = self.only(gate).filter(|gate| gate.input.first() == Some(x))?;
            let number =
                |name: &str, default: f32| gate.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.f);
            let (alpha, beta) = (number("alpha", 0.2), number("beta", 0.5));
            match gate.op_type.as_str() {
                "Sigmoid" => Some(("Swish", x.clone(), Vec::new())),
                "HardSigmoid" if (alpha - 1.0 / 6.0).abs() < 1e-5 && beta == 0.5 => {
                    Some(("HardSwish", x.clone(), Vec::new()))
                }
                _ => None,
            }
        })
    }
}
