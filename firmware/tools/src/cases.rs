//! Runs operator cases on a board: many small models, each over a frame of its own, in one run.

use crate::boards::Board;
use crate::build::{self, BuildError};
use crate::qemu::{self, Job, RunError};
use crate::toolchain::{Toolchain, find_emulator};
use ocelli_app::bench::HeaderError;
use ocelli_app::bench::cases::{CASES_FILE, CaseHeader, CaseOutcome, CasesHeader};
use std::fs;
use std::path::Path;

/// A model and a frame for it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The bytes of the model file, which only the board checks.
    pub model: Vec<u8>,
    /// The int8 input, `[h, w, c]`.
    pub frame: Vec<i8>,
}

impl Case {
    /// Checks that the board has room for model and frame.
    ///
    /// # Errors
    /// When one of them is too long.
    pub fn check(&self) -> Result<(), HeaderError> {
        self.header().map(drop)
    }

    /// The head of the case in the file that the board reads.
    fn header(&self) -> Result<[u8; CaseHeader::BYTES], HeaderError> {
        let [model_bytes, frame_bytes] =
            [self.model.len(), self.frame.len()].map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        let header = CaseHeader { model_bytes, frame_bytes }.to_bytes();
        CaseHeader::parse(&header).map(|_| header)
    }
}

/// The int8 output of a case, `[h, w, c]`, or why the board did not run it.
pub type CaseOutput = Result<Vec<i8>, String>;

/// Why no case was run to its end.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// A case is larger than the board's memory for it.
    #[error("case {index} (model: {model_bytes} bytes, frame: {frame_bytes} bytes): {error}")]
    Case {
        /// Number of the case, from 0.
        index: usize,
        /// Bytes of its model.
        model_bytes: usize,
        /// Bytes of its frame.
        frame_bytes: usize,
        /// What is wrong.
        error: HeaderError,
    },
    /// The firmware was not built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Runs all cases on `board` in one run: an output for each, in their order.
///
/// A model that the board refuses, and a frame of another size than its model's input, do not keep the other cases from
/// running. The board has 256 KiB for a model, for its working memory and for a frame. `target_dir` is as for
/// [`build`](crate::build()).
///
/// # Errors
/// When QEMU is missing, a model or a frame is too long, the firmware cannot be built, or the run fails or hangs.
pub fn run_cases(
    board: &'static Board,
    toolchain: &Toolchain,
    cases: &[Case],
    target_dir: Option<&Path>,
) -> Result<Vec<CaseOutput>, CasesError> {
    find_emulator(board).map_err(RunError::Missing)?;
    let input = to_file(cases)?;
    let image = build::build_program(build::CASES, board, toolchain, target_dir)?;
    let (elf, count) = (&image.elf, cases.len());
    let job = Job { elf, input_name: CASES_FILE, input: &input, arguments: &[], count, done: cases_done };
    let finished = qemu::run(board, &job, &mut |_| {})?;
    let outputs = parse_results(&finished.results, cases.len(), &finished.log)
        .map_err(|reason| RunError::Results { board: board.name, reason })?;
    Ok(outputs)
}

/// The cases file.
fn to_file(cases: &[Case]) -> Result<Vec<u8>, CasesError> {
    // more cases than a u32 counts do not fit a host's memory
    let count = u32::try_from(cases.len()).unwrap_or(u32::MAX);
    let mut file = CasesHeader { count }.to_bytes().to_vec();
    for (index, case) in cases.iter().enumerate() {
        let Case { model, frame } = case;
        file.extend(case.header().map_err(|error| CasesError::Case {
            index,
            model_bytes: model.len(),
            frame_bytes: frame.len(),
            error,
        })?);
        file.extend(model);
        file.resize(file.len().next_multiple_of(4), 0);
        file.extend(frame.iter().map(|value| value.cast_unsigned()));
        file.resize(file.len().next_multiple_of(4), 0);
    }
    Ok(file)
}

/// Cases whose results are complete.
fn cases_done(results: &Path) -> usize {
    let file = fs::read(results).unwrap_or_default();
    let mut rest = file.as_slice();
    let mut done = 0;
    while let Ok((_, _, after)) = split_case(rest) {
        (done, rest) = (done + 1, after);
    }
    done
}

/// Takes a results file apart; it must be exactly that of `count` cases.
fn parse_results(file: &[u8], count: usize, log: &[String]) -> Result<Vec<CaseOutput>, String> {
    let mut rest = file;
    let mut outputs = Vec::new();
    for index in 0..count {
        let (outcome, output, after) = split_case(rest).map_err(|error| format!("case {index}: {error}"))?;
        outputs.push(match outcome {
            CaseOutcome::Ran { .. } => Ok(output.iter().map(|value| value.cast_signed()).collect()),
            CaseOutcome::Refused => Err(with_log("the board refuses the model", index, log)),
            CaseOutcome::FrameSize => Err(with_log("the frame has another size than the model's input", index, log)),
        });
        rest = after;
    }
    if rest.is_empty() { Ok(outputs) } else { Err(format!("{} bytes after those of {count} cases", rest.len())) }
}

