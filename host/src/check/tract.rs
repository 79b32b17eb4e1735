//! tract as the judge: ONNX models, whole or a part of them, on values in our layout (H, W, C).

use anyhow::{Context as _, anyhow, bail, ensure};
use prost::Message;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::type_proto;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto};
use tract_onnx::prelude::*;

/// The most that a window reaches beyond a picture, or over it.
const MAX_WINDOW: i64 = 1 << 10;

/// Whether tract takes a model.
pub fn is_runnable(model: &ModelProto) -> bool {
    if check_windows(model).is_err() {
        return false;
    }
    let attempt = std::panic::AssertUnwindSafe(|| -> TractResult<()> {
        onnx().parse(model, None)?.model.into_optimized()?.into_runnable()?;
        Ok(())
    });
    std::panic::catch_unwind(attempt).is_ok_and(|outcome| outcome.is_ok())
}

/// Refuses windows that no classifier has: tract, which trusts the file, would take memory for what they reach over until there is none left.
///
/// # Errors
/// Names the node.
pub fn check_windows(model: &ModelProto) -> anyhow::Result<()> {
    for node in model.graph.iter().flat_map(|graph| &graph.node) {
        for attribute in &node.attribute {
            let is_window = matches!(attribute.name.as_str(), "pads" | "kernel_shape" | "strides" | "dilations");
            let largest = attribute.ints.iter().copied().max().unwrap_or(0);
            ensure!(
                !is_window || largest <= MAX_WINDOW,
                "node '{}' has {} of {largest}: {MAX_WINDOW} is the most that is taken",
                node.name,
                attribute.name
            );
        }
    }
    Ok(())
}

/// A model that tract runs, for one image at a time.
#[derive(Clone, Debug)]
pub struct TractModel {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<Vec<usize>>,
}

/// Reads an ONNX file.
///
/// # Errors
/// When it cannot be read or is no ONNX file.
pub fn read_onnx(path: &Path) -> anyhow::Result<ModelProto> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    ModelProto::decode(bytes.as_slice()).with_context(|| format!("{} is not an ONNX file", path.display()))
}

impl TractModel {
    /// Prepares the part of an ONNX model that leads from value `from` to value `to`.
    ///
    /// # Errors
    /// When there is no such part or tract cannot run it.
    pub fn new(proto: &ModelProto, from: &str, to: &str) -> anyhow::Result<Self> {
        Self::with_inputs(proto, &[from], to)
    }

    /// Prepares the part of an ONNX model that leads from the values `from` to value `to`.
    ///
    /// # Errors
    /// When there is no such part or tract cannot run it.
    pub fn with_inputs(proto: &ModelProto, from: &[&str], to: &str) -> anyhow::Result<Self> {
        let part = cut(proto, from, to)?;
        let infos = part.graph.iter().flat_map(|graph| &graph.input);
        let inputs = infos.map(batch_of_one).collect::<anyhow::Result<Vec<_>>>()?;
        let build = || -> TractResult<Arc<TypedRunnableModel>> {
            let mut model = onnx().parse(&part, None)?.model;
            for (index, (datum, dims)) in inputs.iter().enumerate() {
                model = model.with_input_fact(index, InferenceFact::dt_shape(*datum, dims))?;
            }
            // tract 0.23.9 optimizes what lies between a dequantization and a quantization to a table of single values, a softmax
            // too; quantized networks are therefore run as they are written
            let quantized = part.graph.iter().flat_map(|g| &g.node).any(|node| node.op_type == "DequantizeLinear");
            if quantized { model.into_typed()?.into_runnable() } else { model.into_optimized()?.into_runnable() }
        };
        let plan =
            build().map_err(|e| anyhow!("tract cannot run the part from '{}' to '{to}': {e:#}", from.join("', '")))?;
        Ok(Self { plan, inputs: inputs.into_iter().map(|(_, dims)| dims).collect() })
    }

    /// Runs one image of floats `[h, w, c]`; the result is `[h, w, c]` too.
    ///
    /// # Errors
    /// When tract fails.
    pub fn run_f32(&self, values: &[f32]) -> anyhow::Result<Vec<f32>> {
        self.run(&[values])
    }

    /// Runs one image of int8 values `[h, w, c]`; the result is `[h, w, c]` too.
    ///
    /// # Errors
    /// When tract fails.
    pub fn run_i8(&self, values: &[i8]) -> anyhow::Result<Vec<i8>> {
        self.run(&[values])
    }

    /// Runs int8 values `[h, w, c]`, one slice for each input; the result is `[h, w, c]` too.
    ///
    /// # Errors
    /// When tract fails.
    pub fn run_i8s(&self, values: &[&[i8]]) -> anyhow::Result<Vec<i8>> {
        self.run(values)
    }

