//! A frame in memory, in one of the layouts that the network's own converter takes.

use ocelli::image::PixelFormat;

/// Longest side of a frame in pixels.
pub const MAX_SIDE_PX: u32 = 16_384;

/// A picture from a camera, a stream or a file. Its memory is used again for the next one.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// What a row's bytes are.
    pub format: PixelFormat,
    /// Rows from top to bottom, without gaps: [`PixelFormat::row_bytes`] each.
    pub pixels: Vec<u8>,
    /// The JPEG that the pixels were decoded from; empty where there was none.
    pub jpeg: Vec<u8>,
    /// A file's name, or which frame of a stream it is.
    pub name: String,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            width: 0,
            height: 0,
            format: PixelFormat::Rgb888,
            pixels: Vec::new(),
            jpeg: Vec::new(),
            name: String::new(),
        }
    }
}

impl Frame {
    /// Bytes of a row.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        usize::try_from(self.format.row_bytes(self.width)).unwrap_or(usize::MAX).max(1)
    }

    /// The rows, from top to bottom.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.row_bytes())
    }

    /// Red, green and blue of every pixel, row after row: three bytes each.
    #[must_use]
    pub fn to_rgb(&self) -> Vec<u8> {
        if self.format == PixelFormat::Rgb888 {
            return self.pixels.clone();
        }
        let width = usize::try_from(self.width).unwrap_or(0);
        let mut rgb = Vec::with_capacity(self.pixels.len() * 3);
        let mut line = Vec::new();
        for row in self.rows() {
            if self.format == PixelFormat::Yuyv {
                rgb.extend_from_slice(yuyv_to_rgb(row, self.width, &mut line));
            } else {
                (0..width).for_each(|x| rgb.extend_from_slice(&self.format.rgb(row, x)));
            }
        }
        rgb
    }
}

/// Red, green and blue of a row of [`PixelFormat::Yuyv`], put into `rgb`; what [`PixelFormat::rgb`] gives, many pixels at once.
///
/// # Arithmetic
/// `(256 y + a + 128) >> 8` is `y + ((a + 128) >> 8)`, so that a pair of pixels shares the chroma's part. For 16 bits to hold it, whole
/// multiples of 256 are taken out: 359 = 256 + 103, 454 = 256 + 198, 183 = 256 - 73.
pub fn yuyv_to_rgb<'r>(row: &[u8], width: u32, rgb: &'r mut Vec<u8>) -> &'r [u8] {
    let width = usize::try_from(width).unwrap_or(0);
    rgb.resize(6 * width.div_ceil(2), 0);
    let (pairs, _) = row.as_chunks::<4>();
    let (pixels, _) = rgb.as_chunks_mut::<6>();
    for (out, &[y0, u, y1, v]) in pixels.iter_mut().zip(pairs) {
        let (u, v) = (i16::from(u) - 128, i16::from(v) - 128);
        let red = v + ((103 * v + 128) >> 8);
        let green = ((73 * v - 88 * u + 128) >> 8) - v;
        let blue = u + ((198 * u + 128) >> 8);
        let value = |y: u8, chroma: i16| (i16::from(y) + chroma).clamp(0, 255) as u8;
        *out = [value(y0, red), value(y0, green), value(y0, blue), value(y1, red), value(y1, green), value(y1, blue)];
    }
    rgb.get(..3 * width).unwrap_or(rgb)
}

/// How a stream without headers stores a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RawFormat {
    /// A plane of luma, then two of chroma at half the size (I420), as `rpicam-vid --codec yuv420` writes it.
    Yuv420,
    /// Red, green, blue, as `ffmpeg -pix_fmt rgb24` writes it.
    Rgb24,
    /// Luma and chroma in turn, `Y0 U Y1 V`.
    Yuyv,
    /// One byte of luma.
    Gray,
}

/// The size and layout of a raw stream's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLayout {
    /// How a frame is stored.
    pub format: RawFormat,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from a row to the next, of the first plane; chroma rows of [`RawFormat::Yuv420`] have half.
    pub stride: usize,
}

