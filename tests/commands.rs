//! The command as its users meet it: files in, files and tables out, exit codes, and what it says to bad input.

use crate::support::{repository, reseal, shipped_model};
use image::{Luma, Rgb, RgbImage};
use ocelli_host::data::{DataSource, Split};
use ocelli_host::network::Network;
use std::path::Path;
use std::process::{Command, Output};

pub fn ocelli(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ocelli")).args(arguments).current_dir(folder).output().unwrap()
}

/// Runs a command that must succeed; returns its standard output.
pub fn done(arguments: &[&str], folder: &Path) -> String {
    let output = ocelli(arguments, folder);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must end with exit code 2; returns its message.
pub fn refused(arguments: &[&str], folder: &Path) -> String {
    let output = ocelli(arguments, folder);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert!(error.contains("error: "), "{error}");
    error
}

pub fn json(arguments: &[&str], folder: &Path) -> serde_json::Value {
    serde_json::from_str(&done(arguments, folder)).unwrap()
}

/// A folder of class folders with pictures of many sizes and formats: red things and blue things.
pub fn photos(folder: &Path) {
    for (class, hue) in [("blue", [30, 40, 200]), ("red", [210, 40, 30])] {
        let class = folder.join(class);
        std::fs::create_dir_all(&class).unwrap();
        for i in 0..24_u32 {
            let size = 12 + 7 * (i % 5);
            let picture = RgbImage::from_fn(size, size + i % 3, |x, y| {
                let noise = ((x * 31 + y * 17 + i * 7) % 40) as u8;
                Rgb(hue.map(|v: u8| v.saturating_add(noise)))
            });
            let extension = ["png", "jpg", "bmp"][i as usize % 3];
            picture.save(class.join(format!("{i:02}.{extension}"))).unwrap();
        }
    }
}

const NET: &str = r#"
name = "colours"
[input]
height = 16
width = 16
color = "rgb"
resize = "center-crop"
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[[layer]]
type = "conv2d"
filters = 4
kernel = 3
padding = "same"
activation = "relu"
[[layer]]
type = "max_pool2d"
kernel = 4
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
units = 2
[[layer]]
type = "softmax"
"#;

#[test]
fn own_photos_go_all_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    std::fs::write(at.join("photos/red/broken.jpg"), b"\xff\xd8\xff\xe0 no picture").unwrap();
    std::fs::write(at.join("net.toml"), NET).unwrap();
    std::fs::write(
        at.join("config.toml"),
        "[dataset]\npath = \"photos\"\nvalidation_fraction = 0.25\n[network]\nfile = \"net.toml\"\n\
         [training]\nepochs = 1\nbatch_size = 8\n[quantization]\ncalibration_images = 20\n",
    )
    .unwrap();

    let trained = ocelli(&["train", "config.toml", "--epochs", "12", "--out", "run"], at);
    let warning = String::from_utf8_lossy(&trained.stderr).into_owned();
    assert_eq!(trained.status.code(), Some(0), "{warning}");
    assert!(warning.contains("broken.jpg"), "a corrupt picture among good ones is named: {warning}");
    let history = std::fs::read_to_string(at.join("run/history.csv")).unwrap();
    assert_eq!(history.lines().count(), 13, "the flag overrides the file");

    done(&["compile", "run"], at);
    let check = json(&["check", "run", "photos", "--no-device", "--json"], at);
    assert_eq!(check["passed"], true);
    let eval = json(&["eval", "run", "photos", "--json", "--confusion", "confusion.png"], at);
    assert_eq!(eval["accuracy"], 1.0, "{eval}");
    // on the run's own pictures: the quarter of 48 that the training set aside
    assert_eq!((&eval["images"], &eval["may_include_training_images"]), (&12.into(), &false.into()));
    photos(&at.join("others"));
    let eval = json(&["eval", "run", "others", "--json"], at);
    assert_eq!((&eval["images"], &eval["may_include_training_images"]), (&48.into(), &true.into()));
    assert!(image::open(at.join("confusion.png")).unwrap().width() > 100);
    assert!(json(&["eval", "run", "photos", "--float", "--json"], at)["loss"].as_f64().unwrap() < 0.5);
    let guesses =
        json(&["predict", "--model", "run", "--top", "1", "--json", "photos/red/04.jpg", "photos/blue/02.bmp"], at);
    assert_eq!(guesses[0]["top"][0]["label"], "red");
    assert_eq!(guesses[1]["top"][0]["label"], "blue");
    // two threads share the rows of a picture: the same bytes
    let on_host = |threads: &str| {
        let pictures = ["photos/red/04.jpg", "photos/blue/02.bmp"];
        let arguments = ["predict", "--model", "run", "--top", "1", "--json", "--threads", threads];
        json(&[&arguments[..], &pictures].concat(), at)
    };
    assert_eq!(on_host("2"), guesses, "one thread runs a model for a chip");
    done(&["compile", "run", "--board", "host"], at);
    assert_eq!((on_host("1"), on_host("2")), (guesses.clone(), guesses));
    refused(&["predict", "--model", "run", "--threads", "0", "photos/red/04.jpg"], at);
    std::fs::rename(at.join("photos"), at.join("elsewhere")).unwrap();
    let error = refused(&["compile", "run"], at);
    assert!(error.contains("run/config.toml") && error.contains("--data DIR"), "{error}");
    std::fs::rename(at.join("elsewhere"), at.join("photos")).unwrap();
    done(&["compile", "run"], at);
    let expected = [
        "batches.csv",
        "checkpoints",
        "config.toml",
        "curves.png",
        "figures.json",
        "history.csv",
        "labels.txt",
        "model.ocelli",
        "model.onnx",
        "model.qdq.onnx",
        "net.toml",
        "report.html",
        "weights.safetensors",
    ];
    let mut files: Vec<_> = std::fs::read_dir(at.join("run")).unwrap().map(|e| e.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, expected);

    // what was measured is on the run's page, in the list of runs, and in their comparison
    // (it is compiled for the host by now: what was checked before was another model)
    json(&["check", "run", "photos", "--no-device", "--json"], at);
    done(&["report", "run", "photos"], at);
    let page = std::fs::read_to_string(at.join("run/report.html")).unwrap();
    let measures = page.lines().filter(|line| line.contains("To measure:")).collect::<Vec<_>>();
    assert!(matches!(measures[..], [device] if device.contains("cargo xtask bench host")), "{measures:?}");

    // the run folder is enough to repeat the run
    done(&["train", "run/config.toml", "--out", "again"], at);
    let bytes = |run: &str| std::fs::read(at.join(run).join("weights.safetensors")).unwrap();
    assert_eq!(bytes("run"), bytes("again"), "the same configuration and seed give the same weights");
    done(&["train", "run/config.toml", "--seed", "2", "--out", "other"], at);
    assert_ne!(bytes("run"), bytes("other"));

    std::fs::create_dir(at.join("runs")).unwrap();
    std::fs::rename(at.join("other"), at.join("runs/other")).unwrap();
    let runs = json(&["runs", ".", "--sort", "int8", "--json"], at);
    let first = &runs[0];
    assert_eq!(
        (&first["run"], &first["network"], &first["data"]),
        (&"./run".into(), &"colours".into(), &"photos".into())
    );
    assert_eq!((&first["int8"], &first["epochs"], &first["kept_epoch"]), (&1.0.into(), &12.into(), &12.0.into()));
    let last = history.lines().last().unwrap().split(',').nth(4).unwrap().parse::<f64>().unwrap();
    assert_eq!(first["val_accuracy"], last, "of the weights that are kept");
    assert_eq!(first["int8_on"], "12 images of photos that the training set aside");
    assert_eq!(runs.as_array().unwrap().len(), 3);
    assert_eq!(runs[1]["int8"], serde_json::Value::Null, "another training was not evaluated");
    let compared = json(&["runs", "compare", "run", "other", "--json", "--out", "compared.png"], at); // the latter as `ocelli runs` names it
    let differing = serde_json::json!([{ "what": "training.seed", "values": ["1", "2"] }]);
    assert_eq!(compared["settings"], differing);
    assert!(image::open(at.join("compared.png")).unwrap().width() > 100);
    assert!(refused(&["runs", "compare", "run", "photos"], at).contains("photos is not the folder of a run"));
    assert!(refused(&["runs", ".", "--sort", "size"], at).contains("'size' is no sort key"));

    // another set: its figures do not stand beside those of the first
    done(&["eval", "run", "others", "--float"], at);
    let page = std::fs::read_to_string(at.join("run/report.html")).unwrap();
    assert!(
        page.contains("12 images of photos that the training set aside") && page.contains("all 48 images of others")
    );
    assert!(page.contains("measured on different images") && !page.contains("<dt>accuracy, float</dt>"));

    // a model that is compiled otherwise has no figures yet
    done(&["compile", "run", "--int4", "dense"], at);
    let page = std::fs::read_to_string(at.join("run/report.html")).unwrap();
    assert!(!page.contains("<dt>accuracy, int8</dt>"), "those of the earlier model");
    assert_eq!(
        json(&["runs", ".", "--json"], at).as_array().unwrap().iter().filter(|run| !run["int8"].is_null()).count(),
        0
    );

    // a run is not lost by accident, and nothing of one that is replaced outlives it
    assert!(refused(&["train", "config.toml", "--out", "run"], at).contains("run holds a run"));
    assert!(at.join("run/model.ocelli").exists());
    done(&["train", "config.toml", "--out", "run", "--overwrite"], at);
    assert!(!at.join("run/model.ocelli").exists() && !at.join("run/model.qdq.onnx").exists());
    assert!(refused(&["predict", "--model", "run", "photos/red/04.jpg"], at).contains("ocelli compile"));
}

