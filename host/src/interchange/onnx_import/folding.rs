//! Arithmetic on constants: the shapes that exporters compute, and weights that they turn before use.

use super::attributes::{Attributes, MAX_RANK, axes, axis};
use super::constant::{Constant, Data, elements, type_name};
use anyhow::{Context, bail, ensure};
use std::path::Path;
use std::rc::Rc;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

/// Most elements of a constant that is made of nothing.
const MAX_FILLED: usize = 1 << 16;

/// The value of a node whose inputs are all constants; `None` inputs are left out.
pub fn fold(
    node: &NodeProto,
    inputs: &[Option<Rc<Constant>>],
    opset: i64,
    folder: Option<&Path>,
) -> anyhow::Result<Constant> {
    let input = |index: usize| {
        inputs.get(index).and_then(|input| input.as_deref()).with_context(|| format!("has no input {index}"))
    };
    let attributes = |known: &[&str]| Attributes::of(node, known);
    Ok(match node.op_type.as_str() {
        "Constant" => constant(node, folder)?,
        "Identity" => input(0)?.clone(),
        "Dropout" => {
            let training = inputs.get(2).and_then(Option::as_deref).map(Constant::whole).transpose()?;
            let ratio = inputs.get(1).and_then(Option::as_deref).and_then(Constant::scalar);
            ensure!(
                training.is_none_or(|training| training == [0]) || ratio == Some(0.0),
                "drops values in training mode: export the network for inference"
            );
            input(0)?.clone()
        }
        "Shape" => {
            let x = input(0)?;
            shape_of(&x.dims, attributes(&["start", "end"])?)?
        }
        "Size" => Constant::ints(vec![], vec![input(0)?.len() as i64]),
        "Cast" => cast(input(0)?, attributes(&["to", "saturate"])?.int("to", 1)?)?,
        "Gather" => gather(input(0)?, input(1)?, attributes(&["axis"])?.int("axis", 0)?)?,
        "Concat" => {
            let parts = inputs.iter().flatten().map(Rc::as_ref).collect::<Vec<_>>();
            concat(&parts, attributes(&["axis"])?.int("axis", 0)?)?
        }
        "Reshape" => {
            let zero_is_zero = attributes(&["allowzero"])?.int("allowzero", 0)? != 0;
            let x = input(0)?;
            Constant { dims: reshape(&x.dims, input(1)?.whole()?, zero_is_zero)?, ..x.clone() }
        }
        "Flatten" => {
            let x = input(0)?;
            Constant { dims: flatten(&x.dims, attributes(&["axis"])?.int("axis", 1)?)?, ..x.clone() }
        }
        "Squeeze" | "Unsqueeze" => {
            let x = input(0)?;
            let attribute = attributes(&["axes"])?.ints("axes")?;
            let list = match inputs.get(1).and_then(Option::as_deref) {
                Some(list) => Some(list.whole()?),
                None => attribute,
            };
            let dims = if node.op_type == "Squeeze" { squeeze(&x.dims, list)? } else { unsqueeze(&x.dims, list)? };
            Constant { dims, ..x.clone() }
        }
        "Transpose" => transpose(input(0)?, attributes(&["perm"])?.ints("perm")?)?,
        "Slice" => slice(node, inputs, opset)?,
        "ConstantOfShape" => {
            let dims = input(0)?.whole()?.iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>();
            let dims = dims.context("makes a tensor of a negative dimension")?;
            let count = elements(&dims).filter(|&count| count <= MAX_FILLED && dims.len() <= MAX_RANK);
            let count = count.with_context(|| format!("makes a constant of the shape {dims:?}: too large"))?;
            let value = attributes(&["value"])?.tensor("value")?.map(|value| super::constant::read(value, folder));
            let value = value.transpose()?.unwrap_or_else(|| Constant::floats(vec![1], vec![0.0]));
            ensure!(value.len() == 1, "has a value that is not a single one");
            value.picked(dims, count, |_| 0)
        }
        "Add" | "Sub" | "Mul" | "Div" => pairwise(input(0)?, input(1)?, &node.op_type)?,
        "Max" | "Min" => {
            let (first, others) = inputs.split_first().context("has no input")?;
            let mut best = first.as_deref().context("has no input")?.clone();
            best.stored = None;
            for other in others.iter().flatten() {
                best = pairwise(&best, other, &node.op_type)?;
            }
            best
        }
        "Clip" if opset >= 11 => {
            let mut x = input(0)?.clone();
            x.stored = None;
            for (index, kind) in [(1, "Max"), (2, "Min")] {
                if let Some(bound) = inputs.get(index).and_then(Option::as_deref) {
                    ensure!(bound.len() == 1, "has a bound of the shape {:?}", bound.dims);
                    x = Constant { dims: x.dims.clone(), ..pairwise(&x, &bound.picked(vec![], 1, |_| 0), kind)? };
                }
            }
            x
        }
        "QuantizeLinear" => {
            let zero_point = inputs.get(2).and_then(Option::as_deref);
            let attributes = attributes(&["axis", "saturate", "output_dtype", "block_size"])?;
            quantized(input(0)?, input(1)?, zero_point, attributes)?
        }
        "Neg" | "Sqrt" | "Reciprocal" => single(input(0)?, &node.op_type)?,
        _ => bail!("reads constants only: export the network with its constants folded"),
    })
}

