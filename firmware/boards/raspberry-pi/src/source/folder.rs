//! A folder of pictures, in the order of their names, once or again and again.

use super::mjpeg::whole_picture;
use super::{Camera, Source, SourceError};
use crate::frame::{Frame, MAX_SIDE_PX};
use crate::jpeg;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use ocelli::image::PixelFormat;
use std::path::{Path, PathBuf};

/// Endings of files that are taken for pictures.
const ENDINGS: [&str; 12] = ["png", "jpg", "jpeg", "gif", "bmp", "webp", "tif", "tiff", "pnm", "pgm", "ppm", "pbm"];
/// Pixels that a picture may have: photos of phones have up to 50 million.
const MOST_PIXELS: u32 = 1 << 26;
/// Bytes that a picture may take while it is decoded.
const MOST_DECODED_BYTES: u64 = 512 << 20;

/// A folder of pictures; the folders in it count too, as datasets have one for each class.
#[derive(Debug)]
pub struct FolderCamera {
    /// The folder, or one picture.
    pub path: PathBuf,
    /// Whether it begins again at its end.
    pub repeats: bool,
}

impl Camera for FolderCamera {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&mut self) -> Result<Box<dyn Source>, SourceError> {
        let mut files = Vec::new();
        if !self.path.exists() {
            return Err(SourceError::Fatal(format!("there is no folder or picture {}", self.path.display())));
        }
        if self.path.is_dir() {
            list(&self.path, &mut files).map_err(|error| {
                SourceError::Fatal(format!("cannot read the folder {}: {error}", self.path.display()))
            })?;
        } else {
            files.push(self.path.clone());
        }
        files.sort();
        if files.is_empty() {
            return Err(SourceError::Fatal(format!(
                "there are no pictures in {}: files must end with .{}",
                self.path.display(),
                ENDINGS.join(", .")
            )));
        }
        Ok(Box::new(Folder { root: self.path.clone(), files, next: 0, repeats: self.repeats, any_read: false }))
    }

    fn is_live(&self) -> bool {
        false
    }

    fn reopens(&self) -> bool {
        false
    }
}

/// The pictures in a folder and the folders in it.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_hidden {
            continue;
        }
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|end| ENDINGS.iter().any(|known| end.eq_ignore_ascii_case(known))) {
            files.push(path);
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    files: Vec<PathBuf>,
    next: usize,
    repeats: bool,
    /// Whether a picture could be read since the folder began.
    any_read: bool,
}

impl Source for Folder {
    fn read(&mut self, frame: &mut Frame) -> Result<(), SourceError> {
        // a folder without a single good picture would be read for ever
        if self.next == self.files.len() && self.repeats && self.any_read {
            (self.next, self.any_read) = (0, false);
        }
        let file = self.files.get(self.next).ok_or(SourceError::End)?;
        self.next += 1;
        let name = file.strip_prefix(&self.root).ok().filter(|name| !name.as_os_str().is_empty()).unwrap_or(file);
        read_picture(file, frame).map_err(|what| SourceError::Corrupt(format!("{}: {what}", name.display())))?;
        frame.name = name.display().to_string();
        self.any_read = true;
        Ok(())
    }
}

/// Decodes a picture file; EXIF orientation is applied, transparency is laid over white.
fn read_picture(path: &Path, frame: &mut Frame) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut reader = ImageReader::new(std::io::Cursor::new(&bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let damaged = |error: image::ImageError| format!("damaged or unsupported picture: {error}");
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PX);
    limits.max_image_height = Some(MAX_SIDE_PX);
    limits.max_alloc = Some(MOST_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > u64::from(MOST_PIXELS) || decoder.total_bytes() > MOST_DECODED_BYTES {
        return Err(format!(
            "a picture of {width} x {height} pixels: at most {MOST_PIXELS} are taken; make it smaller"
        ));
    }
    if is_jpeg {
        drop(decoder);
        return read_jpeg(&bytes, orientation, frame);
    }
    let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    picture.apply_orientation(orientation);
    (frame.width, frame.height) = (picture.width(), picture.height());
    let color = picture.color();
    (frame.format, frame.pixels) = match (color.has_color(), color.has_alpha()) {
        (false, false) => (PixelFormat::Gray8, picture.into_luma8().into_raw()),
        (true, false) => (PixelFormat::Rgb888, picture.into_rgb8().into_raw()),
        (_, true) => (PixelFormat::Rgb888, over_white(&picture.into_rgba8().into_raw())),
    };
    frame.jpeg.clear();
    Ok(())
}

/// Decodes a JPEG file as a stream's JPEGs are decoded: what is cut off is no picture.
fn read_jpeg(bytes: &[u8], orientation: Orientation, frame: &mut Frame) -> Result<(), String> {
    let whole = whole_picture(bytes).ok_or("truncated JPEG: the end of the image is missing")?;
    jpeg::decode_within(whole, usize::try_from(MOST_PIXELS).unwrap_or(usize::MAX), frame)?;
    if orientation == Orientation::NoTransforms {
        return Ok(());
    }
    let (pixels, [width, height]) = (std::mem::take(&mut frame.pixels), [frame.width, frame.height]);
    let picture = if frame.format == PixelFormat::Gray8 {
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::from)
    };
    let mut picture = picture.ok_or("a JPEG of another size than its header says")?;
    picture.apply_orientation(orientation);
    (frame.width, frame.height) = (picture.width(), picture.height());
    frame.pixels = picture.into_bytes();
    frame.jpeg.clear(); // its bytes would be seen turned
    Ok(())
}

