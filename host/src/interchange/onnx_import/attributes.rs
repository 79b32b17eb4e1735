//! What an ONNX node is told beside its values. Every attribute is named where it is read; one that nobody reads may change the meaning
//! and is refused.

use anyhow::{bail, ensure};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

/// Most dimensions that a tensor may have.
pub const MAX_RANK: usize = 8;

/// The attributes of a node.
#[derive(Clone, Copy)]
pub struct Attributes<'a>(&'a [AttributeProto]);

impl<'a> Attributes<'a> {
    /// Those of `node`, which may have no others than `known`.
    pub fn of(node: &'a NodeProto, known: &[&str]) -> anyhow::Result<Self> {
        if let Some(other) = node.attribute.iter().find(|attribute| !known.contains(&attribute.name.as_str())) {
            bail!("has the attribute '{}', which is not known", other.name);
        }
        Ok(Self(&node.attribute))
    }

    fn find(self, name: &str, kind: AttributeType) -> anyhow::Result<Option<&'a AttributeProto>> {
        let found = self.0.iter().find(|attribute| attribute.name == name);
        if let Some(attribute) = found {
            let fits = attribute.r#type == kind as i32 || attribute.r#type == AttributeType::Undefined as i32;
            ensure!(fits, "has an attribute '{name}' of another type than {}", kind.as_str_name());
        }
        Ok(found)
    }

    /// Whether it is given.
    pub fn has(self, name: &str) -> bool {
        self.0.iter().any(|attribute| attribute.name == name)
    }

    /// A whole number.
    pub fn int(self, name: &str, default: i64) -> anyhow::Result<i64> {
        Ok(self.find(name, AttributeType::Int)?.map_or(default, |attribute| attribute.i))
    }

    /// A real number.
    pub fn float(self, name: &str, default: f32) -> anyhow::Result<f32> {
        Ok(self.find(name, AttributeType::Float)?.map_or(default, |attribute| attribute.f))
    }

    /// Whole numbers.
    pub fn ints(self, name: &str) -> anyhow::Result<Option<&'a [i64]>> {
        Ok(self.find(name, AttributeType::Ints)?.map(|attribute| attribute.ints.as_slice()))
    }

    /// Real numbers.
    pub fn floats(self, name: &str) -> anyhow::Result<Option<&'a [f32]>> {
        Ok(self.find(name, AttributeType::Floats)?.map(|attribute| attribute.floats.as_slice()))
    }

    /// A word.
    pub fn text(self, name: &str) -> anyhow::Result<Option<&'a str>> {
        let bytes = self.find(name, AttributeType::String)?.map(|attribute| attribute.s.as_slice());
        Ok(bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()))
    }

    /// A tensor.
    pub fn tensor(self, name: &str) -> anyhow::Result<Option<&'a TensorProto>> {
        Ok(self.find(name, AttributeType::Tensor)?.and_then(|attribute| attribute.t.as_ref()))
    }
}

/// An axis that may be counted from the end, from the front.
pub fn axis(axis: i64, rank: usize) -> anyhow::Result<usize> {
    let counted = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    match counted.and_then(|axis| usize::try_from(axis).ok()).filter(|&axis| axis < rank) {
        Some(axis) => Ok(axis),
        None => bail!("has the axis {axis} of a tensor of {rank} dimensions"),
    }
}

/// Axes, each once, in ascending order.
pub fn axes(list: &[i64], rank: usize) -> anyhow::Result<Vec<usize>> {
    ensure!(list.len() <= rank, "has {} axes of a tensor of {rank} dimensions", list.len());
    let mut axes = list.iter().map(|&a| axis(a, rank)).collect::<anyhow::Result<Vec<_>>>()?;
    axes.sort_unstable();
    axes.dedup();
    ensure!(axes.len() == list.len(), "names an axis twice");
    Ok(axes)
}
