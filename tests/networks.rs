//! Whole networks from .tflite files against recorded outputs of TensorFlow Lite Micro, byte for byte, on the host and on boards.

use crate::support::{device_toolchain, repository};
use ocelli_firmware_tools::fit::{Memory, TooLarge};
use ocelli_firmware_tools::{BenchError, BuildError};
use ocelli_host::check::golden::{
    Golden, Pair, first_difference, first_differing_layer, host_outputs, outputs_of_board, read_network, up_to,
};
use ocelli_host::compile::{Options, Target, compile, planned};
use ocelli_host::quantize::QuantizedNetwork;

/// Networks of tests/models with recorded outputs.
const NETWORKS: [&str; 6] = [
    "branches_int8",
    "gated_int8",
    "mnist_cnn_int8",
    "mobile_uint8",
    "mobilenet_v1_025_96_made_int8",
    "resnet8_made_int8",
];

fn network(name: &str) -> (QuantizedNetwork, Vec<Pair>) {
    let path = |end: &str| repository(&format!("tests/models/{name}.{end}"));
    let network = read_network(&path("tflite")).unwrap();
    let pairs = Golden::read(&path("golden.json")).unwrap().pairs(&network).unwrap();
    (network, pairs)
}

#[test]
fn the_host_gives_every_recorded_byte() {
    for name in NETWORKS {
        let (network, pairs) = network(name);
        let model = compile(&network, Options::for_target(Target::HOST)).unwrap();
        assert_eq!(first_difference(&pairs, &host_outputs(&model, &pairs).unwrap()).unwrap(), None, "{name}");
    }
}

#[test]
fn boards_give_every_recorded_byte() {
    // ResNet-8 on the micro:bit: 16 KB of RAM, stack and all
    let runs = [
        ("qemu-microbit", "resnet8_made_int8"),
        ("qemu-m0plus", "gated_int8"),
        ("qemu-m3", "branches_int8"),
        ("qemu-m4", "mnist_cnn_int8"),
        ("qemu-m4", "mobile_uint8"),
        ("qemu-m7", "mobilenet_v1_025_96_made_int8"),
        ("qemu-m0plus", "mobilenet_v1_025_96_made_int8"),
        ("qemu-m33", "resnet8_made_int8"),
        ("qemu-rv32", "branches_int8"),
    ];
    for (board, name) in runs {
        let Some((board, _)) = device_toolchain(board) else { continue };
        let (network, pairs) = network(name);
        let model = compile(&network, Options::for_target(Target::of(board))).unwrap();
        let outputs = outputs_of_board(board, &model, &pairs).unwrap();
        assert_eq!(first_difference(&pairs, &outputs).unwrap(), None, "{name} on {}", board.name);
    }
}

#[test]
fn the_layer_that_a_board_gets_wrong_is_named() {
    let (network, pairs) = network("resnet8_made_int8");
    let options = Options::for_target(Target::HOST);
    let wrong = &network.layers[4].node.name;
    // a device that adds one to what every part of the network gives from the fifth layer on
    let mut runs = 0;
    let found = first_differing_layer(&network, options, &pairs[..2], |model| {
        let mut outputs = host_outputs(model, &pairs[..2])?;
        runs += 1;
        if runs > 4 {
            outputs[0][0] = outputs[0][0].wrapping_add(1);
        }
        Ok(outputs)
    });
    assert_eq!(found.unwrap().as_ref(), Some(wrong));
}

#[test]
fn a_part_of_a_network_computes_what_the_whole_does() {
    let (network, pairs) = network("gated_int8");
    let last = network.layers.len() - 1;
    let options = Options::for_target(Target::HOST);
    assert_eq!(up_to(&network, last).layers, network.layers);
    let whole = host_outputs(&compile(&network, options).unwrap(), &pairs).unwrap();
    let part = host_outputs(&compile(&up_to(&network, last), options).unwrap(), &pairs).unwrap();
    assert_eq!(whole, part);
    for layer in 0..last {
        assert!(compile(&up_to(&network, layer), options).is_ok(), "up to layer {layer}");
    }
}

/// Figures of the issue that the compiler alone decides: rings, scratch memory and state, the frame pushed and not held.
#[test]
fn the_memory_of_two_networks_stays_below_what_peers_need() {
    let ram = |name: &str, target: Target| {
        let network = read_network(&repository(&format!("tests/models/{name}.tflite"))).unwrap();
        planned(&network, Options::for_target(target)).unwrap().file.arena_bytes
    };
    let (small, large) = (
        Target { lane_bytes: 2, scratch_bytes: 1280, blocks: false, cores: 1 },
        Target { lane_bytes: 2, scratch_bytes: 2560, blocks: false, cores: 1 },
    );
    assert!(ram("resnet8_made_int8", small) <= 15_000);
    assert!(ram("resnet8_made_int8", large) <= 16_500);
    assert!(ram("mobilenet_v1_025_96_made_int8", large) <= 24_000);
}

#[test]
fn what_cannot_be_imported_is_listed_with_the_layers() {
    use crate::tflite_build::{Operator, Tensor, relu};
    use ocelli_host::interchange::tflite::{ImportOptions, import};
    let mut model = relu();
    model.tensors.extend(["first", "between", "last"].map(|name| Tensor { name, ..model.tensors[0].clone() }));
    let operator = |code, input, output| Operator {
        code: (i8::try_from(code).unwrap(), code),
        inputs: vec![input],
        outputs: vec![output],
        ..Operator::default()
    };
    // RELU, SIN, RELU, COS
    model.operators.extend([operator(66, 1, 2), operator(19, 2, 3), operator(108, 3, 4)]);
    model.outputs = vec![4];
    let error = import(&model.file(), &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("SIN is not supported.") && error.contains("in 'first'"), "{error}");
    assert!(error.contains("COS is not supported.") && error.contains("in 'last'"), "{error}");
    assert!(!error.contains("'out'") && !error.contains("'between'"), "{error}");
}

#[test]
fn types_at_the_ends_of_a_network_do_not_choose_its_judge() {
    let text = r#"{"source": "", "input": {"dtype": "uint8"}, "output": {"dtype": "uint8"},
        "cases": [{"input": [130], "output_micro": [129], "output_reference": [140]}]}"#;
    let golden: Golden = serde_json::from_str(text).unwrap();
    let (int8, _) = network("branches_int8");
    let (uint8, _) = network("mobile_uint8");
    let expected = |network| golden.pairs(network).unwrap()[0].expected.clone();
    assert_eq!((expected(&int8), expected(&uint8)), (vec![1], vec![12]));
    assert_eq!(golden.as_recorded(-118).unwrap(), 10);
}

#[test]
fn a_device_that_fails_is_no_device_without_room() {
    let (network, pairs) = network("branches_int8");
    let options = Options::for_target(Target::HOST);
    let error = first_differing_layer(&network, options, &pairs[..1], |_| anyhow::bail!("the emulator crashed"));
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("crashed") && error.contains(&network.layers[0].node.name), "{error}");
    let too_large = |_: &[u8]| -> anyhow::Result<Vec<Vec<i8>>> {
        let (board, needed, available) = ("small", 2, 1);
        let refusal = TooLarge { board, memory: Memory::Ram, needed, parts: String::new(), available };
        Err(BenchError::Build(BuildError::TooLarge(refusal)).into())
    };
    assert_eq!(first_differing_layer(&network, options, &pairs[..1], too_large).unwrap(), None);
}
