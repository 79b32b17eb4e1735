//! The shapes that a model file may state, held to the operators' own rule: `Op::infer_shape`.
//!
//! A device checks shapes by a short form of that rule, so that a firmware does not hold the long one. Here random operators are
//! written without the compiler, with the inferred output shape and with others.

use ocelli::ir::{Activation, Op, Padding, Shape, ShapeError, Unary, Window};
use ocelli::model::LoadError;
use ocelli::model::records::{OpRecord, Tensor, kind, padded};
use ocelli::model::write::{ModelFile, OpEntry};
use ocelli::quant::Multiplier;
use ocelli_host::compile::{ring_rows, with_heights};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

const INPUT_SHAPES: &str = "inputs: the operator cannot take tensors of these shapes";
const OUTPUT_SHAPE: &str = "output shape";

/// An operator, its kind in a file, and what it reads.
#[derive(Clone, Debug)]
struct Case {
    kind: u8,
    op: Op,
    inputs: Vec<Shape>,
}

impl Case {
    /// The rule. A dense layer of a file takes the flatten before it upon itself.
    fn inferred(&self) -> Result<Shape, ShapeError> {
        if self.kind == kind::DENSE {
            return self.op.infer_shape(&[Op::Flatten.infer_shape(&self.inputs)?]);
        }
        self.op.infer_shape(&self.inputs)
    }

    /// Whether a file may state this shape, or say it of no operator: what the operator's parameters fix here, a file says by the shape.
    fn may_make(&self, stated: Shape, inferred: Shape) -> bool {
        let free = match self.kind {
            kind::RESHAPE => stated.elements() == inferred.elements(),
            kind::CONV2D | kind::DENSE => stated.c != inferred.c,
            _ => false,
        };
        free || stated == inferred || stated.elements() == Some(0)
    }

    /// A file whose last operator is this one and makes `output`. Nothing has a place in the arena yet.
    fn file(&self, output: Shape) -> ModelFile {
        let first = self.inputs[0];
        let mut file = File { tensors: vec![tensor(first)], ops: Vec::new() };
        let mut record = OpRecord::new(self.kind, 0);
        if let Some(&other) = self.inputs.get(1) {
            // as many values as the second input has, made of the first input and brought into shape
            let flat = Shape::new(1, 1, other.elements().unwrap());
            let dense = Op::Dense { units: flat.c, activation: Activation::None };
            file.push(OpRecord::new(kind::DENSE, 0), &dense, first, flat);
            file.push(OpRecord::new(kind::RESHAPE, 1), &Op::Reshape { to: other }, flat, other);
            record.inputs[1] = 2;
        }
        match self.op {
            Op::Pad { cells } => record.pads = cells,
            Op::Conv2d { groups, .. } => record.groups = u16::try_from(groups).unwrap(),
            Op::DepthwiseConv2d { multiplier, .. } => record.groups = u16::try_from(multiplier).unwrap(),
            _ => {}
        }
        if let Some(window) = self.op.window() {
            (record.kernel, record.stride, record.dilation) = (window.kernel, window.stride, window.dilation);
            record.pads = match (window.resolve(first), window.padding) {
                (Ok(resolved), _) => resolved.pads,
                (_, Padding::Explicit(pads)) => pads,
                _ => [0; 4],
            };
        }
        file.push(record, &self.op, first, output);
        file.end()
    }
}

/// A file that is being written.
struct File {
    tensors: Vec<Tensor>,
    ops: Vec<OpEntry>,
}

