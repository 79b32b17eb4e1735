//! Small constructors for ONNX's protobuf messages.

use ocelli::ir::{Op, ResolvedWindow, Shape, Window};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

/// Name of the batch dimension.
const BATCH: &str = "N";

/// An operator set that has per-axis quantization and is read by every current runtime.
const OPSET: i64 = 13;

pub(super) fn node(op_type: &str, name: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op_type.to_owned(),
        name: name.to_owned(),
        input: inputs.iter().map(|&s| s.to_owned()).collect(),
        output: vec![name.to_owned()],
        attribute,
        ..NodeProto::default()
    }
}

pub(super) fn ints(name: &str, values: impl IntoIterator<Item = impl Into<i64>>) -> AttributeProto {
    let ints = values.into_iter().map(Into::into).collect();
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

/// A constant tensor; `raw` holds little-endian values of type `data_type`.
pub(super) fn tensor(name: &str, dims: &[usize], data_type: DataType, raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: data_type as i32,
        raw_data: raw,
        ..TensorProto::default()
    }
}

pub(super) fn floats(name: &str, dims: &[usize], values: impl IntoIterator<Item = f32>) -> TensorProto {
    tensor(name, dims, DataType::Float, values.into_iter().flat_map(f32::to_le_bytes).collect())
}

pub(super) fn int8s(name: &str, dims: &[usize], values: impl IntoIterator<Item = i8>) -> TensorProto {
    tensor(name, dims, DataType::Int8, values.into_iter().map(|v| v.to_le_bytes()[0]).collect())
}

pub(super) fn int32s(name: &str, dims: &[usize], values: impl IntoIterator<Item = i32>) -> TensorProto {
    tensor(name, dims, DataType::Int32, values.into_iter().flat_map(i32::to_le_bytes).collect())
}

/// A value of a batch of `dims` (without the batch).
pub(super) fn value(name: &str, data_type: DataType, dims: &[u32]) -> ValueInfoProto {
    let size = dims.iter().map(|&d| dimension::Value::DimValue(i64::from(d)));
    let dim = std::iter::once(dimension::Value::DimParam(BATCH.to_owned()))
        .chain(size)
        .map(|value| Dimension { value: Some(value), ..Dimension::default() })
        .collect();
    let tensor = type_proto::Tensor { elem_type: data_type as i32, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.to_owned(), r#type, ..ValueInfoProto::default() }
}

/// Dimensions of a value without the batch: `[c, h, w]`, or `[c]` behind a flatten.
pub(super) fn dims(shape: Shape, flat: bool) -> Vec<u32> {
    if flat { vec![shape.c] } else { vec![shape.c, shape.h, shape.w] }
}

/// Follows the rank of the running value: a picture `[N, C, H, W]`, or flat `[N, C]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    /// Whether the value is `[N, C]`.
    pub flat: bool,
}

impl Rank {
    /// Of the input of a network: `[N, C]` when its first operator takes no picture.
    pub fn of_input(first: Option<&Op>) -> Self {
        Self { flat: matches!(first, Some(Op::Dense { .. } | Op::Softmax)) }
    }

    /// Makes the value flat where `op` needs that; a picture is first turned to H, W, C order, ours. Returns the name of the value
    /// that `op` is to read.
    pub fn prepare(&mut self, graph: &mut GraphProto, op: &Op, input: Shape, name: &str, before: &str) -> String {
        if self.flat || op.window().is_some() {
            return before.to_owned();
        }
        let mut before = before.to_owned();
        if (input.h, input.w) != (1, 1) {
            let turned = format!("{name}.nhwc");
            graph.node.push(node("Transpose", &turned, &[&before], vec![ints("perm", [0_i64, 2, 3, 1])]));
            before = turned;
        }
        self.flat = true;
        if *op == Op::Flatten {
            return before; // it makes the value flat itself
        }
        let flattened = format!("{name}.flat");
        graph.node.push(node("Flatten", &flattened, &[&before], vec![int("axis", 1)]));
        flattened
    }
}

pub(super) fn model(graph: GraphProto, metadata: &[(&str, String)]) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "ocelli".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        metadata_props: metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto { key: (*key).to_owned(), value: value.clone() })
            .collect(),
        ..ModelProto::default()
    }
}

/// The attributes of a convolution or pool.
pub(super) fn window_attributes(op: &Op, window: &Window, resolved: &ResolvedWindow) -> Vec<AttributeProto> {
    let mut attributes = vec![
        ints("kernel_shape", window.kernel),
        ints("strides", window.stride),
        ints("pads", resolved.pads), // ONNX's order is ours: top, left, bottom, right
    ];
    match op {
        Op::Conv2d { .. } => attributes.push(ints("dilations", window.dilation)),
        Op::AveragePool2d { .. } => attributes.push(int("count_include_pad", 0)),
        _ => {}
    }
    attributes
}

/// Reorders conv2d weights from OHWI to ONNX's OIHW.
pub(super) fn ohwi_to_oihw<T: Copy>(values: &[T], [o, h, w, i]: [usize; 4]) -> Vec<T> {
    let mut out = Vec::with_capacity(values.len());
    for oo in 0..o {
        for ii in 0..i {
            for cell in 0..h * w {
                out.push(values[(oo * h * w + cell) * i + ii]);
            }
        }
    }
    out
}

/// Reorders conv2d weights from ONNX's OIHW to OHWI, the shape of the result.
pub(super) fn oihw_to_ohwi<T: Copy>(values: &[T], [o, h, w, i]: [usize; 4]) -> Vec<T> {
    // the same turn with the roles of cells and channels exchanged
    ohwi_to_oihw(values, [o, i, 1, h * w])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_turn_as_documented_and_back() {
        let shape @ [o, h, w, i] = [2, 3, 4, 5];
        let ohwi: Vec<usize> = (0..o * h * w * i).collect();
        let oihw = ohwi_to_oihw(&ohwi, shape);
        let at = |oo: usize, ii: usize, y: usize, x: usize| oihw[((oo * i + ii) * h + y) * w + x];
        assert_eq!(at(1, 4, 2, 3), ((h + 2) * w + 3) * i + 4);
        assert_eq!(oihw_to_ohwi(&oihw, shape), ohwi);
    }
}
