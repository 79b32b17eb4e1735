//! What pictures are drawn with: a canvas over RGB pixels, the font in the tree, text of a known width, PNG files.

use crate::files::write_atomically;
use anyhow::Context;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage, codecs::png::PngEncoder};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;
use std::sync::Once;

/// A canvas over pixels in memory.
pub type Canvas<'b> = DrawingArea<BitMapBackend<'b>, Shift>;

const FONT: &str = "sans-serif";
/// The colour of text and axes.
pub const INK: RGBColor = RGBColor(38, 38, 38);
/// The colour of grid lines.
pub const FAINT: RGBColor = RGBColor(225, 225, 225);

/// Draws on a white canvas and writes it as PNG.
///
/// # Errors
/// When something cannot be drawn or the file cannot be written; the error names it.
pub fn write_png(
    path: &Path,
    [width, height]: [u32; 2],
    draw: impl FnOnce(&Canvas) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut picture = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    draw_over(&mut picture, draw).with_context(|| format!("cannot draw {}", path.display()))?;
    save_png(path, &picture)
}

/// Draws over the pixels of a picture.
///
/// # Errors
/// When something cannot be drawn.
pub fn draw_over(picture: &mut RgbImage, draw: impl FnOnce(&Canvas) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let size = picture.dimensions();
    let canvas = BitMapBackend::with_buffer(picture.as_mut(), size).into_drawing_area();
    draw(&canvas)?;
    canvas.present()?;
    Ok(())
}

/// Writes a picture as PNG.
///
/// # Errors
/// When the file cannot be written; the error names it.
pub fn save_png(path: &Path, picture: &RgbImage) -> anyhow::Result<()> {
    let bytes = png_bytes(picture).with_context(|| format!("cannot draw {}", path.display()))?;
    write_atomically(path, &bytes)
}

/// A picture as the bytes of a PNG file.
///
/// # Errors
/// When the picture has no pixels.
pub fn png_bytes(picture: &RgbImage) -> anyhow::Result<Vec<u8>> {
    let mut png = Vec::new();
    let (width, height) = picture.dimensions();
    PngEncoder::new(&mut png).write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8)?;
    Ok(png)
}

/// A style of text, placed by its corner, side or middle. The only way to one: it makes sure of the font, without which every text would
/// be measured as nothing.
pub fn text(size: u32, color: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    static FONT_ONCE: Once = Once::new();
    // an invalid font would show as an error when text is drawn
    FONT_ONCE.call_once(|| drop(register_font(FONT, FontStyle::Normal, dejavu::sans::regular())));
    TextStyle { color: color.to_backend_color(), ..TextStyle::from((FONT, size).into_font()).pos(Pos::new(h, v)) }
}

/// The width of a text in pixels.
pub fn text_width(label: &str, style: &TextStyle) -> i32 {
    // without a font there is an error later, when the text is drawn
    style.font.box_size(label).map_or(0, |(width, _)| i32::try_from(width).unwrap_or(0))
}

/// A text cut to a width, an ellipsis in place of what is missing.
pub fn fitted(label: &str, style: &TextStyle, width_px: i32) -> String {
    if text_width(label, style) <= width_px {
        return label.to_owned();
    }
    let mut short: Vec<char> = label.chars().take(200).collect();
    loop {
        short.pop();
        let cut = short.iter().collect::<String>() + "\u{2026}";
        if short.is_empty() || text_width(&cut, style) <= width_px {
            return cut;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_its_room_and_no_further() {
        let style = text(16, INK, HPos::Left, VPos::Top);
        assert_eq!(fitted("cat", &style, 100), "cat");
        let label = "Chesapeake Bay retriever";
        let cut = fitted(label, &style, 100);
        assert!(cut.starts_with("Chesa") && cut.ends_with('\u{2026}'), "{cut}");
        assert!(text_width(&cut, &style) <= 100);
        let letters = cut.chars().count() - 1;
        let longer: String = label.chars().take(letters + 1).chain(['\u{2026}']).collect();
        assert!(text_width(&longer, &style) > 100, "{longer} would fit");
    }
}
