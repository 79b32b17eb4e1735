//! Networks out: what is written is read again, gives the same bytes, and says clearly what it cannot hold. What other runtimes make of
//! the files is for `cargo xtask interop`.

use crate::graphs::quantized_every_layer;
use crate::support::{digits, every_operator, quantized_network, repository, shipped_model, write_run};
use ocelli::image::Resize;
use ocelli::ir::{Activation, Op, Padding, Shape, Unary, Window};
use ocelli::model::crc32;
use ocelli_host::check::{self, Status};
use ocelli_host::compile::{Options, Target, compile};
use ocelli_host::data::Split;
use ocelli_host::imagenet::{Classifier, Request, Style};
use ocelli_host::interchange::export::{Format, Outputs, Source, c_array, qdq_bytes, tflite_bytes};
use ocelli_host::interchange::onnx_import;
use ocelli_host::interchange::tflite::{self, ImportOptions, Imported, OpCode};
use ocelli_host::model::{ModelBytes, classify};
use ocelli_host::network::Node;
use ocelli_host::quantize::{QuantParams, QuantizedLayer, QuantizedNetwork};
use ocelli_host::run::Bundle;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::{Path, PathBuf};
use std::process::Command;

fn again(file: &[u8]) -> QuantizedNetwork {
    match tflite::import(file, &ImportOptions::default()).unwrap() {
        Imported::Quantized(network) => *network,
        Imported::Float(_) => panic!("the file is quantized"),
    }
}

fn compiled(network: &QuantizedNetwork) -> Vec<u8> {
    compile(network, Options::for_target(Target::HOST)).unwrap()
}

/// A network of one operator over `3x3x2`, with a softmax behind it.
fn of_one(op: Op, before: QuantParams, after: QuantParams) -> QuantizedNetwork {
    let input = Shape::new(3, 3, 2);
    let mut layers: Vec<QuantizedLayer> = Vec::new();
    let softmax = QuantParams { scale: 1.0 / 256.0, zero_point: -128 };
    let ops = [("asked", op, after), ("flat", Op::Flatten, after), ("end", Op::Softmax, softmax)];
    for (index, (name, op, output)) in ops.into_iter().enumerate() {
        let shape = layers.last().map_or(input, |layer| layer.node.output);
        let node = Node {
            name: name.to_owned(),
            op,
            inputs: vec![index],
            input_shapes: vec![shape],
            output: op.infer_shape(&[shape]).unwrap(),
        };
        layers.push(QuantizedLayer { node, output, weights: None, unsigned: false });
    }
    QuantizedNetwork { picture: None, input_shape: input, input: before, layers, labels: Vec::new() }
}

const STEPS: QuantParams = QuantParams { scale: 0.1, zero_point: 5 };

/// The kinds of the operators of a file.
fn kinds(file: &[u8]) -> Vec<String> {
    tflite::read(file).unwrap().operators.iter().map(|operator| operator.code.to_string()).collect()
}

#[test]
fn a_tflite_file_comes_back_as_the_same_model_byte_for_byte() {
    let mut networks = vec![every_operator().2];
    for name in ["mnist-cnn", "cifar-cnn", "ocellus", "resnet8"] {
        networks.push(Source::open(&repository("models").join(name)).unwrap().quantized().unwrap());
    }
    for network in networks {
        let back = again(&tflite_bytes(&network).unwrap());
        assert_eq!(back.picture, network.picture);
        assert_eq!(back.labels, network.labels);
        let model = compiled(&network);
        assert!(compiled(&back) == model, "another model file of {} bytes", model.len());
        assert!(ModelBytes::new(&model).model().is_ok());
    }
}

#[test]
fn networks_of_others_come_back_too() {
    for name in ["branches_int8", "gated_int8", "mnist_cnn_int8", "resnet8_made_int8", "mobilenet_v1_025_96_made_int8"]
    {
        let path = repository("tests/models").join(name).with_extension("tflite");
        let network = Source::open(&path).unwrap().quantized().unwrap();
        let back = again(&tflite_bytes(&network).unwrap());
        assert!(compiled(&back) == compiled(&network), "{name}");
    }
}

