//! The rules that a model file must keep, as small numbers: a program that does not show why a file was refused holds no texts.

#![allow(clippy::inline_always, reason = "the size of a firmware depends on it")]

use super::LoadError;

/// Declares [`Rule`]: each rule with the text that a [`LoadError`] shows.
macro_rules! rules {
    ($($name:ident: $text:literal,)*) => {
        /// A rule that a file breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(not(feature = "blocked"), allow(dead_code, reason = "rules of the layout for PCs"))]
        pub(super) enum Rule {
            $($name,)*
        }

        impl Rule {
            /// What [`LoadError`] says of it.
            #[inline(always)]
            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

rules! {
    OpCount: "op_count",
    Layout: "layout",
    LayoutOfPcs: "layout",
    LaneBytes: "lane_bytes",
    Color: "color",
    ColorChannels: "color: does not match the input's channels",
    Resize: "resize",
    MeanOrStd: "mean or std",
    PixelLut: "pixel_lut",
    Labels: "labels",
    LabelCount: "labels: one for each score is needed",
    Names: "names",
    NameCount: "names: one for each operator is needed",
    OutputRows: "tensors: the output must be held whole",
    TensorShape: "tensor shape",
    TensorRows: "tensor rows",
    TensorScale: "tensor scale or zero_point",
    LastReader: "tensor last_reader",
    Schedule: "more rows and operators than a schedule may have",
    Work: "more work a frame than any device should do",
    Kind: "kind: unknown, or this firmware was built without its kernel",
    Flags: "flags",
    InPlace: "flags: cannot work in place",
    Clamp: "act_min above act_max",
    InputOrder: "inputs: must be made before they are read",
    InputTwice: "inputs: must be two tensors",
    InputCount: "inputs: another number than the operator takes",
    Window: "window of an operator that has none",
    Wide: "window: a padded row or a stride has 2^31 values or more",
    Dilation: "dilation of a pool",
    Groups: "groups",
    WeightZeroPoint: "weight_zero_point",
    TileChannels: "tile_channels",
    TileValues: "tile_values",
    TileScratch: "tile: larger than the scratch memory",
    InputShapes: "inputs: the operator cannot take tensors of these shapes",
    OutputShape: "output shape",
    ReshapeRows: "a reshape's output must be held whole",
    OutputScale: "scale and zero_point must be those of the input",
    SoftmaxScale: "softmax needs an output scale of 1/256 and a zero_point of -128",
    Constants: "weights, bias, multipliers or shifts",
    Factors: "multipliers or shifts",
    SoftmaxShift: "shifts: softmax needs a left shift",
    Accumulators: "accumulators",
    WeightPadding: "weights: the padding of a row must be zero",
    Blocked: "flags: no kernel takes these weights in blocks",
    Blocks: "weights, bias or flags: a block's padding, the sums of its weights, or a weight of -128 where there is said to be none",
    Overflow: "sum of products",
}

/// A rule that is broken, and the operator that breaks it if it is one about operators.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    rule: Rule,
    op: Option<u16>,
}

impl Rule {
    /// A rule about the file.
    pub(super) const fn of_file(self) -> Refusal {
        Refusal { rule: self, op: None }
    }

    /// A rule about an operator.
    pub(super) const fn of_op(self, op: u16) -> Refusal {
        Refusal { rule: self, op: Some(op) }
    }
}

impl Refusal {
    /// The error to show. Inlined, so that it is gone, the texts with it, where nobody looks at the error.
    #[inline(always)]
    pub(super) const fn to_error(self) -> LoadError {
        match (self.op, self.rule) {
            (None, Rule::LayoutOfPcs) => LoadError::Layout,
            (None, rule) => LoadError::Field { what: rule.text() },
            (Some(op), Rule::Overflow) => LoadError::Overflow { op },
            (Some(op), rule) => LoadError::Op { op, what: rule.text() },
        }
    }
}

/// `Ok` when `kept`.
#[inline]
pub(super) const fn ensure(kept: bool, rule: Rule) -> Result<(), Rule> {
    if kept { Ok(()) } else { Err(rule) }
}
