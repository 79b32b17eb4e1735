//! Photo collections: tagged once and again, moved, damaged, interrupted and killed; and searched.

use crate::commands::{done, json, ocelli, refused};
use crate::support::repository;
use image::{Rgb, RgbImage};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

fn model(name: &str) -> String {
    repository("models").join(name).display().to_string()
}

/// Writes a picture of its own for each number.
fn picture(path: &Path, number: u32, size: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let picture = RgbImage::from_fn(size, size + number % 3, |x, y| {
        let wave = (x * (1 + number % 7) + y * (2 + number % 5) + 31 * number) % 256;
        Rgb([wave as u8, (255 - wave) as u8, (number * 53 % 256) as u8])
    });
    picture.save(path).unwrap();
}

fn list(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("tags.json")).unwrap()).unwrap()
}

/// The numbers of a report: photos, tagged, run, known by content, unchanged, gone.
fn numbers(report: &Value) -> [u64; 6] {
    ["photos", "tagged", "run", "known_by_content", "unchanged", "gone"].map(|key| report[key].as_u64().unwrap())
}

#[test]
fn a_collection_is_tagged_as_predict_labels_it_and_only_its_changes_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (number, name) in ["a.png", "b.jpg", "trip/c.bmp", "trip/day 2/d.PNG", "trip/day 2/e,f.png"].iter().enumerate()
    {
        picture(&at.join("photos").join(name), number as u32, 40 + 5 * number as u32);
    }
    fs::write(at.join("photos/trip/broken.jpg"), b"\xff\xd8\xff\xe0 no picture").unwrap();
    fs::write(at.join("photos/notes.txt"), b"no picture").unwrap();
    let cifar = model("cifar-cnn");
    let tag = ["tag", "photos", "--model", &cifar, "--json", "--top", "3"];

    let error = refused(&["search", "photos", "dog"], at);
    assert!(error.contains("no tags in photos") && error.contains("ocelli tag photos --model"), "{error}");
    let first = json(&tag, at);
    assert_eq!(numbers(&first), [6, 5, 6, 0, 0, 0]);
    assert_eq!(first["corrupt"][0]["path"], "trip/broken.jpg");
    let tags = list(&at.join("photos"));
    let photos = tags["photos"].as_array().unwrap();
    let paths: Vec<&str> = photos.iter().map(|photo| photo["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["a.png", "b.jpg", "trip/c.bmp", "trip/day 2/d.PNG", "trip/day 2/e,f.png"]);
    assert_eq!(tags["corrupt"][0]["path"], "trip/broken.jpg");
    for photo in photos {
        let path = format!("photos/{}", photo["path"].as_str().unwrap());
        let top = json(&["predict", "--model", &cifar, "--top", "3", "--json", &path], at)[0]["top"].clone();
        let expected: Vec<_> = top.as_array().unwrap().iter().filter(|guess| guess["probability"] != 0.0).collect();
        let labels = photo["labels"].as_array().unwrap();
        assert_eq!(labels.len(), expected.len());
        for (tag, guess) in labels.iter().zip(expected) {
            assert_eq!((&tag["label"], &tag["score"]), (&guess["label"], &guess["probability"]), "{path}");
        }
    }
    let table = fs::read_to_string(at.join("photos/tags.csv")).unwrap();
    assert!(table.starts_with("path,label,score,reason\na.png,") && table.contains("\n\"trip/day 2/e,f.png\","));
    assert!(table.lines().last().unwrap().starts_with("trip/broken.jpg,,,"), "{table}");

    // nothing has changed: nothing is run, not even what is corrupt
    assert_eq!(numbers(&json(&tag, at)), [6, 5, 0, 0, 6, 0]);
    assert_eq!(list(&at.join("photos")), tags);
    // one is new, one has changed, one was touched, one moved, one is gone
    picture(&at.join("photos/new.png"), 17, 30);
    picture(&at.join("photos/a.png"), 18, 50);
    let touched = File::options().append(true).open(at.join("photos/b.jpg")).unwrap();
    touched.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    fs::rename(at.join("photos/trip/c.bmp"), at.join("photos/moved.bmp")).unwrap();
    fs::remove_file(at.join("photos/trip/day 2/d.PNG")).unwrap();
    let output = ocelli(&tag, at);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(numbers(&serde_json::from_slice(&output.stdout).unwrap()), [6, 5, 2, 2, 2, 2]);
    assert!(
        said.contains("no longer in the list: trip/c.bmp") && said.contains("no longer in the list: trip/day 2/d.PNG"),
        "{said}"
    );
    let again = list(&at.join("photos"));
    let labels = |tags: &Value, path: &str| {
        tags["photos"].as_array().unwrap().iter().find(|photo| photo["path"] == path).unwrap()["labels"].clone()
    };
    assert_eq!(labels(&again, "moved.bmp"), labels(&tags, "trip/c.bmp"));
    assert_eq!(labels(&again, "b.jpg"), labels(&tags, "b.jpg"));
    assert_ne!(labels(&again, "a.png"), labels(&tags, "a.png"));
    // the list is that of a folder that is tagged for the first time
    let fresh = [&tag[..], &["--out", "elsewhere"]].concat();
    assert_eq!(numbers(&json(&fresh, at)), [6, 5, 6, 0, 0, 0]);
    assert_eq!(list(&at.join("elsewhere"))["photos"], again["photos"]);
    let here: Vec<String> =
        done(&["search", "photos", "a", "--min-score", "0", "--paths"], at).lines().map(str::to_owned).collect();
    let there: Vec<String> =
        done(&["search", "elsewhere", "a", "--min-score", "0", "--paths"], at).lines().map(str::to_owned).collect();
    assert!(!here.is_empty() && here.len() == there.len());
    for (a, b) in here.iter().zip(&there) {
        let bytes = |path: &String| fs::read(at.join(path)).unwrap();
        assert_eq!(bytes(a), bytes(b), "{a} {b}");
    }

    // another model, another number of labels: all anew, and said so
    let saying = |arguments: &[&str], what: &str| {
        let output = ocelli(arguments, at);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(what), "{said}");
        assert_eq!(numbers(&serde_json::from_slice(&output.stdout).unwrap())[2], 6, "{said}");
    };
    let other = model("mnist-cnn");
    saying(&["tag", "photos", "--model", &other, "--json", "--top", "3"], "made by another model");
    saying(&["tag", "photos", "--model", &other, "--json", "--top", "2"], "have 3 labels a photo");
    saying(&["tag", "photos", "--model", &other, "--json", "--top", "2", "--anew"], "as asked for");

    fs::create_dir_all(at.join("others/empty")).unwrap();
    assert!(refused(&["tag", "others", "--model", &other], at).contains("no photos below others"));
    picture(&at.join("others/1.png"), 1, 20);
    let error = refused(&["tag", "others", "--model", &other, "--out", "elsewhere"], at);
    assert!(error.contains("the tags of another folder (../photos)"), "{error}");
    fs::write(at.join("photos/tags.json"), b"{}").unwrap();
    let error = refused(&["tag", "photos", "--model", &other], at);
    assert!(error.contains("tags.json is damaged") && error.contains("--anew"), "{error}");
    saying(&["tag", "photos", "--model", &other, "--json", "--anew"], "as asked for");
}

