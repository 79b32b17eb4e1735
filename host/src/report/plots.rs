//! Pictures of a training: curves over the epochs and the confusion matrix.

use super::canvas::{Canvas, FAINT, INK, text, text_width, write_png};
use super::history::Curves;
use crate::train::HistoryRow;
use anyhow::ensure;
use plotters::prelude::*;
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, VPos};
use std::path::Path;

/// The colours of lines: Okabe and Ito's, which the colour-blind tell apart, behind the two of every plot of one run.
const COLORS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(128, 128, 128),
    RGBColor(60, 60, 60),
];
/// The colour of a full cell.
const FULL: RGBColor = RGBColor(8, 48, 107);

/// Above this many epochs the curves carry no dots.
const MAX_POINTS_WITH_DOTS: usize = 30;
/// Above this many classes the cells of a confusion matrix carry no numbers.
const MAX_CLASSES_WITH_COUNTS: usize = 25;
/// Above this many classes there is no confusion matrix.
const MAX_CLASSES: usize = 1000;
/// Letters of a class name that are shown.
const MAX_LABEL_CHARS: usize = 18;
/// Letters of a run's name in a key.
const MAX_RUN_CHARS: usize = 40;

/// Draws loss and accuracy of training and validation over the epochs.
///
/// # Errors
/// When there are no epochs or the file cannot be written; the error names it.
pub fn curves_png(path: &Path, epochs: &[HistoryRow]) -> anyhow::Result<()> {
    ensure!(!epochs.is_empty(), "{}: there are no epochs to draw", path.display());
    write_png(path, [1200, 480], |canvas| {
        let (left, right) = canvas.split_horizontally(600);
        let line = |value: fn(&HistoryRow) -> f64| -> Vec<(f64, f64)> {
            epochs.iter().map(|row| (row.epoch as f64, value(row))).filter(|(_, y)| y.is_finite()).collect()
        };
        let series = |train, validation| {
            [
                Series { name: "train", points: train, color: COLORS[0] },
                Series { name: "validation", points: validation, color: COLORS[1] },
            ]
        };
        let loss = series(line(|row| row.loss), line(|row| row.val_loss));
        draw_panel(&left, "Loss", &loss, SeriesLabelPosition::UpperRight)?;
        let accuracy = series(line(|row| 100.0 * row.accuracy), line(|row| 100.0 * row.val_accuracy));
        draw_panel(&right, "Accuracy (%)", &accuracy, SeriesLabelPosition::LowerRight)
    })
}

/// A run's name and epochs.
#[derive(Clone, Copy, Debug)]
pub struct RunCurves<'a> {
    /// What stands in the key.
    pub name: &'a str,
    /// The epochs.
    pub curves: &'a Curves,
}

/// Draws validation loss and accuracy of runs over each other.
///
/// # Errors
/// When there is no run, or the file cannot be written; the error names it.
pub fn compared_png(path: &Path, runs: &[RunCurves<'_>]) -> anyhow::Result<()> {
    ensure!(!runs.is_empty(), "{}: there are no runs to draw", path.display());
    write_png(path, [1400, 560], |canvas| {
        let (left, right) = canvas.split_horizontally(700);
        draw_panel(&left, "Validation loss", &validation(runs, "val_loss", 1.0), SeriesLabelPosition::UpperRight)?;
        draw_panel(
            &right,
            "Validation accuracy (%)",
            &validation(runs, "val_accuracy", 100.0),
            SeriesLabelPosition::LowerRight,
        )
    })
}

/// A column of each run as a line.
fn validation<'a>(runs: &[RunCurves<'a>], column: &str, factor: f64) -> Vec<Series<'a>> {
    let points = |curves: &Curves| curves.points(column).into_iter().map(|(x, y)| (x, factor * y)).collect();
    let colors = COLORS.into_iter().cycle();
    runs.iter()
        .zip(colors)
        .map(|(run, color)| Series { name: end_of(run.name), points: points(run.curves), color })
        .collect()
}

/// The last letters of a run's folder, where runs differ.
fn end_of(name: &str) -> &str {
    let skip = name.chars().count().saturating_sub(MAX_RUN_CHARS);
    name.char_indices().nth(skip).map_or(name, |(at, _)| &name[at..])
}

/// A line of a panel.
struct Series<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
    color: RGBColor,
}