impl RawLayout {
    /// A layout; without `stride`, rows of [`RawFormat::Yuv420`] are padded to 64 bytes as libcamera pads them, others are not.
    ///
    /// # Errors
    /// When a side is zero or too long, is odd where chroma is halved, or a row is longer than the stride.
    pub fn new(format: RawFormat, [width, height]: [u32; 2], stride: Option<usize>) -> Result<Self, String> {
        if width == 0 || height == 0 || width.max(height) > MAX_SIDE_PX {
            return Err(format!("a frame of {width} x {height} pixels: sides must be 1 to {MAX_SIDE_PX}"));
        }
        if format == RawFormat::Yuv420 && (width % 2 == 1 || height % 2 == 1) {
            return Err(format!("a frame of {width} x {height} pixels in yuv420: both sides must be even"));
        }
        let row = usize::try_from(Self::pixel_format(format).row_bytes(width)).unwrap_or(usize::MAX);
        let luma = usize::try_from(width).unwrap_or(usize::MAX);
        let least = if format == RawFormat::Yuv420 { luma } else { row };
        let usual = if format == RawFormat::Yuv420 { luma.next_multiple_of(64) } else { row };
        let stride = stride.unwrap_or(usual);
        if stride < least || stride > 8 * usize::try_from(MAX_SIDE_PX).unwrap_or(usize::MAX) {
            return Err(format!("--stride {stride}: a row of {width} pixels has {least} bytes"));
        }
        Ok(Self { format, width, height, stride })
    }