/// The results of the first case, and what follows them.
fn split_case(file: &[u8]) -> Result<(CaseOutcome, &[u8], &[u8]), String> {
    let short = || format!("the file ends after {} bytes of it", file.len());
    let (head, body) = file.split_first_chunk::<{ CaseOutcome::BYTES }>().ok_or_else(short)?;
    let outcome = CaseOutcome::parse(head).map_err(|error| error.to_string())?;
    let output_bytes = match outcome {
        CaseOutcome::Ran { output_bytes } => output_bytes,
        CaseOutcome::Refused | CaseOutcome::FrameSize => 0,
    };
    let output_bytes = usize::try_from(output_bytes).map_err(|_| short())?;
    let (output, rest) = body.split_at_checked(output_bytes).ok_or_else(short)?;
    Ok((outcome, output, rest))
}

/// A reason, with what the firmware logged about the case.
fn with_log(reason: &str, index: usize, log: &[String]) -> String {
    let start = format!("error: case {index}: ");
    let details = log.iter().find_map(|line| line.strip_prefix(&start));
    details.map_or_else(|| reason.to_owned(), |details| format!("{reason}: {details}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case that gave -128 and 127, one whose model was refused, one without output, one with a wrong frame.
    fn results() -> Vec<u8> {
        let outcomes = [
            (CaseOutcome::Ran { output_bytes: 2 }, &[0x80, 0x7F][..]),
            (CaseOutcome::Refused, &[]),
            (CaseOutcome::Ran { output_bytes: 0 }, &[]),
            (CaseOutcome::FrameSize, &[]),
        ];
        outcomes.iter().flat_map(|(outcome, output)| [&outcome.to_bytes()[..], output].concat()).collect()
    }

    #[test]
    fn results_are_taken_apart_and_reasons_come_from_the_log() {
        let log = ["error: case 1: Refused(NotAModel)", "error: case 13: other", "info: 4 cases done"];
        let outputs = parse_results(&results(), 4, &log.map(str::to_owned)).unwrap();
        let expected = [
            Ok(vec![-128, 127]),
            Err("the board refuses the model: Refused(NotAModel)".to_owned()),
            Ok(vec![]),
            Err("the frame has another size than the model's input".to_owned()),
        ];
        assert_eq!(outputs, expected);
    }

    #[test]
    fn results_of_another_length_are_refused() {
        let file = results();
        for cut in 0..file.len() {
            assert!(parse_results(&file[..cut], 4, &[]).is_err(), "{cut} bytes");
        }
        assert_eq!(parse_results(&file, 3, &[]).unwrap_err(), "8 bytes after those of 3 cases");
        assert_eq!(parse_results(&file, 5, &[]).unwrap_err(), "case 4: the file ends after 0 bytes of it");
        let mut huge = file;
        huge[4..8].fill(0xFF);
        assert_eq!(parse_results(&huge, 4, &[]).unwrap_err(), "case 0: the file ends after 34 bytes of it");
        huge[0] = 9;
        assert_eq!(parse_results(&huge, 4, &[]).unwrap_err(), "case 0: a case has an unknown outcome");
    }

    #[test]
    fn complete_cases_are_counted_while_the_file_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.bin");
        assert_eq!(cases_done(&path), 0);
        for (bytes, done) in [(0, 0), (9, 0), (10, 1), (17, 1), (18, 2), (34, 4)] {
            fs::write(&path, &results()[..bytes]).unwrap();
            assert_eq!(cases_done(&path), done, "{bytes} bytes");
        }
    }

    #[test]
    fn models_and_frames_are_padded_to_words() {
        let cases = [Case { model: vec![1; 5], frame: vec![-1; 3] }, Case { model: vec![], frame: vec![2; 4] }];
        let file = to_file(&cases).unwrap();
        let body =
            [5, 0, 0, 0, 3, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 4, 0, 0, 0, 2, 2, 2, 2];
        assert_eq!(file[..CasesHeader::BYTES], CasesHeader { count: 2 }.to_bytes());
        assert_eq!(file[CasesHeader::BYTES..], body);
    }

    #[test]
    fn a_case_that_does_not_fit_is_refused_before_the_run() {
        let fits = Case { model: vec![0; 256 << 10], frame: vec![0; 256 << 10] };
        let large = Case { model: vec![], frame: vec![0; (256 << 10) + 1] };
        assert_eq!(
            to_file(&[fits, large]).unwrap_err().to_string(),
            "case 1 (model: 0 bytes, frame: 262145 bytes): a case's model and frame must each fit 256 KiB"
        );
    }
}
