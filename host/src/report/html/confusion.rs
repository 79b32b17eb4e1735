//! Which classes are taken for which: a matrix with numbers for a few classes, a picture for many, and the pairs that are confused most.

use super::markup::{Cell, escape, not_measured, table};
use super::results::{EVALUATE, shown};
use crate::report::evaluation::Evaluation;
use crate::report::folder::RunView;
use crate::report::pictures::data_address;
use crate::report::words::{percent, thousands};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use std::fmt::Write;

/// Above this many classes the matrix is a picture.
const MAX_NUMBERS: usize = 25;
/// Longest class names, in letters, that stand upright below the matrix.
const UPRIGHT: usize = 3;
/// Pairs that are listed.
const PAIRS: usize = 12;
/// The page's colour of a full cell, of right and of wrong guesses.
const COLORS: [[u8; 3]; 2] = [[31, 111, 178], [190, 60, 50]];

/// The matrix and the pairs.
pub fn confusion(run: &RunView) -> anyhow::Result<String> {
    let Some((evaluation, what)) = shown(run) else { return Ok(not_measured(EVALUATE)) };
    let matrix = if evaluation.labels.len() <= MAX_NUMBERS { numbers(evaluation) } else { picture(evaluation)? };
    let note = format!(
        "Rows are the true classes, columns the guesses of the {what}, on {}; the shade is the share of the row.",
        evaluation.on_name()
    );
    let pairs = pairs(evaluation);
    Ok(format!(
        "<p class=\"note\">{}</p>\n<div class=\"side\"><div>{matrix}</div><div>{pairs}</div></div>\n",
        escape(&note)
    ))
}

/// How full a cell is: the square root of its share lets single mistakes show.
fn shade(count: usize, row: &[usize]) -> f64 {
    (count as f64 / row.iter().sum::<usize>().max(1) as f64).sqrt()
}

fn numbers(evaluation: &Evaluation) -> String {
    let Evaluation { labels, metrics, .. } = evaluation;
    let mut html = String::from(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Confusion matrix\"><table class=\"matrix\"><tbody>",
    );
    for (target, (label, row)) in labels.iter().zip(&metrics.confusion).enumerate() {
        let _ = write!(html, "<tr><th scope=\"row\" title=\"{0}\">{0}</th>", escape(label));
        for (guess, &count) in row.iter().enumerate() {
            let share = shade(count, row);
            let mut class = String::new();
            for (name, applies) in [("x", guess != target && count > 0), ("z", count == 0), ("f", share > 0.6)] {
                if applies {
                    class += if class.is_empty() { name } else { " " };
                }
            }
            let class = class.trim();
            let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
            let _ = write!(html, "<td{class} style=\"--s:{share:.3}\">{count}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody><tfoot><tr><td class=\"corner\"></td>");
    let upright = labels.iter().all(|label| label.chars().count() <= UPRIGHT);
    for label in labels {
        let class = if upright { "" } else { " class=\"up\"" };
        let _ = write!(html, "<th scope=\"col\"{class}><span>{}</span></th>", escape(label));
    }
    html + "</tr></tfoot></table></div>\n"
}

/// A pixel a cell; the page makes it larger.
fn picture(evaluation: &Evaluation) -> anyhow::Result<String> {
    let classes = u32::try_from(evaluation.labels.len())?;
    let mut pixels = Vec::new();
    for (target, row) in evaluation.metrics.confusion.iter().enumerate() {
        for (guess, &count) in row.iter().enumerate() {
            pixels.extend(COLORS[usize::from(guess != target)]);
            pixels.push((255.0 * shade(count, row)).round() as u8);
        }
    }
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(&pixels, classes, classes, ExtendedColorType::Rgba8)?;
    let address = data_address("image/png", &png);
    Ok(format!("<img class=\"heat\" src=\"{address}\" alt=\"Confusion matrix of {classes} classes\">\n"))
}

fn pairs(evaluation: &Evaluation) -> String {
    let Evaluation { labels, metrics, .. } = evaluation;
    let name = |class: usize| labels.get(class).map_or("?", String::as_str);
    let pairs = metrics.most_confused(PAIRS);
    if pairs.is_empty() {
        return "<p class=\"note\">No class is taken for another.</p>\n".to_owned();
    }
    let most = pairs.first().map_or(1, |pair| pair.count) as f64;
    let rows: Vec<Vec<Cell>> = pairs
        .iter()
        .map(|pair| {
            let of_class = metrics.classes.get(pair.target).map_or(0, |class| class.support);
            vec![
                Cell::long(name(pair.target)),
                Cell::long(name(pair.guess)),
                Cell::bar(&thousands(pair.count as u64), pair.count as f64 / most),
                Cell::number(&percent(pair.count as f64 / of_class.max(1) as f64)),
            ]
        })
        .collect();
    let header = ["true", "guess", "images", "of the class"];
    format!("<h3>Confused most</h3>\n{}", table("Pairs of classes that are confused most", &header, 2, &rows, None))
}
