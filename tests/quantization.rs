//! A float network from elsewhere, quantized with pictures of other classes than its own: equalized, biases corrected, judged by tract,
//! and the same bytes every time.

use crate::commands::{done, json, ocelli, photos};
use ocelli_host::interchange::onnx;
use ocelli_host::network::{Network, Weights};
use ocelli_host::run::{Bundle, RunFolder, Trained};
use prost::Message;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::Path;

const NET: &str = r#"
name = "theirs"
[input]
height = 12
width = 12
color = "rgb"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[[layer]]
type = "conv2d"
name = "first"
filters = 8
kernel = 3
stride = 2
padding = "same"
activation = "relu6"
[[layer]]
type = "depthwise_conv2d"
name = "depthwise"
kernel = 3
padding = "same"
activation = "relu6"
[[layer]]
type = "conv2d"
name = "point"
filters = 6
kernel = 1
activation = "relu6"
[[layer]]
type = "global_average_pool2d"
name = "pool"
[[layer]]
type = "dense"
name = "end"
units = 5
activation = "softmax"
"#;

/// An imported network: channels of the first layer up to thirty times as large as others; logits times a gain.
fn import(at: &Path, gain: f32) {
    let network = Network::from_toml(NET, "net.toml").unwrap();
    let mut weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(4)).unwrap();
    let mut first = weights.layer("first").unwrap().clone();
    for (weight, channel) in first.kernel.iter_mut().zip((0..8).flat_map(|c| [c; 27])) {
        *weight *= 0.05 * 1.6_f32.powi(channel);
    }
    weights.insert("first", first);
    let mut end = weights.layer("end").unwrap().clone();
    end.kernel.iter_mut().for_each(|weight| *weight *= gain);
    weights.insert("end", end);
    let labels = ["a", "b", "c", "d", "e"].map(str::to_owned);
    std::fs::write(at.join("theirs.onnx"), onnx::export(&network, &weights, &labels).unwrap().encode_to_vec()).unwrap();
    done(&["import", "theirs.onnx", "--out", "run"], at);
}

#[test]
fn pictures_of_other_classes_quantize_a_network_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    import(at, 1.0);
    let config = Trained::open(&at.join("run")).unwrap().config;
    assert!(
        !config.quantization.equalize.is_off() && !config.quantization.bias_correction.is_off(),
        "an import tries all"
    );

    let compare = json(&["compile", "run", "--data", "photos", "--compare", "4", "--json"], at);
    assert_eq!(compare["trials"].as_array().map(Vec::len), Some(4 * 3 * 3));
    assert!(!at.join("run/model.ocelli").exists(), "nothing is written");

    let flags = ["--equalize", "activations", "--bias-correction", "on", "--calibrator", "min-max"];
    let report = json(&[&["compile", "run", "--data", "photos", "--json"], &flags[..]].concat(), at);
    let layers = report["quantization"]["layers"].as_array().unwrap();
    let lowest = layers[..layers.len() - 1].iter().min_by(|a, b| snr(a).total_cmp(&snr(b))).unwrap();
    assert_eq!(report["worst_layer"], lowest["name"]);
    assert!(report["agreement"]["agreement"].as_f64().unwrap() >= 0.5, "{report}");
    let adjustments = Bundle::open(&at.join("run")).unwrap().adjustments;
    assert!(adjustments.factors.contains_key("first") && adjustments.biases.contains_key("end"), "{adjustments:?}");

    // the choice is kept: without flags the same bytes are made
    let files = ["model.ocelli", "model.qdq.onnx", "adjustments.toml"].map(|name| at.join("run").join(name));
    let read = || files.each_ref().map(|path| std::fs::read(path).unwrap());
    let before = read();
    done(&["compile", "run"], at);
    assert_eq!(before, read());

    // every weight is the float one with these adjustments, and tract agrees layer by layer
    let check = json(&["check", "run", "photos", "--images", "3", "--no-device", "--json"], at);
    assert_eq!(
        (&check["passed"], &check["own_classes"], &check["report"]["images"]),
        (&true.into(), &false.into(), &3.into())
    );
    assert!(done(&["check", "run", "photos", "--images", "3", "--no-device"], at).contains("worst layer: "));
    let text = std::fs::read_to_string(&files[2]).unwrap();
    std::fs::write(&files[2], text.replacen("first = [", "first = [1.5, ", 1)).unwrap();
    let output = ocelli(&["check", "run", "photos", "--no-device"], at);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("compile it again"));

    let off = ["--equalize", "off", "--bias-correction", "off", "--rounding", "nearest"];
    done(&[&["compile", "run"], &off[..]].concat(), at);
    assert!(!files[2].exists(), "nothing is adjusted any more");
    let check = json(&["check", "run", "photos", "--images", "3", "--no-device", "--json"], at);
    assert_eq!(check["passed"], true);
}