#[test]
fn a_quantized_onnx_file_comes_back_as_the_same_model_byte_for_byte() {
    let network = Source::open(&shipped_model()).unwrap().quantized().unwrap();
    let options = ImportOptions::default();
    let Imported::Quantized(back) =
        onnx_import::import(&qdq_bytes(&network).unwrap(), None, &options).unwrap().imported
    else {
        panic!("the file is quantized")
    };
    assert_eq!(compiled(&back), compiled(&network));
    assert_eq!(back.picture, network.picture);
}

#[test]
fn every_layer_is_in_the_file_under_its_name() {
    let network = quantized_every_layer();
    let file = tflite_bytes(&network).unwrap();
    let model = tflite::read(&file).unwrap();
    for layer in &network.layers {
        let tensor = model.tensors.iter().find(|tensor| tensor.name == layer.node.name).unwrap();
        assert_eq!(tensor.elements(), layer.node.output.elements().unwrap() as usize, "{}", layer.node.name);
        let quantization = tensor.quantization.as_ref().unwrap();
        assert_eq!(quantization.scales, [layer.output.scale]);
        assert_eq!(quantization.zero_points, [i64::from(layer.output.zero_point)]);
    }
    let (input, output) = (&model.tensors[model.inputs[0]], &model.tensors[model.outputs[0]]);
    assert_eq!((input.name.as_str(), input.shape.as_slice()), ("input", [1, 28, 28, 1].as_slice()));
    assert_eq!((output.name.as_str(), output.shape.as_slice()), ("dense.softmax", [1, 10].as_slice()));
    assert!(model.operators.iter().all(|operator| matches!(operator.code, OpCode::Builtin(_))));
}

#[test]
fn padding_that_no_word_is_for_becomes_an_operator() {
    let window = |padding| Window::new([2, 2], [1, 1], padding);
    let made = |op| kinds(&tflite_bytes(&of_one(op, STEPS, STEPS)).unwrap());
    let end = ["RESHAPE", "SOFTMAX"];
    let with_end = |kinds: &[&str]| kinds.iter().chain(&end).map(|&kind| kind.to_owned()).collect::<Vec<_>>();
    for padding in [Padding::Valid, Padding::Same, Padding::Explicit([0; 4]), Padding::Explicit([0, 0, 1, 1])] {
        assert_eq!(made(Op::MaxPool2d { window: window(padding) }), with_end(&["MAX_POOL_2D"]));
        assert_eq!(made(Op::AveragePool2d { window: window(padding) }), with_end(&["AVERAGE_POOL_2D"]));
    }
    let before = Padding::Explicit([1, 0, 0, 1]);
    assert_eq!(made(Op::MaxPool2d { window: window(before) }), with_end(&["PADV2", "MAX_POOL_2D"]));
    let negated = ["DEPTHWISE_CONV_2D", "PADV2", "MAX_POOL_2D", "DEPTHWISE_CONV_2D"];
    assert_eq!(made(Op::MinPool2d { window: window(before) }), with_end(&negated));
    let refused = tflite_bytes(&of_one(Op::AveragePool2d { window: window(before) }, STEPS, STEPS)).unwrap_err();
    assert_eq!(
        format!("{refused:#}"),
        "a .tflite file cannot hold layer 'asked': it is an average pool with a padding of [1, 0, 0, 1] cells (top, left, bottom, right), \
         which is neither SAME nor VALID"
    );
}

#[test]
fn functions_without_an_operator_become_tables() {
    let other = QuantParams { scale: 0.05, zero_point: -128 };
    let made = |unary, after| {
        let kinds = kinds(&tflite_bytes(&of_one(Op::Unary(unary), STEPS, after)).unwrap());
        kinds.into_iter().take_while(|kind| kind != "RESHAPE").collect::<Vec<_>>()
    };
    for (unary, kind) in [
        (Unary::Relu, "RELU"),
        (Unary::LeakyRelu { alpha: 0.1 }, "LEAKY_RELU"),
        (Unary::HardSwish, "HARD_SWISH"),
        (Unary::Requantize, "QUANTIZE"),
    ] {
        assert_eq!(made(unary, other), [kind]);
    }
    assert_eq!(made(Unary::Relu6, STEPS), ["RELU6"]);
    let table = ["CAST", "ADD", "GATHER"];
    // at two scales TensorFlow Lite's RELU6 and that of TensorFlow Lite Micro are two functions
    let tables = [Unary::Relu6, Unary::ReluN1To1, Unary::Swish, Unary::Clip { low: -1.0, high: 2.0 }];
    for unary in tables.into_iter().chain([Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }]) {
        assert_eq!(made(unary, other), table, "{unary:?}");
    }
}

