//! The contact sheet of an evaluation's worst mistakes.

use super::canvas::{Canvas, INK, draw_over, fitted, save_png, text, text_width};
use super::evaluation::{Evaluation, Example};
use super::pictures::{picture, scaled};
use crate::data::Dataset;
use anyhow::Context;
use image::imageops::replace;
use image::{Rgb, RgbImage};
use ocelli::image::ColorOrder;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::path::Path;

const COLUMNS: usize = 6;
const PICTURE_PX: u32 = 128;
const CELL_PX: [u32; 2] = [168, 200];
const MARGIN_PX: u32 = 28;
const TITLE_PX: u32 = 44;
const FONT_PX: u32 = 15;
const LINE_PX: i32 = 19;
const RIGHT: RGBColor = RGBColor(34, 120, 74);
const WRONG: RGBColor = RGBColor(186, 44, 40);
/// Behind the pictures.
const MAT: Rgb<u8> = Rgb([240, 240, 240]);

/// Draws the surest mistakes and the images of highest loss, each with its class, the guess and the guess's probability.
/// The channels of the set lie in `color`'s order.
///
/// # Errors
/// When the file cannot be written; the error names it.
pub fn mistakes_png(path: &Path, evaluation: &Evaluation, set: &Dataset, color: ColorOrder) -> anyhow::Result<()> {
    let wrong = evaluation.metrics.images - evaluation.metrics.right;
    let of = |shown: usize, all: usize| if shown < all { format!("{shown} of {all}") } else { all.to_string() };
    let sections = [
        (
            format!("Surest mistakes ({})", of(evaluation.surest_mistakes.len(), wrong)),
            evaluation.surest_mistakes.as_slice(),
        ),
        (
            format!("Highest loss ({})", of(evaluation.highest_losses.len(), evaluation.metrics.images)),
            evaluation.highest_losses.as_slice(),
        ),
    ];
    let rows = |examples: &[Example]| u32::try_from(examples.len().div_ceil(COLUMNS)).unwrap_or(1);
    let height: u32 = sections.iter().map(|(_, examples)| TITLE_PX + rows(examples) * CELL_PX[1]).sum();
    let width = 2 * MARGIN_PX + CELL_PX[0] * COLUMNS as u32;
    let mut sheet = RgbImage::from_pixel(width, height + 2 * MARGIN_PX, Rgb([255; 3]));
    let mut top = MARGIN_PX;
    let mut cells = Vec::new();
    for (_, examples) in &sections {
        top += TITLE_PX;
        for (at, example) in (0..).zip(examples.iter()) {
            let (column, row) = (at % COLUMNS as u32, at / COLUMNS as u32);
            let corner = [MARGIN_PX + column * CELL_PX[0], top + row * CELL_PX[1]];
            mount(&mut sheet, corner, &picture(set, color, example.index));
            cells.push((corner, example));
        }
        top += rows(examples) * CELL_PX[1];
    }
    let draw = |canvas: &Canvas| {
        let mut top = MARGIN_PX;
        for (title, examples) in &sections {
            let at = (px(MARGIN_PX), px(top));
            canvas.draw(&Text::new(title.as_str(), at, text(22, INK, HPos::Left, VPos::Top)))?;
            top += TITLE_PX + rows(examples) * CELL_PX[1];
        }
        cells.iter().try_for_each(|(corner, example)| describe(canvas, *corner, example))
    };
    draw_over(&mut sheet, draw).with_context(|| format!("cannot draw {}", path.display()))?;
    save_png(path, &sheet)
}

/// Lays a picture into the middle of its mat.
fn mount(sheet: &mut RgbImage, [left, top]: [u32; 2], picture: &RgbImage) {
    replace(sheet, &RgbImage::from_pixel(PICTURE_PX, PICTURE_PX, MAT), left.into(), top.into());
    let picture = scaled(picture, PICTURE_PX);
    let (x, y) = ((PICTURE_PX - picture.width()) / 2, (PICTURE_PX - picture.height()) / 2);
    replace(sheet, &picture, (left + x).into(), (top + y).into());
}

/// Writes class and guess below a picture.
fn describe(canvas: &Canvas, [left, top]: [u32; 2], example: &Example) -> anyhow::Result<()> {
    let (x, y) = (px(left), px(top + PICTURE_PX) + 5);
    let room = px(CELL_PX[0]) - 12;
    let ink = text(FONT_PX, INK, HPos::Left, VPos::Top);
    let label = fitted(&format!("true {}", example.label), &ink, room);
    canvas.draw(&Text::new(label, (x, y), ink))?;
    let color = if example.guess == example.label { RIGHT } else { WRONG };
    let style = text(FONT_PX, color, HPos::Left, VPos::Top);
    // the probability stays whole, the name gives way
    let percent = format!(", {:.1} %", 100.0 * example.confidence);
    let guess = format!("guess {}", example.guess);
    let guess = fitted(&guess, &style, room - text_width(&percent, &style)) + &percent;
    canvas.draw(&Text::new(guess, (x, y + LINE_PX), style))?;
    Ok(())
}

fn px(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::evaluation::Part;
    use crate::report::metrics::Predictions;
    use ocelli::ir::Shape;

    fn sheet(shape: Shape, images: usize, scores: [i8; 2]) -> RgbImage {
        let set = Dataset {
            labels: vec!["a class with a very long name indeed".to_owned(), "b".to_owned()],
            shape,
            pixels: vec![9; images * shape.elements().unwrap() as usize],
            targets: vec![1; images],
            names: vec!["x".to_owned(); images],
            skipped: Vec::new(),
        };
        let predictions = Predictions::from_scores(&scores.repeat(images), &set.targets, 2).unwrap();
        let evaluation = Evaluation::new(Path::new("d"), Part::Test, &set, &predictions);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        let color = if shape.c == 1 { ColorOrder::Gray } else { ColorOrder::Rgb };
        mistakes_png(&path, &evaluation, &set, color).unwrap();
        image::open(&path).unwrap().into_rgb8()
    }

    #[test]
    fn a_sheet_has_a_row_for_every_six_mistakes() {
        // seven wrong images: two rows of mistakes and two of losses
        let picture = sheet(Shape::new(28, 28, 1), 7, [100, -100]);
        assert_eq!(picture.height(), 2 * MARGIN_PX + 2 * TITLE_PX + 4 * CELL_PX[1]);
        // the first picture's middle
        assert_eq!(picture.get_pixel(MARGIN_PX + 64, MARGIN_PX + TITLE_PX + 64), &Rgb([9; 3]));
        // no text leaves its cell to the right
        let edge = MARGIN_PX + CELL_PX[0] - 4;
        assert!((0..picture.height()).all(|y| picture.get_pixel(edge, y).0[1] > 60 || y < MARGIN_PX + TITLE_PX));
    }

    #[test]
    fn pictures_of_any_shape_and_no_mistakes_at_all_are_drawn() {
        let perfect = sheet(Shape::new(300, 20, 3), 3, [-100, 100]);
        assert_eq!(perfect.height(), 2 * MARGIN_PX + 2 * TITLE_PX + CELL_PX[1]);
        sheet(Shape::new(1, 500, 3), 30, [100, -100]);
    }
}
