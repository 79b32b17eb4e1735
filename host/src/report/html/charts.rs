//! Charts as SVG inside the page; their colours are the page's, dark or light.

use super::markup::escape;
use crate::report::metrics::Calibration;
use std::fmt::Write;

/// The drawing's size, in its own units; the page scales it.
const SIZE: [f64; 2] = [360.0, 210.0];
/// Left, top, right and bottom of the plot.
const PLOT: [f64; 4] = [44.0, 8.0, 344.0, 184.0];
/// Above this many points a line carries no dots.
const MAX_DOTS: usize = 30;

/// A line over the epochs.
pub struct Series<'a> {
    /// Its name in the key.
    pub name: &'a str,
    /// `a` or `b`: its colour.
    pub class: &'static str,
    /// Epoch and value.
    pub points: Vec<(f64, f64)>,
}

/// Lines over the epochs, with a caption of markup; nothing when there are no points.
pub fn lines(title: &str, series: &[Series<'_>], caption: &str) -> String {
    let all = || series.iter().flat_map(|series| &series.points);
    if all().next().is_none() {
        return String::new();
    }
    let x = range(all().map(|p| p.0));
    let y = range(all().map(|p| p.1));
    let (first, last) = if x.1 > x.0 { x } else { (x.0 - 0.5, x.1 + 0.5) };
    let margin = if y.1 > y.0 { 0.05 * (y.1 - y.0) } else { 0.05 * y.1.abs().max(1e-6) };
    let (low, high) = (y.0 - margin, y.1 + margin);
    let at = |(x, y): (f64, f64)| {
        let [left, top, right, bottom] = PLOT;
        (left + (x - first) / (last - first) * (right - left), bottom - (y - low) / (high - low) * (bottom - top))
    };
    let mut svg = open(title);
    let ticks = ticks(low, high, 5);
    let step = ticks.get(1).map_or(1.0, |second| second - ticks[0]);
    for value in &ticks {
        horizontal(&mut svg, at((first, *value)).1, &label(*value, step));
    }
    let whole: Vec<f64> = self::ticks(first, last, 6).into_iter().filter(|v| (v - v.round()).abs() < 1e-9).collect();
    for value in whole {
        below(&mut svg, at((value, low)).0, &format!("{value:.0}"));
    }
    axis(&mut svg);
    for Series { class, points, .. } in series {
        let path: Vec<String> = points.iter().map(|&p| at(p)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(svg, "<polyline class=\"line {class}\" points=\"{}\"/>", path.join(" "));
        if points.len() <= MAX_DOTS {
            for (x, y) in points.iter().map(|&p| at(p)) {
                let _ = write!(svg, "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\"/>");
            }
        }
    }
    svg.push_str("</svg>");
    let key =
        |series: &Series<'_>| format!("<span><i class=\"key {}\"></i>{}</span>", series.class, escape(series.name));
    let keys: String = series.iter().filter(|series| !series.points.is_empty()).map(key).collect();
    figure(title, &keys, &svg, caption)
}

/// Accuracy against confidence in bins, and the distance between both.
pub fn reliability(calibration: &Calibration) -> String {
    let title = "Accuracy by confidence";
    let [left, top, right, bottom] = PLOT;
    let at = |x: f64, y: f64| (left + x * (right - left), bottom - y * (bottom - top));
    let mut svg = open(title);
    for value in [0.0, 0.25, 0.5, 0.75, 1.0] {
        horizontal(&mut svg, at(0.0, value).1, &format!("{:.0} %", 100.0 * value));
        below(&mut svg, at(value, 0.0).0, &format!("{:.0} %", 100.0 * value));
    }
    for bin in calibration.bins.iter().filter(|bin| bin.images > 0) {
        let mut bar = |class: &str, from: f64, to: f64| {
            let ((x0, y0), (x1, y1)) = (at(bin.from, from.max(to)), at(bin.to, from.min(to)));
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{y0:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{} images, confidence \
                 {:.1} %, accuracy {:.1} %</title></rect>",
                x0 + 0.75,
                (x1 - x0 - 1.5).max(0.5),
                y1 - y0,
                bin.images,
                100.0 * bin.confidence,
                100.0 * bin.accuracy
            );
        };
        bar("is", 0.0, bin.accuracy);
        bar("gap", bin.accuracy, bin.confidence);
    }
    let _ = write!(svg, "<line class=\"axis\" x1=\"{left}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{top}\"/>");
    axis(&mut svg);
    svg.push_str("</svg>");
    let keys = "<span><i class=\"key box is\"></i>accuracy</span><span><i class=\"key box gap\"></i>distance to the confidence</span>";
    let caption = format!(
        "Expected calibration error <b>{:.2} %</b>, largest of a bin {:.1} %.",
        100.0 * calibration.expected_error,
        100.0 * calibration.largest_error
    );
    figure(title, keys, &svg, &caption)
}

fn figure(title: &str, keys: &str, svg: &str, caption: &str) -> String {
    format!(
        "<figure><figcaption class=\"keys\"><b>{}</b> &ensp;{keys}</figcaption>{svg}<figcaption>{caption}</figcaption></figure>\n",
        escape(title)
    )
}

fn open(title: &str) -> String {
    let [width, height] = SIZE;
    format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">", escape(title))
}

fn horizontal(svg: &mut String, y: f64, label: &str) {
    let [left, _, right, _] = PLOT;
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{left}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
         text-anchor=\"end\">{}</text>",
        left - 6.0,
        y + 3.6,
        escape(label)
    );
}

