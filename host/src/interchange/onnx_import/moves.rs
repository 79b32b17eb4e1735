//! Nodes that move values without changing them: changes of view.

use super::attributes::Attributes;
use super::build::{Builder, Value, name_of};
use super::constant::type_name;
use super::folding::{flatten, permutation, reshape, squeeze, unsqueeze};
use super::graph::{is_float, is_half, note_half};
use super::view::{Axis, View};
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Op, Shape};
use tract_onnx::pb::NodeProto;

impl Builder<'_> {
    /// Reshape, Flatten, Squeeze, Unsqueeze and Transpose.
    pub fn moved(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let x = self.computed(node, 0)?;
        let list = |builder: &mut Self| -> anyhow::Result<Option<Vec<i64>>> {
            let attribute = Attributes::of(node, &["axes"])?.ints("axes")?;
            Ok(match builder.optional_constant(node, 1)? {
                Some(list) => Some(list.whole()?.to_vec()),
                None => attribute.map(<[i64]>::to_vec),
            })
        };
        let dims = match node.op_type.as_str() {
            "Transpose" => {
                let perm = permutation(Attributes::of(node, &["perm"])?.ints("perm")?, x.dims.len())?;
                return Ok(Value::Computed(self.transposed(node, &x, &perm)?));
            }
            "Reshape" => {
                let zero_is_zero = Attributes::of(node, &["allowzero"])?.int("allowzero", 0)? != 0;
                reshape(&x.dims, self.constant(node, 1)?.whole()?, zero_is_zero)?
            }
            "Flatten" => flatten(&x.dims, Attributes::of(node, &["axis"])?.int("axis", 1)?)?,
            "Squeeze" => squeeze(&x.dims, list(self)?.as_deref())?,
            _ => {
                let list = list(self)?;
                unsqueeze(&x.dims, list.as_deref())?
            }
        };
        let flattened_by = if dims.len() == 2 { Some(name_of(node)) } else { x.flattened_by.clone() };
        Ok(Value::Computed(View { flattened_by, ..x.reshaped(dims) }))
    }

    fn transposed(&mut self, node: &NodeProto, x: &View, perm: &[usize]) -> anyhow::Result<View> {
        if let Some(turned) = x.transposed(perm) {
            return Ok(turned);
        }
        // a flat tensor as rows, columns and channels, before it is turned
        let &[batch, h, w, c] = x.dims.as_slice() else {
            bail!("transposes {:?}, in which an axis is split: this is not supported", x.dims);
        };
        ensure!(
            batch == x.batch && x.in_our_order(),
            "transposes {:?}, in which an axis is split: this is not supported",
            x.dims
        );
        let to = Shape::new(u32::try_from(h)?, u32::try_from(w)?, u32::try_from(c)?);
        let (tensor, shape) = self.push_op(format!("{}_reshape", name_of(node)), Op::Reshape { to }, &[x.tensor])?;
        let order = vec![Axis::N, Axis::H, Axis::W, Axis::C];
        let whole = View { tensor, shape, order, sole: true, flattened_by: None, ..x.clone() };
        whole.transposed(perm).context("transposes axes that are not known")
    }

    /// Dropout, Identity and Cast, which do nothing after training.
    pub fn passed(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let x = self.computed(node, 0)?;
        match node.op_type.as_str() {
            "Cast" => {
                let to = Attributes::of(node, &["to", "saturate"])?.int("to", 0)?;
                let to = i32::try_from(to).unwrap_or_default();
                if is_half(to) && !self.fragment {
                    note_half(&mut self.notes);
                } else {
                    ensure!(is_float(to), "casts to {}: float is supported", type_name(to));
                }
            }
            "Dropout" => {
                Attributes::of(node, &["ratio", "seed", "is_test"])?;
                if let Some(training) = self.optional_constant(node, 2)? {
                    let ratio = self.optional_constant(node, 1)?.and_then(|ratio| ratio.scalar());
                    ensure!(
                        training.whole()? == [0] || ratio == Some(0.0),
                        "drops values in training mode: export the network for inference"
                    );
                }
            }
            _ => drop(Attributes::of(node, &[])?),
        }
        Ok(Value::Computed(x))
    }
}
