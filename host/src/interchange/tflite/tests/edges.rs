//! Files built for one edge each.

use super::super::*;
use super::build::{Model, Operator, Place, Tensor, Value, relu};

fn error(model: &Model) -> String {
    read(&model.file()).unwrap_err().to_string()
}

fn bytes<const N: usize>(values: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    values.into_iter().flatten().collect()
}

/// A float DEPTHWISE_CONV_2D over `[1, 5, 5, 2]` with weights (tensor 2) and bias (tensor 3); its options can be changed.
fn depthwise() -> Model {
    let mut model = relu();
    model.tensors[0].shape = vec![1, 5, 5, 2];
    model.tensors[1].shape = vec![1, 3, 3, 2];
    let weights = bytes((0..18_u8).map(|i| f32::from(i).to_le_bytes()));
    model.tensors.push(Tensor { name: "w", shape: vec![1, 3, 3, 2], data: weights, ..Tensor::default() });
    let bias = bytes([1.5_f32, -2.0].map(f32::to_le_bytes));
    model.tensors.push(Tensor { name: "b", shape: vec![2], data: bias, ..Tensor::default() });
    let options =
        vec![(0, Value::Byte(1)), (1, Value::Int(3)), (2, Value::Int(2)), (3, Value::Int(1)), (4, Value::Byte(3))];
    let (code, options) = ((4, 4), Some((2, options)));
    model.operators[0] = Operator { code, options, inputs: vec![0, 2, 3], outputs: vec![1], custom: None };
    model
}

/// The same with int8 weights of two scales, and their bias as converters write it: with the weights' axis.
fn depthwise_int8() -> Model {
    let mut model = depthwise();
    for tensor in &mut model.tensors[..2] {
        (tensor.kind, tensor.quantization) = (9, Some((vec![0.5], vec![-3], 0)));
    }
    let weights = &mut model.tensors[2];
    (weights.kind, weights.data) = (9, (0..18).collect());
    weights.quantization = Some((vec![0.5, 0.25], vec![0, 0], 3));
    let bias = &mut model.tensors[3];
    (bias.kind, bias.data) = (2, bytes([7_i32, -9].map(i32::to_le_bytes)));
    bias.quantization = Some((vec![0.25, 0.125], vec![0, 0], 3));
    model
}

#[test]
fn rows_and_columns_are_not_swapped() {
    let file = depthwise().file();
    let model = read(&file).unwrap();
    let window = Window { padding: Padding::Valid, stride: [2, 3], dilation: [1, 1] }; // stride_w is the schema's first
    let expected = Options::DepthwiseConv2d { window, multiplier: 1, activation: FusedActivation::Relu6 };
    assert_eq!(model.operators[0].options, expected);
    assert_eq!(model.tensors[3].floats().unwrap(), [1.5, -2.0]);
    assert_eq!(model.tensors[2].floats().unwrap()[17], 17.0);
    assert_eq!(model.tensors[0].constant(), None);
}

#[test]
fn a_stray_axis_of_a_bias_is_mended_and_told() {
    let file = depthwise_int8().file();
    let model = read(&file).unwrap();
    let axis = |index: usize| model.tensors[index].quantization.as_ref().unwrap().axis;
    assert_eq!((axis(2), axis(3)), (3, 0));
    assert_eq!(model.notes.len(), 1);
    assert!(model.notes[0].contains("stray quantized_dimension"), "{:?}", model.notes);
    // real = scale * (q - zero_point), the last dimension's channels in turn
    assert_eq!(model.tensors[2].real_values().unwrap()[..4], [0.0, 0.25, 1.0, 0.75]);
    assert_eq!(model.tensors[3].real_values().unwrap(), [1.75, -1.125]);
}

#[test]
fn one_scale_needs_no_axis() {
    let mut model = depthwise_int8();
    model.tensors[2].quantization = Some((vec![0.5], vec![0], 7));
    let file = model.file();
    let model = read(&file).unwrap();
    assert_eq!(model.tensors[2].quantization.as_ref().unwrap().axis, 0);
}

