//! Reads an operator's options from the table that the schema has for its kind.

use super::error::TfliteError;
use super::flatbuffer::{Field, Scalar, Table};
use super::opcodes::{OpCode, code};
use super::options::{Options, Window};
use super::schema::{FusedActivation, Padding, operator};

/// Why options cannot be: the file is broken there, or they say something that makes no sense.
pub(super) enum OptionsError {
    Broken(TfliteError),
    Senseless(String),
}

impl From<TfliteError> for OptionsError {
    fn from(error: TfliteError) -> Self {
        Self::Broken(error)
    }
}

/// Numbers of the option tables in the schema's union.
pub(super) mod table {
    pub const NONE: u8 = 0;
    pub const CONV_2D: u8 = 1;
    pub const DEPTHWISE_CONV_2D: u8 = 2;
    pub const POOL_2D: u8 = 5;
    pub const FULLY_CONNECTED: u8 = 8;
    pub const SOFTMAX: u8 = 9;
    pub const CONCATENATION: u8 = 10;
    pub const ADD: u8 = 11;
    pub const RESHAPE: u8 = 17;
    pub const MUL: u8 = 21;
    pub const GATHER: u8 = 23;
    pub const REDUCER: u8 = 27;
    pub const SUB: u8 = 28;
    pub const DIV: u8 = 29;
    pub const SQUEEZE: u8 = 30;
    pub const STRIDED_SLICE: u8 = 32;
    pub const SPLIT: u8 = 35;
    pub const CAST: u8 = 37;
    pub const PACK: u8 = 59;
    pub const UNPACK: u8 = 64;
    pub const LEAKY_RELU: u8 = 75;
    pub const SPLIT_V: u8 = 79;
    pub const GELU: u8 = 116;
}

/// The options of `operator`, an operator of kind `code`.
pub(super) fn read(operator: Table<'_, '_>, code: &OpCode) -> Result<Options, OptionsError> {
    let OpCode::Builtin(code) = code else { return Ok(Options::Other) };
    let given = Given::new(operator);
    Ok(match *code {
        code::CONV_2D => {
            let of = given.expect(table::CONV_2D)?;
            let window = Window { dilation: of.pair(5, 4, "dilation", 1)?, ..of.window()? };
            Options::Conv2d { window, activation: of.activation(3)? }
        }
        code::DEPTHWISE_CONV_2D => {
            let of = given.expect(table::DEPTHWISE_CONV_2D)?;
            let window = Window { dilation: of.pair(6, 5, "dilation", 1)?, ..of.window()? };
            let multiplier = of.int(3)?;
            let multiplier = u32::try_from(multiplier)
                .map_err(|_| OptionsError::Senseless(format!("has a depth multiplier of {multiplier}")))?;
            Options::DepthwiseConv2d { window, multiplier, activation: of.activation(4)? }
        }
        code::AVERAGE_POOL_2D | code::MAX_POOL_2D => {
            let of = given.expect(table::POOL_2D)?;
            let (window, kernel) = (of.window()?, of.pair(4, 3, "window", 0)?);
            let activation = of.activation(5)?;
            if *code == code::MAX_POOL_2D {
                Options::MaxPool2d { window, kernel, activation }
            } else {
                Options::AveragePool2d { window, kernel, activation }
            }
        }
        code::FULLY_CONNECTED => {
            let of = given.expect(table::FULLY_CONNECTED)?;
            let shuffled = match of.byte(1)? {
                0 => false,
                1 => true,
                other => return Err(OptionsError::Senseless(format!("has weights of format {other}, unknown here"))),
            };
            Options::FullyConnected { activation: of.activation(0)?, shuffled, keep_num_dims: of.flag(2)? }
        }
        code::SOFTMAX => {
            let beta = given.expect(table::SOFTMAX)?.float(0)?;
            if !(beta.is_finite() && beta > 0.0) {
                return Err(OptionsError::Senseless(format!("has a beta of {beta}, which must be above 0")));
            }
            Options::Softmax { beta }
        }
        code::LEAKY_RELU => {
            let alpha = given.expect(table::LEAKY_RELU)?.float(0)?;
            if !alpha.is_finite() {
                return Err(OptionsError::Senseless(format!("has a slope of {alpha}")));
            }
            Options::LeakyRelu { alpha }
        }
        code::RELU => Options::Relu,
        code::RELU6 => Options::Relu6,
        code::RELU_N1_TO_1 => Options::ReluN1To1,
        code::RELU_0_TO_1 => Options::Relu0To1,
        code::PRELU => Options::Prelu,
        code::GELU => Options::Gelu { approximate: given.expect(table::GELU)?.flag(0)? },
        code::HARD_SWISH => Options::HardSwish,
        code::LOGISTIC => Options::Logistic,
        code::TANH => Options::Tanh,
        code::ADD => {
            let of = given.expect(table::ADD)?;
            Options::Add { activation: of.activation(0)?, pot_scale_int16: of.byte_or(1, 1)? != 0 }
        }
        code::SUB => {
            let of = given.expect(table::SUB)?;
            Options::Sub { activation: of.activation(0)?, pot_scale_int16: of.byte_or(1, 1)? != 0 }
        }
        code::MUL => Options::Mul { activation: given.expect(table::MUL)?.activation(0)? },
        code::DIV => Options::Div { activation: given.expect(table::DIV)?.activation(0)? },
        code::MINIMUM => Options::Minimum,
        code::MAXIMUM => Options::Maximum,
        code::CONCATENATION => {
            let of = given.expect(table::CONCATENATION)?;
            Options::Concatenation { axis: of.int(0)?, activation: of.activation(1)? }
        }
        code::PAD => Options::Pad,
        code::PADV2 => Options::PadV2,
        code::MIRROR_PAD => Options::MirrorPad,
        code::MEAN => Options::Mean { keep_dims: given.expect(table::REDUCER)?.flag(0)? },
        code::SUM => Options::Sum { keep_dims: given.expect(table::REDUCER)?.flag(0)? },
        code::REDUCE_MAX => Options::ReduceMax { keep_dims: given.expect(table::REDUCER)?.flag(0)? },
        code::REDUCE_MIN => Options::ReduceMin { keep_dims: given.expect(table::REDUCER)?.flag(0)? },
        code::RESHAPE => Options::Reshape { new_shape: given.expect(table::RESHAPE)?.ints(0)? },
        code::SQUEEZE => Options::Squeeze { axes: given.expect(table::SQUEEZE)?.ints(0)?.unwrap_or_default() },
        code::EXPAND_DIMS => Options::ExpandDims,
        code::TRANSPOSE => Options::Transpose,
        code::SHAPE => Options::Shape,
        code::PACK => Options::Pack { axis: given.expect(table::PACK)?.int(1)? },
        code::UNPACK => Options::Unpack { axis: given.expect(table::UNPACK)?.int(1)? },
        code::STRIDED_SLICE => {
            let of = given.expect(table::STRIDED_SLICE)?;
            Options::StridedSlice {
                begin_mask: of.int(0)?,
                end_mask: of.int(1)?,
                ellipsis_mask: of.int(2)?,
                new_axis_mask: of.int(3)?,
                shrink_axis_mask: of.int(4)?,
            }
        }
        code::SLICE => Options::Slice,
        code::SPLIT => Options::Split { num_splits: given.expect(table::SPLIT)?.int(0)? },
        code::SPLIT_V => Options::SplitV { num_splits: given.expect(table::SPLIT_V)?.int(0)? },
        code::QUANTIZE => Options::Quantize,
        code::DEQUANTIZE => Options::Dequantize,
        code::CAST => Options::Cast,
        _ => Options::Other,
    })
}

