//! Networks from elsewhere, and our own, as the base of others: what their frozen layers compute, other sizes, `--resume`, and what is
//! refused.

use crate::commands::photos;
use crate::support::repository;
use crate::tflite_build::{Model, Operator, Tensor, Value, bytes, relu};
use ocelli::image::{ColorOrder, Resize};
use ocelli::ir::Shape;
use ocelli_host::check::tract::{TractModel, read_onnx};
use ocelli_host::data::{DataSource, Split};
use ocelli_host::network::Weights;
use ocelli_host::run::Trained;
use ocelli_host::train::{Classifier, device, pixel_tensor};
use prost::Message;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::Path;
use std::process::{Command, Output};
use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_shape_proto::dimension::Value::{DimParam, DimValue};
use tract_onnx::pb::type_proto::Value::TensorType;

/// A command line on one thread; `~` is a space within a word.
fn output(line: &str, folder: &Path) -> Output {
    let words = line.split_whitespace().map(|word| word.replace('~', " "));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
    command.args(words).current_dir(folder).env("RAYON_NUM_THREADS", "1").output().unwrap()
}

/// What a command that succeeds writes to standard output and standard error.
fn done(line: &str, folder: &Path) -> [String; 2] {
    let output = output(line, folder);
    let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(0), "{line}: {}", texts[1]);
    texts
}

fn refused(line: &str, folder: &Path) -> String {
    let output = output(line, folder);
    assert_eq!(output.status.code(), Some(2), "{line}");
    String::from_utf8(output.stderr).unwrap()
}

/// A folder with pictures of two classes and PyTorch's export: a residual network with a gate, and a flatten before its dense layers.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    std::fs::copy(repository("tests/models/torch_small.onnx"), folder.path().join("torch.onnx")).unwrap();
    folder
}

/// Changes rows and columns of the input that a file states.
fn set_size(model: &mut ModelProto, sides: [tract_onnx::pb::tensor_shape_proto::dimension::Value; 2]) -> String {
    let input = &mut model.graph.as_mut().unwrap().input[0];
    let Some(TensorType(tensor)) = input.r#type.as_mut().unwrap().value.as_mut() else { panic!("no tensor") };
    for (dim, side) in tensor.shape.as_mut().unwrap().dim[2..].iter_mut().zip(sides) {
        dim.value = Some(side);
    }
    input.name.clone()
}

fn weights(folder: &Path, run: &str) -> Vec<u8> {
    std::fs::read(folder.join(run).join("weights.safetensors")).unwrap()
}

/// The frozen layers of a fine-tuned network give what tract makes of the original file's nodes, over pictures of another size that were
/// normalized by hand.
#[test]
fn frozen_layers_of_a_file_compute_what_tract_computes() {
    let folder = workplace();
    let at = folder.path();
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    for (run, options, layer, value, size) in [
        ("gate", "--cut HardSwish --input 24x20", "HardSwish", "/HardSwish_output_0", [24, 20]),
        ("whole", "", "MaxPool", "/MaxPool_output_0", [16, 16]),
        ("own", "--input 33x17", "MaxPool", "/MaxPool_output_0", [33, 17]),
    ] {
        let line = format!(
            "finetune --base torch.onnx photos --preprocess torch {options} --head gap,dense~4~relu,dense~N --epochs 1 --out {run}"
        );
        let [said, _] = done(&line, at);
        assert!(said.contains("frozen layers were run once") && said.contains("times as fast"), "{said}");
        let Trained { network, weights, config, .. } = Trained::open(&at.join(run)).unwrap();
        let [h, w] = size;
        assert_eq!((network.input.shape, network.input.color), (Shape::new(h, w, 3), ColorOrder::Rgb));
        assert_eq!((network.input.mean, network.input.std), (mean, std));
        assert!(config.finetune.unwrap().base.ends_with("torch.onnx"));

        let set = DataSource::open(&at.join("photos"), None).unwrap();
        let set = set.load(Split::Train, &network.input, &mut |_, _| {}).unwrap();
        let mut proto = read_onnx(&at.join("torch.onnx")).unwrap();
        let input = set_size(&mut proto, size.map(|side| DimValue(i64::from(side))));
        let tract = TractModel::new(&proto, &input, value).unwrap();
        let flex = device("flex").unwrap();
        let module = Classifier::new(&network, &weights, &flex).unwrap();
        for image in [0, 30] {
            let pixels = set.input(image);
            let normalized: Vec<f32> =
                pixels.iter().enumerate().map(|(i, &p)| (f32::from(p) / 255.0 - mean[i % 3]) / std[i % 3]).collect();
            let theirs = tract.run_f32(&normalized).unwrap();
            let mut ours = Vec::new();
            module.forward_observed(pixel_tensor(&network, pixels, &flex), |output| {
                if output.name == layer {
                    ours = output.values;
                }
            });
            assert_eq!(ours.len(), theirs.len(), "{run}");
            let largest = theirs.iter().fold(1e-3_f32, |m, v| m.max(v.abs()));
            for (a, b) in ours.iter().zip(&theirs) {
                assert!((a - b).abs() <= 1e-4 * largest, "{run}: {a}, tract has {b}");
            }
        }
    }
}

