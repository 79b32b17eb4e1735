//! JPEG: a stream's frames are decoded, the live view and saved frames are encoded.

use crate::frame::{Frame, MAX_SIDE_PX};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use ocelli::image::PixelFormat;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Quality of the live view, of 100.
pub const VIEW_QUALITY: u8 = 75;
/// Quality of what is kept for the next training, of 100.
pub const KEEP_QUALITY: u8 = 95;

/// Decodes a JPEG into `frame`, which keeps the bytes too.
///
/// # Errors
/// When it is damaged, cut off or too large.
pub fn decode(bytes: &[u8], frame: &mut Frame) -> Result<(), String> {
    if !ends(bytes) {
        return Err("a JPEG without its end".to_owned());
    }
    let side = usize::try_from(MAX_SIDE_PX).unwrap_or(usize::MAX);
    // strict: what is missing would be filled with gray, and be classified
    let options = DecoderOptions::default()
        .set_max_width(side)
        .set_max_height(side)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let damaged = |error| format!("a damaged JPEG: {error:?}");
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or("a JPEG without a size")?;
    let size = decoder.output_buffer_size().ok_or("a JPEG without a size")?;
    frame.pixels.resize(size, 0);
    decoder.decode_into(&mut frame.pixels).map_err(damaged)?;
    let sides = [width, height].map(|side| u32::try_from(side).unwrap_or(0));
    if sides.contains(&0) || size != 3 * width * height {
        return Err(format!("a JPEG of {width} x {height} pixels"));
    }
    [frame.width, frame.height] = sides;
    frame.format = PixelFormat::Rgb888;
    frame.jpeg.clear();
    frame.jpeg.extend_from_slice(bytes);
    Ok(())
}

/// Whether the end-of-image marker is there, before what may pad it.
fn ends(bytes: &[u8]) -> bool {
    let padding = bytes.iter().rev().take_while(|&&byte| byte == 0).count();
    bytes.get(..bytes.len() - padding).is_some_and(|jpeg| jpeg.ends_with(&[0xff, 0xd9]))
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
    }
}
