//! What evaluations found: the figures, each class, confidence, the worst mistakes.

use super::charts::reliability;
use super::markup::{Cell, escape, not_measured, table};
use crate::report::evaluation::{Evaluation, Example};
use crate::report::folder::RunView;
use crate::report::metrics::Metrics;
use crate::report::words::{percent, thousands};
use std::fmt::Write;

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

/// The figures of the int8 and the float network: side by side where they are of the same images, else each by itself.
pub fn figures(run: &RunView) -> String {
    let Some((first, _)) = shown(run) else { return not_measured(EVALUATE) };
    let (int8, float) = (run.figures.int8.as_ref(), run.figures.float.as_ref());
    let tables = match (int8, float) {
        (Some(int8), Some(float)) if !int8.is_of_the_images_of(float) => {
            let apart = "<p class=\"note\">The int8 model and the float network were measured on different images: these figures say nothing about \
                         what int8 costs.</p>\n";
            apart.to_owned() + &measured(&[("int8", int8)]) + &measured(&[("float", float)])
        }
        _ => {
            let columns = [("int8", int8), ("float", float)];
            measured(&columns.into_iter().filter_map(|(name, found)| Some((name, found?))).collect::<Vec<_>>())
        }
    };
    format!("<div class=\"side\"><div>{tables}</div>{}</div>\n", reliability(&first.metrics.calibration))
}

/// The figures of evaluations of the same images, a column each.
fn measured(columns: &[(&str, &Evaluation)]) -> String {
    let Some((_, first)) = columns.first() else { return String::new() };
    let row = |name: &str, value: &dyn Fn(&Metrics) -> String| -> Vec<Cell> {
        let cells = columns.iter().map(|(_, evaluation)| Cell::number(&value(&evaluation.metrics)));
        std::iter::once(Cell::head(name)).chain(cells).collect()
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
    let header: Vec<&str> = std::iter::once("").chain(columns.iter().map(|(name, _)| *name)).collect();
    let mut note = format!("On {}.", first.on_name());
    if first.may_include_training_images {
        note += " The network may have been trained on some of these images: this is no measure of how it does on new ones.";
    }
    if columns.iter().any(|(name, _)| *name == "int8") {
        note += " An int8 probability is a step of 1/256; one of 0 counts as half a step in the loss.";
    }
    format!("<p class=\"note after\">{}</p>\n{}", escape(&note), table("Results", &header, 1, &rows, None))
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
        "<p class=\"note\">Of the {what}, on {}. The red bars are what a share lacks to 100 %.</p>\n{}",
        escape(&evaluation.on_name()),
        table("Classes", &header, 1, &rows, Some(&foot))
    )
}

/// The surest mistakes and the highest losses, with pictures.
pub fn mistakes(run: &RunView) -> String {
    let Some((evaluation, what)) = shown(run) else { return not_measured(EVALUATE) };
    let metrics = &evaluation.metrics;
    let wrong = metrics.images - metrics.right.min(metrics.images);
    let mut html = format!(
        "<p class=\"note\">Of {}, {} are guessed wrong by the {what}.</p>\n",
        escape(&evaluation.on_name()),
        thousands(wrong as u64)
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
