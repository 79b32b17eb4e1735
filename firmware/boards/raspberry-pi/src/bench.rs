//! `ocelli-pi bench`: models beside tract, in the same run and on the same pictures.

use crate::frame::Frame;
use crate::model::{Classifier, ModelFile, cores};
use crate::source::Camera;
use crate::source::folder::FolderCamera;
use crate::stats::cpu_time;
use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Rounds in which the contestants take turns, so that a busy moment hits all of them.
const ROUNDS: u32 = 5;
/// Pictures that are used.
const PICTURES: usize = 16;

/// Measure models.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A model.ocelli, or a run folder; may be given several times. Compile with `ocelli compile --board host`.
    #[arg(long, short, required = true)]
    pub model: Vec<PathBuf>,
    /// A folder of pictures; without it, noise of 640 x 480 pixels.
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Seconds for each contestant.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Threads of the row that uses several; without it, one for each core.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub threads: Option<u8>,
}

/// What a contestant took.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    frames: u64,
    time: Duration,
    cpu: Duration,
}

impl Taken {
    fn fps(&self) -> f64 {
        self.frames as f64 / self.time.as_secs_f64().max(1e-9)
    }

    fn cpu_ms(&self) -> f64 {
        1e3 * self.cpu.as_secs_f64() / self.frames.max(1) as f64
    }
}

/// Measures and prints a table for each model.
///
/// # Errors
/// When a model or the pictures cannot be read, or tract fails.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let frames = pictures(args)?;
    let threads = args.threads.map_or_else(cores, usize::from);
    let first = frames.first().context("no pictures")?;
    println!("{} pictures, the first of {} x {} pixels; {} cores", frames.len(), first.width, first.height, cores());
    println!("`frame`: convert and run; `run`: the network alone, as tract's rows are. CPU: all threads together.");
    for path in &args.model {
        let file = ModelFile::read(path)?;
        measure(&file, &frames, threads, args.seconds).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn pictures(args: &BenchArgs) -> anyhow::Result<Vec<Frame>> {
    let Some(path) = &args.images else {
        return Ok((0..4).map(noise).collect());
    };
    let opened = FolderCamera { path: path.clone(), repeats: false }.open();
    let mut source = opened.map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut frames = Vec::new();
    while frames.len() < PICTURES {
        let mut frame = Frame::default();
        match source.read(&mut frame) {
            Ok(()) => frames.push(frame),
            Err(crate::source::SourceError::Corrupt(what)) => crate::say(what),
            Err(_) => break,
        }
    }
    if frames.is_empty() {
        bail!("not one picture of {} could be read", path.display());
    }
    Ok(frames)
}

/// A frame of noise, always the same one for a number.
fn noise(number: u32) -> Frame {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(number + 1) | 1;
    let mut byte = || {
        // xorshift, Marsaglia 2003
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[2]
    };
    let pixels = (0..640 * 480 * 3).map(|_| byte()).collect();
    Frame { width: 640, height: 480, pixels, ..Frame::default() }
}

/// What a contestant does with a frame.
type Work<'c> = Box<dyn FnMut(&Frame) -> anyhow::Result<()> + 'c>;

/// A row of the table: what is measured, and how.
struct Contestant<'c> {
    name: String,
    work: Work<'c>,
    taken: Taken,
}

fn measure(file: &ModelFile, frames: &[Frame], threads: usize, seconds: u32) -> anyhow::Result<()> {
    println!("\n{}", file.path().display());
    file.with_classifier(1, |one| file.with_classifier(threads, |many| contest(file, one, many, frames, seconds)))??
}

fn contest(
    file: &ModelFile,
    one: &mut Classifier<'_, '_, '_, '_>,
    many: &mut Classifier<'_, '_, '_, '_>,
    frames: &[Frame],
    seconds: u32,
) -> anyhow::Result<()> {
    let shape = one.spec().shape;
    let many_threads = many.threads();
    if let Some(first) = frames.first() {
        one.keep_pixels();
        one.convert(first)?;
        many.convert(first)?;
    }
    let (one, many) = (std::cell::RefCell::new(one), std::cell::RefCell::new(many));
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    #[cfg(feature = "verify")]
    for (name, onnx, plan) in [
        ("tract, float, optimized: run", crate::verify::FLOAT, crate::verify::Plan::Optimized),
        ("tract, int8, as written: run", crate::verify::QUANTIZED, crate::verify::Plan::AsWritten),
    ] {
        let path = file.folder().join(onnx);
        if !path.exists() {
            println!("  {name}: not run: there is no {}", path.display());
            continue;
        }
        let judge = crate::verify::Judge::open(&path, shape, plan)?;
        let values: Vec<f32> = one.borrow().real_input().collect();
        let work = Box::new(move |_: &Frame| judge.run(values.iter().copied()).map(drop));
        contestants.push(Contestant { name: name.to_owned(), work, taken: Taken::default() });
    }
    #[cfg(not(feature = "verify"))]
    println!("  tract: not run: {} is measured by a program built without the feature `verify`", file.path().display());
    let mut own = |name: String, work| contestants.push(Contestant { name, work, taken: Taken::default() });
    let run_one = |_: &Frame| {
        one.borrow_mut().run();
        Ok(())
    };
    let run_many = |_: &Frame| {
        many.borrow_mut().run();
        Ok(())
    };
    own("ocelli, 1 thread: run".to_owned(), Box::new(run_one));
    if many_threads > 1 {
        own(format!("ocelli, {many_threads} threads: run"), Box::new(run_many));
    } else {
        println!("  one thread runs this model: compile it with --board host to share its rows");
    }
    own("ocelli, 1 thread: frame".to_owned(), Box::new(|frame| Ok(one.borrow_mut().classify(frame).map(drop)?)));
    if many_threads > 1 {
        let work = |frame: &Frame| Ok(many.borrow_mut().classify(frame).map(drop)?);
        own(format!("ocelli, {many_threads} threads: frame"), Box::new(work));
    }
    for _ in 0..ROUNDS {
        for contestant in &mut contestants {
            round(contestant, frames, Duration::from_secs(seconds.into()) / ROUNDS)?;
        }
    }
    let against = contestants.iter().find(|row| row.name.starts_with("tract, float")).map(|row| row.taken);
    let times = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    println!(
        "  input {shape}; {seconds} s each; ratios to tract's float network: frames a second, and frames for the same CPU time"
    );
    println!("  {:<30} {:>12} {:>14} {:>8} {:>8}", "", "frames / s", "CPU ms / frame", "x time", "x CPU");
    for Contestant { name, taken, .. } in &contestants {
        let [fps, cpu] = [taken.fps(), taken.cpu_ms()];
        let (by_time, by_cpu) = (times(against.map(|t| fps / t.fps())), times(against.map(|t| t.cpu_ms() / cpu)));
        println!("  {name:<30} {fps:>12.1} {cpu:>14.3} {by_time:>8} {by_cpu:>8}");
    }
    Ok(())
}

/// Lets a contestant run for a while, at least one frame.
fn round(contestant: &mut Contestant<'_>, frames: &[Frame], time: Duration) -> anyhow::Result<()> {
    if let Some(first) = frames.first() {
        (contestant.work)(first)?; // what is done once is not counted
    }
    let (start, cpu) = (Instant::now(), cpu_time().unwrap_or_default());
    for frame in frames.iter().cycle() {
        (contestant.work)(frame)?;
        contestant.taken.frames += 1;
        if start.elapsed() >= time {
            break;
        }
    }
    contestant.taken.time += start.elapsed();
    contestant.taken.cpu += cpu_time().unwrap_or_default().saturating_sub(cpu);
    Ok(())
}
