//! Networks that cannot be compiled, or contradict themselves: all of it is said by the import, with the layers' names.

use super::super::*;
use super::build::{Model, Operator, Tensor, Value, depthwise, depthwise_int8, relu};
use crate::compile::{Options, Target, compile};

const INT8: i8 = 9;
const UINT8: i8 = 3;

fn quantized(name: &'static str, shape: &[i32], scale: f32) -> Tensor {
    let quantization = Some((vec![scale], vec![0], 0));
    Tensor { name, shape: shape.to_vec(), kind: INT8, quantization, ..Tensor::default() }
}

fn network(tensors: Vec<Tensor>, operators: Vec<Operator>) -> Model {
    let outputs = vec![operators.last().unwrap().outputs[0]];
    Model { tensors, operators, outputs, ..relu() }
}

fn operator(code: i32, inputs: &[i32], output: i32, options: Option<(u8, Vec<(u16, Value)>)>) -> Operator {
    let code = (i8::try_from(code).unwrap(), code);
    Operator { code, inputs: inputs.to_vec(), outputs: vec![output], options, custom: None }
}

fn max_pool(input: i32, output: i32) -> Operator {
    let fields =
        vec![(0, Value::Byte(1)), (1, Value::Int(1)), (2, Value::Int(1)), (3, Value::Int(1)), (4, Value::Int(1))];
    operator(17, &[input], output, Some((5, fields)))
}

/// A conv of 1x1 over a picture of one channel, `[channels, 1, 1, 1]` weights of these scales, and an output of the shape `output`.
fn conv(kind: i8, weights: &[u8], scales: &[f32], output: &[i32]) -> Model {
    let channels = i32::try_from(weights.len()).unwrap();
    let mut kernel = quantized("w", &[channels, 1, 1, 1], 1.0);
    kernel.data = weights.to_vec();
    kernel.quantization = Some((scales.to_vec(), vec![0; scales.len()], 0));
    let mut tensors = vec![quantized("in", &[1, 4, 4, 1], 0.5), kernel, quantized("out", output, 0.5)];
    if kind == 0 {
        tensors.iter_mut().for_each(|tensor| (tensor.kind, tensor.quantization) = (0, None));
        tensors[1].data = super::build::bytes(weights.iter().map(|&w| f32::from(w).to_le_bytes()));
    }
    let fields =
        vec![(0, Value::Byte(1)), (1, Value::Int(1)), (2, Value::Int(1)), (4, Value::Int(1)), (5, Value::Int(1))];
    network(tensors, vec![operator(3, &[0, 1, -1], 2, Some((1, fields)))])
}

fn refusal(model: &Model) -> String {
    import(&model.file(), &ImportOptions::default()).unwrap_err().to_string()
}

fn imported(model: &Model) -> crate::quantize::QuantizedNetwork {
    match import(&model.file(), &ImportOptions::default()).unwrap() {
        Imported::Quantized(network) => *network,
        Imported::Float(_) => panic!("a float network"),
    }
}

#[test]
fn what_the_compiler_would_refuse_is_said_at_once() {
    let softmax = operator(25, &[3], 4, Some((9, vec![(0, Value::Float(1.0))])));
    let concat = operator(2, &[1, 1], 2, Some((10, vec![(0, Value::Int(3))])));
    let model = network(
        vec![
            quantized("in", &[1, 4, 4, 2], 0.5),
            quantized("pool", &[1, 4, 4, 2], 0.25),
            quantized("join", &[1, 4, 4, 4], 0.25),
            quantized("narrow", &[1, 4, 2, 4], 0.25),
            quantized("soft", &[1, 4, 2, 4], 0.1),
        ],
        vec![max_pool(0, 1), concat, max_pool(2, 3), softmax],
    );
    let error = refusal(&model);
    for (reason, layer) in [
        ("MAX_POOL_2D cannot be compiled: its scale and zero point must be those of its input", "'pool'"),
        ("CONCATENATION reads one tensor twice", "'join'"),
        ("MAX_POOL_2D makes a tensor of 4x4x4, but the file says 4x2x4", "'narrow'"),
        ("SOFTMAX cannot be compiled: softmax needs an output scale of 1/256", "'soft'"),
    ] {
        let at = error.find(reason).unwrap_or_else(|| panic!("{reason} in {error}"));
        assert!(error[at..].lines().nth(1).unwrap().contains(layer), "{layer}: {error}");
    }
}