#[test]
fn layers_that_a_format_cannot_hold_are_named() {
    let message = |network: &QuantizedNetwork| format!("{:#}", tflite_bytes(network).unwrap_err());
    let uint8 = Source::open(&repository("tests/models/mobile_uint8.tflite")).unwrap().quantized().unwrap();
    assert!(message(&uint8).starts_with("a .tflite file cannot hold layer 'conv_0': it came from a network in uint8"));
    let mut network = every_operator().2;
    network.layers[2].weights.as_mut().unwrap().zero_point = 3;
    assert!(message(&network).contains("its weights have the zero point 3"), "{}", message(&network));
    let mut network = every_operator().2;
    network.layers[1].output = STEPS;
    assert!(message(&network).contains("its output has another scale or zero point than its input"));
    let mut network = every_operator().2;
    network.layers.last_mut().unwrap().output = STEPS;
    assert!(message(&network).contains("its softmax has another scale"));
}

/// The bytes that a C source defines, read as a compiler would.
fn parsed(text: &str, name: &str) -> Vec<u8> {
    let start = text.find(&format!("alignas(16) const unsigned char {name}[")).unwrap();
    let body = &text[start..];
    let body = &body[body.find('{').unwrap() + 1..body.find('}').unwrap()];
    let numbers = body.split(',').map(str::trim).filter(|number| !number.is_empty());
    numbers.map(|number| u8::from_str_radix(number.strip_prefix("0x").unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_c_array_holds_the_files_bytes() {
    let file = std::fs::read(shipped_model().join("model.ocelli")).unwrap();
    let text = c_array("digits", "digits", &file).unwrap();
    assert_eq!(parsed(&text, "digits"), file);
    assert!(text.contains(&format!("const unsigned int digits_len = {};", file.len())));
    assert!(text.lines().next().unwrap().contains(&format!("CRC-32 {:#010x}", crc32(&file))));
    assert!(text.lines().all(|line| line.len() < 140));
}

#[test]
fn outputs_beside_a_file_are_those_of_the_runtime() {
    let source = Source::open(&shipped_model()).unwrap();
    let outputs = Outputs::compute(&source, Format::Tflite, None, 3).unwrap();
    assert_eq!((outputs.inputs.len(), outputs.outputs.len(), outputs.pictures), (3, 3, 0));
    let last = &source.quantized().unwrap().layers.last().unwrap().node.name.clone();
    let first: Vec<f32> = outputs.layers[last].iter().map(|&q| f32::from(q)).collect();
    assert_eq!(outputs.outputs[0], first, "each layer apart and the shipped file agree");
    let float = Outputs::compute(&source, Format::Onnx, None, 3).unwrap();
    let sums = float.outputs.iter().map(|scores| scores.iter().sum::<f32>());
    assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));
    let refused = Outputs::compute(&source, Format::Ocelli, None, 3).unwrap_err().to_string();
    assert!(refused.contains("--with-outputs is for formats of other runtimes"));
}

/// Windows with paddings of all kinds, and functions that stand alone between two scales.
const PADDINGS: &str = include_str!("data/paddings.toml");

#[test]
fn a_network_of_odd_paddings_is_one_in_all_its_files() {
    let (network, weights, quantized) = quantized_network(PADDINGS);
    let alone = quantized.layers.iter().find(|layer| layer.node.op == Op::Unary(Unary::Relu6)).unwrap();
    assert_eq!(alone.output, quantized.params_of(alone.node.inputs[0]), "relu6 clamps bytes: it has its input's scale");
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), &network, &weights, &quantized);
    let bundle = Bundle::open(folder.path()).unwrap();
    let report = check::run(&bundle, &digits(&network, Split::Test, 8), None, &mut |_| {}).unwrap();
    let failed: Vec<String> =
        report.rows().into_iter().filter(|row| row.status == Status::Failed).map(|row| row.what).collect();
    assert_eq!(failed, Vec::<String>::new());
    tflite_bytes(&quantized).unwrap();
}