/// Draws how often each true class (row) was taken for each class (column); a row's shade is its share, and accuracy stands in the title.
///
/// # Errors
/// When `counts` is not square over `labels`, there are more than 1,000 classes, or the file cannot be written; the error names it.
pub fn confusion_png(path: &Path, labels: &[String], counts: &[Vec<usize>]) -> anyhow::Result<()> {
    let n = labels.len();
    let square = counts.len() == n && counts.iter().all(|row| row.len() == n);
    ensure!(square, "{}: the confusion matrix must have a row and a column for each of {n} labels", path.display());
    ensure!((1..=MAX_CLASSES).contains(&n), "{}: cannot draw {n} classes (1 to {MAX_CLASSES})", path.display());
    let layout = MatrixLayout::new(labels);
    write_png(path, layout.size(), |canvas| layout.draw(canvas, counts))
}

fn draw_panel(area: &Canvas, title: &str, series: &[Series<'_>], legend: SeriesLabelPosition) -> anyhow::Result<()> {
    let all = || series.iter().flat_map(|series| &series.points);
    let x_max = all().map(|p| p.0).fold(1.0, f64::max);
    let low = all().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = all().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let margin = if high > low { 0.06 * (high - low) } else { 0.05 * high.abs().max(0.1) };
    // room for the legend beyond the lines
    let room = (2.0 + series.len() as f64) * margin;
    let (below, above) = match legend {
        SeriesLabelPosition::LowerRight => (room, margin),
        _ => (margin, room),
    };
    // a single epoch is a point in the middle
    let x_range = if x_max > 1.0 { 1.0 - 0.03 * x_max..1.03 * x_max } else { 0.5..1.5 };
    let mut chart = ChartBuilder::on(area)
        .caption(title, text(22, INK, HPos::Left, VPos::Top))
        .margin(16)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(x_range, low - below..high + above)?;
    chart
        .configure_mesh()
        .axis_style(INK.mix(0.6))
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .label_style(text(15, INK, HPos::Left, VPos::Top))
        .x_desc("epoch")
        .axis_desc_style(text(16, INK, HPos::Left, VPos::Top))
        .x_labels((x_max as usize).clamp(2, 10))
        .x_label_formatter(&|x| if (x - x.round()).abs() < 1e-9 { format!("{x:.0}") } else { String::new() })
        .y_labels(8)
        .draw()?;
    for Series { name, points, color } in series {
        let style = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        if points.len() <= MAX_POINTS_WITH_DOTS {
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
        }
    }
    chart
        .configure_series_labels()
        .position(legend)
        .margin(12)
        .legend_area_size(28)
        .label_font(text(16, INK, HPos::Left, VPos::Top))
        .background_style(WHITE.mix(0.9))
        .border_style(FAINT)
        .draw()?;
    Ok(())
}

/// Where the parts of a confusion matrix lie, in pixels.
struct MatrixLayout {
    labels: Vec<String>,
    cell: i32,
    font: u32,
    /// Room for the labels to the left of the matrix and below it.
    label_room: [i32; 2],
    /// Whether the labels below stand upright; else they are turned.
    upright: bool,
}

impl MatrixLayout {
    const TITLE: i32 = 56;
    const AXIS_NAME: i32 = 34;
    const MARGIN: i32 = 24;
    /// Room for a title over a small matrix.
    const MIN_WIDTH: i32 = 520;

    fn new(labels: &[String]) -> Self {
        let labels: Vec<String> = labels.iter().map(|label| shorten(label)).collect();
        let cell = match labels.len() {
            0..=4 => 96,
            5..=10 => 62,
            11..=25 => 44,
            26..=50 => 22,
            51..=100 => 16,
            101..=300 => 4,
            _ => 2,
        };
        let font = match cell {
            0..=16 => 12,
            17..=22 => 14,
            _ => 16,
        };
        let style = text(font, INK, HPos::Left, VPos::Top);
        let widest = labels.iter().map(|label| text_width(label, &style)).max().unwrap_or(0);
        let upright = widest < cell - 6;
        Self { labels, cell, font, label_room: [widest + 14, if upright { 32 } else { widest + 14 }], upright }
    }

    fn matrix_px(&self) -> i32 {
        self.cell * i32::try_from(self.labels.len()).unwrap_or(i32::MAX / 1024)
    }

    /// Pixels from the left border to the matrix, without those that centre a narrow picture.
    fn left_room(&self) -> i32 {
        Self::MARGIN + Self::AXIS_NAME + self.label_room[0]
    }

    /// Pixels on both sides that make a narrow picture wide enough for its title.
    fn centering(&self) -> i32 {
        (Self::MIN_WIDTH - self.left_room() - self.matrix_px() - Self::MARGIN).max(0) / 2
    }

    /// Upper left corner of the matrix.
    fn origin(&self) -> (i32, i32) {
        (self.centering() + self.left_room(), Self::TITLE + Self::MARGIN)
    }

    fn size(&self) -> [u32; 2] {
        let (left, top) = self.origin();
        let width = left + self.matrix_px() + Self::MARGIN + self.centering();
        let height = top + self.matrix_px() + self.label_room[1] + Self::AXIS_NAME + Self::MARGIN;
        [width, height].map(|side| u32::try_from(side).unwrap_or(1))
    }

    fn draw(&self, canvas: &Canvas, counts: &[Vec<usize>]) -> anyhow::Result<()> {
        let total: usize = counts.iter().flatten().sum();
        let right: usize = counts.iter().enumerate().map(|(i, row)| row[i]).sum();
        let accuracy = 100.0 * right as f64 / total.max(1) as f64;
        let title = format!("Accuracy {accuracy:.2} % ({right} of {total})");
        let centre = i32::try_from(self.size()[0] / 2).unwrap_or(0);
        canvas.draw(&Text::new(title, (centre, Self::TITLE / 2 + 8), text(22, INK, HPos::Center, VPos::Center)))?;
        for (y, row) in (0..).zip(counts) {
            self.draw_row(canvas, y, row)?;
        }
        let (left, top) = self.origin();
        let side = self.matrix_px();
        canvas.draw(&Rectangle::new([(left - 1, top - 1), (left + side, top + side)], INK.mix(0.6)))?;
        self.draw_labels(canvas)
    }

    fn draw_row(&self, canvas: &Canvas, y: i32, row: &[usize]) -> anyhow::Result<()> {
        let (left, top) = self.origin();
        let sum = row.iter().sum::<usize>().max(1);
        let digits = row.iter().max().map_or(1, |count| count.to_string().len());
        // four digits and more have to fit the cell
        let size =
            if digits > 3 { self.font.min((self.cell as f64 / (0.7 * digits as f64)) as u32) } else { self.font };
        for (x, &count) in (0..).zip(row) {
            let (x0, y0) = (left + x * self.cell, top + y * self.cell);
            // the square root lets single mistakes show
            let share = (count as f64 / sum as f64).sqrt();
            let cell = [(x0, y0), (x0 + self.cell - 1, y0 + self.cell - 1)];
            canvas.draw(&Rectangle::new(cell, shade(share).filled()))?;
            if self.labels.len() <= MAX_CLASSES_WITH_COUNTS && count > 0 {
                let ink = if share > 0.6 { WHITE } else { INK };
                let middle = (x0 + self.cell / 2, y0 + self.cell / 2);
                canvas.draw(&Text::new(count.to_string(), middle, text(size, ink, HPos::Center, VPos::Center)))?;
            }
        }
        Ok(())
    }

    fn draw_labels(&self, canvas: &Canvas) -> anyhow::Result<()> {
        let (left, top) = self.origin();
        let side = self.matrix_px();
        // lines of text are 16 pixels apart at least
        let step = usize::try_from((16 + self.cell - 1) / self.cell).unwrap_or(1);
        let row_style = text(self.font, INK, HPos::Right, VPos::Center);
        for (i, label) in (0..).zip(&self.labels).step_by(step) {
            let middle = i * self.cell + self.cell / 2;
            canvas.draw(&Text::new(label.as_str(), (left - 8, top + middle), row_style.clone()))?;
            let column = (left + middle, top + side + 8);
            if self.upright {
                canvas.draw(&Text::new(label.as_str(), column, text(self.font, INK, HPos::Center, VPos::Top)))?;
            } else {
                let turned = text(self.font, INK, HPos::Right, VPos::Center).transform(FontTransform::Rotate270);
                canvas.draw(&Text::new(label.as_str(), column, turned))?;
            }
        }
        let name = text(18, INK, HPos::Center, VPos::Center);
        let below = (left + side / 2, top + side + self.label_room[1] + Self::AXIS_NAME / 2);
        canvas.draw(&Text::new("predicted", below, name.clone()))?;
        let beside = (self.centering() + Self::MARGIN, top + side / 2);
        canvas.draw(&Text::new("true", beside, name.transform(FontTransform::Rotate270)))?;
        Ok(())
    }
}

/// White to [`FULL`].
fn shade(share: f64) -> RGBColor {
    let mix = |full: u8| (255.0 - share.clamp(0.0, 1.0) * f64::from(255 - full)).round() as u8;
    RGBColor(mix(FULL.0), mix(FULL.1), mix(FULL.2))
}

fn shorten(label: &str) -> String {
    if label.chars().count() <= MAX_LABEL_CHARS {
        return label.to_owned();
    }
    let mut short: String = label.chars().take(MAX_LABEL_CHARS - 1).collect();
    short.push('\u{2026}');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(epochs: usize) -> Vec<HistoryRow> {
        (1..=epochs)
            .map(|epoch| {
                let t = epoch as f64;
                let [loss, val_loss] = [0.9 / t + 0.02, 0.5 / t + 0.04 + 0.002 * t];
                let [accuracy, val_accuracy] = [1.0 - 0.2 / t, 1.0 - 0.1 / t - 0.001 * t];
                HistoryRow { epoch, loss, accuracy, val_loss, val_accuracy, seconds: t, ..HistoryRow::default() }
            })
            .collect()
    }

    /// Mostly right, some neighbours confused.
    fn confusion(classes: usize) -> (Vec<String>, Vec<Vec<usize>>) {
        let labels = (0..classes).map(|class| format!("class {class}")).collect();
        let count = |row: usize, column: usize| match row.abs_diff(column) {
            0 => 95,
            1 => (row + column) % 4,
            _ => 0,
        };
        (labels, (0..classes).map(|row| (0..classes).map(|column| count(row, column)).collect()).collect())
    }

    fn dark_pixels(path: &Path) -> usize {
        let picture = image::open(path).unwrap().into_luma8();
        picture.pixels().filter(|pixel| pixel.0[0] < 100).count()
    }

    #[test]
    fn curves_of_any_length_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.png");
        for epochs in [1, 2, 12, 300] {
            curves_png(&path, &history(epochs)).unwrap();
            assert!(dark_pixels(&path) > 500, "{epochs} epochs");
        }
        let flat = vec![HistoryRow { loss: f64::NAN, val_loss: f64::NAN, accuracy: 1.0, ..history(1)[0] }; 3];
        curves_png(&path, &flat).unwrap();
        assert!(curves_png(&path, &[]).is_err());
    }

    #[test]
    fn runs_are_drawn_over_each_other_in_colours_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("compared.png");
        let text = |best: f64| format!("epoch,val_loss,val_accuracy\n1,0.9,0.4\n2,0.5,{best}\n");
        std::fs::write(folder.path().join("history.csv"), text(0.7)).unwrap();
        let curves = Curves::read(folder.path()).unwrap().unwrap();
        for count in [1, 3, 9] {
            let runs =
                vec![RunCurves { name: "runs/a-run-of-a-very-long-name-that-must-be-cut", curves: &curves }; count];
            compared_png(&path, &runs).unwrap();
            let picture = image::open(&path).unwrap().into_rgb8();
            let last = COLORS[(count - 1) % COLORS.len()];
            assert!(picture.pixels().any(|p| p.0 == [last.0, last.1, last.2]), "{count} runs");
        }
        assert!(compared_png(&path, &[]).is_err());
    }

    #[test]
    fn matrices_of_two_to_a_thousand_classes_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("confusion.png");
        for classes in [1, 2, 10, 25, 26, 100, 1000] {
            let (labels, counts) = confusion(classes);
            confusion_png(&path, &labels, &counts).unwrap();
            assert!(dark_pixels(&path) > 500, "{classes} classes");
        }
    }

    #[test]
    fn a_matrix_that_does_not_match_its_labels_is_refused() {
        let (labels, mut counts) = confusion(3);
        counts[1].pop();
        let message = confusion_png(Path::new("c.png"), &labels, &counts).unwrap_err().to_string();
        assert!(message.contains("c.png"), "{message}");
        assert!(confusion_png(Path::new("c.png"), &[], &[]).is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("curves.png");
        let message = curves_png(&path, &history(2)).unwrap_err().to_string();
        assert!(message.contains("curves.png"), "{message}");
    }

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(shorten("cat"), "cat");
        assert_eq!(shorten("Chesapeake Bay retriever").chars().count(), MAX_LABEL_CHARS);
    }

    #[test]
    fn the_room_for_names_is_measured_and_those_that_do_not_fit_a_column_are_turned() {
        let layout = |label: &str| MatrixLayout::new(&vec![label.to_owned(); 10]);
        let style = text(16, INK, HPos::Left, VPos::Top);
        for label in ["Chesapeake Bay ret", "golden retriever", "WWWWWWWWWWWWWWWWWW"] {
            let (layout, width) = (layout(label), text_width(label, &style));
            assert!(!layout.upright && width > 100, "{label}: {width}");
            assert!(layout.label_room.iter().all(|&room| room > width), "{label}: {:?}", layout.label_room);
        }
        assert!(layout("cat").upright);
    }
}
