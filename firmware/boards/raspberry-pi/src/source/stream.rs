//! Frames out of a stream of bytes: raw ones of a known size, or JPEGs.

use super::mjpeg::Splitter;
use super::{Source, SourceError};
use crate::frame::{Frame, RawLayout};
use crate::jpeg;
use std::io::{self, ErrorKind, Read};

/// Bytes that are asked for at once.
const PIECE_BYTES: usize = 1 << 16;

/// Bytes without a picture after which a stream of JPEGs is said to be none.
const MOST_BETWEEN_BYTES: usize = 16 << 20;

/// What a stream consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFormat {
    /// Frames without headers.
    Raw(RawLayout),
    /// JPEGs, one after another.
    Mjpeg,
}

/// A stream of frames.
#[derive(Debug)]
pub struct Stream<R> {
    reader: R,
    format: StreamFormat,
    /// A raw frame, as far as it has come: a pause in its middle must not shift the next one.
    raw: Vec<u8>,
    filled: usize,
    splitter: Splitter,
    picture: Vec<u8>,
    /// Bytes since the last picture.
    between: usize,
    count: u64,
    /// How the end of the stream is to be taken.
    end: SourceError,
}

impl<R: Read + Send> Stream<R> {
    /// Frames out of `reader`, whose end is `end`.
    pub fn new(reader: R, format: StreamFormat, end: SourceError) -> Self {
        let size = match format {
            StreamFormat::Raw(layout) => layout.frame_bytes(),
            StreamFormat::Mjpeg => PIECE_BYTES,
        };
        Self {
            reader,
            format,
            raw: vec![0; size],
            filled: 0,
            splitter: Splitter::default(),
            picture: Vec::new(),
            between: 0,
            count: 0,
            end,
        }
    }

    fn read_raw(&mut self, layout: &RawLayout, frame: &mut Frame) -> Result<(), SourceError> {
        while self.filled < self.raw.len() {
            let rest = self.raw.get_mut(self.filled..).unwrap_or_default();
            match self.reader.read(rest) {
                Ok(0) if self.filled > 0 => {
                    let (found, needed) = (std::mem::take(&mut self.filled), self.raw.len());
                    return Err(SourceError::Corrupt(format!(
                        "the stream ends within a frame, after {found} of its {needed} bytes: are --size, --stride and \
                         --format those of the camera's program?"
                    )));
                }
                Ok(0) => return Err(self.end.clone()),
                Ok(count) => self.filled += count,
                Err(error) => return Err(of_read(&error)),
            }
        }
        self.filled = 0;
        layout.unpack(&self.raw, frame);
        Ok(())
    }

    fn read_jpeg(&mut self, frame: &mut Frame) -> Result<(), SourceError> {
        loop {
            match self.splitter.next(&mut self.picture) {
                Some(Ok(())) => {
                    self.between = 0;
                    return jpeg::decode(&self.picture, frame).map_err(SourceError::Corrupt);
                }
                Some(Err(what)) => return Err(SourceError::Corrupt(what)),
                None if self.between > MOST_BETWEEN_BYTES => {
                    let mib = std::mem::take(&mut self.between) >> 20;
                    return Err(SourceError::Corrupt(format!(
                        "{mib} MiB without one JPEG: is --format what is written?"
                    )));
                }
                None => match self.reader.read(&mut self.raw) {
                    Ok(0) => return Err(self.end.clone()),
                    Ok(count) => {
                        self.between += count;
                        self.splitter.push(self.raw.get(..count).unwrap_or(&[]));
                    }
                    Err(error) => return Err(of_read(&error)),
                },
            }
        }
    }
}

fn of_read(error: &io::Error) -> SourceError {
    match error.kind() {
        ErrorKind::TimedOut => SourceError::Stalled(error.to_string()),
        _ => SourceError::Lost(error.to_string()),
    }
}

impl<R: Read + Send> Source for Stream<R> {
    fn read(&mut self, frame: &mut Frame) -> Result<(), SourceError> {
        match self.format {
            StreamFormat::Raw(layout) => self.read_raw(&layout, frame)?,
            StreamFormat::Mjpeg => self.read_jpeg(frame)?,
        }
        self.count += 1;
        frame.name = format!("frame {}", self.count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::RawFormat;
    use crate::jpeg::tests::colourful;
    use std::collections::VecDeque;

    /// A reader that plays pieces and pauses.
    struct Pieces(VecDeque<Option<Vec<u8>>>);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.pop_front() {
                None => Ok(0),
                Some(None) => Err(io::Error::new(ErrorKind::TimedOut, "nothing has come for 1 s")),
                Some(Some(mut piece)) => {
                    let rest = piece.split_off(piece.len().min(out.len()));
                    out[..piece.len()].copy_from_slice(&piece);
                    if !rest.is_empty() {
                        self.0.push_front(Some(rest));
                    }
                    Ok(piece.len())
                }
            }
        }
    }

    fn stream(format: StreamFormat, pieces: Vec<Option<Vec<u8>>>) -> Stream<Pieces> {
        Stream::new(Pieces(pieces.into()), format, SourceError::End)
    }

    #[test]
    fn a_pause_within_a_raw_frame_does_not_shift_the_next() {
        let layout = RawLayout::new(RawFormat::Rgb24, [2, 1], None).unwrap();
        let pieces =
            vec![Some(vec![1, 2]), None, Some(vec![3, 4, 5, 6, 7]), Some(vec![8, 9, 10, 11, 12]), Some(vec![13])];
        let mut stream = stream(StreamFormat::Raw(layout), pieces);
        let mut frame = Frame::default();
        assert!(matches!(stream.read(&mut frame), Err(SourceError::Stalled(_))));
        stream.read(&mut frame).unwrap();
        assert_eq!((&frame.pixels[..], frame.name.as_str()), (&[1, 2, 3, 4, 5, 6][..], "frame 1"));
        stream.read(&mut frame).unwrap();
        assert_eq!(frame.pixels, [7, 8, 9, 10, 11, 12]);
        let cut_off = stream.read(&mut frame).unwrap_err();
        assert!(matches!(&cut_off, SourceError::Corrupt(what) if what.contains("1 of its 6 bytes")), "{cut_off}");
        assert_eq!(stream.read(&mut frame), Err(SourceError::End));
    }

    #[test]
    fn a_stream_that_is_no_mjpeg_is_said_to_be_none() {
        let pieces = (0..40).map(|_| Some(vec![0x80; 1 << 20])).collect();
        let mut stream = stream(StreamFormat::Mjpeg, pieces);
        for _ in 0..2 {
            let error = stream.read(&mut Frame::default()).unwrap_err();
            assert!(
                matches!(&error, SourceError::Corrupt(what) if what.contains("16 MiB without one JPEG")),
                "{error}"
            );
        }
        assert_eq!(stream.read(&mut Frame::default()), Err(SourceError::End));
    }

    #[test]
    fn a_corrupt_jpeg_is_left_out_and_the_next_one_read() {
        let jpeg = jpeg::encode(&colourful(32, 32), 90).unwrap();
        let mut bytes = [&jpeg[..], &jpeg[..jpeg.len() / 2], &jpeg, &jpeg].concat();
        bytes.truncate(bytes.len() - 1);
        let mut stream = stream(StreamFormat::Mjpeg, vec![Some(bytes)]);
        let mut results = Vec::new();
        loop {
            match stream.read(&mut Frame::default()) {
                Err(SourceError::End) => break,
                result => results.push(result.is_ok()),
            }
        }
        assert_eq!(results, [true, false, true], "whole, cut off, whole, and one that has not come to its end");
    }
}
