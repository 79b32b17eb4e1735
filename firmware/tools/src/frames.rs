//! Runs the classifier's firmware over pictures.

use crate::boards::Board;
use crate::build::Firmware;
use crate::qemu::{self, Event, Finished, Job, RunError};
use ocelli::image::PixelFormat;
use ocelli_app::bench::{FRAMES_FILE, FramesHeader, HeaderError, ResultsHeader};
use std::fs::File;
use std::io;
use std::path::Path;

/// The pictures for a run, all of one size.
#[derive(Clone, Debug)]
pub struct Frames {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Layout of the pixels.
    pub format: PixelFormat,
    /// The pixels of each frame, row after row.
    pub frames: Vec<Vec<u8>>,
}

/// What a run on the device gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRun {
    /// All scores of each frame.
    pub outputs: Vec<Vec<i8>>,
    /// Instructions that conversion and inference of each frame took, by a counter that ticks about once an instruction; reading
    /// the frame is not in them.
    pub instructions: Vec<u64>,
    /// The deepest stack.
    pub stack_bytes: u32,
    /// The lines that the firmware logged.
    pub log: Vec<String>,
}

/// Runs `firmware` on `board` over all frames; `progress` is told the number of frames finished.
///
/// # Errors
/// When QEMU is missing, the frames do not fit the board, or the run fails or hangs; see [`RunError`].
pub fn run(
    board: &'static Board,
    firmware: &Firmware,
    frames: &Frames,
    progress: &mut dyn FnMut(usize),
) -> Result<DeviceRun, RunError> {
    run_by(board, firmware, frames, |job| qemu::run(board, job, progress))
}

