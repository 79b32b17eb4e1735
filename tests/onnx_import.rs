//! ONNX in: networks and single nodes against tract, quantized networks byte for byte, and what is refused.

use crate::graphs::{every_layer, quantized_every_layer};
use crate::onnx_build::{self as build, Attribute, Graph};
use crate::support::repository;
use ocelli::image::ColorOrder;
use ocelli::ir::{Op, Unary};
use ocelli::quant::quantize;
use ocelli_host::check::tract::TractModel;
use ocelli_host::compile::{Options, Target, compile};
use ocelli_host::interchange::onnx::{self, INPUT};
use ocelli_host::interchange::onnx_import::{OnnxImport, import, import_model};
use ocelli_host::interchange::qdq;
use ocelli_host::interchange::tflite::{ImportOptions, Imported};
use ocelli_host::model::{ModelBytes, classify};
use ocelli_host::network::{LayerKind, Network, Weights};
use ocelli_host::train::{Classifier, device};
use prost::Message;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, NodeProto, TensorProto};

fn float(imported: OnnxImport) -> (Network, Weights) {
    match imported.imported {
        Imported::Float(parts) => *parts,
        Imported::Quantized(_) => panic!("a float network became a quantized one"),
    }
}

fn options() -> ImportOptions {
    ImportOptions { name: "imported".to_owned(), ..ImportOptions::default() }
}

/// Values of the network's input, `[h, w, c]`.
fn noise(network: &Network, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..network.input.shape.elements().unwrap()).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// The logits that Burn computes.
fn logits(network: &Network, weights: &Weights, input: &[f32]) -> Vec<f32> {
    let flex = device("flex").unwrap();
    let shape = network.input.shape;
    let data = burn::tensor::TensorData::new(input.to_vec(), [1, shape.h as usize, shape.w as usize, shape.c as usize]);
    let x = burn::tensor::Tensor::<4>::from_data(data, &flex).permute([0, 3, 1, 2]);
    let module = Classifier::new(network, weights, &flex).unwrap();
    module.forward(x).into_data().iter::<f32>().collect()
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let all: Vec<f64> = logits.iter().map(|&v| f64::from(v - largest).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.iter().map(|v| (v / sum) as f32).collect()
}

/// Both lists have the same values but for `1e-4` of the largest.
fn assert_close(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(1e-3_f32, |m, v| m.max(v.abs()));
    for (at, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= 1e-4 * largest, "{what}: value {at} is {a}, tract has {b}");
    }
}

/// The value that the softmax of a network reads.
fn logits_name(network: &Network) -> String {
    let nodes = network.nodes().unwrap();
    nodes[nodes.last().unwrap().inputs[0] - 1].name.clone()
}

#[test]
fn exported_networks_come_back_and_compute_what_tract_computes() {
    let small = |name: &str, side: u32| {
        let network = Network::open(name).unwrap().with_classes(5).unwrap();
        if side == 0 { network } else { network.with_input(side, side).unwrap() }
    };
    let mut networks: Vec<(Network, Weights)> =
        [("resnet8", 0), ("mobilenet-v1-0.25", 32), ("mobilenet-v2-0.35", 32), ("ds-cnn", 0)]
            .into_iter()
            .map(|(name, side)| {
                let network = small(name, side);
                let weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
                (network, weights)
            })
            .collect();
    networks.push(every_layer());
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for (network, weights) in networks {
        let labels: Vec<String> = (0..network.classes().unwrap()).map(|class| format!("class {class}")).collect();
        let proto = onnx::export(&network, &weights, &labels).unwrap();
        let imported = import(&proto.encode_to_vec(), None, &options()).unwrap();
        assert_eq!(imported.labels, labels);
        assert_eq!(imported.notes, Vec::<String>::new(), "{}", network.name);
        let (again, again_weights) = float(imported);
        assert_eq!(again.input, network.input, "{}", network.name);
        let tract = TractModel::new(&proto, INPUT, &logits_name(&network)).unwrap();
        for _ in 0..2 {
            let input = noise(&network, &mut rng);
            assert_close(&logits(&again, &again_weights, &input), &tract.run_f32(&input).unwrap(), &network.name);
        }
        assert_eq!(Network::from_toml(&again.to_toml(), "net.toml").unwrap(), again);
    }
}

