//! The reliability diagram: how often a guess of a given confidence is right.

use super::canvas::{FAINT, INK, text, write_png};
use super::metrics::{CALIBRATION_BINS, Calibration};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::path::Path;

const ACCURACY: RGBColor = RGBColor(31, 119, 180);
const GAP: RGBColor = RGBColor(214, 69, 65);

/// Draws accuracy against confidence in bins, the distance between both, and below how many images each bin has.
///
/// # Errors
/// When the file cannot be written; the error names it.
pub fn reliability_png(path: &Path, calibration: &Calibration) -> anyhow::Result<()> {
    write_png(path, [640, 760], |canvas| {
        let (upper, lower) = canvas.split_vertically(560);
        let title = format!("Expected calibration error {:.2} %", 100.0 * calibration.expected_error);
        let percent = |v: &f64| format!("{:.0}", 100.0 * v);
        let mut chart = ChartBuilder::on(&upper)
            .caption(title, text(20, INK, HPos::Left, VPos::Top))
            .margin(16)
            .x_label_area_size(30)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart
            .configure_mesh()
            .axis_style(INK.mix(0.6))
            .bold_line_style(FAINT)
            .light_line_style(TRANSPARENT)
            .label_style(text(15, INK, HPos::Left, VPos::Top))
            .axis_desc_style(text(16, INK, HPos::Left, VPos::Top))
            .y_desc("accuracy (%)")
            .x_label_formatter(&percent)
            .y_label_formatter(&percent)
            .draw()?;
        let filled = || calibration.bins.iter().filter(|bin| bin.images > 0);
        chart.draw_series(
            filled().map(|bin| Rectangle::new([(bin.from, 0.0), (bin.to, bin.accuracy)], ACCURACY.mix(0.75).filled())),
        )?;
        chart.draw_series(
            filled().map(|bin| {
                Rectangle::new([(bin.from, bin.accuracy), (bin.to, bin.confidence)], GAP.mix(0.35).filled())
            }),
        )?;
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], INK.mix(0.7).stroke_width(1)))?;

        let most = calibration.bins.iter().map(|bin| bin.images).max().unwrap_or(0).max(1) as f64;
        let mut counts = ChartBuilder::on(&lower)
            .margin(16)
            .margin_top(0)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..1.0, 0.0..1.05 * most)?;
        counts
            .configure_mesh()
            .axis_style(INK.mix(0.6))
            .bold_line_style(FAINT)
            .light_line_style(TRANSPARENT)
            .label_style(text(15, INK, HPos::Left, VPos::Top))
            .axis_desc_style(text(16, INK, HPos::Left, VPos::Top))
            .x_desc(format!("confidence (%), {CALIBRATION_BINS} bins"))
            .y_desc("images")
            .y_labels(3)
            .x_label_formatter(&percent)
            .y_label_formatter(&|v| format!("{v:.0}"))
            .draw()?;
        counts
            .draw_series(filled().map(|bin| {
                Rectangle::new([(bin.from, 0.0), (bin.to, bin.images as f64)], ACCURACY.mix(0.75).filled())
            }))?;
        Ok(())
    })
}