/// As [`run`]; `hear` is told again and again how many frames are finished, and each line that the firmware logs, as it comes.
///
/// # Errors
/// As [`run`].
pub fn watch(
    board: &'static Board,
    firmware: &Firmware,
    frames: &Frames,
    hear: &mut dyn FnMut(Event<'_>),
) -> Result<DeviceRun, RunError> {
    run_by(board, firmware, frames, |job| qemu::watch(board, job, hear))
}

fn run_by(
    board: &'static Board,
    firmware: &Firmware,
    frames: &Frames,
    run: impl FnOnce(&Job<'_>) -> Result<Finished, RunError>,
) -> Result<DeviceRun, RunError> {
    let input = frames.to_file(board)?;
    let count = frames.frames.len();
    let elf = &firmware.elf;
    let finished = run(&Job { elf, input_name: FRAMES_FILE, input: &input, arguments: &[], count, done: frames_done })?;
    parse_results(&finished.results, count, finished.log)
        .map_err(|reason| RunError::Results { board: board.name, reason })
}

impl Frames {
    /// The frames file, checked against what the board has memory for.
    fn to_file(&self, board: &'static Board) -> Result<Vec<u8>, RunError> {
        let refuse = |reason: String| RunError::Frames { board: board.name, reason };
        let row = self.format.row_bytes(self.width);
        if row > u64::from(board.row_bytes) {
            return Err(refuse(format!("a row has {row} bytes, the board has memory for {}", board.row_bytes)));
        }
        let needed = row * u64::from(self.height);
        let wrong = |frame: &Vec<u8>| u64::try_from(frame.len()) != Ok(needed);
        if let Some((index, frame)) = self.frames.iter().enumerate().find(|(_, frame)| wrong(frame)) {
            return Err(refuse(format!("frame {index} has {} bytes, its size needs {needed}", frame.len())));
        }
        let count = u32::try_from(self.frames.len()).map_err(|_| refuse("too many".into()))?;
        let header = FramesHeader { count, width: self.width, height: self.height, format: self.format }.to_bytes();
        FramesHeader::parse(&header).map_err(|error| refuse(error.to_string()))?;
        Ok([&header[..], &self.frames.concat()].concat())
    }
}

/// Frames whose results are complete, by the size of the file.
fn frames_done(results: &Path) -> usize {
    let read = || -> Option<usize> {
        let mut file = File::open(results).ok()?;
        let mut head = [0; ResultsHeader::BYTES];
        io::Read::read_exact(&mut file, &mut head).ok()?;
        let record = usize::try_from(ResultsHeader::parse(&head).ok()?.scores).ok()?.checked_add(4)?;
        // The file grows meanwhile: its length is asked for when the head is known to be there.
        let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
        Some(len.checked_sub(head.len())? / record)
    };
    read().unwrap_or(0)
}

/// Takes a results file apart; its size must be exactly that of `count` frames.
fn parse_results(file: &[u8], count: usize, log: Vec<String>) -> Result<DeviceRun, String> {
    let short = || format!("the file has {} bytes and no head", file.len());
    let (head, body) = file.split_first_chunk::<{ ResultsHeader::BYTES }>().ok_or_else(short)?;
    let header = ResultsHeader::parse(head).map_err(|error: HeaderError| error.to_string())?;
    let scores = usize::try_from(header.scores).unwrap_or(usize::MAX);
    let expected = scores.checked_add(4).and_then(|record| record.checked_mul(count)?.checked_add(4));
    let (records, stack) = body.split_last_chunk::<4>().filter(|_| expected == Some(body.len())).ok_or_else(|| {
        format!("{} bytes after the head are not those of {count} frames with {scores} scores each", body.len())
    })?;
    let mut run =
        DeviceRun { outputs: Vec::new(), instructions: Vec::new(), stack_bytes: u32::from_le_bytes(*stack), log };
    for record in records.chunks_exact(scores + 4) {
        let (values, ticks) = record.split_last_chunk::<4>().ok_or_else(short)?;
        run.outputs.push(values.iter().map(|&value| value.cast_signed()).collect());
        run.instructions.push(header.instructions(u32::from_le_bytes(*ticks)));
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards::find;

    fn results() -> Vec<u8> {
        let head = ResultsHeader { scores: 2, calibration_instructions: 80, calibration_ticks: 2 };
        let mut file = head.to_bytes().to_vec();
        file.extend([0x80, 0x7F, 5, 0, 0, 0]);
        file.extend([0xFF, 0x00, 6, 0, 0, 0]);
        file.extend(1144_u32.to_le_bytes());
        file
    }

    #[test]
    fn results_are_taken_apart() {
        let run = parse_results(&results(), 2, vec![]).unwrap();
        assert_eq!(run.outputs, [[-128, 127], [-1, 0]]);
        assert_eq!(run.instructions, [200, 240]);
        assert_eq!(run.stack_bytes, 1144);
    }

    #[test]
    fn results_of_another_length_are_refused() {
        let file = results();
        for cut in 0..file.len() {
            assert!(parse_results(&file[..cut], 2, vec![]).is_err(), "{cut} bytes");
        }
        assert!(parse_results(&file, 1, vec![]).is_err());
        assert!(parse_results(&file, 3, vec![]).is_err());
        let mut huge = file;
        huge[8..12].fill(0xFF);
        assert!(parse_results(&huge, 2, vec![]).is_err());
    }

    #[test]
    fn complete_frames_are_counted_while_the_file_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.bin");
        assert_eq!(frames_done(&path), 0);
        for (bytes, done) in [(0, 0), (23, 0), (24, 0), (29, 0), (30, 1), (35, 1), (36, 2), (40, 2)] {
            std::fs::write(&path, &results()[..bytes]).unwrap();
            assert_eq!(frames_done(&path), done, "{bytes} bytes");
        }
    }

    #[test]
    fn frames_that_do_not_fit_are_refused_before_the_run() {
        let frames =
            |width, height, bytes| Frames { width, height, format: PixelFormat::Rgb888, frames: vec![vec![0; bytes]] };
        let refusal = |frames: Frames| frames.to_file(find("qemu-m4").unwrap()).unwrap_err().to_string();
        assert_eq!(refusal(frames(2, 2, 11)), "frames for qemu-m4: frame 0 has 11 bytes, its size needs 12");
        assert_eq!(
            refusal(frames(1000, 1, 3000)),
            "frames for qemu-m4: a row has 3000 bytes, the board has memory for 2048"
        );
        assert_eq!(refusal(frames(2, 0, 0)), "frames for qemu-m4: the frames' sides must be 1 to 65535 pixels");
        assert_eq!(frames(2, 2, 12).to_file(find("qemu-m4").unwrap()).unwrap().len(), FramesHeader::BYTES + 12);
    }
}
