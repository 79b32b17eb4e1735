//! Trainings of a small network on made pictures.
//!
//! What must be equal bit for bit is compared here for networks without dropout: Burn's dropout draws from one generator of the
//! process, and tests run side by side. `tests/training.rs` compares those with dropout, in processes of their own.

use super::*;
use crate::network::Network;
use crate::run::names;
use ocelli::ir::Shape;
use rand::Rng;
use std::path::Path;
use std::sync::atomic::Ordering;

const NETWORK: &str = r#"
name = "small"
[input]
height = 6
width = 6
color = "gray"
mean = [0.5]
std = [0.25]
[[layer]]
type = "conv2d"
filters = 4
kernel = 3
[[layer]]
type = "batch_norm"
momentum = 0.9
[[layer]]
type = "relu"
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
units = 2
[[layer]]
type = "softmax"
"#;

fn network() -> Network {
    Network::from_toml(NETWORK, "test").unwrap()
}

/// Noise with a bright left half (class 0, a third of the images) or right half (class 1).
pub(super) fn halves(images: usize, seed: u64) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let targets: Vec<usize> = (0..images).map(|i| usize::from(i % 3 > 0)).collect();
    let pixels = targets.iter().flat_map(|&target| {
        let bright = |i: usize| usize::from(i % 6 >= 3) == target;
        (0..36).map(|i| rng.random_range(0..120_u8) + if bright(i) { 60 } else { 0 }).collect::<Vec<u8>>()
    });
    Dataset {
        labels: vec!["left".into(), "right".into()],
        shape: Shape::new(6, 6, 1),
        pixels: pixels.collect(),
        names: vec![String::new(); images],
        skipped: vec![],
        targets,
    }
}

fn config(text: &str) -> TrainingConfig {
    toml::from_str(&format!("epochs = 4\nbatch_size = 8\nlearning_rate = 0.01\n{text}")).unwrap()
}

fn feed(set: &Dataset, config: &TrainingConfig) -> Feed {
    let options = FeedOptions { batch_size: config.batch_size, seed: config.seed, ..FeedOptions::default() };
    Feed::new(Arc::new(set.clone()), options)
}

/// Trains in a folder; stops after `stop` steps.
fn run(folder: &Path, config: &TrainingConfig, resume: bool, stop: usize) -> anyhow::Result<Outcome> {
    let (training, validation) = (halves(60, 1), halves(24, 2));
    let flag = AtomicBool::new(false);
    let source = feed(&training, config);
    let last = folder.join(names::CHECKPOINTS).join(names::LAST);
    let resume = if resume { Some(Checkpoint::read(&last)?) } else { None };
    let mut on_batch = |report: BatchReport| flag.store(report.step >= stop, Ordering::Relaxed);
    let disk = Some(Disk { folder, config: "", resume });
    let hooks = Hooks { observer: &mut on_batch, stop: &flag, disk };
    train_from(&network(), config, &source, &training.targets, &validation, hooks)
}

/// The history without its seconds.
fn rows(outcome: &Outcome) -> Vec<HistoryRow> {
    outcome.history.rows.iter().map(|row| HistoryRow { seconds: 0.0, ..*row }).collect()
}

fn batches_csv(folder: &Path) -> String {
    std::fs::read_to_string(folder.join(names::BATCHES)).unwrap()
}