/// What a Constant node holds.
fn constant(node: &NodeProto, folder: Option<&Path>) -> anyhow::Result<Constant> {
    let attributes = Attributes::of(node, &["value", "value_float", "value_floats", "value_int", "value_ints"])?;
    if let Some(tensor) = attributes.tensor("value")? {
        return super::constant::read(tensor, folder);
    }
    if let Some(values) = attributes.floats("value_floats")? {
        return Ok(Constant::floats(vec![values.len()], values.to_vec()));
    }
    if let Some(values) = attributes.ints("value_ints")? {
        return Ok(Constant::ints(vec![values.len()], values.to_vec()));
    }
    if attributes.has("value_float") {
        return Ok(Constant::floats(vec![], vec![attributes.float("value_float", 0.0)?]));
    }
    ensure!(attributes.has("value_int"), "has no value");
    Ok(Constant::ints(vec![], vec![attributes.int("value_int", 0)?]))
}

/// The dimensions of a tensor as a tensor.
pub fn shape_of(dims: &[usize], attributes: Attributes<'_>) -> anyhow::Result<Constant> {
    let rank = dims.len() as i64;
    let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (clamp(attributes.int("start", 0)?), clamp(attributes.int("end", rank)?));
    let part: Vec<i64> = dims.get(start..end).unwrap_or_default().iter().map(|&n| n as i64).collect();
    Ok(Constant::ints(vec![part.len()], part))
}

fn cast(x: &Constant, to: i64) -> anyhow::Result<Constant> {
    let to = i32::try_from(to).ok().and_then(|to| DataType::try_from(to).ok()).unwrap_or(DataType::Undefined);
    let data = match (to, &x.data) {
        (DataType::Float | DataType::Double, Data::Floats(values)) => Data::Floats(values.clone()),
        (DataType::Float | DataType::Double, Data::Ints(values, _)) => {
            Data::Floats(values.iter().map(|&v| v as f32).collect())
        }
        (DataType::Int32 | DataType::Int64, Data::Ints(values, _)) => Data::Ints(values.clone(), to),
        (DataType::Int32 | DataType::Int64, Data::Floats(values)) => {
            Data::Ints(values.iter().map(|&v| v as i64).collect(), to)
        }
        (DataType::Bool, Data::Ints(values, _)) => Data::Ints(values.iter().map(|&v| i64::from(v != 0)).collect(), to),
        _ => bail!("casts a constant to {}", type_name(to as i32)),
    };
    Ok(Constant { dims: x.dims.clone(), data, stored: None })
}

fn gather(x: &Constant, indices: &Constant, along: i64) -> anyhow::Result<Constant> {
    let along = axis(along, x.dims.len())?;
    let side = x.dims[along];
    let picks: Vec<usize> = indices.whole()?.iter().map(|&index| axis(index, side)).collect::<anyhow::Result<_>>()?;
    let inner: usize = x.dims[along + 1..].iter().product();
    let outer: usize = x.dims[..along].iter().product();
    let dims: Vec<usize> = x.dims[..along].iter().chain(&indices.dims).chain(&x.dims[along + 1..]).copied().collect();
    let count = elements(&dims).filter(|&count| count <= x.len().max(MAX_FILLED) && dims.len() <= MAX_RANK);
    let count = count.context("gathers more than there is")?;
    ensure!(count == outer * picks.len() * inner, "gathers more than there is");
    let row = picks.len() * inner;
    Ok(x.picked(dims, count, |at| {
        let (outer, pick, inside) = (at / row.max(1), at % row.max(1) / inner.max(1), at % inner.max(1));
        (outer * side + picks[pick]) * inner + inside
    }))
}

