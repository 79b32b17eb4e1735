//! Tensors, constants and operators of a file that is being made.

use super::super::flatbuffer_write::{Table, Value};
use super::super::schema::{
    METADATA_PREFIX, VERSION, buffer, metadata, model, operator, operator_code, quantization, signature, subgraph,
    tensor, tensor_map,
};
use super::options::Options;
use crate::quantize::QuantParams;
use ocelli::ir::Shape;

/// Numbers of types in the schema.
pub(super) mod kind {
    pub const INT32: u8 = 2;
    pub const INT8: u8 = 9;
}

/// A kind of operator with its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub i32, pub i32);

/// A network that grows by one operator after the other.
#[derive(Debug, Default)]
pub(super) struct Graph {
    tensors: Vec<Table>,
    /// The constants; buffer 0 is none.
    buffers: Vec<Vec<u8>>,
    codes: Vec<Code>,
    operators: Vec<Table>,
}

/// Scales, zero points, and the axis that several of them are for.
#[derive(Clone, Debug)]
pub(super) struct Scales {
    pub scales: Vec<f32>,
    pub zero_point: i32,
    pub axis: i32,
}

impl From<QuantParams> for Scales {
    fn from(params: QuantParams) -> Self {
        Self { scales: vec![params.scale], zero_point: params.zero_point, axis: 0 }
    }
}

/// Dimensions of a tensor of batch 1.
pub(super) fn dims(shape: Shape, flat: bool) -> Vec<i32> {
    let sizes = if flat { vec![1, shape.c] } else { vec![1, shape.h, shape.w, shape.c] };
    sizes.into_iter().map(|n| i32::try_from(n).unwrap_or(i32::MAX)).collect()
}

impl Graph {
    /// Adds a tensor that is fed or computed; returns its number.
    pub fn tensor(&mut self, name: &str, shape: Vec<i32>, kind: u8, scales: Option<Scales>) -> i32 {
        self.push(name, shape, kind, scales, 0)
    }

    /// Adds an int8 activation; returns its number.
    pub fn activation(&mut self, name: &str, shape: Vec<i32>, params: QuantParams) -> i32 {
        self.tensor(name, shape, kind::INT8, Some(params.into()))
    }

    /// Adds a constant of int8 values; returns its number.
    pub fn int8s(&mut self, name: &str, shape: Vec<i32>, values: &[i8], scales: Option<Scales>) -> i32 {
        let buffer = self.buffer(values.iter().map(|v| v.to_le_bytes()[0]).collect());
        self.push(name, shape, kind::INT8, scales, buffer)
    }

    /// Adds a constant of int32 values; returns its number.
    pub fn int32s(&mut self, name: &str, shape: Vec<i32>, values: &[i32], scales: Option<Scales>) -> i32 {
        let buffer = self.buffer(values.iter().flat_map(|v| v.to_le_bytes()).collect());
        self.push(name, shape, kind::INT32, scales, buffer)
    }

    /// Adds an operator.
    pub fn operator(&mut self, code: Code, inputs: &[i32], output: i32, options: Options) {
        let index = self.codes.iter().position(|&other| other == code).unwrap_or_else(|| {
            self.codes.push(code);
            self.codes.len() - 1
        });
        let mut table = Table::default()
            .with(operator::OPCODE_INDEX, Value::Uint(number(index)))
            .with(operator::INPUTS, Value::Ints(inputs.to_vec()))
            .with(operator::OUTPUTS, Value::Ints(vec![output]));
        if let Some((kind, options)) = options {
            table = table
                .with(operator::BUILTIN_OPTIONS_TYPE, Value::Byte(kind))
                .with(operator::BUILTIN_OPTIONS, Value::Table(options));
        }
        self.operators.push(table);
    }

