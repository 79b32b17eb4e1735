//! Convolutions, pools and padding.

use super::super::proto::oihw_to_ohwi;
use super::attributes::Attributes;
use super::build::{Builder, StoredWeights, Value, name_of};
use super::constant::{Constant, Stored};
use super::patterns::MIN_POOL;
use super::view::{Axis, View};
use crate::network::LayerWeights;
use anyhow::{Context, bail, ensure};
use ocelli::ir::{Activation, Op, Padding, Window};
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

/// A window over pictures, with what ONNX says of its border.
struct Sliding {
    window: Window,
    /// Cells that a rounding up of the output's size adds below and to the right, beside the padding.
    extra: [u16; 2],
}

impl Builder<'_> {
    pub fn convolution(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let attributes = Attributes::of(node, &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"])?;
        let x = self.computed(node, 0)?;
        let weights = self.constant(node, 1)?;
        let bias = self.optional_constant(node, 2)?;
        let x = self.picture(node, &x)?;
        ensure!(weights.dims.len() == x.dims.len(), "has weights of the shape {:?}", weights.dims);
        let kernel_shape = &weights.dims[2..];
        if let Some(stated) = attributes.ints("kernel_shape")? {
            let agrees = stated.iter().map(|&n| usize::try_from(n).ok()).eq(kernel_shape.iter().map(|&n| Some(n)));
            ensure!(agrees, "states a kernel of {stated:?}, its weights have {:?}", weights.dims);
        }
        let Sliding { window, .. } = sliding(attributes, kernel_shape, &x)?;
        let groups = u32::try_from(attributes.int("group", 1)?).context("has a negative number of groups")?;
        let (c_out, c_in) = (u32::try_from(weights.dims[0])?, x.shape.c);
        ensure!(
            groups > 0 && weights.dims[1] as u64 * u64::from(groups) == u64::from(c_in),
            "has weights of the shape {:?} and {groups} groups for {c_in} channels",
            weights.dims
        );
        let activation = Activation::None;
        let depthwise = groups == c_in && groups > 1;
        let op = if depthwise {
            ensure!(c_out.is_multiple_of(c_in), "makes {c_out} channels of {c_in} groups");
            Op::DepthwiseConv2d { multiplier: c_out / c_in, window, activation }
        } else {
            Op::Conv2d { c_out, window, groups, activation }
        };
        let (tensor, shape) = self.push_op(name_of(node), op, &[x.tensor])?;
        let layout = op.weight_shape(x.shape).context("has no weights")?.map(|n| n as usize);
        self.set_weights(
            layout,
            &weights,
            bias.as_deref(),
            [c_out as usize, 0],
            |values| oihw_to_ohwi(values, layout),
            |values| oihw_to_ohwi(values, layout),
        )?;
        Ok(Value::Computed(self.after_window(&x, tensor, shape)))
    }

    /// The value of a picture's shape that a layer made of the picture `x`.
    fn after_window(&self, x: &View, tensor: usize, shape: ocelli::ir::Shape) -> View {
        let (h, w, c) = (shape.h as usize, shape.w as usize, shape.c as usize);
        let dims = if x.dims.len() == 4 { vec![x.batch, c, h, w] } else { vec![x.batch, c, h * w] };
        let order = vec![Axis::N, Axis::C, Axis::H, Axis::W];
        View { tensor, shape, batch: x.batch, dims, order, sole: true, flattened_by: None }
    }

    /// Gives the last layer its numbers, in our order; `channels` is how many there are and the dimension of the weights for them.
    pub fn set_weights(
        &mut self,
        shape: [usize; 4],
        weights: &Constant,
        bias: Option<&Constant>,
        [channels, channel_dim]: [usize; 2],
        floats: impl Fn(&[f32]) -> Vec<f32>,
        ints: impl Fn(&[i64]) -> Vec<i64>,
    ) -> anyhow::Result<()> {
        let count = shape.iter().product::<usize>();
        ensure!(weights.len() == count, "has weights of the shape {:?}", weights.dims);
        let kernel = floats(weights.real()?);
        let numbers = match bias {
            Some(bias) => {
                ensure!(bias.len() == channels, "has {} biases for {channels} channels", bias.len());
                bias.real()?.to_vec()
            }
            None => vec![0.0; channels],
        };
        let stored = match &weights.stored {
            Some(stored) => {
                ensure!(
                    stored.scales.len() == 1 || stored.axis == channel_dim,
                    "has a scale for each index of axis {} of its weights, which are not the output channels",
                    stored.axis
                );
                Some(stored_weights(stored, bias, &ints)?)
            }
            None => None,
        };
        let last = self.last()?;
        last.weights = Some(LayerWeights { shape, kernel, bias: numbers });
        last.stored = stored;
        Ok(())
    }

    pub fn pool(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let average = node.op_type == "AveragePool";
        let attributes = Attributes::of(
            node,
            &[
                "auto_pad",
                "ceil_mode",
                "count_include_pad",
                "dilations",
                "kernel_shape",
                "pads",
                "storage_order",
                "strides",
            ],
        )?;
        let x = self.computed(node, 0)?;
        let mut x = self.picture(node, &x)?;
        let kernel = attributes.ints("kernel_shape")?.context("has no kernel_shape")?;
        let kernel: Vec<usize> = kernel.iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>()?;
        let Sliding { mut window, extra } = sliding(attributes, &kernel, &x)?;
        let dilated = window.dilation != [1, 1];
        ensure!(
            !dilated || average,
            "is a pool of largest values with dilations {:?}: windows of neighbours are supported",
            window.dilation
        );
        if average && attributes.int("count_include_pad", 0)? != 0 {
            // zeros that count are a padding of their own; what rounding up adds does not count
            let cells = window.resolve(x.shape)?.pads;
            if cells != [0; 4] {
                let (tensor, shape) = self.push_op(format!("{}_pad", name_of(node)), Op::Pad { cells }, &[x.tensor])?;
                x = self.after_window(&x, tensor, shape);
            }
            window.padding = Padding::Valid;
        }
        if extra != [0, 0] {
            let mut pads = window.resolve(x.shape)?.pads;
            for axis in 0..2 {
                pads[axis + 2] = pads[axis + 2].checked_add(extra[axis]).context("has a padding that is too large")?;
            }
            window.padding = Padding::Explicit(pads);
        }
        if dilated {
            ensure!(
                window.resolve(x.shape)?.pads == [0; 4],
                "is a pool with dilations {:?} whose padding does not count: one without padding is supported",
                window.dilation
            );
            let op = Op::DepthwiseConv2d { multiplier: 1, window, activation: Activation::None };
            let (tensor, shape) = self.push_op(name_of(node), op, &[x.tensor])?;
            let layout = op.weight_shape(x.shape).context("has no weights")?.map(|n| n as usize);
            let cells = f32::from(window.kernel[0]) * f32::from(window.kernel[1]);
            let count = layout.iter().product();
            self.spend(count)?;
            let kernel = vec![1.0 / cells; count];
            self.last()?.weights = Some(LayerWeights { shape: layout, kernel, bias: vec![0.0; x.shape.c as usize] });
            return Ok(Value::Computed(self.after_window(&x, tensor, shape)));
        }
        let op = match node.op_type.as_str() {
            "AveragePool" => Op::AveragePool2d { window },
            MIN_POOL => Op::MinPool2d { window },
            _ => Op::MaxPool2d { window },
        };
        let (tensor, shape) = self.push_op(name_of(node), op, &[x.tensor])?;
        Ok(Value::Computed(self.after_window(&x, tensor, shape)))
    }

    pub fn global_pool(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        Attributes::of(node, &[])?;
        let x = self.computed(node, 0)?;
        let x = self.picture(node, &x)?;
        let op = if node.op_type == "GlobalMaxPool" { Op::GlobalMaxPool } else { Op::GlobalAveragePool };
        let (tensor, shape) = self.push_op(name_of(node), op, &[x.tensor])?;
        Ok(Value::Computed(self.after_window(&x, tensor, shape)))
    }

    pub fn pad(&mut self, node: &NodeProto) -> anyhow::Result<Value> {
        let attributes = Attributes::of(node, &["mode", "pads", "value"])?;
        let mode = attributes.text("mode")?.unwrap_or("constant");
        ensure!(mode == "constant", "pads in the mode '{mode}': a constant is supported");
        let value = match self.optional_constant(node, 2)? {
            Some(value) => value.real()?.first().copied().unwrap_or(0.0),
            None => attributes.float("value", 0.0)?,
        };
        ensure!(value.is_finite(), "pads with {value}: finite numbers are supported");
        let x = self.computed(node, 0)?;
        let rank = x.dims.len();
        let list = match self.optional_constant(node, 1)? {
            Some(list) => list.whole()?.to_vec(),
            None => attributes.ints("pads")?.context("has no pads")?.to_vec(),
        };
        let along = match self.optional_constant(node, 3)? {
            Some(axes) => {
                axes.whole()?.iter().map(|&a| super::attributes::axis(a, rank)).collect::<anyhow::Result<_>>()?
            }
            None => (0..rank).collect::<Vec<_>>(),
        };
        ensure!(list.len() == 2 * along.len(), "has {} pads for {} axes", list.len(), along.len());
        if list.iter().all(|&n| n == 0) {
            return Ok(Value::Computed(x));
        }
        let mut cells = [0_u16; 4];
        for (at, &dim) in along.iter().enumerate() {
            let [before, after] = [list[at], list[at + along.len()]];
            if [before, after] == [0, 0] {
                continue;
            }
            let place = [Axis::H, Axis::W].iter().position(|&axis| x.is_axis(dim, axis));
            let place = place.filter(|_| !(x.is_axis(dim, Axis::C) || x.is_axis(dim, Axis::N) && dim == 0));
            let place = place.context("pads another axis than rows and columns")?;
            let cell = |n: i64| u16::try_from(n).context("has a padding that is negative or too large");
            (cells[place], cells[place + 2]) = (cell(before)?, cell(after)?);
        }
        let channels = x.shape.c as usize;
        // another number than zero is the zero of a picture that is less by it
        let x = if value == 0.0 { x } else { self.scaled(node, x, vec![1.0; channels], vec![-value; channels])? };
        let (tensor, shape) = self.push_op(name_of(node), Op::Pad { cells }, &[x.tensor])?;
        let groups = x.groups().context("has values in an order that cannot be padded")?;
        let mut grown = View { tensor, shape, sole: true, flattened_by: None, ..x.clone() };
        for (dim, group) in groups.iter().enumerate() {
            if let [axis @ (Axis::H | Axis::W)] = group.as_slice() {
                grown.dims[dim] = grown.size(*axis);
            }
        }
        ensure!(grown.groups().is_some(), "pads an axis of one");
        if value != 0.0 {
            grown = self.scaled(node, grown, vec![1.0; channels], vec![value; channels])?;
        }
        Ok(Value::Computed(grown))
    }
}

