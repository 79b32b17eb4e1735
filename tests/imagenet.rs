//! Classifiers of other programs: ImageNet's networks built here against tract, weights by their names, and `predict` on .onnx and
//! .tflite files.

use crate::commands::{done, json, ocelli, refused};
use crate::onnx_build::{Attribute, Graph, run_tract};
use crate::support::{repository, shipped_model};
use crate::tflite_build::normalization;
use crate::transfer::tflite;
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::{Op, Shape};
use ocelli_host::check::tract::TractModel;
use ocelli_host::imagenet::{Classifier, Crop, End, Engine, FloatModel, Opened, Request, Style};
use ocelli_host::interchange::onnx::{self, INPUT};
use ocelli_host::interchange::onnx_import;
use ocelli_host::interchange::tflite::{ImportOptions, Imported};
use ocelli_host::network::{LayerKind, LayerWeights, Network, NormWeights, Weights, zoo};
use ocelli_host::train::{Classifier as Burn, device};
use prost::Message;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

/// Fresh weights, and batch norms that are not the identity.
fn random(network: &Network, seed: u64) -> Weights {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = Weights::initial(network, &mut rng).unwrap();
    for layer in &network.layers {
        if let Some(norm) = weights.norm(&layer.name) {
            let mut random = |low: f32, high: f32| norm.gamma.iter().map(|_| rng.random_range(low..high)).collect();
            let norm = NormWeights {
                gamma: random(0.5, 1.5),
                beta: random(-0.2, 0.2),
                mean: random(-0.2, 0.2),
                variance: random(0.5, 2.0),
            };
            weights.insert_norm(&layer.name, norm);
        }
    }
    weights
}

/// The weights of all operators in order, batch norms multiplied in.
fn folded(network: &Network, weights: &Weights) -> Vec<LayerWeights> {
    let folded = weights.folded(network).unwrap();
    network.nodes().unwrap().iter().filter_map(|node| folded.layer(&node.name).cloned()).collect()
}

