//! What the board's screen would show: the firmware's own drawing code on a picture file.

use crate::data::Dataset;
use crate::files::write_atomically;
use anyhow::{Context, ensure};
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Size};
use embedded_graphics::pixelcolor::{Rgb565, Rgb888, RgbColor};
use image::{ImageFormat, Rgb, RgbImage};
use ocelli_app::classify::{softmax_permille, top_k};
use ocelli_app::picture::Picture;
use ocelli_app::screen::draw_result;
use std::convert::Infallible;
use std::path::Path;

/// A common small display: 240x240 pixels (ST7789).
const SIDE_PX: u32 = 240;

struct Display(RgbImage);

impl OriginDimensions for Display {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Display {
    type Color = Rgb565;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
                let color = Rgb888::from(color);
                *pixel = Rgb([color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}

/// Draws image `index` of a set with its scores as the firmware would, on a display of 240x240 pixels.
///
/// # Errors
/// When there is no such image or the file cannot be written.
pub fn screen_png(path: &Path, set: &Dataset, index: usize, scores: &[i8]) -> anyhow::Result<()> {
    ensure!(index < set.len(), "there is no image {index}");
    let best = top_k::<1>(scores);
    let mut best = *best.first().context("there are no scores")?;
    best.permille = Some(softmax_permille(best.score));
    let label = set.labels.get(best.class).map_or("?", String::as_str);
    let (width, height) = (set.shape.w, set.shape.h);
    let picture = match set.shape.c {
        1 => Picture::gray(width, height, set.input(index)),
        _ => Picture::rgb(width, height, set.input(index)),
    };
    let picture = picture.context("the picture has neither one nor three channels")?;
    let mut display = Display(RgbImage::new(SIDE_PX, SIDE_PX));
    let Ok(()) = draw_result(&mut display, &picture, label, &best);
    let mut png = std::io::Cursor::new(Vec::new());
    display.0.write_to(&mut png, ImageFormat::Png)?;
    write_atomically(path, png.get_ref())
}
