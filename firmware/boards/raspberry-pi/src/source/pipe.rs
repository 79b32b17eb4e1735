//! Pipes: this program's standard input, a named pipe, and a program that is started here and started again when it ends or stalls.

use super::stream::{Stream, StreamFormat};
use super::timed::TimedReader;
use super::{Camera, End, Ender, Source, SourceError};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a program that is asked to end may take before it is ended.
const GRACE: Duration = Duration::from_millis(500);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Standard input, into which another program writes.
#[derive(Debug)]
pub struct StdinCamera {
    /// What the stream consists of.
    pub format: StreamFormat,
    /// How long nothing may come before it counts as stalled.
    pub patience: Duration,
}

impl Camera for StdinCamera {
    fn name(&self) -> String {
        "standard input".to_owned()
    }

    fn open(&mut self) -> Result<Box<dyn Source>, SourceError> {
        let reader = TimedReader::new(io::stdin(), self.patience).map_err(|e| SourceError::Fatal(e.to_string()))?;
        Ok(Box::new(Stream::new(reader, self.format, SourceError::End)))
    }

    fn reopens(&self) -> bool {
        false
    }
}

/// A named pipe, or a file.
#[derive(Debug)]
pub struct PathCamera {
    /// The pipe.
    pub path: PathBuf,
    /// What the stream consists of.
    pub format: StreamFormat,
    /// How long nothing may come before it counts as stalled.
    pub patience: Duration,
}

impl PathCamera {
    fn is_file(&self) -> bool {
        self.path.metadata().is_ok_and(|found| found.is_file())
    }
}

impl Camera for PathCamera {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&mut self) -> Result<Box<dyn Source>, SourceError> {
        let lost = |error: io::Error| SourceError::Lost(format!("cannot be read: {error}"));
        // the end of a file is the end; that of a pipe, that its writer has gone
        let end = if self.is_file() { SourceError::End } else { SourceError::Lost("its writer has gone".to_owned()) };
        let is_pipe = self.path.metadata().map_err(lost)?.file_type().is_fifo();
        let file = if is_pipe { None } else { Some(File::open(&self.path).map_err(lost)?) };
        let reader = Opening { path: self.path.clone(), file };
        let reader = TimedReader::new(reader, self.patience).map_err(lost)?;
        Ok(Box::new(Stream::new(reader, self.format, end)))
    }

    fn is_live(&self) -> bool {
        !self.is_file()
    }

    fn reopens(&self) -> bool {
        false
    }
}

/// Opened by the first read: to open a named pipe takes until somebody writes to it, and that time is to be limited, too.
#[derive(Debug)]
struct Opening {
    path: PathBuf,
    file: Option<File>,
}

impl Read for Opening {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path)?,
        };
        self.file.insert(file).read(out)
    }
}

/// A program that writes frames to its standard output.
#[derive(Debug)]
pub struct CommandCamera {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What the stream consists of.
    pub format: StreamFormat,
    /// How long nothing may come before it counts as stalled.
    pub patience: Duration,
    /// The program that runs.
    pub running: Group,
}

/// The group of processes that runs, if one does.
pub type Group = Arc<Mutex<Option<u32>>>;

/// Sends a signal to a group of processes. The shell has `kill` built in; the system call needs unsafe code.
fn signal(group: u32, how: End) {
    let name = if how == End::Asked { "TERM" } else { "KILL" };
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -s \"$1\" -- \"-$2\"", "sh", name, &group.to_string()]);
    // fails when all of it have ended by themselves
    let _ = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// A program that ends when nobody reads it any more.
#[derive(Debug)]
struct Running {
    // before the stream, so that the program has ended when its pipe is closed
    _child: Ended,
    stream: Stream<TimedReader>,
}

/// The first of a group of processes: what it has started ends with it, and so nobody holds its pipe open.
#[derive(Debug)]
struct Ended(Child, Group);

impl Drop for Ended {
    fn drop(&mut self) {
        let group = self.0.id();
        // from here on its number may become another's
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = None;
        signal(group, End::Asked);
        let until = Instant::now() + GRACE;
        while Instant::now() < until && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK_EVERY);
        }
        signal(group, End::Forced); // also what outlives the first of the group
        let _ = self.0.kill(); // where there is no shell
        let _ = self.0.wait();
    }
}

impl Source for Running {
    fn read(&mut self, frame: &mut crate::frame::Frame) -> Result<(), SourceError> {
        self.stream.read(frame)
    }
}

impl Camera for CommandCamera {
    fn name(&self) -> String {
        self.command.first().map_or_else(|| "the program".to_owned(), Clone::clone)
    }