#[test]
fn a_quantized_network_comes_back_and_gives_the_same_bytes() {
    let quantized = quantized_every_layer();
    let proto = qdq::export(&quantized).unwrap();
    let imported = import(&proto.encode_to_vec(), None, &options()).unwrap();
    assert_eq!(imported.labels, quantized.labels);
    let Imported::Quantized(again) = imported.imported else { panic!("not quantized") };
    let bytes = [&quantized, &*again].map(|network| compile(network, Options::for_target(Target::HOST)).unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let pictures: Vec<Vec<u8>> = (0..5).map(|_| (0..28 * 28).map(|_| rng.random()).collect()).collect();
    let scores = bytes.map(|bytes| {
        let model = ModelBytes::new(&bytes);
        let run = |pixels: &Vec<u8>| model.with_session(|session| classify(session, pixels)).unwrap();
        pictures.iter().map(run).collect::<Vec<Vec<i8>>>()
    });
    assert_eq!(again.input, quantized.input);
    assert_eq!(again.picture, quantized.picture);
    assert_eq!(scores[0], scores[1]);
    assert!(scores[0].iter().any(|other| *other != scores[0][0]), "the pictures are told apart");
}

#[test]
fn weights_that_the_file_quantizes_are_those_it_would_store() {
    // as PyTorch writes networks that were trained for int8: float weights, QuantizeLinear, DequantizeLinear
    let stored = qdq::export(&quantized_every_layer()).unwrap();
    let mut written = stored.clone();
    let graph = written.graph.as_mut().unwrap();
    let (mut nodes, mut changed) = (Vec::new(), 0);
    for mut node in std::mem::take(&mut graph.node) {
        let is_weight = |tensor: &TensorProto| {
            tensor.name == node.input[0] && tensor.data_type == DataType::Int8 as i32 && tensor.raw_data.len() > 1
        };
        let found = graph.initializer.iter().position(is_weight);
        if let Some(found) = found.filter(|_| node.op_type == "DequantizeLinear") {
            let scales = graph.initializer.iter().find(|tensor| tensor.name == node.input[1]).unwrap().raw_data.clone();
            let scales: Vec<f32> =
                scales.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
            let weights = &mut graph.initializer[found];
            let axis = node.attribute.iter().find(|attribute| attribute.name == "axis").map_or(1, |axis| axis.i);
            let inner: i64 = weights.dims.iter().skip(axis as usize + 1).product();
            let scale = |at: usize| scales[at / inner as usize % scales.len()];
            let real = weights.raw_data.iter().enumerate().map(|(at, &byte)| f32::from(byte.cast_signed()) * scale(at));
            weights.raw_data = real.collect::<Vec<f32>>().into_iter().flat_map(f32::to_le_bytes).collect();
            weights.data_type = DataType::Float as i32;
            let output = format!("{}.ints", weights.name);
            let before =
                NodeProto { op_type: "QuantizeLinear".to_owned(), output: vec![output.clone()], ..node.clone() };
            nodes.push(before);
            node.input[0] = output;
            changed += 1;
        }
        nodes.push(node);
    }
    graph.node = nodes;
    assert!(changed > 5, "{changed}");
    let [stored, written] =
        [stored, written].map(|proto| match import_model(&proto, None, &options()).unwrap().imported {
            Imported::Quantized(network) => network,
            Imported::Float(_) => panic!("not quantized"),
        });
    assert_eq!(stored, written);
}

/// Two convolutions and a flatten, written as exporters write them; the first comes with `around` before it.
fn classifier(rng: &mut ChaCha8Rng, around: impl FnOnce(&mut Graph, &str) -> String) -> ModelProto {
    let mut graph = Graph::new(&[1, 3, 9, 8]);
    let x = around(&mut graph, "x");
    let weights = graph.random(&[4, 3, 3, 3], rng);
    let x = graph.node("Conv", &[&x, &weights], &[("pads", Attribute::Ints(&[1, 0, 1, 2]))]);
    let bias = graph.random(&[4, 1, 1], rng);
    let x = graph.node("Add", &[&x, &bias], &[]);
    let x = graph.node("Relu", &[&x], &[]);
    let shape = graph.node("Shape", &[&x], &[]);
    let zero = graph.ints(&[], &[0]);
    let batch = graph.node("Gather", &[&shape, &zero], &[("axis", Attribute::Int(0))]);
    let axes = graph.ints(&[1], &[0]);
    let batch = graph.node("Unsqueeze", &[&batch, &axes], &[]);
    let rest = graph.ints(&[1], &[-1]);
    let to = graph.node("Concat", &[&batch, &rest], &[("axis", Attribute::Int(0))]);
    let x = graph.node("Reshape", &[&x, &to], &[]);
    let weights = graph.random(&[4 * 9 * 8, 5], rng);
    let x = graph.node("MatMul", &[&x, &weights], &[]);
    let bias = graph.random(&[5], rng);
    let x = graph.node("Add", &[&x, &bias], &[]);
    graph.finish(&x, 13)
}

#[test]
fn what_exporters_write_in_several_nodes_becomes_layers() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let proto = classifier(&mut rng, |_, x| x.to_owned());
    let imported = import_model(&proto, None, &options()).unwrap();
    assert!(imported.notes.iter().any(|note| note.contains("a softmax was added")), "{:?}", imported.notes);
    let (network, weights) = float(imported);
    let kinds: Vec<&str> =
        network.nodes().unwrap().iter().map(|node| ocelli_host::network::op_name(&node.op)).collect();
    assert_eq!(kinds, ["conv2d", "flatten", "dense", "softmax"]);
    let tract = TractModel::new(&proto, "x", build::OUTPUT).unwrap();
    let input = noise(&network, &mut rng);
    assert_close(&logits(&network, &weights, &input), &tract.run_f32(&input).unwrap(), "flatten");
}

