//! Decoding against files made by encoders; resizing against Pillow.

use super::*;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, ImageEncoder, Luma, LumaA, Rgb, RgbImage, Rgba};
use ocelli::image::Resize;
use ocelli::ir::Shape;

fn spec(h: u32, w: u32, color: ColorOrder, resize: Resize) -> InputSpec {
    InputSpec { shape: Shape::new(h, w, color.channels()), color, resize, mean: [0.0; 3], std: [1.0; 3] }
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Left half red, right half blue.
fn red_blue(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) })
}

fn pixel(picture: &RawImage, x: u32, y: u32) -> &[u8] {
    let channels = if picture.format == PixelFormat::Gray8 { 1 } else { 3 };
    let at = channels * (y * picture.width + x) as usize;
    &picture.pixels[at..at + channels]
}

fn assert_close(actual: &[u8], expected: &[u8], tolerance: u8) {
    assert_eq!(actual.len(), expected.len());
    let worst = actual.iter().zip(expected).map(|(a, e)| a.abs_diff(*e)).max();
    assert!(worst <= Some(tolerance), "differs by {worst:?} of 255");
}

const CHELSEA: &[u8] = include_bytes!("../../../tests/data/photos/chelsea.png");

macro_rules! expected {
    ($name:literal) => {
        RawImage::decode(include_bytes!(concat!("../../../tests/data/photos/", $name))).unwrap()
    };
}

#[test]
fn shrinking_a_photo_gives_pillows_bilinear_result() {
    let photo = RawImage::decode(CHELSEA).unwrap();
    assert_eq!((photo.width, photo.height, photo.format), (451, 300, PixelFormat::Rgb888));
    let actual = to_input(&photo, &spec(16, 24, ColorOrder::Rgb, Resize::Stretch)).unwrap();
    assert_close(&actual, &expected!("chelsea-stretch-24x16.png").pixels, 1);
}

#[test]
fn center_crop_gives_pillows_crop_and_resize() {
    let photo = RawImage::decode(CHELSEA).unwrap();
    let actual = to_input(&photo, &spec(20, 20, ColorOrder::Rgb, Resize::CenterCrop)).unwrap();
    assert_close(&actual, &expected!("chelsea-crop-20x20.png").pixels, 1);
    let actual = to_input(&photo, &spec(20, 20, ColorOrder::Gray, Resize::CenterCrop)).unwrap();
    assert_close(&actual, &expected!("chelsea-gray-20x20.png").pixels, 1);
}

#[test]
fn enlarging_a_photo_gives_pillows_bilinear_result() {
    let small = expected!("chelsea-small-12x8.png");
    let actual = to_input(&small, &spec(23, 31, ColorOrder::Rgb, Resize::Stretch)).unwrap();
    assert_close(&actual, &expected!("chelsea-enlarged-31x23.png").pixels, 1);
}

#[test]
fn a_picture_of_the_inputs_size_passes_unchanged() {
    let small = expected!("chelsea-small-12x8.png");
    let rgb = to_input(&small, &spec(8, 12, ColorOrder::Rgb, Resize::Stretch)).unwrap();
    assert_eq!(rgb, small.pixels);
    // the short cut for equal sizes gives what the converter gives
    let mut bgr = to_input(&small, &spec(8, 12, ColorOrder::Bgr, Resize::Stretch)).unwrap();
    bgr.chunks_exact_mut(3).for_each(<[u8]>::reverse);
    assert_eq!(bgr, rgb);
}

#[test]
fn a_frame_too_large_for_the_converter_is_halved_first() {
    let (width, height) = (16_001, 3);
    let pixels = (0..height).flat_map(|_| (0..width).map(|x| (x * 255 / width) as u8)).collect();
    let picture = RawImage { width, height, format: PixelFormat::Gray8, pixels };
    let ramp = to_input(&picture, &spec(1, 5, ColorOrder::Gray, Resize::Stretch)).unwrap();
    // triangle filter over a ramp: its centre value inside; the outer two are cut off at the border
    assert_close(&ramp[1..4], &[76, 127, 178], 1);
    assert_eq!(ramp.len(), 5);
}

#[test]
fn every_format_decodes_to_the_same_pixels() {
    let picture = DynamicImage::from(red_blue(16, 8));
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Pnm, ImageFormat::WebP] {
        let decoded = RawImage::decode(&encoded(&picture, format)).unwrap();
        assert_eq!(decoded.format, PixelFormat::Rgb888, "{format:?}");
        assert_eq!(decoded.pixels, picture.as_bytes(), "{format:?}");
    }
    for format in [ImageFormat::Gif, ImageFormat::Jpeg] {
        let decoded = RawImage::decode(&encoded(&picture, format)).unwrap();
        assert_close(pixel(&decoded, 1, 1), &[255, 0, 0], 3);
        assert_close(pixel(&decoded, 14, 6), &[0, 0, 255], 3);
    }
}