#[test]
fn a_built_in_network_gets_the_classes_and_the_size_that_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    let line =
        ["train", "--data", "photos", "--network", "resnet8", "--input", "16x16", "--epochs", "1", "--out", "run"];
    let output = ocelli(&line, at);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("resnet8 is trained with 2 classes"), "{said}");
    assert!(
        said.contains("44 images of 2 classes to train on, 4 to validate on (drawn from the training set)"),
        "{said}"
    );
    assert!(said.contains("epoch 1/1: loss") && said.contains("val accuracy"), "{said}");
    let summary = done(&["summary", "run"], at);
    assert!(summary.contains("input 16 x 16 x 3") && summary.contains("1 x 1 x 2"), "{summary}");
}

#[test]
fn digits_are_predicted_from_picture_files() {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::open("mnist-cnn").unwrap();
    let source = DataSource::open(&repository("data/mnist-10k"), None).unwrap();
    let digits = source.load(Split::Test, &network.input, &mut |_, _| {}).unwrap().head(20);
    let mut arguments = vec!["predict".to_owned(), "--json".into(), "--top".into(), "2".into(), "--model".into()];
    arguments.push(shipped_model().join("model.ocelli").display().to_string());
    for i in 0..digits.len() {
        let picture = image::GrayImage::from_fn(28, 28, |x, y| Luma([digits.input(i)[(28 * y + x) as usize]]));
        picture.save(folder.path().join(format!("{i}.png"))).unwrap();
        arguments.push(format!("{i}.png"));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let predictions = json(&arguments, folder.path());
    let right =
        (0..20).filter(|&i| predictions[i]["top"][0]["label"] == digits.targets[i].to_string().as_str()).count();
    assert!(right >= 19, "{right} of 20");
    for prediction in predictions.as_array().unwrap() {
        let top = |i: usize| prediction["top"][i]["probability"].as_f64().unwrap();
        assert!(top(0) >= top(1) && (0.0..=1.0).contains(&top(0)), "{prediction}");
    }
}

#[test]
fn an_evaluation_gives_figures_pictures_and_rows() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (model, data) = (shipped_model().join("model.ocelli"), repository("data/mnist-10k"));
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let out = ["--mistakes", "m.png", "--reliability", "r.png", "--predictions", "p.csv"];
    let int8 = json(&[["eval", model, data, "--json"].as_slice(), &out].concat(), at);
    let float = json(&["eval", model, data, "--float", "--json"], at);
    for eval in [&int8, &float] {
        assert_eq!(eval["images"], 1000);
        let figure = |key: &str| eval[key].as_f64().unwrap();
        assert!(figure("accuracy") > 0.98 && figure("loss") < 0.07, "{eval}");
        assert!(eval["top_k"]["accuracy"].as_f64().unwrap() > 0.995);
        assert!(eval["calibration"]["expected_error"].as_f64().unwrap() < 0.02);
        assert!(eval["classes"].as_array().unwrap().iter().all(|class| class["f1"].as_f64().unwrap() > 0.95));
        let mistakes = eval["surest_mistakes"].as_array().unwrap();
        assert_eq!(mistakes.len() as u64, 1000 - eval["right"].as_u64().unwrap());
        assert!(mistakes.iter().all(|mistake| mistake["label"] != mistake["guess"]));
    }
    let rows = std::fs::read_to_string(at.join("p.csv")).unwrap();
    assert_eq!(rows.lines().count(), 1001);
    let right = rows.lines().skip(1).filter(|row| row.split(',').nth(4) == Some("1")).count() as u64;
    assert_eq!(int8["right"], right);
    for picture in ["m.png", "r.png"] {
        assert!(image::open(at.join(picture)).unwrap().height() > 400, "{picture}");
    }
    let text = done(&["eval", model, data], at);
    assert!(text.starts_with(&format!("1,000 test images of {data}\n")), "{text}");
    // what cannot be written is found out first, before the data is looked for
    for output in ["--predictions", "--confusion", "--mistakes", "--reliability"] {
        let error = refused(&["eval", model, "no data", output, "missing/file"], at);
        assert!(error.contains("cannot write missing/file"), "{error}");
    }
    for part in ["macro average", "top-5 accuracy", "expected calibration error", "F1"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!shipped_model().join("figures.json").exists(), "a folder without a page is left as it is");
}