#[test]
fn a_training_that_is_taken_up_ends_like_an_unbroken_one() {
    // every optimizer and every schedule; 8 steps an epoch, broken in mid-epoch and between epochs
    for (text, stops) in [
        ("", vec![11]),
        ("optimizer = \"sgd\"\nmomentum = 0.9\nnesterov = true\nschedule = \"cosine\"", vec![16]),
        ("optimizer = \"rmsprop\"\nmomentum = 0.5\nschedule = \"one-cycle\"\nloss = \"binary\"", vec![1, 8]),
        (
            "optimizer = \"nadam\"\nschedule = \"plateau\"\nkeep = \"best\"\n[plateau]\npatience = 1\nmin_delta = 0.5",
            vec![19],
        ),
        (
            "optimizer = \"adamw\"\nwarmup_epochs = 1\nl2 = 0.01\nclip_global_norm = 0.5\nschedule = \"step\"\n\
          [step]\nepochs = 2\nfactor = 0.5\n[early_stopping]\npatience = 3",
            vec![3, 24],
        ),
    ] {
        let config = config(text);
        let [unbroken, broken] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let whole = run(unbroken.path(), &config, false, usize::MAX).unwrap();
        assert_eq!(whole.end, End::Done, "{text}");
        for (i, &stop) in stops.iter().enumerate() {
            let part = run(broken.path(), &config, i > 0, stop).unwrap();
            let (epochs, batches) = (stop / 8, stop % 8);
            // a stop at an epoch's last batch comes before the epoch's end
            let expected = if batches == 0 { (epochs - 1, 8) } else { (epochs, batches) };
            assert_eq!(part.end, End::Interrupted { epochs: expected.0, batches: expected.1 }, "{text}");
        }
        let rest = run(broken.path(), &config, true, usize::MAX).unwrap();
        assert_eq!(rest.weights, whole.weights, "{text}");
        assert_eq!((rest.kept, rest.best, rows(&rest)), (whole.kept, whole.best, rows(&whole)), "{text}");
        assert_eq!(batches_csv(broken.path()), batches_csv(unbroken.path()), "{text}");
    }
}

#[test]
fn checkpoints_in_mid_epoch_come_every_so_many_steps() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("checkpoint_steps = 5");
    let unbroken = tempfile::tempdir().unwrap();
    let whole = run(unbroken.path(), &config, false, usize::MAX).unwrap();
    // a process that ends without a word: the checkpoint is the one of step 10, later rows of the log are dropped
    let last = folder.path().join(names::CHECKPOINTS).join(names::LAST);
    let ended = std::panic::catch_unwind(|| {
        let (training, validation) = (halves(60, 1), halves(24, 2));
        let source = feed(&training, &config);
        let mut on_batch = |report: BatchReport| assert!(report.step < 13, "killed");
        let disk = Some(Disk { folder: folder.path(), config: "", resume: None });
        let hooks = Hooks { observer: &mut on_batch, stop: &AtomicBool::new(false), disk };
        train_from(&network(), &config, &source, &training.targets, &validation, hooks).map(|_| ())
    });
    assert!(ended.is_err());
    assert_eq!(Checkpoint::read(&last).unwrap().position(), (1, 2));
    let rest = run(folder.path(), &config, true, usize::MAX).unwrap();
    assert_eq!((rest.weights, batches_csv(folder.path())), (whole.weights, batches_csv(unbroken.path())));
}

#[test]
fn another_training_is_not_taken_up_and_the_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let first = config("schedule = \"cosine\"");
    run(folder.path(), &first, false, 3).unwrap();
    for (text, expected) in [
        ("schedule = \"cosine\"\nseed = 2", "seed = 2, but the training was begun with 1"),
        ("schedule = \"cosine\"\nclip_value = 0.5", "clip_value = 0.5, but the training was begun with not set"),
        ("schedule = \"constant\"", "schedule = \"constant\""),
        ("schedule = \"cosine\"\n[early_stopping]\npatience = 3", "early_stopping"),
    ] {
        let message = run(folder.path(), &config(text), true, usize::MAX).unwrap_err().to_string();
        assert!(message.contains("--resume: [training]") && message.contains(expected), "{text}: {message}");
    }
    let longer = TrainingConfig { epochs: 5, ..first.clone() };
    let message = run(folder.path(), &longer, true, usize::MAX).unwrap_err().to_string();
    assert!(message.contains("epochs = 5") && message.contains("cosine"), "{message}");
    // other images, another network
    let last = folder.path().join(names::CHECKPOINTS).join(names::LAST);
    let mut on_batch = |_: BatchReport| {};
    let mut other = |network: &Network, training: &Dataset, validation: &Dataset| {
        let resume = Some(Checkpoint::read(&last).unwrap());
        let disk = Some(Disk { folder: folder.path(), config: "", resume });
        let hooks = Hooks { observer: &mut on_batch, stop: &AtomicBool::new(false), disk };
        let source = feed(training, &first);
        train_from(network, &first, &source, &training.targets, validation, hooks).unwrap_err().to_string()
    };
    let message = other(&network(), &halves(63, 1), &halves(24, 2));
    assert!(message.contains("dataset") && message.contains("60 and 24") && message.contains("63 and 24"), "{message}");
    assert!(other(&network(), &halves(60, 1), &halves(24, 3)).contains("dataset"));
    let wider = Network::from_toml(&NETWORK.replace("filters = 4", "filters = 5"), "test").unwrap();
    assert!(other(&wider, &halves(60, 1), &halves(24, 2)).contains("network"));
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let message = Checkpoint::read(&last).unwrap_err().to_string();
    assert!(message.contains("damaged") && message.contains(names::LAST), "{message}");
}

