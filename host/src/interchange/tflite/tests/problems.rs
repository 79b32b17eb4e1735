//! What is mended after reading, and what is told to the user.

use super::super::*;
use super::build::{Model, Operator, Tensor, bytes, depthwise, depthwise_int8};

/// `out = DEPTHWISE_CONV_2D(in, DEQUANTIZE(constant), b)`.
fn weights_behind_a_dequantize(kind: i8, data: Vec<u8>) -> Model {
    let mut model = depthwise();
    model.tensors[2].data.clear();
    let quantization = (kind == 9).then(|| (vec![0.5, 2.0], vec![0, 0], 3));
    model.tensors.push(Tensor {
        name: "small",
        shape: vec![1, 3, 3, 2],
        kind,
        data,
        quantization,
        ..Tensor::default()
    });
    let dequantize = Operator { code: (6, 6), inputs: vec![4], outputs: vec![2], ..Operator::default() };
    model.operators.insert(0, dequantize);
    model
}

#[test]
fn weights_of_16_or_8_bits_become_float_constants() {
    let half = bytes([0x3c00_u16, 0xc000].repeat(9).into_iter().map(u16::to_le_bytes));
    for (model, expected) in [
        (weights_behind_a_dequantize(1, half), [1.0, -2.0]),
        (weights_behind_a_dequantize(9, [6, 253].repeat(9)), [3.0, -6.0]),
    ] {
        let file = model.file();
        let mut model = read(&file).unwrap();
        assert_eq!(model.simplify(), Ok(1));
        assert_eq!(model.operators.len(), 1);
        assert_eq!(model.tensors[2].floats().unwrap(), expected.repeat(9));
        assert_eq!(unsupported(&model, |_, _| Ok(())), []);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let mut model = depthwise_int8();
    // hybrid: float activations, integer weights
    for tensor in &mut model.tensors[..2] {
        (tensor.kind, tensor.quantization) = (0, None);
    }
    model.tensors[3] = depthwise().tensors[3].clone();
    let shape = || vec![1, 3, 3, 2];
    let next = |name, kind| Tensor { name, shape: shape(), kind, ..Tensor::default() };
    model.tensors.extend([next("custom", 0), next("loop", 0), next("half", 1), next("bare", 9), next("end", 9)]);
    let operator = |code, input, output| Operator {
        code: (i8::try_from(code).unwrap_or(127), code),
        inputs: vec![input],
        outputs: vec![output],
        ..Operator::default()
    };
    model.operators.push(Operator { custom: Some("FlexDet"), ..operator(32, 1, 4) });
    model.operators.push(operator(119, 4, 5)); // WHILE
    model.operators.push(operator(53, 5, 6)); // CAST
    model.operators.push(operator(53, 6, 7));
    model.operators.push(operator(19, 7, 8));
    model.outputs = vec![8];
    let file = model.file();
    let model = read(&file).unwrap();
    let supported = |_: &TfliteModel<'_>, operator: &TfliteOperator| match operator.options {
        Options::Other => Err("is not supported".to_owned()),
        _ => Ok(()),
    };
    let problems = unsupported(&model, supported);
    let found: Vec<_> = problems.iter().map(|problem| (&problem.layer[..], &problem.reason[..])).collect();
    assert_eq!(
        found,
        [
            ("out", "is hybrid: its weights are integers, its activations floats (dynamic range quantization)"),
            ("custom", "is not supported"),
            ("loop", "runs another part of the file (control flow)"),
            ("loop", "is not supported"),
            ("half", "has a tensor of float16"),
            ("bare", "has a tensor of float16"),
            ("end", "computes with int8 that have no scale"),
        ]
    );
    assert_eq!(problems[1].code, OpCode::Custom("FlexDet".to_owned()));
    let text = report(&problems);
    assert!(text.contains("custom operator 'FlexDet' is not supported."), "{text}");
    assert!(text.contains("in 'half', 'bare'"), "{text}"); // one reason, two layers
    assert_eq!(text.lines().count(), 12, "{text}");
}

#[test]
fn constants_in_other_forms_are_told() {
    let change = |change: fn(&mut Tensor)| {
        let mut model = depthwise();
        change(&mut model.tensors[2]);
        let file = model.file();
        let model = read(&file).unwrap();
        assert_eq!(model.tensors[2].constant(), None);
        let problems = unsupported(&model, |_, _| Ok(()));
        assert_eq!(problems.len(), 1);
        problems[0].reason.clone()
    };
    assert_eq!(change(|tensor| tensor.sparse = true), "has a constant that is stored as a sparse tensor");
    assert_eq!(change(|tensor| tensor.external = 1), "has a constant that lies in another file");
    let state = change(|tensor| {
        tensor.data.clear();
        tensor.variable = true;
    });
    assert_eq!(state, "keeps a state from run to run");
}