impl File {
    /// Adds an operator with weights of zero.
    fn push(&mut self, record: OpRecord, op: &Op, input: Shape, output: Shape) {
        let [kh, kw] = record.kernel.map(usize::from);
        let [c_in, c_out] = [input.c, output.c].map(|c| c as usize);
        let (weights, factors) = match (record.kind, op) {
            (kind::CONV2D, Op::Conv2d { groups, .. }) => {
                (c_out * kh * padded(kw * c_in / (*groups).max(1) as usize), vec![0.5; c_out])
            }
            (kind::DEPTHWISE_CONV2D, _) => (kh * kw * padded(c_out), vec![0.5; c_out]),
            (kind::DENSE, _) => (c_out * padded(input.elements().unwrap() as usize), vec![0.5; c_out]),
            (kind::LOOKUP, _) => (256, Vec::new()),
            (kind::ADD, _) => (0, vec![0.5; 3]),
            (kind::SOFTMAX, _) => (0, vec![f64::from(1 << 18)]),
            (kind::MUL | kind::MEAN, _) => (0, vec![0.5]),
            _ => (0, Vec::new()),
        };
        let biases = if record.kind == kind::LOOKUP || weights == 0 { 0 } else { c_out };
        self.ops.push(OpEntry {
            name: String::new(),
            record,
            weights: vec![0; weights],
            bias: vec![0; biases],
            multipliers: factors.into_iter().map(|real| Multiplier::from_real(real).unwrap()).collect(),
        });
        self.tensors.push(tensor(output));
    }

    fn end(mut self) -> ModelFile {
        let last = self.ops.len() - 1;
        for (index, tensor) in self.tensors.iter_mut().enumerate() {
            let reader = self.ops.iter().rposition(|op| op.record.reads().any(|read| read == index));
            tensor.last_reader = u32::try_from(reader.unwrap_or(last)).unwrap();
        }
        ModelFile {
            tensors: self.tensors,
            ops: self.ops,
            labels: Vec::new(),
            input: None,
            arena_bytes: 0,
            state: 0,
            scratch: [0; 2],
            lane_bytes: 2,
        }
    }
}

/// A tensor held whole, at the scale that a softmax needs.
fn tensor(Shape { h, w, c }: Shape) -> Tensor {
    Tensor { h, w, c, rows: h, offset: 0, last_reader: 0, scale: 1.0 / 256.0, zero_point: -128 }
}

/// What the reader says of the last operator's shapes.
fn refusal(file: &ModelFile) -> &'static str {
    let last = u16::try_from(file.ops.len() - 1).unwrap();
    match file.to_bytes() {
        Err(LoadError::Op { op, what }) if op == last => what,
        other => panic!("not refused for its last operator: {:?}", other.map(|bytes| bytes.len())),
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    (1..=6_u32, 1..=6_u32, 1..=6_u32).prop_map(|(h, w, c)| Shape { h, w, c })
}

/// Windows that often do not fit; one of nothing now and then.
fn windows(dilation: u16) -> impl Strategy<Value = Window> {
    let size = |most: u16| prop_oneof![1 => Just(0), 40 => 1..=most];
    let padding = prop_oneof![
        Just(Padding::Valid),
        Just(Padding::Same),
        [0..=3_u16, 0..=3_u16, 0..=3_u16, 0..=3_u16].prop_map(Padding::Explicit)
    ];
    ([size(4), size(4)], [size(3), size(3)], [1..=dilation, 1..=dilation], padding)
        .prop_map(|(kernel, stride, dilation, padding)| Window { kernel, stride, dilation, padding })
}

/// One input, whatever the operator.
fn of_one(kind: u8, op: Op, input: Shape) -> Case {
    Case { kind, op, inputs: vec![input] }
}

fn windowed() -> impl Strategy<Value = Case> {
    let activation = Activation::None;
    let conv = (windows(3), shapes(), 1..=8_u32, 0..=3_u32).prop_map(move |(window, input, c_out, groups)| {
        of_one(kind::CONV2D, Op::Conv2d { c_out, window, groups, activation }, input)
    });
    let depthwise = (windows(3), shapes(), 0..=3_u32).prop_map(move |(window, input, multiplier)| {
        of_one(kind::DEPTHWISE_CONV2D, Op::DepthwiseConv2d { multiplier, window, activation }, input)
    });
    let pool = (windows(1), shapes(), 0..3_u8).prop_map(|(window, input, which)| match which {
        0 => of_one(kind::MAX_POOL2D, Op::MaxPool2d { window }, input),
        1 => of_one(kind::MIN_POOL2D, Op::MinPool2d { window }, input),
        _ => of_one(kind::AVERAGE_POOL2D, Op::AveragePool2d { window }, input),
    });
    prop_oneof![2 => conv, 2 => depthwise, 3 => pool]
}