#[test]
fn a_page_can_be_written_beside_a_run_that_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (run, data) = (shipped_model(), repository("data/mnist-10k"));
    let files = || std::fs::read_dir(&run).unwrap().count();
    let before = files();
    done(&["report", run.to_str().unwrap(), data.to_str().unwrap(), "--out", "page.html"], at);
    assert_eq!(files(), before);
    let page = std::fs::read_to_string(at.join("page.html")).unwrap();
    for part in ["<h1>mnist-cnn</h1>", "34,826", "36,764", "Surest mistakes", "Confused most", "signal to noise"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.len() < 400_000, "{} bytes are too many for a phone", page.len());
    assert!(refused(&["report", "nothing"], at).contains("nothing is no folder"));
}

#[test]
fn labels_are_drawn_on_pictures_and_names_do_not_collide() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let photo = repository("tests/data/photos/chelsea.png");
    std::fs::create_dir(at.join("other")).unwrap();
    std::fs::copy(&photo, at.join("other/chelsea.png")).unwrap();
    let model = shipped_model().join("model.ocelli");
    let drawn = json(
        &[
            "predict",
            "--model",
            model.to_str().unwrap(),
            "--draw",
            "drawn",
            "--json",
            photo.to_str().unwrap(),
            "other/chelsea.png",
        ],
        at,
    );
    let arguments = [
        "predict",
        "--model",
        model.to_str().unwrap(),
        "--draw",
        "drawn",
        photo.to_str().unwrap(),
        "other/chelsea.png",
    ];
    let text = done(&arguments, at);
    for (line, file) in text.lines().zip(["drawn/chelsea.png", "drawn/chelsea-2.png"]) {
        assert!(line.ends_with(&format!("(drawn: {file})")), "{line}");
    }
    let error = refused(&["predict", "--model", model.to_str().unwrap(), "other"], at);
    assert!(error.contains("other: is a folder, not a picture: give files, such as other/*"), "{error}");
    assert_eq!((&drawn[0]["drawn"], &drawn[1]["drawn"]), (&"drawn/chelsea.png".into(), &"drawn/chelsea-2.png".into()));
    let (plain, drawn) =
        (image::open(&photo).unwrap().into_rgb8(), image::open(at.join("drawn/chelsea-2.png")).unwrap().into_rgb8());
    assert_eq!(plain.dimensions(), drawn.dimensions());
    let changed = |y: u32| (0..plain.width()).filter(|&x| plain.get_pixel(x, y) != drawn.get_pixel(x, y)).count();
    assert_eq!(changed(10), 0, "the upper half stays");
    assert!(changed(plain.height() - 10) > 100, "the lower edge carries the text");
}

