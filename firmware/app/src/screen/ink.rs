//! The colours of a screen, for colour and for monochrome displays.

use embedded_graphics::pixelcolor::{BinaryColor, Rgb565, Rgb888};
use embedded_graphics::prelude::*;

/// A display's colour: what the parts of a screen are drawn in, and how a camera's pixel becomes one.
pub trait Ink: PixelColor {
    /// Behind everything.
    const BACKGROUND: Self;
    /// Text and the bar's frame.
    const FOREGROUND: Self;
    /// The filled part of the bar.
    const BAR: Self;

    /// The colour of a camera's pixel that is shown at `at`.
    fn of_pixel(rgb: [u8; 3], at: Point) -> Self;
}

impl Ink for Rgb565 {
    const BACKGROUND: Self = Self::BLACK;
    const FOREGROUND: Self = Self::WHITE;
    const BAR: Self = Self::GREEN;

    fn of_pixel([r, g, b]: [u8; 3], _: Point) -> Self {
        Rgb888::new(r, g, b).into()
    }
}

impl Ink for Rgb888 {
    const BACKGROUND: Self = Self::BLACK;
    const FOREGROUND: Self = Self::WHITE;
    const BAR: Self = Self::GREEN;

    fn of_pixel([r, g, b]: [u8; 3], _: Point) -> Self {
        Self::new(r, g, b)
    }
}

/// Thresholds of ordered dithering: each of 0 to 15 once in every square of 4 x 4 pixels, neighbours far apart.
///
/// # Source
/// B. E. Bayer, "An optimum method for two-level rendition of continuous-tone pictures", ICC 1973.
const BAYER: [[u8; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];

impl Ink for BinaryColor {
    const BACKGROUND: Self = Self::Off;
    const FOREGROUND: Self = Self::On;
    const BAR: Self = Self::On;

    /// Dithered: of an area as bright as `luma`, about `luma / 256` of the pixels are on.
    fn of_pixel([r, g, b]: [u8; 3], at: Point) -> Self {
        let luma = (77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b) + 128) >> 8; // BT.601
        let [x, y] = [at.x, at.y].map(|side| usize::try_from(side.rem_euclid(4)).unwrap_or(0));
        let threshold = BAYER.get(y).and_then(|row| row.get(x)).copied().unwrap_or(0);
        Self::from(luma > 16 * u32::from(threshold) + 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dithering_keeps_brightness() {
        for luma in 0..=255_u8 {
            let square = embedded_graphics::primitives::Rectangle::new(Point::new(-3, 5), Size::new(4, 4));
            let on = square.points().filter(|&at| BinaryColor::of_pixel([luma; 3], at).is_on()).count();
            let share = f64::from(luma) / 255.0 * 16.0;
            assert!((on as f64 - share).abs() <= 0.6, "{luma}: {on} of 16 pixels are on");
        }
    }

    #[test]
    fn colours_of_an_rgb565_camera_stay_as_they_are() {
        for color in 0..=u16::MAX {
            let rgb = ocelli::image::PixelFormat::Rgb565.rgb(&color.to_le_bytes(), 0);
            assert_eq!(Rgb565::of_pixel(rgb, Point::zero()).into_storage(), color);
        }
    }
}