/// The option table that an operator brings. None means that every field has its default.
struct Given<'r, 'a> {
    operator: Table<'r, 'a>,
}

struct Fields<'r, 'a>(Option<Table<'r, 'a>>);

/// Name of a field of an option table in messages.
const NAME: &str = "Operator.builtin_options";

impl<'r, 'a> Given<'r, 'a> {
    fn new(operator: Table<'r, 'a>) -> Self {
        Self { operator }
    }

    /// The fields, when the table is of the `kind` that belongs to the operator or is left out.
    fn expect(&self, kind: u8) -> Result<Fields<'r, 'a>, OptionsError> {
        let given = self.operator.number(operator::BUILTIN_OPTIONS_TYPE, table::NONE)?;
        if given == table::NONE {
            return Ok(Fields(None));
        }
        if given != kind {
            return Err(OptionsError::Senseless(format!(
                "has the options of another operator (table {given}, not {kind})"
            )));
        }
        Ok(Fields(self.operator.table(operator::BUILTIN_OPTIONS)?))
    }
}

impl Fields<'_, '_> {
    fn number<T: Scalar>(&self, id: u16, default: T) -> Result<T, OptionsError> {
        Ok(self.0.map_or(Ok(default), |table| table.number(Field(id, NAME), default))?)
    }

    fn int(&self, id: u16) -> Result<i32, OptionsError> {
        self.number(id, 0)
    }

    fn byte(&self, id: u16) -> Result<u8, OptionsError> {
        self.number(id, 0)
    }

    fn byte_or(&self, id: u16, default: u8) -> Result<u8, OptionsError> {
        self.number(id, default)
    }

    fn float(&self, id: u16) -> Result<f32, OptionsError> {
        self.number(id, 0.0)
    }

    fn flag(&self, id: u16) -> Result<bool, OptionsError> {
        Ok(self.byte(id)? != 0)
    }

    fn ints(&self, id: u16) -> Result<Option<Vec<i32>>, OptionsError> {
        Ok(self.0.map_or(Ok(None), |table| table.numbers(Field(id, NAME)))?)
    }

    fn activation(&self, id: u16) -> Result<FusedActivation, OptionsError> {
        Ok(match self.byte(id)? {
            0 => FusedActivation::None,
            1 => FusedActivation::Relu,
            2 => FusedActivation::ReluN1To1,
            3 => FusedActivation::Relu6,
            4 => FusedActivation::Tanh,
            5 => FusedActivation::SignBit,
            other => return Err(OptionsError::Senseless(format!("has fused activation {other}, unknown here"))),
        })
    }

    /// Padding and stride, which convolutions and pools have in the same fields.
    fn window(&self) -> Result<Window, OptionsError> {
        let padding = match self.byte(0)? {
            0 => Padding::Same,
            1 => Padding::Valid,
            other => return Err(OptionsError::Senseless(format!("has padding {other}, unknown here"))),
        };
        Ok(Window { padding, stride: self.pair(2, 1, "stride", 0)?, dilation: [1, 1] })
    }

    /// Two numbers above 0: for rows and for columns.
    fn pair(&self, rows: u16, columns: u16, what: &str, default: i32) -> Result<[u32; 2], OptionsError> {
        let positive = |id| {
            let value = self.number(id, default)?;
            let positive = u32::try_from(value).ok().filter(|&value| value > 0);
            positive.ok_or_else(|| OptionsError::Senseless(format!("has a {what} of {value}, which must be above 0")))
        };
        Ok([positive(rows)?, positive(columns)?])
    }
}