#[test]
fn a_fine_tuning_of_a_file_is_taken_up_and_repeated() {
    let folder = workplace();
    let at = folder.path();
    let line = "finetune --base torch.onnx photos --range -1,1 --input 20x20 --resize center-crop --head gap,dropout~0.2,dense~N \
                --learning-rate 0.01";
    let [said, notes] = done(&format!("{line} --epochs 4 --unfreeze-epochs 1 --unfreeze-rate 0.001 --out whole"), at);
    assert!(said.contains("17 layers of torch.onnx, freeze = base") && !notes.contains("black and white"), "{notes}");
    let network = Trained::open(&at.join("whole")).unwrap().network;
    assert_eq!((network.input.mean, network.input.std), ([0.5; 3], [0.5; 3]));
    assert_eq!((network.input.shape, network.input.resize), (Shape::new(20, 20, 3), Resize::CenterCrop));
    done(&format!("{line} --epochs 2 --out parts"), at);
    let error = refused("finetune --resume parts --epochs 4 --preprocess tf", at);
    assert!(error.contains("[finetune] picture") && error.contains("the training was begun with"), "{error}");
    let error = refused("finetune --resume parts --epochs 4 --input 24x24", at);
    assert!(error.contains("[finetune] input = [24, 24], but the training was begun with [20, 20]"), "{error}");
    done("finetune --resume parts --epochs 4 --unfreeze-epochs 1 --unfreeze-rate 0.001", at);
    assert_eq!(weights(at, "whole"), weights(at, "parts"));
    // a configuration is all that it takes to do it again
    done("finetune --config whole/config.toml --out again", at);
    assert_eq!(weights(at, "whole"), weights(at, "again"));
    // pictures go the way from file to chip
    done("compile again --calibration-images 16", at);
    std::fs::remove_file(at.join("torch.onnx")).unwrap();
    let error = refused("finetune --resume parts", at);
    assert!(error.contains("there is no base") && error.contains("float .onnx or .tflite"), "{error}");
}

/// CONV_2D, AVERAGE_POOL_2D over all that is left, CONV_2D of one pixel, SOFTMAX, as MobileNets have them.
pub fn tflite() -> Model {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut floats = |name, shape: &[i32]| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_: i32| rng.random_range(-0.5..0.5)).collect();
        Tensor {
            name,
            shape: shape.to_vec(),
            data: bytes(values.into_iter().map(f32::to_le_bytes)),
            ..Tensor::default()
        }
    };
    let made = |name, shape: &[i32]| Tensor { name, shape: shape.to_vec(), ..Tensor::default() };
    let tensors = vec![
        made("picture", &[1, 12, 12, 3]),
        floats("features/kernel", &[8, 3, 3, 3]),
        floats("features/bias", &[8]),
        made("features/relu", &[1, 6, 6, 8]),
        made("pool", &[1, 1, 1, 8]),
        floats("logits/kernel", &[4, 1, 1, 8]),
        floats("logits/bias", &[4]),
        made("logits", &[1, 1, 1, 4]),
        made("scores", &[1, 1, 1, 4]),
    ];
    let conv = |stride, activation| {
        (1, vec![(0, Value::Byte(0)), (1, Value::Int(stride)), (2, Value::Int(stride)), (3, Value::Byte(activation))])
    };
    let pool = [1, 1, 6, 6].map(Value::Int);
    let pool = vec![(0, Value::Byte(1)), (1, pool[0]), (2, pool[1]), (3, pool[2]), (4, pool[3])];
    let operator = |code: i8, inputs: &[i32], output, options| Operator {
        code: (code, i32::from(code)),
        inputs: inputs.to_vec(),
        outputs: vec![output],
        options: Some(options),
        ..Operator::default()
    };
    let operators = vec![
        operator(3, &[0, 1, 2], 3, conv(2, 1)),
        operator(1, &[3], 4, (5, pool)),
        operator(3, &[4, 5, 6], 7, conv(1, 0)),
        operator(25, &[7], 8, (9, vec![(0, Value::Float(1.0))])),
    ];
    Model { tensors, operators, outputs: vec![8], ..relu() }
}

