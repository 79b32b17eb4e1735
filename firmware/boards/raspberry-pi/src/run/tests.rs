use super::*;
use crate::cli::Cli;
use crate::files::Disk;
use crate::jpeg::{encode, tests::colourful};
use crate::source::{Source, SourceError};
use clap::Parser;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../models")
}

fn args(line: &str) -> RunArgs {
    let model = models().join("cifar-cnn");
    let words = ["ocelli-pi", "--model"].into_iter().chain(model.to_str());
    Cli::try_parse_from(words.chain(line.split_whitespace())).unwrap().run.unwrap()
}

/// What is printed for the frames of a camera.
fn printed(line: &str, camera: Box<dyn Camera>) -> (String, Ending, Figures) {
    let mut out = Vec::new();
    let (ending, figures) = run_with(&args(line), camera, &mut out, &AtomicBool::new(false)).unwrap();
    (String::from_utf8(out).unwrap(), ending, figures)
}

fn folder(pictures: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..pictures {
        let frame = colourful(32 + 8 * number, 32);
        RealDisk.write(&folder.path().join(format!("{number}.jpg")), &encode(&frame, 90).unwrap(), true).unwrap();
    }
    folder
}

#[test]
fn a_folder_becomes_a_line_for_each_picture() {
    let folder = folder(4);
    let verify = if cfg!(feature = "verify") { "--verify" } else { "" };
    let line = format!("--images {} --scores {verify}", folder.path().display());
    let (text, ending, figures) = printed(&line, args(&line).source().unwrap());
    assert_eq!(ending, Ending::Done);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    for (number, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("{number}.jpg: ")) && line.contains(" % ") && line.ends_with(']'), "{line}");
    }
    assert!(figures.summary().starts_with("4 frames in "), "{}", figures.summary());
    #[cfg(feature = "verify")]
    {
        let verified = figures.snapshot.verified.unwrap();
        assert_eq!((verified.frames, verified.disagreements), (4, 0));
        assert!(figures.summary().contains("tract disagreed about 0 of 4 frames"), "{}", figures.summary());
    }
}

#[test]
fn one_thread_and_several_give_the_same() {
    let folder = folder(3);
    let lines = ["1", "2", "3"].map(|threads| {
        let line = format!("--images {} --scores --threads {threads}", folder.path().display());
        printed(&line, args(&line).source().unwrap()).0
    });
    assert!(lines[0] == lines[1] && lines[1] == lines[2]);
}

#[test]
fn a_picture_that_cannot_be_read_is_left_out_and_told() {
    let folder = folder(2);
    std::fs::write(folder.path().join("1b.png"), b"nothing").unwrap();
    let line = format!("--images {}", folder.path().display());
    let (text, ending, figures) = printed(&line, args(&line).source().unwrap());
    assert_eq!((text.lines().count(), ending, figures.snapshot.corrupt), (2, Ending::Unreadable, 1));
}

/// A camera that is unplugged once, and for which opening it again fails once.
struct Unplugged(VecDeque<Option<u32>>);

struct Frames(u32);

impl Source for Frames {
    fn read(&mut self, frame: &mut Frame) -> Result<(), SourceError> {
        self.0 = self.0.checked_sub(1).ok_or(SourceError::Lost("unplugged".to_owned()))?;
        *frame = colourful(40, 40);
        Ok(())
    }
}

impl Camera for Unplugged {
    fn name(&self) -> String {
        "the camera".to_owned()
    }

    fn open(&mut self) -> Result<Box<dyn Source>, SourceError> {
        match self.0.pop_front() {
            Some(Some(frames)) => Ok(Box::new(Frames(frames))),
            Some(None) => Err(SourceError::Lost("no such device".to_owned())),
            None => Err(SourceError::End),
        }
    }

    fn is_live(&self) -> bool {
        false
    }
}

