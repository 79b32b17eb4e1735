//! What evaluations found: the figures, each class, confidence, the worst mistakes.

use super::charts::reliability;
use super::markup::{Cell, escape, not_measured, table};
use crate::report::evaluation::{Evaluation, Example};
use crate::report::folder::RunView;
use crate::report::metrics::Metrics;
use crate::report::words::{percent, thousands};
use std::fmt::Write;
use std::path::Path;

/// The command that fills this part of the page.
pub const EVALUATE: &str = "ocelli report RUN DATA";
/// Images of high loss that are shown beside the mistakes.
const LOSSES: usize = 12;
/// Longest side of a thumbnail whose pixels stay sharp.
const SHARP: &str = "data:image/png;base64,";

/// The evaluation that the parts below show: int8, else float; and what it is of.
pub fn shown(run: &RunView) -> Option<(&Evaluation, &'static str)> {
    let int8 = run.figures.int8.as_ref().map(|evaluation| (evaluation, "int8 model"));
    int8.or_else(|| run.figures.float.as_ref().map(|evaluation| (evaluation, "float network")))
}

/// The figures of the int8 and the float network.
pub fn figures(run: &RunView) -> String {
    let (int8, float) = (&run.figures.int8, &run.figures.float);
    let Some((first, _)) = shown(run) else { return not_measured(EVALUATE) };
    let row = |name: &str, value: &dyn Fn(&Metrics) -> String| {
        let cell = |evaluation: &Option<Evaluation>| {
            evaluation.as_ref().map_or_else(|| "\u{2013}".to_owned(), |evaluation| value(&evaluation.metrics))
        };
        vec![Cell::head(name), Cell::number(&cell(int8)), Cell::number(&cell(float))]
    };
    let mut rows = vec![row("accuracy", &|m| percent(m.accuracy))];
    if first.metrics.top_k.k > 1 {
        let name = format!("top-{} accuracy", first.metrics.top_k.k);
        rows.push(row(&name, &|m| percent(m.top_k.accuracy)));
    }
    rows.push(row("loss (cross-entropy)", &|m| format!("{:.4}", m.loss)));
    rows.push(row("precision, mean of the classes", &|m| percent(m.macro_average.precision)));
    rows.push(row("recall, mean of the classes", &|m| percent(m.macro_average.recall)));
    rows.push(row("F1, mean of the classes", &|m| percent(m.macro_average.f1)));
    rows.push(row("expected calibration error", &|m| percent(m.calibration.expected_error)));
    rows.push(row("images", &|m| thousands(m.images as u64)));
    let table = table("Results", &["", "int8", "float"], 1, &rows, None);
    let data =
        Path::new(&first.data).file_name().map_or_else(|| first.data.clone(), |n| n.to_string_lossy().into_owned());
    let mut note = format!("On {data}.");
    if first.may_include_training_images {
        note += " The network may have been trained on some of these images: this is no measure of how it does on new ones.";
    }
    note += " An int8 probability is a step of 1/256; one of 0 counts as half a step in the loss.";
    format!(
        "<p class=\"note\">{}</p>\n<div class=\"side\"><div>{table}</div>{}</div>\n",
        escape(&note),
        reliability(&first.metrics.calibration)
    )
}

/// Precision, recall and F1 of each class.
pub fn classes(run: &RunView) -> String {
    let Some((evaluation, what)) = shown(run) else { return not_measured(EVALUATE) };
    let lacks = evaluation.metrics.classes.iter().flat_map(|class| [class.precision, class.recall, class.f1]);
    let most = lacks.fold(0.0, |most: f64, share| most.max(1.0 - share));
    let share = |share: f64| Cell::lack(share, most);
    let rows: Vec<Vec<Cell>> = evaluation
        .labels
        .iter()
        .zip(&evaluation.metrics.classes)
        .map(|(label, class)| {
            vec![
                Cell::head(label),
                share(class.precision),
                share(class.recall),
                share(class.f1),
                Cell::number(&thousands(class.support as u64)),
                Cell::number(&thousands(class.guessed as u64)),
            ]
        })
        .collect();
    let mean = &evaluation.metrics.macro_average;
    let foot = [
        Cell::head("mean"),
        Cell::number(&percent(mean.precision)),
        Cell::number(&percent(mean.recall)),
        Cell::number(&percent(mean.f1)),
        Cell::number(&thousands(evaluation.metrics.images as u64)),
        Cell::text(""),
    ];
    let header = ["class", "precision", "recall", "F1", "images", "guessed"];
    format!(
        "<p class=\"note\">Of the {what}. The red bars are what a share lacks to 100 %.</p>\n{}",
        table("Classes", &header, 1, &rows, Some(&foot))
    )
}

/// The surest mistakes and the highest losses, with pictures.
pub fn mistakes(run: &RunView) -> String {
    let Some((evaluation, what)) = shown(run) else { return not_measured(EVALUATE) };
    let metrics = &evaluation.metrics;
    let wrong = metrics.images - metrics.right.min(metrics.images);
    let mut html = format!(
        "<p class=\"note\">{} of {} images are guessed wrong by the {what}.</p>\n",
        thousands(wrong as u64),
        thousands(metrics.images as u64)
    );
    let mistakes = &evaluation.surest_mistakes;
    if !mistakes.is_empty() {
        html += "<h3>Surest mistakes</h3>\n";
        html += &pictures(mistakes.iter());
    }
    let others: Vec<&Example> = evaluation
        .highest_losses
        .iter()
        .filter(|example| mistakes.iter().all(|mistake| mistake.index != example.index))
        .take(LOSSES)
        .collect();
    if !others.is_empty() {
        html += if mistakes.is_empty() { "<h3>Highest loss</h3>\n" } else { "<h3>Highest loss of the others</h3>\n" };
        html += &pictures(others.into_iter());
    }
    html
}

fn pictures<'a>(examples: impl Iterator<Item = &'a Example>) -> String {
    let mut html = String::from("<ul class=\"pics\">");
    for example in examples {
        let [name, label, guess] = [&example.name, &example.label, &example.guess].map(|text| escape(text));
        // only what is a picture by its own word is shown, and the page's policy lets in nothing else
        if let Some(picture) = example.picture.as_ref().filter(|picture| picture.starts_with("data:image/")) {
            let class = if picture.starts_with(SHARP) { " class=\"px\"" } else { "" };
            let _ = write!(
                html,
                "<li><img{class} src=\"{}\" alt=\"{name}: {label}, taken for {guess}\" title=\"{name}\" loading=\"lazy\">",
                escape(picture)
            );
        } else {
            let _ = write!(html, "<li><span>{name}</span>");
        }
        let ok = if example.guess == example.label { " ok" } else { "" };
        let sure = 100.0 * example.confidence;
        let _ = writeln!(
            html,
            "<span class=\"guess{ok}\">{guess}</span><span class=\"sure\">{sure:.1} %</span><span>true {label}</span></li>"
        );
    }
    html + "</ul>\n"
}