    fn push(&mut self, name: &str, shape: Vec<i32>, kind: u8, scales: Option<Scales>, buffer: u32) -> i32 {
        let mut table = Table::default()
            .with(tensor::SHAPE, Value::Ints(shape))
            .with(tensor::TYPE, Value::Byte(kind))
            .with(tensor::BUFFER, Value::Uint(buffer))
            .with(tensor::NAME, Value::Text(name.to_owned()));
        if let Some(Scales { scales, zero_point, axis }) = scales {
            let zero_points = vec![i64::from(zero_point); scales.len()];
            let numbers = Table::default()
                .with(quantization::SCALE, Value::Floats(scales))
                .with(quantization::ZERO_POINT, Value::Longs(zero_points))
                .with(quantization::QUANTIZED_DIMENSION, Value::Int(axis));
            table = table.with(tensor::QUANTIZATION, Value::Table(numbers));
        }
        self.tensors.push(table);
        i32::try_from(self.tensors.len() - 1).unwrap_or(i32::MAX)
    }

    fn buffer(&mut self, bytes: Vec<u8>) -> u32 {
        self.buffers.push(bytes);
        number(self.buffers.len()) // buffer 0 is none
    }

    /// The whole file: a network from tensor `input` to tensor `output`.
    pub fn finish(mut self, name: &str, input: i32, output: (&str, i32), notes: &[(&str, String)]) -> Table {
        let notes: Vec<Table> = notes
            .iter()
            .map(|(name, text)| {
                let buffer = self.buffer(text.as_bytes().to_vec());
                Table::default()
                    .with(metadata::NAME, Value::Text(format!("{METADATA_PREFIX}{name}")))
                    .with(metadata::BUFFER, Value::Uint(buffer))
            })
            .collect();
        let codes = self.codes.iter().map(|&Code(code, version)| {
            let old = u8::try_from(code.min(127)).unwrap_or(127); // readers from before 2020 know no other field
            Table::default()
                .with(operator_code::DEPRECATED_BUILTIN_CODE, Value::Byte(old))
                .with(operator_code::VERSION, Value::Int(version))
                .with(operator_code::BUILTIN_CODE, Value::Int(code))
        });
        let graph = Table::default()
            .with(subgraph::TENSORS, Value::Tables(self.tensors))
            .with(subgraph::INPUTS, Value::Ints(vec![input]))
            .with(subgraph::OUTPUTS, Value::Ints(vec![output.1]))
            .with(subgraph::OPERATORS, Value::Tables(self.operators))
            .with(subgraph::NAME, Value::Text(name.to_owned()));
        let end = |name: &str, tensor: i32| {
            let tensor = Value::Uint(u32::try_from(tensor).unwrap_or_default());
            let map = Table::default().with(tensor_map::NAME, Value::Text(name.to_owned()));
            Value::Tables(vec![map.with(tensor_map::TENSOR_INDEX, tensor)])
        };
        // the function that TensorFlow's own tools look for
        let function = Table::default()
            .with(signature::INPUTS, end(crate::network::INPUT, input))
            .with(signature::OUTPUTS, end(output.0, output.1))
            .with(signature::KEY, Value::Text("serving_default".to_owned()))
            .with(signature::SUBGRAPH_INDEX, Value::Uint(0));
        let constant = |bytes: Vec<u8>| Table::default().with(buffer::DATA, Value::Bytes(bytes));
        let buffers = std::iter::once(Table::default()).chain(self.buffers.into_iter().map(constant));
        Table::default()
            .with(model::VERSION, Value::Uint(VERSION))
            .with(model::OPERATOR_CODES, Value::Tables(codes.collect()))
            .with(model::SUBGRAPHS, Value::Tables(vec![graph]))
            .with(model::DESCRIPTION, Value::Text(concat!("Ocelli ", env!("CARGO_PKG_VERSION")).to_owned()))
            .with(model::METADATA, Value::Tables(notes))
            .with(model::SIGNATURE_DEFS, Value::Tables(vec![function]))
            .with(model::BUFFERS, Value::Tables(buffers.collect()))
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