#[test]
fn photos_are_found_by_words_of_their_labels() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("photos")).unwrap();
    fs::write(
        at.join("photos/tags.json"),
        r#"{ "version": 1, "folder": ".", "model": { "name": "m", "sha256": "0" }, "top": 2, "labels": ["tabby cat", "caterpillar", "dog"],
            "photos": [
              { "path": "a.jpg", "bytes": 1, "modified": 1, "sha256": "1", "labels": [{ "label": "caterpillar", "score": 0.875 }] },
              { "path": "b/c.jpg", "bytes": 1, "modified": 1, "sha256": "2", "labels": [{ "label": "tabby cat", "score": 0.5 }, { "label": "dog", "score": 0.25 }] },
              { "path": "d.jpg", "bytes": 1, "modified": 1, "sha256": "3", "labels": [{ "label": "tabby cat", "score": 0.75 }] }
            ], "corrupt": [] }"#,
    )
    .unwrap();
    assert_eq!(
        done(&["search", "photos", "Cat"], at),
        " 75.00 %  photos/d.jpg  (tabby cat 75.00 %)\n 50.00 %  photos/b/c.jpg  (tabby cat 50.00 %)\n 87.50 %  photos/a.jpg  (caterpillar 87.50 %)\n"
    );
    assert_eq!(done(&["search", "photos", "cat", "--paths", "--top", "2"], at), "photos/d.jpg\nphotos/b/c.jpg\n");
    let found = json(&["search", "photos", "tabby cat", "--min-score", "0.6", "--json"], at);
    assert_eq!(
        found,
        serde_json::json!([{ "path": "photos/d.jpg", "score": 0.75, "whole_word": true, "labels": [{ "label": "tabby cat", "score": 0.75 }] }])
    );
    let nothing = ocelli(&["search", "photos", "dog"], at);
    assert_eq!((nothing.status.code(), nothing.stdout.is_empty()), (Some(0), true));
    let said = String::from_utf8(nothing.stderr).unwrap();
    assert!(said.contains("no photo reaches 0.3: one is below it, with 0.250"), "{said}");
    let error = refused(&["search", "photos", "dgo"], at);
    assert!(error.contains("no label holds \"dgo\": the model has dog, "), "{error}");
    assert!(refused(&["search", "photos", "dog", "--min-score", "30"], at).contains("from 0 to 1"));
    assert!(refused(&["search", "pictures", "dog"], at).contains("there is no folder pictures"));
}