/// Mixes colours with white by their alpha.
fn over_white(rgba: &[u8]) -> Vec<u8> {
    let mix = |value: u8, alpha: u8| {
        let (value, alpha) = (u16::from(value), u16::from(alpha));
        u8::try_from((value * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    rgba.chunks_exact(4).flat_map(|pixel| [0, 1, 2].map(|i| mix(pixel[i], pixel[3]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jpeg::{encode, tests::colourful};

    fn read_all(folder: &Path, repeats: bool, most: usize) -> Vec<String> {
        let mut source = FolderCamera { path: folder.to_owned(), repeats }.open().unwrap();
        let mut seen = Vec::new();
        while seen.len() < most {
            let mut frame = Frame::default();
            match source.read(&mut frame) {
                Ok(()) => seen.push(frame.name),
                Err(SourceError::End) => break,
                Err(SourceError::Corrupt(what)) => seen.push(format!("corrupt {}", what.split(':').next().unwrap())),
                Err(other) => panic!("{other}"),
            }
        }
        seen
    }

    #[test]
    fn pictures_come_in_the_order_of_their_names_and_again_if_wanted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cat")).unwrap();
        let jpeg = encode(&colourful(8, 8), 90).unwrap();
        for name in ["cat/2.jpg", "b.JPG", "a.jpeg", "notes.txt", ".hidden.jpg"] {
            std::fs::write(folder.path().join(name), &jpeg).unwrap();
        }
        std::fs::write(folder.path().join("broken.png"), b"no picture").unwrap();
        let once = ["a.jpeg", "b.JPG", "corrupt broken.png", "cat/2.jpg"];
        assert_eq!(read_all(folder.path(), false, 10), once);
        assert_eq!(read_all(folder.path(), true, 8), [once, once].concat());
    }

    fn read_bytes(name: &str, bytes: &[u8]) -> Result<Frame, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut frame = Frame::default();
        read_picture(&path, &mut frame).map(|()| frame)
    }

    /// An EXIF segment: how the picture is turned, and a thumbnail.
    fn exif(orientation: u8, thumbnail: &[u8]) -> Vec<u8> {
        // TIFF 6.0, big-endian: one directory with one entry, tag 274 of the type SHORT
        let tiff = [
            &b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..],
            &[orientation, 0, 0, 0, 0, 0, 0],
            thumbnail,
        ];
        let body = tiff.concat();
        [&[0xff, 0xe1][..], &u16::try_from(body.len() + 2).unwrap().to_be_bytes(), &body].concat()
    }

    #[test]
    fn a_jpeg_that_is_cut_off_is_no_picture_though_its_thumbnail_is_whole() {
        let [whole, thumbnail] = [64, 16].map(|width| encode(&colourful(width, 48), 90).unwrap());
        let with = [&whole[..2], &exif(1, &thumbnail), &whole[2..]].concat();
        let frame = read_bytes("a.jpg", &with).unwrap();
        assert_eq!((frame.width, frame.height, &frame.jpeg), (64, 48, &with));
        let cut = with.len() - whole.len() / 4;
        let error = read_bytes("a.jpg", &with[..cut]).unwrap_err();
        assert!(error.contains("the end of the image is missing"), "{error}");
        let error = read_bytes("a.jpg", &[&with[..cut], &[0xff, 0xd9]].concat()).unwrap_err();
        assert!(error.contains("damaged"), "{error}");
        // what cameras write behind a picture is none of it
        let frame = read_bytes("a.jpg", &[&with[..], b"trailer", &thumbnail].concat()).unwrap();
        assert_eq!((frame.width, &frame.jpeg), (64, &with));
    }

    #[test]
    fn a_jpeg_is_turned_as_it_says_and_has_the_pixels_that_other_programs_see() {
        let whole = encode(&colourful(64, 48), 90).unwrap();
        let plain = image::load_from_memory(&whole).unwrap().into_rgb8();
        let turned = read_bytes("a.jpg", &[&whole[..2], &exif(6, &[]), &whole[2..]].concat()).unwrap();
        assert_eq!((turned.width, turned.height, turned.jpeg.len()), (48, 64, 0));
        assert!(turned.pixels == image::imageops::rotate90(&plain).into_raw());
        assert!(read_bytes("a.jpg", &whole).unwrap().pixels == plain.into_raw());
    }

    #[test]
    fn a_header_that_asks_for_too_much_is_refused_with_the_limit() {
        // PNG (W3C, third edition): the signature and IHDR of 16,000 x 16,000 pixels in RGBA, with its checksum
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x3e\x80\0\0\x3e\x80\x08\x06\0\0\0".to_vec();
        let mut crc = u32::MAX;
        for &byte in &png[12..29] {
            crc ^= u32::from(byte);
            (0..8).for_each(|_| crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 });
        }
        png.extend((!crc).to_be_bytes());
        png.extend(b"\0\0\0\x01IDAT\0\0\0\0\0");
        let error = read_bytes("a.png", &png).unwrap_err();
        assert!(error.contains("16000 x 16000") && error.contains("67108864"), "{error}");
    }

    #[test]
    fn a_folder_without_one_good_picture_ends_even_when_it_repeats() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| FolderCamera { path: path.to_owned(), repeats: true }.open();
        let missing = open(&folder.path().join("missing"));
        assert!(matches!(missing, Err(SourceError::Fatal(what)) if what.contains("there is no folder")));
        assert!(matches!(open(folder.path()), Err(SourceError::Fatal(what)) if what.contains("no pictures")));
        std::fs::write(folder.path().join("broken.jpg"), [0xff, 0xd8]).unwrap();
        assert_eq!(read_all(folder.path(), true, 10), ["corrupt broken.jpg"]);
    }
}
