//! `ocelli data` as its users meet it, and training from what it wrote.

use crate::commands::{done, json, ocelli, photos, refused};
use std::fs;
use std::path::Path;

const NET: &str = "name = \"colours\"\n[input]\nheight = 8\nwidth = 8\ncolor = \"rgb\"\nresize = \"stretch\"\n\
                   mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n[[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\n\
                   units = 2\n[[layer]]\ntype = \"softmax\"\n";

/// A tar archive of a folder's files, through the same library that reads it.
fn pack(folder: &Path, archive: &Path) {
    let mut builder = tar::Builder::new(fs::File::create(archive).unwrap());
    builder.append_dir_all("wrapped", folder).unwrap();
    builder.finish().unwrap();
}

#[test]
fn stats_name_what_is_wrong_and_exit_with_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos/train"));
    let clean = json(&["data", "stats", "photos", "--json"], at);
    assert_eq!(clean["sets"][0]["classes"], serde_json::json!([24, 24]));
    assert_eq!(clean["width"], serde_json::json!([12, 26, 40]));
    fs::create_dir_all(at.join("photos/val/red")).unwrap();
    fs::create_dir_all(at.join("photos/val/blue")).unwrap();
    fs::copy(at.join("photos/train/red/04.jpg"), at.join("photos/val/red/leak.jpg")).unwrap();
    fs::write(at.join("photos/val/blue/broken.png"), "no picture").unwrap();
    pack(&at.join("photos"), &at.join("photos.tar"));
    for data in ["photos", "photos.tar"] {
        let output = ocelli(&["data", "stats", data], at);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("corrupt  1 files") && text.contains("broken.png (validation)"), "{text}");
        assert!(text.contains("leak (exact)") && text.contains("leak.jpg (validation, red)"), "{text}");
    }
}

#[test]
fn what_is_merely_alike_is_a_note() {
    let digits = crate::support::repository("data/mnist-10k");
    let text = done(&["data", "stats", digits.to_str().unwrap()], Path::new("."));
    // ones of the training and the test set that two people wrote alike
    assert!(text.contains("note: alike, in two sets (near)") && !text.contains("leak"), "{text}");
}

#[test]
fn stats_count_what_cannot_be_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    fs::create_dir(at.join("photos/green")).unwrap();
    fs::write(at.join("photos/red/notes.txt"), "about these").unwrap();
    fs::copy(at.join("photos/red/04.jpg"), at.join("photos/cover.jpg")).unwrap();
    let text = done(&["data", "stats", "photos"], at);
    for part in
        ["no pictures of green", "corrupt  0 files", "1 file passed over: no picture", "1 file passed over: beside"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    fs::remove_dir_all(at.join("photos/blue")).unwrap();
    fs::remove_dir_all(at.join("photos/green")).unwrap();
    let text = done(&["data", "stats", "photos"], at);
    assert!(text.contains("all pictures are of one class, red"), "{text}");
}

