//! Trainings on workers, which are processes of their own on this machine. Run by `cargo xtask remote`: needs the feature `remote`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ocelli_host::data::{DataSource, Dataset, Split};
use ocelli_host::network::{Network, Weights};
use ocelli_host::train::Checkpoint;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const INPUT: &str = "name = \"small\"\n[input]\nheight = 28\nwidth = 28\ncolor = \"gray\"\nmean = [0.5]\nstd = [0.25]\n\
    [[layer]]\ntype = \"conv2d\"\nname = \"a\"\nfilters = 8\nkernel = 5\nstride = 3\nactivation = \"relu\"\n";
const STATES: &str = "[[layer]]\ntype = \"batch_norm\"\n[[layer]]\ntype = \"dropout\"\nrate = 0.25\n";
const TAIL: &str = "[[layer]]\ntype = \"max_pool2d\"\nkernel = 2\n[[layer]]\ntype = \"flatten\"\n\
    [[layer]]\ntype = \"dense\"\nname = \"b\"\nunits = 10\n[[layer]]\ntype = \"softmax\"\n";
const TOKEN: &str = "a token for tests";

/// A worker that ends with its test.
struct Worker {
    process: Child,
    address: String,
}

impl Worker {
    fn start() -> Self {
        let (worker, lines) = Self::with(&["worker", "--bind", "127.0.0.1:0"], Some(TOKEN));
        assert_eq!(lines.len(), 1, "a token that was given is not printed: {lines:?}");
        worker
    }

