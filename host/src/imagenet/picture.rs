//! The part of a picture that a network sees.

use crate::data::{RawImage, to_input};
use anyhow::{Context, ensure};
use ocelli::image::{InputSpec, PixelFormat, Resize};

/// The part of a picture that becomes the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crop {
    /// What the input's own rule says.
    AsStated,
    /// The middle: of the largest part that has the input's aspect, this share of each side. `0.875` is what remains of a picture whose
    /// shorter side was brought to 256 pixels and which was then cut to 224.
    Middle(f32),
}

impl Crop {
    /// The crop to the input's size of a picture whose shorter side is brought to `resize_to` pixels first.
    ///
    /// # Errors
    /// When that is less than the input.
    pub fn from_resize(resize_to: u32, spec: &InputSpec) -> anyhow::Result<Self> {
        let side = spec.shape.h.min(spec.shape.w);
        ensure!(
            resize_to >= side,
            "a picture whose shorter side is {resize_to} pixels has no middle of {}x{}: --resize-to must be at least {side}",
            spec.shape.h,
            spec.shape.w
        );
        Ok(Self::Middle((f64::from(side) / f64::from(resize_to)) as f32))
    }
}

/// The input that a picture becomes, before normalization: cropped, resized (by area, as the chip does it) and in the network's colours.
///
/// # Shapes
/// Output: `[h, w, c]` of `spec.shape`.
///
/// # Errors
/// When a side of the picture or of the input is zero or above 65,535.
pub fn prepare(picture: &RawImage, spec: &InputSpec, crop: Crop) -> anyhow::Result<Vec<u8>> {
    match crop {
        Crop::AsStated => to_input(picture, spec),
        Crop::Middle(share) => {
            let stretched = InputSpec { resize: Resize::Stretch, ..*spec };
            to_input(&middle(picture, spec, share), &stretched)
        }
    }
    .context("the picture has no size that it can be brought from")
}

/// The middle of a picture with the input's aspect.
fn middle(picture: &RawImage, spec: &InputSpec, share: f32) -> RawImage {
    let (width, height) = (f64::from(picture.width), f64::from(picture.height));
    let aspect = f64::from(spec.shape.w) / f64::from(spec.shape.h.max(1));
    let (w, h) = if width > height * aspect { (height * aspect, height) } else { (width, width / aspect) };
    let side = |length: f64, of: u32| ((length * f64::from(share)).round() as u32).clamp(1, of.max(1));
    let (w, h) = (side(w, picture.width), side(h, picture.height));
    let (left, top) = ((picture.width - w) / 2, (picture.height - h) / 2);
    let bytes = if picture.format == PixelFormat::Gray8 { 1 } else { 3 };
    let [row, from, to] = [picture.width, left, left + w].map(|columns| columns as usize * bytes);
    let rows = picture.pixels.chunks_exact(row.max(1)).skip(top as usize).take(h as usize);
    let pixels = rows.flat_map(|row| row.get(from..to).unwrap_or_default().iter().copied()).collect();
    RawImage { width: w, height: h, format: picture.format, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli::image::ColorOrder;
    use ocelli::ir::Shape;

    fn spec(h: u32, w: u32) -> InputSpec {
        let shape = Shape::new(h, w, 1);
        InputSpec { shape, color: ColorOrder::Gray, resize: Resize::Stretch, mean: [0.0; 3], std: [1.0; 3] }
    }

    /// A gray picture whose pixel says where it is: `10 * y + x`.
    fn places(width: u32, height: u32) -> RawImage {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| u8::try_from(10 * y + x).unwrap())).collect();
        RawImage { width, height, format: PixelFormat::Gray8, pixels }
    }

    #[test]
    fn the_middle_is_that_of_the_largest_part_with_the_inputs_aspect() {
        // 10 x 8: the square in its middle is 8 x 8 from x 1; half of it 4 x 4 from (3, 2)
        let picture = prepare(&places(10, 8), &spec(4, 4), Crop::Middle(0.5)).unwrap();
        assert_eq!(picture[..4], [23, 24, 25, 26]);
        assert_eq!(picture[12..], [53, 54, 55, 56]);
        // an input twice as wide as high: 10 x 5, all of it
        let picture = prepare(&places(10, 8), &spec(5, 10), Crop::Middle(1.0)).unwrap();
        assert_eq!(picture[..10], [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        let whole = prepare(&places(4, 4), &spec(4, 4), Crop::AsStated).unwrap();
        assert_eq!(whole, places(4, 4).pixels);
    }

    #[test]
    fn a_picture_of_a_pixel_has_a_middle() {
        let dot = RawImage { width: 1, height: 1, format: PixelFormat::Rgb888, pixels: vec![7, 8, 9] };
        let color = InputSpec { shape: Shape::new(2, 2, 3), color: ColorOrder::Bgr, ..spec(2, 2) };
        assert_eq!(prepare(&dot, &color, Crop::Middle(0.1)).unwrap(), [9, 8, 7].repeat(4));
    }

    #[test]
    fn a_shorter_side_of_256_leaves_seven_eighths_of_224() {
        assert_eq!(Crop::from_resize(256, &spec(224, 224)).unwrap(), Crop::Middle(0.875));
        assert!(Crop::from_resize(223, &spec(224, 224)).unwrap_err().to_string().contains("at least 224"));
    }
}