#[test]
fn a_tflite_file_is_the_base_that_its_import_is() {
    let folder = workplace();
    let at = folder.path();
    std::fs::write(at.join("base.tflite"), tflite().file()).unwrap();
    done("import base.tflite --range -1,1 --out imported", at);
    let line = "finetune photos --epochs 2 --head gap,dense~4~relu,dense~N --input 16x18";
    let [said, _] = done(&format!("{line} --base base.tflite --preprocess tf --out one"), at);
    assert!(said.contains("1 layers of base.tflite"), "its pool and what follows are its head: {said}");
    done(&format!("{line} --base imported --out other"), at);
    let [one, other] = ["one", "other"].map(|run| Trained::open(&at.join(run)).unwrap());
    assert_eq!((one.network.input, &one.weights), (other.network.input, &other.weights));
    let frozen = Trained::open(&at.join("imported")).unwrap().weights;
    assert_eq!(one.weights.layer("features/relu"), frozen.layer("features/relu"));
    assert!(frozen.layer("features/relu").is_some());
    let [_, notes] = done(&format!("{line} --base base.tflite --out unsaid"), at);
    assert!(notes.contains("pixels of 0 to 1 (a guess") && notes.contains("--preprocess tf"), "{notes}");
}

#[test]
fn bases_that_cannot_be_are_refused() {
    let folder = workplace();
    let at = folder.path();
    std::fs::copy(repository("tests/models/mobile_uint8.tflite"), at.join("uint8.tflite")).unwrap();
    std::fs::copy(repository("tests/models/ort_qdq_small.onnx"), at.join("qdq.onnx")).unwrap();
    std::fs::write(at.join("text.onnx"), "no network").unwrap();
    let mut open = read_onnx(&at.join("torch.onnx")).unwrap();
    set_size(&mut open, ["rows", "columns"].map(|name| DimParam(name.to_owned())));
    std::fs::write(at.join("open.onnx"), open.encode_to_vec()).unwrap();
    let resnet8 = repository("models/resnet8");
    for (base, options, expected) in [
        ("torch.onnx", "--cut depthwise", "the nearest of its 22 layers"),
        ("torch.onnx", "--cut Conv", "depthwise/Conv"),
        ("torch.onnx", "--input 24x24 --cut hidden/Gemm", "layer 19 'hidden/Gemm' of the base has weights for 1x1x108"),
        ("torch.onnx", "--input 3x3", "--input 3x3: layer"),
        ("torch.onnx", "--input 0x9", "'0x9' is no size"),
        ("torch.onnx", "--range 1,-1", "white must be above black"),
        ("torch.onnx", "--range 0,1 --preprocess tf", "cannot be used with"),
        ("torch.onnx", "--preprocess keras", "possible values: tf, torch, caffe, unit, none"),
        ("open.onnx", "", "leaves the size of its input open: give --input HxW"),
        ("uint8.tflite", "", "uint8.tflite: is quantized"),
        ("qdq.onnx", "", "qdq.onnx: is quantized"),
        ("text.onnx", "", "text.onnx"),
        ("nothing.tflite", "", "there is no base nothing.tflite"),
        (resnet8.to_str().unwrap(), "--preprocess tf", "is a run folder"),
    ] {
        let error = refused(&format!("finetune --base {base} photos {options} --epochs 1 --out none"), at);
        assert!(error.contains(expected), "{base} {options}: {error}");
        assert!(!at.join("none").exists(), "{base} {options}");
    }
    // a size that the file leaves open is that of the pictures
    done("finetune --base open.onnx photos --input 16x16 --head flatten,dense~N --epochs 1 --out sized", at);
    assert_eq!(Trained::open(&at.join("sized")).unwrap().network.input.shape, Shape::new(16, 16, 3));
}