#[test]
fn networks_of_imagenet_come_back_from_onnx_with_their_weights_and_compute_what_tract_computes() {
    let small = |network: Network, side: u32| network.with_classes(7).unwrap().with_input(side, side).unwrap();
    let mut vgg = Network::open("vgg16").unwrap();
    for layer in &mut vgg.layers {
        if let (LayerKind::Op(Op::Dense { units, .. }), true) = (&mut layer.kind, layer.name.starts_with("fc")) {
            *units = 96; // the full size: by hand, see docs/interchange.md
        }
    }
    let networks = [
        small(Network::open("resnet50").unwrap(), 33),
        small(vgg, 64),
        small(Network::open("mobilenetv2").unwrap(), 45),
        small(zoo::torchvision("mobilenet-v2-1.0").unwrap(), 45),
    ];
    for network in networks {
        let weights = random(&network, 11);
        let proto = onnx::export(&network, &weights, &[]).unwrap();
        let options = ImportOptions { name: network.name.clone(), ..ImportOptions::default() };
        let imported = onnx_import::import(&proto.encode_to_vec(), None, &options).unwrap();
        let Imported::Float(parts) = imported.imported else { panic!("quantized") };
        let (again, again_weights) = *parts;
        assert_eq!(again.input, network.input);
        assert!(folded(&again, &again_weights) == folded(&network, &weights), "{}: other weights", network.name);

        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let shape = network.input.shape;
        let input: Vec<f32> = (0..shape.elements().unwrap()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let flex = device("flex").unwrap();
        let side = shape.h as usize;
        let x = burn::tensor::TensorData::new(input.clone(), [1, side, side, 3]);
        let x = burn::tensor::Tensor::<4>::from_data(x, &flex).permute([0, 3, 1, 2]);
        // as it is trained, batch norms and all
        let ours: Vec<f32> =
            Burn::new(&network, &weights, &flex).unwrap().forward(x).into_data().iter::<f32>().collect();
        let tract = TractModel::new(&proto, INPUT, "predictions").unwrap().run_f32(&input).unwrap();
        let largest = tract.iter().fold(1e-3_f32, |most, v| most.max(v.abs()));
        assert_eq!(ours.len(), 7);
        for (a, b) in ours.iter().zip(&tract) {
            assert!((a - b).abs() <= 1e-4 * largest, "{}: {a}, tract has {b} of {largest}", network.name);
        }
        assert!(tract.iter().any(|v| (v - tract[0]).abs() > 1e-3 * largest), "the classes are told apart");
    }
}

/// The tensors of torchvision's MobileNetV2 with their shapes, as its source builds them.
fn mobilenet_of_torchvision(classes: usize) -> Vec<(String, Vec<usize>)> {
    let mut tensors = Vec::new();
    let mut convolution = |conv: String, norm: String, shape: [usize; 4]| {
        tensors.push((format!("{conv}.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{norm}.{part}"), vec![shape[0]]));
        }
        tensors.push((format!("{norm}.num_batches_tracked"), vec![]));
    };
    convolution("features.0.0".into(), "features.0.1".into(), [32, 3, 3, 3]);
    let (mut c_in, mut index) = (32, 1);
    for (expand, filters, repeats) in
        [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    {
        for _ in 0..repeats {
            let block = format!("features.{index}.conv");
            let hidden = expand * c_in;
            let mut part = 0;
            if expand != 1 {
                convolution(format!("{block}.0.0"), format!("{block}.0.1"), [hidden, c_in, 1, 1]);
                part = 1;
            }
            convolution(format!("{block}.{part}.0"), format!("{block}.{part}.1"), [hidden, 1, 3, 3]);
            convolution(format!("{block}.{}", part + 1), format!("{block}.{}", part + 2), [filters, hidden, 1, 1]);
            (c_in, index) = (filters, index + 1);
        }
    }
    convolution("features.18.0".into(), "features.18.1".into(), [1280, 320, 1, 1]);
    tensors.push(("classifier.1.weight".into(), vec![classes, 1280]));
    tensors.push(("classifier.1.bias".into(), vec![classes]));
    tensors
}

fn write_safetensors(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut bytes = Vec::new();
    for (name, shape) in tensors {
        let range = if name.ends_with("running_var") { 0.5..2.0 } else { -0.3..0.3 };
        let mut draw = |_| rng.random_range(range.clone());
        let values: Vec<f32> = (0..shape.iter().product()).map(&mut draw).collect();
        bytes.push(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape), bytes)| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn weights_of_torchvision_become_a_run_folder_that_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let tensors = mobilenet_of_torchvision(5);
    let parameters: usize =
        tensors.iter().filter(|(name, _)| !name.ends_with("tracked")).map(|(_, s)| s.iter().product::<usize>()).sum();
    assert_eq!(parameters, 3_504_872 + 2 * 17_056 - 995 * 1281, "torchvision's own count, for five classes");
    write_safetensors(&at.join("m.safetensors"), &tensors);
    let import = ["import", "m.safetensors", "--network", "mobilenetv2", "--size", "64x64", "--out", "run"];
    let output = ocelli(&import, at);
    let notes = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{notes}");
    assert!(notes.contains("torchvision's form") && !notes.contains("left out"), "{notes}");
    let network = Network::open(&at.join("run/net.toml").display().to_string()).unwrap();
    assert_eq!((network.classes().unwrap(), network.input.mean[0], network.input.shape.h), (5, 0.485, 64));
    let photo = repository("tests/data/photos/chelsea.png");
    let photo = photo.to_str().unwrap();
    let run = json(&["predict", "--model", "run", "--float", "--top", "5", "--json", photo], at);
    // the file beside it holds the same network, its labels and what its pictures are
    let file = json(&["predict", "--model", "run/model.onnx", "--top", "5", "--json", photo], at);
    for (a, b) in run[0]["top"].as_array().unwrap().iter().zip(file[0]["top"].as_array().unwrap()) {
        assert_eq!((&a["label"], &a["probability"]), (&b["label"], &b["probability"]));
        assert_eq!((a["class"].is_null(), b["class"].as_u64().unwrap().to_string().into()), (true, b["label"].clone()));
    }
    assert_eq!(run[0]["top"].as_array().unwrap().len(), 5);

    let error = refused(&["import", "m.safetensors"], at);
    assert!(error.contains("--network NAME"), "{error}");
    let error = refused(&["import", "run/model.onnx", "--network", "resnet50"], at);
    assert!(error.contains("holds a network of its own"), "{error}");
    let error = refused(&["import", "m.safetensors", "--network", "resnet50", "--out", "other"], at);
    assert!(error.contains("'conv1.weight' (torchvision)"), "{error}");
    assert!(!at.join("other").exists());
}

#[derive(serde::Deserialize)]
struct Recorded {
    cases: Vec<serde_json::Value>,
}

#[test]
fn a_file_of_pytorch_gives_what_onnx_runtime_recorded() {
    let text = std::fs::read_to_string(repository("tests/models/torch_small.json")).unwrap();
    let recorded: Recorded = serde_json::from_str(&text).unwrap();
    let file = std::fs::read(repository("tests/models/torch_small.onnx")).unwrap();
    let model = FloatModel::new(&Message::decode(file.as_slice()).unwrap(), None, None).unwrap();
    assert_eq!((model.end(), model.channels_first()), (End::Logits, true));
    let Shape { h, w, c } = model.shape();
    for case in &recorded.cases {
        let list = |key: &str| -> Vec<f32> { numbers(&case[key]) };
        let (input, output) = (list("input"), list("output"));
        let plane = (h * w) as usize;
        let nhwc: Vec<f32> = (0..plane)
            .flat_map(|at| (0..c as usize).map(move |c| (c, at)))
            .map(|(c, at)| input[c * plane + at])
            .collect();
        let sum: f32 = output.iter().map(|v| v.exp()).sum();
        for (ours, theirs) in model.probabilities(&nhwc).unwrap().iter().zip(&output) {
            assert!((ours - theirs.exp() / sum).abs() < 1e-5, "{ours} {}", theirs.exp() / sum);
        }
    }
}

/// All numbers in nested lists.
fn numbers(value: &serde_json::Value) -> Vec<f32> {
    match value.as_array() {
        Some(list) => list.iter().flat_map(numbers).collect(),
        None => value.as_f64().map(|v| v as f32).into_iter().collect(),
    }
}

/// A convolution, a pool and a softmax over the channels, written to a file; `around` stands before it.
fn write_onnx(
    path: &Path,
    dims: &[i64],
    classes: i64,
    producer: &str,
    around: impl FnOnce(&mut Graph, &str) -> String,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut graph = Graph::new(dims);
    let x = around(&mut graph, "x");
    let weights = graph.random(&[classes, 3, 3, 3], &mut rng);
    let x = graph.node("Conv", &[&x, &weights], &[]);
    let x = graph.node("GlobalAveragePool", &[&x], &[]);
    let x = graph.node("Softmax", &[&x], &[("axis", Attribute::Int(1))]);
    let x = graph.node("Flatten", &[&x], &[]);
    let mut proto = graph.finish(&x, 13);
    proto.producer_name = producer.to_owned();
    std::fs::write(path, proto.encode_to_vec()).unwrap();
}

#[test]
fn what_a_file_takes_its_pictures_as_is_read_or_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let to_nchw =
        |graph: &mut Graph, x: &str| graph.node("Transpose", &[x], &[("perm", Attribute::Ints(&[0, 3, 1, 2]))]);
    let plain = |_: &mut Graph, x: &str| x.to_owned();
    write_onnx(&at("torch.onnx"), &[1, 3, 9, 8], 1000, "pytorch", plain);
    write_onnx(&at("tf.onnx"), &[1, 9, 8, 3], 1001, "", to_nchw);
    write_onnx(&at("tf2onnx.onnx"), &[1, 3, 9, 8], 1000, "tf2onnx", plain);
    write_onnx(&at("few.onnx"), &[1, 9, 8, 3], 4, "tf2onnx", to_nchw);
    write_onnx(&at("scaled.onnx"), &[1, 9, 8, 3], 4, "", |graph, x| {
        let x = to_nchw(graph, x);
        let factor = graph.floats(&[1], &[1.0 / 127.5]);
        graph.node("Mul", &[&x, &factor], &[])
    });
    write_onnx(&at("normalized.onnx"), &[1, 3, 9, 8], 4, "pytorch", |graph, x| {
        let mean = graph.floats(&[1, 3, 1, 1], &[0.485, 0.456, 0.406]);
        graph.node("Sub", &[x, &mean], &[])
    });
    let open = |name: &str, request: Request| Classifier::open(&at(name), &request).unwrap();
    let unit = InputSpec {
        shape: Shape::new(9, 8, 3),
        color: ColorOrder::Rgb,
        resize: Resize::Stretch,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    for (name, style) in [
        ("torch.onnx", Style::Torch),
        ("tf.onnx", Style::Tf),
        ("tf2onnx.onnx", Style::Tf),
        ("few.onnx", Style::Unit),
        ("scaled.onnx", Style::None),
        ("normalized.onnx", Style::Unit),
    ] {
        let opened = open(name, Request::default());
        let is_imagenet = opened.classes() >= 1000;
        let resize = if is_imagenet { Resize::ImagenetCrop } else { Resize::Stretch };
        let expected = InputSpec { resize, ..style.apply(unit).unwrap() };
        assert_eq!((opened.spec, opened.crop), (expected, Crop::AsStated), "{name}");
        assert!(opened.notes.iter().any(|note| note.contains(&format!(": {style}, "))), "{name}: {:?}", opened.notes);
        assert!(!opened.notes.iter().any(|note| note.contains("logits")), "{:?}", opened.notes);
    }
    let asked = open("torch.onnx", Request { style: Some(Style::Caffe), resize_to: Some(16), ..Request::default() });
    assert_eq!((asked.spec.color, asked.crop), (ColorOrder::Bgr, Crop::Middle(0.5)));

    // an import takes the same pictures
    for name in ["torch.onnx", "tf.onnx", "tf2onnx.onnx", "few.onnx", "scaled.onnx", "normalized.onnx"] {
        let file = std::fs::read(at(name)).unwrap();
        let taken = Opened::new(&file, &at(name), &ImportOptions::default(), None).unwrap();
        let direct = open(name, Request::default());
        let words = |notes: &[String]| {
            let note = notes.iter().find(|note| note.starts_with("pictures: ")).unwrap();
            note.split(" (others").next().unwrap().to_owned()
        };
        let note = taken.pictures("none").unwrap();
        assert_eq!(words(&direct.notes), words(&[note]), "{name}");
        if !["scaled.onnx", "normalized.onnx"].contains(&name) {
            assert_eq!(taken.input(), Some(&direct.spec), "{name}"); // those normalize in the graph
        }
    }

    // the values that reach the file, in its own order
    let values: Vec<f32> = (0..9 * 8 * 3).map(|v| v as f32 / 100.0).collect();
    let file = std::fs::read(at("tf.onnx")).unwrap();
    let expected = run_tract(&Message::decode(file.as_slice()).unwrap(), &values);
    let Engine::Float(model) = open("tf.onnx", Request::default()).engine else { panic!("not in float") };
    assert_eq!(model.probabilities(&values).unwrap(), expected);

    // labels beside the file, and a list that is not its own
    std::fs::write(at("labels.txt"), "a\nb\nc\nd\n").unwrap();
    assert_eq!(open("few.onnx", Request::default()).labels, ["a", "b", "c", "d"]);
    std::fs::write(at("five.txt"), "a\nb\nc\nd\ne\n").unwrap();
    let wrong = Request { labels: Some(at("five.txt")), ..Request::default() };
    let error = format!("{:#}", Classifier::open(&at("few.onnx"), &wrong).unwrap_err());
    assert!(error.contains("five.txt") && error.contains("5 labels for a network of 4"), "{error}");
}

#[test]
fn a_quantized_tflite_file_predicts_as_it_does_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let photo = repository("tests/data/photos/chelsea.png");
    let photo = photo.to_str().unwrap();
    for name in ["mobilenet_v1_025_96_made_int8.tflite", "mobile_uint8.tflite", "ort_qdq_small.onnx"] {
        let file = repository(&format!("tests/models/{name}"));
        let file = file.to_str().unwrap();
        done(&["import", file, "--board", "host", "--out", "m.ocelli"], at);
        let compiled = json(&["predict", "--model", "m.ocelli", "--top", "9", "--json", photo], at);
        let direct = json(&["predict", "--model", file, "--top", "9", "--json", photo], at);
        let classes = direct[0]["top"].as_array().unwrap();
        assert!(classes.len() >= 2, "{direct}");
        for (a, b) in compiled[0]["top"].as_array().unwrap().iter().zip(classes) {
            assert_eq!((&a["label"], &a["probability"]), (&b["label"], &b["probability"]), "{name}");
        }
    }
    let file = repository("tests/models/mobilenet_v1_025_96_made_int8.tflite");
    let file = file.to_str().unwrap();
    let text = done(&["predict", "--model", file, "--top", "1", photo], at);
    assert!(
        text.contains("| rank | class | label |") && text.lines().nth(3).unwrap().starts_with("|    1 |")
            || text.contains("| 1    |"),
        "{text}"
    );
    assert!(refused(&["predict", "--model", file, "--float", photo], at).contains("quantized network"));
    assert!(refused(&["predict", "--model", file, "--size", "64x64", photo], at).contains("96x96"));
    assert!(refused(&["predict", "--model", file, "--resize-to", "64", photo], at).contains("at least 96"));
    std::fs::write(at.join("cut.tflite"), &std::fs::read(file).unwrap()[..5000]).unwrap();
    assert!(refused(&["predict", "--model", "cut.tflite", photo], at).contains("cut.tflite"));
    std::fs::write(at.join("text.onnx"), "no network").unwrap();
    assert!(refused(&["predict", "--model", "text.onnx", photo], at).contains("neither an .onnx nor a .tflite"));
    let shipped = shipped_model();
    let shipped = shipped.to_str().unwrap();
    let error = refused(&["predict", "--model", shipped, "--preprocess", "tf", photo], at);
    assert!(error.contains("says how its pictures are taken"), "{error}");
}

