//! Cuts a stream of JPEGs into pictures.
//!
//! Segments are skipped by their lengths, so that the thumbnail of a camera's EXIF data does not end a picture; what lies between
//! pictures (a multipart stream's headers, the rest of one whose beginning was lost) is skipped too.

/// Bytes that a picture may have.
const MOST_BYTES: usize = 32 << 20;
/// Bytes that are kept for the next pictures though none has needed them.
const MOST_SPARE_BYTES: usize = 4 << 20;

/// Where in a picture the search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Before a picture.
    Between,
    /// At a marker.
    Segments,
    /// In the coded values after a scan's header.
    Scan,
}

/// Takes bytes as they come and gives whole pictures.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Where the search goes on.
    at: usize,
    part: Part,
}

impl Default for Splitter {
    fn default() -> Self {
        Self { buffer: Vec::new(), at: 0, part: Part::Between }
    }
}

impl Splitter {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next picture, put into `picture`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// Says what is wrong with a picture, which is left out; the search goes on behind its beginning.
    pub fn next(&mut self, picture: &mut Vec<u8>) -> Option<Result<(), String>> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or(&[]);
            match self.part {
                Part::Between => {
                    let start = rest.windows(3).position(|three| three == [0xff, 0xd8, 0xff]);
                    // two bytes may be the beginning of a marker
                    let skip = start.unwrap_or_else(|| rest.len().saturating_sub(2));
                    self.buffer.drain(..self.at + skip);
                    self.at = 0;
                    start?;
                    (self.at, self.part) = (2, Part::Segments);
                }
                Part::Segments => match *rest {
                    [0xff, 0xff, ..] => self.at += 1,
                    [0xff, 0xd9, ..] => return Some(self.finish(picture)),
                    [0xff, 0xd8, ..] => return Some(self.resume(self.at, "a picture begins within another")),
                    [0xff, 0x01 | 0xd0..=0xd7, ..] => self.at += 2,
                    [0xff, 0x00, ..] => return Some(self.resume(2, "no marker where one should be")),
                    [0xff, marker, high, low, ..] => {
                        let length = usize::from(u16::from_be_bytes([high, low]));
                        if length < 2 {
                            return Some(self.resume(2, "a segment without a length"));
                        }
                        self.at += 2 + length;
                        self.part = if marker == 0xda { Part::Scan } else { Part::Segments };
                    }
                    [] | [0xff] | [0xff, _] | [0xff, _, _] => return self.wait(),
                    _ => return Some(self.resume(2, "no marker where one should be")),
                },
                Part::Scan => {
                    let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xd0..=0xd7 | 0xff);
                    match rest.windows(2).position(is_marker) {
                        Some(place) => (self.at, self.part) = (self.at + place, Part::Segments),
                        None => {
                            self.at += rest.len().saturating_sub(1);
                            return self.wait();
                        }
                    }
                }
            }
        }
    }

    /// More bytes are needed, unless there are too many.
    fn wait(&mut self) -> Option<Result<(), String>> {
        (self.buffer.len() > MOST_BYTES).then(|| self.resume(2, "a picture without an end"))
    }

    /// Hands out the picture that ends with the marker at `self.at`.
    fn finish(&mut self, picture: &mut Vec<u8>) -> Result<(), String> {
        picture.clear();
        picture.extend(self.buffer.drain(..self.at + 2));
        (self.at, self.part) = (0, Part::Between);
        Ok(())
    }

    /// Searches for a picture from byte `from` on.
    fn resume(&mut self, from: usize, what: &str) -> Result<(), String> {
        self.buffer.drain(..from.min(self.buffer.len()));
        if self.buffer.capacity() > 4 * self.buffer.len() + MOST_SPARE_BYTES {
            self.buffer.shrink_to(MOST_SPARE_BYTES);
        }
        (self.at, self.part) = (0, Part::Between);
        Err(format!("a damaged JPEG: {what}"))
    }
}

/// The bytes up to the end of the picture with which `file` begins; `None` when its end is missing. That of a thumbnail within is none.
#[must_use]
pub fn whole_picture(file: &[u8]) -> Option<&[u8]> {
    let mut splitter = Splitter::default();
    splitter.push(file);
    let mut picture = Vec::new();
    match splitter.next(&mut picture)? {
        Ok(()) => file.get(..picture.len()),
        // bytes between segments, which decoders skip: the last end is the picture's
        Err(_) => file.windows(2).rposition(|pair| pair == [0xff, 0xd9]).and_then(|end| file.get(..end + 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::jpeg::{decode, encode, tests::colourful};

    fn jpeg(width: u32) -> Vec<u8> {
        encode(&colourful(width, 24), 80).unwrap()
    }

    /// Pictures that come out, and the number of complaints, of a stream that arrives in pieces of `piece` bytes.
    fn split(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut splitter, mut pictures, mut complaints) = (Splitter::default(), Vec::new(), 0);
        for bytes in stream.chunks(piece) {
            splitter.push(bytes);
            let mut picture = Vec::new();
            while let Some(result) = splitter.next(&mut picture) {
                match result {
                    Ok(()) => pictures.push(picture.clone()),
                    Err(_) => complaints += 1,
                }
            }
        }
        (pictures, complaints)
    }

    #[test]
    fn pictures_come_out_whole_however_they_arrive() {
        let pictures = [32, 40, 64].map(jpeg);
        for piece in [1, 2, 3, 7, 100, 4096, usize::MAX] {
            let (found, complaints) = split(&pictures.concat(), piece);
            assert!(found == pictures && complaints == 0, "pieces of {piece}");
        }
    }

    #[test]
    fn headers_between_pictures_and_fill_bytes_are_skipped() {
        let [a, b] = [32, 40].map(jpeg);
        let header = b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n";
        let stream = [&header[..], &a, header, &[0xff, 0xff], &b, header].concat();
        let (found, _) = split(&stream, 5);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], a);
        for picture in &found {
            decode(picture, &mut Frame::default()).unwrap();
        }
    }

    #[test]
    fn a_thumbnail_within_a_segment_does_not_end_the_picture() {
        let [whole, thumbnail] = [64, 32].map(jpeg);
        let length = u16::try_from(thumbnail.len() + 2).unwrap().to_be_bytes();
        let with = [&whole[..2], &[0xff, 0xe1], &length, &thumbnail, &whole[2..]].concat();
        assert_eq!(split(&[&with[..], &whole].concat(), 11).0, [with, whole]);
    }

    #[test]
    fn after_damage_anywhere_the_pictures_behind_it_are_found() {
        let [a, b, c] = [32, 40, 64].map(jpeg);
        for cut in (3..a.len()).step_by(13) {
            let stream = [&a[..cut], &b, &c, &c].concat();
            let (found, _) = split(&stream, 64);
            // a cut within a segment may take what follows with it, never all
            assert!(found.ends_with(std::slice::from_ref(&c)), "cut at {cut}: {} pictures", found.len());
        }
        let noise: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (found, _) = split(&[&noise[..], &[0; 70_000], &c, &c, &c].concat(), 1000);
        assert!(found.contains(&c));
    }

    #[test]
    fn a_picture_without_an_end_does_not_take_all_memory() {
        let mut splitter = Splitter::default();
        let mut complaints = 0;
        splitter.push(&jpeg(32)[..300]);
        for _ in 0..40 {
            splitter.push(&vec![0x55; 1 << 20]);
            complaints += usize::from(matches!(splitter.next(&mut Vec::new()), Some(Err(_))));
            assert!(splitter.buffer.len() <= MOST_BYTES + (2 << 20));
        }
        assert_eq!(complaints, 1);
    }
}