    /// Starts a worker and reads what it says first: its address, and its token where it made one.
    fn with(arguments: &[&str], token: Option<&str>) -> (Self, Vec<String>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
        command.args(arguments).env_remove("OCELLI_TOKEN").stdout(Stdio::piped());
        if let Some(token) = token {
            command.env("OCELLI_TOKEN", token);
        }
        let mut process = command.spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let lines: Vec<String> = said.take(if token.is_some() { 1 } else { 2 }).collect();
        let address = lines[0].split_whitespace().last().unwrap().to_owned();
        assert!(address.starts_with("remote://127.0.0.1:"), "{lines:?}");
        (Self { process, address }, lines)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn digits(count: usize, split: Split) -> Dataset {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/mnist-10k");
    let network = Network::from_toml(&format!("{INPUT}{TAIL}"), "test").unwrap();
    DataSource::open(&data, None).unwrap().load(split, &network.input, &mut |_, _| {}).unwrap().head(count)
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

/// A folder with two networks (plain.toml has no state) and some digits.
fn workplace(images: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("digits");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(folder.path().join("plain.toml"), format!("{INPUT}{TAIL}")).unwrap();
    std::fs::write(folder.path().join("net.toml"), format!("{INPUT}{STATES}{TAIL}")).unwrap();
    write_idx(&data, "train", &digits(images, Split::Train));
    write_idx(&data, "t10k", &digits(100, Split::Test));
    folder
}

fn command(line: &str, folder: &Path, token: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
    command.args(line.split_whitespace()).current_dir(folder).env("OCELLI_TOKEN", token);
    command
}

fn done(line: &str, folder: &Path) -> Output {
    let output = command(line, folder, TOKEN).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn weights(folder: &Path, run: &str) -> Vec<f32> {
    let network = Network::from_toml(&format!("{INPUT}{TAIL}"), "test").unwrap();
    let weights = Weights::read(&folder.join(run).join("weights.safetensors"), &network).unwrap();
    let layers = ["a", "b"].map(|name| weights.layer(name).unwrap().clone());
    layers.into_iter().flat_map(|layer| [layer.kernel, layer.bias].concat()).collect()
}

/// Columns of a CSV file.
fn column(path: PathBuf, index: usize) -> Vec<f64> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').nth(index).unwrap().parse().unwrap()).collect()
}

#[test]
fn two_workers_find_the_gradients_of_one_device() {
    let (a, b) = (Worker::start(), Worker::start());
    let (workplace, devices) = (workplace(63), format!("{},{}", a.address, b.address));
    let at = workplace.path();
    // one step on all images, 31 and 32 of them a worker: what plain descent at rate 1 changes is the gradient
    let step = "train --data digits --network plain.toml --epochs 1 --batch-size 63 --optimizer sgd";
    done(&format!("{step} --learning-rate 1 --out one"), at);
    done(&format!("{step} --learning-rate 1 --out two --devices {devices}"), at);
    done(&format!("{step} --learning-rate 1 --out mixed --devices cpu:0,{}", b.address), at);
    done(&format!("{step} --learning-rate 1e-12 --out start"), at);
    let [start, one, two, mixed] = ["start", "one", "two", "mixed"].map(|run| weights(at, run));
    let gradients = |after: &[f32]| start.iter().zip(after).map(|(w, moved)| w - moved).collect::<Vec<f32>>();
    let largest = gradients(&one).iter().fold(0.0_f32, |largest, g| largest.max(g.abs()));
    assert!(largest > 0.01, "{largest}");
    for other in [two, mixed] {
        for (expected, found) in gradients(&one).iter().zip(gradients(&other)) {
            assert!((expected - found).abs() <= 1e-5 * largest.max(1.0), "{expected} {found}");
        }
    }
}

#[test]
fn a_network_with_statistics_and_dropout_learns_on_workers() {
    let (a, b) = (Worker::start(), Worker::start());
    let workplace = workplace(400);
    let line = format!(
        "train --data digits --network net.toml --epochs 2 --batch-size 25 --learning-rate 0.003 --out run --devices {},{}",
        a.address, b.address
    );
    done(&line, workplace.path());
    let first = column(workplace.path().join("run/batches.csv"), 4);
    let losses = column(workplace.path().join("run/history.csv"), 1);
    assert_eq!((first.len(), losses.len()), (32, 2));
    assert!(losses[1] < losses[0] && losses[1] < first[0], "{losses:?} {}", first[0]);
}

#[test]
fn a_training_whose_worker_dies_ends_with_its_checkpoint_and_can_be_gone_on_with() {
    let (a, mut b) = (Worker::start(), Worker::start());
    let workplace = workplace(640);
    let at = workplace.path();
    let line = format!(
        "train --data digits --network plain.toml --epochs 200 --batch-size 16 --checkpoint-steps 1 --out run --devices {},{}",
        a.address, b.address
    );
    let training = command(&line, at, TOKEN).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let last = at.join("run/checkpoints/last.safetensors");
    let began = Instant::now();
    let position = || Checkpoint::read(&last).map_or((0, 0), |checkpoint| checkpoint.position());
    while position() < (1, 1) {
        assert!(began.elapsed() < Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(5));
    }
    b.process.kill().unwrap();
    let output = training.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    let said = [format!("the device {} was lost", b.address), "ocelli train --resume run".to_owned()];
    assert!(said.iter().all(|part| error.contains(part)), "{error}");
    assert!(!error.contains("panicked"), "{error}");

    let (epochs, batches) = position();
    assert!((epochs, batches) >= (1, 1));
    // on the worker that is left, then on this machine alone
    let plus = |more: usize| epochs + more;
    done(&format!("train --resume run --epochs {} --devices {}", plus(1), a.address), at);
    done(&format!("train --resume run --epochs {} --devices cpu:0", plus(2)), at);
    let steps = column(at.join("run/batches.csv"), 2);
    let expected: Vec<f64> = (1..=40 * plus(2)).map(|step| step as f64).collect();
    assert_eq!(steps, expected, "no step is missing or done twice");
    let losses = column(at.join("run/history.csv"), 1);
    assert_eq!(losses.len(), plus(2));
    assert!(losses[plus(1)] < losses[0], "{losses:?}");
}

#[test]
fn only_who_has_the_token_is_let_in() {
    let worker = Worker::start();
    let workplace = workplace(63);
    let at = workplace.path();
    let line = format!("train --data digits --network plain.toml --epochs 1 --out run --devices {}", worker.address);
    for (token, what) in [("another token", "refuses this token"), ("", "the token is empty")] {
        let output = command(&line, at, token).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(what), "{error}");
    }
    let output = command(&line, at, TOKEN).env_remove("OCELLI_TOKEN").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("refuses a training without a token"), "{error}");
    assert!(!at.join("run").exists(), "nothing is written before the devices are there");
    done(&line, at);
}

#[test]
fn a_worker_listens_on_this_machine_alone_and_makes_its_own_token() {
    let (worker, lines) = Worker::with(&["worker"], None);
    assert_eq!(worker.address, "remote://127.0.0.1:7744", "the default");
    let token = lines[1].strip_prefix("token: ").unwrap();
    assert!(token.len() == 32 && token.chars().all(|c| c.is_ascii_hexdigit()), "{token}");
    let workplace = workplace(63);
    let line = format!(
        "train --data digits --network plain.toml --epochs 1 --out run --devices {} --token {token}",
        worker.address
    );
    let output = command(&line, workplace.path(), TOKEN).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_address_where_no_worker_is_says_so() {
    let workplace = workplace(63);
    // a port that was free a moment ago
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let line =
        format!("train --data digits --network plain.toml --epochs 1 --out run --devices remote://127.0.0.1:{port}");
    let output = command(&line, workplace.path(), TOKEN).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("no worker answers at"), "{error}");
}