#[test]
fn previews_are_the_same_for_the_same_seed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    let section =
        "[augmentation]\nrotation = 30\nhorizontal_flip = true\nbrightness = [0.7, 1.3]\nfill = \"reflect\"\n";
    fs::write(at.join("config.toml"), section).unwrap();
    let sheet = |out: &str, more: &[&str]| {
        let mut line = vec!["data", "preview", "photos", "--images", "5", "--out", out];
        line.extend(more);
        done(&line, at);
        image::open(at.join(out)).unwrap().into_rgb8()
    };
    let augmented = ["--augment", "config.toml", "--seed", "3"];
    let first = sheet("a.png", &augmented);
    assert_eq!(first.dimensions(), (8 * 102 + 6, 5 * 114 + 6));
    assert_eq!(first, sheet("b.png", &augmented));
    assert_ne!(first, sheet("c.png", &["--augment", "config.toml"]));
    assert_eq!(sheet("d.png", &[]).dimensions(), (5 * 102 + 6, 114 + 6));
    // the network's input is not known: what is told in its pixels is not as in training
    fs::write(at.join("cutout.toml"), "[augmentation]\ncutout = 8\n").unwrap();
    let line = ["data", "preview", "photos", "--out", "f.png", "--augment", "cutout.toml"];
    let note = |more: &[&str]| String::from_utf8(ocelli(&[&line[..], more].concat(), at).stderr).unwrap();
    assert!(note(&[]).contains("pictures are drawn at 96x96"));
    assert!(!note(&["--network", "cifar-cnn"]).contains("96x96"));
    fs::write(at.join("cutout.toml"), "[network]\nfile = \"cifar-cnn\"\n[augmentation]\ncutout = 8\n").unwrap();
    assert!(!note(&[]).contains("96x96"), "the config names a network");
    fs::write(at.join("wrong.toml"), "[augmentation]\nrotate = 30\n").unwrap();
    let error = refused(&["data", "preview", "photos", "--out", "e.png", "--augment", "wrong.toml"], at);
    assert!(error.contains("wrong.toml") && error.contains("rotate"), "{error}");
}

#[test]
fn what_split_writes_is_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    fs::write(at.join("net.toml"), NET).unwrap();
    let line = ["data", "split", "photos", "--validation", "0.25", "--test", "0.125", "--seed", "7", "--out"];
    let out = |more: &[&'static str]| [&line[..], more].concat();
    assert_eq!(done(&out(&["divided", "--link"]), at).trim(), "30 train, 12 validation, 6 test in divided");
    done(&out(&["table.csv", "--csv"]), at);
    assert!(refused(&out(&["divided"]), at).contains("is there already"));
    photos(&at.join("spoilt"));
    fs::write(at.join("spoilt/red/broken.png"), "no picture").unwrap();
    fs::copy(at.join("spoilt/red/04.jpg"), at.join("spoilt/red/again.jpg")).unwrap();
    let spoilt = ocelli(&["data", "split", "spoilt", "--validation", "0.5", "--out", "halves"], at);
    let said = String::from_utf8(spoilt.stderr).unwrap();
    assert!(said.contains("left out spoilt/red/broken.png") && said.contains("1 groups of equal pictures"), "{said}");
    let there = |set: &str, name: &str| at.join("halves").join(set).join("red").join(name).is_file();
    assert!(!there("train", "broken.png") && !there("validation", "broken.png"));
    assert_eq!(there("train", "04.jpg"), there("train", "again.jpg"));
    pack(&at.join("divided"), &at.join("divided.tar"));
    for data in ["divided", "table.csv", "divided.tar"] {
        let run = format!("run-{data}");
        done(&["train", "--data", data, "--network", "net.toml", "--epochs", "1", "--out", &run], at);
        let eval = json(&["eval", &run, data, "--float", "--json"], at);
        assert_eq!(eval["images"], 6, "{data}: {eval}");
    }
    // the same pictures in the same order: the same weights
    let weights = |run: &str| fs::read(at.join(run).join("weights.safetensors")).unwrap();
    assert_eq!(weights("run-divided"), weights("run-divided.tar"));
}

#[test]
fn bench_measures_what_the_config_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    photos(&at.join("photos"));
    fs::write(at.join("net.toml"), NET).unwrap();
    let config = "[dataset]\npath = \"photos\"\n[network]\nfile = \"net.toml\"\n[augmentation]\nzoom = [0.8, 1.2]\n";
    fs::write(at.join("config.toml"), config).unwrap();
    let rates = json(&["data", "bench", "config.toml", "--seconds", "0", "--json"], at);
    let feed = rates["feed"].as_array().unwrap();
    assert!(feed.len() >= 4 && feed.iter().all(|row| row["images_per_second"].as_f64().unwrap() > 0.0), "{rates}");
    assert!(feed.iter().any(|row| row["images"] == "from memory, augmented"), "{rates}");
}
