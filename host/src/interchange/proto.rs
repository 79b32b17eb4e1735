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

pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Float as i32, f, ..AttributeProto::default() }
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

pub(super) fn int64s(name: &str, values: &[i64]) -> TensorProto {
    tensor(name, &[values.len()], DataType::Int64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
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
pub(super) fn window_attributes(
    op: &Op,
    input: Shape,
    window: &Window,
    resolved: &ResolvedWindow,
) -> Vec<AttributeProto> {
    let mut attributes = vec![
        ints("kernel_shape", window.kernel),
        ints("strides", window.stride),
        ints("pads", resolved.pads), // ONNX's order is ours: top, left, bottom, right
    ];
    match op {
        Op::Conv2d { groups, .. } => {
            attributes.push(ints("dilations", window.dilation));
            if *groups != 1 {
                attributes.push(int("group", i64::from(*groups)));
            }
        }
        Op::DepthwiseConv2d { .. } => {
            attributes.push(ints("dilations", window.dilation));
            attributes.push(int("group", i64::from(input.c)));
        }
        Op::AveragePool2d { .. } => attributes.push(int("count_include_pad", 0)),
        _ => {}
    }
    attributes
}

/// Reorders conv2d weights from OHWI to ONNX's OIHW; depthwise weights from `[1, kh, kw, c_out]` to `[c_out, 1, kh, kw]`.
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

/// The way back; the shape is that of the result.
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