/// The networks of `models/` with weights are bases without any download.
#[test]
fn networks_trained_here_are_bases_too() {
    let folder = workplace();
    let at = folder.path();
    for name in ["resnet8", "ocellus"] {
        let base = repository("models").join(name);
        let [said, _] =
            done(&format!("finetune --base {} photos --input 16x16 --epochs 3 --out {name}", base.display()), at);
        assert!(said.contains("times as fast"), "{said}");
        let (before, after) = (Trained::open(&base).unwrap(), Trained::open(&at.join(name)).unwrap());
        let kept = |weights: &Weights| {
            before.weights.iter().filter(|(layer, numbers)| weights.layer(layer) == Some(numbers)).count()
        };
        assert_eq!(before.config.dataset.validation_split, Some(0.1));
        assert_eq!(after.config.dataset.validation_split, None, "that was said of another dataset");
        // all but its own dense layer
        assert_eq!(kept(&after.weights) + 1, before.weights.iter().count(), "{name}");
    }
}

#[test]
fn an_import_replaces_an_import_but_no_training() {
    let folder = workplace();
    let at = folder.path();
    done("import torch.onnx --out net", at);
    // a model that was compiled of the same weights, but for other pixels
    std::fs::write(at.join("net/model.ocelli"), "compiled").unwrap();
    done("import torch.onnx --preprocess tf --out net", at);
    assert!(!at.join("net/model.ocelli").exists(), "the model of other pixels is gone");
    assert_eq!(Trained::open(&at.join("net")).unwrap().network.input.mean, [0.5; 3]);
    std::fs::write(at.join("net/history.csv"), "epoch").unwrap();
    let before = std::fs::read(at.join("net/net.toml")).unwrap();
    for file in ["torch.onnx", "qdq.onnx"] {
        std::fs::copy(repository("tests/models/ort_qdq_small.onnx"), at.join("qdq.onnx")).unwrap();
        assert!(refused(&format!("import {file} --out net"), at).contains("holds a training"), "{file}");
    }
    assert_eq!(std::fs::read(at.join("net/net.toml")).unwrap(), before);
    done("import qdq.onnx --out net --overwrite", at);
    let files = |name: &str| at.join("net").join(name).exists();
    assert!(
        files("model.ocelli") && !files("net.toml") && !files("history.csv"),
        "nothing of the other network is left"
    );
}

#[test]
fn files_that_would_take_all_memory_or_give_no_numbers_are_refused() {
    let folder = workplace();
    let at = folder.path();
    let model = read_onnx(&at.join("torch.onnx")).unwrap();
    let mut huge = model.clone();
    let node = huge.graph.as_mut().unwrap().node.iter_mut().find(|node| node.op_type == "Conv").unwrap();
    node.attribute.iter_mut().find(|attribute| attribute.name == "pads").unwrap().ints = vec![1 << 40; 4];
    std::fs::write(at.join("huge.onnx"), huge.encode_to_vec()).unwrap();
    let mut damaged = model.clone();
    damaged.graph.as_mut().unwrap().output[0].name = "nothing".to_owned();
    std::fs::write(at.join("damaged.onnx"), damaged.encode_to_vec()).unwrap();
    let mut endless = model;
    for tensor in &mut endless.graph.as_mut().unwrap().initializer {
        if tensor.dims.len() == 1 && tensor.data_type == 1 {
            tensor.raw_data = tensor.raw_data.chunks(4).flat_map(|_| f32::NAN.to_le_bytes()).collect();
        }
    }
    std::fs::write(at.join("endless.onnx"), endless.encode_to_vec()).unwrap();
    for (file, expected) in
        [("huge.onnx", "1024 is the most that is taken"), ("damaged.onnx", "tract"), ("endless.onnx", "are no numbers")]
    {
        let error =
            refused(&format!("predict --model {file} {}", repository("tests/data/photos/chelsea.png").display()), at);
        assert!(error.contains(expected), "{file}: {error}");
    }
    refused("import huge.onnx --out huge", at);
}
