//! Trainings that are interrupted, killed and gone on with, in processes of their own and on one thread: the same bytes as unbroken.

use crate::support::digits;
use ocelli_host::data::{Dataset, Split};
use ocelli_host::network::Network;
use ocelli_host::train::{Checkpoint, Phase};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// All that has a state: momenta, statistics, dropout.
const NET: &str = r#"
name = "small"
[input]
height = 28
width = 28
color = "gray"
mean = [0.5]
std = [0.25]
[[layer]]
type = "conv2d"
filters = 8
kernel = 5
stride = 3
[[layer]]
type = "batch_norm"
[[layer]]
type = "relu"
[[layer]]
type = "dropout"
rate = 0.25
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
units = 10
[[layer]]
type = "softmax"
"#;

/// A command line; `~` is a space within a word.
fn command(line: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
    command
        .args(line.split_whitespace().map(|word| word.replace('~', " ")))
        .current_dir(folder)
        .env("RAYON_NUM_THREADS", "1");
    command
}

fn output(line: &str, folder: &Path) -> Output {
    command(line, folder).output().unwrap()
}

fn done(line: &str, folder: &Path) -> String {
    let output = output(line, folder);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(line: &str, folder: &Path) -> String {
    let output = output(line, folder);
    assert_eq!(output.status.code(), Some(2), "{line}");
    String::from_utf8(output.stderr).unwrap()
}

/// Writes digits as idx files.
fn write_idx(folder: &Path, name: &str, set: &Dataset) {
    let number = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    let mut images = [&[0, 0, 8, 3][..], &number(set.len()), &number(28), &number(28)].concat();
    images.extend(&set.pixels);
    std::fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
    let mut labels = [&[0, 0, 8, 1][..], &number(set.len())].concat();
    labels.extend(set.targets.iter().map(|&target| u8::try_from(target).unwrap()));
    std::fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
}

/// A folder with 640 digits to train on, 100 to validate on, and the network.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("digits");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(folder.path().join("net.toml"), NET).unwrap();
    let network = Network::from_toml(NET, "test").unwrap();
    write_idx(&data, "train", &digits(&network, Split::Train, 640));
    write_idx(&data, "t10k", &digits(&network, Split::Test, 100));
    folder
}

const TRAIN: &str = "train --data digits --network net.toml --learning-rate 0.003 --batch-size 16";

fn weights(folder: &Path, run: &str) -> Vec<u8> {
    std::fs::read(folder.join(run).join("weights.safetensors")).unwrap()
}

