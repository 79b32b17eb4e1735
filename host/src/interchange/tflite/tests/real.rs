//! Real files, made by TensorFlow 2.21. The expected numbers were taken from them with Google's own readers: the schema's generated
//! Python classes, and `Interpreter.get_tensor_details()` of ai-edge-litert 2.3.0.

use super::super::*;
use super::model;

fn codes(model: &TfliteModel<'_>) -> Vec<String> {
    model.operators.iter().map(|operator| operator.code.to_string()).collect()
}

#[test]
fn mnist_is_read_as_it_was_written() {
    let file = model("mnist_cnn_int8.tflite");
    let model = read(&file).unwrap();
    assert_eq!(model.description, "MLIR Converted.");
    assert_eq!((&model.inputs[..], &model.outputs[..]), (&[0][..], &[19][..]));
    assert_eq!(model.notes, Vec::<String>::new());
    assert_eq!(
        codes(&model),
        [
            "CONV_2D",
            "MAX_POOL_2D",
            "CONV_2D",
            "MAX_POOL_2D",
            "SHAPE",
            "STRIDED_SLICE",
            "PACK",
            "RESHAPE",
            "FULLY_CONNECTED",
            "SOFTMAX"
        ]
    );
    let input = &model.tensors[0];
    assert_eq!(input.name, "serving_default_keras_tensor:0");
    assert_eq!((&input.shape[..], &input.unknown_axes[..]), (&[1, 28, 28, 1][..], &[][..])); // the batch was left open
    assert_eq!((input.kind, &input.data), (TensorType::Int8, &Data::Computed));
    assert_eq!(
        input.quantization,
        Some(TfliteQuantization { scales: vec![0.003_921_569], zero_points: vec![-128], axis: 0 })
    );

    let conv = &model.operators[0];
    let window = Window { padding: Padding::Valid, stride: [1, 1], dilation: [1, 1] };
    assert_eq!((conv.version, &conv.inputs[..]), (3, &[Some(0), Some(9), Some(8)][..]));
    assert_eq!(conv.options, Options::Conv2d { window, activation: FusedActivation::Relu });
    let weights = model.input(conv, 1).unwrap();
    assert_eq!((&weights.shape[..], weights.kind), (&[32, 3, 3, 1][..], TensorType::Int8));
    let quantization = weights.quantization.as_ref().unwrap();
    assert_eq!((quantization.scales.len(), quantization.axis), (32, 0));
    assert!(quantization.zero_points.iter().all(|&zero_point| zero_point == 0));
    assert_eq!(weights.constant().unwrap().len(), 32 * 9);
    let bias = model.input(conv, 2).unwrap();
    assert_eq!((bias.kind, bias.integers().unwrap().len()), (TensorType::Int32, 32));

    let window = Window { stride: [2, 2], ..window };
    let pool = Options::MaxPool2d { window, kernel: [2, 2], activation: FusedActivation::None };
    assert_eq!(model.operators[1].options, pool);
    assert_eq!(model.operators[9].options, Options::Softmax { beta: 1.0 });
    assert_eq!(model.output(&model.operators[9], 0).unwrap().name, "StatefulPartitionedCall_1:0");
}

#[test]
fn the_bias_scale_is_input_scale_times_weight_scale() {
    // the rule of TensorFlow Lite's quantization: it ties three tensors' numbers together, so no list may be read from another's place
    for name in ["mnist_cnn_int8.tflite", "resnet8_made_int8.tflite"] {
        let file = model(name);
        let model = read(&file).unwrap();
        let mut checked = 0;
        for operator in &model.operators {
            if !matches!(operator.options, Options::Conv2d { .. } | Options::FullyConnected { .. }) {
                continue;
            }
            let scales = |index| &model.input(operator, index).unwrap().quantization.as_ref().unwrap().scales;
            let (input, weights, bias) = (scales(0)[0], scales(1), scales(2));
            assert_eq!(weights.len(), bias.len());
            for (weight, bias) in weights.iter().zip(bias) {
                assert!((input * weight / bias - 1.0).abs() < 1e-6, "{name}, {}", operator.name);
                checked += 1;
            }
        }
        assert!(checked >= 106, "{name}: {checked}");
    }
}

#[test]
fn the_shape_arithmetic_of_flatten_goes() {
    let file = model("mnist_cnn_int8.tflite");
    let mut model = read(&file).unwrap();
    assert_eq!(model.simplify(), Ok(3)); // SHAPE, STRIDED_SLICE, PACK
    assert_eq!(
        codes(&model),
        ["CONV_2D", "MAX_POOL_2D", "CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    );
    let reshape = &model.operators[4];
    assert_eq!(reshape.inputs, [Some(13)]);
    assert_eq!(model.output(reshape, 0).unwrap().shape, [1, 1600]);
    assert_eq!(model.simplify(), Ok(0));
    assert_eq!(unsupported(&model, |_, _| Ok(())), []);
}

#[test]
fn residuals_of_resnet_read_two_earlier_tensors() {
    let file = model("resnet8_made_int8.tflite");
    let model = read(&file).unwrap();
    let adds: Vec<_> =
        model.operators.iter().filter(|operator| matches!(operator.options, Options::Add { .. })).collect();
    let inputs: Vec<_> = adds.iter().map(|add| add.inputs.clone()).collect();
    assert_eq!(inputs, [[Some(21), Some(23)], [Some(27), Some(26)], [Some(31), Some(30)]]);
    for add in adds {
        assert_eq!(add.options, Options::Add { activation: FusedActivation::Relu, pot_scale_int16: true });
    }
    let weights: usize = model.tensors.iter().filter_map(|tensor| tensor.constant().map(<[u8]>::len)).sum();
    assert_eq!(weights, 78_744); // lengths of the buffers that its tensors name, summed in Python
}