#[test]
fn class_names_have_their_room_in_the_confusion_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("net.toml"), NET).unwrap();
    photos(&at.join("short"));
    photos(&at.join("long"));
    for class in ["blue", "red"] {
        std::fs::rename(at.join("long").join(class), at.join("long").join(format!("{class} things of all kinds")))
            .unwrap();
    }
    let size = |data: &str| {
        let (run, png) = (format!("run-{data}"), format!("{data}.png"));
        done(&["train", "--data", data, "--network", "net.toml", "--epochs", "1", "--out", &run], at);
        done(&["eval", &run, data, "--float", "--confusion", &png], at);
        image::open(at.join(png)).unwrap().to_luma8().dimensions()
    };
    // names that do not fit a column are turned: they need more height
    let (short, long) = (size("short"), size("long"));
    assert!(long.1 >= short.1 + 80, "{short:?} {long:?}");
}

#[cfg(unix)]
#[test]
fn a_command_whose_output_nobody_reads_ends_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    for arguments in [&["summary", "resnet50"][..], &["data", "stats", "photos", "--json"], &["runs", "."]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
        let output = command.args(arguments).current_dir(folder.path()).stdout(writer).output().unwrap();
        // as a shell sees a tool that ends by SIGPIPE
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn summary_prints_the_table_that_keras_prints_and_more() {
    let folder = tempfile::tempdir().unwrap();
    let summary = json(&["summary", "mnist-cnn", "--json"], folder.path());
    assert_eq!(summary["parameters"], 34_826);
    assert_eq!(summary["layers"][0]["output_shape"], serde_json::json!([26, 26, 32]));
    // the first convolution: 26 x 26 outputs of 32 channels, 3 x 3 taps each
    assert_eq!(summary["layers"][0]["macs"], 26 * 26 * 32 * 9);
    let model = std::fs::metadata(shipped_model().join("model.ocelli")).unwrap().len();
    assert_eq!(summary["flash_bytes"], model, "flash is that of the compiled file");
    let text = done(&["summary", "mnist-cnn"], folder.path());
    for part in ["26 x 26 x 32", "18,496", "34,826", "RAM"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn operator_cases_are_run_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = repository("tests/vectors");
    let out = done(&["check", "--vectors", vectors.to_str().unwrap()], folder.path());
    let count = std::fs::read_dir(&vectors)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "json"))
        .count();
    assert_eq!(out.trim(), format!("{count} passed, 0 failed"));
    let case = std::fs::read_to_string(vectors.join("softmax_00.json")).unwrap();
    std::fs::write(folder.path().join("good.json"), &case).unwrap();
    std::fs::write(folder.path().join("bad.json"), case.replacen("[-128, -128,", "[-127, -128,", 1)).unwrap();
    let output = ocelli(&["check", "--vectors", "."], folder.path());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("FAILED bad.json: element 0 is -128, expected -127") && text.contains("1 passed, 1 failed"),
        "{text}"
    );
}

