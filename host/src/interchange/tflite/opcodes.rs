//! The kinds of operators: the names that the schema gives them.

use super::error::short_name;
use std::fmt;

/// The kind of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OpCode {
    /// One of TensorFlow Lite's own, by its number in the schema.
    Builtin(i32),
    /// An operator that a program brings along, by its name.
    Custom(String),
}

impl OpCode {
    /// Whether the operator runs other subgraphs: a condition, a loop, a call.
    #[must_use]
    pub fn is_control_flow(&self) -> bool {
        matches!(
            self,
            Self::Builtin(code::CALL | code::IF | code::WHILE | code::CALL_ONCE)
                | Self::Builtin(code::STABLEHLO_WHILE | code::STABLEHLO_COMPOSITE | code::STABLEHLO_CASE)
        )
    }
}

impl fmt::Display for OpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom(name) => write!(f, "custom operator '{}'", short_name(name)),
            Self::Builtin(code) => match usize::try_from(*code).ok().and_then(|code| NAMES.get(code)) {
                Some(name) => f.write_str(name),
                None => write!(f, "operator number {code}, unknown here"),
            },
        }
    }
}

/// Numbers of the operators that this reader treats in a way of their own. A test holds them to the list of names.
#[allow(missing_docs)] // the names say it all
pub mod code {
    pub const ADD: i32 = 0;
    pub const AVERAGE_POOL_2D: i32 = 1;
    pub const CONCATENATION: i32 = 2;
    pub const CONV_2D: i32 = 3;
    pub const DEPTHWISE_CONV_2D: i32 = 4;
    pub const DEQUANTIZE: i32 = 6;
    pub const FULLY_CONNECTED: i32 = 9;
    pub const LOGISTIC: i32 = 14;
    pub const MAX_POOL_2D: i32 = 17;
    pub const MUL: i32 = 18;
    pub const RELU: i32 = 19;
    pub const RELU_N1_TO_1: i32 = 20;
    pub const RELU6: i32 = 21;
    pub const RESHAPE: i32 = 22;
    pub const SOFTMAX: i32 = 25;
    pub const TANH: i32 = 28;
    pub const CALL: i32 = 31;
    pub const CUSTOM: i32 = 32;
    pub const PAD: i32 = 34;
    pub const GATHER: i32 = 36;
    pub const BATCH_TO_SPACE_ND: i32 = 37;
    pub const SPACE_TO_BATCH_ND: i32 = 38;
    pub const TRANSPOSE: i32 = 39;
    pub const MEAN: i32 = 40;
    pub const SUB: i32 = 41;
    pub const DIV: i32 = 42;
    pub const SQUEEZE: i32 = 43;
    pub const STRIDED_SLICE: i32 = 45;
    pub const SPLIT: i32 = 49;
    pub const CAST: i32 = 53;
    pub const PRELU: i32 = 54;
    pub const MAXIMUM: i32 = 55;
    pub const MINIMUM: i32 = 57;
    pub const PADV2: i32 = 60;
    pub const SLICE: i32 = 65;
    pub const TRANSPOSE_CONV: i32 = 67;
    pub const EXPAND_DIMS: i32 = 70;
    pub const SUM: i32 = 74;
    pub const SHAPE: i32 = 77;
    pub const REDUCE_MAX: i32 = 82;
    pub const PACK: i32 = 83;
    pub const UNPACK: i32 = 88;
    pub const REDUCE_MIN: i32 = 89;
    pub const LEAKY_RELU: i32 = 98;
    pub const MIRROR_PAD: i32 = 100;
    pub const SPLIT_V: i32 = 102;
    pub const QUANTIZE: i32 = 114;
    pub const HARD_SWISH: i32 = 117;
    pub const IF: i32 = 118;
    pub const WHILE: i32 = 119;
    pub const BATCH_MATMUL: i32 = 126;
    pub const CALL_ONCE: i32 = 129;
    pub const GELU: i32 = 150;
    pub const RELU_0_TO_1: i32 = 152;
    pub const STABLEHLO_WHILE: i32 = 200;
    pub const STABLEHLO_COMPOSITE: i32 = 206;
    pub const STABLEHLO_CASE: i32 = 209;
}