fn concat(parts: &[&Constant], along: i64) -> anyhow::Result<Constant> {
    let first = *parts.first().context("joins nothing")?;
    let along = axis(along, first.dims.len())?;
    let mut dims = first.dims.clone();
    dims[along] = 0;
    for part in parts {
        let fits = part.dims.len() == dims.len() && (0..dims.len()).all(|d| d == along || part.dims[d] == dims[d]);
        ensure!(fits, "joins constants of the shapes {:?} and {:?}", first.dims, part.dims);
        dims[along] += part.dims[along];
    }
    let outer: usize = dims[..along].iter().product();
    let chunk = |part: &Constant| part.len() / outer.max(1);
    let data = match &first.data {
        Data::Floats(_) => {
            let lists = parts.iter().map(|part| part.real()).collect::<anyhow::Result<Vec<_>>>()?;
            let piece = |o: usize, at: usize| &lists[at][o * chunk(parts[at])..(o + 1) * chunk(parts[at])];
            Data::Floats((0..outer).flat_map(|o| (0..parts.len()).flat_map(move |at| piece(o, at).to_vec())).collect())
        }
        Data::Ints(_, kind) => {
            let lists = parts.iter().map(|part| part.whole()).collect::<anyhow::Result<Vec<_>>>()?;
            let piece = |o: usize, at: usize| &lists[at][o * chunk(parts[at])..(o + 1) * chunk(parts[at])];
            let all = (0..outer).flat_map(|o| (0..parts.len()).flat_map(move |at| piece(o, at).to_vec())).collect();
            Data::Ints(all, *kind)
        }
    };
    Ok(Constant { dims, data, stored: None })
}

/// The dimensions that a Reshape makes.
pub fn reshape(dims: &[usize], to: &[i64], zero_is_zero: bool) -> anyhow::Result<Vec<usize>> {
    ensure!(to.len() <= MAX_RANK, "reshapes to {} dimensions", to.len());
    let count = elements(dims).context("reshapes a tensor that is too large")?;
    let mut open = None;
    let mut made = Vec::with_capacity(to.len());
    for (at, &n) in to.iter().enumerate() {
        made.push(match n {
            -1 if open.is_none() => {
                open = Some(at);
                1
            }
            0 if !zero_is_zero => *dims.get(at).with_context(|| format!("keeps dimension {at}, which there is not"))?,
            n => usize::try_from(n).with_context(|| format!("reshapes to {to:?}"))?,
        });
    }
    let known = elements(&made).with_context(|| format!("reshapes {dims:?} to {to:?}"))?;
    if let Some(open) = open {
        ensure!(known > 0 && count.is_multiple_of(known), "cannot reshape {dims:?} to {to:?}");
        made[open] = count / known;
    } else {
        ensure!(known == count, "cannot reshape {dims:?} to {to:?}: the number of values changes");
    }
    Ok(made)
}

/// The dimensions that a Flatten makes.
pub fn flatten(dims: &[usize], at: i64) -> anyhow::Result<Vec<usize>> {
    let rank = dims.len() as i64;
    let at = if at < 0 { at.saturating_add(rank) } else { at };
    ensure!((0..=rank).contains(&at), "flattens from axis {at} of {rank} dimensions");
    let (outer, inner) = dims.split_at(at as usize);
    Ok(vec![outer.iter().product(), inner.iter().product()])
}

/// The dimensions without those of 1 that `list` names, or all of them.
pub fn squeeze(dims: &[usize], list: Option<&[i64]>) -> anyhow::Result<Vec<usize>> {
    let gone = match list {
        Some(list) => axes(list, dims.len())?,
        None => (0..dims.len()).filter(|&d| dims[d] == 1).collect(),
    };
    ensure!(gone.iter().all(|&d| dims[d] == 1), "squeezes axes of {dims:?} that are not 1");
    Ok((0..dims.len()).filter(|d| !gone.contains(d)).map(|d| dims[d]).collect())
}

/// The dimensions with a 1 at each place that `list` names.
pub fn unsqueeze(dims: &[usize], list: Option<&[i64]>) -> anyhow::Result<Vec<usize>> {
    let list = list.context("does not say which axes")?;
    let rank = dims.len() + list.len();
    ensure!(rank <= MAX_RANK, "makes {rank} dimensions");
    let new = axes(list, rank)?;
    let mut old = dims.iter();
    (0..rank)
        .map(|d| if new.contains(&d) { Ok(1) } else { old.next().copied().context("names too few axes") })
        .collect()
}

