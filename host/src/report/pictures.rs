//! Pictures of a set as pixels to look at: in the order of a screen's colours, at a size that can be seen.

use super::canvas::png_bytes;
use crate::data::Dataset;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use ocelli::image::ColorOrder;

/// Longest side of a thumbnail.
const THUMBNAIL_PX: u32 = 144;
/// Longest side of a thumbnail that is kept exactly, as PNG; larger ones are photos and become JPEG.
const EXACT_PX: u32 = 48;
/// Quality of a JPEG thumbnail, of 100.
const JPEG_QUALITY: u8 = 82;

/// Image `i` of a set whose channels lie in `color`'s order.
///
/// # Panics
/// When there is no such image.
#[must_use]
pub fn picture(set: &Dataset, color: ColorOrder, i: usize) -> RgbImage {
    let pixels = set.input(i);
    let (width, channels) = (set.shape.w as usize, set.shape.c.max(1) as usize);
    RgbImage::from_fn(set.shape.w, set.shape.h, |x, y| {
        let at = (y as usize * width + x as usize) * channels;
        let value = |c: usize| pixels.get(at + c).copied().unwrap_or(0);
        match color {
            ColorOrder::Gray => Rgb([value(0); 3]),
            ColorOrder::Rgb => Rgb([value(0), value(1), value(2)]),
            ColorOrder::Bgr => Rgb([value(2), value(1), value(0)]),
        }
    })
}

/// A picture whose longer side is about `side_px`: small ones grow by a whole factor, so that their pixels stay square and sharp.
#[must_use]
pub fn scaled(picture: &RgbImage, side_px: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height).max(1);
    if longer <= side_px {
        let factor = side_px / longer;
        return resize(picture, width * factor, height * factor, FilterType::Nearest);
    }
    let to = |side: u32| u32::try_from(u64::from(side) * u64::from(side_px) / u64::from(longer)).unwrap_or(1).max(1);
    resize(picture, to(width), to(height), FilterType::Triangle)
}

/// A small copy of a picture as the address of an image in a page (`data:image/...;base64,...`).
///
/// # Errors
/// When the picture has no pixels.
pub fn thumbnail(picture: &RgbImage) -> anyhow::Result<String> {
    let longer = picture.width().max(picture.height());
    if longer <= EXACT_PX {
        return Ok(data_address("image/png", &png_bytes(picture)?));
    }
    let small = if longer > THUMBNAIL_PX { scaled(picture, THUMBNAIL_PX) } else { picture.clone() };
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).encode_image(&small)?;
    Ok(data_address("image/jpeg", &jpeg))
}

/// The address of a file that is part of a page.
#[must_use]
pub fn data_address(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::RawImage;
    use ocelli::ir::Shape;

    fn set(shape: Shape, pixels: &[u8]) -> Dataset {
        Dataset {
            labels: vec!["a".to_owned(), "b".to_owned()],
            shape,
            pixels: pixels.to_vec(),
            targets: vec![0],
            names: vec!["x".to_owned()],
            skipped: Vec::new(),
        }
    }

    #[test]
    fn channels_are_shown_in_the_order_of_a_screen() {
        let set = set(Shape::new(1, 2, 3), &[1, 2, 3, 4, 5, 6]);
        let pixels = |color| picture(&set, color, 0).into_raw();
        assert_eq!(pixels(ColorOrder::Rgb), [1, 2, 3, 4, 5, 6]);
        assert_eq!(pixels(ColorOrder::Bgr), [3, 2, 1, 6, 5, 4]);
        let gray = self::set(Shape::new(1, 2, 1), &[7, 9]);
        assert_eq!(picture(&gray, ColorOrder::Gray, 0).into_raw(), [7, 7, 7, 9, 9, 9]);
    }

    #[test]
    fn small_pictures_grow_by_a_whole_factor_and_large_ones_shrink() {
        let size = |w, h| scaled(&RgbImage::new(w, h), 112).dimensions();
        assert_eq!(size(28, 28), (112, 112));
        assert_eq!(size(32, 20), (96, 60));
        assert_eq!(size(1000, 500), (112, 56));
        assert_eq!(size(5000, 1), (112, 1));
    }

    #[test]
    fn a_small_thumbnail_is_exact_and_a_large_one_is_small() {
        let decode = |address: &str| {
            let (_, base64) = address.split_once(";base64,").unwrap();
            RawImage::decode(&STANDARD.decode(base64).unwrap()).unwrap()
        };
        let digit = RgbImage::from_fn(28, 28, |x, y| Rgb([(9 * x) as u8, (9 * y) as u8, 0]));
        assert_eq!(decode(&thumbnail(&digit).unwrap()).pixels, digit.into_raw());
        let photo = decode(&thumbnail(&RgbImage::new(400, 300)).unwrap());
        assert_eq!((photo.width, photo.height), (144, 108));
    }
}
