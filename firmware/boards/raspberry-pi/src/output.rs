//! Results on standard output: lines to read, or JSON lines for another program.

use crate::backoff::{Backoff, Retry};
use crate::clean;
use crate::result::Outcome;
use std::io::{self, ErrorKind, Write};
use std::time::Instant;

/// What is written for each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// `cat.png: cat 93.4 %`, and what is shown after smoothing where that is another label.
    #[default]
    Lines,
    /// One JSON object a line.
    Json,
    /// Nothing.
    None,
}

/// Writes results. A full disk is said and tried again; when nobody reads any more, the run ends.
pub struct Output<W> {
    format: Format,
    /// Only when the shown label changes.
    changes_only: bool,
    last: Option<Option<String>>,
    out: W,
    retry: Retry,
    line: Vec<u8>,
    /// Part of a line that was written before the disk was full: the next begins on a line of its own.
    is_torn: bool,
}

/// What happened to a result.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// It was written, or was not to be.
    Fine,
    /// There is something to say.
    Said(String),
    /// Nobody reads any more.
    Closed,
}

impl<W: Write> Output<W> {
    /// Writes to `out`.
    pub fn new(out: W, format: Format, changes_only: bool, backoff: Backoff) -> Self {
        let retry = Retry::new("standard output", backoff);
        Self { format, changes_only, last: None, out, retry, line: Vec::new(), is_torn: false }
    }

    /// Writes a result.
    pub fn write(&mut self, outcome: &Outcome, now: Instant) -> Written {
        let changed = self.last.as_ref() != Some(&outcome.shown);
        if self.format == Format::None || (self.changes_only && !changed) {
            return Written::Fine;
        }
        self.line.clear();
        if self.is_torn {
            self.line.push(b'\n');
        }
        match self.format {
            Format::Json => {
                let _ = serde_json::to_writer(&mut self.line, outcome); // into memory
                self.line.push(b'\n');
            }
            Format::Lines | Format::None => self.line.extend_from_slice(line(outcome).as_bytes()),
        }
        let (mut is_closed, mut done) = (false, false);
        let (out, line, is_torn) = (&mut self.out, &self.line, &mut self.is_torn);
        let said = self.retry.attempt(now, || {
            let result = write_all(out, line, is_torn).and_then(|()| out.flush());
            is_closed = matches!(&result, Err(error) if error.kind() == ErrorKind::BrokenPipe);
            done = result.is_ok();
            result
        });
        if done {
            // a change that could not be written is one still
            self.last = Some(outcome.shown.clone());
        }
        match said {
            _ if is_closed => Written::Closed,
            Some(said) => Written::Said(said),
            None => Written::Fine,
        }
    }
}

/// Writes a line; `is_torn` becomes whether a part of it is there.
fn write_all(out: &mut impl Write, mut line: &[u8], is_torn: &mut bool) -> io::Result<()> {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                line = line.get(count..).unwrap_or(&[]);
                *is_torn = !line.is_empty();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The line for a result. Control characters of a file's name do not reach a terminal.
fn line(outcome: &Outcome) -> String {
    let percent = |permille: u16| format!("{}.{} %", permille / 10, permille % 10);
    let shown = match &outcome.shown {
        Some(label) if *label == outcome.label => String::new(),
        Some(label) => format!(" (shown: {} {})", clean(label), percent(outcome.shown_permille)),
        None => " (shown: unknown)".to_owned(),
    };
    let scores = if outcome.scores.is_empty() { String::new() } else { format!(" {:?}", outcome.scores) };
    let (frame, label) = (clean(&outcome.frame), clean(&outcome.label));
    format!("{frame}: {label} {}{shown}{scores}\n", percent(outcome.permille))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::time::Duration;

    pub(crate) fn outcome(label: &str, shown: Option<&str>) -> Outcome {
        Outcome {
            frame: "a.png".to_owned(),
            label: label.to_owned(),
            permille: 934,
            shown: shown.map(str::to_owned),
            shown_permille: 512,
            top: Vec::new(),
            latency_ms: 1.5,
            fps: Some(10.0),
            scores: Vec::new(),
        }
    }

    fn written(format: Format, changes_only: bool, outcomes: &[Outcome]) -> String {
        let mut out = Vec::new();
        let mut output = Output::new(&mut out, format, changes_only, Backoff::default());
        for outcome in outcomes {
            assert_eq!(output.write(outcome, Instant::now()), Written::Fine);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_tell_the_label_and_what_is_shown_instead() {
        let outcomes = [outcome("cat", Some("cat")), outcome("cat", Some("dog")), outcome("c\x1bat", None)];
        let expected =
            "a.png: cat 93.4 %\na.png: cat 93.4 % (shown: dog 51.2 %)\na.png: c?at 93.4 % (shown: unknown)\n";
        assert_eq!(written(Format::Lines, false, &outcomes), expected);
        assert_eq!(written(Format::None, false, &outcomes), "");
    }

    #[test]
    fn json_lines_are_objects() {
        let text = written(Format::Json, false, &[outcome("cat", None), outcome("dog", Some("cat"))]);
        let objects: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects[0]["label"], "cat");
        assert!(objects[0]["shown"].is_null() && objects[0].get("scores").is_none());
        assert_eq!((&objects[1]["shown"], &objects[1]["shown_permille"]), (&"cat".into(), &512.into()));
    }

    #[test]
    fn only_changes_are_written_where_only_they_are_wanted() {
        let shown = [None, None, Some("cat"), Some("cat"), None];
        let outcomes = shown.map(|shown| outcome("cat", shown));
        assert_eq!(written(Format::Lines, true, &outcomes).lines().count(), 3);
    }

    #[test]
    fn a_full_disk_is_said_and_tried_again() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        let mut output = Output::new(full, Format::Lines, true, backoff);
        let start = Instant::now();
        let said = output.write(&outcome("cat", None), start);
        assert!(matches!(&said, Written::Said(text) if text.contains("No space left")), "{said:?}");
        assert_eq!(output.write(&outcome("cat", None), start), Written::Fine, "not so soon");
        assert!(matches!(output.write(&outcome("cat", None), start + Duration::from_secs(1)), Written::Said(_)));
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_spoil_the_next() {
        /// Takes 5 bytes, is full once, then takes all.
        struct Small(Vec<u8>, u32);
        impl Write for Small {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                match self.1 {
                    1 => {
                        self.0.extend_from_slice(&bytes[..5]);
                        Ok(5)
                    }
                    2 => Err(ErrorKind::StorageFull.into()),
                    _ => self.0.write(bytes),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut output =
            Output::new(Small(Vec::new(), 0), Format::Lines, false, Backoff::new(Duration::ZERO, Duration::ZERO));
        let now = Instant::now();
        output.write(&outcome("cat", Some("cat")), now);
        assert!(
            matches!(output.write(&outcome("cat", Some("cat")), now), Written::Said(text) if text.contains("works again"))
        );
        assert_eq!(String::from_utf8_lossy(&output.out.0), "a.png\na.png: cat 93.4 %\n");
    }

    #[test]
    fn when_nobody_reads_the_run_ends() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut output = Output::new(writer, Format::Lines, false, Backoff::default());
        assert_eq!(output.write(&outcome("cat", None), Instant::now()), Written::Closed);
    }
}