#[test]
fn a_relu6_at_two_scales_is_rescaled_when_it_comes_in_onnx() {
    let mut network = quantized_network(PADDINGS).2;
    let at = network.layers.iter().position(|layer| layer.node.name == "clamped").unwrap();
    network.layers[at].output = QuantParams { scale: 6.0 / 255.0, zero_point: -128 };
    let options = ImportOptions::default();
    let import = onnx_import::import(&qdq_bytes(&network).unwrap(), None, &options).unwrap();
    let Imported::Quantized(back) = import.imported else { panic!("the file is quantized") };
    let clamped = back.layers.iter().find(|layer| layer.node.name == "clamped").unwrap();
    assert_eq!(clamped.node.op, Op::Unary(Unary::Clip { low: 0.0, high: 6.0 }));
    assert_eq!(clamped.output, network.layers[at].output);
}

#[test]
fn random_networks_are_the_same_each_time() {
    let toml = repository("tests/data/every-layer.toml").display().to_string();
    let files = [(); 2].map(|()| Source::random(&toml).unwrap().bytes(Format::Tflite).unwrap());
    assert!(files[0] == files[1]);
}

/// Runs the command in a folder.
fn ocelli(arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ocelli")).args(arguments).current_dir(folder).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), text)
}

#[test]
fn the_command_writes_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let (run, out) = (shipped_model(), folder.path());
    let run = run.to_str().unwrap();
    for (format, file) in [
        ("onnx", "mnist-cnn.onnx"),
        ("onnx-qdq", "mnist-cnn.qdq.onnx"),
        ("tflite", "mnist-cnn.tflite"),
        ("ocelli", "mnist-cnn.ocelli"),
        ("c-array", "mnist-cnn.c"),
    ] {
        let (code, text) = ocelli(&["export", run, "--format", format], out);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.starts_with(file) && out.join(file).is_file(), "{text}");
    }
    let read = |name: PathBuf| std::fs::read(name).unwrap();
    for (file, kept) in [("mnist-cnn.onnx", "model.onnx"), ("mnist-cnn.ocelli", "model.ocelli")] {
        assert!(read(out.join(file)) == read(shipped_model().join(kept)), "{file} is what the run folder holds");
    }
    let (code, text) =
        ocelli(&["export", run, "--format", "c-array", "--of", "tflite", "--array", "net", "--out", "a.h"], out);
    assert_eq!(code, Some(0), "{text}");
    let text = String::from_utf8(read(out.join("a.h"))).unwrap();
    assert_eq!(parsed(&text, "net"), read(out.join("mnist-cnn.tflite")));
    // and what another program would do with it
    let (code, text) = ocelli(&["import", "mnist-cnn.tflite", "--out", "again.ocelli", "--board", "qemu-m4"], out);
    assert_eq!(code, Some(0), "{text}");
    let model = ModelBytes::read(&out.join("again.ocelli")).unwrap();
    assert_eq!(model.model().unwrap().labels().collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[test]
fn a_tflite_file_of_ours_is_predicted_with_its_own_labels_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.tflite");
    let mut network = Source::open(&repository("models/mnist-cnn")).unwrap().quantized().unwrap();
    let labels: Vec<String> = (0..network.layers.last().unwrap().node.output.c).map(|n| format!("kind {n}")).collect();
    let picture = network.picture.as_mut().unwrap();
    (picture.resize, picture.mean) = (Resize::CenterCrop, [0.25; 3]);
    let spec = *picture;
    network.labels.clone_from(&labels);
    std::fs::write(&path, tflite_bytes(&network).unwrap()).unwrap();
    let opened = Classifier::open(&path, &Request::default()).unwrap();
    assert_eq!((opened.spec, &opened.labels), (spec, &labels));
    assert!(opened.notes.iter().any(|note| note.contains("(as the file says); the middle, at")), "{:?}", opened.notes);
    // pixels that are asked for leave the rule for the rest of the picture
    let unit = Classifier::open(&path, &Request { style: Some(Style::Unit), ..Request::default() }).unwrap().spec;
    assert_eq!((unit.resize, unit.mean, unit.std), (spec.resize, [0.0; 3], [1.0; 3]));
    let range = ["import", path.to_str().unwrap(), "--range", "0,1", "--board", "host", "--out", "run"];
    assert_eq!(ocelli(&range, folder.path()).0, Some(0));
    let imported = ModelBytes::read(&folder.path().join("run/model.ocelli")).unwrap();
    assert_eq!(imported.input_spec().unwrap().resize, spec.resize);
    // and a network of uint8 is said to round otherwise in ONNX
    let theirs = repository("tests/models/mobile_uint8.tflite").display().to_string();
    let (code, text) = ocelli(&["export", &theirs, "--format", "onnx-qdq"], folder.path());
    assert!(code == Some(0) && text.contains("off by a step") && text.contains("by the scale of its input"), "{text}");
}

