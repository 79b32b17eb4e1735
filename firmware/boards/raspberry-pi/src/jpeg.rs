//! JPEG: a stream's frames are decoded, the live view and saved frames are encoded.

use crate::frame::{Frame, MAX_SIDE_PX};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use ocelli::image::PixelFormat;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Pixels that a picture of a stream may have: 4096 x 4096. A damaged header may ask for any number.
pub const MOST_STREAM_PIXELS: usize = 1 << 24;
/// Quality of the live view, of 100.
pub const VIEW_QUALITY: u8 = 75;
/// Quality of what is kept for the next training, of 100.
pub const KEEP_QUALITY: u8 = 95;

/// The marker at the end of a JPEG.
const END: [u8; 2] = [0xff, 0xd9];
/// Coded values of ones alone. No Huffman code begins with sixteen of them (ITU-T T.81, annex C and K.2): to decode them is an error.
const ONES: [u8; 32] = {
    let mut ones = [0xff; 32];
    let mut at = 1;
    while at < ones.len() {
        ones[at] = 0; // a byte of ones is followed by a zero, to tell it from a marker
        at += 2;
    }
    ones
};

/// Decodes a JPEG of a stream into `frame`, which keeps the bytes too.
///
/// # Errors
/// When it is damaged, cut off (also when somebody put an end behind the cut) or larger than [`MOST_STREAM_PIXELS`].
pub fn decode(bytes: &[u8], frame: &mut Frame) -> Result<(), String> {
    decode_within(bytes, MOST_STREAM_PIXELS, frame)
}

/// As [`decode`], for at most so many pixels.
///
/// # Errors
/// As [`decode`].
pub fn decode_within(bytes: &[u8], most_pixels: usize, frame: &mut Frame) -> Result<(), String> {
    let padding = bytes.iter().rev().take_while(|&&byte| byte == 0).count();
    let body = bytes.get(..bytes.len() - padding).and_then(|jpeg| jpeg.strip_suffix(&END));
    let body = body.ok_or("a JPEG without its end")?;
    // A decoder takes zeros for what is missing before the end, and makes gray blocks of them. Of ones it makes none; and behind the last
    // block of a whole picture it decodes nothing.
    frame.jpeg.clear();
    frame.jpeg.extend_from_slice(body);
    frame.jpeg.extend_from_slice(&ONES);
    frame.jpeg.extend_from_slice(&END);
    let decoded = decode_pixels(&frame.jpeg, most_pixels, &mut frame.pixels);
    frame.jpeg.truncate(body.len());
    frame.jpeg.extend_from_slice(bytes.get(body.len()..).unwrap_or(&[]));
    match decoded {
        Ok(([width, height], format)) => {
            (frame.width, frame.height, frame.format) = (width, height, format);
            Ok(())
        }
        Err(error) => {
            frame.pixels.clear();
            frame.jpeg.clear();
            Err(error)
        }
    }
}

/// Fills `pixels`; returns the picture's sides and its layout: gray or colours.
fn decode_pixels(jpeg: &[u8], most: usize, pixels: &mut Vec<u8>) -> Result<([u32; 2], PixelFormat), String> {
    let damaged = |error| format!("a JPEG that is damaged or cut off: {error:?}");
    let any_size =
        DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), any_size);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or("a JPEG without a size")?;
    let sides = [width, height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    if sides.contains(&0) || sides.iter().any(|&side| side > MAX_SIDE_PX) || width.saturating_mul(height) > most {
        return Err(format!(
            "a JPEG of {width} x {height} pixels: sides of at most {MAX_SIDE_PX} and {most} pixels in all are taken"
        ));
    }
    let is_gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (color, format) =
        if is_gray { (ColorSpace::Luma, PixelFormat::Gray8) } else { (ColorSpace::RGB, PixelFormat::Rgb888) };
    // strict from the first coded value on: what cannot be decoded would be filled with gray, and be classified
    decoder.set_options(any_size.set_strict_mode(true).jpeg_set_out_colorspace(color));
    let size = decoder.output_buffer_size().ok_or("a JPEG without a size")?;
    if size != width * height * if is_gray { 1 } else { 3 } {
        return Err(format!("a JPEG of {width} x {height} pixels in {size} bytes"));
    }
    pixels.resize(size, 0);
    decoder.decode_into(pixels).map_err(damaged)?;
    Ok((sides, format))
}

