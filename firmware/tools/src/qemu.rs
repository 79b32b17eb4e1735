//! Runs a program of the firmware in QEMU: a file in, a file of results and the log out.

use crate::boards::Board;
use crate::log::{self, Follower};
use crate::toolchain::{MissingTool, find_emulator};
use ocelli_app::bench::RESULTS_FILE;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a frame may take before QEMU is stopped. An emulated core runs some 100 million instructions a second.
const FRAME_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the run is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// QEMU is not installed.
    #[error(transparent)]
    Missing(#[from] MissingTool),
    /// The frames cannot be given to the board.
    #[error("frames for {board}: {reason}")]
    Frames {
        /// The board's name.
        board: &'static str,
        /// What is wrong with them.
        reason: String,
    },
    /// A file of the run could not be read or written.
    #[error("{what}: {error}")]
    File {
        /// Which one.
        what: String,
        /// The reason.
        error: io::Error,
    },
    /// The firmware or QEMU ended with a failure.
    #[error("the firmware on {board} failed ({status}):\n{output}")]
    Failed {
        /// The board's name.
        board: &'static str,
        /// How QEMU ended.
        status: ExitStatus,
        /// The firmware's log and what QEMU said.
        output: String,
    },
    /// No frame was finished for too long.
    #[error("{board} finished {done} of {count} frames and then none for {} s; QEMU was stopped. Its log:\n{output}", after.as_secs())]
    Timeout {
        /// The board's name.
        board: &'static str,
        /// Frames finished.
        done: usize,
        /// Frames asked for.
        count: usize,
        /// Time since the last one.
        after: Duration,
        /// The firmware's log and what QEMU said.
        output: String,
    },
    /// The results file is not what the firmware writes.
    #[error("results of {board}: {reason}")]
    Results {
        /// The board's name.
        board: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// What to run.
pub(crate) struct Job<'j> {
    /// The program.
    pub(crate) elf: &'j Path,
    /// Name of the file that it reads.
    pub(crate) input_name: &'j CStr,
    /// The bytes of that file.
    pub(crate) input: &'j [u8],
    /// Frames in it.
    pub(crate) count: usize,
    /// Further arguments of QEMU.
    pub(crate) arguments: &'j [String],
    /// The number of frames whose results are complete in the results file.
    pub(crate) done: fn(&Path) -> usize,
}

/// What is heard of a run while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'e> {
    /// So many frames are finished.
    Done(usize),
    /// The firmware logged this line.
    Log(&'e str),
}

/// What a program left that ended well.
pub(crate) struct Finished {
    /// The bytes of the results file.
    pub(crate) results: Vec<u8>,
    /// The lines that it logged.
    pub(crate) log: Vec<String>,
}

/// Runs a program to its end; `progress` is told the number of frames finished.
pub(crate) fn run(board: &'static Board, job: &Job<'_>, progress: &mut dyn FnMut(usize)) -> Result<Finished, RunError> {
    let mut hear = |event: Event<'_>| {
        if let Event::Done(done) = event {
            progress(done);
        }
    };
    run_heard(board, job, &mut hear, None)
}

/// As [`run`], which hears the log as it comes too.
pub(crate) fn watch(
    board: &'static Board,
    job: &Job<'_>,
    hear: &mut dyn FnMut(Event<'_>),
) -> Result<Finished, RunError> {
    run_heard(board, job, hear, Some(Follower::default()))
}

fn run_heard(
    board: &'static Board,
    job: &Job<'_>,
    hear: &mut dyn FnMut(Event<'_>),
    mut follower: Option<Follower>,
) -> Result<Finished, RunError> {
    let emulator = find_emulator(board)?;
    let elf = fs::read(job.elf).map_err(file(&job.elf.display().to_string()))?;
    let dir = tempfile::Builder::new().prefix("ocelli-qemu-").tempdir().map_err(file("temporary folder"))?;
    let path = |name: &str| dir.path().join(name);
    fs::write(path(&name(job.input_name)), job.input).map_err(file("input file"))?;

    let output = |stream: &str| File::create(path(stream)).map_err(file("QEMU's output"));
    let mut qemu = Running(
        Command::new(emulator.program)
            .args(emulator.machine)
            .args(["-icount", &format!("shift={}", emulator.icount_shift)])
            .args(["-display", "none", "-monitor", "none", "-serial", "none"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .args(job.arguments)
            .arg("-kernel")
            .arg(job.elf)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(output("log")?)
            .stderr(output("messages")?)
            .spawn()
            .map_err(file(emulator.program))?,
    );
    let results_path = path(&name(RESULTS_FILE));
    let (log_path, mut log_len) = (path("log"), 0);
    let mut look = |done: Option<usize>| {
        if let Some(done) = done {
            hear(Event::Done(done));
        }
        let len = fs::metadata(&log_path).map_or(0, |data| data.len());
        if let Some(follower) = follower.as_mut().filter(|_| len != log_len || done.is_none()) {
            log_len = len;
            let log = fs::read(&log_path).unwrap_or_default();
            follower.more(&elf, &log, done.is_none()).iter().for_each(|line| hear(Event::Log(line)));
        }
    };
    let ended = qemu.wait(&results_path, job.done, &mut |done| look(Some(done)))?;
    drop(qemu);
    look(None);

    let log = fs::read(path("log")).map_err(file("log"))?;
    let log = log::lines(&elf, &log);
    let everything = || {
        let messages = fs::read(path("messages")).unwrap_or_default();
        let messages = String::from_utf8_lossy(&messages);
        log.iter().map(String::as_str).chain(messages.lines()).collect::<Vec<_>>().join("\n")
    };
    match ended {
        Ended::Stuck { done } => {
            let (count, after) = (job.count, FRAME_TIMEOUT);
            Err(RunError::Timeout { board: board.name, done, count, after, output: everything() })
        }
        Ended::Exit(status) if !status.success() => {
            Err(RunError::Failed { board: board.name, status, output: everything() })
        }
        Ended::Exit(_) => {
            let results = match fs::read(&results_path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(), // what reads results refuses an empty file
                read => read.map_err(file("results file"))?,
            };
            Ok(Finished { results, log })
        }
    }
}

/// How a run ended.
enum Ended {
    Exit(ExitStatus),
    Stuck { done: usize },
}

/// QEMU, which does not outlive this value.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Waits for the end; `look` hears again and again how many frames are finished, which `frames_done` finds in the results file.
    fn wait(
        &mut self,
        results: &Path,
        frames_done: fn(&Path) -> usize,
        look: &mut dyn FnMut(usize),
    ) -> Result<Ended, RunError> {
        let (mut done, mut last_change) = (0, Instant::now());
        loop {
            let status = self.0.try_wait().map_err(file("QEMU"))?;
            let now_done = frames_done(results);
            if now_done > done {
                (done, last_change) = (now_done, Instant::now());
            }
            look(done);
            match status {
                Some(status) => return Ok(Ended::Exit(status)),
                None if last_change.elapsed() > FRAME_TIMEOUT => return Ok(Ended::Stuck { done }),
                None => sleep(POLL),
            }
        }
    }
}

fn name(file: &CStr) -> String {
    file.to_string_lossy().into_owned()
}

fn file(what: &str) -> impl FnOnce(io::Error) -> RunError {
    let what = what.to_owned();
    move |error| RunError::File { what, error }
}