/// Int8 weights in our order; uint8 ones are 128 less.
fn stored_weights(
    stored: &Stored,
    bias: Option<&Constant>,
    reorder: &dyn Fn(&[i64]) -> Vec<i64>,
) -> anyhow::Result<StoredWeights> {
    let offset = match stored.kind {
        DataType::Int8 => 0,
        DataType::Uint8 => 128,
        kind => bail!("has weights of {kind:?}: int8 and uint8 are supported"),
    };
    let zero_point = stored.zero_points.first().copied().unwrap_or(0);
    ensure!(stored.zero_points.iter().all(|&z| z == zero_point), "has weights of several zero points");
    let kernel =
        reorder(&stored.ints).into_iter().map(|v| i8::try_from(v - offset).context("has weights out of range"));
    let bias = bias.and_then(|bias| bias.stored.as_deref());
    let bias = bias.filter(|bias| bias.kind == DataType::Int32 && bias.zero_points.iter().all(|&z| z == 0));
    let bias = bias.map(|bias| (bias.ints.iter().map(|&v| v as i32).collect(), bias.scales.clone()));
    Ok(StoredWeights {
        kernel: kernel.collect::<anyhow::Result<_>>()?,
        zero_point: i32::try_from(zero_point - offset)?,
        scales: stored.scales.clone(),
        bias,
    })
}

