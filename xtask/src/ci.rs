//! `cargo xtask ci`: every check of the project, first what fails fastest.

use crate::browser;
use crate::interop;
use crate::process::{self, cargo, root};
use crate::setup::{self, Needs, TARGETS};
use crate::sizes;
use crate::{aarch64, boards, cross, memory};
use anyhow::{Context, Result, ensure};
use ocelli_firmware_tools::boards::{BOARDS, Board, emulated};
use ocelli_firmware_tools::toolchain::Toolchain;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// The trained model and the data that the device is judged with.
const MODEL: &str = "models/mnist-cnn/model.ocelli";
const DATA: &str = "data/mnist-10k";

/// A check: its name and what it does.
type Stage = (&'static str, fn() -> Result<()>);

/// The files of `examples/`, by the package that they belong to.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("ocelli-app", &["classify_picture", "camera_to_screen", "smooth_labels", "led_from_label"]),
    ("ocelli-board", &["two_cores"]),
    ("ocelli-firmware-tools", &["push_model"]),
];

/// Stages that run one after the other.
type Lane = &'static [Stage];

/// Lanes that run side by side: they wait for the network, for one thread of a linker or of an emulator at different times. Then the next ones.
const STEPS: &[&[Lane]] = &[
    &[
        &[("setup", || {
            setup::ensure(&Needs::everything())?;
            browser::ensure_installed()
        })],
        &[("format", format), ("clippy", clippy)],
    ],
    &[&[("test", test), ("browser", || browser::run(&browser::Args::default()))]],
    &[
        &[
            ("no_std", no_std),
            ("aarch64", aarch64::test),
            // without tract, which would take longer than all the rest of it
            ("cross", || cross::run(&cross::Args::default())),
            ("firmware clippy", emulated_clippy),
            ("interop", || interop::run(&interop::Args::default())),
        ],
        &[
            ("examples", examples),
            // The development profile, with overflow checks and debug assertions: for the crate that reads untrusted files.
            ("overflow", || process::run(cargo().args(["test", "--package", "ocelli", "--features", "threads"]))),
            ("fuzz corpus", memory::corpus),
            ("doc", doc),
            ("boards", || boards::run(&boards::Args { clippy: false }).map(drop)),
            ("device", device),
            ("sizes", || sizes::run(&sizes::Args { check: true, write: false }).map(drop)),
        ],
    ],
];

/// How a stage ended.
struct Outcome {
    name: &'static str,
    /// `None`: it was not run, as one before it failed.
    time: Option<Duration>,
    error: Option<anyhow::Error>,
}

/// Runs the stages and prints a table of them.
pub fn run() -> Result<ExitCode> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for lanes in STEPS {
        let stop = outcomes.iter().any(|outcome| outcome.error.is_some());
        let run = |lane: &Lane| run_lane(lane, stop);
        let ended: Vec<Vec<Outcome>> = thread::scope(|scope| {
            let threads: Vec<_> = lanes.iter().map(|lane| scope.spawn(move || run(lane))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        });
        outcomes.extend(ended.into_iter().flatten());
    }
    println!("\n{:<16} {:<8} {:>7}", "stage", "result", "seconds");
    for Outcome { name, time, error } in &outcomes {
        match time {
            Some(time) => {
                let result = if error.is_some() { "FAILED" } else { "ok" };
                println!("{name:<16} {result:<8} {:>7.0}", time.as_secs_f64());
            }
            None => println!("{name:<16} not run"),
        }
    }
    let all: usize = STEPS.iter().flat_map(|lanes| lanes.iter()).map(|lane| lane.len()).sum();
    ensure!(outcomes.len() == all, "ci lost sight of a stage: a thread of it ended");
    let failed = outcomes.into_iter().filter_map(|outcome| Some(format!("`{}`: {:#}", outcome.name, outcome.error?)));
    let failed = failed.collect::<Vec<_>>();
    ensure!(failed.is_empty(), "ci stopped at {}", failed.join("\nand at "));
    Ok(ExitCode::SUCCESS)
}

/// Runs the stages of a lane up to the first that fails; with `stop` none.
fn run_lane(lane: Lane, mut stop: bool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for &(name, check) in lane {
        if stop {
            outcomes.push(Outcome { name, time: None, error: None });
            continue;
        }
        println!("\n== {name} ==");
        let start = Instant::now();
        let error = check().err();
        let time = start.elapsed();
        println!("== {name}: {:.0} s ==", time.as_secs_f64());
        stop = error.is_some();
        outcomes.push(Outcome { name, time: Some(time), error });
    }
    outcomes
}