/// The order of dimensions that a Transpose asks for: reversed where it says nothing.
pub fn permutation(perm: Option<&[i64]>, rank: usize) -> anyhow::Result<Vec<usize>> {
    let Some(perm) = perm else { return Ok((0..rank).rev().collect()) };
    ensure!(perm.len() == rank, "transposes {rank} dimensions by {perm:?}");
    axes(perm, rank)?;
    perm.iter().map(|&d| axis(d, rank)).collect()
}

fn transpose(x: &Constant, perm: Option<&[i64]>) -> anyhow::Result<Constant> {
    let perm = permutation(perm, x.dims.len())?;
    let mut strides = vec![1; x.dims.len()];
    for d in (0..x.dims.len().saturating_sub(1)).rev() {
        strides[d] = strides[d + 1] * x.dims[d + 1];
    }
    let dims: Vec<usize> = perm.iter().map(|&d| x.dims[d]).collect();
    let from = |mut at: usize| {
        let mut place = 0;
        for (&d, &side) in perm.iter().zip(&dims).rev() {
            place += at % side * strides[d];
            at /= side;
        }
        place
    };
    let mut turned = x.picked(dims.clone(), x.len(), from);
    if let Some(stored) = &x.stored {
        let ints = (0..x.len()).map(|at| stored.ints[from(at)]).collect();
        let axis = perm.iter().position(|&d| d == stored.axis).unwrap_or(0);
        turned.stored = Some(Box::new(super::constant::Stored { ints, axis, ..stored.as_ref().clone() }));
    }
    Ok(turned)
}

/// Floats in int8 or uint8: weights of networks that were trained for it.
fn quantized(
    x: &Constant,
    scale: &Constant,
    zero_point: Option<&Constant>,
    attributes: Attributes<'_>,
) -> anyhow::Result<Constant> {
    ensure!(
        attributes.int("block_size", 0)? == 0,
        "quantizes in blocks: one scale, or one an index of an axis, is supported"
    );
    let kind = match (zero_point.map(|zero_point| &zero_point.data), attributes.int("output_dtype", 0)?) {
        (Some(Data::Ints(_, kind)), _) => *kind,
        (Some(Data::Floats(_)), _) => bail!("quantizes to floats: int8 and uint8 are supported"),
        (None, 0) => DataType::Uint8,
        (None, kind) => i32::try_from(kind).ok().and_then(|kind| DataType::try_from(kind).ok()).unwrap_or_default(),
    };
    let (low, high) = match kind {
        DataType::Int8 => (-128, 127),
        DataType::Uint8 => (0, 255),
        other => bail!("quantizes to {}: int8 and uint8 are supported", type_name(other as i32)),
    };
    let (values, scales) = (x.real()?, scale.real()?);
    let zeros = vec![0; scales.len()];
    let zero_points = zero_point.map_or(Ok(zeros.as_slice()), Constant::whole)?;
    ensure!(zero_points.len() == scales.len(), "has {} zero points for {} scales", zero_points.len(), scales.len());
    let (mut count, mut inner) = (1, 1);
    if scales.len() > 1 {
        let along = axis(attributes.int("axis", 1)?, x.dims.len())?;
        (count, inner) = (x.dims[along], x.dims[along + 1..].iter().product());
    }
    ensure!(scales.len() == count, "has {} scales for {count} indices of its axis", scales.len());
    let whole = |(at, &value): (usize, &f32)| {
        let channel = at / inner.max(1) % count.max(1);
        let steps = (value / scales[channel]).round_ties_even();
        (steps as i64).saturating_add(zero_points[channel]).clamp(low, high)
    };
    let values = values.iter().enumerate().map(whole).collect();
    Ok(Constant { dims: x.dims.clone(), data: Data::Ints(values, kind), stored: None })
}

