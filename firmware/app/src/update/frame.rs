//! Frames on the line: a message that is whole, or nothing.
//!
//! A frame is COBS of: the protocol's version (u8), the request's number (u16), the message (postcard), CRC-32 of all that (u32; numbers are
//! little-endian). COBS leaves no zero byte in it; a zero goes before and behind. Whatever else there is on the line ends at the next
//! zero and is dropped, since its CRC-32 is wrong. A reply has the number of its request.

use super::protocol::PROTOCOL;
use ocelli::model::crc32;
use serde::Serialize;
use serde::de::Deserialize;

/// Bytes that a frame has more than its message.
const HEAD_BYTES: usize = 3;
const CRC_BYTES: usize = 4;

/// Bytes of the longest frame, zeros included, whose message has `message_bytes`.
#[must_use]
pub const fn frame_bytes(message_bytes: usize) -> usize {
    let plain = message_bytes + HEAD_BYTES + CRC_BYTES;
    plain + plain.div_ceil(254) + 2
}

/// Bytes of a buffer that takes every request whose block has `block_bytes`: a block has up to 16 more of its own, and no other request
/// is longer than 96.
#[must_use]
pub const fn request_frame_bytes(block_bytes: usize) -> usize {
    let block = block_bytes + 16;
    frame_bytes(if block < 96 { 96 } else { block })
}

/// Bytes of the longest reply's frame: names and labels are cut to [`TEXT_BYTES`].
pub const REPLY_FRAME_BYTES: usize = frame_bytes(64 + TEXT_BYTES);

/// Bytes of a name or label in a reply.
pub const TEXT_BYTES: usize = 48;

/// Writes a frame into `out`, with `scratch` of the same length for what lies inside; `None` when they are too short.
#[must_use]
pub fn encode<'o, T: Serialize>(number: u16, message: &T, scratch: &mut [u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let [low, high] = number.to_le_bytes();
    let (head, rest) = scratch.split_first_chunk_mut::<HEAD_BYTES>()?;
    *head = [PROTOCOL, low, high];
    let message_bytes = postcard::to_slice(message, rest).ok()?.len();
    let end = HEAD_BYTES + message_bytes;
    let crc = crc32(scratch.get(..end)?);
    *scratch.get_mut(end..)?.first_chunk_mut()? = crc.to_le_bytes();
    let plain = scratch.get(..end + CRC_BYTES)?;
    let (first, coded) = out.split_first_mut()?;
    *first = 0;
    let coded_bytes = cobs::try_encode(plain, coded).ok()?;
    *coded.get_mut(coded_bytes)? = 0;
    out.get(..coded_bytes + 2)
}

/// A frame whose CRC-32 was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'f> {
    /// The version of the protocol that it was written by.
    pub version: u8,
    /// The request's number.
    pub number: u16,
    message: &'f [u8],
}

impl<'f> Frame<'f> {
    /// The message; `None` when it is none of this kind, of this version.
    #[must_use]
    pub fn message<T: Deserialize<'f>>(&self) -> Option<T> {
        let (message, rest) = postcard::take_from_bytes(self.message).ok()?;
        (self.version == PROTOCOL && rest.is_empty()).then_some(message)
    }
}

/// Puts frames together from bytes as they come.
#[derive(Debug)]
pub struct Collector<B> {
    buffer: B,
    len: usize,
    /// The frame is longer than the buffer: its end is waited for.
    is_too_long: bool,
    /// The buffer holds a frame that was handed out.
    is_done: bool,
    dropped: u32,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Collector<B> {
    /// A collector for frames of up to `buffer`'s length.
    pub const fn new(buffer: B) -> Self {
        Self { buffer, len: 0, is_too_long: false, is_done: false, dropped: 0 }
    }

    /// Takes a byte; returns the frame that ends with it, if it is whole.
    pub fn push(&mut self, byte: u8) -> Option<Frame<'_>> {
        if self.is_done {
            (self.len, self.is_too_long, self.is_done) = (0, false, false);
        }
        if byte != 0 {
            match self.buffer.as_mut().get_mut(self.len) {
                Some(place) => {
                    *place = byte;
                    self.len += 1;
                }
                None => self.is_too_long = true,
            }
            return None;
        }
        self.is_done = true;
        if self.len == 0 {
            return None;
        }
        let is_whole = !self.is_too_long
            && decode(self.buffer.as_mut().get_mut(..self.len)?).is_some_and(|len| {
                self.len = len;
                true
            });
        if !is_whole {
            self.dropped = self.dropped.wrapping_add(1);
            return None;
        }
        parse(self.buffer.as_ref().get(..self.len)?)
    }

    /// Frames, and pieces of whatever else there was, that were dropped because they were not whole.
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }
}

/// Decodes a frame in its place: the bytes that it then has, its CRC-32 being right.
fn decode(coded: &mut [u8]) -> Option<usize> {
    let len = cobs::decode_in_place(coded).ok()?;
    let (body, crc) = coded.get(..len)?.split_last_chunk::<CRC_BYTES>()?;
    (body.len() >= HEAD_BYTES && crc32(body) == u32::from_le_bytes(*crc)).then_some(len)
}