fn clippy() -> Result<()> {
    process::run(cargo().args(["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// A test that needs a device or a browser and cannot run must fail here.
fn test() -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--release", "--workspace"]);
    process::run(test.env("OCELLI_REQUIRE_DEVICE", "1").env("OCELLI_REQUIRE_BROWSER", "1"))
}

fn doc() -> Result<()> {
    process::run(cargo().args(["doc", "--release", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-Dwarnings"))
}

fn format() -> Result<()> {
    process::run(cargo().args(["fmt", "--all", "--check"]))?;
    let mut folders: Vec<PathBuf> = BOARDS.iter().map(board_dir).collect();
    folders.dedup();
    folders.iter().try_for_each(|folder| process::run(cargo().args(["fmt", "--check"]).current_dir(folder)))
}

/// Each example must run to its end: they check what they show.
fn examples() -> Result<()> {
    for (package, names) in EXAMPLES {
        for name in *names {
            process::run(cargo().args(["run", "--release", "--package", package, "--example", name]))?;
        }
    }
    Ok(())
}

/// The portable crates must build for every supported target, and the runtime also with all that can be added to it.
fn no_std() -> Result<()> {
    for target in TARGETS {
        let toolchain = Toolchain::find(target)?;
        for packages in [
            [
                "--package",
                "ocelli",
                "--package",
                "ocelli-app",
                "--package",
                "ocelli-board",
                "--package",
                "ocelli-drivers",
            ]
            .as_slice(),
            &["--package", "ocelli", "--features", "alloc,defmt"],
        ] {
            let mut build = toolchain.cargo();
            build.current_dir(root()).args(["build", "--release", "--locked"]).args(packages);
            process::run(build.args(["--target", target, "--target-dir", "target/no-std"]))?;
        }
    }
    Ok(())
}

/// Clippy for the emulated boards; the crates of the real ones, whose chips' libraries take minutes to check, are left to
/// `cargo xtask boards --clippy`.
fn emulated_clippy() -> Result<()> {
    firmware_clippy(emulated())
}

/// Clippy, with warnings denied, for the firmware of boards; where it can take other models, with that and signatures.
pub fn firmware_clippy(boards: impl Iterator<Item = &'static Board>) -> Result<()> {
    for board in boards {
        clippy_of(board, board.updates.is_some().then_some("signed"))?;
        if board.sleeps {
            clippy_of(board, Some("sleep"))?;
        }
    }
    Ok(())
}

/// Clippy for a board's firmware, with the features that it always has, and perhaps one more.
fn clippy_of(board: &Board, feature: Option<&str>) -> Result<()> {
    let features: Vec<&str> = board.features.iter().copied().chain(feature).collect();
    let mut clippy = Toolchain::find(board.target)?.clippy().context(
        "the firmware's toolchain has no clippy; to install it: OCELLI_TOOLCHAIN=debian cargo xtask setup (with rustup: \
         rustup component add clippy)",
    )?;
    clippy.current_dir(board_dir(board)).args(["--release", "--locked", "--target", board.target]);
    clippy.args(["--target-dir", "../../../target/firmware-clippy", "--features", &features.join(",")]);
    if let Ok((before, updates)) = board.updatable() {
        clippy
            .env("OCELLI_SLOTS_FIRST", before.flash_bytes.to_string())
            .env("OCELLI_SLOT_BYTES", updates.slot_bytes.to_string())
            .env("OCELLI_ARENA_BYTES", updates.arena_bytes.to_string())
            .env("OCELLI_MODEL_KEY", "0".repeat(64));
    }
    clippy.env("OCELLI_EVERY_MS", "1000");
    clippy.env("CARGO_ENCODED_RUSTFLAGS", board.rustflags.join("\u{1f}"));
    clippy.env("OCELLI_BOARD", board.name).env("OCELLI_MODEL", root().join(MODEL)).env("DEFMT_LOG", "info");
    process::run(clippy.args(["--", "-D", "warnings"]))
}

/// The board that runs the most images; on the others, whose cores differ in the kernels only, fewer do.
const MAIN_BOARD: &str = "qemu-m4";

/// Builds the firmware for each board with the shipped model, runs it in QEMU and compares every output byte with the host.
fn device() -> Result<()> {
    for board in emulated() {
        let images = if board.name == MAIN_BOARD { "100" } else { "10" };
        let mut check = cargo();
        check.args(["run", "--release", "--", "check", MODEL, DATA, "--device-images", images, "--board", board.name]);
        process::run(&mut check)?;
    }
    Ok(())
}

fn board_dir(board: &Board) -> PathBuf {
    root().join("firmware/boards").join(board.folder)
}