fn of_one_input() -> impl Strategy<Value = Case> {
    let activation = Activation::None;
    let plain = (shapes(), select(vec![kind::MEAN, kind::GLOBAL_AVERAGE_POOL, kind::GLOBAL_MAX_POOL, kind::LOOKUP]));
    let plain = plain.prop_map(|(input, kind)| match kind {
        kind::GLOBAL_MAX_POOL => of_one(kind, Op::GlobalMaxPool, input),
        kind::LOOKUP => of_one(kind, Op::Unary(Unary::Tanh), input),
        _ => of_one(kind, Op::GlobalAveragePool, input),
    });
    let softmax = shapes().prop_map(|input| of_one(kind::SOFTMAX, Op::Softmax, input));
    let dense = (shapes(), 1..=9_u32)
        .prop_map(move |(input, units)| of_one(kind::DENSE, Op::Dense { units, activation }, input));
    let pad = (shapes(), [0..=3_u16, 0..=3_u16, 0..=3_u16, 0..=3_u16])
        .prop_map(|(input, cells)| of_one(kind::PAD, Op::Pad { cells }, input));
    let reshape = (shapes(), shapes(), 0..4_u8).prop_map(|(input, any, which)| {
        let Shape { h, w, c } = input;
        let to = match which {
            0 => Shape::new(w, c, h),
            1 => Shape::new(h * w, 1, c),
            2 => Shape::new(1, h * w * c, 1),
            _ => any,
        };
        of_one(kind::RESHAPE, Op::Reshape { to }, input)
    });
    let flatten = shapes().prop_map(|input| of_one(kind::RESHAPE, Op::Flatten, input));
    prop_oneof![3 => plain, 1 => softmax, 1 => dense, 1 => pad, 2 => reshape, 1 => flatten]
}

fn of_two_inputs() -> impl Strategy<Value = Case> {
    let activation = Activation::None;
    let ops =
        vec![(kind::ADD, Op::Add { activation }), (kind::MUL, Op::Mul { activation }), (kind::CONCAT, Op::Concat)];
    (shapes(), shapes(), select(ops), 0..6_u8).prop_map(|(first, any, (kind, op), which)| {
        let other = match which {
            0 | 1 => first,
            2 => Shape { c: any.c, ..first },
            3 => Shape::new(1, 1, first.c),
            4 => Shape { w: any.w, ..first },
            _ => any,
        };
        Case { kind, op, inputs: vec![first, other] }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, rng_seed: RngSeed::Fixed(23), ..ProptestConfig::default() })]

    #[test]
    fn a_file_states_the_shape_that_the_operator_infers_and_no_other(
        case in prop_oneof![3 => windowed(), 2 => of_one_input(), 1 => of_two_inputs()],
        guess in shapes(),
    ) {
        match case.inferred() {
            Ok(shape) => {
                let mut file = case.file(shape);
                let heights = ring_rows(&file).unwrap();
                with_heights(&mut file, &heights).unwrap();
                prop_assert!(file.to_bytes().is_ok(), "{:?}", file.to_bytes());

                let Shape { h, w, c } = shape;
                let others = [(h + 1, w, c), (h - 1, w, c), (h, w + 1, c), (h, w - 1, c), (h, w, c + 1), (h, w, c - 1)];
                let others = others.into_iter().map(|(h, w, c)| Shape { h, w, c }).chain([guess]);
                for other in others.filter(|&other| !case.may_make(other, shape)) {
                    let expected = if case.kind == kind::RESHAPE { INPUT_SHAPES } else { OUTPUT_SHAPE };
                    prop_assert_eq!(refusal(&case.file(other)), expected, "{}", other);
                }
            }
            Err(error) => {
                let output = match case.op {
                    Op::Conv2d { c_out, .. } => Shape { c: c_out, ..guess },
                    Op::Reshape { to } => to,
                    _ => guess,
                };
                let no_groups =
                    matches!(case.op, Op::Conv2d { groups: 0, .. } | Op::DepthwiseConv2d { multiplier: 0, .. });
                let expected = if no_groups { "groups" } else { INPUT_SHAPES };
                prop_assert_eq!(refusal(&case.file(output)), expected, "{}", error);
            }
        }
    }
}