#[test]
fn check_ends_with_code_1_when_the_model_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(shipped_model()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let model = folder.path().join("model.ocelli");
    let mut file = std::fs::read(&model).unwrap();
    let at = crate::support::OpFields::of(&file, 0).weights(&file);
    file[at] ^= 0x40;
    reseal(&mut file);
    std::fs::write(&model, file).unwrap();
    let data = repository("data/mnist-10k");
    let output = ocelli(&["check", ".", data.to_str().unwrap(), "--no-device"], folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("FAILED") && text.contains("layer conv2d, runtime vs tract"), "{text}");
}

#[test]
fn bad_model_files_are_named_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let good = std::fs::read(shipped_model().join("model.ocelli")).unwrap();
    std::fs::write(at.join("picture.png"), std::fs::read(repository("tests/data/photos/chelsea.png")).unwrap())
        .unwrap();
    let mut flipped = good.clone();
    flipped[3000] ^= 1;
    let mut future = good.clone();
    future[8] = 9;
    reseal(&mut future);
    for (name, bytes, expected) in [
        ("short.ocelli", &good[..good.len() / 2], "its header says"),
        ("flipped.ocelli", &flipped[..], "is damaged"),
        ("future.ocelli", &future[..], "format version 9, this build reads version 2"),
        ("text.ocelli", &b"no model"[..], "not an .ocelli model file"),
    ] {
        std::fs::write(at.join(name), bytes).unwrap();
        let error = refused(&["predict", "--model", name, "picture.png"], at);
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
    let error = refused(&["predict", "--model", "nothing.ocelli", "picture.png"], at);
    assert!(error.contains("nothing.ocelli") && error.contains("ocelli compile"), "{error}");
}

