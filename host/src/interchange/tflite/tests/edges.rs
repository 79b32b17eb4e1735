//! Files built for one edge each.

use super::super::*;
use super::build::{Model, Operator, Place, Tensor, Value, bytes, depthwise, depthwise_int8, normalization, relu};

fn error(model: &Model) -> String {
    read(&model.file()).unwrap_err().to_string()
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
    let mut model = depthwise();
    model.tensors[2].signature = vec![-1; 5];
    assert_eq!(error(&model), "tensor 2 'w': has 4 dimensions but a signature of 5");
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
    model.tensors[2].data = bytes([0_i32; 9].map(i32::to_le_bytes));
    model.tensors[2].shape = vec![9];
    assert_eq!(error(&model), "layer 'out' (operator 0, RESHAPE): is told to make 9 dimensions, at most 8 are read");
    model.tensors[2].shape = vec![2];
    model.tensors[2].data = shape([4, 1]);
    assert_eq!(
        error(&model),
        "layer 'out' (operator 0, RESHAPE): is told to make the shape [4, 1], but its output has the shape [2, 2]"
    );
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

#[test]
fn the_normalization_of_the_input_is_found_and_broken_metadata_are_none() {
    let mut model = relu();
    assert_eq!(read(&model.file()).unwrap().normalization, None);
    let whole = normalization(&[127.5, 100.0, 0.0], &[127.5]);
    model.metadata = vec![("min_runtime_version", b"1.5.0".to_vec()), ("TFLITE_METADATA", whole.clone())];
    let expected = Some([vec![127.5, 100.0, 0.0], vec![127.5]]);
    assert_eq!(read(&model.file()).unwrap().normalization, expected);
    for cut in 0..whole.len() {
        model.metadata = vec![("TFLITE_METADATA", whole[..cut].to_vec())];
        let found = read(&model.file()).unwrap().normalization;
        assert!(found.is_none() || found == expected, "cut at {cut}: {found:?}");
    }
}