#[test]
fn a_normalization_in_the_graph_becomes_that_of_the_input() {
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    let proto = classifier(&mut rng, |graph, x| {
        let mean = graph.floats(&[1, 3, 1, 1], &[0.5, 0.25, 0.125]);
        let std = graph.floats(&[3, 1, 1], &[0.5, 2.0, 0.25]);
        let x = graph.node("Sub", &[x, &mean], &[]);
        graph.node("Div", &[&x, &std], &[])
    });
    let range = Some([-1.0, 1.0]);
    let imported =
        import_model(&proto, None, &ImportOptions { range, color: Some(ColorOrder::Bgr), ..options() }).unwrap();
    let (network, weights) = float(imported);
    assert_eq!(network.input.color, ColorOrder::Bgr);
    // pixel p is x = 2 p / 255 - 1 for the file, and (x - mean) / std for the network
    for (channel, (mean, std)) in [(0.5, 0.5), (0.25, 2.0), (0.125, 0.25)].into_iter().enumerate() {
        for pixel in [0_u8, 77, 255] {
            let expected = (2.0 * f32::from(pixel) / 255.0 - 1.0 - mean) / std;
            assert!((network.input.normalize(channel, pixel) - expected).abs() < 1e-5);
        }
    }
    let tract = TractModel::new(&proto, "x", build::OUTPUT).unwrap();
    let pixels: Vec<u8> = (0..9 * 8 * 3).map(|_| rng.random()).collect();
    let normalized: Vec<f32> =
        pixels.iter().enumerate().map(|(at, &pixel)| network.input.normalize(at % 3, pixel)).collect();
    let raw: Vec<f32> = pixels.iter().map(|&pixel| 2.0 * f32::from(pixel) / 255.0 - 1.0).collect();
    assert_close(&logits(&network, &weights, &normalized), &tract.run_f32(&raw).unwrap(), "normalization");
}

