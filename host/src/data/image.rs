//! Pictures in the common formats, decoded to 8-bit gray or RGB, and brought to a network's input size by the board's own code.

use super::DataError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use ocelli::image::{ColorOrder, FrameConverter, FrameError, InputSpec, PixelFormat};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// Longest side of a picture in pixels.
const MAX_SIDE_PX: u32 = 20_000;
/// Bytes that a picture may take while it is decoded: room for 170 megapixels of RGB.
const MAX_DECODED_BYTES: u64 = 512 << 20;
/// Bytes of a picture file.
pub(crate) const MAX_FILE_BYTES: u64 = 256 << 20;

/// A decoded picture, upright.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawImage {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// [`PixelFormat::Gray8`] for a gray file, else [`PixelFormat::Rgb888`].
    pub format: PixelFormat,
    /// Rows from top to bottom, without gaps.
    pub pixels: Vec<u8>,
}

impl RawImage {
    /// Reads a PNG, JPEG, GIF (first frame), BMP, WebP, TIFF or PNM file; see [`RawImage::decode`].
    ///
    /// # Errors
    /// Names the file, and why it cannot be read or decoded.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Unreadable { path: path.to_owned(), source };
        if path.is_dir() {
            let reason = format!("is a folder, not a picture: give files, such as {}", path.join("*").display());
            return Err(DataError::Image { path: path.to_owned(), reason });
        }
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
        Self::decode(&bytes).map_err(|reason| DataError::Image { path: path.to_owned(), reason })
    }

    /// Decodes the bytes of a picture file.
    ///
    /// The content tells the format. EXIF orientation is applied. 16-bit channels are rounded to 8. Transparent pixels are
    /// laid over white, the paper that most drawings and icons are meant for.
    ///
    /// # Errors
    /// Says what is wrong with the picture, and what would help.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(format!("larger than {} MiB: make the picture smaller", MAX_FILE_BYTES >> 20));
        }
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
        let Some(format) = reader.format() else {
            return Err("not a picture in a known format (PNG, JPEG, GIF, BMP, WebP, TIFF, PNM)".to_owned());
        };
        if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
            return Err("truncated JPEG: the end of the image is missing".to_owned());
        }
        let damaged = |e: image::ImageError| format!("damaged or unsupported picture: {e}");
        let mut reader = reader;
        reader.limits(limits());
        let mut decoder = reader.into_decoder().map_err(damaged)?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            return Err("the picture has no pixels".to_owned());
        }
        if width.max(height) > MAX_SIDE_PX || decoder.total_bytes() > MAX_DECODED_BYTES {
            return Err(format!(
                "{width} x {height} pixels are more than is accepted (sides of {MAX_SIDE_PX}, {} MiB decoded): make the \
                 picture smaller",
                MAX_DECODED_BYTES >> 20
            ));
        }
        decoder.set_limits(limits()).map_err(damaged)?;
        // a picture with damaged metadata is still a picture
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        picture.apply_orientation(orientation);
        Ok(Self::from_picture(picture))
    }

    fn from_picture(picture: DynamicImage) -> Self {
        let (width, height) = (picture.width(), picture.height());
        let color = picture.color();
        let (format, pixels) = match (color.has_color(), color.has_alpha()) {
            (false, false) => (PixelFormat::Gray8, picture.into_luma8().into_raw()),
            (false, true) => (PixelFormat::Gray8, over_white::<2>(&picture.into_luma_alpha8().into_raw())),
            (true, false) => (PixelFormat::Rgb888, picture.into_rgb8().into_raw()),
            (true, true) => (PixelFormat::Rgb888, over_white::<4>(&picture.into_rgba8().into_raw())),
        };
        Self { width, height, format, pixels }
    }

    /// Half the size, each pixel the mean of four; a last odd row or column is left out.
    fn halved(&self) -> Self {
        let channels = if self.format == PixelFormat::Gray8 { 1 } else { 3 };
        let row_bytes = self.row_bytes();
        let (width, height) = ((self.width / 2).max(1), (self.height / 2).max(1));
        let mut pixels = Vec::with_capacity(channels * width as usize * height as usize);
        let mut rows = self.pixels.chunks_exact(row_bytes);
        for _ in 0..height {
            let Some(top) = rows.next() else { break };
            let bottom = rows.next().unwrap_or(top);
            for x in 0..width as usize {
                let left = 2 * x * channels;
                // a picture one pixel wide has no right neighbour
                let right = if left + channels < row_bytes { left + channels } else { left };
                for c in 0..channels {
                    let sum: u16 = [top[left + c], top[right + c], bottom[left + c], bottom[right + c]]
                        .iter()
                        .map(|&v| u16::from(v))
                        .sum();
                    pixels.push(u8::try_from((sum + 2) / 4).unwrap_or(u8::MAX));
                }
            }
        }
        Self { width, height, format: self.format, pixels }
    }

    fn row_bytes(&self) -> usize {
        usize::try_from(self.format.row_bytes(self.width)).unwrap_or(usize::MAX).max(1)
    }
}

