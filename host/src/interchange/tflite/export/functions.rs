//! Functions of a single value: TensorFlow Lite's operator where it has one, else a table that GATHER reads.

use super::super::opcodes::code;
use super::graph::{Code, Graph, Scales, kind};
use super::options::{self, Options};
use crate::compile::unary::{lookup_table, rescale_table};
use crate::quantize::QuantParams;
use ocelli::ir::Unary;

/// How a function is written.
pub(super) enum Function {
    /// As an operator that computes it.
    Operator(Code, Options),
    /// As the value for each input, that of -128 first.
    Table(Vec<i8>),
}

impl Function {
    /// The function between two tensors.
    ///
    /// # Errors
    /// When a scale is outside what the arithmetic can take.
    pub fn of(unary: Unary, before: QuantParams, after: QuantParams) -> anyhow::Result<Self> {
        let table = lookup_table(unary, before, after)?;
        let unit = QuantParams { scale: 1.0 / 256.0, zero_point: -128 };
        let both_ways = QuantParams { scale: 1.0 / 128.0, zero_point: 0 };
        let native = match unary {
            Unary::Relu => Some((Code(code::RELU, 2), None)),
            // at two scales TensorFlow Lite rescales, and TensorFlow Lite Micro does not
            Unary::Relu6 if before == after => Some((Code(code::RELU6, 2), None)),
            Unary::LeakyRelu { alpha } => Some((Code(code::LEAKY_RELU, 2), options::leaky_relu(alpha))),
            Unary::Sigmoid if after == unit => Some((Code(code::LOGISTIC, 2), None)),
            Unary::Tanh if after == both_ways => Some((Code(code::TANH, 2), None)),
            Unary::HardSwish => Some((Code(code::HARD_SWISH, 1), None)),
            Unary::Requantize => Some((Code(code::QUANTIZE, 2), None)),
            // TensorFlow Lite Micro has no RELU_N1_TO_1, and nobody has the others
            Unary::Relu6
            | Unary::ReluN1To1
            | Unary::Sigmoid
            | Unary::Tanh
            | Unary::HardSigmoid { .. }
            | Unary::Swish
            | Unary::Clip { .. } => None,
        };
        Ok(native.map_or(Self::Table(table), |(code, options)| Self::Operator(code, options)))
    }

    /// A change of scale before a concatenation.
    ///
    /// # Errors
    /// When a scale is outside what the arithmetic can take.
    pub fn rescale(before: QuantParams, after: QuantParams) -> anyhow::Result<Self> {
        let table = rescale_table(before, after);
        // the two round differently where a value lies in the middle
        let same = lookup_table(Unary::Requantize, before, after)? == table;
        Ok(if same { Self::Operator(Code(code::QUANTIZE, 2), None) } else { Self::Table(table) })
    }

    /// Adds the function of tensor `input`, under a name; returns its output.
    pub fn push(self, graph: &mut Graph, name: &str, input: i32, shape: Vec<i32>, after: QuantParams) -> i32 {
        match self {
            Self::Operator(code, options) => {
                let output = graph.activation(name, shape, after);
                graph.operator(code, &[input], output, options);
                output
            }
            Self::Table(values) => {
                let wide = graph.tensor(&format!("{name}.wide"), shape.clone(), kind::INT32, None);
                graph.operator(Code(code::CAST, 1), &[input], wide, options::widen());
                let offset = graph.int32s(&format!("{name}.offset"), vec![1], &[128], None);
                let index = graph.tensor(&format!("{name}.index"), shape.clone(), kind::INT32, None);
                graph.operator(Code(code::ADD, 1), &[wide, offset], index, options::add(ocelli::ir::Activation::None));
                let of = Scales::from(after);
                let table = graph.int8s(&format!("{name}.table"), vec![256], &values, Some(of));
                let output = graph.activation(name, shape, after);
                graph.operator(Code(code::GATHER, 2), &[table, index], output, options::gather());
                output
            }
        }
    }
}