#[test]
fn constants_of_another_length_are_refused() {
    assert_eq!(imported(&conv(INT8, &[1, 2], &[0.1], &[1, 4, 4, 2])).layers.len(), 1);
    for scales in [&[0.1][..], &[0.1, 0.2]] {
        // fewer weights than output channels, then more
        let error = refusal(&conv(INT8, &[1, 2], scales, &[1, 4, 4, 3]));
        assert!(
            error.contains("makes a tensor of 4x4x2, but the file says 4x4x3") && error.contains("'out'"),
            "{error}"
        );
    }
    let error = refusal(&conv(INT8, &[1, 2, 3, 4], &[0.1], &[1, 4, 4, 2]));
    assert!(error.contains("makes a tensor of 4x4x4, but the file says 4x4x2"), "{error}");
    let error = refusal(&conv(INT8, &[1, 2], &[0.1], &[1, 2, 2, 2]));
    assert!(error.contains("makes a tensor of 4x4x2, but the file says 2x2x2"), "{error}");
    for mut model in [depthwise(), depthwise_int8()] {
        model.tensors[3].shape = vec![1];
        model.tensors[3].data.truncate(4);
        model.tensors[3].quantization = None;
        let error = refusal(&model);
        assert!(error.contains("has 1 biases for 2 output channels"), "{error}");
    }
}

#[test]
fn float_networks_are_held_to_the_same() {
    let error = refusal(&conv(0, &[1, 2], &[], &[1, 4, 4, 3]));
    assert!(error.contains("makes a tensor of 4x4x2, but the file says 4x4x3"), "{error}");
    let mut model = depthwise();
    model.tensors[2].shape = vec![1, 3, 3, 3];
    model.tensors[2].data.extend([0; 36]);
    assert!(refusal(&model).contains("has weights of the shape [1, 3, 3, 3]"), "{}", refusal(&model));
}

#[test]
fn only_operators_on_uint8_round_as_uint8() {
    // int8 through a pool, and uint8 of another scale at the end
    let mut model = network(
        vec![
            quantized("in", &[1, 4, 4, 2], 0.5),
            quantized("pool", &[1, 4, 4, 2], 0.5),
            quantized("out", &[1, 4, 4, 2], 0.25),
            quantized("clamp", &[1, 4, 4, 2], 0.2),
        ],
        vec![max_pool(0, 1), operator(114, &[1], 2, None), operator(21, &[2], 3, None)],
    );
    for tensor in &mut model.tensors[2..] {
        (tensor.kind, tensor.quantization) =
            (UINT8, Some((tensor.quantization.as_ref().unwrap().0.clone(), vec![7], 0)));
    }
    let network = imported(&model);
    let unsigned: Vec<bool> = network.layers.iter().map(|layer| layer.unsigned).collect();
    assert_eq!(unsigned, [false, false, true]);
    assert!(network.has_unsigned());
}

#[test]
fn types_are_not_mixed() {
    let mut model = conv(INT8, &[1, 2], &[0.1], &[1, 4, 4, 2]);
    model.tensors[2].kind = UINT8;
    assert!(refusal(&model).contains("takes int8 and makes uint8"), "{}", refusal(&model));
}

#[test]
fn scales_at_the_ends_of_their_range_compile() {
    let pair = |code, scales: [f32; 2]| {
        let mut tensors = vec![quantized("in", &[1, 2, 2, 1], scales[0]), quantized("out", &[1, 2, 2, 1], scales[1])];
        for tensor in &mut tensors {
            tensor.quantization.as_mut().unwrap().1 = vec![5];
        }
        network(tensors, vec![operator(code, &[0], 1, None)])
    };
    let target = Target { lane_bytes: 2, scratch_bytes: 2560, blocks: false, cores: 1 };
    let compiled = |model: &Model| compile(&imported(model), Options::for_target(target)).map_err(|e| e.to_string());
    assert!(compiled(&pair(20, [1e-38, 1e-38])).is_ok()); // RELU_N1_TO_1
    let mut model = pair(19, [1.0, 1.0]);
    model.tensors.push(quantized("join", &[1, 2, 2, 2], 1e-9));
    model.operators.push(operator(2, &[0, 1], 2, Some((10, vec![(0, Value::Int(3))]))));
    model.outputs = vec![2];
    assert!(compiled(&model).is_ok());
}

#[test]
fn a_long_chain_is_planned_in_time() {
    // tried one by one, the gates of 240 layers took a minute
    let layers = 240;
    let tensors = (0..=layers).map(|_| quantized("t", &[1, 16, 4, 4], 0.5)).collect();
    let operators = (0..layers).map(|i| operator(14, &[i], i + 1, None)).collect();
    let network = imported(&network(tensors, operators));
    let names: std::collections::HashSet<_> = network.layers.iter().map(|layer| &layer.node.name).collect();
    assert_eq!(names.len(), 240);
    let target = Target { lane_bytes: 2, scratch_bytes: 2560, blocks: false, cores: 1 };
    assert!(compile(&network, Options::for_target(target)).is_ok());
}