#[cfg(unix)]
#[test]
fn a_killed_and_a_stopped_tagging_keep_what_was_done() {
    use std::os::unix::process::ExitStatusExt;
    const COUNT: u64 = 150;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for number in 0..COUNT {
        picture(&at.join(format!("photos/{number:03}.png")), number as u32, 400);
    }
    let cifar = model("cifar-cnn");
    let line = |out: &'static str| {
        ["tag", "photos", "--model", &cifar, "--threads", "1", "--json", "--out", out].map(str::to_owned)
    };
    // begins, and waits until some photos are done
    let begun = |out: &'static str| {
        let journal = at.join(out).join("tags.journal");
        let lines = || fs::read(&journal).map_or(0, |text| text.iter().filter(|&&byte| byte == b'\n').count());
        let before = lines();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ocelli"));
        child.args(line(out)).current_dir(at).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let began = Instant::now();
        while lines() < before.max(1) + 10 {
            assert!(child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(300));
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    };
    let mut child = begun("out");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "it was killed while it worked");
    assert!(!at.join("out/tags.json").exists());
    let error = refused(&["search", "out", "cat"], at);
    assert!(error.contains("go on with the `ocelli tag` that was interrupted"), "{error}");

    let child = begun("out");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("done by a run that was interrupted") && said.contains("the same command goes on"), "{said}");

    let arguments = line("out");
    let rest = json(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), at);
    let [photos, tagged, run, known, unchanged, _] = numbers(&rest);
    assert_eq!((photos, tagged, known, run + unchanged), (COUNT, COUNT, 0, COUNT));
    assert!(unchanged >= 20, "{rest}");
    assert!(!at.join("out/tags.journal").exists());
    let arguments = line("whole");
    json(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), at);
    assert_eq!(list(&at.join("whole"))["photos"], list(&at.join("out"))["photos"]);
}