fn below(svg: &mut String, x: f64, label: &str) {
    let _ =
        write!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", PLOT[3] + 16.0, escape(label));
}

fn axis(svg: &mut String) {
    let [left, _, right, bottom] = PLOT;
    let _ = write!(svg, "<line class=\"axis\" x1=\"{left}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>");
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

/// Round numbers from `low` to `high`, about `count` of them: steps of 1, 2 or 5 times a power of ten.
fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count.max(1) as f64;
    if !(rough.is_finite() && rough > 0.0) {
        return Vec::new();
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|&step| step >= rough).unwrap_or(rough);
    let first = (low / step).ceil();
    (0..=2 * count).map(|n| (first + n as f64) * step).take_while(|&v| v <= high + 1e-9 * step).collect()
}

/// A number with the digits that tell it from its neighbours.
fn label(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs() < 5e-4 || value.abs() >= 1e6 {
        return format!("{value:.0e}");
    }
    let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::metrics::Predictions;

    #[test]
    fn ticks_are_round_numbers_within_the_range() {
        let expected: [(f64, f64, usize, &[f64]); 3] = [
            (0.0, 1.0, 5, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (0.93, 1.37, 5, &[1.0, 1.1, 1.2, 1.3]),
            (1.0, 12.0, 6, &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0]),
        ];
        for (low, high, count, ticks) in expected {
            let found = self::ticks(low, high, count);
            assert_eq!(found.len(), ticks.len(), "{found:?}");
            assert!(found.iter().zip(ticks).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
        }
        assert!(ticks(1.0, 1.0, 5).is_empty() && ticks(0.0, f64::NAN, 5).is_empty());
        assert_eq!([label(0.25, 0.05), label(3e-5, 1e-5), label(98.0, 1.0)], ["0.25", "3e-5", "98"]);
    }

    /// Numbers of an attribute, in order.
    fn numbers(svg: &str, attribute: &str) -> Vec<f64> {
        let start = format!(" {attribute}=\"");
        let values = svg.split(&start).skip(1);
        values.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn lines_of_any_length_stay_in_the_drawing() {
        for points in [vec![(1.0, 0.5)], vec![(1.0, 2.0), (2.0, -1e9)], (0..500).map(|i| (f64::from(i), 1.0)).collect()]
        {
            let svg = lines("t", &[Series { name: "n", class: "a", points: points.clone() }], "");
            assert_eq!(numbers(&svg, "cx").len(), if points.len() > MAX_DOTS { 0 } else { points.len() });
            for (attribute, size) in [("cx", SIZE[0]), ("cy", SIZE[1]), ("y1", SIZE[1])] {
                assert!(numbers(&svg, attribute).iter().all(|v| (0.0..=size).contains(v)), "{svg}");
            }
        }
        assert_eq!(lines("t", &[Series { name: "n", class: "a", points: Vec::new() }], ""), "");
    }

    #[test]
    fn a_bin_shows_its_accuracy_and_what_is_missing() {
        // sure of 75 %, right in one of two
        let metrics = Predictions::from_scores(&[64, -64, 64, -64], &[0, 1], 2).unwrap().metrics();
        let svg = reliability(&metrics.calibration);
        let heights = numbers(&svg, "height");
        let plot = PLOT[3] - PLOT[1];
        assert!((heights[0] - plot / 2.0).abs() < 0.1 && (heights[1] - plot / 4.0).abs() < 0.1, "{heights:?}");
        assert!(svg.contains("Expected calibration error <b>25.00 %</b>"), "{svg}");
    }
}