/// A part of a constant.
fn slice(node: &NodeProto, inputs: &[Option<Rc<Constant>>], opset: i64) -> anyhow::Result<Constant> {
    let x = inputs.first().and_then(Option::as_deref).context("has no input")?;
    let list = |index: usize| inputs.get(index).and_then(Option::as_deref).map(Constant::whole).transpose();
    let (starts, ends, along, steps) = if opset < 10 {
        let attributes = Attributes::of(node, &["starts", "ends", "axes"])?;
        (attributes.ints("starts")?, attributes.ints("ends")?, attributes.ints("axes")?, None)
    } else {
        Attributes::of(node, &[])?;
        (list(1)?, list(2)?, list(3)?, list(4)?)
    };
    let (starts, ends) = (starts.context("has no start")?, ends.context("has no end")?);
    let ones = vec![1; starts.len()];
    let steps = steps.unwrap_or(&ones);
    ensure!(steps.len() == starts.len() && !steps.contains(&0), "has the steps {steps:?} for {} starts", starts.len());
    let first: Vec<i64> = (0..starts.len() as i64).collect();
    let along = along.unwrap_or(&first);
    ensure!(starts.len() == ends.len() && along.len() == starts.len(), "has starts, ends and axes of different number");
    axes(along, x.dims.len())?;
    let mut part = x.clone();
    part.stored = None;
    for (((&start, &end), &step), &d) in starts.iter().zip(ends).zip(steps).zip(along) {
        let d = axis(d, part.dims.len())?;
        let side = part.dims[d] as i64;
        let from_front = |at: i64| if at < 0 { at.saturating_add(side) } else { at };
        let stride = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
        let picks: Vec<i64> = if step > 0 {
            (from_front(start).clamp(0, side)..from_front(end).clamp(0, side)).step_by(stride).collect()
        } else {
            let (first, behind) = (from_front(start).clamp(-1, side - 1), from_front(end).clamp(-1, side - 1));
            (behind + 1..=first).rev().step_by(stride).collect()
        };
        part = gather(&part, &Constant::ints(vec![picks.len()], picks), d as i64)?;
    }
    Ok(part)
}

/// Where element `at` of a result of `dims` lies in an operand that is broadcast to it.
fn broadcast_place(operand: &[usize], dims: &[usize], mut at: usize) -> usize {
    let (mut place, mut stride) = (0, 1);
    for (back, &side) in dims.iter().rev().enumerate() {
        let own = operand.len().checked_sub(back + 1).map_or(1, |d| operand[d]);
        if own > 1 {
            place += at % side * stride;
            stride *= own;
        }
        at /= side;
    }
    place
}

/// The shape that two operands are broadcast to.
pub fn broadcast(a: &[usize], b: &[usize]) -> anyhow::Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let side = |dims: &[usize], d: usize| (d + dims.len()).checked_sub(rank).map_or(1, |d| dims[d]);
    (0..rank)
        .map(|d| match (side(a, d), side(b, d)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => bail!("combines the shapes {a:?} and {b:?}"),
        })
        .collect()
}

fn pairwise(a: &Constant, b: &Constant, kind: &str) -> anyhow::Result<Constant> {
    let dims = broadcast(&a.dims, &b.dims)?;
    let count = elements(&dims).filter(|&count| count <= (a.len() + b.len()).max(MAX_FILLED));
    let count = count.with_context(|| format!("makes a constant of the shape {dims:?}: too large"))?;
    let places = |at| (broadcast_place(&a.dims, &dims, at), broadcast_place(&b.dims, &dims, at));
    let data = match (&a.data, &b.data) {
        (Data::Floats(a), Data::Floats(b)) => {
            let of = |x: f32, y: f32| match kind {
                "Add" => x + y,
                "Sub" => x - y,
                "Mul" => x * y,
                // a NaN stays one
                "Max" | "Min" if x.is_nan() || y.is_nan() => f32::NAN,
                "Max" => x.max(y),
                "Min" => x.min(y),
                _ => x / y,
            };
            Data::Floats((0..count).map(places).map(|(i, j)| of(a[i], b[j])).collect())
        }
        (Data::Ints(a, t), Data::Ints(b, _)) => {
            let of = |x: i64, y: i64| match kind {
                "Add" => x.checked_add(y),
                "Sub" => x.checked_sub(y),
                "Mul" => x.checked_mul(y),
                "Max" => Some(x.max(y)),
                "Min" => Some(x.min(y)),
                _ => x.checked_div(y),
            };
            let values: Option<Vec<i64>> = (0..count).map(places).map(|(i, j)| of(a[i], b[j])).collect();
            Data::Ints(values.context("computes a number that does not fit 64 bits")?, *t)
        }
        _ => bail!("combines floats with integers"),
    };
    Ok(Constant { dims, data, stored: None })
}

fn single(x: &Constant, kind: &str) -> anyhow::Result<Constant> {
    let data = match (&x.data, kind) {
        (Data::Floats(values), "Neg") => Data::Floats(values.iter().map(|v| -v).collect()),
        (Data::Floats(values), "Sqrt") => Data::Floats(values.iter().map(|v| v.sqrt()).collect()),
        (Data::Floats(values), _) => Data::Floats(values.iter().map(|v| 1.0 / v).collect()),
        (Data::Ints(values, kind_of), "Neg") => Data::Ints(values.iter().map(|v| v.wrapping_neg()).collect(), *kind_of),
        _ => bail!("takes floats"),
    };
    Ok(Constant { dims: x.dims.clone(), data, stored: None })
}