#[test]
fn bad_datasets_and_configs_are_named_and_explained_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    std::fs::create_dir_all(at.join("empty")).unwrap();
    photos(&at.join("one"));
    std::fs::remove_dir_all(at.join("one/red")).unwrap();
    std::fs::write(at.join("net.toml"), NET).unwrap();
    std::fs::write(at.join("three.toml"), NET.replace("units = 2", "units = 3")).unwrap();
    let sigmoid = NET.replace("units = 2", "units = 1").replace("type = \"softmax\"", "type = \"sigmoid\"");
    std::fs::write(at.join("sigmoid.toml"), sigmoid).unwrap();
    std::fs::write(at.join("large.toml"), NET.replace("kernel = 4", "kernel = 40")).unwrap();
    std::fs::write(at.join("labels.txt"), "a\nb\nc\n").unwrap();
    std::fs::write(at.join("file"), "in the way").unwrap();
    let config = "[dataset]\npath = \"photos\"\n[network]\nfile = \"net.toml\"\n[training]\nepocs = 3\n";
    std::fs::write(at.join("unknown.toml"), config).unwrap();
    std::fs::write(at.join("rate.toml"), config.replace("epocs = 3", "learning_rate = -1.0")).unwrap();
    let cases: [(&[&str], &str); 11] = [
        (&["--data", "photos", "--network", "sigmoid.toml"], "end it in dense with 2 units and softmax"),
        (&["--data", "empty", "--network", "net.toml"], "empty"),
        (&["--data", "one", "--network", "net.toml"], "one"),
        (&["--data", "missing", "--network", "net.toml"], "missing"),
        (&["--data", "photos", "--network", "three.toml"], "has 3 units but the dataset has 2 classes"),
        (&["--data", "photos", "--network", "large.toml"], "layer 2 'max_pool2d' cannot take its input of 16x16x4"),
        (&["--data", "photos", "--network", "net.toml", "--labels", "labels.txt"], "labels.txt"),
        (&["--data", "photos", "--network", "nonet"], "no built-in network of that name"),
        (&["unknown.toml"], "epocs"),
        (&["rate.toml"], "learning_rate = -1"),
        (&["--data", "photos", "--network", "net.toml", "--out", "file/run"], "cannot write to the folder file/run"),
    ];
    for (arguments, expected) in cases {
        let mut line = vec!["train"];
        line.extend(arguments);
        if !arguments.contains(&"--out") {
            line.extend(["--out", "run"]);
        }
        let error = refused(&line, at);
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(!at.join("run").exists(), "{arguments:?} left something behind");
    }
}