#[test]
fn the_command_says_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let model = shipped_model().join("model.ocelli");
    std::fs::copy(&model, out.join("alone.ocelli")).unwrap();
    std::fs::create_dir(out.join("empty")).unwrap();
    let tests = |name: &str| repository("tests/models").join(name).display().to_string();
    let cats = repository("models/cats-cnn").display().to_string();
    let (int8, float) = (tests("gated_int8.tflite"), tests("torch_small.onnx"));
    for (arguments, expected) in [
        (vec!["alone.ocelli", "--format", "tflite"], "alone.ocelli is a compiled model by itself"),
        (vec!["empty", "--format", "tflite"], "empty is no run folder: net.toml is missing"),
        (vec!["resnet50", "--format", "onnx"], "--random-weights exports it with random ones"),
        (vec!["nowhere", "--format", "onnx"], "there is no nowhere: export takes a run folder"),
        (vec![&cats, "--format", "tflite"], "holds no quantized network yet: ocelli compile"),
        (vec![&cats, "--format", "onnx"], "holds no float network"),
        (vec![&int8, "--format", "onnx"], "is a quantized network, without weights in float"),
        (vec![&float, "--format", "tflite"], "is a float network: take it in with `ocelli import`"),
        (vec!["alone.ocelli", "--format", "ocelli", "--out", "alone.ocelli"], "is the file that is read"),
        (vec!["alone.ocelli", "--format", "c-array", "--of", "c-array"], "--of names the file that the array holds"),
        (vec!["alone.ocelli", "--format", "c-array", "--array", "a-b"], "'a-b' is no name in C"),
        (
            vec!["alone.ocelli", "--format", "ocelli", "--out", "b.ocelli", "--array", "ab"],
            "--array is for --format c-array",
        ),
        (vec!["alone.ocelli", "--format", "ocelli", "--out", "no/where"], "cannot write no/where"),
        (vec!["alone.ocelli", "--format", "keras"], "invalid value 'keras'"),
    ] {
        let (code, text) = ocelli(&[&["export"], arguments.as_slice()].concat(), out);
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
    let mut left: Vec<_> = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["alone.ocelli", "empty"], "nothing is written");
}

#[test]
fn pictures_of_noise_give_the_same_scores_in_what_came_back() {
    // min pools and tables are other operators when they come back: the scores are what must be the same
    let net = r#"
name = "small"
[input]
height = 12
width = 12
color = "gray"
mean = [0.13]
std = [0.31]
[[layer]]
type = "conv2d"
filters = 6
kernel = 3
padding = [1, 0, 0, 1]
activation = "relu6"
[[layer]]
type = "min_pool2d"
kernel = 2
stride = 2
[[layer]]
type = "conv2d"
filters = 4
kernel = 3
padding = "same"
activation = "leaky_relu"
alpha = 0.1
[[layer]]
type = "global_max_pool2d"
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
units = 10
activation = "softmax"
"#;
    let network = quantized_network(net).2;
    assert!(network.layers.iter().any(|layer| matches!(layer.node.op, Op::MinPool2d { .. })));
    assert!(network.layers.iter().any(|layer| layer.node.op.activation() == Activation::Relu6));
    let back = again(&tflite_bytes(&network).unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let pictures: Vec<Vec<u8>> = (0..20).map(|_| (0..144).map(|_| rng.random()).collect()).collect();
    let scores = [&network, &back].map(|network| {
        let model = ModelBytes::new(&compiled(network));
        let run = |pixels: &Vec<u8>| model.with_session(|session| classify(session, pixels)).unwrap();
        pictures.iter().map(run).collect::<Vec<Vec<i8>>>()
    });
    assert_eq!(scores[0], scores[1]);
    assert!(scores[0].iter().any(|other| *other != scores[0][0]), "the pictures are told apart");
}
