//! Means and maxima over axes.

use super::attributes::{Attributes, axes};
use super::build::{Builder, Value, name_of};
use super::view::{Axis, View};
use anyhow::{Context, bail};
use ocelli::ir::{Op, Padding, Shape, Window};
use tract_onnx::pb::NodeProto;

impl Builder<'_> {
    /// A mean or maximum over rows, columns, channels, or several of them.
    pub fn reduce(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let attributes = Attributes::of(node, &["axes", "keepdims", "noop_with_empty_axes"])?;
        let x = self.computed(node, 0)?;
        let rank = x.dims.len();
        let given = match self.optional_constant(node, 1)? {
            Some(list) => Some(list.whole()?.to_vec()),
            None => attributes.ints("axes")?.map(<[i64]>::to_vec),
        };
        let list = match given {
            Some(list) if !list.is_empty() => axes(&list, rank)?,
            _ if attributes.int("noop_with_empty_axes", 0)? != 0 => return Ok(Value::Computed(x)),
            _ => (0..rank).collect(),
        };
        let groups = x.groups().context("has values in an order that is not supported")?;
        let mut over: Vec<Axis> = list.iter().flat_map(|&dim| groups[dim].iter().copied()).collect();
        over.sort_unstable();
        let Shape { h, w, .. } = x.shape;
        let is_mean = node.op_type == "ReduceMean";
        let pool = |kernel: [u32; 2]| -> anyhow::Result<Op> {
            let [h, w] = kernel;
            let sides = (u16::try_from(h).ok(), u16::try_from(w).ok());
            let (Some(h), Some(w)) = sides else { bail!("reduces {h}x{w} values to one: {} a side at most", u16::MAX) };
            let kernel = [h, w];
            let window = Window::new(kernel, kernel, Padding::Valid);
            Ok(if is_mean { Op::AveragePool2d { window } } else { Op::MaxPool2d { window } })
        };
        let everything = if is_mean { Op::GlobalAveragePool } else { Op::GlobalMaxPool };
        let op = match over.as_slice() {
            [] => None,
            [Axis::H, Axis::W] => Some(everything),
            [Axis::H] => Some(if w == 1 { everything } else { pool([h, 1])? }),
            [Axis::W] => Some(if h == 1 { everything } else { pool([1, w])? }),
            [Axis::C] | [Axis::W, Axis::C] | [Axis::H, Axis::W, Axis::C] => None,
            _ => bail!(
                "reduces the axes {list:?} of {:?}: rows, columns and channels of a picture are supported, or some of them",
                x.dims
            ),
        };
        let (tensor, shape) = match op {
            Some(op) => self.push_op(name_of(node), op, &[x.tensor])?,
            None if over.is_empty() => (x.tensor, x.shape),
            None => {
                // what is reduced lies side by side in memory: it becomes the columns of a picture of one channel
                let kept = Shape::new(h, if over.contains(&Axis::W) { 1 } else { w }, 1);
                let kept = if over.contains(&Axis::H) { Shape::new(1, 1, 1) } else { kept };
                let count = x.shape.elements().context("is too large")?;
                let rows = kept.h * kept.w;
                let name = name_of(node);
                let to = Shape::new(rows, count / rows, 1);
                let (flat, _) = self.push_op(format!("{name}_rows"), Op::Reshape { to }, &[x.tensor])?;
                let op = if rows == 1 { everything } else { pool([1, count / rows])? };
                let made = self.push_op(name.clone(), op, &[flat])?;
                if made.1 == kept {
                    made
                } else {
                    self.push_op(format!("{name}_picture"), Op::Reshape { to: kept }, &[made.0])?
                }
            }
        };
        let keep = attributes.int("keepdims", 1)? != 0;
        let dims = (0..rank).filter(|dim| keep || !list.contains(dim));
        let dims = dims.map(|dim| if list.contains(&dim) { 1 } else { x.dims[dim] }).collect();
        let sole = !over.is_empty() || x.sole;
        Ok(Value::Computed(View { tensor, shape, dims, sole, flattened_by: None, ..x }))
    }
}