#[test]
fn a_wrong_command_line_and_missing_references_end_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    refused(&["predict"], folder.path());
    refused(&["check", "model.ocelli"], folder.path());
    std::fs::copy(shipped_model().join("model.ocelli"), folder.path().join("model.ocelli")).unwrap();
    let data = repository("data/mnist-10k");
    let error = refused(&["check", "model.ocelli", data.to_str().unwrap(), "--no-device"], folder.path());
    assert!(error.contains("net.toml is missing"), "{error}");
    assert!(String::from_utf8(ocelli(&["--help"], folder.path()).stdout).unwrap().contains("Exit codes"));
}

#[test]
fn a_page_shows_what_is_inside_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (run, photo) = (shipped_model(), repository("tests/data/photos/chelsea.png"));
    let (run, photo) = (run.to_str().unwrap(), photo.to_str().unwrap());
    let out = done(&["explain", photo, "--model", run, "--class", "8", "--layer", "conv2d"], at);
    assert!(out.contains("float: ") && out.contains("int8: ") && out.contains("wrote explain.html"), "{out}");
    let page = std::fs::read_to_string(at.join("explain.html")).unwrap();
    assert!(page.len() < 2_000_000 && page.starts_with("<!DOCTYPE html>"));
    assert!(page.contains(r#""cam_classes":[8,"#) && page.contains(r#""cam_layer":"conv2d""#));

    // a model file alone has no float side
    std::fs::copy(shipped_model().join("model.ocelli"), at.join("alone.ocelli")).unwrap();
    let out = done(&["explain", photo, "--model", "alone.ocelli", "--out", "alone.html"], at);
    assert!(!out.contains("float: ") && out.contains("int8: "), "{out}");
    assert!(std::fs::read_to_string(at.join("alone.html")).unwrap().contains("Only int8 is shown"));

    let cases: [(&[&str], &str); 4] = [
        (&[photo, "--model", run, "--class", "tiger"], "no class 'tiger': it has 0, 1"),
        (&[photo, "--model", run, "--layer", "dense"], "choose of conv2d, max_pool2d"),
        (&[photo, "--model", "alone.ocelli", "--class", "1"], "weights.safetensors"),
        (&["missing.png", "--model", run], "missing.png"),
    ];
    for (arguments, expected) in cases {
        let error = refused(&[&["explain", "--out", "none.html"], arguments].concat(), at);
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(!at.join("none.html").exists(), "{arguments:?} left something behind");
    }
}

#[test]
fn a_photo_is_convolved_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let photo = repository("tests/data/photos/chelsea.png");
    let photo = photo.to_str().unwrap();
    let original = image::open(photo).unwrap().to_rgb8();
    done(&["filter", photo, "--kernel", "identity", "--out", "same.png"], at);
    assert_eq!(image::open(at.join("same.png")).unwrap().to_rgb8(), original);
    let line = ["filter", photo, "--kernel", "[[-1, 1]]", "--padding", "valid", "--channel", "r", "--at", "2,1"];
    let out = done(&[&line[..], &["--compare", "compare.png"]].concat(), at);
    let (left, right) = (i32::from(original[(2, 1)][0]), i32::from(original[(3, 1)][0]));
    assert!(out.contains(&format!("sum {}\n", right - left)), "{left} {right}: {out}");
    assert_eq!(image::open(at.join("filtered.png")).unwrap().width(), original.width() - 1);
    assert_eq!(image::open(at.join("compare.png")).unwrap().height(), original.height());
    assert!(done(&["filter", "--list"], at).contains("sobel-x"));

    let cases: [(&[&str], &str); 4] = [
        (&["--kernel", "sobel"], "there is no kernel 'sobel': choose one of identity, sobel-x"),
        (&["--kernel", "[[1,2],[3]]"], "one length"),
        (&["--kernel", "identity", "--at", "9999,0"], "the convolution's output is"),
        (&["--kernel", "identity", "--stride", "0"], "--stride must be 1 to 64"),
    ];
    for (arguments, expected) in cases {
        let error = refused(&[&["filter", photo, "--out", "none.png"], arguments].concat(), at);
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert!(!at.join("none.png").exists(), "{arguments:?} left something behind");
    }
}