#[test]
fn summary_takes_keras_names_sizes_and_classes() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["summary", "--network", "mobilenetv2", "--input", "96x96", "--classes", "10", "--json"];
    let summary = json(&arguments, folder.path());
    assert_eq!(summary["parameters"], 3_538_984 - 990 * 1281);
    assert_eq!(summary["input_shape"], serde_json::json!([96, 96, 3]));
    refused(&["summary"], folder.path());
}

/// A list of labels as .tflite files with metadata hold it: a stored entry of a zip archive at the end.
fn with_labels(mut file: Vec<u8>, text: &str) -> Vec<u8> {
    let name = "labels.txt";
    let bytes = u32::try_from(text.len()).unwrap().to_le_bytes();
    let names = u32::try_from(name.len()).unwrap().to_le_bytes();
    let head = [[0; 4], bytes, bytes, names].concat(); // its checksum is not looked at
    let local = [b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0".as_slice(), &head, name.as_bytes(), text.as_bytes()].concat();
    let made = b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0".as_slice();
    let central = [made, &head, &[0; 14], name.as_bytes()].concat();
    let sizes = [&central, &local].map(|part| u32::try_from(part.len()).unwrap().to_le_bytes()).concat();
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(), &sizes, &[0; 2]].concat();
    file.extend([local, central, end].concat());
    file
}