/// Nodes over a picture of `[1, 3, 9, 8]`, made into a classifier by a global pool.
fn over_a_picture(nodes: impl FnOnce(&mut Graph, &mut ChaCha8Rng) -> String) -> ModelProto {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut graph = Graph::new(&[1, 3, 9, 8]);
    let x = nodes(&mut graph, &mut rng);
    let x = graph.node("GlobalAveragePool", &[&x], &[]);
    let x = graph.node("Flatten", &[&x], &[]);
    graph.finish(&x, 13)
}

#[test]
fn windows_reach_where_onnx_says() {
    let same = |side: &'static str| ("auto_pad", Attribute::Text(side));
    let [upper, lower] = [same("SAME_UPPER"), same("SAME_LOWER")];
    let kernel = |sides: &'static [i64]| ("kernel_shape", Attribute::Ints(sides));
    let strides = ("strides", Attribute::Ints(&[2, 3]));
    let ceil = ("ceil_mode", Attribute::Int(1));
    let pads = ("pads", Attribute::Ints(&[1, 2, 0, 1]));
    let cases: Vec<(&str, Vec<(&str, Attribute<'_>)>)> = vec![
        ("MaxPool", vec![kernel(&[3, 4]), strides, upper]),
        ("MaxPool", vec![kernel(&[3, 4]), strides, lower]),
        ("MaxPool", vec![kernel(&[3, 3]), ("strides", Attribute::Ints(&[2, 2])), ceil]),
        ("MaxPool", vec![kernel(&[2, 3]), strides, pads]),
        ("AveragePool", vec![kernel(&[3, 3]), pads]),
        ("AveragePool", vec![kernel(&[3, 3]), pads, ("count_include_pad", Attribute::Int(1))]),
        ("Conv", vec![pads, strides, ("dilations", Attribute::Ints(&[2, 1]))]),
        ("Conv", vec![lower, strides]),
        ("Conv", vec![pads, ("group", Attribute::Int(3))]),
    ];
    for (kind, attributes) in cases {
        let groups = attributes.iter().any(|(name, _)| *name == "group");
        let proto = over_a_picture(|graph, rng| {
            let weights = (kind == "Conv").then(|| graph.random(&[6, if groups { 1 } else { 3 }, 3, 2], rng));
            let inputs: Vec<&str> = std::iter::once("x").chain(weights.as_deref()).collect();
            graph.node(kind, &inputs, &attributes)
        });
        let (network, weights) = float(import_model(&proto, None, &options()).unwrap());
        let input = noise(&network, &mut ChaCha8Rng::seed_from_u64(12));
        let tract = TractModel::new(&proto, "x", build::OUTPUT).unwrap();
        let what = format!("{kind} {:?}", network.layers[0].kind);
        assert_close(&logits(&network, &weights, &input), &tract.run_f32(&input).unwrap(), &what);
    }
}

#[test]
fn functions_are_known_by_their_patterns() {
    let hard_swish_by = |last: &'static str| {
        over_a_picture(move |graph, _| {
            let three = graph.floats(&[], &[3.0]);
            let [low, high] = [0.0, 6.0].map(|bound| graph.floats(&[], &[bound]));
            let shifted = graph.node("Add", &["x", &three], &[]);
            let clipped = graph.node("Clip", &[&shifted, &low, &high], &[]);
            let six = graph.floats(&[], &[if last == "Mul" { 1.0 / 6.0 } else { 6.0 }]);
            if last == "gate" {
                let gate = graph.node("Div", &[&clipped, &six], &[]);
                return graph.node("Mul", &["x", &gate], &[]);
            }
            let product = graph.node("Mul", &["x", &clipped], &[]);
            graph.node(last, &[&product, &six], &[])
        })
    };
    let swish = over_a_picture(|graph, _| {
        let gate = graph.node("Sigmoid", &["x"], &[]);
        graph.node("Mul", &[&gate, "x"], &[])
    });
    let relu6 = over_a_picture(|graph, _| {
        let six = graph.floats(&[], &[6.0]);
        let positive = graph.node("Relu", &["x"], &[]);
        graph.node("Min", &[&positive, &six], &[])
    });
    let clip = over_a_picture(|graph, _| {
        let [low, high] = [-0.5, 0.25].map(|bound| graph.floats(&[], &[bound]));
        graph.node("Clip", &["x", &low, &high], &[])
    });
    let hard_sigmoid = over_a_picture(|graph, _| {
        graph.node("HardSigmoid", &["x"], &[("alpha", Attribute::Float(0.3)), ("beta", Attribute::Float(0.4))])
    });
    let cases = [
        (hard_swish_by("Div"), Unary::HardSwish),
        (hard_swish_by("Mul"), Unary::HardSwish),
        (hard_swish_by("gate"), Unary::HardSwish),
        (swish, Unary::Swish),
        (relu6, Unary::Relu6),
        (clip, Unary::Clip { low: -0.5, high: 0.25 }),
        (hard_sigmoid, Unary::HardSigmoid { alpha: 0.3, beta: 0.4 }),
    ];
    for (proto, expected) in cases {
        let (network, weights) = float(import_model(&proto, None, &options()).unwrap());
        assert_eq!(network.layers[0].kind, LayerKind::Op(Op::Unary(expected)));
        let input: Vec<f32> = noise(&network, &mut ChaCha8Rng::seed_from_u64(13)).iter().map(|v| 8.0 * v).collect();
        let tract = TractModel::new(&proto, "x", build::OUTPUT).unwrap();
        assert_close(&logits(&network, &weights, &input), &tract.run_f32(&input).unwrap(), &format!("{expected:?}"));
    }
}