#[test]
fn the_content_tells_the_format_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    std::fs::write(&path, encoded(&red_blue(4, 4).into(), ImageFormat::Png)).unwrap();
    assert_eq!(RawImage::open(&path).unwrap().width, 4);
}

#[test]
fn sixteen_bit_gray_is_rounded_to_eight() {
    let picture = image::ImageBuffer::<Luma<u16>, _>::from_vec(3, 1, vec![0, 0x8080, 0xffff]).unwrap();
    let decoded = RawImage::decode(&encoded(&picture.into(), ImageFormat::Png)).unwrap();
    assert_eq!((decoded.format, decoded.pixels), (PixelFormat::Gray8, vec![0, 0x80, 0xff]));
}

#[test]
fn transparent_pixels_lie_over_white() {
    let picture = image::ImageBuffer::from_fn(3, 1, |x, _| Rgba([0_u8, 100, 200, [0, 128, 255][x as usize]]));
    let decoded = RawImage::decode(&encoded(&picture.into(), ImageFormat::Png)).unwrap();
    assert_eq!(decoded.pixels, [255, 255, 255, 127, 177, 227, 0, 100, 200]);
    let picture = image::ImageBuffer::from_fn(2, 1, |x, _| LumaA([0_u8, [0, 255][x as usize]]));
    let decoded = RawImage::decode(&encoded(&picture.into(), ImageFormat::Png)).unwrap();
    assert_eq!((decoded.format, decoded.pixels), (PixelFormat::Gray8, vec![255, 0]));
}

/// A little-endian TIFF block with the one entry Orientation (0x0112, SHORT), as EXIF carries it (EXIF 2.32, 4.6.4).
fn exif_orientation(orientation: u8) -> Vec<u8> {
    let mut exif = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    exif
}

#[test]
fn exif_orientation_is_applied() {
    let picture = red_blue(32, 16);
    let red = [254, 0, 0];
    // where the picture's left (red) side has to be shown, by EXIF's table of orientations
    for (orientation, size, at) in
        [(1, (32, 16), (2, 8)), (3, (32, 16), (29, 8)), (6, (16, 32), (8, 2)), (8, (16, 32), (8, 29))]
    {
        let mut jpeg = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 95);
        encoder.set_exif_metadata(exif_orientation(orientation)).unwrap();
        encoder.write_image(picture.as_raw(), 32, 16, image::ExtendedColorType::Rgb8).unwrap();
        let decoded = RawImage::decode(&jpeg).unwrap();
        assert_eq!((decoded.width, decoded.height), size, "orientation {orientation}");
        assert_close(pixel(&decoded, at.0, at.1), &red, 4);
    }
}

#[test]
fn a_cut_jpeg_is_refused_wherever_it_is_cut() {
    let noise = GrayImage::from_fn(64, 64, |x, y| Luma([(x * x * 31 + y * 57 * x) as u8]));
    let jpeg = encoded(&noise.into(), ImageFormat::Jpeg);
    assert!(RawImage::decode(&jpeg).is_ok());
    for end in 0..jpeg.len() - 1 {
        assert!(RawImage::decode(&jpeg[..end]).is_err(), "{end} of {} bytes", jpeg.len());
    }
}

#[test]
fn a_jpeg_with_a_trailer_is_whole() {
    let mut jpeg = encoded(&red_blue(16, 16).into(), ImageFormat::Jpeg);
    jpeg.extend(b"a phone's own data");
    assert!(RawImage::decode(&jpeg).is_ok());
}

#[test]
fn a_header_that_promises_too_much_is_refused() {
    let message = RawImage::decode(b"P6 20000 20000 255\n\0\0\0").unwrap_err();
    assert!(message.contains("20000"), "{message}");
    let message = RawImage::decode(b"P5 4000000000 1 255\n\0").unwrap_err();
    assert!(!message.is_empty());
    assert!(RawImage::decode(b"P5 0 0 255\n").is_err());
}

#[test]
fn what_is_no_picture_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hello").unwrap();
    let message = RawImage::open(file.path()).unwrap_err().to_string();
    assert!(message.contains(&file.path().display().to_string()) && message.contains("PNG, JPEG"), "{message}");
    let missing = RawImage::open(Path::new("missing.png")).unwrap_err().to_string();
    assert!(missing.contains("missing.png"), "{missing}");
}

#[test]
fn a_folder_is_no_picture_and_says_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let error = RawImage::open(folder.path()).unwrap_err().to_string();
    let files = folder.path().join("*").display().to_string();
    assert!(error.contains("is a folder, not a picture") && error.contains(&files), "{error}");
}