    fn open(&mut self) -> Result<Box<dyn Source>, SourceError> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(SourceError::Fatal("no program is given after --".to_owned()));
        };
        let lost = |error: io::Error| SourceError::Lost(format!("cannot be started: {error}"));
        let mut command = Command::new(program);
        command.args(arguments).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Ended(command.spawn().map_err(lost)?, Arc::clone(&self.running));
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(child.0.id());
        let Some(output) = child.0.stdout.take() else {
            return Err(SourceError::Lost("it has no output".to_owned()));
        };
        let reader = TimedReader::new(output, self.patience).map_err(lost)?;
        let end = SourceError::Lost("the program has ended".to_owned());
        Ok(Box::new(Running { _child: child, stream: Stream::new(reader, self.format, end) }))
    }

    fn ender(&self) -> Option<Ender> {
        let running = Arc::clone(&self.running);
        Some(Box::new(move |how| {
            let running = running.lock().unwrap_or_else(PoisonError::into_inner);
            running.iter().for_each(|&group| signal(group, how));
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, RawFormat, RawLayout};

    fn gray() -> StreamFormat {
        StreamFormat::Raw(RawLayout::new(RawFormat::Gray, [2, 2], None).unwrap())
    }

    fn shell(script: &str, patience: Duration) -> CommandCamera {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        CommandCamera { command, format: gray(), patience, running: Group::default() }
    }

    #[test]
    fn a_program_that_ends_is_lost_and_can_be_started_again() {
        let mut camera = shell("printf abcdefgh", Duration::from_secs(60));
        for _ in 0..2 {
            let mut source = camera.open().unwrap();
            let mut frame = Frame::default();
            source.read(&mut frame).unwrap();
            assert_eq!(frame.pixels, b"abcd");
            source.read(&mut frame).unwrap();
            assert_eq!(frame.pixels, b"efgh");
            assert!(matches!(source.read(&mut frame), Err(SourceError::Lost(_))));
        }
    }

    #[test]
    fn a_program_that_writes_nothing_stalls_and_is_ended() {
        let mut camera = shell("printf abcd; sleep 1000", Duration::from_millis(300));
        let mut source = camera.open().unwrap();
        let mut frame = Frame::default();
        while source.read(&mut frame).is_err() {} // a busy machine may need longer to start it
        assert!(matches!(source.read(&mut frame), Err(SourceError::Stalled(_))));
        drop(source); // would hang if the program were waited for
    }

    #[test]
    fn what_a_stalled_program_has_started_ends_with_it_however_stubborn() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("processes");
        // one that ends when it is asked to, and one that does not
        let script = format!(
            "(trap '' TERM; exec sleep 1000) & echo $! > {0}; sleep 1000 & echo $! >> {0}; printf abcd; wait",
            file.display()
        );
        let mut source = shell(&script, Duration::from_secs(60)).open().unwrap();
        source.read(&mut Frame::default()).unwrap();
        let processes = std::fs::read_to_string(&file).unwrap();
        assert_eq!(processes.lines().count(), 2);
        drop(source);
        // field 3 of /proc/PID/stat, behind the name in parentheses: Z has ended, though nobody has asked how yet
        let is_alive = |id: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
        };
        while processes.lines().any(is_alive) {
            std::thread::sleep(LOOK_EVERY); // a signal arrives in its time; one that was not sent never does
        }
    }

    #[test]
    fn a_silent_program_can_be_ended_while_it_is_waited_for() {
        for (script, how) in [("sleep 1000", End::Asked), ("trap '' TERM; printf abcd; sleep 1000", End::Forced)] {
            let mut camera = shell(script, Duration::from_secs(3600));
            let end = camera.ender().unwrap();
            end(how); // none runs yet
            let mut source = camera.open().unwrap();
            if how == End::Forced {
                source.read(&mut Frame::default()).unwrap();
                end(End::Asked);
            }
            let reader = std::thread::spawn(move || source.read(&mut Frame::default()));
            end(how);
            assert!(matches!(reader.join().unwrap(), Err(SourceError::Lost(_))));
            assert_eq!(*camera.running.lock().unwrap(), None);
        }
    }

    #[test]
    fn a_named_pipe_without_a_writer_stalls_until_one_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut camera = PathCamera { path: path.clone(), format: gray(), patience: Duration::from_millis(20) };
        assert!(camera.is_live());
        let mut source = camera.open().unwrap();
        let mut frame = Frame::default();
        assert!(matches!(source.read(&mut frame), Err(SourceError::Stalled(_))));
        let writer = std::thread::spawn(move || std::fs::write(path, b"abcd").unwrap());
        while source.read(&mut frame).is_err() {} // a busy machine may need longer than the patience
        assert_eq!(frame.pixels, b"abcd");
        writer.join().unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_may_come() {
        let mut camera = shell("", Duration::from_secs(1));
        camera.command = vec!["/nowhere/rpicam-vid".to_owned()];
        assert!(matches!(camera.open(), Err(SourceError::Lost(_))));
        assert_eq!(camera.name(), "/nowhere/rpicam-vid");
    }

    #[test]
    fn a_file_ends_and_a_pipe_that_is_missing_may_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames.gray");
        let mut camera = PathCamera { path: path.clone(), format: gray(), patience: Duration::from_secs(60) };
        assert!(matches!(camera.open(), Err(SourceError::Lost(_))));
        std::fs::write(&path, b"abcdefgh").unwrap();
        let mut source = camera.open().unwrap();
        let mut frame = Frame::default();
        assert_eq!(source.read(&mut frame), Ok(()));
        assert_eq!(source.read(&mut frame), Ok(()));
        assert_eq!(source.read(&mut frame), Err(SourceError::End));
        assert!(!camera.is_live());
    }
}
