//! The live screen: picture, label, confidence bar and frames a second; only what changed is drawn.

use super::{Ink, LiveView, bar_fill, fill_columns, offset, percent};
use core::fmt::Write as _;
use core::marker::PhantomData;
use embedded_graphics::mono_font::ascii::{FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyleBuilder};
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Baseline, Text};
use heapless::String;
use ocelli::image::PixelFormat;

/// Shown instead of a label that is not sure enough.
pub const UNKNOWN: &str = "unknown";
/// Pixels between the parts.
const MARGIN_PX: u32 = 2;
/// Characters of a label that are shown at most.
const LABEL_CHARS: usize = 32;
/// Characters of the frame rate: `999.9 fps`.
const RATE_CHARS: usize = 9;
/// Characters of the percentage: `100%`.
const PERCENT_CHARS: usize = 4;

/// Where the parts of a live screen go; no two overlap.
#[derive(Clone, Copy, Debug)]
pub struct LiveLayout {
    /// The live picture.
    pub picture: Rectangle,
    /// The label.
    pub label: Rectangle,
    /// The frames a second.
    pub rate: Rectangle,
    /// The confidence bar.
    pub bar: Rectangle,
    /// The percentage.
    pub percent: Rectangle,
    font: &'static MonoFont<'static>,
}

impl LiveLayout {
    /// The layout for an area of a display: text below the picture, or beside it where the area is at least 1.5 times as wide as high.
    #[must_use]
    pub fn new(area: Rectangle) -> Self {
        let Size { width, height } = area.size;
        let font = if width.min(height) >= 200 { &FONT_10X20 } else { &FONT_6X10 };
        let char_width = font.character_size.width;
        let line = font.character_size.height + MARGIN_PX;
        let beside = 2 * u64::from(width) >= 3 * u64::from(height);
        let lines = if beside { 3 } else { 2 };
        let text_height = (lines * line).min(height);
        let picture =
            if beside { Size::new(height.min(width / 2), height) } else { Size::new(width, height - text_height) };
        let text_left = if beside { (picture.width + MARGIN_PX).min(width) } else { 0 };
        let text_top = if beside { (height - text_height) / 2 } else { picture.height };
        let column = width - text_left;
        let part = |left: u32, number: u32, width: u32| {
            let top = (text_top + number * line).min(height);
            let size = Size::new(width, (line - MARGIN_PX).min(height - top));
            Rectangle::new(area.top_left + offset(text_left + left, top), size)
        };
        let chars = |count: usize| u32::try_from(count).unwrap_or(0) * char_width;
        let rate_width = chars(RATE_CHARS).min(column);
        let percent_width = chars(PERCENT_CHARS).min(column);
        let (label_width, rate) = if beside {
            (column, part(0, 2, rate_width))
        } else {
            let left = column - rate_width;
            (left.saturating_sub(MARGIN_PX), part(left, 0, rate_width))
        };
        let percent_left = column - percent_width;
        Self {
            picture: Rectangle::new(area.top_left, picture),
            label: part(0, 0, label_width),
            rate,
            bar: part(0, 1, percent_left.saturating_sub(MARGIN_PX)),
            percent: part(percent_left, 1, percent_width),
            font,
        }
    }

    /// Characters that fit a part.
    fn fitting(&self, part: Rectangle) -> usize {
        let Size { width, height } = self.font.character_size;
        let fits = if part.size.height >= height { part.size.width.checked_div(width).unwrap_or(0) } else { 0 };
        usize::try_from(fits).unwrap_or(0)
    }
}

/// What a live screen shows beside the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'l> {
    /// The label; `None` shows [`UNKNOWN`]. The fonts are ASCII: other characters are shown as `?`.
    pub label: Option<&'l str>,
    /// How sure that is, in 1/1000.
    pub permille: u16,
    /// Frames in ten seconds; `None` before the first are counted.
    pub fps_tenths: Option<u16>,
}

/// What is on the display.
#[derive(Debug, Default)]
struct Drawn {
    label: String<LABEL_CHARS>,
    rate: String<RATE_CHARS>,
    percent: String<PERCENT_CHARS>,
    bar_px: u32,
}