/// Top labels of a photo, by a model of any kind, and the notes.
fn top(model: &[&str], at: &Path) -> (Vec<(String, f64)>, String) {
    let photo = repository("tests/data/photos/chelsea.png");
    let arguments = [&["predict", "--top", "5", "--json", photo.to_str().unwrap(), "--model"], model].concat();
    let output = ocelli(&arguments, at);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{notes}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let guess = |guess: &serde_json::Value| {
        (guess["label"].as_str().unwrap().to_owned(), guess["probability"].as_f64().unwrap())
    };
    (found[0]["top"].as_array().unwrap().iter().map(guess).collect(), notes)
}

/// The same classes, as probable.
fn assert_same(a: &[(String, f64)], b: &[(String, f64)], what: &str) {
    for (a, b) in a.iter().zip(b) {
        assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-5, "{what}: {a:?}, {b:?}");
    }
    assert_eq!((a.len(), b.len()), (a.len(), a.len()), "{what}");
}

#[test]
fn a_file_its_import_and_its_export_see_the_same_picture() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut stating = tflite();
    stating.metadata = vec![("TFLITE_METADATA", normalization(&[127.5], &[63.75]))];
    std::fs::write(at.join("stating.tflite"), with_labels(stating.file(), "ant\nbee\ncow\ndog\n")).unwrap();
    std::fs::write(at.join("silent.tflite"), tflite().file()).unwrap();
    write_onnx(&at.join("imagenet.onnx"), &[1, 3, 9, 8], 1000, "pytorch", |_, x| x.to_owned());
    for (file, said) in [
        ("stating.tflite", "pixels of -2 to 2 (as the file says); the whole picture, at 12x12"),
        ("silent.tflite", "unit, pixels of 0 to 1 (a guess, the file does not say it); the whole picture, at 12x12"),
        (
            "imagenet.onnx",
            "(a guess, the usual for ImageNet's networks in .onnx files); the middle, 87.5 % of the shorter side",
        ),
    ] {
        let (direct, notes) = top(&[file], at);
        assert!(notes.contains(said), "{file}: {notes}");
        let output = ocelli(&["import", file, "--out", "run", "--overwrite"], at);
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(0) && notes.contains(said), "{file}: {notes}");
        assert_same(&direct, &top(&["run", "--float"], at).0, file);
        let output = ocelli(&["export", file, "--format", "onnx", "--out", "out.onnx"], at);
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(0) && notes.contains(said), "{file}: {notes}");
        assert_same(&direct, &top(&["out.onnx"], at).0, file);
        let other = top(&[file, "--preprocess", "none", "--resize", "center-crop"], at).0;
        assert!(other.iter().zip(&direct).any(|(a, b)| (a.1 - b.1).abs() > 1e-4), "{file}: pixels matter: {other:?}");
    }
    let labels = std::fs::read_to_string(at.join("run/labels.txt")).unwrap();
    assert_eq!(labels.lines().count(), 1000);
    let named = top(&["stating.tflite"], at).0;
    assert!(named.iter().all(|(label, _)| ["ant", "bee", "cow", "dog"].contains(&label.as_str())), "{named:?}");
    // what the user says goes before
    done(&["import", "stating.tflite", "--range", "0,1", "--resize", "center-crop", "--out", "other"], at);
    let network = Network::open(&at.join("other/net.toml").display().to_string()).unwrap();
    assert_eq!((network.input.mean, network.input.std, network.input.resize), ([0.0; 3], [1.0; 3], Resize::CenterCrop));
    assert!(refused(&["import", "silent.tflite", "--size", "9x9"], at).contains("12x12: --size cannot change it"));
    assert!(refused(&["tag", ".", "--model", "silent.tflite"], at).contains("ocelli import silent.tflite"));
    // broken metadata are as none
    let mut broken = tflite();
    broken.metadata = vec![("TFLITE_METADATA", vec![255; 40])];
    std::fs::write(at.join("broken.tflite"), broken.file()).unwrap();
    assert_same(&top(&["broken.tflite"], at).0, &top(&["silent.tflite"], at).0, "broken metadata");
}