/// The window of a convolution or pool over the picture or line `x`.
fn sliding(attributes: Attributes<'_>, kernel: &[usize], x: &View) -> anyhow::Result<Sliding> {
    let spatial = x.dims.len() - 2;
    ensure!(kernel.len() == spatial, "has a kernel of {} dimensions for {spatial}", kernel.len());
    let line_of_rows = spatial == 1 && x.shape.w == 1 && x.shape.h > 1;
    let pair = |values: Vec<usize>, fill: usize| -> anyhow::Result<[u16; 2]> {
        let pair = match values[..] {
            [rows, columns] => [rows, columns],
            [rows] if line_of_rows => [rows, fill],
            [columns] => [fill, columns],
            _ => bail!("has {} numbers for {spatial} dimensions", values.len()),
        };
        Ok([u16::try_from(pair[0])?, u16::try_from(pair[1])?])
    };
    let list = |name: &str, default: i64| -> anyhow::Result<Vec<usize>> {
        let given = attributes.ints(name)?.map_or_else(|| vec![default; spatial], <[i64]>::to_vec);
        ensure!(given.len() == spatial, "has {} {name} for {spatial} dimensions", given.len());
        given.iter().map(|&n| usize::try_from(n).ok().with_context(|| format!("has negative {name}"))).collect()
    };
    let (kernel, stride) = (pair(kernel.to_vec(), 1)?, pair(list("strides", 1)?, 1)?);
    let dilation = pair(list("dilations", 1)?, 1)?;
    let mut window = Window { kernel, stride, dilation, padding: Padding::Valid };
    let auto = attributes.text("auto_pad")?.unwrap_or("NOTSET");
    window.padding = match auto {
        "VALID" => Padding::Valid,
        "SAME_UPPER" => Padding::Same,
        "SAME_LOWER" => {
            // the odd cell goes before
            let [top, left, bottom, right] = Window { padding: Padding::Same, ..window }.resolve(x.shape)?.pads;
            Padding::Explicit([bottom, right, top, left])
        }
        "NOTSET" | "" => {
            let pads = attributes.ints("pads")?.map_or_else(|| vec![0; 2 * spatial], <[i64]>::to_vec);
            ensure!(pads.len() == 2 * spatial, "has {} pads for {spatial} dimensions", pads.len());
            let pads = pads.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>();
            let pads = pads.context("has negative pads")?;
            let (before, after) = pads.split_at(spatial);
            let ([top, left], [bottom, right]) = (pair(before.to_vec(), 0)?, pair(after.to_vec(), 0)?);
            if pads.iter().all(|&n| n == 0) { Padding::Valid } else { Padding::Explicit([top, left, bottom, right]) }
        }
        other => bail!("has auto_pad '{other}'"),
    };
    let mut extra = [0; 2];
    if attributes.int("ceil_mode", 0)? != 0 && matches!(auto, "NOTSET" | "") {
        let resolved = window.resolve(x.shape)?;
        for axis in 0..2 {
            let n = u64::from(if axis == 0 { x.shape.h } else { x.shape.w });
            let [k, s, d] = [kernel[axis], stride[axis], dilation[axis]].map(u64::from);
            let (before, after) = (u64::from(resolved.pads[axis]), u64::from(resolved.pads[axis + 2]));
            let covered = (k - 1) * d + 1;
            let mut out = (n + before + after - covered).div_ceil(s) + 1;
            if (out - 1) * s >= n + before {
                out -= 1; // a window that would begin behind the picture
            }
            let needed = ((out - 1) * s + covered).saturating_sub(n + before + after);
            extra[axis] = u16::try_from(needed)?;
        }
    }
    Ok(Sliding { window, extra })
}
