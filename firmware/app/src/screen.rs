//! Shows a result on any display: the picture, the label and a bar for the confidence, laid out to the display's size.
//!
//! [`draw_result`] draws a single result; [`LiveScreen`] follows a camera and draws only what changed.

mod ink;
mod live;
mod view;

#[cfg(test)]
pub(crate) mod canvas;

pub use ink::Ink;
pub use live::{LiveLayout, LiveScreen, Status, UNKNOWN};
pub use view::LiveView;

use crate::classify::Scored;
use crate::picture::{Picture, draw_picture};
use core::ops::Range;
use embedded_graphics::mono_font::ascii::{FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb565;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, PrimitiveStyleBuilder, Rectangle, StrokeAlignment};
use embedded_graphics::text::{Baseline, Text};
use heapless::String;

/// Behind everything.
const BACKGROUND: Rgb565 = Rgb565::BLACK;
/// Text and the bar's frame.
const FOREGROUND: Rgb565 = Rgb565::WHITE;
/// Pixels between the parts.
const MARGIN_PX: u32 = 2;

/// Where the parts of a result go.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The picture's area.
    pub picture: Rectangle,
    /// The label's line.
    pub label: Rectangle,
    /// The line of the bar and the percentage.
    pub confidence: Rectangle,
    font: &'static MonoFont<'static>,
}

impl Layout {
    /// The layout for a display: text below the picture, or beside it on a display at least 1.5 times as wide as high.
    #[must_use]
    pub fn new(display: Rectangle) -> Self {
        let Size { width, height } = display.size;
        let font = if width.min(height) >= 200 { &FONT_10X20 } else { &FONT_6X10 };
        let line = font.character_size.height + MARGIN_PX;
        let corner = display.top_left;
        if 2 * u64::from(width) >= 3 * u64::from(height) {
            let side = height.min(width / 2);
            let text_left = corner + offset(side + MARGIN_PX, height.saturating_sub(2 * line) / 2);
            let text = Size::new(width.saturating_sub(side + MARGIN_PX), line);
            return Self {
                picture: Rectangle::new(corner, Size::new(side, height)),
                label: Rectangle::new(text_left, text),
                confidence: Rectangle::new(text_left + offset(0, line), text),
                font,
            };
        }
        let text = Size::new(width, line);
        let above = height.saturating_sub(2 * line);
        Self {
            picture: Rectangle::new(corner, Size::new(width, above)),
            label: Rectangle::new(corner + offset(0, above), text),
            confidence: Rectangle::new(corner + offset(0, above + line), text),
            font,
        }
    }
}