fn parse(plain: &[u8]) -> Option<Frame<'_>> {
    let (body, _) = plain.split_last_chunk::<CRC_BYTES>()?;
    let (&[version, low, high], message) = body.split_first_chunk::<HEAD_BYTES>()?;
    Some(Frame { version, number: u16::from_le_bytes([low, high]), message })
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{Begin, Reply, Request};
    use super::super::sim::Random;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn coded(number: u16, message: &Request<'_>) -> Vec<u8> {
        let (mut scratch, mut out) = ([0; 400], [0; 400]);
        encode(number, message, &mut scratch, &mut out).unwrap().to_vec()
    }

    /// What comes out of a line with these bytes: the numbers of requests that are equal to `message`, or `None` for others.
    fn received(bytes: &[u8], message: &Request<'_>) -> Vec<Option<u16>> {
        let mut collector = Collector::new([0; 400]);
        let mut seen = Vec::new();
        for &byte in bytes {
            if let Some(frame) = collector.push(byte) {
                seen.push((frame.message::<Request<'_>>() == Some(*message)).then_some(frame.number));
            }
        }
        seen
    }

    #[test]
    fn a_frame_lies_as_documented() {
        let bytes = coded(0x0201, &Request::Finish { transfer: 300 });
        // version, number; variant 4, 300 as a varint; CRC-32 of those six bytes (zlib.crc32 in Python)
        let plain = [1, 1, 2, 4, 0xAC, 0x02];
        let crc = crc32(&plain).to_le_bytes();
        assert!(!crc.contains(&0), "{crc:?}");
        let mut expected = std::vec![0, 11];
        expected.extend(plain.iter().chain(&crc));
        expected.push(0);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_longest_messages_fit() {
        let block = [0xEE; 64];
        let requests = [
            Request::Block { transfer: u32::MAX, offset: u32::MAX, data: &block },
            Request::Begin(Begin { transfer: u32::MAX, length: u32::MAX, crc: u32::MAX, signature: &[0xFF; 64] }),
        ];
        for request in requests {
            let (mut scratch, mut out) = ([0; 400], [0; 400]);
            let len = encode(u16::MAX, &request, &mut scratch, &mut out).unwrap().len();
            assert!(len <= request_frame_bytes(64), "{len}");
        }
        let text = "m".repeat(TEXT_BYTES);
        let hello = super::super::protocol::Hello {
            board: &text,
            capacity_bytes: u32::MAX,
            block_bytes: u32::MAX,
            format_version: u16::MAX,
            arena_bytes: u32::MAX,
            kinds: u32::MAX,
            key_id: Some([0xFF; 8]),
        };
        let (mut scratch, mut out) = ([0; REPLY_FRAME_BYTES], [0; REPLY_FRAME_BYTES]);
        assert!(encode(u16::MAX, &Reply::Hello(hello), &mut scratch, &mut out).is_some());
        assert!(encode(u16::MAX, &Reply::Hello(hello), &mut scratch[..9], &mut out).is_none());
        assert!(encode(u16::MAX, &Reply::Hello(hello), &mut scratch, &mut out[..9]).is_none());
    }

    #[test]
    fn a_frame_of_another_version_has_a_number_but_no_message() {
        let mut plain = [9, 7, 0, 0, 0, 0, 0, 0];
        let crc = crc32(&plain[..4]).to_le_bytes();
        plain[4..].copy_from_slice(&crc);
        let mut line = [0; 16];
        let len = cobs::encode(&plain, &mut line);
        let mut collector = Collector::new([0; 32]);
        let frame = line[..=len].iter().find_map(|&byte| {
            collector.push(byte).map(|frame| (frame.version, frame.number, frame.message::<Request<'_>>().is_some()))
        });
        assert_eq!(frame, Some((9, 7, false)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..ProptestConfig::with_cases(400) })]

        #[test]
        fn a_frame_survives_whatever_is_before_it(garbage in prop::collection::vec(any::<u8>(), 0..600), data in prop::collection::vec(any::<u8>(), 0..300)) {
            let message = Request::Block { transfer: 1, offset: 2, data: &data };
            let line = [&garbage[..], &coded(77, &message)].concat();
            prop_assert_eq!(received(&line, &message), [Some(77)]);
        }

        #[test]
        fn a_damaged_frame_is_no_frame(data in prop::collection::vec(any::<u8>(), 0..300), seed in any::<u64>()) {
            let message = Request::Block { transfer: 1, offset: 2, data: &data };
            let mut random = Random(seed);
            let mut line = coded(5, &message);
            for _ in 0..=random.below(3) {
                let at = 1 + random.below(line.len() as u64 - 2) as usize;
                match random.below(3) {
                    0 => line[at] = line[at].wrapping_add(1 + random.below(255) as u8),
                    1 => { line.remove(at); }
                    _ => line.insert(at, random.byte()),
                }
                if line.len() < 4 { break }
            }
            let trimmed = |line: &[u8]| -> Vec<u8> { line.iter().copied().skip_while(|&byte| byte == 0).collect() };
            let whole = trimmed(&line) == trimmed(&coded(5, &message));
            prop_assert_eq!(received(&line, &message), if whole { std::vec![Some(5)] } else { std::vec![] });
        }
    }
}
