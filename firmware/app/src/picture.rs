//! A picture in memory, and how it is drawn.

use embedded_graphics::pixelcolor::{Gray8, Rgb565, Rgb888};
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;

/// A picture in memory.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'p> {
    width: u32,
    height: u32,
    pixels: Pixels<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Pixels<'p> {
    Gray(&'p [u8]),
    Rgb(&'p [u8]),
}

impl<'p> Picture<'p> {
    /// A picture of one luma byte a pixel, row after row; `None` when `pixels` has another size.
    #[must_use]
    pub fn gray(width: u32, height: u32, pixels: &'p [u8]) -> Option<Self> {
        has_pixels(width, height, 1, pixels).then_some(Self { width, height, pixels: Pixels::Gray(pixels) })
    }

    /// A picture of red, green and blue bytes, row after row; `None` when `pixels` has another size.
    #[must_use]
    pub fn rgb(width: u32, height: u32, pixels: &'p [u8]) -> Option<Self> {
        has_pixels(width, height, 3, pixels).then_some(Self { width, height, pixels: Pixels::Rgb(pixels) })
    }

    fn color(&self, x: u32, y: u32) -> Rgb565 {
        let index = usize::try_from(u64::from(y) * u64::from(self.width) + u64::from(x)).unwrap_or(usize::MAX);
        let found = match self.pixels {
            Pixels::Gray(pixels) => pixels.get(index).map(|&luma| Rgb565::from(Gray8::new(luma))),
            Pixels::Rgb(pixels) => match pixels.chunks_exact(3).nth(index) {
                Some(&[r, g, b]) => Some(Rgb565::from(Rgb888::new(r, g, b))),
                _ => None,
            },
        };
        found.unwrap_or(Rgb565::BLACK)
    }
}

/// Draws a picture centred in `area`: every pixel becomes a square of as many pixels as fit; of a picture larger than the
/// area every n-th pixel is shown.
///
/// # Errors
/// Those of the display.
pub fn draw_picture<D>(display: &mut D, area: Rectangle, picture: &Picture<'_>) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb565>,
{
    if area.is_zero_sized() {
        return Ok(());
    }
    let enlarge = (area.size.width / picture.width).min(area.size.height / picture.height);
    let skip = picture.width.div_ceil(area.size.width).max(picture.height.div_ceil(area.size.height));
    // One of the two is 1: the picture is enlarged or thinned out.
    let (enlarge, skip) = if enlarge > 0 { (enlarge, 1) } else { (1, skip) };
    let size = Size::new(picture.width.div_ceil(skip) * enlarge, picture.height.div_ceil(skip) * enlarge);
    let shown = Rectangle::new(area.top_left + (area.size - size) / 2, size);
    let pixel = move |x: u32, y: u32| picture.color(x / enlarge * skip, y / enlarge * skip);
    display.fill_contiguous(&shown, (0..size.height).flat_map(|y| (0..size.width).map(move |x| pixel(x, y))))
}

fn has_pixels(width: u32, height: u32, channels: u64, pixels: &[u8]) -> bool {
    let needed = u64::from(width).checked_mul(u64::from(height)).and_then(|count| count.checked_mul(channels));
    width > 0 && height > 0 && needed == u64::try_from(pixels.len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_graphics::mock_display::MockDisplay;
    use std::vec::Vec;

    fn area(width: u32, height: u32) -> Rectangle {
        Rectangle::new(Point::zero(), Size::new(width, height))
    }

    #[test]
    fn every_pixel_becomes_a_square_and_the_picture_is_centred() {
        let picture = Picture::rgb(2, 2, &[255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]).unwrap();
        let mut display = MockDisplay::new();
        draw_picture(&mut display, area(7, 4), &picture).unwrap();
        display.assert_pattern(&[
            " RRGG", //
            " RRGG", " BBWW", " BBWW",
        ]);
    }

    #[test]
    fn of_a_picture_larger_than_its_area_every_nth_pixel_is_shown() {
        let row = [255, 0, 255, 0, 255];
        let pixels: Vec<u8> = [row, [0; 5], row, [0; 5], [0; 5]].concat();
        let mut display = MockDisplay::new();
        draw_picture(&mut display, area(3, 3), &Picture::gray(5, 5, &pixels).unwrap()).unwrap();
        display.assert_pattern(&["WWW", "WWW", "KKK"]);
    }

    #[test]
    fn a_picture_of_another_size_than_its_pixels_is_refused() {
        assert!(Picture::gray(2, 2, &[0; 3]).is_none());
        assert!(Picture::gray(0, 2, &[]).is_none());
        assert!(Picture::rgb(2, 2, &[0; 4]).is_none());
        assert!(Picture::rgb(u32::MAX, u32::MAX, &[0; 4]).is_none());
    }
}