/// A network's input picture: cropped, resized and in the network's colour order, by the code that the board runs.
///
/// A picture too large for the converter's 32-bit sums (above about 15,000 pixels for an input of 28) is halved first.
///
/// # Shapes
/// Output: `[h, w, c]` of `spec.shape`, pixel values before normalization.
///
/// # Errors
/// When a side of the picture or of the input is zero or above 65,535.
pub fn to_input(picture: &RawImage, spec: &InputSpec) -> Result<Vec<u8>, FrameError> {
    let shape = spec.shape;
    let same_pixels = matches!(
        (picture.format, spec.color),
        (PixelFormat::Gray8, ColorOrder::Gray) | (PixelFormat::Rgb888, ColorOrder::Rgb)
    );
    if same_pixels && [picture.width, picture.height] == [shape.w, shape.h] {
        return Ok(picture.pixels.clone()); // what the converter gives, faster
    }
    let mut scratch = vec![0; FrameConverter::scratch_words(shape)];
    let mut converter = match FrameConverter::new(spec, picture.format, [picture.width, picture.height], &mut scratch) {
        Err(FrameError::TooLarge) if picture.width > 1 || picture.height > 1 => {
            return to_input(&picture.halved(), spec);
        }
        converter => converter?,
    };
    let mut output = Vec::with_capacity(shape.elements().unwrap_or(0) as usize);
    for row in picture.pixels.chunks_exact(picture.row_bytes()) {
        converter.push_row(row, |_y, values| {
            output.extend(values.iter().map(|&v| u8::try_from(v).unwrap_or(u8::MAX)));
        });
    }
    Ok(output)
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PX);
    limits.max_image_height = Some(MAX_SIDE_PX);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    limits
}

/// Drops the last of `N` channels after mixing the others with white by it.
fn over_white<const N: usize>(pixels: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pixels.len() / N * (N - 1));
    for pixel in pixels.chunks_exact(N) {
        let alpha = u16::from(pixel[N - 1]);
        out.extend(pixel[..N - 1].iter().map(|&v| {
            let mixed = (u16::from(v) * alpha + 255 * (255 - alpha) + 127) / 255;
            u8::try_from(mixed).unwrap_or(u8::MAX)
        }));
    }
    out
}

/// Whether an end-of-image marker follows the first scan. The decoder fills what is missing with gray and says nothing;
/// such a picture must not be trained on.
///
/// # Source
/// ITU T.81, B.1.1: segments carry their length, and `0xff` in a scan is followed by zero or a marker.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        match *rest {
            [0xff, 0xff, ..] => rest = &rest[1..],               // fill
            [0xff, 0x01 | 0xd0..=0xd7, ..] => rest = &rest[2..], // markers without a segment
            [0xff, 0xda, ..] => return rest.windows(2).any(|pair| pair == [0xff, 0xd9]), // scan
            [0xff, _, high, low, ..] => {
                let length = 2 + usize::from(u16::from_be_bytes([high, low]));
                rest = rest.get(length..).unwrap_or_default();
            }
            // no markers where they should be: the decoder's message is the better one, if anything is left to decode
            _ => return !rest.is_empty(),
        }
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
