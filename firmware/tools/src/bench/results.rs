//! The results file of a benchmark.

use ocelli_app::bench::layers::LayersHeader;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What the board measured; instructions are means over the frames.
pub(super) struct Measured {
    pub(super) instructions: u64,
    pub(super) load_instructions: u64,
    /// Of the input and of each operator.
    pub(super) layers: Vec<u64>,
    pub(super) stack_bytes: u64,
    pub(super) outputs: Vec<Vec<i8>>,
}

impl Measured {
    /// Takes a results file apart; its size must be exactly that of `count` frames.
    pub(super) fn parse(file: &[u8], count: usize) -> Result<Self, String> {
        let short = || format!("the file has {} bytes and no head", file.len());
        let (head, body) = file.split_first_chunk::<{ LayersHeader::BYTES }>().ok_or_else(short)?;
        let header = LayersHeader::parse(head).map_err(|error| error.to_string())?;
        let pass = header.pass_bytes().filter(|&bytes| bytes > 0).ok_or_else(short)?;
        let expected = pass.checked_mul(2 * count).and_then(|passes| passes.checked_add(4));
        let (passes, stack) =
            body.split_last_chunk::<4>().filter(|_| expected == Some(body.len())).ok_or_else(|| {
                format!(
                    "{} bytes after the head are not those of {count} frames with 2 x {pass} bytes each",
                    body.len()
                )
            })?;
        let output_bytes = usize::try_from(header.output_bytes).map_err(|_| short())?;
        let mut total = 0;
        let mut layers = Vec::new();
        let mut outputs = Vec::new();
        for frame in passes.chunks_exact(2 * pass) {
            let (unobserved, observed) = frame.split_at(pass);
            let (ticks, output) = unobserved.split_at(pass - output_bytes);
            let (each, observed_output) = observed.split_at(pass - output_bytes);
            if output != observed_output {
                return Err(format!("frame {}: the two passes over it differ", outputs.len()));
            }
            total += words(ticks).map(|ticks| header.instructions(ticks)).sum::<u64>();
            layers.resize(each.len() / 4, 0);
            layers.iter_mut().zip(words(each)).for_each(|(sum, ticks)| *sum += header.instructions(ticks));
            outputs.push(output.iter().map(|&value| value.cast_signed()).collect());
        }
        let frames = u64::try_from(count.max(1)).unwrap_or(u64::MAX);
        layers.iter_mut().for_each(|sum| *sum /= frames);
        Ok(Self {
            instructions: total / frames,
            load_instructions: header.instructions(header.load_ticks),
            layers,
            stack_bytes: u32::from_le_bytes(*stack).into(),
            outputs,
        })
    }
}

/// Little-endian words.
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word))
}

/// Frames whose results are complete, by the size of the file.
pub(super) fn frames_done(results: &Path) -> usize {
    let read = || -> Option<usize> {
        let mut file = File::open(results).ok()?;
        let mut head = [0; LayersHeader::BYTES];
        file.read_exact(&mut head).ok()?;
        let frame = LayersHeader::parse(&head).ok()?.pass_bytes()?.checked_mul(2)?;
        // The file grows meanwhile: its length is asked for when the head is known to be there.
        let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
        len.checked_sub(head.len())?.checked_div(frame)
    };
    read().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn results() -> Vec<u8> {
        let header = LayersHeader {
            ops: 1,
            output_bytes: 2,
            calibration_instructions: 10,
            calibration_ticks: 16,
            load_ticks: 160,
            reading_ticks: 3,
        };
        let mut file = header.to_bytes().to_vec();
        for (total, input, layer) in [(160_u32, 16_u32, 144_u32), (320, 32, 288)] {
            file.extend(total.to_le_bytes());
            file.extend([0; 4]);
            file.extend([0x80, 0x7F]);
            file.extend(input.to_le_bytes());
            file.extend(layer.to_le_bytes());
            file.extend([0x80, 0x7F]);
        }
        file.extend(700_u32.to_le_bytes());
        file
    }

    #[test]
    fn results_are_taken_apart_and_averaged() {
        let measured = Measured::parse(&results(), 2).unwrap();
        assert_eq!((measured.instructions, measured.load_instructions, measured.stack_bytes), (150, 100, 700));
        assert_eq!(measured.layers, [15, 135]);
        assert_eq!(measured.outputs, [[-128, 127], [-128, 127]]);
    }

    #[test]
    fn results_that_are_not_those_of_the_frames_are_refused() {
        let file = results();
        for cut in 0..file.len() {
            assert!(Measured::parse(&file[..cut], 2).is_err(), "{cut} bytes");
        }
        assert!(Measured::parse(&file, 1).is_err());
        assert!(Measured::parse(&file, 3).is_err());
        let mut other = file;
        other[LayersHeader::BYTES + 8] ^= 1; // an output of the first pass
        let reason = Measured::parse(&other, 2).err();
        assert_eq!(reason.as_deref(), Some("frame 0: the two passes over it differ"));
    }

    #[test]
    fn complete_frames_are_counted_while_the_file_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.bin");
        assert_eq!(frames_done(&path), 0);
        for (bytes, done) in [(0, 0), (31, 0), (32, 0), (51, 0), (52, 1), (72, 2), (76, 2)] {
            fs::write(&path, &results()[..bytes]).unwrap();
            assert_eq!(frames_done(&path), done, "{bytes} bytes");
        }
    }
}