/// A live screen on a colour or monochrome display. It remembers what it drew, and draws the difference.
#[derive(Debug)]
pub struct LiveScreen<C> {
    area: Rectangle,
    layout: LiveLayout,
    drawn: Option<Drawn>,
    color: PhantomData<C>,
}

impl<C: Ink> LiveScreen<C> {
    /// A screen over an area of a display, most often its `bounding_box()`. Nothing is drawn yet.
    #[must_use]
    pub fn new(area: Rectangle) -> Self {
        Self { area, layout: LiveLayout::new(area), drawn: None, color: PhantomData }
    }

    /// Where the parts are.
    #[must_use]
    pub const fn layout(&self) -> &LiveLayout {
        &self.layout
    }

    /// Shows frames of a camera in the picture's part; `None` when they cannot be shown (see [`LiveView::new`]).
    #[must_use]
    pub fn view(&self, format: PixelFormat, frame: [u32; 2]) -> Option<LiveView> {
        LiveView::new(self.layout.picture, format, frame)
    }

    /// Forgets what was drawn: the next update draws all, as after the display lost its power.
    pub fn invalidate(&mut self) {
        self.drawn = None;
    }

    /// Shows a status; the first time, it clears the area first (so draw it before the first picture). After an error the next update
    /// draws all again.
    ///
    /// # Errors
    /// Those of the display.
    pub fn update<D>(&mut self, display: &mut D, status: &Status<'_>) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = C>,
    {
        let layout = self.layout;
        let mut drawn = match self.drawn.take() {
            Some(drawn) => drawn,
            None => {
                display.fill_solid(&self.area, C::BACKGROUND)?;
                super::draw_bar(display, layout.bar, 0)?;
                Drawn::default()
            }
        };
        let label = status.label.unwrap_or(UNKNOWN);
        replace(display, &layout, layout.label, &mut drawn.label, label)?;
        replace(display, &layout, layout.rate, &mut drawn.rate, &rate(status.fps_tenths))?;
        let mut share: String<PERCENT_CHARS> = String::new();
        let _ = write!(share, "{:>PERCENT_CHARS$}", percent(status.permille).as_str()); // four characters
        replace(display, &layout, layout.percent, &mut drawn.percent, &share)?;
        let (inner, filled) = bar_fill(layout.bar, status.permille);
        fill_columns(display, inner, drawn.bar_px..filled, C::BAR)?;
        fill_columns(display, inner, filled..drawn.bar_px, C::BACKGROUND)?;
        drawn.bar_px = filled;
        self.drawn = Some(drawn);
        Ok(())
    }
}

/// Draws the characters of `new` that differ from those of `old`, and blanks over what is left of `old`.
fn replace<D, const N: usize>(
    display: &mut D,
    layout: &LiveLayout,
    area: Rectangle,
    old: &mut String<N>,
    new: &str,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color: Ink>,
{
    let mut text: String<N> = String::new();
    for character in new.chars().take(layout.fitting(area)) {
        if text.push(character).is_err() {
            break;
        }
    }
    let style = MonoTextStyleBuilder::new()
        .font(layout.font)
        .text_color(D::Color::FOREGROUND)
        .background_color(D::Color::BACKGROUND)
        .build();
    let count = text.chars().count().max(old.chars().count());
    let blank = core::iter::repeat(' ');
    let pairs = text.chars().chain(blank.clone()).zip(old.chars().chain(blank)).take(count);
    for (place, (character, before)) in (0..).zip(pairs) {
        if character != before {
            let at = area.top_left + offset(place * layout.font.character_size.width, 0);
            let mut bytes = [0; 4];
            Text::with_baseline(character.encode_utf8(&mut bytes), at, style, Baseline::Top).draw(display)?;
        }
    }
    *old = text;
    Ok(())
}

/// `999.9 fps` at most, aligned to the right.
fn rate(fps_tenths: Option<u16>) -> String<RATE_CHARS> {
    let mut text = String::new();
    if let Some(tenths) = fps_tenths.map(|tenths| tenths.min(9999)) {
        let _ = write!(text, "{:>3}.{} fps", tenths / 10, tenths % 10); // nine characters
    }
    text
}

#[cfg(test)]
mod tests;