#[test]
fn quantization_that_does_not_fit_is_refused() {
    let with = |quantization| {
        let mut model = depthwise_int8();
        model.tensors[2].quantization = Some(quantization);
        error(&model)
    };
    assert_eq!(with((vec![0.5, 0.25], vec![0, 0], 2)), "tensor 2 'w': has 2 scales for axis 2 of shape [1, 3, 3, 2]");
    assert_eq!(with((vec![0.5, 0.25], vec![0, 0], -1)), "tensor 2 'w': has 2 scales for axis -1 of shape [1, 3, 3, 2]");
    assert_eq!(with((vec![0.5, 0.25], vec![0], 3)), "tensor 2 'w': has 2 scales but 1 zero points");
    assert_eq!(with((vec![f32::NAN], vec![0], 0)), "tensor 2 'w': has a scale of NaN");
    assert_eq!(with((vec![-0.5], vec![0], 0)), "tensor 2 'w': has a scale of -0.5");
    assert_eq!(with((vec![0.5], vec![128], 0)), "tensor 2 'w': has a zero point of 128, outside int8");
    let mut model = depthwise_int8();
    model.tensors[0].quantization = Some((vec![0.0], vec![0], 0)); // an activation's scale divides
    assert_eq!(error(&model), "tensor 0 'in': has a scale of 0");
}

#[test]
fn the_greater_of_both_codes_counts() {
    for (code, expected) in [((19, 0), "RELU"), ((19, 19), "RELU"), ((0, 19), "RELU"), ((127, 150), "GELU")] {
        let mut model = relu();
        model.operators[0].code = code;
        let file = model.file();
        assert_eq!(read(&file).unwrap().operators[0].code.to_string(), expected, "{code:?}");
    }
}

#[test]
fn constants_may_lie_behind_the_flatbuffer() {
    let inside = depthwise();
    let mut behind = depthwise();
    behind.tensors[2].place = Place::Behind;
    behind.tensors[3].place = Place::Behind;
    let (inside, behind) = (inside.file(), behind.file());
    assert_eq!(read(&inside).unwrap().tensors, read(&behind).unwrap().tensors);
    let cut = read(&behind[..behind.len() - 1]).unwrap_err().to_string();
    assert!(cut.contains("buffer.offset") && cut.contains("reaches past the end of the file"), "{cut}");
    let mut past = depthwise();
    past.tensors[3].place = Place::PastTheEnd;
    assert!(error(&past).contains("reaches past the end of the file"));
}

#[test]
fn only_the_first_network_is_read_and_the_user_is_told() {
    let mut model = relu();
    model.subgraphs = 2;
    model.signatures = vec![("serving_default", 0), ("train", 1)];
    let file = model.file();
    assert_eq!(
        read(&file).unwrap().notes,
        [
            "the file holds 2 networks (subgraphs); only the first is read",
            "its function 'train' runs network 1, which is left out"
        ]
    );
    model.subgraphs = 0;
    assert_eq!(error(&model), "the file has no network in it");
}

#[test]
fn an_open_batch_is_one_and_other_open_dimensions_are_told() {
    let mut model = relu();
    model.tensors[0].shape = vec![-1, 4];
    model.tensors[0].signature = vec![-1, 4];
    let file = model.file();
    let read_model = read(&file).unwrap();
    assert_eq!((&read_model.tensors[0].shape[..], &read_model.tensors[0].unknown_axes[..]), (&[1, 4][..], &[][..]));
    model.tensors[0].signature = vec![-1, -1];
    let file = model.file();
    let read_model = read(&file).unwrap();
    assert_eq!(read_model.tensors[0].unknown_axes, [1]);
    let problems = unsupported(&read_model, |_, _| Ok(()));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].reason, "has a tensor whose dimensions [1] are left open");
}

#[test]
fn shapes_and_sizes_that_cannot_be_are_refused() {
    let with = |shape: Vec<i32>| {
        let mut model = depthwise();
        model.tensors[2].shape = shape;
        error(&model)
    };
    assert_eq!(with(vec![1, 3, 3, 1]), "tensor 2 'w': holds 72 bytes, but float32 of shape [1, 3, 3, 1] are 36");
    assert_eq!(with(vec![1, 3, -3, 2]), "tensor 2 'w': has shape [1, 3, -3, 2]");
    assert!(with(vec![i32::MAX; 4]).contains("more than 2147483647 elements"));
    assert_eq!(with(vec![1; 9]), "tensor 2 'w': has 9 dimensions, at most 8 are read");
}