#[test]
fn an_imported_network_is_widened_and_rounded_to_fit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    import(at, 1.0);
    let flags = ["--equalize", "activations", "--calibrator", "min-max", "--rounding", "fitted", "--widen", "0.5"];
    let said = ocelli(&[&["compile", "run", "--data", "photos"], &flags[..]].concat(), at);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let bundle = Bundle::open(&at.join("run")).unwrap();
    assert!(bundle.adjustments.fitted && !bundle.adjustments.doubles.is_empty(), "{:?}", bundle.adjustments);
    let (wide, _) = bundle.adjustments.equalized(&bundle.network, &bundle.weights).unwrap();
    let channels = |network: &Network| network.nodes().unwrap().iter().map(|node| node.output.c).sum::<u32>();
    assert!(channels(&wide) > channels(&bundle.network));

    // the choice is kept: without flags the same bytes are made
    let files = ["model.ocelli", "model.qdq.onnx", "adjustments.toml"].map(|name| at.join("run").join(name));
    let read = || files.each_ref().map(|path| std::fs::read(path).unwrap());
    let before = read();
    done(&["compile", "run"], at);
    assert!(before == read(), "other bytes");

    // every weight is a neighbour of the float one, tract agrees layer by layer, and all that reads the folder knows its channels
    let check = ["check", "run", "photos", "--images", "3", "--no-device", "--json"];
    let report = json(&check, at);
    assert_eq!(report["passed"], true, "{report}");
    let layers = &report["report"]["quantization"]["layers"];
    assert_eq!(layers.as_array().map(Vec::len), Some(wide.nodes().unwrap().len()), "{report}");
    assert!(report["rows"].to_string().contains("each the float one rounded up or down"), "{report}");
    assert!(done(&["summary", "run"], at).contains("widened, as it was compiled (--widen): MACs "));
    for format in ["tflite", "onnx-qdq", "onnx"] {
        done(&["export", "run", "--format", format, "--out", &format!("out.{format}")], at);
    }
    done(&["import", "out.tflite", "--out", "again"], at);
    let photo = std::fs::read_dir(at.join("photos")).unwrap().map(|entry| entry.unwrap().path());
    let photo = photo.flat_map(|class| std::fs::read_dir(class).unwrap()).next().unwrap().unwrap().path();
    done(&["explain", "--model", "run", &photo.display().to_string()], at);

    // a weight two steps away is none of these
    let text = std::fs::read_to_string(&files[2]).unwrap();
    std::fs::write(&files[2], text.replacen("fitted = true", "fitted = false", 1)).unwrap();
    let output = ocelli(&check[..6], at);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("the float weight is"));
    let output = ocelli(&["compile", "run", "--widen", "1.5"], at);
    assert!(String::from_utf8_lossy(&output.stderr).contains("widen = 1.5 must be a share"));
}

#[test]
fn an_imported_network_is_trained_towards_itself_in_int8() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    import(at, 1000.0);
    let flags =
        ["--equalize", "activations", "--bias-correction", "on", "--calibrator", "min-max", "--rounding", "nearest"];
    let flags = [&flags[..], &["--distill", "10"]].concat();
    let compile = [&["compile", "run", "--data", "photos"], &flags[..]].concat();
    let said = String::from_utf8_lossy(&ocelli(&compile, at).stderr).into_owned();
    let divergence = |what: &str| -> f64 {
        let line = said.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{said}"));
        line.split(' ').skip_while(|word| *word != "divergence").nth(1).unwrap().parse().unwrap()
    };
    assert!(divergence("distilled") < divergence("as it was"), "{said}");
    let tuned = at.join("run/tuned.safetensors");
    assert!(tuned.exists() && said.contains("(taken)"), "{said}");

    // the choice is kept: without flags the same bytes are made
    let files = ["model.ocelli", "model.qdq.onnx", "adjustments.toml", "tuned.safetensors"];
    let read = || files.map(|name| std::fs::read(at.join("run").join(name)).unwrap());
    let before = read();
    done(&["compile", "run"], at);
    assert!(before == read(), "other bytes");

    // every int8 weight is the tuned one, and no other
    let check = ["check", "run", "photos", "--images", "3", "--no-device", "--json"];
    assert_eq!(json(&check, at)["passed"], true);
    let bundle = Bundle::open(&at.join("run")).unwrap();
    let mut other = bundle.adjustments.tuned.unwrap();
    let mut first = other.layer("first").unwrap().clone();
    let largest = first.kernel.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
    first.kernel[0] += largest / 10.0;
    other.insert("first", first);
    other.write(&tuned).unwrap();
    let output = ocelli(&check[..6], at);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("the float weight is"));

    done(&["compile", "run", "--distill", "0"], at);
    assert!(!tuned.exists(), "it is of another model");
    let output = ocelli(&["compile", "run", "--distill", "2", "--int4", "large"], at);
    assert_eq!(output.status.code(), Some(2));
}

fn snr(layer: &serde_json::Value) -> f64 {
    layer["snr_db"].as_f64().unwrap_or(f64::INFINITY)
}

#[test]
fn a_training_of_ours_still_refuses_pictures_of_other_classes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    import(at, 1.0);
    let run = RunFolder::create(&at.join("run")).unwrap();
    std::fs::write(run.file("history.csv"), "epoch\n").unwrap();
    let output = ocelli(&["compile", "run", "--data", "photos"], at);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("trained on other classes (a, b, c, d, e)"));
}