/// Names by number.
#[rustfmt::skip]
const NAMES: [&str; 210] = [
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE",
    "EMBEDDING_LOOKUP", "FLOOR", "FULLY_CONNECTED", "HASHTABLE_LOOKUP", "L2_NORMALIZATION", "L2_POOL_2D",
    "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION", "LSTM", "MAX_POOL_2D", "MUL", "RELU",
    "RELU_N1_TO_1", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX", "SPACE_TO_DEPTH", "SVDF", "TANH",
    "CONCAT_EMBEDDINGS", "SKIP_GRAM", "CALL", "CUSTOM", "EMBEDDING_LOOKUP_SPARSE", "PAD",
    "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER", "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "TRANSPOSE", "MEAN", "SUB",
    "DIV", "SQUEEZE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "STRIDED_SLICE", "BIDIRECTIONAL_SEQUENCE_RNN", "EXP", "TOPK_V2",
    "SPLIT", "LOG_SOFTMAX", "DELEGATE", "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU", "MAXIMUM", "ARG_MAX",
    "MINIMUM", "LESS", "NEG", "PADV2", "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SLICE", "SIN",
    "TRANSPOSE_CONV", "SPARSE_TO_DENSE", "TILE", "EXPAND_DIMS", "EQUAL", "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT",
    "SHAPE", "POW", "ARG_MIN", "FAKE_QUANT", "REDUCE_PROD", "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT",
    "LOGICAL_AND", "LOGICAL_NOT", "UNPACK", "REDUCE_MIN", "FLOOR_DIV", "REDUCE_ANY", "SQUARE", "ZEROS_LIKE", "FILL",
    "FLOOR_MOD", "RANGE", "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU", "SQUARED_DIFFERENCE", "MIRROR_PAD", "ABS",
    "SPLIT_V", "UNIQUE", "CEIL", "REVERSE_V2", "ADD_N", "GATHER_ND", "COS", "WHERE", "RANK", "ELU",
    "REVERSE_SEQUENCE", "MATRIX_DIAG", "QUANTIZE", "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE",
    "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "SCATTER_ND", "SELECT_V2", "DENSIFY", "SEGMENT_SUM",
    "BATCH_MATMUL", "PLACEHOLDER_FOR_GREATER_OP_CODES", "CUMSUM", "CALL_ONCE", "BROADCAST_TO", "RFFT2D", "CONV_3D",
    "IMAG", "REAL", "COMPLEX_ABS", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "REDUCE_ALL",
    "CONV_3D_TRANSPOSE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "BROADCAST_ARGS", "RANDOM_STANDARD_NORMAL",
    "BUCKETIZE", "RANDOM_UNIFORM", "MULTINOMIAL", "GELU", "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1",
    "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_SUM", "ATAN2", "UNSORTED_SEGMENT_MIN", "SIGN",
    "BITCAST", "BITWISE_XOR", "RIGHT_SHIFT", "STABLEHLO_LOGISTIC", "STABLEHLO_ADD", "STABLEHLO_DIVIDE",
    "STABLEHLO_MULTIPLY", "STABLEHLO_MAXIMUM", "STABLEHLO_RESHAPE", "STABLEHLO_CLAMP", "STABLEHLO_CONCATENATE",
    "STABLEHLO_BROADCAST_IN_DIM", "STABLEHLO_CONVOLUTION", "STABLEHLO_SLICE", "STABLEHLO_CUSTOM_CALL",
    "STABLEHLO_REDUCE", "STABLEHLO_ABS", "STABLEHLO_AND", "STABLEHLO_COSINE", "STABLEHLO_EXPONENTIAL",
    "STABLEHLO_FLOOR", "STABLEHLO_LOG", "STABLEHLO_MINIMUM", "STABLEHLO_NEGATE", "STABLEHLO_OR", "STABLEHLO_POWER",
    "STABLEHLO_REMAINDER", "STABLEHLO_RSQRT", "STABLEHLO_SELECT", "STABLEHLO_SUBTRACT", "STABLEHLO_TANH",
    "STABLEHLO_SCATTER", "STABLEHLO_COMPARE", "STABLEHLO_CONVERT", "STABLEHLO_DYNAMIC_SLICE",
    "STABLEHLO_DYNAMIC_UPDATE_SLICE", "STABLEHLO_PAD", "STABLEHLO_IOTA", "STABLEHLO_DOT_GENERAL",
    "STABLEHLO_REDUCE_WINDOW", "STABLEHLO_SORT", "STABLEHLO_WHILE", "STABLEHLO_GATHER", "STABLEHLO_TRANSPOSE",
    "DILATE", "STABLEHLO_RNG_BIT_GENERATOR", "REDUCE_WINDOW", "STABLEHLO_COMPOSITE", "STABLEHLO_SHIFT_LEFT",
    "STABLEHLO_CBRT", "STABLEHLO_CASE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_names() {
        let name = |code| OpCode::Builtin(code).to_string();
        for (number, expected) in [
            (code::ADD, "ADD"),
            (code::AVERAGE_POOL_2D, "AVERAGE_POOL_2D"),
            (code::CONCATENATION, "CONCATENATION"),
            (code::CONV_2D, "CONV_2D"),
            (code::DEPTHWISE_CONV_2D, "DEPTHWISE_CONV_2D"),
            (code::DEQUANTIZE, "DEQUANTIZE"),
            (code::FULLY_CONNECTED, "FULLY_CONNECTED"),
            (code::LOGISTIC, "LOGISTIC"),
            (code::MAX_POOL_2D, "MAX_POOL_2D"),
            (code::MUL, "MUL"),
            (code::RELU, "RELU"),
            (code::RELU_N1_TO_1, "RELU_N1_TO_1"),
            (code::RELU6, "RELU6"),
            (code::RESHAPE, "RESHAPE"),
            (code::SOFTMAX, "SOFTMAX"),
            (code::TANH, "TANH"),
            (code::CALL, "CALL"),
            (code::CUSTOM, "CUSTOM"),
            (code::PAD, "PAD"),
            (code::GATHER, "GATHER"),
            (code::BATCH_TO_SPACE_ND, "BATCH_TO_SPACE_ND"),
            (code::SPACE_TO_BATCH_ND, "SPACE_TO_BATCH_ND"),
            (code::TRANSPOSE, "TRANSPOSE"),
            (code::MEAN, "MEAN"),
            (code::SUB, "SUB"),
            (code::DIV, "DIV"),
            (code::SQUEEZE, "SQUEEZE"),
            (code::STRIDED_SLICE, "STRIDED_SLICE"),
            (code::SPLIT, "SPLIT"),
            (code::CAST, "CAST"),
            (code::PRELU, "PRELU"),
            (code::MAXIMUM, "MAXIMUM"),
            (code::MINIMUM, "MINIMUM"),
            (code::PADV2, "PADV2"),
            (code::SLICE, "SLICE"),
            (code::TRANSPOSE_CONV, "TRANSPOSE_CONV"),
            (code::EXPAND_DIMS, "EXPAND_DIMS"),
            (code::SUM, "SUM"),
            (code::SHAPE, "SHAPE"),
            (code::REDUCE_MAX, "REDUCE_MAX"),
            (code::PACK, "PACK"),
            (code::UNPACK, "UNPACK"),
            (code::REDUCE_MIN, "REDUCE_MIN"),
            (code::LEAKY_RELU, "LEAKY_RELU"),
            (code::MIRROR_PAD, "MIRROR_PAD"),
            (code::SPLIT_V, "SPLIT_V"),
            (code::QUANTIZE, "QUANTIZE"),
            (code::HARD_SWISH, "HARD_SWISH"),
            (code::IF, "IF"),
            (code::WHILE, "WHILE"),
            (code::BATCH_MATMUL, "BATCH_MATMUL"),
            (code::CALL_ONCE, "CALL_ONCE"),
            (code::GELU, "GELU"),
            (code::RELU_0_TO_1, "RELU_0_TO_1"),
            (code::STABLEHLO_WHILE, "STABLEHLO_WHILE"),
            (code::STABLEHLO_COMPOSITE, "STABLEHLO_COMPOSITE"),
            (code::STABLEHLO_CASE, "STABLEHLO_CASE"),
        ] {
            assert_eq!(name(number), expected);
        }
        assert_eq!(name(127), "PLACEHOLDER_FOR_GREATER_OP_CODES"); // counts through to the end of the i8
        assert_eq!(name(209), "STABLEHLO_CASE");
        assert_eq!(name(210), "operator number 210, unknown here");
        assert_eq!(name(-1), "operator number -1, unknown here");
    }
}