#[test]
fn forms_that_are_several_layers_here_compute_what_tract_computes() {
    const OTHER: &[(&str, Attribute<'static>)] = &[];
    fn reduced(axes: &'static [i64]) -> [(&'static str, Attribute<'static>); 2] {
        [("axes", Attribute::Ints(axes)), ("keepdims", Attribute::Int(1))]
    }
    let cases: Vec<(&str, ModelProto)> = vec![
        (
            "slopes",
            over_a_picture(|graph, _| {
                let slopes = graph.floats(&[3, 1, 1], &[0.25, -0.5, 1.5]);
                graph.node("PRelu", &["x", &slopes], OTHER)
            }),
        ),
        ("steep", over_a_picture(|graph, _| graph.node("LeakyRelu", &["x"], &[("alpha", Attribute::Float(2.5))]))),
        (
            "pad",
            over_a_picture(|graph, rng| {
                let weights = graph.random(&[4, 3, 3, 3], rng);
                let pads = graph.ints(&[8], &[0, 0, 1, 2, 0, 0, 0, 3]);
                let value = graph.floats(&[], &[1.25]);
                let x = graph.node("Tanh", &["x"], OTHER);
                let x = graph.node("Pad", &[&x, &pads, &value], OTHER);
                graph.node("Conv", &[&x, &weights], OTHER)
            }),
        ),
        (
            "bounds",
            over_a_picture(|graph, _| {
                let bounds = [0.125, -0.5, 0.25].map(|bound| graph.floats(&[1], &[bound]));
                let a = graph.node("Max", &["x", &bounds[0], &bounds[1]], OTHER);
                let b = graph.node("Min", &[&bounds[2], "x"], OTHER);
                let mean = graph.node("Mean", &[&a, &b, "x"], OTHER);
                graph.node("Sub", &[&b, &mean], OTHER)
            }),
        ),
        (
            "channels",
            over_a_picture(|graph, _| {
                let mean = graph.node("ReduceMean", &["x"], &reduced(&[1]));
                let largest = graph.node("ReduceMax", &["x"], &reduced(&[-3]));
                graph.node("Concat", &[&mean, &largest], &[("axis", Attribute::Int(1))])
            }),
        ),
        (
            "columns and channels",
            over_a_picture(|graph, _| {
                let mean = graph.node("ReduceMean", &["x"], &reduced(&[1, 3]));
                let largest = graph.node("ReduceMax", &["x"], &reduced(&[1, 3]));
                graph.node("Concat", &[&mean, &largest], &[("axis", Attribute::Int(1))])
            }),
        ),
        (
            "everything",
            over_a_picture(|graph, _| {
                let mean = graph.node("ReduceMean", &["x"], &reduced(&[1, 2, 3]));
                let largest = graph.node("ReduceMax", &["x"], &reduced(&[3, 2, 1]));
                graph.node("Concat", &[&mean, &largest], &[("axis", Attribute::Int(1))])
            }),
        ),
    ];
    for (what, proto) in cases {
        let (network, weights) = float(import_model(&proto, None, &options()).unwrap());
        let input = noise(&network, &mut ChaCha8Rng::seed_from_u64(17));
        let tract = TractModel::new(&proto, "x", build::OUTPUT).unwrap();
        assert_close(&logits(&network, &weights, &input), &tract.run_f32(&input).unwrap(), what);
    }
}

#[test]
fn networks_of_tensorflow_keep_their_order() {
    // pictures come in as NHWC, are turned for the convolution, and turned back before they are flattened
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    let mut graph = Graph::new(&[1, 7, 6, 3]);
    let x = graph.node("Transpose", &["x"], &[("perm", Attribute::Ints(&[0, 3, 1, 2]))]);
    let weights = graph.random(&[4, 3, 3, 3], &mut rng);
    let x = graph.node("Conv", &[&x, &weights], &[]);
    let x = graph.node("Transpose", &[&x], &[("perm", Attribute::Ints(&[0, 2, 3, 1]))]);
    let bias = graph.random(&[4], &mut rng);
    let x = graph.node("Add", &[&x, &bias], &[]);
    let to = graph.ints(&[2], &[-1, 80]);
    let x = graph.node("Reshape", &[&x, &to], &[]);
    let (weights, bias) = (graph.random(&[1, 80], &mut rng), graph.random(&[1], &mut rng));
    let x = graph.node("Gemm", &[&x, &weights, &bias], &[("transB", Attribute::Int(1))]);
    let x = graph.node("Sigmoid", &[&x], &[]);
    let proto = graph.finish(&x, 13);
    let imported = import_model(&proto, None, &options()).unwrap();
    assert!(imported.notes.iter().any(|note| note.contains("the second being yes")), "{:?}", imported.notes);
    let (network, weights) = float(imported);
    assert_eq!(network.classes().unwrap(), 2);
    let input = noise(&network, &mut rng);
    // the file's own order is ours
    let yes = build::run_tract(&proto, &input);
    let ours = softmax(&logits(&network, &weights, &input));
    assert!((ours[1] - yes[0]).abs() < 1e-5, "{ours:?} {yes:?}");
}

/// Inputs `[c, h, w]` and outputs that ONNX Runtime recorded; see tools/onnx_models.py.
#[derive(serde::Deserialize)]
struct Recorded {
    cases: Vec<RecordedCase>,
}

#[derive(serde::Deserialize)]
struct RecordedCase {
    input: Vec<f32>,
    output: Vec<f32>,
}

impl RecordedCase {
    /// The input as `[h, w, c]`.
    fn input(&self) -> Vec<f32> {
        let cells = self.input.len() / 3;
        (0..cells).flat_map(|cell| (0..3).map(move |c| self.input[c * cells + cell])).collect()
    }
}

fn recorded(name: &str) -> (OnnxImport, Vec<RecordedCase>) {
    let path = repository("tests/models").join(name);
    let file = std::fs::read(path.with_extension("onnx")).unwrap();
    let recorded: Recorded = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
    (import(&file, None, &options()).unwrap(), recorded.cases)
}

#[test]
fn a_network_of_pytorch_computes_what_onnx_runtime_recorded() {
    let (imported, cases) = recorded("torch_small");
    let (network, weights) = float(imported);
    let nodes = network.nodes().unwrap();
    assert!(nodes.iter().any(|node| node.op == Op::Unary(Unary::HardSwish)), "{nodes:?}");
    assert_eq!(cases.len(), 4);
    for case in cases {
        assert_close(&logits(&network, &weights, &case.input()), &case.output, "torch_small");
    }
}

#[test]
fn a_network_that_onnx_runtime_quantized_computes_nearly_the_same() {
    let (imported, cases) = recorded("ort_qdq_small");
    let Imported::Quantized(mut network) = imported.imported else { panic!("not quantized") };
    assert_eq!(network.layers.pop().unwrap().node.op, Op::Softmax);
    let last = network.layers.last().unwrap().output;
    let model = ModelBytes::new(&compile(&network, Options::for_target(Target::HOST)).unwrap());
    let (mut largest, mut all) = (0.0_f32, 0.0_f32);
    for case in cases {
        let input: Vec<i8> =
            case.input().iter().map(|&v| quantize(v, network.input.scale, network.input.zero_point)).collect();
        let scores = model
            .with_session(|session| Ok(session.run_frame(&input).map(<[i8]>::to_vec)))
            .unwrap()
            .expect("a frame of the input's size");
        for (&score, theirs) in scores.iter().zip(&case.output) {
            let ours = (i32::from(score) - last.zero_point) as f32 * last.scale;
            largest = largest.max((ours - theirs).abs() / last.scale);
            all = all.max(theirs.abs() / last.scale);
        }
    }
    // ONNX Runtime computes in float between the steps, our runtime in integers
    assert!(largest <= 3.01 && all > 60.0, "{largest} steps of {all}");
}

#[test]
fn all_that_is_not_supported_is_listed_with_the_way_around() {
    let proto = over_a_picture(|graph, _| {
        let x = graph.named("Erf", "first", &["x"], &[]);
        let x = graph.named("Erf", "second", &[&x], &[]);
        let x = graph.named("Relu", "fine", &[&x], &[]);
        graph.named("DepthToSpace", "third", &[&x], &[("blocksize", Attribute::Int(1))])
    });
    let error = format!("{:#}", import_model(&proto, None, &options()).unwrap_err());
    assert!(error.contains("- Erf is not supported ('first', 'second')"), "{error}");
    assert!(error.contains("- DepthToSpace is not supported ('third')"), "{error}");
    assert!(!error.contains("fine"), "{error}");
    assert!(error.contains("tract, a runtime for ONNX, runs this file as it is"), "{error}");
    let proto = over_a_picture(|graph, _| {
        let x = graph.named("Conv", "open", &["x", "x"], &[]);
        graph.named("Relu", "odd", &[&x], &[("surprise", Attribute::Int(1))])
    });
    let error = format!("{:#}", import_model(&proto, None, &options()).unwrap_err());
    assert!(error.contains("computes its input 'x': a constant is supported ('open')"), "{error}");
    let mut old = over_a_picture(|graph, _| graph.node("Relu", &["x"], &[]));
    old.opset_import[0].version = 6;
    let error = format!("{:#}", import_model(&old, None, &options()).unwrap_err());
    assert!(error.contains("operator set 6"), "{error}");
}

#[test]
fn damaged_files_are_refused_or_read_but_never_a_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(15);
    let good = classifier(&mut rng, |_, x| x.to_owned()).encode_to_vec();
    import(&good, None, &options()).unwrap();
    let mut refused = 0;
    for _ in 0..3000 {
        let mut file = good.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..file.len());
            match rng.random_range(0..4) {
                0 => file[at] ^= 1 << rng.random_range(0..8),
                1 => file[at] = rng.random(),
                2 => file[at] = 0xff,
                _ => file.truncate(at.max(1)),
            }
        }
        // the weights are most of the file: the structure is what is to be hit
        let model = ModelProto::decode(file.as_slice());
        refused += usize::from(model.is_err() || import(&file, None, &options()).is_err());
    }
    assert!(refused > 100, "{refused}");
}