#[test]
fn a_constant_rate_may_be_trained_for_longer() {
    let [longer, whole] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    run(longer.path(), &TrainingConfig { epochs: 2, ..config("") }, false, usize::MAX).unwrap();
    let after = run(longer.path(), &config(""), true, usize::MAX).unwrap();
    assert_eq!(after.weights, run(whole.path(), &config(""), false, usize::MAX).unwrap().weights);
    // and once it is done there is nothing left to do
    assert_eq!(run(longer.path(), &config(""), true, usize::MAX).unwrap().weights, after.weights);
}

#[test]
fn early_stopping_keeps_the_best_epoch() {
    // a rate so high that epochs get worse
    let text = "learning_rate = 0.5\nepochs = 30\n[early_stopping]\npatience = 2";
    let config: TrainingConfig = toml::from_str(&format!("batch_size = 8\n{text}")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(folder.path(), &config, false, usize::MAX).unwrap();
    let best = outcome.best.unwrap();
    let losses: Vec<f64> = outcome.history.rows.iter().map(|row| row.val_loss).collect();
    assert_eq!((outcome.end, outcome.kept), (End::Early, Keep::Best));
    assert_eq!(losses.len(), best.epoch + 2, "{losses:?}");
    assert!(losses.iter().all(|&loss| loss >= best.value), "{losses:?}");
    // the weights are those of that epoch: they give its validation loss again
    let score = evaluate(&network(), &outcome.weights, &halves(24, 2), &device("flex").unwrap()).unwrap().score;
    assert!((score.loss - best.value).abs() < 1e-9, "{} for {}", score.loss, best.value);
    let kept = Checkpoint::read(&folder.path().join(names::CHECKPOINTS).join(names::BEST)).unwrap();
    assert_eq!((kept.weights, kept.state.epochs), (outcome.weights, best.epoch));
}

#[test]
fn every_optimizer_learns() {
    for text in [
        "optimizer = \"sgd\"\nmomentum = 0.9",
        "optimizer = \"adam\"",
        "optimizer = \"adamw\"",
        "optimizer = \"nadam\"",
        "optimizer = \"rmsprop\"\nloss = \"binary\"",
        "label_smoothing = 0.1\nclass_weights = \"balanced\"",
    ] {
        let (_, history) =
            train(&network(), &config(text), &halves(120, 1), &halves(60, 2), &mut |_: BatchReport| {}).unwrap();
        let last = history.rows.last().unwrap();
        assert!(last.val_accuracy > 0.9, "{text}: {last:?}");
    }
}

#[test]
fn reports_are_of_the_batch_and_of_the_epoch_so_far() {
    let mut reports = Vec::new();
    let (training, config) = (halves(20, 1), config("schedule = \"cosine\""));
    let (_, history) =
        train(&network(), &config, &training, &halves(9, 2), &mut |report: BatchReport| reports.push(report)).unwrap();
    let first: Vec<_> = reports.iter().filter(|report| report.epoch == 1).collect();
    assert_eq!(first.iter().map(|report| report.images).collect::<Vec<_>>(), [8, 16, 20]);
    let mean =
        |value: fn(&BatchReport) -> f64| (8.0 * value(first[0]) + 8.0 * value(first[1]) + 4.0 * value(first[2])) / 20.0;
    let row = history.rows[0];
    assert!((mean(|report| report.loss) - row.loss).abs() < 1e-9);
    assert!((mean(|report| report.accuracy) - row.accuracy).abs() < 1e-9);
    assert_eq!((row.last_batch_loss, row.last_batch_accuracy), (first[2].loss, first[2].accuracy));
    assert_eq!((row.learning_rate, first[2].running_loss), (first[2].learning_rate, row.loss));
}