#[test]
fn frames_go_on_after_the_camera_was_unplugged() {
    let camera = Box::new(Unplugged([Some(2), None, Some(3)].into()));
    let (text, ending, figures) = printed("--frames 5", camera);
    assert_eq!((text.lines().count(), ending), (5, Ending::Done));
    assert_eq!((figures.snapshot.frames, figures.snapshot.trouble), (5, None));
}

#[test]
fn a_full_disk_does_not_end_the_run() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let folder = folder(3);
    let line = format!("--images {}", folder.path().display());
    let camera = args(&line).source().unwrap();
    let (ending, figures) = run_with(&args(&line), camera, full, &AtomicBool::new(false)).unwrap();
    assert_eq!((ending, figures.snapshot.frames), (Ending::Done, 3));
}

/// A stream that gives frames faster than they can be classified.
struct Film;

impl Camera for Film {
    fn name(&self) -> String {
        "the film".to_owned()
    }

    fn open(&mut self) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(Frames(40)))
    }
}

#[test]
fn every_frame_of_a_film_counts_where_that_is_wanted_and_no_frame_is_an_error() {
    assert_eq!(printed("--every-frame --frames 40", Box::new(Film)).0.lines().count(), 40);
    let nothing = Box::new(Unplugged(VecDeque::new()));
    let error = run_with(&args(""), nothing, Vec::new(), &AtomicBool::new(false)).err().unwrap().to_string();
    assert!(error.contains("the camera ended without a single frame"), "{error}");
}

#[test]
fn a_run_can_be_stopped_and_a_closed_pipe_ends_it() {
    let folder = folder(1);
    let line = format!("--images {} --loop", folder.path().display());
    let source = || args(&line).source().unwrap();
    let (ending, figures) = run_with(&args(&line), source(), Vec::new(), &AtomicBool::new(true)).unwrap();
    assert_eq!((ending, figures.snapshot.frames), (Ending::Done, 0));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (ending, _) = run_with(&args(&line), source(), writer, &AtomicBool::new(false)).unwrap();
    assert_eq!(ending, Ending::Closed);
}

#[test]
fn a_run_that_waits_for_its_next_frame_can_be_stopped() {
    let folder = folder(2);
    let line = format!("--images {} --max-fps 0.01", folder.path().display()); // 100 s
    let stop = AtomicBool::new(false);
    /// Tells that the first result was written.
    struct Told<'s>(&'s AtomicBool);
    impl Write for Told<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.store(true, Ordering::Relaxed);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (written, start) = (AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !written.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::Relaxed);
        });
        let camera = args(&line).source().unwrap();
        let (_, figures) = run_with(&args(&line), camera, Told(&written), &stop).unwrap();
        assert_eq!(figures.snapshot.frames, 1);
    });
    assert!(start.elapsed() < Duration::from_secs(100), "{:?}", start.elapsed());
}

#[test]
fn the_readmes_first_run_prints_what_it_says() {
    let readme = include_str!("../../README.md");
    let photo = models().join("../tests/data/photos/chelsea.png");
    let line = format!("--images {}", photo.display());
    let (text, ..) = printed(&line, args(&line).source().unwrap());
    let said = text.trim().rsplit('/').next().unwrap();
    assert!(readme.contains(&format!("`{said}`")), "{said}");
}

#[test]
fn bad_input_is_told_before_anything_runs() {
    let fails = |line: &str, what: &str| {
        let mut given = args(line);
        if line.contains("--frames 9") {
            given.model = "/nowhere".into();
        }
        let error =
            given.source().and_then(|camera| run_with(&given, camera, Vec::new(), &AtomicBool::new(false)).map(drop));
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains(what), "{line}: {error}");
    };
    fails("--images /nowhere --frames 9", "cannot read the model /nowhere: give a model.ocelli or a run folder");
    fails("--images / --framebuffer /dev/fb99", "cannot read its geometry");
    fails("--images / --listen 127.0.0.1:0 --token short", "at least 16");
    fails("--images / --mqtt host:port", "is no port");
    fails("--images / --web --keep /proc/photos", "--keep /proc/photos: cannot write there");
}