/// Draws a whole result: clears the display, then shows picture, label and confidence.
///
/// # Errors
/// Those of the display.
pub fn draw_result<D>(display: &mut D, picture: &Picture<'_>, label: &str, best: &Scored) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb565>,
{
    display.clear(BACKGROUND)?;
    let layout = Layout::new(display.bounding_box());
    draw_picture(display, layout.picture, picture)?;
    draw_label(display, &layout, label)?;
    match best.permille {
        Some(permille) => draw_confidence(display, &layout, permille),
        None => Ok(()),
    }
}

/// Draws a bar over the whole of `area`, filled from the left in proportion to `permille`.
///
/// # Errors
/// Those of the display.
pub fn draw_bar<D>(display: &mut D, area: Rectangle, permille: u16) -> Result<(), D::Error>
where
    D: DrawTarget<Color: Ink>,
{
    let frame = PrimitiveStyleBuilder::new().stroke_color(D::Color::FOREGROUND).stroke_width(1);
    area.into_styled(frame.stroke_alignment(StrokeAlignment::Inside).build()).draw(display)?;
    let (inner, filled) = bar_fill(area, permille);
    fill_columns(display, inner, 0..filled, D::Color::BAR)
}

/// Fills columns of the bar; where there are none the display is not asked.
fn fill_columns<D>(display: &mut D, inner: Rectangle, columns: Range<u32>, color: D::Color) -> Result<(), D::Error>
where
    D: DrawTarget<Color: Ink>,
{
    if columns.is_empty() || inner.is_zero_sized() {
        return Ok(());
    }
    let size = Size::new(columns.end - columns.start, inner.size.height);
    Rectangle::new(inner.top_left + offset(columns.start, 0), size)
        .into_styled(PrimitiveStyle::with_fill(color))
        .draw(display)
}

/// The part inside a bar's frame, and how many of its columns are filled.
fn bar_fill(area: Rectangle, permille: u16) -> (Rectangle, u32) {
    let inner = area.offset(-1);
    (inner, (inner.size.width * u32::from(permille.min(1000)) + 500) / 1000)
}

fn draw_label<D>(display: &mut D, layout: &Layout, label: &str) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb565>,
{
    let fitting = layout.label.size.width / layout.font.character_size.width;
    let end = label.char_indices().nth(usize::try_from(fitting).unwrap_or(usize::MAX)).map_or(label.len(), |(i, _)| i);
    let text = label.get(..end).unwrap_or(label);
    let style = MonoTextStyle::new(layout.font, FOREGROUND);
    Text::with_baseline(text, layout.label.top_left, style, Baseline::Top).draw(display)?;
    Ok(())
}

/// The bar, and right of it the percentage.
fn draw_confidence<D>(display: &mut D, layout: &Layout, permille: u16) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb565>,
{
    let Rectangle { top_left, size } = layout.confidence;
    let text_width = 4 * layout.font.character_size.width; // `100%`
    let bar_width = size.width.saturating_sub(text_width + MARGIN_PX);
    let bar = Size::new(bar_width, size.height.saturating_sub(MARGIN_PX));
    if bar.width > 2 && bar.height > 2 {
        draw_bar(display, Rectangle::new(top_left, bar), permille)?;
    }
    let style = MonoTextStyle::new(layout.font, FOREGROUND);
    let text = percent(permille);
    let missing = 4_u32.saturating_sub(u32::try_from(text.len()).unwrap_or(4));
    let left = size.width.saturating_sub(text_width) + missing * layout.font.character_size.width;
    Text::with_baseline(&text, top_left + offset(left, 0), style, Baseline::Top).draw(display)?;
    Ok(())
}

/// The percentage, rounded: at most `100%`.
fn percent(permille: u16) -> String<5> {
    let mut text = String::new();
    // four characters at most
    let _ = core::fmt::write(&mut text, format_args!("{}%", (permille.min(1000) + 5) / 10));
    text
}

fn offset(x: u32, y: u32) -> Point {
    let side = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    Point::new(side(x), side(y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use embedded_graphics::mock_display::MockDisplay;
    use std::string::String as Text;
    use std::vec::Vec;

    fn area(x: i32, y: i32, width: u32, height: u32) -> Rectangle {
        Rectangle::new(Point::new(x, y), Size::new(width, height))
    }

    #[test]
    fn the_bar_is_filled_from_the_left_in_proportion() {
        let mut display = MockDisplay::<Rgb565>::new();
        draw_bar(&mut display, area(0, 0, 12, 4), 500).unwrap();
        display.assert_pattern(&[
            "WWWWWWWWWWWW", //
            "WGGGGG     W",
            "WGGGGG     W",
            "WWWWWWWWWWWW",
        ]);
    }

    #[test]
    fn a_bar_of_nothing_and_a_full_one_keep_their_frame() {
        let mut display = MockDisplay::<Rgb565>::new();
        draw_bar(&mut display, area(0, 0, 6, 3), 0).unwrap();
        display.assert_pattern(&["WWWWWW", "W    W", "WWWWWW"]);
        let mut display = MockDisplay::<Rgb565>::new();
        draw_bar(&mut display, area(0, 0, 6, 3), 1000).unwrap();
        display.assert_pattern(&["WWWWWW", "WGGGGW", "WWWWWW"]);
    }

    #[test]
    fn percentages_are_rounded() {
        assert_eq!(
            [0, 4, 5, 994, 995, 1000, 1001].map(percent).map(|t| Text::from(&*t)),
            ["0%", "0%", "1%", "99%", "100%", "100%", "100%"]
        );
    }

    /// A display of any size: MockDisplay has 64 x 64 pixels.
    struct Framebuffer {
        size: Size,
        pixels: Vec<Rgb565>,
    }

    impl Framebuffer {
        fn new(width: u32, height: u32) -> Self {
            Self { size: Size::new(width, height), pixels: std::vec![Rgb565::RED; (width * height) as usize] }
        }

        fn count(&self, area: Rectangle, color: Rgb565) -> usize {
            let at = |p: Point| self.pixels[(p.y as u32 * self.size.width + p.x as u32) as usize];
            area.points().filter(|&p| at(p) == color).count()
        }
    }

    impl OriginDimensions for Framebuffer {
        fn size(&self) -> Size {
            self.size
        }
    }

    impl DrawTarget for Framebuffer {
        type Color = Rgb565;
        type Error = Infallible;

        fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), Infallible> {
            let area = self.bounding_box();
            for Pixel(point, color) in pixels {
                assert!(area.contains(point), "{point} lies outside {area:?}");
                self.pixels[(point.y as u32 * self.size.width + point.x as u32) as usize] = color;
            }
            Ok(())
        }
    }

    #[test]
    fn a_result_fills_displays_of_every_common_size() {
        let gray: Vec<u8> = (0..28 * 28).map(|i| if i % 2 == 0 { 255 } else { 0 }).collect();
        let picture = Picture::gray(28, 28, &gray).unwrap();
        let best = Scored { class: 7, score: 120, permille: Some(969) };
        for (width, height, scale) in
            [(240, 240, 7), (240, 320, 8), (320, 240, 7), (128, 160, 4), (128, 64, 2), (96, 64, 1)]
        {
            let mut display = Framebuffer::new(width, height);
            let long = "a label that is much longer than any of the displays is wide, in all fonts";
            draw_result(&mut display, &picture, long, &best).unwrap();
            let layout = Layout::new(display.bounding_box());
            assert_eq!(display.count(display.bounding_box(), Rgb565::RED), 0, "{width}x{height}: all is cleared");
            let white = display.count(layout.picture, Rgb565::WHITE);
            assert_eq!(white, 28 * 14 * scale * scale, "{width}x{height}: half of the picture's pixels are white");
            assert!(display.count(layout.label, Rgb565::WHITE) > 20, "{width}x{height}: the label is there");
            let bar = display.count(layout.confidence, Rgb565::BAR);
            assert!(bar > 0, "{width}x{height}: the bar is there");
        }
    }

    #[test]
    fn without_a_probability_there_is_no_bar() {
        let picture = Picture::gray(1, 1, &[0]).unwrap();
        let mut display = Framebuffer::new(128, 160);
        draw_result(&mut display, &picture, "7", &Scored { class: 7, score: 0, permille: None }).unwrap();
        assert_eq!(display.count(Layout::new(display.bounding_box()).confidence, Rgb565::BLACK), 128 * 12);
    }

    #[test]
    fn the_displays_error_is_passed_on() {
        struct Broken;
        impl OriginDimensions for Broken {
            fn size(&self) -> Size {
                Size::new(128, 64)
            }
        }
        impl DrawTarget for Broken {
            type Color = Rgb565;
            type Error = &'static str;

            fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, _: I) -> Result<(), &'static str> {
                Err("no answer on the bus")
            }
        }
        let picture = Picture::gray(1, 1, &[0]).unwrap();
        let best = Scored { class: 0, score: 0, permille: None };
        assert_eq!(draw_result(&mut Broken, &picture, "7", &best), Err("no answer on the bus"));
    }
}
