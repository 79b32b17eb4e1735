//! A guess written on the picture that it is about.

use super::canvas::{Canvas, draw_over, fitted, save_png, text, text_width};
use crate::data::RawImage;
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use ocelli::image::PixelFormat;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::path::Path;

/// The shorter side of the drawn picture is at least this: text on less cannot be read.
const MIN_SIDE_PX: u32 = 240;
/// Height of the text on the smallest picture.
const MIN_FONT_PX: u32 = 17;
/// Text is at most this part of the picture's shorter side.
const FONT_PART: u32 = 16;
const BAND: RGBColor = RGBColor(12, 14, 18);
const BAR: RGBColor = RGBColor(86, 180, 233);

/// Writes a picture with guesses (label and probability, the best first) in a band over its lower edge. Small pictures grow by a whole
/// factor first, so that the text can be read.
///
/// # Errors
/// When the file cannot be written; the error names it.
pub fn captioned_png(path: &Path, picture: &RawImage, guesses: &[(String, f64)]) -> anyhow::Result<()> {
    let mut canvas = enlarged(picture);
    draw_over(&mut canvas, |area| draw(area, guesses))?;
    save_png(path, &canvas)
}

fn enlarged(picture: &RawImage) -> RgbImage {
    let channels = if picture.format == PixelFormat::Gray8 { 1 } else { 3 };
    let rgb = RgbImage::from_fn(picture.width, picture.height, |x, y| {
        let at = (y as usize * picture.width as usize + x as usize) * channels;
        let value = |c: usize| picture.pixels.get(at + c.min(channels - 1)).copied().unwrap_or(0);
        Rgb([value(0), value(1), value(2)])
    });
    let shorter = picture.width.min(picture.height).max(1);
    let factor = MIN_SIDE_PX.div_ceil(shorter);
    // a strip a pixel high must not become a picture a kilometre wide
    let factor = factor.min(8 * MIN_SIDE_PX / picture.width.max(picture.height).max(1)).max(1);
    if factor == 1 {
        return rgb;
    }
    resize(&rgb, factor * picture.width, factor * picture.height, FilterType::Nearest)
}

fn draw(area: &Canvas, guesses: &[(String, f64)]) -> anyhow::Result<()> {
    let (width, height) = area.dim_in_pixel();
    let font = (width.min(height) / FONT_PART).max(MIN_FONT_PX);
    let px = |v: u32| i32::try_from(v).unwrap_or(i32::MAX);
    let (width, height, line, pad) = (px(width), px(height), px(font * 7 / 5), px(font / 2));
    // as many guesses as leave half of the picture free, at least one
    let lines = ((height / 2 - 2 * pad) / line.max(1)).clamp(1, px(u32::try_from(guesses.len().max(1)).unwrap_or(1)));
    let top = height - lines * line - 2 * pad;
    area.draw(&Rectangle::new([(0, top), (width, height)], BAND.mix(0.72).filled()))?;
    for (at, (label, probability)) in (0..lines).zip(guesses) {
        let y = top + pad + at * line + line / 2;
        let color = if at == 0 { WHITE } else { RGBColor(200, 204, 210) };
        let percent = format!("{:.1} %", 100.0 * probability);
        let right = text(font, color, HPos::Right, VPos::Center);
        let room = width - 3 * pad - text_width(&percent, &right);
        let left = text(font, color, HPos::Left, VPos::Center);
        area.draw(&Text::new(percent, (width - pad, y), right))?;
        area.draw(&Text::new(fitted(label, &left, room), (pad, y), left))?;
    }
    // how sure the first guess is, as a line on the band's upper edge
    let sure = guesses.first().map_or(0.0, |guess| guess.1.clamp(0.0, 1.0));
    let end = (f64::from(width) * sure).round() as i32;
    area.draw(&Rectangle::new([(0, top), (end, top + (pad / 3).max(2))], BAR.filled()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(width: u32, height: u32, format: PixelFormat) -> RgbImage {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        let channels = if format == PixelFormat::Gray8 { 1 } else { 3 };
        let pixels = vec![128; channels * (width * height) as usize];
        let picture = RawImage { width, height, format, pixels };
        let guesses =
            [("tabby cat".to_owned(), 0.75), ("a label that is far too long for any picture".to_owned(), 0.25)];
        captioned_png(&path, &picture, &guesses).unwrap();
        image::open(&path).unwrap().into_rgb8()
    }

    #[test]
    fn text_can_be_read_on_pictures_of_any_size() {
        for (width, height) in [(1, 1), (28, 28), (240, 240), (64, 300), (1, 4000), (4000, 2), (3000, 2000)] {
            for format in [PixelFormat::Gray8, PixelFormat::Rgb888] {
                let picture = drawn(width, height, format);
                let bright = picture.pixels().filter(|p| p.0.iter().all(|&v| v > 190)).count();
                let least = if picture.width().min(picture.height()) < MIN_FONT_PX { 0 } else { 60 };
                assert!(bright >= least, "{width} x {height}: {bright} bright pixels");
                assert!(picture.width() * picture.height() <= 6_000_000);
            }
        }
    }

    #[test]
    fn the_upper_half_of_the_picture_stays_as_it_is() {
        let picture = drawn(28, 28, PixelFormat::Gray8);
        assert_eq!(picture.dimensions(), (252, 252));
        let upper = picture.rows().take(126).flatten();
        assert!(upper.into_iter().all(|p| p.0 == [128; 3]));
    }
}