    /// Runs one image of floats `[h, w, c]` to int8 values.
    ///
    /// # Errors
    /// When tract fails.
    pub fn run_f32_to_i8(&self, values: &[f32]) -> anyhow::Result<Vec<i8>> {
        self.run(&[values])
    }

    /// Runs int8 values `[h, w, c]` to floats.
    ///
    /// # Errors
    /// When tract fails.
    pub fn run_i8_to_f32(&self, values: &[i8]) -> anyhow::Result<Vec<f32>> {
        self.run(&[values])
    }

    fn run<I: Datum + Copy, O: Datum + Copy>(&self, values: &[&[I]]) -> anyhow::Result<Vec<O>> {
        ensure!(values.len() == self.inputs.len(), "the ONNX file takes {} inputs", self.inputs.len());
        for (values, dims) in values.iter().zip(&self.inputs) {
            let needed = dims.iter().product::<usize>();
            ensure!(values.len() == needed, "the ONNX file takes {dims:?}, got {} values", values.len());
        }
        let run = || -> TractResult<Vec<O>> {
            let mut tensors = tvec!();
            for (&values, dims) in values.iter().zip(&self.inputs) {
                let nchw = match dims[..] {
                    [_, c, h, w] => turn(values, [h * w, c]),
                    _ => values.to_vec(),
                };
                tensors.push(Tensor::from_shape(dims, &nchw)?.into_tvalue());
            }
            let outputs = self.plan.run(tensors)?;
            let output = outputs.first().context("no output")?;
            let values = output.try_as_plain_ram()?.as_slice::<O>()?;
            Ok(match *output.shape() {
                [_, c, h, w] => turn(values, [c, h * w]),
                _ => values.to_vec(),
            })
        };
        run().map_err(|e| anyhow!("tract failed: {e:#}"))
    }
}

/// Transposes `[rows, columns]`.
fn turn<T: Copy>(values: &[T], [rows, columns]: [usize; 2]) -> Vec<T> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

fn value_info<'g>(graph: &'g GraphProto, name: &str) -> Option<&'g ValueInfoProto> {
    graph.input.iter().chain(&graph.value_info).chain(&graph.output).find(|info| info.name == name)
}

/// The part of a graph that computes value `to` from the values `from`.
fn cut(proto: &ModelProto, from: &[&str], to: &str) -> anyhow::Result<ModelProto> {
    let graph = proto.graph.as_ref().context("the ONNX file has no graph")?;
    let mut part = GraphProto { name: graph.name.clone(), ..GraphProto::default() };
    let mut wanted: HashSet<&str> = HashSet::from([to]);
    let mut reached: HashSet<&str> = HashSet::new();
    for node in graph.node.iter().rev() {
        if !node.output.iter().any(|name| wanted.contains(name.as_str()) && !from.contains(&name.as_str())) {
            continue;
        }
        part.node.insert(0, node.clone());
        wanted.extend(node.input.iter().map(String::as_str));
        reached.extend(node.input.iter().map(String::as_str));
    }
    part.initializer = graph.initializer.iter().filter(|t| wanted.contains(t.name.as_str())).cloned().collect();
    for name in from {
        if !reached.contains(name) {
            bail!("the ONNX file has no way from the value '{name}' to the value '{to}'");
        }
        let info = value_info(graph, name).with_context(|| format!("the ONNX file does not say '{name}''s shape"))?;
        part.input.push(info.clone());
    }
    part.output.push(ValueInfoProto { name: to.to_owned(), ..ValueInfoProto::default() });
    Ok(ModelProto { graph: Some(part), ..proto.clone() })
}

/// Longest axis that a value may have.
const MAX_SIDE: i64 = 1 << 20;

/// Type and dimensions of a value for a batch of one.
fn batch_of_one(info: &ValueInfoProto) -> anyhow::Result<(DatumType, Vec<usize>)> {
    use tract_onnx::pb::tensor_proto::DataType;
    let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        bail!("the ONNX file does not say the type of '{}'", info.name);
    };
    let datum = match tensor.elem_type {
        t if t == DataType::Float as i32 => f32::datum_type(),
        t if t == DataType::Int8 as i32 => i8::datum_type(),
        t => bail!("'{}' has the ONNX type {t}, expected float or int8", info.name),
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |s| &s.dim);
    let dims = dims.iter().enumerate().map(|(axis, dim)| match dim.value {
        Some(dimension::Value::DimValue(n)) if (1..=MAX_SIDE).contains(&n) => Ok(n as usize),
        _ if axis == 0 => Ok(1),
        _ => bail!("'{}' has no usable size along axis {axis}", info.name),
    });
    Ok((datum, dims.collect::<anyhow::Result<_>>()?))
}
