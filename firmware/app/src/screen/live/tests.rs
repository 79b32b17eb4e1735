//! Properties of the live screen on the common sizes.

use super::*;
use crate::screen::canvas::Canvas;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::pixelcolor::{BinaryColor, Rgb565};
use std::string::String as StdString;
use std::vec::Vec;

const SIZES: [[u32; 2]; 6] = [[128, 64], [160, 128], [240, 240], [240, 320], [320, 240], [96, 64]];

fn status(label: &str, permille: u16) -> Status<'_> {
    Status { label: Some(label), permille, fps_tenths: Some(125) }
}

fn parts(layout: &LiveLayout) -> [Rectangle; 5] {
    [layout.picture, layout.label, layout.rate, layout.bar, layout.percent]
}

#[test]
fn parts_lie_inside_the_area_and_do_not_overlap() {
    let sizes = SIZES.into_iter().chain([[1, 1], [0, 0], [30, 200], [200, 30], [9, 9], [1000, 3]]);
    for [width, height] in sizes {
        let area = Rectangle::new(Point::new(5, 7), Size::new(width, height));
        let parts = parts(&LiveLayout::new(area));
        for (i, part) in parts.iter().enumerate() {
            assert!(part.is_zero_sized() || part.intersection(&area) == *part, "{width}x{height}: {part:?}");
            for other in &parts[..i] {
                assert!(part.intersection(other).is_zero_sized(), "{width}x{height}: {part:?} and {other:?}");
            }
        }
    }
}

fn check_all<C: Ink>(background: C) {
    for [width, height] in SIZES {
        // the area is a part of the display: nothing around it may be touched
        let area = Rectangle::new(Point::new(4, 3), Size::new(width, height));
        let mut canvas = Canvas::new(width + 9, height + 8, background);
        let mut screen = LiveScreen::<C>::new(area);
        let layout = *screen.layout();
        for (label, permille) in [("cat", 870), ("a label that is longer than any display", 40), ("dog", 1000), ("", 0)]
        {
            screen.update(&mut canvas, &status(label, permille)).unwrap();
            check_bar(&canvas, layout.bar, permille);
            check_text(&canvas, &layout, layout.label, label);
            check_text(&canvas, &layout, layout.rate, " 12.5 fps");
            let share = std::format!("{:>4}", std::format!("{}%", (permille + 5) / 10));
            check_text(&canvas, &layout, layout.percent, &share);
            canvas.forget();
            screen.update(&mut canvas, &status(label, permille)).unwrap();
            assert_eq!(canvas.touches(), 0, "{width}x{height}: nothing changed, nothing is drawn");
        }
        screen.update(&mut canvas, &status("cat", 500)).unwrap();
        let outside = canvas.bounding_box().points().filter(|&at| !area.contains(at));
        assert_eq!(outside.filter(|&at| canvas.touched(at) > 0).count(), 0);
        let changed = canvas.bounding_box().points().filter(|&at| canvas.touched(at) > 0);
        let allowed = [layout.label, layout.bar, layout.percent];
        assert!(changed.into_iter().all(|at| allowed.iter().any(|part| part.contains(at))), "the rate did not change");
    }
}

/// Pixels of the bar's colour in its middle row, against the share of the inner width.
fn check_bar<C: Ink>(canvas: &Canvas<C>, bar: Rectangle, permille: u16) {
    let y = bar.top_left.y + bar.size.height as i32 / 2;
    let row: Vec<C> = (0..bar.size.width as i32).map(|x| canvas.at(Point::new(bar.top_left.x + x, y))).collect();
    let inner = &row[1..row.len() - 1];
    let filled = inner.iter().take_while(|&&color| color == C::BAR).count();
    let share = inner.len() as f64 * f64::from(permille) / 1000.0;
    assert!((filled as f64 - share).abs() <= 0.5 + 1e-9, "{filled} of {} px for {permille}/1000", inner.len());
    assert!(inner[filled..].iter().all(|&color| color == C::BACKGROUND));
    assert!(row[0] == C::FOREGROUND && row[row.len() - 1] == C::FOREGROUND);
}