/// Starts a training and waits until it is in mid-epoch after the first of a phase, by a checkpoint of the phase that it wrote itself.
fn in_mid_epoch(line: &str, folder: &Path, run: &str, phase: Phase) -> Child {
    let position = || Some(Checkpoint::find(&folder.join(run), phase).ok()??.position());
    let before = position();
    let mut child = command(line, folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    loop {
        let now = position();
        if now != before && now.is_some_and(|(epochs, batches)| epochs > 0 && batches > 0) {
            return child;
        }
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none() && began.elapsed() < Duration::from_secs(300), "{ended:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends a process as a power cut does.
#[cfg(unix)]
fn kill(mut child: Child) {
    use std::os::unix::process::ExitStatusExt;
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "it was killed while it trained");
}

/// Ends a process as ctrl-C does; returns what it said.
#[cfg(unix)]
fn interrupt(child: Child) -> String {
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let ended = child.wait_with_output().unwrap();
    let message = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{message}");
    message
}

/// Writes even and odd digits, other classes and fewer than the base's, and their labels.
fn others(folder: &Path) {
    let others = folder.join("others");
    std::fs::create_dir(&others).unwrap();
    let parity = |split, count| {
        let mut set = digits(&Network::from_toml(NET, "test").unwrap(), split, count);
        set.targets.iter_mut().for_each(|target| *target %= 2);
        set
    };
    write_idx(&others, "train", &parity(Split::Train, 320));
    write_idx(&others, "t10k", &parity(Split::Test, 100));
    std::fs::write(folder.join("labels.txt"), "even\nodd\n").unwrap();
}

/// A file of a run, without the column of seconds where it is a history.
fn text(folder: &Path, run: &str, name: &str) -> String {
    let text = std::fs::read_to_string(folder.join(run).join(name)).unwrap();
    if name != "history.csv" {
        return text;
    }
    let without =
        |line: &str| line.split(',').enumerate().filter(|(i, _)| *i != 5).map(|(_, v)| v.to_owned()).collect();
    text.lines().map(without).map(|row: Vec<String>| row.join(",") + "\n").collect()
}

#[test]
fn two_epochs_and_two_more_are_four() {
    let folder = workplace();
    let at = folder.path();
    done(&format!("{TRAIN} --epochs 4 --out whole"), at);
    done(&format!("{TRAIN} --epochs 2 --out parts"), at);
    assert_ne!(weights(at, "whole"), weights(at, "parts"));
    let text = done("train --resume parts --epochs 4", at);
    assert!(text.contains("best epoch by val_loss") && text.contains("after the last step"), "{text}");
    assert_eq!(weights(at, "whole"), weights(at, "parts"));
    let file = |run: &str, name: &str| std::fs::read_to_string(at.join(run).join(name)).unwrap();
    for name in ["batches.csv", "net.toml", "config.toml", "labels.txt"] {
        assert_eq!(file("whole", name), file("parts", name), "{name}");
    }
    assert_eq!(file("parts", "batches.csv").lines().count(), 1 + 4 * 40);
    assert_eq!(file("parts", "history.csv").lines().count(), 1 + 4);

    let error = refused(&format!("{TRAIN} --epochs 4 --out parts"), at);
    assert!(error.contains("parts holds a run") && error.contains("--overwrite"), "{error}");
    let error = refused("train --resume parts --epochs 3", at);
    assert!(error.contains("epochs = 3, but 4 are done already"), "{error}");
    // with nothing left to train the weights stay, and what was compiled from them
    done("compile parts --calibration-images 16", at);
    done("train --resume parts --keep best", at);
    assert!(at.join("parts/model.ocelli").exists());
    let error = refused("train --resume parts --epochs 5 --seed 2", at);
    assert!(error.contains("[training] seed = 2, but the training was begun with 1"), "{error}");
    let error = refused(&format!("{TRAIN} --epochs 4 --resume --out nothing"), at);
    assert!(error.contains("there is no checkpoint nothing"), "{error}");
    assert!(!at.join("nothing").exists());
    done(&format!("{TRAIN} --epochs 1 --schedule cosine --out cosine"), at);
    let error = refused("train --resume cosine --epochs 2", at);
    assert!(error.contains("epochs = 2") && error.contains("schedule = \"cosine\""), "{error}");
}

#[cfg(unix)]
#[test]
fn a_killed_and_a_stopped_training_end_like_an_unbroken_one() {
    let folder = workplace();
    let at = folder.path();
    let line = format!("{TRAIN} --epochs 5 --schedule cosine --optimizer nadam --keep best --monitor val_accuracy");
    done(&format!("{line} --out whole"), at);

    let often = format!("{line} --checkpoint-steps 3 --out killed");
    kill(in_mid_epoch(&often, at, "killed", Phase::First));
    assert!(!at.join("killed/weights.safetensors").exists());
    let history = std::fs::read_to_string(at.join("killed/history.csv")).unwrap();
    assert!(history.lines().count() >= 2 && at.join("killed/net.toml").exists(), "{history}");
    done(&format!("{often} --resume"), at);
    assert_eq!(weights(at, "whole"), weights(at, "killed"));

    let message = interrupt(in_mid_epoch(&often.replace("killed", "stopped"), at, "stopped", Phase::First));
    assert!(message.contains("go on with: ocelli train --resume stopped"), "{message}");
    // what there is can be used
    assert!(at.join("stopped/weights.safetensors").exists() && at.join("stopped/model.onnx").exists());
    let text = done("train --resume stopped", at);
    assert!(text.contains("holds the weights of that epoch"), "{text}");
    assert_eq!(weights(at, "whole"), weights(at, "stopped"));
}

#[test]
fn a_network_trained_here_becomes_the_base_of_another() {
    let folder = workplace();
    let at = folder.path();
    done(&format!("{TRAIN} --epochs 4 --out base"), at);
    others(at);
    let line = "finetune --base base others --labels labels.txt --epochs 6 --batch-size 16 --learning-rate 0.003";
    let head = ["--head", "flatten, dense 16 relu, dropout 0.1, dense N"];
    let run = |more: &str| {
        let output = command(&format!("{line} {more}"), at).args(head).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{more}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run("--out frozen");
    assert!(text.contains("frozen layers were run once") && text.contains("times as fast"), "{text}");
    let text = run("--freeze all-but-1 --unfreeze-epochs 1 --unfreeze-rate 0.0001 --out whole");
    assert!(
        text.contains("freeze = all-but-1") && !text.contains("times as fast"),
        "the first layer is trained: {text}"
    );
    assert_eq!(std::fs::read_to_string(at.join("whole/history.csv")).unwrap().lines().count(), 1 + 7);

    // a run folder like any other
    done("compile frozen", at);
    let eval = done("eval frozen others --labels labels.txt --json", at);
    let eval: serde_json::Value = serde_json::from_str(&eval).unwrap();
    assert!(eval["accuracy"].as_f64().unwrap() > 0.75, "{eval}");
    let error = refused("train frozen/config.toml --out again", at);
    assert!(error.contains("ocelli finetune"), "{error}");
    let error = refused("finetune --base base others --freeze half", at);
    assert!(error.contains("all-but-K"), "{error}");
    let output = command(line, at).args(["--head", "gap, dense 4", "--out", "none"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!at.join("none").exists(), "nothing is left behind");
}

#[cfg(unix)]
#[test]
fn a_killed_and_a_stopped_fine_tuning_end_like_an_unbroken_one() {
    let folder = workplace();
    let at = folder.path();
    done(&format!("{TRAIN} --epochs 2 --out base"), at);
    others(at);
    let line = "finetune --base base others --labels labels.txt --epochs 6 --batch-size 4 --unfreeze-epochs 3 \
                --unfreeze-rate 0.0001 --keep best --head flatten,dropout~0.2,dense~N";
    let line = |out: &str| format!("{line} --checkpoint-steps 3 --out {out}");
    done(&line("whole"), at);

    kill(in_mid_epoch(&line("broken"), at, "broken", Phase::First));
    assert!(!at.join("broken/weights.safetensors").exists());
    let message = interrupt(in_mid_epoch("finetune --resume broken", at, "broken", Phase::Unfrozen));
    assert!(message.contains("go on with: ocelli finetune --resume broken"), "{message}");
    assert!(at.join("broken/weights.safetensors").exists(), "what there is can be used");
    for (line, expected) in [
        ("train --resume broken", "ocelli finetune --resume RUN"),
        ("finetune --resume base", "ocelli train --resume base"),
        (
            "finetune --resume broken --freeze none",
            "[finetune] freeze = \"none\", but the training was begun with \"base\"",
        ),
        ("finetune --resume broken --seed 2", "[training] seed = 2, but the training was begun with 1"),
        ("finetune --resume broken --unfreeze-epochs 3 --unfreeze-rate 0.01", "[finetune] unfreeze_rate = 0.01, but"),
        ("finetune --resume nothing", "there is no checkpoint nothing"),
    ] {
        let error = refused(line, at);
        assert!(error.contains(expected), "{line}: {error}");
    }
    let said = done("finetune --resume broken", at);
    assert!(said.contains("holds the weights of that epoch"), "{said}");
    assert_eq!(weights(at, "whole"), weights(at, "broken"));
    for name in ["batches.csv", "history.csv", "net.toml", "config.toml"] {
        assert_eq!(text(at, "whole", name), text(at, "broken", name), "{name}");
    }
    assert_eq!(text(at, "broken", "batches.csv").lines().count(), 1 + 9 * 80);
}

#[cfg(unix)]
#[test]
fn a_killed_and_a_stopped_training_in_int8_end_like_an_unbroken_one() {
    let folder = workplace();
    let at = folder.path();
    let line = format!("{TRAIN} --epochs 2 --quantize qat --qat-epochs 8 --calibration-images 64 --checkpoint-steps 3");
    let said = done(&format!("{line} --out whole"), at);
    assert!(said.contains("int8 after training in int8"), "{said}");

    kill(in_mid_epoch(&format!("{line} --out broken"), at, "broken", Phase::Int8));
    assert!(at.join("broken/weights.safetensors").exists() && !at.join("broken/ranges.toml").exists());
    let message = interrupt(in_mid_epoch("train --resume broken", at, "broken", Phase::Int8));
    assert!(message.contains("go on with: ocelli train --resume broken"), "{message}");
    // until then there is the float network
    let float =
        ["whole", "broken"].map(|run| Checkpoint::find(&at.join(run), Phase::First).unwrap().unwrap().position());
    assert_eq!(float, [(2, 0); 2]);
    assert!(done("compile broken", at).contains("float"));
    let error = refused("train --resume broken --qat-learning-rate 0.5", at);
    assert!(
        error.contains("[quantization] qat_learning_rate = 0.5") && error.contains("int8-last.safetensors"),
        "{error}"
    );
    done("train --resume broken", at);
    assert_eq!(weights(at, "whole"), weights(at, "broken"));
    for name in ["ranges.toml", "batches.csv", "history.csv", "config.toml"] {
        assert_eq!(text(at, "whole", name), text(at, "broken", name), "{name}");
    }
    assert_eq!(text(at, "broken", "history.csv").lines().count(), 1 + 10);

    // the model is made of those intervals
    let said = done("compile broken", at);
    assert!(said.contains("int8 after training in int8"), "{said}");
    assert!(at.join("broken/model.ocelli").exists());
    // once they are done, other epochs in int8 begin anew on the same float network
    done("train --resume broken --qat-epochs 1", at);
    assert_eq!(text(at, "broken", "history.csv").lines().count(), 1 + 3);
    assert_eq!(
        text(at, "broken", "history.csv").lines().take(3).collect::<Vec<_>>(),
        text(at, "whole", "history.csv").lines().take(3).collect::<Vec<_>>()
    );

    // where they do harm the network before them is kept
    let spoilt = output("train --resume broken --qat-epochs 1 --qat-learning-rate 0.3", at);
    let (said, warning) = (String::from_utf8_lossy(&spoilt.stdout), String::from_utf8_lossy(&spoilt.stderr));
    assert!(warning.contains("that one is kept"), "{warning}");
    assert_eq!(text(at, "broken", "history.csv").lines().count(), 1 + 2);
    let int8: Vec<&str> =
        said.lines().rfind(|line| line.contains("after training in int8")).unwrap().split("int8 ").collect();
    assert_eq!(int8[1].trim_end_matches(", "), int8[3], "{said}");
}

#[test]
fn a_fine_tuned_network_is_trained_on_in_int8() {
    let folder = workplace();
    let at = folder.path();
    done(&format!("{TRAIN} --epochs 2 --out base"), at);
    others(at);
    let line = "finetune --base base others --labels labels.txt --epochs 4 --batch-size 16 --learning-rate 0.003 \
                --head flatten,dense~N --quantize qat --qat-epochs 2 --calibration-images 64 --out new";
    let said = done(line, at);
    assert!(said.contains("int8 after training in int8") && said.contains("freeze = base"), "{said}");
    assert_eq!(text(at, "new", "history.csv").lines().count(), 1 + 6);
    assert_eq!(text(at, "new", "batches.csv").lines().count(), 1 + 6 * 20);
    let last = text(at, "new", "batches.csv").lines().last().unwrap().to_owned();
    assert!(last.starts_with("6,20,120,320,"), "{last}");
    assert!(done("compile new", at).contains("int8 after training in int8"));
    let eval: serde_json::Value =
        serde_json::from_str(&done("eval new others --labels labels.txt --json", at)).unwrap();
    assert!(eval["accuracy"].as_f64().unwrap() > 0.75, "{eval}");
}

#[test]
fn a_network_of_volumes_trains_on_the_host_and_is_not_compiled() {
    let folder = workplace();
    let at = folder.path();
    // four slices whose columns lie by turns
    let first = "[[layer]]\ntype = \"reshape\"\nshape = [28, 7, 4]\n\
                 [[layer]]\ntype = \"conv3d\"\nname = \"volume\"\ndepth = 4\nfilters = 8\nkernel = [2, 5, 3]\nstride = [1, 3, 1]\n\
                 initializer = \"he-normal\"\nl2 = 0.0001\n";
    let (head, tail) = (NET.find("[[layer]]").unwrap(), NET.find("[[layer]]\ntype = \"batch_norm\"").unwrap());
    let net = format!("{}{first}{}", &NET[..head], &NET[tail..]);
    std::fs::write(at.join("net.toml"), net).unwrap();
    let said = done(&format!("{TRAIN} --epochs 4 --out whole"), at);
    assert!(said.contains("next: ocelli eval whole DATA --float"), "{said}");
    done(&format!("{TRAIN} --epochs 2 --out parts"), at);
    done("train --resume parts --epochs 4", at);
    assert_eq!(weights(at, "whole"), weights(at, "parts"));
    let eval: serde_json::Value = serde_json::from_str(&done("eval whole digits --float --json", at)).unwrap();
    assert!(eval["accuracy"].as_f64().unwrap() > 0.7, "{eval}");
    let said = done("summary whole", at);
    assert!(said.contains("volume (conv3d)") && said.contains("runs on the host only: layer 'volume'"), "{said}");
    for line in ["compile whole", &format!("{TRAIN} --quantize qat --epochs 1 --out other")] {
        let error = refused(line, at);
        assert!(error.contains("layer 'volume' is a conv3d, which runs on the host only"), "{line}: {error}");
    }
    // its layers can be the base of others
    done("finetune --base whole digits --head flatten,dense~N --freeze all-but-1 --epochs 1 --out new", at);
    assert!(at.join("new/weights.safetensors").exists());
}

#[test]
fn copies_on_several_devices_train_the_same_twice_and_when_taken_up() {
    let folder = workplace();
    let at = folder.path();
    let line = format!("{TRAIN} --devices cpu:0,cpu:1,cpu:2");
    for run in ["one", "two"] {
        done(&format!("{line} --epochs 2 --out {run}"), at);
    }
    assert_eq!(weights(at, "one"), weights(at, "two"));
    done(&format!("{line} --epochs 1 --out parts"), at);
    done("train --resume parts --epochs 2", at);
    assert_eq!(weights(at, "one"), weights(at, "parts"));
    // the devices are not part of what a training is
    done("train --resume parts --epochs 3 --devices cpu:0", at);
    let error = refused("train --resume parts --epochs 4 --devices tpu:0", at);
    assert!(error.contains("tpu:0") && error.contains("cuda:N"), "{error}");
}

#[cfg(not(feature = "remote"))]
#[test]
fn devices_that_are_not_built_in_name_the_command_that_builds_them() {
    let folder = workplace();
    let at = folder.path();
    for (line, feature) in [
        (format!("{TRAIN} --out run --devices remote://127.0.0.1:1"), "remote"),
        (format!("{TRAIN} --out run --backend wgpu"), "wgpu"),
        (format!("{TRAIN} --out run --devices cpu:0,cuda:0"), "cuda"),
        ("worker".to_owned(), "remote"),
    ] {
        let error = refused(&line, at);
        let command = format!("cargo build --release --package ocelli-host --features {feature}");
        assert!(error.contains(&command), "{error}");
        assert!(!at.join("run").exists());
    }
}