/// The frame as a JPEG: the one that it came as, else encoded in a quality of 100.
///
/// # Errors
/// When the frame is too large for a JPEG.
pub fn encode(frame: &Frame, quality: u8) -> Result<Vec<u8>, String> {
    if !frame.jpeg.is_empty() {
        return Ok(frame.jpeg.clone());
    }
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, quality);
    let encoded = if frame.format == PixelFormat::Gray8 {
        encoder.encode(&frame.pixels, frame.width, frame.height, ExtendedColorType::L8)
    } else {
        encoder.encode(&frame.to_rgb(), frame.width, frame.height, ExtendedColorType::Rgb8)
    };
    encoded.map_err(|error| format!("cannot encode a JPEG: {error}"))?;
    Ok(jpeg)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A frame with a slope of red and a box of blue.
    pub(crate) fn colourful(width: u32, height: u32) -> Frame {
        let pixel = |x: u32, y: u32| {
            let blue = if x > width / 2 && y > height / 2 { 255 } else { 0 };
            [u8::try_from(255 * x / width).unwrap(), 64, blue]
        };
        let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
        Frame { width, height, pixels, ..Frame::default() }
    }

    #[test]
    fn what_is_encoded_is_decoded_to_nearly_the_same() {
        let before = colourful(48, 32);
        let jpeg = encode(&before, KEEP_QUALITY).unwrap();
        let mut after = Frame::default();
        decode(&jpeg, &mut after).unwrap();
        assert_eq!((after.width, after.height, &after.jpeg), (48, 32, &jpeg));
        let error: u32 = before.pixels.iter().zip(&after.pixels).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        assert!(f64::from(error) / f64::from(48 * 32 * 3) < 6.0, "{error}");
        assert_eq!(encode(&after, 1).unwrap(), jpeg, "a frame that came as JPEG is passed on as it is");
    }

    #[test]
    fn damaged_jpegs_are_refused() {
        let jpeg = encode(&colourful(48, 32), 90).unwrap();
        let mut frame = Frame::default();
        assert!(decode(&jpeg[..jpeg.len() / 2], &mut frame).is_err());
        assert!(decode(&[], &mut frame).is_err());
        assert!(decode(&[0xff, 0xd8, 0xff, 0xd9], &mut frame).is_err());
        let padded = [&jpeg[..], &[0; 16]].concat();
        decode(&padded, &mut frame).unwrap();
        assert_eq!(frame.jpeg, padded);
    }

    /// Where the coded values begin: behind the header of the (only) scan.
    pub(crate) fn scan_start(jpeg: &[u8]) -> usize {
        let header = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        header + 2 + usize::from(u16::from_be_bytes([jpeg[header + 2], jpeg[header + 3]]))
    }

    #[test]
    fn a_scan_that_is_cut_is_refused_wherever_it_is_cut_though_an_end_follows() {
        let mut flat = colourful(160, 120);
        flat.pixels.fill(90);
        for (picture, quality) in [(colourful(160, 120), 90), (colourful(17, 9), 50), (flat, 80)] {
            let jpeg = encode(&picture, quality).unwrap();
            let start = scan_start(&jpeg);
            let mut frame = Frame::default();
            decode(&jpeg, &mut frame).unwrap();
            // the last three bytes may hold no more than the end of the last block's last value
            for cut in start..jpeg.len() - 2 - 3 {
                // a cut between a byte of ones and its zero leaves half of it
                let cut = if jpeg[cut - 1] == 0xff { cut - 1 } else { cut };
                let broken = [&jpeg[..cut], &END].concat();
                assert!(decode(&broken, &mut frame).is_err(), "{} of {} bytes", cut - start, jpeg.len() - start);
            }
        }
    }

    #[test]
    fn gray_pictures_stay_gray() {
        let gray =
            Frame { width: 24, height: 9, format: PixelFormat::Gray8, pixels: vec![70; 216], ..Frame::default() };
        let mut after = Frame::default();
        decode(&encode(&gray, 90).unwrap(), &mut after).unwrap();
        assert_eq!((after.width, after.height, after.format), (24, 9, PixelFormat::Gray8));
        assert!(after.pixels.iter().all(|value| value.abs_diff(70) < 3));
    }

    #[test]
    fn a_header_that_asks_for_too_much_gets_no_memory() {
        let mut jpeg = encode(&colourful(48, 32), 90).unwrap();
        let header = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        jpeg[header + 5..header + 9].copy_from_slice(&[0x3e, 0x80, 0x3e, 0x80]); // 16,000 rows and columns
        let mut frame = Frame::default();
        let error = decode(&jpeg, &mut frame).unwrap_err();
        assert!(error.contains("16000 x 16000") && error.contains("16777216 pixels"), "{error}");
        assert!(frame.pixels.capacity() < 1 << 20 && frame.jpeg.is_empty());
    }
}