/// The text's part is as embedded-graphics draws the text on an empty display.
fn check_text<C: Ink>(canvas: &Canvas<C>, layout: &LiveLayout, part: Rectangle, text: &str) {
    let box_ = canvas.bounding_box().size;
    let mut expected = Canvas::new(box_.width, box_.height, C::BACKGROUND);
    let fitting: StdString = text.chars().take(layout.fitting(part)).collect();
    let style = MonoTextStyle::new(layout.font, C::FOREGROUND);
    let end = Text::with_baseline(&fitting, part.top_left, style, Baseline::Top).draw(&mut expected).unwrap();
    assert!(end.x as u32 <= part.top_left.x as u32 + part.size.width);
    assert!(part.points().all(|at| canvas.at(at) == expected.at(at)), "{text} at {part:?}");
}

#[test]
fn colour_screens_show_what_they_are_told_and_draw_only_changes() {
    check_all::<Rgb565>(Rgb565::RED);
}

#[test]
fn monochrome_screens_do_so_too() {
    check_all::<BinaryColor>(BinaryColor::On);
}

#[test]
fn areas_without_room_for_the_parts_do_no_harm() {
    for [width, height] in [[1, 1], [2, 3], [9, 9], [30, 200], [200, 13], [64, 20]] {
        let mut canvas = Canvas::new(width, height, Rgb565::RED); // refuses what lies outside
        let mut screen = LiveScreen::<Rgb565>::new(canvas.bounding_box());
        screen.update(&mut canvas, &status("cat", 500)).unwrap();
        screen.update(&mut canvas, &status("dog", 1000)).unwrap();
    }
}

#[test]
fn a_small_change_of_the_bar_draws_a_few_columns() {
    let mut canvas = Canvas::new(240, 240, Rgb565::RED);
    let mut screen = LiveScreen::<Rgb565>::new(canvas.bounding_box());
    screen.update(&mut canvas, &status("cat", 500)).unwrap();
    canvas.forget();
    screen.update(&mut canvas, &status("cat", 504)).unwrap();
    let inner_height = screen.layout().bar.size.height - 2;
    assert_eq!(canvas.touches(), inner_height, "the share is still 50%, the bar a pixel longer");
}

#[test]
fn what_is_not_sure_is_called_unknown_and_a_missing_rate_is_blank() {
    let mut canvas = Canvas::new(160, 128, Rgb565::RED);
    let mut screen = LiveScreen::<Rgb565>::new(canvas.bounding_box());
    let layout = *screen.layout();
    screen.update(&mut canvas, &status("cat", 900)).unwrap();
    screen.update(&mut canvas, &Status { label: None, permille: 300, fps_tenths: None }).unwrap();
    check_text(&canvas, &layout, layout.label, UNKNOWN);
    check_text(&canvas, &layout, layout.rate, "");
    assert_eq!(rate(Some(u16::MAX)), "999.9 fps");
}

/// A display that fails after so many calls.
struct Failing<'c>(&'c mut Canvas<Rgb565>, u32);

impl OriginDimensions for Failing<'_> {
    fn size(&self) -> Size {
        self.0.size()
    }
}

impl DrawTarget for Failing<'_> {
    type Color = Rgb565;
    type Error = &'static str;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), &'static str> {
        self.1 = self.1.checked_sub(1).ok_or("no answer on the bus")?;
        self.0.draw_iter(pixels).map_err(|_| "impossible")
    }
}

#[test]
fn after_an_error_the_next_update_draws_all_again() {
    let mut canvas = Canvas::new(160, 128, Rgb565::RED);
    let mut screen = LiveScreen::<Rgb565>::new(canvas.bounding_box());
    for calls in 0..9 {
        assert!(
            screen.update(&mut Failing(&mut canvas, calls), &status("cat", 400)).is_err(),
            "{calls} calls do not do"
        );
        screen.update(&mut canvas, &status("dog", 900)).unwrap();
        check_bar(&canvas, screen.layout().bar, 900);
        check_text(&canvas, screen.layout(), screen.layout().label, "dog");
        screen.invalidate();
    }
}