#[test]
fn tensors_are_made_once_and_before_they_are_read() {
    let mut model = relu();
    model.operators[0].inputs = vec![1];
    assert_eq!(error(&model), "layer 'out' (operator 0, RELU): reads tensor 1 'out' before it is made");
    model.operators[0].inputs = vec![2];
    assert_eq!(error(&model), "layer 'out' (operator 0, RELU): names tensor 2, but there are 2");
    model = relu();
    model.operators.push(model.operators[0].clone());
    assert_eq!(
        error(&model),
        "layer 'out' (operator 1, RELU): writes tensor 1 'out', which is an input, a constant or written already"
    );
    model = relu();
    model.operators.clear();
    assert_eq!(error(&model), "tensor 1 'out': is an output of the network, but nothing makes it");
    model.outputs = vec![-1];
    assert_eq!(error(&model), "subgraph.outputs names tensor -1, but there are 2");
}

#[test]
fn a_missing_bias_is_none() {
    let mut model = depthwise();
    model.operators[0].inputs = vec![0, 2, -1];
    let file = model.file();
    let model = read(&file).unwrap();
    assert_eq!(model.operators[0].inputs, [Some(0), Some(2), None]);
    assert!(model.input(&model.operators[0], 2).is_none());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let with = |id: usize, value| {
        let mut model = depthwise();
        let (_, fields) = model.operators[0].options.as_mut().unwrap();
        fields[id].1 = value;
        error(&model)
    };
    let layer = "layer 'out' (operator 0, DEPTHWISE_CONV_2D): ";
    assert_eq!(with(1, Value::Int(0)), format!("{layer}has a stride of 0, which must be above 0"));
    assert_eq!(with(3, Value::Int(-1)), format!("{layer}has a depth multiplier of -1"));
    assert_eq!(with(0, Value::Byte(2)), format!("{layer}has padding 2, unknown here"));
    assert_eq!(with(4, Value::Byte(9)), format!("{layer}has fused activation 9, unknown here"));
    let mut model = depthwise();
    model.operators[0].options = Some((1, Vec::new()));
    assert_eq!(error(&model), format!("{layer}has the options of another operator (table 1, not 2)"));
    model.operators[0].options = None;
    assert_eq!(error(&model), format!("{layer}has a stride of 0, which must be above 0"));
    let mut softmax = relu();
    softmax.operators[0].code = (25, 25);
    softmax.operators[0].options = Some((9, vec![(0, Value::Float(0.0))]));
    assert_eq!(error(&softmax), "layer 'out' (operator 0, SOFTMAX): has a beta of 0, which must be above 0");
}

#[test]
fn a_reshape_must_do_what_it_is_told() {
    let mut model = relu();
    model.operators[0] = Operator { code: (22, 22), inputs: vec![0, 2], outputs: vec![1], ..Operator::default() };
    model.tensors[1].shape = vec![2, 2];
    let shape = |values: [i32; 2]| bytes(values.map(i32::to_le_bytes));
    model.tensors.push(Tensor { name: "to", shape: vec![2], kind: 2, data: shape([-1, 2]), ..Tensor::default() });
    let file = model.file();
    let mut read_model = read(&file).unwrap();
    assert_eq!((read_model.simplify(), &read_model.operators[0].inputs[..]), (Ok(0), &[Some(0)][..]));
    model.tensors[2].data = shape([4, 1]);
    assert_eq!(
        error(&model),
        "layer 'out' (operator 0, RESHAPE): is told to make the shape [4, 1], but its output has the shape [2, 2]"
    );
}

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

#[test]
fn layers_without_a_name_get_one() {
    let mut model = relu();
    model.tensors[1].name = "";
    let file = model.file();
    assert_eq!(read(&file).unwrap().operators[0].name, "relu_0");
}

#[test]
fn other_versions_are_refused() {
    let mut model = relu();
    model.version = 2;
    assert!(error(&model).contains("version 2"));
}
