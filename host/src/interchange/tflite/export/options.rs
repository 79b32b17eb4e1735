//! What the operators that are written are told beside their tensors: the tables of the schema, by field number.

use super::super::flatbuffer::Field;
use super::super::flatbuffer_write::{Table, Value};
use super::super::options_read::table;
use super::graph::kind;
use ocelli::ir::{Activation, Window};

/// The number of a table in the schema's union, and the table; `None` for operators without options.
pub(super) type Options = Option<(u8, Table)>;

/// The padding of windows that lie inside their input, in the schema.
pub(super) const VALID: u8 = 1;
/// The padding that keeps `out = ceil(n / stride)`, in the schema.
pub(super) const SAME: u8 = 0;

fn of(kind: u8, fields: impl IntoIterator<Item = (u16, Value)>) -> Options {
    let table = fields.into_iter().fold(Table::default(), |table, (id, value)| table.with(Field(id, "options"), value));
    Some((kind, table))
}

const fn fused(activation: Activation) -> Value {
    Value::Byte(match activation {
        Activation::None => 0,
        Activation::Relu => 1,
        Activation::ReluN1To1 => 2,
        Activation::Relu6 => 3,
    })
}

fn int(number: u16) -> Value {
    Value::Int(number.into())
}

pub(super) fn conv_2d(padding: u8, window: &Window, activation: Activation) -> Options {
    let Window { stride, dilation, .. } = *window;
    let fields =
        [Value::Byte(padding), int(stride[1]), int(stride[0]), fused(activation), int(dilation[1]), int(dilation[0])];
    of(table::CONV_2D, (0..).zip(fields))
}

pub(super) fn depthwise_conv_2d(padding: u8, window: &Window, multiplier: i32, activation: Activation) -> Options {
    let Window { stride, dilation, .. } = *window;
    let window = [Value::Byte(padding), int(stride[1]), int(stride[0]), Value::Int(multiplier)];
    let fields = window.into_iter().chain([fused(activation), int(dilation[1]), int(dilation[0])]);
    of(table::DEPTHWISE_CONV_2D, (0..).zip(fields))
}

pub(super) fn pool_2d(padding: u8, window: &Window) -> Options {
    let Window { stride, kernel, .. } = *window;
    let fields = [Value::Byte(padding), int(stride[1]), int(stride[0]), int(kernel[1]), int(kernel[0])];
    of(table::POOL_2D, (0..).zip(fields))
}

pub(super) fn fully_connected(activation: Activation) -> Options {
    of(table::FULLY_CONNECTED, [(0, fused(activation))])
}

pub(super) fn add(activation: Activation) -> Options {
    of(table::ADD, [(0, fused(activation))])
}

pub(super) fn mul(activation: Activation) -> Options {
    of(table::MUL, [(0, fused(activation))])
}

pub(super) fn concatenation(axis: i32) -> Options {
    of(table::CONCATENATION, [(0, Value::Int(axis))])
}

pub(super) fn softmax() -> Options {
    of(table::SOFTMAX, [(0, Value::Float(1.0))])
}

pub(super) fn reshape(to: Vec<i32>) -> Options {
    of(table::RESHAPE, [(0, Value::Ints(to))])
}

/// The axes that are reduced stay, with one element.
pub(super) fn reducer() -> Options {
    of(table::REDUCER, [(0, Value::Byte(1))])
}

pub(super) fn leaky_relu(alpha: f32) -> Options {
    of(table::LEAKY_RELU, [(0, Value::Float(alpha))])
}

/// From int8 to int32.
pub(super) fn widen() -> Options {
    of(table::CAST, [(0, Value::Byte(kind::INT8)), (1, Value::Byte(kind::INT32))])
}

pub(super) fn gather() -> Options {
    of(table::GATHER, [(0, Value::Int(0))])
}