    /// Bytes of a frame in the stream.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        let rows = usize::try_from(self.height).unwrap_or(0);
        let luma = self.stride * rows;
        if self.format == RawFormat::Yuv420 { luma + 2 * (self.stride / 2) * (rows / 2) } else { luma }
    }

    /// What rows become: planes are woven to [`PixelFormat::Yuyv`], each chroma row being used for two rows of luma.
    const fn pixel_format(format: RawFormat) -> PixelFormat {
        match format {
            RawFormat::Yuv420 | RawFormat::Yuyv => PixelFormat::Yuyv,
            RawFormat::Rgb24 => PixelFormat::Rgb888,
            RawFormat::Gray => PixelFormat::Gray8,
        }
    }

    /// Fills `frame` from the stream's bytes of one frame: [`frame_bytes`](Self::frame_bytes).
    pub fn unpack(&self, bytes: &[u8], frame: &mut Frame) {
        (frame.width, frame.height, frame.format) = (self.width, self.height, Self::pixel_format(self.format));
        frame.jpeg.clear();
        let row_bytes = frame.row_bytes();
        let rows = usize::try_from(self.height).unwrap_or(0);
        if self.format == RawFormat::Yuv420 {
            let (luma, chroma) = bytes.split_at_checked(self.stride * rows).unwrap_or((bytes, &[]));
            let half = self.stride / 2;
            let (u, v) = chroma.split_at_checked(half * (rows / 2)).unwrap_or((chroma, &[]));
            frame.pixels.resize(row_bytes * rows, 0);
            let woven = frame.pixels.chunks_exact_mut(row_bytes).zip(luma.chunks_exact(self.stride));
            for (y, (out, row)) in woven.enumerate() {
                let (u, v) = (u.get(half * (y / 2)..).unwrap_or(&[]), v.get(half * (y / 2)..).unwrap_or(&[]));
                let ((out, _), (pairs, _)) = (out.as_chunks_mut::<4>(), row.as_chunks::<2>());
                for (((out, &[y0, y1]), &u), &v) in out.iter_mut().zip(pairs).zip(u).zip(v) {
                    *out = [y0, u, y1, v];
                }
            }
            return;
        }
        frame.pixels.clear();
        for row in bytes.chunks_exact(self.stride).take(rows) {
            frame.pixels.extend_from_slice(row.get(..row_bytes).unwrap_or(row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_planes_become_the_pixels_that_they_hold() {
        // 4 x 4 pixels with rows padded to 64: every luma byte tells its place, chroma is one colour a square of 2 x 2
        let layout = RawLayout::new(RawFormat::Yuv420, [4, 4], None).unwrap();
        assert_eq!((layout.stride, layout.frame_bytes()), (64, 64 * 4 + 2 * 32 * 2));
        let mut bytes = vec![0xee; layout.frame_bytes()];
        for y in 0..4 {
            for x in 0..4 {
                bytes[64 * y + x] = u8::try_from(16 * y + x).unwrap();
                bytes[256 + 32 * (y / 2) + x / 2] = u8::try_from(100 + 10 * (y / 2) + x / 2).unwrap();
                bytes[256 + 64 + 32 * (y / 2) + x / 2] = u8::try_from(200 + 10 * (y / 2) + x / 2).unwrap();
            }
        }
        let mut frame = Frame::default();
        layout.unpack(&bytes, &mut frame);
        assert_eq!((frame.width, frame.height, frame.format), (4, 4, PixelFormat::Yuyv));
        let rows: Vec<_> = frame.rows().collect();
        assert_eq!(rows[0], [0, 100, 1, 200, 2, 101, 3, 201]);
        assert_eq!(rows[1], [16, 100, 17, 200, 18, 101, 19, 201]);
        assert_eq!(rows[3], [48, 110, 49, 210, 50, 111, 51, 211]);
    }

    #[test]
    fn a_width_of_64_has_no_padding_and_others_may_say_theirs() {
        assert_eq!(RawLayout::new(RawFormat::Yuv420, [640, 480], None).unwrap().frame_bytes(), 640 * 480 * 3 / 2);
        assert_eq!(RawLayout::new(RawFormat::Yuv420, [100, 2], None).unwrap().stride, 128);
        assert_eq!(RawLayout::new(RawFormat::Yuv420, [100, 2], Some(100)).unwrap().frame_bytes(), 300);
        assert_eq!(RawLayout::new(RawFormat::Rgb24, [3, 2], None).unwrap().frame_bytes(), 18);
    }

    #[test]
    fn layouts_that_cannot_be_are_refused() {
        for (format, size, stride) in [
            (RawFormat::Rgb24, [0, 2], None),
            (RawFormat::Rgb24, [2, 20_000], None),
            (RawFormat::Yuv420, [3, 2], None),
            (RawFormat::Rgb24, [4, 2], Some(11)),
            (RawFormat::Gray, [4, 2], Some(usize::MAX)),
        ] {
            assert!(RawLayout::new(format, size, stride).is_err(), "{format:?} {size:?} {stride:?}");
        }
    }

    #[test]
    fn pairs_of_pixels_become_the_colours_that_single_ones_have() {
        let mut rgb = Vec::new();
        for u in 0..=255 {
            for v in 0..=255 {
                let row: Vec<u8> = (0..=254).step_by(2).flat_map(|y| [y, u, y + 1, v]).collect();
                let found = yuyv_to_rgb(&row, 255, &mut rgb);
                assert!(
                    found
                        .as_chunks::<3>()
                        .0
                        .iter()
                        .enumerate()
                        .all(|(x, &pixel)| pixel == PixelFormat::Yuyv.rgb(&row, x)),
                    "{u} {v}"
                );
                assert_eq!(found.len(), 3 * 255);
            }
        }
    }

    #[test]
    fn padding_of_other_formats_is_left_out() {
        let layout = RawLayout::new(RawFormat::Rgb24, [1, 2], Some(5)).unwrap();
        let mut frame = Frame::default();
        layout.unpack(&[1, 2, 3, 0, 0, 4, 5, 6, 0, 0], &mut frame);
        assert_eq!(frame.pixels, [1, 2, 3, 4, 5, 6]);
        assert_eq!(frame.to_rgb(), [1, 2, 3, 4, 5, 6]);
        let layout = RawLayout::new(RawFormat::Gray, [2, 1], None).unwrap();
        layout.unpack(&[7, 9], &mut frame);
        assert_eq!(frame.to_rgb(), [7, 7, 7, 9, 9, 9]);
    }
}
